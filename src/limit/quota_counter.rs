//! What is left to an app of its quota.

use std::sync::{Arc, Mutex, PoisonError};

use super::window::{LimitedBy, LimitExceeded, Window};
use crate::model::Quota;

/// An app's quota, and what the app has used of it.
#[derive(Debug)]
pub struct QuotaCounter {
    quota: Arc<Quota>,
    used: Arc<Mutex<Used>>,
}

#[derive(Debug, Default)]
struct Used {
    window: Option<Window>,
    calls: u32,
}

/// One call of an allowance.
#[derive(Debug)]
pub(crate) struct QuotaPermit {
    used: Arc<Mutex<Used>>,
    window: Option<Window>,
}

impl QuotaCounter {
    /// One of which nothing is used.
    #[must_use]
    pub fn new(quota: Arc<Quota>) -> Self {
        Self { quota, used: Arc::default() }
    }

    /// The same with the quota's new figures: what was used stays used.
    #[must_use]
    pub fn with_quota(&self, quota: Arc<Quota>) -> Self {
        Self { quota, used: self.used.clone() }
    }

    /// The quota.
    #[must_use]
    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    /// Returns why a call would be refused, if it would be. Nothing is used.
    pub(crate) fn exhausted(&self, now: i64) -> Option<LimitExceeded> {
        let Quota { period, limit, reset_at, .. } = &*self.quota;
        let origin = reset_at.map(jiff::Timestamp::as_second);
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let window = used.window.filter(|window| window.contains(*period, origin, now))?;
        let retry_after = window.remaining_secs(*period, now);
        let by = LimitedBy::Quota;
        (used.calls >= limit.get()).then_some(LimitExceeded {
            by,
            limit: limit.get(),
            period: *period,
            retry_after,
        })
    }

    /// Uses one call.
    ///
    /// # Errors
    /// When there is none left in this period.
    pub(crate) fn check(&self, now: i64) -> Result<QuotaPermit, LimitExceeded> {
        let Quota { period, limit, reset_at, .. } = &*self.quota;
        let origin = reset_at.map(jiff::Timestamp::as_second);
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if !used.window.is_some_and(|window| window.contains(*period, origin, now)) {
            *used = Used { window: Some(Window::containing(*period, origin, now)), calls: 0 };
        }
        if used.calls >= limit.get() {
            let retry_after = used.window.map_or(1, |window| window.remaining_secs(*period, now));
            return Err(LimitExceeded { by: LimitedBy::Quota, limit: limit.get(), period: *period, retry_after });
        }
        used.calls += 1;
        Ok(QuotaPermit { used: self.used.clone(), window: used.window })
    }
}

impl QuotaPermit {
    /// The call was not served: within its period, it never was.
    pub(crate) fn refund(self) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.window == self.window {
            used.calls = used.calls.saturating_sub(1);
        }
    }
}
