//! A caller's budgets: one bucket for each limit of its plan.

use std::sync::Arc;

use smallvec::SmallVec;

use super::bucket::{Bucket, Gcra, Outcome};
use crate::app::{Limit, MAX_LIMITS, Plan};

const NANOS: u64 = 1_000_000_000;

/// A plan with the rules that enforce it; shared by all callers on the plan.
#[derive(Debug)]
pub struct Budget {
    plan: Plan,
    rules: Box<[Gcra]>,
}

impl Budget {
    /// The rules of a plan.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let rules = plan.limits().iter().map(Gcra::new).collect();
        Self { plan, rules }
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

/// What a caller's budgets said to one request: a line for each limit, in the plan's order.
pub type Lines = SmallVec<[Spent; MAX_LIMITS]>;

/// What one request spent: for each limit, in the plan's order, when it has come back by itself.
pub type Charge = SmallVec<[u64; MAX_LIMITS]>;

/// The verdict over all limits of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// One request was spent from every limit.
    Admitted {
        /// The state of each limit.
        lines: Lines,
        /// To give it back with.
        charge: Charge,
    },
    /// Nothing was spent. Admitted again after this many seconds, rounded up, if nobody else spends.
    Refused {
        /// The state of each limit.
        lines: Lines,
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
/// assert!(matches!(budgets.spend(0), Verdict::Admitted { .. }));
/// assert!(matches!(budgets.spend(0), Verdict::Admitted { .. }));
/// assert!(matches!(budgets.spend(0), Verdict::Refused { retry_after: 30, .. }));
/// ```
#[derive(Debug)]
pub struct Budgets {
    budget: Arc<Budget>,
    buckets: Box<[Arc<Bucket>]>,
}

impl Budgets {
    /// Full buckets.
    #[must_use]
    pub fn new(budget: Arc<Budget>) -> Self {
        let buckets = budget.rules.iter().map(|_| Arc::default()).collect();
        Self { budget, buckets }
    }

    /// The same caller under another plan, or the same plan changed: a limit of a name that was there
    /// keeps what was spent of it.
    #[must_use]
    pub fn under(&self, budget: Arc<Budget>) -> Self {
        let before = self.budget.plan.limits();
        let kept = |limit: &Limit| match before.iter().position(|old| old.name() == limit.name()) {
            Some(at) => self.buckets[at].clone(),
            None => Arc::default(),
        };
        let buckets = budget.plan.limits().iter().map(kept).collect();
        Self { budget, buckets }
    }

    /// The plan in force.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.budget.plan
    }

    fn limits(&self) -> impl Iterator<Item = (&Gcra, &Bucket)> {
        self.budget.rules.iter().zip(self.buckets.iter().map(|bucket| &**bucket))
    }

    /// Spends one request from every limit, or from none.
    ///
    /// `now` is in ticks, see [`Moment`](crate::clock::Moment).
    #[must_use]
    pub fn spend(&self, now: u64) -> Verdict {
        let (mut lines, mut charge) = (Lines::new(), Charge::new());
        let mut longest = None;
        for (rule, bucket) in self.limits() {
            lines.push(match rule.spend(bucket, now) {
                Outcome::Admitted { remaining, until } => {
                    charge.push(until);
                    Spent { remaining, reset: seconds(rule.until_next(bucket, now)), violated: false }
                }
                Outcome::Refused { wait } => {
                    charge.push(0);
                    longest = longest.max(Some(wait));
                    Spent { remaining: 0, reset: seconds(wait).max(1), violated: true }
                }
            });
        }
        let Some(wait) = longest else { return Verdict::Admitted { lines, charge } };
        self.give_back(&charge, now);
        for (line, (rule, bucket)) in lines.iter_mut().zip(self.limits()) {
            if !line.violated {
                line.remaining = rule.remaining(bucket, now);
                line.reset = seconds(rule.until_next(bucket, now));
            }
        }
        Verdict::Refused { lines, retry_after: wait.div_ceil(NANOS).max(1) }
    }

    /// Gives back what one [`spend`](Self::spend) took, as far as it has not come back by itself: who was
    /// never served does not make room twice.
    pub fn give_back(&self, charge: &Charge, now: u64) {
        for ((rule, bucket), until) in self.limits().zip(charge) {
            rule.give_back(bucket, *until, now);
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

    fn admitted(budgets: &Budgets, now: u64) -> bool {
        matches!(budgets.spend(now), Verdict::Admitted { .. })
    }

    #[test]
    fn a_refusal_by_one_limit_spends_from_none() {
        let both = budgets(vec![limit("second", 1, 1, 1), limit("day", 10, 86_400, 10)]);
        assert!(admitted(&both, 0));
        for _ in 0..100 {
            let Verdict::Refused { lines, retry_after } = both.spend(0) else { panic!("admitted") };
            assert_eq!(retry_after, 1);
            assert_eq!((lines[0].violated, lines[1].violated, lines[1].remaining), (true, false, 9));
        }
        let Verdict::Admitted { lines, .. } = both.spend(NANOS) else { panic!("refused") };
        assert_eq!(lines[1].remaining, 8);
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
        let Verdict::Refused { lines, .. } = one.under(Budget::new(plan).into()).spend(0) else { panic!() };
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
        let Verdict::Admitted { charge, .. } = one.spend(0) else { panic!("refused") };
        assert!(admitted(&one, 20 * NANOS));
        one.give_back(&charge, 20 * NANOS);
        assert!(!admitted(&one, 20 * NANOS));
    }

    #[test]
    fn what_was_taken_under_the_old_plan_is_given_back_under_the_new() {
        let old = budgets(vec![limit("x", 1, 60, 1)]);
        let Verdict::Admitted { charge, .. } = old.spend(0) else { panic!("refused") };
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
                let Verdict::Admitted { charge, .. } = one.spend(now) else { panic!("refused") };
                last = Some(charge);
            }
            prop_assert!(!admitted(&one, now));
            one.give_back(&last.unwrap(), now);
            prop_assert!(admitted(&one, now));
            prop_assert!(!admitted(&one, now));
        }
    }
}
