use proptest::{prelude::*, test_runner::RngSeed};

use super::*;
use crate::model::WindowGuarantee;

fn buckets(limits: Vec<Limit>) -> CallerBuckets {
    CallerBuckets::new(PlanRules::new(Plan::new("p".parse().unwrap(), limits).unwrap()).into())
}

fn limit(name: &str, quota: u32, window: u32, burst: u32) -> Limit {
    Limit::new(name, quota, window, burst, WindowGuarantee::Average).unwrap()
}

fn lines(buckets: &CallerBuckets, reading: &LimitSnapshot) -> Vec<LimitStatus> {
    buckets.statuses(reading).collect()
}

fn admitted(buckets: &CallerBuckets, now: u64) -> bool {
    matches!(buckets.check(now), Decision::Admitted(_))
}

#[test]
fn denial_by_one_limit_consumes_from_none() {
    let both = buckets(vec![limit("second", 1, 1, 1), limit("day", 10, 86_400, 10)]);
    assert!(admitted(&both, 0));
    for _ in 0..100 {
        let Decision::Refused { reading, retry_after } = both.check(0) else { panic!("admitted") };
        let lines = lines(&both, &reading);
        assert_eq!(retry_after, 1);
        assert_eq!((lines[0].violated, lines[1].violated, lines[1].remaining), (true, false, 9));
    }
    let Decision::Admitted(reading) = both.check(NANOS) else { panic!("refused") };
    assert_eq!(lines(&both, &reading)[1].remaining, 8);
}

#[test]
fn longest_wait_of_all_limits_is_returned() {
    let both = buckets(vec![limit("second", 1, 1, 1), limit("minute", 1, 60, 1)]);
    assert!(admitted(&both, 0));
    assert!(matches!(both.check(0), Decision::Refused { retry_after: 60, .. }));
}

#[test]
fn limit_changed_at_run_time_keeps_its_count() {
    let ten = buckets(vec![limit("x", 10, 1, 10)]);
    assert_eq!((0..20).filter(|_| admitted(&ten, 0)).count(), 10);
    let two = Plan::new("p".parse().unwrap(), vec![limit("x", 2, 1, 2)]).unwrap();
    let two = ten.with_rules(PlanRules::new(two).into());
    assert!(!admitted(&two, 0));
    assert!(!admitted(&two, NANOS / 2 - 1));
    assert!(admitted(&two, NANOS / 2));
}

#[test]
fn limit_keeps_its_bucket_by_name_in_any_order() {
    let one = buckets(vec![limit("x", 1, 60, 1)]);
    assert!(admitted(&one, 0));
    let plan = Plan::new("p".parse().unwrap(), vec![limit("y", 9, 60, 9), limit("x", 1, 60, 1)]).unwrap();
    let two = one.with_rules(PlanRules::new(plan).into());
    let Decision::Refused { reading, .. } = two.check(0) else { panic!() };
    let lines = lines(&two, &reading);
    assert_eq!((lines[0].remaining, lines[1].violated), (9, true));
}

#[test]
fn debt_of_days_does_not_outlive_a_plan_of_seconds() {
    let day = buckets(vec![limit("x", 1, 86_400, 1)]);
    assert!(admitted(&day, 0));
    let plan = Plan::new("q".parse().unwrap(), vec![limit("x", 1, 1, 1)]).unwrap();
    assert!(matches!(
        day.with_rules(PlanRules::new(plan).into()).check(0),
        Decision::Refused { retry_after: 1, .. }
    ));
}

fn changed(before: &CallerBuckets, to: Limit) -> CallerBuckets {
    before.with_rules(PlanRules::new(Plan::new("p".parse().unwrap(), vec![to]).unwrap()).into())
}

fn remaining(buckets: &CallerBuckets, now: u64) -> u32 {
    let (Decision::Admitted(reading) | Decision::Refused { reading, .. }) = buckets.check(now);
    buckets.refund(&reading, now);
    lines(buckets, &reading)[0].remaining + u32::from(!reading.is_denial())
}

#[test]
fn raised_limit_counts_earlier_requests() {
    let ten = buckets(vec![limit("x", 10, 86_400, 10)]);
    assert_eq!((0..20).filter(|_| admitted(&ten, 0)).count(), 10);
    let raised = changed(&ten, limit("x", 1_000, 86_400, 1_000));
    assert_eq!(remaining(&raised, 0), 990);
    let one = buckets(vec![limit("x", 1, 86_400, 1)]);
    assert!(admitted(&one, 0) && !admitted(&one, 0));
    assert_eq!(remaining(&changed(&one, limit("x", 100, 1, 100)), 0), 99);
}

#[test]
fn lowered_limit_owes_at_most_its_burst() {
    let ten = buckets(vec![limit("x", 10, 86_400, 10)]);
    (0..10).for_each(|_| assert!(admitted(&ten, 0)));
    let five = changed(&ten, limit("x", 5, 100, 5));
    assert!(matches!(five.check(0), Decision::Refused { retry_after: 20, .. }));
    assert_eq!(remaining(&five, 100 * NANOS), 5);
}

#[test]
fn repeatedly_changed_limit_keeps_its_count() {
    let mut now = buckets(vec![limit("x", 10, 86_400, 10)]);
    (0..4).for_each(|_| assert!(admitted(&now, 0)));
    for (at, quota) in [1_000_u32, 20, 500, 50].into_iter().enumerate() {
        now = changed(&now, limit("x", quota, 86_400, quota));
        if at % 2 == 0 {
            assert_eq!(remaining(&now, 0), quota - 4);
        }
    }
    assert_eq!(remaining(&now, 0), 46);
    let other = limit("y", 9, 60, 9);
    let plan = Plan::new("p".parse().unwrap(), vec![other, limit("x", 7, 60, 7)]).unwrap();
    let Decision::Admitted(reading) = now.with_rules(PlanRules::new(plan).into()).check(0) else { panic!() };
    assert_eq!(reading.violated, 0);
}

#[test]
fn request_under_old_rules_is_refunded_under_new_rules() {
    let old = buckets(vec![limit("x", 2, 60, 2)]);
    let (Decision::Admitted(first), true) = (old.check(0), admitted(&old, 0)) else { panic!("refused") };
    let new = changed(&old, limit("x", 100, 60, 100));
    old.refund(&first, 0);
    assert_eq!(remaining(&new, 0), 99);
}

/// A request that is denied by the limit per second must not consume from that per day meanwhile. With one request
/// left of the day, no thread is ever told to wait for the next day.
#[test]
fn concurrent_denials_wait_for_the_denying_limit() {
    for limits in [["second", "day"], ["day", "second"]] {
        for _ in 0..50 {
            let figures = |name: &str| match name {
                "second" => limit(name, 1, 1, 1),
                _ => limit(name, 3, 86_400, 3),
            };
            let both = buckets(limits.iter().map(|name| figures(name)).collect());
            let start = std::sync::Barrier::new(4);
            std::thread::scope(|scope| {
                let threads = [(); 4].map(|()| {
                    scope.spawn(|| {
                        start.wait();
                        (0..20).map(|_| both.check(0)).collect::<Vec<_>>()
                    })
                });
                let all = threads.into_iter().flat_map(|thread| thread.join().unwrap());
                let (refused, admitted): (Vec<_>, Vec<_>) =
                    all.partition(|verdict| matches!(verdict, Decision::Refused { .. }));
                assert_eq!(admitted.len(), 1);
                for verdict in refused {
                    assert!(matches!(verdict, Decision::Refused { retry_after: 1, .. }), "{verdict:?}");
                }
            });
        }
    }
}

#[test]
fn regained_capacity_is_not_refunded_again() {
    let one = buckets(vec![limit("x", 1, 10, 1)]);
    let Decision::Admitted(charge) = one.check(0) else { panic!("refused") };
    assert!(admitted(&one, 20 * NANOS));
    one.refund(&charge, 20 * NANOS);
    assert!(!admitted(&one, 20 * NANOS));
}

#[test]
fn permit_of_the_old_plan_is_refunded_under_the_new() {
    let old = buckets(vec![limit("x", 1, 60, 1)]);
    let Decision::Admitted(charge) = old.check(0) else { panic!("refused") };
    let plan = Plan::new("p".parse().unwrap(), vec![limit("y", 9, 60, 9), limit("x", 1, 60, 1)]).unwrap();
    let new = old.with_rules(PlanRules::new(plan).into());
    assert!(!admitted(&new, 0));
    old.refund(&charge, 0);
    assert!(admitted(&new, 0));
}

#[test]
fn two_threads_consume_at_most_the_quota() {
    let one = buckets(vec![limit("x", 1_000, 3_600, 1_000)]);
    let spent: usize = std::thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(|| (0..900).filter(|_| admitted(&one, 0)).count()));
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(spent, 1_000);
}

fn any_limit() -> impl Strategy<Value = Limit> {
    (1_u32..500, 1_u32..5_000, 1_u32..500, any::<bool>()).prop_map(|(quota, window, burst, ceiling)| {
        if ceiling && quota > 1 {
            Limit::new("x", quota, window, burst.min(quota - 1), WindowGuarantee::Ceiling).unwrap()
        } else {
            Limit::new("x", quota, window, burst.min(quota), WindowGuarantee::Average).unwrap()
        }
    })
}

/// Returns the maximum number of requests in any window.
fn guaranteed(limit: &Limit) -> usize {
    let most = match limit.promise() {
        WindowGuarantee::Average => limit.quota() + limit.burst_size(),
        WindowGuarantee::Ceiling => limit.quota(),
    };
    most as usize
}

/// Returns the number of these requests in the window with most of them. The times are sorted.
fn most_in_a_window(limit: &Limit, times: &[u64]) -> usize {
    let window = u64::from(limit.window()) * NANOS;
    let within = |(at, start): (usize, &u64)| times.partition_point(|time| *time < start + window) - at;
    times.iter().enumerate().map(within).max().unwrap_or_default()
}

proptest! {
    #[test]
    fn retry_after_is_exact(
        limits in prop::collection::vec(any_limit(), 1..4),
        gaps in prop::collection::vec(0_u64..3 * NANOS, 1..60),
    ) {
        let rename = |(at, limit): (usize, &Limit)| Limit::new(
            format!("l{at}"), limit.quota(), limit.window(), limit.burst_size(), limit.promise()).unwrap();
        let one = buckets(limits.iter().enumerate().map(rename).collect());
        let mut now = 0;
        for gap in gaps {
            now += gap;
            let Decision::Refused { retry_after, .. } = one.check(now) else { continue };
            // It is not admitted a second earlier: the exact moment is within the last second of the wait.
            prop_assert!(retry_after == 1 || !admitted(&one, now + (retry_after - 1) * NANOS));
            prop_assert!(admitted(&one, now + retry_after * NANOS));
            now += retry_after * NANOS;
        }
    }

    #[test]
    fn changed_limit_keeps_its_unused_capacity(
        before in any_limit(),
        after in any_limit(),
        used in 0_u32..600,
        now in 0..NANOS,
    ) {
        let old = buckets(vec![before.clone()]);
        let used = (0..used).filter(|_| admitted(&old, now)).count();
        let new = changed(&old, after.clone());
        let left = (0..=after.burst_size()).filter(|_| admitted(&new, now)).count();
        prop_assert_eq!(left, (after.burst_size() as usize).saturating_sub(used));
        let Decision::Refused { retry_after, .. } = new.check(now) else { panic!("admitted") };
        prop_assert!(retry_after == 1 || !admitted(&new, now + (retry_after - 1) * NANOS));
        prop_assert!(admitted(&new, now + retry_after * NANOS));
    }

    #[test]
    fn denial_names_every_limit_that_denies_alone(
        limits in prop::collection::vec(any_limit(), 1..4),
        gaps in prop::collection::vec(0_u64..3 * NANOS, 1..60),
    ) {
        let rename = |(at, limit): (usize, &Limit)| Limit::new(
            format!("l{at}"), limit.quota(), limit.window(), limit.burst_size(), limit.promise()).unwrap();
        let limits: Vec<_> = limits.iter().enumerate().map(rename).collect();
        let together = buckets(limits.clone());
        // The oracle: each limit by itself, which is consumed only if all limits admit the request.
        let alone: Vec<_> = limits.iter().map(|limit| buckets(vec![limit.clone()])).collect();
        let mut now = 0;
        for gap in gaps {
            now += gap;
            let each: Vec<_> = alone.iter().map(|one| one.check(now)).collect();
            let wait = |verdict: &Decision| match verdict {
                Decision::Admitted(_) => 0,
                Decision::Refused { retry_after, .. } => *retry_after,
            };
            let longest = each.iter().map(wait).max().unwrap_or_default();
            let found = together.check(now);
            prop_assert_eq!(wait(&found), longest);
            let (Decision::Admitted(reading) | Decision::Refused { reading, .. }) = found;
            for (at, verdict) in each.iter().enumerate() {
                prop_assert_eq!(reading.violated(at), wait(verdict) > 0);
                if let (true, Decision::Admitted(spent)) = (longest > 0, verdict) {
                    alone[at].refund(spent, now);
                }
            }
        }
    }

    #[test]
    fn no_window_admits_more_than_guaranteed(
        limit in any_limit(),
        gaps in prop::collection::vec(0_u64..2 * NANOS, 1..400),
    ) {
        let one = buckets(vec![limit.clone()]);
        let mut now = 0;
        let mut times = Vec::new();
        for gap in gaps {
            now += gap;
            if admitted(&one, now) {
                times.push(now);
            }
        }
        prop_assert!(most_in_a_window(&limit, &times) <= guaranteed(&limit), "{limit:?}");
    }

    #[test]
    fn refunded_permit_can_be_used_again(limit in any_limit(), now in 0..NANOS) {
        let one = buckets(vec![limit.clone()]);
        let mut last = None;
        for _ in 0..limit.burst_size() {
            let Decision::Admitted(charge) = one.check(now) else { panic!("refused") };
            last = Some(charge);
        }
        prop_assert!(!admitted(&one, now));
        one.refund(&last.unwrap(), now);
        prop_assert!(admitted(&one, now));
        prop_assert!(!admitted(&one, now));
    }
}

/// The definition of a refund: requests drain from a queue, one per interval and the oldest first, and a refund
/// removes the rest of one request.
struct Queue {
    interval: u64,
    burst: u64,
    /// The undrained rest of each request, in ticks.
    rests: Vec<u64>,
}

impl Queue {
    fn new(limit: &Limit) -> Self {
        let interval = u64::try_from(limit.interval().as_nanos()).unwrap();
        Self { interval, burst: limit.burst_size().into(), rests: Vec::new() }
    }

    fn drain(&mut self, mut ticks: u64) {
        for rest in &mut self.rests {
            let drained = ticks.min(*rest);
            (*rest, ticks) = (*rest - drained, ticks - drained);
        }
    }

    fn admits(&mut self) -> bool {
        let admits = self.rests.iter().sum::<u64>() + self.interval <= self.interval * self.burst;
        if admits {
            self.rests.push(self.interval);
        }
        admits
    }
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(10), ..ProptestConfig::default() })]

    /// Other requests keep the bucket busy meanwhile.
    #[test]
    fn refund_returns_what_the_bucket_has_not_regained(
        limit in any_limit(),
        gaps in prop::collection::vec(0_u64..2 * NANOS, 2..200),
        (taken, refunded) in (0_usize..100, 1_usize..100),
    ) {
        let (one, mut queue) = (buckets(vec![limit.clone()]), Queue::new(&limit));
        let (mut now, mut permit) = (0, None);
        for (at, gap) in gaps.into_iter().enumerate() {
            now += gap;
            queue.drain(gap);
            if let Some((charge, place)) = permit.take_if(|_| at == taken + refunded) {
                one.refund(&charge, now);
                queue.rests[place] = 0;
            }
            match one.check(now) {
                Decision::Admitted(charge) => {
                    prop_assert!(queue.admits());
                    permit = if at == taken { Some((charge, queue.rests.len() - 1)) } else { permit };
                }
                Decision::Refused { .. } => prop_assert!(!queue.admits()),
            }
        }
    }

    /// A refund of whole requests would admit two bursts at once: the regained one and the refunded one.
    #[test]
    fn late_refunds_keep_the_guarantee(limit in any_limit()) {
        let one = buckets(vec![limit.clone()]);
        let mut charges = Vec::new();
        for _ in 0..limit.burst_size() {
            let Decision::Admitted(charge) = one.check(0) else { panic!("refused") };
            charges.push(charge);
        }
        let interval = u64::try_from(limit.interval().as_nanos()).unwrap();
        let mut now = interval * u64::from(limit.burst_size());
        let end = now + u64::from(limit.window()) * NANOS;
        let mut times = Vec::new();
        while now < end {
            times.extend(std::iter::repeat_with(|| now).take_while(|now| admitted(&one, *now)));
            if charges.is_empty() {
                now += interval;
            }
            charges.drain(..).for_each(|charge| one.refund(&charge, now));
        }
        prop_assert!(most_in_a_window(&limit, &times) <= guaranteed(&limit), "{limit:?}");
    }
}
