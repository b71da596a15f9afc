//! An atomic eight-byte state for governor's rate limiter.

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

/// The state of one limit for one caller: the theoretical arrival time of GCRA, in ticks. Zero means full.
///
/// The state is part of the caller's record and survives changes of the limit's values: the number of consumed
/// requests, not the time, stays unchanged.
#[derive(Debug, Default)]
pub struct Bucket(AtomicU64);

/// The rule of one limit for any number of buckets: GCRA by governor.
///
/// Each governor limiter has its own start and clock, which would bind a bucket to one limiter. Therefore governor
/// gets time zero and each bucket's state relative to the present.
#[derive(Debug)]
pub(super) struct Gcra {
    limiter: RateLimiter<Lead, Relative, Present, NoOpMiddleware<Nanos>>,
    interval: u64,
    full: u64,
}

/// The conversion between a bucket's time and requests, under the limit that filled it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scale {
    interval: u64,
    full: u64,
}

/// The result of an attempt to consume a request.
pub(super) enum Outcome {
    /// One request was consumed. At `until`, in ticks, the bucket is full again.
    Admitted { until: u64 },
    /// Nothing was consumed. After this many ticks a request would be admitted.
    Refused { wait: u64 },
}

impl Gcra {
    pub(super) fn new(limit: &Limit) -> Self {
        let burst = NonZeroU32::new(limit.burst_size()).unwrap_or(NonZeroU32::MIN);
        let quota =
            Quota::with_period(limit.interval()).unwrap_or(Quota::per_second(burst)).allow_burst(burst);
        let interval = u64::try_from(limit.interval().as_nanos()).unwrap_or(u64::MAX);
        Self {
            limiter: RateLimiter::new(quota, Relative, Present),
            interval,
            full: interval.saturating_mul(u64::from(limit.burst_size())),
        }
    }

    pub(super) fn check(&self, bucket: &Bucket, now: u64) -> Outcome {
        let mut seen = bucket.0.load(Ordering::Relaxed);
        loop {
            // A debt from a slower limit is capped at that of an empty bucket of this limit.
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

    /// Returns the conversion for buckets of this rule.
    pub(super) fn scale(&self) -> Scale {
        Scale { interval: self.interval, full: self.full }
    }

    /// Returns `true` if both rules interpret a bucket's time equally.
    pub(super) fn reads_like(&self, other: &Self) -> bool {
        self.interval == other.interval
    }

    /// Returns the interval, by which limits are ordered: the shortest is checked first.
    pub(super) fn interval(&self) -> u64 {
        self.interval
    }

    /// Returns the ticks after which a request would be admitted; `None` if it would be admitted now. Nothing is
    /// consumed.
    pub(super) fn wait(&self, bucket: &Bucket, now: u64) -> Option<u64> {
        let lead = Self::until(bucket).saturating_sub(now).min(self.full);
        let wait = lead.saturating_add(self.interval).saturating_sub(self.full);
        (wait > 0).then_some(wait)
    }

    /// Returns a bucket of this rule with the consumed requests of a bucket of an earlier rule, at most its
    /// capacity. A partially regained request counts as that part.
    pub(super) fn carry(&self, from: &Bucket, scale: Scale, now: u64) -> Bucket {
        let lead = Self::until(from).saturating_sub(now).min(scale.full);
        let lead = u128::from(lead) * u128::from(self.interval) / u128::from(scale.interval.max(1));
        let lead = u64::try_from(lead).unwrap_or(u64::MAX).min(self.full);
        // Zero means full at any time.
        Bucket(AtomicU64::new(if lead == 0 { 0 } else { now.saturating_add(lead) }))
    }

    /// Refunds one request that was consumed `until` then: the part that the bucket has not regained since.
    ///
    /// The bucket regains the oldest request first, so that this one is regained at `until`, however many requests
    /// follow it. A later refund has no effect: the request is older than the burst, and a whole request in return
    /// would admit more in a window than the limit guarantees.
    pub(super) fn refund(&self, bucket: &Bucket, until: u64, now: u64) {
        let pending = until.saturating_sub(now).min(self.interval);
        let less = |seen: u64| Some(seen.saturating_sub(pending));
        let _ = bucket.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Returns the tick at which the bucket is full again.
    pub(super) fn until(bucket: &Bucket) -> u64 {
        bucket.0.load(Ordering::Relaxed)
    }

    /// Returns the number of requests that may arrive at once at `now`, if the bucket is full at `until`.
    pub(super) fn remaining(&self, until: u64, now: u64) -> u32 {
        let lead = until.saturating_sub(now).min(self.full);
        u32::try_from((self.full - lead) / self.interval).unwrap_or(u32::MAX)
    }

    /// Returns the ticks after `now` until the bucket regains one more request; zero when it is full.
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

/// The distance of a bucket's arrival time from the present, in ticks. It is governor's key and state.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Lead(Cell<u64>);

impl Hash for Lead {
    /// No-op: governor requires hashable keys for its maps, but no map contains this one.
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
