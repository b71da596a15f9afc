//! Permits: the shares of limits that policies acquire while they admit a request.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::{
    clock::Moment,
    directory::KeyEntry,
    limit::{LimitSnapshot, QuotaPermit, ThrottlePermit},
};

/// A share of a limit that a policy acquired.
#[derive(Debug)]
pub(crate) enum Permit {
    /// One request of every limit of a key's caller.
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
                key.caller().buckets.iter().for_each(|buckets| buckets.refund(&reading, now));
            }
            Self::Call(call) => call.refund(),
            Self::Quota(spending) => spending.refund(),
        }
    }
}

/// The permits of a request that is not decided yet. Dropping them refunds all of them: a chain that denies, or a
/// client that disconnects during a wait, uses up no limit.
#[derive(Debug, Default)]
pub struct Permits {
    taken: SmallVec<[Permit; 1]>,
    /// The moment of the last evaluation of the policies, in ticks.
    now: u64,
}

impl Permits {
    pub(crate) fn push(&mut self, permit: Permit) {
        self.taken.push(permit);
    }

    /// Sets the moment for refunds that happen without a later one.
    pub(crate) fn set_now(&mut self, now: Moment) {
        self.now = now.ticks;
    }

    /// Refunds all permits, as of the last evaluation of the policies.
    #[inline]
    pub fn refund(&mut self) {
        // Most requests are served, or denied before a policy acquired a permit.
        if !self.taken.is_empty() {
            self.refund_all();
        }
    }

    #[inline(never)]
    fn refund_all(&mut self) {
        let now = self.now;
        self.taken.drain(..).for_each(|permit| permit.refund(now));
    }

    /// Commits the permits: the request is being served, and its permits stay spent.
    #[must_use]
    pub fn commit(mut self) -> Committed {
        self.commit_all()
    }

    /// Commits the permits in place, which copies them once.
    #[inline]
    pub(crate) fn commit_all(&mut self) -> Committed {
        Committed(std::mem::take(&mut self.taken))
    }
}

impl Drop for Permits {
    fn drop(&mut self) {
        self.refund();
    }
}

/// The permits of a request that is being served. They stay spent when this is dropped.
#[derive(Debug)]
pub struct Committed(SmallVec<[Permit; 1]>);

impl Committed {
    /// Refunds all permits, because the request was not served after all, such as when an inner layer denied it.
    pub fn refund(mut self, now: Moment) {
        self.0.drain(..).for_each(|permit| permit.refund(now.ticks));
    }
}
