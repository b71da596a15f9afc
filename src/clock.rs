//! The time, as a value: whoever decides is handed a [`Moment`] and reads no clock.

#![allow(clippy::disallowed_methods, reason = "this is where the clocks are read")]

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use jiff::Timestamp;

/// A point in time, on both of the clocks that decisions need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Nanoseconds on a clock that never goes back; what limits count on.
    pub ticks: u64,
    /// The time of day; what expiry dates and locks are compared with.
    pub time: Timestamp,
}

/// A source of moments.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Moment;
}

impl<C: Clock + ?Sized> Clock for std::sync::Arc<C> {
    fn now(&self) -> Moment {
        (**self).now()
    }
}

/// The machine's clocks.
///
/// One reading costs one read of the monotonic clock: the time of day is derived from it and corrected
/// against the machine's once a second, so that a step of that clock is followed within a second.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
    /// The second of `start` in which `origin` was last read.
    read_in: AtomicU64,
    /// The time of day at `start`, in nanoseconds since the epoch: until the year 2262.
    origin: AtomicI64,
}

impl SystemClock {
    /// A clock whose ticks start at zero.
    #[must_use]
    pub fn new() -> Self {
        let origin = AtomicI64::new(nanoseconds(Timestamp::now()));
        Self { start: Instant::now(), read_in: AtomicU64::new(0), origin }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        let ticks = ticks(self.start.elapsed());
        let since = i64::try_from(ticks).unwrap_or(i64::MAX);
        let second = ticks / 1_000_000_000;
        if self.read_in.load(Ordering::Relaxed) != second {
            self.read_in.store(second, Ordering::Relaxed);
            self.origin.store(nanoseconds(Timestamp::now()).saturating_sub(since), Ordering::Relaxed);
        }
        Moment { ticks, time: at(self.origin.load(Ordering::Relaxed).saturating_add(since)) }
    }
}

fn nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

/// In 64 bits; `Timestamp::from_nanosecond` divides 128.
fn at(nanoseconds: i64) -> Timestamp {
    let (second, rest) = (nanoseconds.div_euclid(1_000_000_000), nanoseconds.rem_euclid(1_000_000_000));
    Timestamp::new(second, i32::try_from(rest).unwrap_or(0)).unwrap_or(Timestamp::MAX)
}

/// A clock that stands still until told otherwise, for tests.
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
    /// A clock that stands at a time of day.
    #[must_use]
    pub fn at(start: Timestamp) -> Self {
        Self { start, ticks: AtomicU64::new(0) }
    }

    /// Moves both clocks on.
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

/// Nanoseconds; 584 years fit.
fn ticks(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_are_a_time_and_back() {
        for text in
            ["1969-12-31T23:59:59.999999999Z", "1970-01-01T00:00:00Z", "2026-07-01T12:00:00.000000001Z"]
        {
            let time: Timestamp = text.parse().unwrap();
            assert_eq!(at(nanoseconds(time)), time);
        }
    }

    #[test]
    fn the_system_clock_agrees_with_the_machine() {
        let clock = SystemClock::new();
        let (earlier, machine, later) = (clock.now(), Timestamp::now(), clock.now());
        assert!(earlier.ticks <= later.ticks);
        assert!((machine.as_millisecond() - later.time.as_millisecond()).abs() < 1_000);
    }
}
