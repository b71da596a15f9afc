//! The health of an endpoint: ejection after failures, active checks, and slow start.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::config;

/// The longest ejection.
const LONGEST_EJECTION: Duration = Duration::from_secs(600);

/// A time in milliseconds since the process first asked for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::gateway::upstream) struct Monotonic(u64);

impl Monotonic {
    pub(in crate::gateway::upstream) fn now() -> Self {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        // 0 is before every time.
        Self(1 + millis(START.elapsed()))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The rules of ejection.
#[derive(Debug, Clone, Copy)]
pub(in crate::gateway::upstream) struct EjectionRules {
    /// The number of failures in succession; 0 means that endpoints are not ejected.
    failures: u32,
    duration: Duration,
    pub(in crate::gateway::upstream) count_5xx: bool,
}

impl EjectionRules {
    pub(in crate::gateway::upstream) fn new(ejection: &config::Ejection) -> Self {
        Self {
            failures: if ejection.enabled { ejection.failures.get() } else { 0 },
            duration: ejection.duration.duration(),
            count_5xx: ejection.enabled && ejection.count_5xx,
        }
    }
}

/// The health of an endpoint, shared by all worker threads.
///
/// A healthy endpoint is only read: the counters change when a request fails, and with the first success after that.
#[derive(Debug)]
pub(in crate::gateway::upstream) struct Health {
    /// Set while the endpoint is ejected, or its active checks fail. The details are below.
    is_suspect: AtomicBool,
    is_failing_checks: AtomicBool,
    failures: AtomicU32,
    ejections: AtomicU32,
    ejected_until: AtomicU64,
    /// The time since when the endpoint is available; 0 if it was there at the start.
    available_since: AtomicU64,
}

impl Health {
    /// Creates the health of an endpoint that is available since a time, or since the start.
    pub(in crate::gateway::upstream) fn new(available_since: Option<Monotonic>) -> Self {
        Self {
            is_suspect: AtomicBool::new(false),
            is_failing_checks: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            available_since: AtomicU64::new(available_since.map_or(0, |since| since.0)),
        }
    }

    /// Returns `true` if the endpoint is neither ejected nor fails its checks.
    pub(in crate::gateway::upstream) fn is_available(&self, now: impl FnOnce() -> Monotonic) -> bool {
        !self.is_suspect.load(Ordering::Relaxed) || self.is_recovered(now())
    }

    #[cold]
    fn is_recovered(&self, now: Monotonic) -> bool {
        if self.is_failing_checks.load(Ordering::Relaxed) {
            return false;
        }
        let until = self.ejected_until.load(Ordering::Relaxed);
        if now.0 < until {
            return false;
        }
        if self.is_suspect.swap(false, Ordering::AcqRel) {
            self.available_since.store(now.0, Ordering::Relaxed);
        }
        // A check or a failure may have come in between.
        let is_suspect = self.is_failing_checks.load(Ordering::Acquire)
            || now.0 < self.ejected_until.load(Ordering::Acquire);
        if is_suspect {
            self.is_suspect.store(true, Ordering::Release);
        }
        !is_suspect
    }

    /// Records a success.
    pub(in crate::gateway::upstream) fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.ejections.store(0, Ordering::Relaxed);
        }
    }

    /// Records a failure. Returns the time of the ejection if the endpoint is ejected because of it.
    #[cold]
    pub(in crate::gateway::upstream) fn failed(
        &self,
        rules: &EjectionRules,
        now: Monotonic,
    ) -> Option<Duration> {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if rules.failures == 0
            || failures < rules.failures
            || now.0 < self.ejected_until.load(Ordering::Relaxed)
        {
            return None;
        }
        // After its ejection, a single failure ejects the endpoint again: `failures` is not reset.
        let earlier = self.ejections.fetch_add(1, Ordering::Relaxed);
        let duration =
            rules.duration.saturating_mul(1 << earlier.min(16)).min(LONGEST_EJECTION.max(rules.duration));
        self.ejected_until.store(now.0.saturating_add(millis(duration)), Ordering::Relaxed);
        self.is_suspect.store(true, Ordering::Relaxed);
        Some(duration)
    }

    /// Records the result of the active checks.
    pub(in crate::gateway::upstream) fn set_failing_checks(&self, failing: bool, now: Monotonic) {
        self.is_failing_checks.store(failing, Ordering::Relaxed);
        if failing {
            self.is_suspect.store(true, Ordering::Relaxed);
        } else {
            // A successful check does not end an ejection, but the ejection may be over.
            self.is_recovered(now);
        }
    }

    /// Returns the share of its weight that the endpoint has during its slow start, from 0.1 to 1.
    pub(in crate::gateway::upstream) fn share(&self, slow_start: Duration, now: Monotonic) -> f64 {
        let since = self.available_since.load(Ordering::Relaxed);
        let elapsed = Duration::from_millis(now.0.saturating_sub(since));
        if since == 0 || elapsed >= slow_start {
            return 1.0;
        }
        (elapsed.as_secs_f64() / slow_start.as_secs_f64()).clamp(0.1, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: EjectionRules =
        EjectionRules { failures: 3, duration: Duration::from_secs(10), count_5xx: false };

    fn at(secs: u64) -> Monotonic {
        Monotonic(1 + secs * 1_000)
    }

    #[test]
    fn endpoint_is_ejected_after_failures_in_succession() {
        let health = Health::new(None);
        for _ in 0..5 {
            assert_eq!(health.failed(&RULES, at(0)), None);
            assert_eq!(health.failed(&RULES, at(0)), None);
            health.succeeded();
        }
        assert!(health.is_available(|| at(0)));
        health.failed(&RULES, at(0));
        health.failed(&RULES, at(0));
        assert_eq!(health.failed(&RULES, at(0)), Some(Duration::from_secs(10)));
        assert!(!health.is_available(|| at(9)));
        assert_eq!(health.failed(&RULES, at(9)), None, "it is ejected already");
        assert!(health.is_available(|| at(10)));
    }

    #[test]
    fn ejections_in_succession_take_longer() {
        let health = Health::new(None);
        let mut now = 0;
        for _ in 0..2 {
            health.failed(&RULES, at(now));
        }
        for expected in [10, 20, 40, 80, 160, 320, 600, 600] {
            let ejected = health.failed(&RULES, at(now)).unwrap();
            assert_eq!(ejected.as_secs(), expected);
            now += expected;
            assert!(health.is_available(|| at(now)));
        }
        health.succeeded();
        for _ in 0..2 {
            assert_eq!(health.failed(&RULES, at(now)), None);
        }
        assert_eq!(health.failed(&RULES, at(now)).unwrap().as_secs(), 10);
    }

    #[test]
    fn endpoint_is_not_ejected_without_rules() {
        let health = Health::new(None);
        let rules = EjectionRules { failures: 0, ..RULES };
        for _ in 0..100 {
            assert_eq!(health.failed(&rules, at(0)), None);
        }
        assert!(health.is_available(|| at(0)));
    }

    #[test]
    fn endpoint_is_unavailable_while_checks_fail() {
        let health = Health::new(None);
        health.set_failing_checks(true, at(1));
        assert!(!health.is_available(|| at(1_000)));
        health.succeeded();
        assert!(!health.is_available(|| at(1_000)), "only a check ends it");
        health.set_failing_checks(false, at(1_001));
        assert!(health.is_available(|| at(1_001)));
    }

    #[test]
    fn successful_check_does_not_end_an_ejection() {
        let health = Health::new(None);
        for _ in 0..3 {
            health.failed(&RULES, at(0));
        }
        health.set_failing_checks(false, at(5));
        assert!(!health.is_available(|| at(5)));
        assert!(health.is_available(|| at(10)));
    }

    #[test]
    fn share_grows_during_the_slow_start() {
        let slow = Duration::from_secs(100);
        assert!((Health::new(None).share(slow, at(0)) - 1.0).abs() < 0.001);
        let health = Health::new(Some(at(1_000)));
        for (secs, share) in [(1_000, 0.1), (1_005, 0.1), (1_050, 0.5), (1_100, 1.0), (9_000, 1.0)] {
            assert!((health.share(slow, at(secs)) - share).abs() < 0.001, "{secs}");
        }
        let health = Health::new(None);
        for _ in 0..3 {
            health.failed(&RULES, at(0));
        }
        assert!(health.is_available(|| at(20)), "recovered");
        assert!((health.share(slow, at(60)) - 0.4).abs() < 0.001);
    }
}
