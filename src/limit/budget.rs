//! A caller's budgets: one bucket for each limit of its plan.

use std::sync::{Arc, OnceLock};

use http::HeaderValue;

use super::{
    bucket::{Bucket, Gcra, Outcome},
    buckets::{Buckets, Place},
};
use crate::app::{Limit, MAX_LIMITS, Plan};

const NANOS: u64 = 1_000_000_000;

/// A plan with the rules that enforce it; shared by all callers on the plan.
#[derive(Debug)]
pub struct Budget {
    plan: Plan,
    rules: Box<[Gcra]>,
    /// The plan as a field describes it: rendered once, by who writes fields.
    described: OnceLock<HeaderValue>,
}

impl Budget {
    /// The rules of a plan.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let rules = plan.limits().iter().map(Gcra::new).collect();
        Self { plan, rules, described: OnceLock::new() }
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
pub struct Spent {
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
pub struct Reading {
    /// The moment of the decision, in ticks.
    at: u64,
    /// For each limit, in the plan's order: when everything spent has come back by itself; for a violated
    /// one, when it has room again.
    until: [u64; MAX_LIMITS],
    /// A bit for each violated limit.
    violated: u8,
}

impl Reading {
    /// Whether some limit refused.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
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
pub enum Verdict {
    /// One request was spent from every limit.
    Admitted(Reading),
    /// Nothing was spent. Admitted again after `retry_after` seconds, rounded up and at least 1, if nobody
    /// else spends.
    Refused {
        /// The state of each limit.
        reading: Reading,
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
pub struct Budgets {
    budget: Arc<Budget>,
    buckets: Buckets,
}

impl Budgets {
    /// Full buckets.
    #[must_use]
    pub fn new(budget: Arc<Budget>) -> Self {
        let buckets = Buckets::Own(budget.rules.iter().map(|_| Bucket::default()).collect());
        Self { budget, buckets }
    }

    /// The same caller under another plan, or the same plan changed: a limit of a name that was there
    /// keeps what was spent of it.
    #[must_use]
    pub fn under(&self, budget: Arc<Budget>) -> Self {
        let (before, after) = (self.budget.plan.limits(), budget.plan.limits());
        let same = before.iter().map(Limit::name).eq(after.iter().map(Limit::name));
        if let (true, Buckets::Own(piece)) = (same, &self.buckets) {
            return Self { budget, buckets: Buckets::Own(piece.clone()) };
        }
        let kept = |limit: &Limit| {
            let at = before.iter().position(|old| old.name() == limit.name());
            at.and_then(|at| self.buckets.place(at)).unwrap_or_else(Place::new)
        };
        let buckets = Buckets::Kept(Box::new(after.iter().map(kept).collect()));
        Self { budget, buckets }
    }

    /// The plan in force.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.budget.plan
    }

    /// What all callers on the plan share.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    fn limits(&self) -> impl Iterator<Item = (&Gcra, &Bucket)> {
        let buckets = (0..).map_while(|limit| self.buckets.get(limit));
        self.budget.rules.iter().zip(buckets)
    }

    /// Spends one request from every limit, or from none.
    ///
    /// `now` is in ticks, see [`Moment`](crate::clock::Moment).
    #[must_use]
    pub fn spend(&self, now: u64) -> Verdict {
        let mut reading = Reading { at: now, until: [0; MAX_LIMITS], violated: 0 };
        let mut longest = 0;
        for (at, ((rule, bucket), until)) in self.limits().zip(&mut reading.until).enumerate() {
            match rule.spend(bucket, now) {
                Outcome::Admitted { until: spent } => *until = spent,
                Outcome::Refused { wait } => {
                    *until = now.saturating_add(wait);
                    reading.violated |= 1 << at;
                    longest = longest.max(wait);
                }
            }
        }
        if reading.is_refusal() {
            self.refuse(&mut reading);
            return Verdict::Refused { reading, retry_after: longest.div_ceil(NANOS).max(1) };
        }
        Verdict::Admitted(reading)
    }

    /// One limit refused: what the others gave goes back to them.
    #[cold]
    fn refuse(&self, reading: &mut Reading) {
        self.give_back(reading, reading.at);
        let violated = *reading;
        for (at, ((_, bucket), until)) in self.limits().zip(&mut reading.until).enumerate() {
            if !violated.violated(at) {
                *until = Gcra::until(bucket);
            }
        }
    }

    /// What is left of each limit, in the plan's order, going by what one [`spend`](Self::spend) found.
    pub fn lines(&self, reading: &Reading) -> impl Iterator<Item = Spent> {
        let Reading { at: now, until, .. } = *reading;
        let reading = *reading;
        self.budget.rules.iter().zip(until).enumerate().map(move |(at, (rule, until))| {
            if reading.violated(at) {
                return Spent { remaining: 0, reset: seconds(until - now).max(1), violated: true };
            }
            let reset = seconds(rule.until_next(until, now));
            Spent { remaining: rule.remaining(until, now), reset, violated: false }
        })
    }

    /// Gives back what one [`spend`](Self::spend) took, as far as it has not come back by itself: who was
    /// never served does not make room twice.
    pub fn give_back(&self, reading: &Reading, now: u64) {
        for (at, ((rule, bucket), until)) in self.limits().zip(reading.until).enumerate() {
            if !reading.violated(at) {
                rule.give_back(bucket, until, now);
            }
        }
    }
}

fn seconds(ticks: u64) -> u32 {
    u32::try_from(ticks.div_ceil(NANOS)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::app::Promise;

    fn budgets(limits: Vec<Limit>) -> Budgets {
        Budgets::new(Budget::new(Plan::new("p".parse().unwrap(), limits).unwrap()).into())
    }

    fn limit(name: &str, quota: u32, window: u32, burst: u32) -> Limit {
        Limit::new(name, quota, window, burst, Promise::Average).unwrap()
    }

    fn lines(budgets: &Budgets, reading: &Reading) -> Vec<Spent> {
        budgets.lines(reading).collect()
    }

    fn admitted(budgets: &Budgets, now: u64) -> bool {
        matches!(budgets.spend(now), Verdict::Admitted(_))
    }

    #[test]
    fn a_refusal_by_one_limit_spends_from_none() {
        let both = budgets(vec![limit("second", 1, 1, 1), limit("day", 10, 86_400, 10)]);
        assert!(admitted(&both, 0));
        for _ in 0..100 {
            let Verdict::Refused { reading, retry_after } = both.spend(0) else { panic!("admitted") };
            let lines = lines(&both, &reading);
            assert_eq!(retry_after, 1);
            assert_eq!((lines[0].violated, lines[1].violated, lines[1].remaining), (true, false, 9));
        }
        let Verdict::Admitted(reading) = both.spend(NANOS) else { panic!("refused") };
        assert_eq!(lines(&both, &reading)[1].remaining, 8);
    }

    #[test]
    fn the_longest_wait_of_all_limits_is_told() {
        let both = budgets(vec![limit("second", 1, 1, 1), limit("minute", 1, 60, 1)]);
        assert!(admitted(&both, 0));
        assert!(matches!(both.spend(0), Verdict::Refused { retry_after: 60, .. }));
    }

    #[test]
    fn a_limit_changed_at_run_time_keeps_what_was_spent() {
        let ten = budgets(vec![limit("x", 10, 1, 10)]);
        assert_eq!((0..20).filter(|_| admitted(&ten, 0)).count(), 10);
        let two = Plan::new("p".parse().unwrap(), vec![limit("x", 2, 1, 2)]).unwrap();
        let two = ten.under(Budget::new(two).into());
        assert!(!admitted(&two, 0));
        assert!(!admitted(&two, NANOS / 2 - 1));
        assert!(admitted(&two, NANOS / 2));
    }

    #[test]
    fn a_limit_keeps_its_bucket_by_name_wherever_it_stands() {
        let one = budgets(vec![limit("x", 1, 60, 1)]);
        assert!(admitted(&one, 0));
        let plan = Plan::new("p".parse().unwrap(), vec![limit("y", 9, 60, 9), limit("x", 1, 60, 1)]).unwrap();
        let two = one.under(Budget::new(plan).into());
        let Verdict::Refused { reading, .. } = two.spend(0) else { panic!() };
        let lines = lines(&two, &reading);
        assert_eq!((lines[0].remaining, lines[1].violated), (9, true));
    }

    #[test]
    fn a_debt_of_days_does_not_outlive_a_plan_of_seconds() {
        let day = budgets(vec![limit("x", 1, 86_400, 1)]);
        assert!(admitted(&day, 0));
        let plan = Plan::new("q".parse().unwrap(), vec![limit("x", 1, 1, 1)]).unwrap();
        assert!(matches!(
            day.under(Budget::new(plan).into()).spend(0),
            Verdict::Refused { retry_after: 1, .. }
        ));
    }

    #[test]
    fn what_came_back_by_itself_is_not_given_back_again() {
        let one = budgets(vec![limit("x", 1, 10, 1)]);
        let Verdict::Admitted(charge) = one.spend(0) else { panic!("refused") };
        assert!(admitted(&one, 20 * NANOS));
        one.give_back(&charge, 20 * NANOS);
        assert!(!admitted(&one, 20 * NANOS));
    }

    #[test]
    fn what_was_taken_under_the_old_plan_is_given_back_under_the_new() {
        let old = budgets(vec![limit("x", 1, 60, 1)]);
        let Verdict::Admitted(charge) = old.spend(0) else { panic!("refused") };
        let plan = Plan::new("p".parse().unwrap(), vec![limit("y", 9, 60, 9), limit("x", 1, 60, 1)]).unwrap();
        let new = old.under(Budget::new(plan).into());
        assert!(!admitted(&new, 0));
        old.give_back(&charge, 0);
        assert!(admitted(&new, 0));
    }

    #[test]
    fn two_threads_spend_no_more_than_there_is() {
        let one = budgets(vec![limit("x", 1_000, 3_600, 1_000)]);
        let spent: usize = std::thread::scope(|scope| {
            let threads = [(); 2].map(|()| scope.spawn(|| (0..900).filter(|_| admitted(&one, 0)).count()));
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(spent, 1_000);
    }

    fn any_limit() -> impl Strategy<Value = Limit> {
        (1_u32..500, 1_u32..5_000, 1_u32..500, any::<bool>()).prop_map(|(quota, window, burst, ceiling)| {
            if ceiling && quota > 1 {
                Limit::new("x", quota, window, burst.min(quota - 1), Promise::Ceiling).unwrap()
            } else {
                Limit::new("x", quota, window, burst.min(quota), Promise::Average).unwrap()
            }
        })
    }

    proptest! {
        #[test]
        fn who_waits_retry_after_is_admitted_and_nobody_is_earlier(
            limits in prop::collection::vec(any_limit(), 1..4),
            gaps in prop::collection::vec(0_u64..3 * NANOS, 1..60),
        ) {
            let rename = |(at, limit): (usize, &Limit)| Limit::new(
                format!("l{at}"), limit.quota(), limit.window(), limit.burst(), limit.promise()).unwrap();
            let one = budgets(limits.iter().enumerate().map(rename).collect());
            let mut now = 0;
            for gap in gaps {
                now += gap;
                let Verdict::Refused { retry_after, .. } = one.spend(now) else { continue };
                // Not a second earlier: the exact moment lies within the last second of the wait.
                prop_assert!(retry_after == 1 || !admitted(&one, now + (retry_after - 1) * NANOS));
                prop_assert!(admitted(&one, now + retry_after * NANOS));
                now += retry_after * NANOS;
            }
        }

        #[test]
        fn no_window_admits_more_than_its_promise(
            limit in any_limit(),
            gaps in prop::collection::vec(0_u64..2 * NANOS, 1..400),
        ) {
            let one = budgets(vec![limit.clone()]);
            let mut now = 0;
            let mut times = Vec::new();
            for gap in gaps {
                now += gap;
                if admitted(&one, now) {
                    times.push(now);
                }
            }
            let most = match limit.promise() {
                Promise::Average => limit.quota() + limit.burst(),
                Promise::Ceiling => limit.quota(),
            } as usize;
            let window = u64::from(limit.window()) * NANOS;
            for (at, start) in times.iter().enumerate() {
                let within = times[at..].iter().take_while(|time| **time < start + window).count();
                prop_assert!(within <= most, "{within} in one window of {limit:?}");
            }
        }

        #[test]
        fn what_is_given_back_can_be_spent_again(limit in any_limit(), now in 0..NANOS) {
            let one = budgets(vec![limit.clone()]);
            let mut last = None;
            for _ in 0..limit.burst() {
                let Verdict::Admitted(charge) = one.spend(now) else { panic!("refused") };
                last = Some(charge);
            }
            prop_assert!(!admitted(&one, now));
            one.give_back(&last.unwrap(), now);
            prop_assert!(admitted(&one, now));
            prop_assert!(!admitted(&one, now));
        }
    }
}
