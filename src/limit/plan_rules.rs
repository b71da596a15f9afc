//! A caller's budgets: one bucket for each limit of its plan.

use std::{
    cmp::Ordering,
    sync::{Arc, OnceLock},
};

use http::HeaderValue;

use super::{
    bucket::{Bucket, Gcra, Outcome},
    buckets::{Buckets, BucketSlot},
};
use crate::model::{Limit, MAX_LIMITS, Plan};

const NANOS: u64 = 1_000_000_000;

/// A plan with the rules that enforce it; shared by all callers on the plan.
#[derive(Debug)]
pub struct PlanRules {
    plan: Plan,
    rules: Box<[Gcra]>,
    /// The order in which limits are spent from: the one that comes back first is the first. So who is refused by a
    /// short limit has never held a request of a long one, which others would have missed meanwhile.
    order: Box<[u8]>,
    /// The plan as a field describes it: rendered once, by who writes fields.
    described: OnceLock<HeaderValue>,
}

impl PlanRules {
    /// The rules of a plan.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let rules: Box<[_]> = plan.limits().iter().map(Gcra::new).collect();
        let mut order: Box<[u8]> = (0..).take(rules.len()).collect();
        order.sort_by_key(|at| rules[usize::from(*at)].interval());
        Self { plan, rules, order, described: OnceLock::new() }
    }

    /// The plan as a field describes it, which `render` writes when asked first.
    pub(crate) fn described(&self, render: impl FnOnce(&Plan) -> HeaderValue) -> &HeaderValue {
        self.described.get_or_init(|| render(&self.plan))
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

/// What is left of one limit after a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitStatus {
    /// How many more requests may come at once.
    pub remaining: u32,
    /// Seconds, rounded up, until one more may; 0 when the limit is untouched.
    pub reset: u32,
    /// Whether this limit refused.
    pub violated: bool,
}

/// Where a caller's buckets stood when one request was decided: [`Budgets::lines`] says what was left, and
/// [`Budgets::give_back`] undoes what it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitSnapshot {
    /// The moment of the decision, in ticks.
    at: u64,
    /// For each limit, in the plan's order: when everything spent has come back by itself; for a violated
    /// one, when it has room again.
    until: [u64; MAX_LIMITS],
    /// A bit for each violated limit.
    violated: u8,
}

impl LimitSnapshot {
    /// Whether some limit refused.
    #[must_use]
    pub fn is_denial(&self) -> bool {
        self.violated != 0
    }

    /// Whether the limit at this place of the plan refused.
    #[must_use]
    pub fn violated(&self, limit: usize) -> bool {
        limit < MAX_LIMITS && self.violated >> limit & 1 == 1
    }
}

/// The verdict over all limits of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// One request was spent from every limit.
    Admitted(LimitSnapshot),
    /// Nothing was spent. Admitted again after `retry_after` seconds, rounded up and at least 1, if nobody
    /// else spends.
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
/// use portcullis::{app::{Limit, Plan, Promise}, limit::{Budget, Budgets, Verdict}};
///
/// let two_a_minute = Limit::new("minute", 2, 60, 2, Promise::Average).unwrap();
/// let plan = Plan::new("free".parse().unwrap(), vec![two_a_minute]).unwrap();
/// let budgets = Budgets::new(Budget::new(plan).into());
/// assert!(matches!(budgets.spend(0), Verdict::Admitted(_)));
/// assert!(matches!(budgets.spend(0), Verdict::Admitted(_)));
/// assert!(matches!(budgets.spend(0), Verdict::Refused { retry_after: 30, .. }));
/// ```
#[derive(Debug)]
pub struct CallerBuckets {
    rules: Arc<PlanRules>,
    buckets: Buckets,
}

impl CallerBuckets {
    /// Full buckets.
    #[must_use]
    pub fn new(budget: Arc<PlanRules>) -> Self {
        let buckets = Buckets::Own(budget.rules.iter().map(|_| Bucket::default()).collect());
        Self { rules: budget, buckets }
    }

    /// The same caller under another plan, or the same plan changed: a limit of a name that was there
    /// keeps the number of requests that were spent of it, whatever its figures are now.
    #[must_use]
    pub fn with_rules(&self, budget: Arc<PlanRules>) -> Self {
        let (before, after) = (self.rules.plan.limits(), budget.plan.limits());
        let same = before.iter().map(Limit::name).eq(after.iter().map(Limit::name))
            && self.rules.rules.iter().zip(&budget.rules).all(|(before, after)| before.reads_like(after));
        if let (true, Buckets::Own(piece)) = (same, &self.buckets) {
            return Self { rules: budget, buckets: Buckets::Own(piece.clone()) };
        }
        let kept = |(limit, rule): (&Limit, &Gcra)| {
            let at = before.iter().position(|old| old.name() == limit.name())?;
            let (place, old) = (self.buckets.place(at)?, self.rules.rules.get(at)?);
            Some(if old.reads_like(rule) { place } else { place.carried(old.scale()) })
        };
        let places = after.iter().zip(&budget.rules).map(|limit| kept(limit).unwrap_or_else(BucketSlot::new));
        let buckets = Buckets::Kept(Box::new(places.collect()));
        Self { rules: budget, buckets }
    }

    /// The plan in force.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.rules.plan
    }

    /// What all callers on the plan share.
    #[must_use]
    pub fn budget(&self) -> &PlanRules {
        &self.rules
    }

    fn limit(&self, at: usize, now: u64) -> Option<(&Gcra, &Bucket)> {
        let rule = self.rules.rules.get(at)?;
        Some((rule, self.buckets.get(at, rule, now)?))
    }

    fn limits(&self, now: u64) -> impl Iterator<Item = (&Gcra, &Bucket)> {
        (0..).map_while(move |at| self.limit(at, now))
    }

    /// Spends one request from every limit, or from none.
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

    /// The limit at the place `refused` of the order refused. What those before it gave goes back to them; of those
    /// behind it nothing is taken: they are asked only whether they would refuse, too.
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

    /// What is left of each limit, in the plan's order, going by what one [`spend`](Self::spend) found.
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

    /// Gives back what one [`spend`](Self::spend) took, as far as it has not come back by itself: who was
    /// never served does not make room twice.
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
