//! The rate limits of a caller: one bucket for each limit of its plan.

use std::{
    cmp::Ordering,
    sync::{Arc, OnceLock},
};

use http::HeaderValue;

use super::{
    bucket::{Bucket, Gcra, Outcome},
    buckets::{BucketSlot, Buckets},
};
use crate::model::{Limit, MAX_LIMITS, Plan};

const NANOS: u64 = 1_000_000_000;

/// A plan with the rules that enforce it, shared by all callers on the plan.
#[derive(Debug)]
pub struct PlanRules {
    plan: Plan,
    rules: Box<[Gcra]>,
    /// The order in which limits are checked: the one with the shortest interval first. Therefore a request that is
    /// denied by a short limit never consumes from a long one, which other requests would miss meanwhile.
    order: Box<[u8]>,
    /// The description of the plan in a header, rendered once.
    described: OnceLock<HeaderValue>,
}

impl PlanRules {
    /// Creates the rules of a plan.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let rules: Box<[_]> = plan.limits().iter().map(Gcra::new).collect();
        let mut order: Box<[u8]> = (0..).take(rules.len()).collect();
        order.sort_by_key(|at| rules[usize::from(*at)].interval());
        Self { plan, rules, order, described: OnceLock::new() }
    }

    /// Returns the description of the plan in a header. `render` writes it at the first call.
    pub(crate) fn described(&self, render: impl FnOnce(&Plan) -> HeaderValue) -> &HeaderValue {
        self.described.get_or_init(|| render(&self.plan))
    }

    /// Returns the plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

/// The status of a limit after a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitStatus {
    /// The number of further requests that may arrive at once.
    pub remaining: u32,
    /// Seconds, rounded up, until one more request is available; 0 when the limit is full.
    pub reset: u32,
    /// Whether this limit denied the request.
    pub violated: bool,
}

/// A snapshot of a caller's buckets at a decision. [`CallerBuckets::statuses`] returns the status of each limit, and
/// [`CallerBuckets::refund`] refunds the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitSnapshot {
    /// The time of the decision, in ticks.
    at: u64,
    /// For each limit, in the plan's order, the tick at which the bucket is full again; for a violated limit, the
    /// tick at which it has room again.
    until: [u64; MAX_LIMITS],
    /// One bit for each violated limit.
    violated: u8,
}

impl LimitSnapshot {
    /// Returns `true` if a limit denied the request.
    #[must_use]
    pub fn is_denial(&self) -> bool {
        self.violated != 0
    }

    /// Returns `true` if the limit at this index of the plan denied the request.
    #[must_use]
    pub fn violated(&self, limit: usize) -> bool {
        limit < MAX_LIMITS && self.violated >> limit & 1 == 1
    }
}

/// The decision of all limits of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// One request was consumed from every limit.
    Admitted(LimitSnapshot),
    /// Nothing was consumed. After `retry_after` seconds, rounded up and at least 1, a request is admitted if no
    /// other request consumes meanwhile.
    Refused {
        /// The state of each limit.
        reading: LimitSnapshot,
        /// Seconds, at least 1.
        retry_after: u64,
    },
}

/// The buckets of one caller under one plan.
///
/// ```
/// use portcullis::{model::{Limit, Plan, WindowGuarantee}, limit::{PlanRules, CallerBuckets, Decision}};
///
/// let two_a_minute = Limit::new("minute", 2, 60, 2, WindowGuarantee::Average).unwrap();
/// let plan = Plan::new("free".parse().unwrap(), vec![two_a_minute]).unwrap();
/// let buckets = CallerBuckets::new(PlanRules::new(plan).into());
/// assert!(matches!(buckets.check(0), Decision::Admitted(_)));
/// assert!(matches!(buckets.check(0), Decision::Admitted(_)));
/// assert!(matches!(buckets.check(0), Decision::Refused { retry_after: 30, .. }));
/// ```
#[derive(Debug)]
pub struct CallerBuckets {
    rules: Arc<PlanRules>,
    buckets: Buckets,
}

impl CallerBuckets {
    /// Creates full buckets.
    #[must_use]
    pub fn new(rules: Arc<PlanRules>) -> Self {
        let buckets = Buckets::Own(rules.rules.iter().map(|_| Bucket::default()).collect());
        Self { rules, buckets }
    }

    /// Returns the buckets of the caller under another or a changed plan. A limit whose name existed before retains
    /// the number of consumed requests, whatever its values are now.
    #[must_use]
    pub fn with_rules(&self, rules: Arc<PlanRules>) -> Self {
        let (before, after) = (self.rules.plan.limits(), rules.plan.limits());
        let same = before.iter().map(Limit::name).eq(after.iter().map(Limit::name))
            && self.rules.rules.iter().zip(&rules.rules).all(|(before, after)| before.reads_like(after));
        if let (true, Buckets::Own(piece)) = (same, &self.buckets) {
            return Self { rules, buckets: Buckets::Own(piece.clone()) };
        }
        let kept = |(limit, rule): (&Limit, &Gcra)| {
            let at = before.iter().position(|old| old.name() == limit.name())?;
            let (place, old) = (self.buckets.slot(at)?, self.rules.rules.get(at)?);
            Some(if old.reads_like(rule) { place } else { place.carried(old.scale()) })
        };
        let places = after.iter().zip(&rules.rules).map(|limit| kept(limit).unwrap_or_else(BucketSlot::new));
        let buckets = Buckets::Kept(Box::new(places.collect()));
        Self { rules, buckets }
    }

    /// Returns the plan in force.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.rules.plan
    }

    /// Returns the rules that all callers on the plan share.
    #[must_use]
    pub fn rules(&self) -> &PlanRules {
        &self.rules
    }

    fn limit(&self, at: usize, now: u64) -> Option<(&Gcra, &Bucket)> {
        let rule = self.rules.rules.get(at)?;
        Some((rule, self.buckets.get(at, rule, now)?))
    }

    fn limits(&self, now: u64) -> impl Iterator<Item = (&Gcra, &Bucket)> {
        (0..).map_while(move |at| self.limit(at, now))
    }

    /// Consumes one request from every limit, or from none.
    ///
    /// `now` is in ticks, see [`Moment`](crate::clock::Moment).
    #[must_use]
    pub fn check(&self, now: u64) -> Decision {
        let mut reading = LimitSnapshot { at: now, until: [0; MAX_LIMITS], violated: 0 };
        for (taken, at) in self.rules.order.iter().enumerate() {
            let at = usize::from(*at);
            let (Some((rule, bucket)), Some(until)) = (self.limit(at, now), reading.until.get_mut(at)) else {
                continue;
            };
            match rule.check(bucket, now) {
                Outcome::Admitted { until: spent } => *until = spent,
                Outcome::Refused { wait } => return self.deny(reading, taken, wait),
            }
        }
        Decision::Admitted(reading)
    }

    /// Completes a denial by the limit at position `refused` of the order. The request is refunded to the limits
    /// before it. Nothing is consumed from those after it; they are only checked for whether they would deny, too.
    #[cold]
    fn deny(&self, mut reading: LimitSnapshot, refused: usize, wait: u64) -> Decision {
        let (now, mut longest) = (reading.at, 0);
        for (place, at) in self.rules.order.iter().enumerate() {
            let at = usize::from(*at);
            let (Some((rule, bucket)), Some(until)) = (self.limit(at, now), reading.until.get_mut(at)) else {
                continue;
            };
            let wait = match place.cmp(&refused) {
                Ordering::Less => {
                    rule.refund(bucket, *until, now);
                    None
                }
                Ordering::Equal => Some(wait),
                Ordering::Greater => rule.wait(bucket, now),
            };
            if let Some(wait) = wait {
                *until = now.saturating_add(wait);
                reading.violated |= 1 << at;
                longest = longest.max(wait);
            } else {
                *until = Gcra::until(bucket);
            }
        }
        Decision::Refused { reading, retry_after: longest.div_ceil(NANOS).max(1) }
    }

    /// Returns the status of each limit, in the plan's order, according to the snapshot of one
    /// [`check`](Self::check).
    pub fn statuses(&self, reading: &LimitSnapshot) -> impl Iterator<Item = LimitStatus> {
        let LimitSnapshot { at: now, until, .. } = *reading;
        let reading = *reading;
        self.rules.rules.iter().zip(until).enumerate().map(move |(at, (rule, until))| {
            if reading.violated(at) {
                return LimitStatus { remaining: 0, reset: seconds(until - now).max(1), violated: true };
            }
            let reset = seconds(rule.until_next(until, now));
            LimitStatus { remaining: rule.remaining(until, now), reset, violated: false }
        })
    }

    /// Refunds what one [`check`](Self::check) consumed, except for the part that the buckets have regained since:
    /// a request that was not served does not make room twice.
    pub fn refund(&self, reading: &LimitSnapshot, now: u64) {
        for (at, ((rule, bucket), until)) in self.limits(now).zip(reading.until).enumerate() {
            if !reading.violated(at) {
                rule.refund(bucket, until, now);
            }
        }
    }
}

fn seconds(ticks: u64) -> u32 {
    u32::try_from(ticks.div_ceil(NANOS)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
