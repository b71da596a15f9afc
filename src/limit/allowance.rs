//! What is left to an app of its quota.

use std::sync::{Arc, Mutex, PoisonError};

use super::window::{Bound, Exhausted, Window};
use crate::app::Quota;

/// An app's quota, and what the app has used of it.
#[derive(Debug)]
pub struct Allowance {
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
pub(crate) struct Spending {
    used: Arc<Mutex<Used>>,
    window: Option<Window>,
}

impl Allowance {
    /// One of which nothing is used.
    #[must_use]
    pub fn new(quota: Arc<Quota>) -> Self {
        Self { quota, used: Arc::default() }
    }

    /// The same with the quota's new figures: what was used stays used.
    #[must_use]
    pub fn under(&self, quota: Arc<Quota>) -> Self {
        Self { quota, used: self.used.clone() }
    }

    /// The quota.
    #[must_use]
    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    /// Returns why a call would be refused, if it would be. Nothing is used.
    pub(crate) fn exhausted(&self, now: i64) -> Option<Exhausted> {
        let Quota { period, limit, reset_at, .. } = &*self.quota;
        let origin = reset_at.map(jiff::Timestamp::as_second);
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let window = used.window.filter(|window| window.holds(*period, origin, now))?;
        let retry_after = window.left(*period, now);
        let by = Bound::Quota;
        (used.calls >= limit.get()).then_some(Exhausted {
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
    pub(crate) fn spend(&self, now: i64) -> Result<Spending, Exhausted> {
        let Quota { period, limit, reset_at, .. } = &*self.quota;
        let origin = reset_at.map(jiff::Timestamp::as_second);
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if !used.window.is_some_and(|window| window.holds(*period, origin, now)) {
            *used = Used { window: Some(Window::of(*period, origin, now)), calls: 0 };
        }
        if used.calls >= limit.get() {
            let retry_after = used.window.map_or(1, |window| window.left(*period, now));
            return Err(Exhausted { by: Bound::Quota, limit: limit.get(), period: *period, retry_after });
        }
        used.calls += 1;
        Ok(Spending { used: self.used.clone(), window: used.window })
    }
}

impl Spending {
    /// The call was not served: within its period, it never was.
    pub(crate) fn give_back(self) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.window == self.window {
            used.calls = used.calls.saturating_sub(1);
        }
    }
}
