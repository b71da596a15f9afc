//! Clocks. Policies receive the time as a [`Moment`] and read no clock themselves.

#![allow(clippy::disallowed_methods, reason = "this is where the clocks are read")]

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;

/// A point in time on both clocks that decisions need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Nanoseconds on a monotonic clock, which limits count on.
    pub ticks: u64,
    /// The time of day, which expiry dates and locks are compared with.
    pub time: Timestamp,
}

/// A source of moments.
pub trait Clock: Send + Sync + 'static {
    /// Returns the present moment.
    fn now(&self) -> Moment;
}

impl<C: Clock + ?Sized> Clock for std::sync::Arc<C> {
    fn now(&self) -> Moment {
        (**self).now()
    }
}

/// The machine's clocks. All instances in a process agree, regardless of when they were created.
///
/// A reading costs one read of the monotonic clock. The time of day is derived from it and corrected against the
/// machine's time of day once a second, so a step of the machine's clock takes effect within a second.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock(&'static Source);

/// The single source of the process: limits that several layers count use the same ticks.
static SOURCE: LazyLock<Source> = LazyLock::new(|| Source {
    start: Instant::now(),
    read_in: AtomicU64::new(0),
    origin: AtomicI64::new(Timestamp::now().as_microsecond()),
});

#[derive(Debug)]
struct Source {
    start: Instant,
    /// The second of `start` in which `origin` was last read.
    read_in: AtomicU64,
    /// The time of day at `start`, in microseconds since the epoch.
    origin: AtomicI64,
}

impl SystemClock {
    /// Returns the clock of the process. Its ticks started at zero when the clock was first used.
    #[must_use]
    pub fn new() -> Self {
        Self(&SOURCE)
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        let Source { start, read_in, origin } = self.0;
        let since = start.elapsed();
        let elapsed = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
        if read_in.load(Ordering::Relaxed) != since.as_secs() {
            read_in.store(since.as_secs(), Ordering::Relaxed);
            origin.store(Timestamp::now().as_microsecond() - elapsed, Ordering::Relaxed);
        }
        let time = origin.load(Ordering::Relaxed).saturating_add(elapsed);
        Moment { ticks: ticks(since), time: Timestamp::from_microsecond(time).unwrap_or(Timestamp::MAX) }
    }
}

/// A clock that only moves when a test advances it.
///
/// ```
/// use std::time::Duration;
/// use portcullis::clock::{Clock, ManualClock};
///
/// let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
/// let before = clock.now();
/// clock.advance(Duration::from_secs(5));
/// assert_eq!(clock.now().ticks - before.ticks, 5_000_000_000);
/// ```
#[derive(Debug)]
pub struct ManualClock {
    start: Timestamp,
    ticks: AtomicU64,
}

impl ManualClock {
    /// Creates a clock that shows this time of day.
    #[must_use]
    pub fn at(start: Timestamp) -> Self {
        Self { start, ticks: AtomicU64::new(0) }
    }

    /// Advances both clocks.
    pub fn advance(&self, by: Duration) {
        self.ticks.fetch_add(ticks(by), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Moment {
        let ticks = self.ticks.load(Ordering::SeqCst);
        Moment { ticks, time: self.start + Duration::from_nanos(ticks) }
    }
}

/// Converts to nanoseconds; 584 years fit.
fn ticks(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_clock_agrees_with_the_operating_system() {
        let clock = SystemClock::new();
        let (earlier, machine, later) = (clock.now(), Timestamp::now(), clock.now());
        assert!(earlier.ticks <= later.ticks);
        assert!((machine.as_millisecond() - later.time.as_millisecond()).abs() < 1_000);
    }

    #[test]
    fn system_clocks_created_at_different_times_agree() {
        let first = SystemClock::new();
        let (before, between) = (first.now(), SystemClock::new());
        let (middle, after) = (between.now(), first.now());
        assert!(before.ticks <= middle.ticks && middle.ticks <= after.ticks);
        assert!(std::ptr::eq(first.0, between.0), "both clocks read the same source");
    }
}
