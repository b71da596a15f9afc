//! The counter of an app's quota.

use std::sync::{Arc, Mutex};

use super::window::{LimitExceeded, LimitedBy, Window};
use crate::{model::Quota, sync};

/// An app's quota with the calls that the app has used.
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

/// The permit of one call.
#[derive(Debug)]
pub(crate) struct QuotaPermit {
    used: Arc<Mutex<Used>>,
    window: Option<Window>,
}

impl QuotaCounter {
    /// Creates a counter without used calls.
    #[must_use]
    pub fn new(quota: Arc<Quota>) -> Self {
        Self { quota, used: Arc::default() }
    }

    /// Returns the counter for a changed quota. Used calls stay used.
    #[must_use]
    pub fn with_quota(&self, quota: Arc<Quota>) -> Self {
        Self { quota, used: self.used.clone() }
    }

    /// Returns the quota.
    #[must_use]
    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    /// Returns the reason why a call would be denied, if it would be. No call is used.
    pub(crate) fn exhausted(&self, now: i64) -> Option<LimitExceeded> {
        let Quota { period, limit, reset_at, .. } = &*self.quota;
        let origin = reset_at.map(jiff::Timestamp::as_second);
        let used = sync::lock(&self.used);
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
    /// [`LimitExceeded`] if no call is left in this period.
    pub(crate) fn check(&self, now: i64) -> Result<QuotaPermit, LimitExceeded> {
        let Quota { period, limit, reset_at, .. } = &*self.quota;
        let origin = reset_at.map(jiff::Timestamp::as_second);
        let mut used = sync::lock(&self.used);
        if !used.window.is_some_and(|window| window.contains(*period, origin, now)) {
            *used = Used { window: Some(Window::containing(*period, origin, now)), calls: 0 };
        }
        if used.calls >= limit.get() {
            let retry_after = used.window.map_or(1, |window| window.remaining_secs(*period, now));
            return Err(LimitExceeded {
                by: LimitedBy::Quota,
                limit: limit.get(),
                period: *period,
                retry_after,
            });
        }
        used.calls += 1;
        Ok(QuotaPermit { used: self.used.clone(), window: used.window })
    }
}

impl QuotaPermit {
    /// Refunds the call if its period has not ended.
    pub(crate) fn refund(self) {
        let mut used = sync::lock(&self.used);
        if used.window == self.window {
            used.calls = used.calls.saturating_sub(1);
        }
    }
}
