//! What policies take while they admit, and how it is kept or given back.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::{
    clock::Moment,
    directory::KeyEntry,
    limit::{ThrottlePermit, LimitSnapshot, QuotaPermit},
};

/// What a policy took.
#[derive(Debug)]
pub(crate) enum Permit {
    /// One request from every budget of a key's caller.
    Budget(Arc<KeyEntry>, LimitSnapshot),
    /// One call that a throttle counted.
    Call(ThrottlePermit),
    /// One call of an app's quota.
    Quota(QuotaPermit),
}

impl Permit {
    fn refund(self, now: u64) {
        match self {
            Self::Budget(key, reading) => {
                key.caller().budgets.iter().for_each(|budgets| budgets.refund(&reading, now));
            }
            Self::Call(call) => call.refund(),
            Self::Quota(spending) => spending.refund(),
        }
    }
}

/// What was taken for a request that is not decided yet. Dropped, everything is given back: a chain
/// that denies, or a client that leaves while it waits, costs nobody anything.
#[derive(Debug, Default)]
pub struct Permits {
    taken: SmallVec<[Permit; 1]>,
    /// When the policies were last asked, in ticks.
    now: u64,
}

impl Permits {
    pub(crate) fn push(&mut self, permit: Permit) {
        self.taken.push(permit);
    }

    /// Notes the moment, for what is given back without another one to go by.
    pub(crate) fn set_now(&mut self, now: Moment) {
        self.now = now.ticks;
    }

    /// Gives everything back, as of the moment the policies were last asked.
    #[inline]
    pub fn refund(&mut self) {
        // Most requests are served, or refused before anything was taken.
        if !self.taken.is_empty() {
            self.refund_all();
        }
    }

    #[inline(never)]
    fn refund_all(&mut self) {
        let now = self.now;
        self.taken.drain(..).for_each(|permit| permit.refund(now));
    }

    /// The request is being served: from now on what was taken is kept.
    #[must_use]
    pub fn commit(mut self) -> Committed {
        Committed(std::mem::take(&mut self.taken))
    }
}

impl Drop for Permits {
    fn drop(&mut self) {
        self.refund();
    }
}

/// What was taken for a request that is being served. Dropped, budgets stay spent.
#[derive(Debug)]
pub struct Committed(SmallVec<[Permit; 1]>);

impl Committed {
    /// The service behind turned out to be guarded too, and refused: everything is given back.
    pub fn refund(mut self, now: Moment) {
        self.0.drain(..).for_each(|permit| permit.refund(now.ticks));
    }
}
