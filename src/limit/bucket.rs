//! Eight bytes of state that a governor limiter drives.

use std::{
    cell::Cell,
    hash::{Hash, Hasher},
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
};

use governor::{
    NotUntil, Quota, RateLimiter, clock::Clock, middleware::NoOpMiddleware, nanos::Nanos, state::StateStore,
};

use crate::model::Limit;

/// The state of one limit for one caller: the theoretical arrival time of GCRA, in ticks. Zero is full.
///
/// It stands in the caller's record and outlives the limit's figures: what was spent stays spent when
/// a limit changes, in requests and not in time.
#[derive(Debug, Default)]
pub struct Bucket(AtomicU64);

/// One limit's rule over any number of buckets: GCRA by governor.
///
/// governor keeps a start and a clock of its own in every limiter, which would tie a bucket to one
/// limiter. So it is handed time zero, and each bucket's state relative to the present moment.
#[derive(Debug)]
pub(super) struct Gcra {
    limiter: RateLimiter<Lead, Relative, Present, NoOpMiddleware<Nanos>>,
    interval: u64,
    full: u64,
}

/// How a bucket's time reads as requests, under the limit that filled it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scale {
    interval: u64,
    full: u64,
}

/// What one attempt found.
pub(super) enum Outcome {
    /// One request was spent. At `until`, in ticks, everything spent has come back by itself.
    Admitted { until: u64 },
    /// Nothing was spent; after this many ticks it would be admitted.
    Refused { wait: u64 },
}

impl Gcra {
    pub(super) fn new(limit: &Limit) -> Self {
        let burst = NonZeroU32::new(limit.burst()).unwrap_or(NonZeroU32::MIN);
        let quota =
            Quota::with_period(limit.interval()).unwrap_or(Quota::per_second(burst)).allow_burst(burst);
        let interval = u64::try_from(limit.interval().as_nanos()).unwrap_or(u64::MAX);
        Self {
            limiter: RateLimiter::new(quota, Relative, Present),
            interval,
            full: interval.saturating_mul(u64::from(limit.burst())),
        }
    }

    pub(super) fn check(&self, bucket: &Bucket, now: u64) -> Outcome {
        let mut seen = bucket.0.load(Ordering::Relaxed);
        loop {
            // A debt from a limit that was slower is cut to this one's: an empty bucket, no emptier.
            let lead = Lead(Cell::new(seen.saturating_sub(now).min(self.full)));
            if let Err(until) = self.limiter.check_key(&lead) {
                return Outcome::Refused { wait: wait(&until) };
            }
            let next = now + lead.0.get();
            match bucket.0.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Outcome::Admitted { until: next },
                Err(other) => seen = other,
            }
        }
    }

    /// How this rule's buckets read.
    pub(super) fn scale(&self) -> Scale {
        Scale { interval: self.interval, full: self.full }
    }

    /// Returns `true` if a bucket reads the same under both rules.
    pub(super) fn reads_like(&self, other: &Self) -> bool {
        self.interval == other.interval
    }

    /// Order in which limits are asked: the one that comes back first is the first.
    pub(super) fn interval(&self) -> u64 {
        self.interval
    }

    /// The ticks after which one request would be admitted, when none would be now. Nothing is spent.
    pub(super) fn wait(&self, bucket: &Bucket, now: u64) -> Option<u64> {
        let lead = Self::until(bucket).saturating_sub(now).min(self.full);
        let wait = lead.saturating_add(self.interval).saturating_sub(self.full);
        (wait > 0).then_some(wait)
    }

    /// A bucket of this rule from which as many requests are spent as from one of an earlier rule, and no more than
    /// there are. A part of a request that has come back counts as that part.
    pub(super) fn carry(&self, from: &Bucket, scale: Scale, now: u64) -> Bucket {
        let lead = Self::until(from).saturating_sub(now).min(scale.full);
        let lead = u128::from(lead) * u128::from(self.interval) / u128::from(scale.interval.max(1));
        let lead = u64::try_from(lead).unwrap_or(u64::MAX).min(self.full);
        // Zero says full, whatever the time is.
        Bucket(AtomicU64::new(if lead == 0 { 0 } else { now.saturating_add(lead) }))
    }

    /// Gives one request back that was spent `until` then: as much of it as has not come back by itself.
    pub(super) fn refund(&self, bucket: &Bucket, until: u64, now: u64) {
        let owed = until.saturating_sub(now).min(self.interval);
        let less = |seen: u64| Some(seen.saturating_sub(owed));
        let _ = bucket.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// When everything spent so far has come back by itself, in ticks.
    pub(super) fn until(bucket: &Bucket) -> u64 {
        bucket.0.load(Ordering::Relaxed)
    }

    /// How many requests may come at once at `now`, when everything spent has come back at `until`.
    pub(super) fn remaining(&self, until: u64, now: u64) -> u32 {
        let lead = until.saturating_sub(now).min(self.full);
        u32::try_from((self.full - lead) / self.interval).unwrap_or(u32::MAX)
    }

    /// Ticks until one request more than at `now` may come at once; zero when full.
    pub(super) fn until_next(&self, until: u64, now: u64) -> u64 {
        let lead = until.saturating_sub(now).min(self.full);
        match lead % self.interval {
            0 if lead > 0 => self.interval,
            rest => rest,
        }
    }
}

fn wait(until: &NotUntil<Nanos>) -> u64 {
    until.earliest_possible().as_u64()
}

/// How far a bucket's arrival time lies ahead of now, in ticks: governor's key, and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Lead(Cell<u64>);

impl Hash for Lead {
    /// governor wants hashable keys for its maps; no map holds this one.
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

#[derive(Debug)]
struct Relative;

impl StateStore for Relative {
    type Key = Lead;

    fn measure_and_replace<T, F, E>(&self, lead: &Lead, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (outcome, next) = decide(Some(Nanos::new(lead.0.get())))?;
        lead.0.set(next.as_u64());
        Ok(outcome)
    }
}

#[derive(Debug, Clone)]
struct Present;

impl Clock for Present {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(0)
    }
}
