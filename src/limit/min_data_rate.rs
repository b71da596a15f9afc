//! The minimum data rate of clients.

use std::time::Duration;

/// The minimum data rate at which a client must send a request body or read a response body.
///
/// ```
/// use std::time::Duration;
/// use portcullis::limit::MinDataRate;
///
/// let mut meter = MinDataRate { timeout: Duration::from_secs(30), rate: 240 }.meter();
/// assert_eq!(meter.time_left().as_secs(), 30);
/// meter.set_waiting(Duration::from_secs(29));
/// assert_eq!(meter.time_left().as_secs(), 1);
/// meter.moved(240 * 60);
/// assert_eq!(meter.time_left().as_secs(), 30, "never more than the timeout");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinDataRate {
    /// The maximum time without progress.
    pub timeout: Duration,
    /// Bytes per second, required after the first `timeout`.
    pub rate: u32,
}

impl MinDataRate {
    /// Starts to measure one transfer.
    #[must_use]
    pub fn meter(self) -> RateMeter {
        RateMeter { pace: self, credit: self.timeout }
    }

    /// Returns the time that a number of bytes takes at the minimum rate.
    #[must_use]
    pub fn time_of(self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// Returns 30 s and 240 bytes per second.
impl Default for MinDataRate {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30), rate: 240 }
    }
}

/// The time budget of one transfer.
///
/// Waiting for the client consumes it, and transferred bytes restore it at the minimum rate. It never exceeds the
/// timeout, so that a client cannot accumulate hours by sending quickly at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateMeter {
    pace: MinDataRate,
    credit: Duration,
}

impl RateMeter {
    /// Returns the time for which the client may make no progress from now on.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.credit
    }

    /// Subtracts a time in which the other side waited for the client.
    pub fn set_waiting(&mut self, time: Duration) {
        self.credit = self.credit.saturating_sub(time);
    }

    /// Adds the time for bytes that the client sent or read.
    pub fn moved(&mut self, bytes: u64) {
        // Usually the budget is full.
        if self.credit < self.pace.timeout {
            self.restore(self.pace.time_of(bytes));
        }
    }

    /// Records a transfer of bytes in a time. Only the excess over the time that the bytes may take is subtracted.
    pub fn record(&mut self, time: Duration, bytes: u64) {
        let earned = self.credit.saturating_add(self.pace.time_of(bytes));
        self.credit = earned.saturating_sub(time).min(self.pace.timeout);
    }

    /// Restores a time, up to the timeout.
    pub fn restore(&mut self, time: Duration) {
        self.credit = self.credit.saturating_add(time).min(self.pace.timeout);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: MinDataRate = MinDataRate { timeout: Duration::from_secs(30), rate: 240 };

    /// Returns the seconds until a transfer with this many bytes per second ends, up to an hour.
    fn lasts(at_first: u64, bytes_a_second: u64) -> u64 {
        let mut meter = PACE.meter();
        meter.moved(at_first);
        for second in 0..3_600 {
            if meter.time_left() < Duration::from_secs(1) {
                return second;
            }
            meter.set_waiting(Duration::from_secs(1));
            meter.moved(bytes_a_second);
        }
        3_600
    }

    #[test]
    fn transfer_below_the_minimum_rate_ends() {
        assert_eq!(lasts(0, 0), 30);
        assert_eq!(lasts(0, 1), 30);
        assert_eq!(lasts(0, 120), 59);
        assert_eq!(lasts(0, 240), 3_600);
    }

    #[test]
    fn fast_bytes_earn_no_time_beyond_the_timeout() {
        assert_eq!(lasts(9_000_000, 0), 30);
        assert_eq!(lasts(9_000_000, 120), 59);
        assert_eq!(PACE.time_of(u64::MAX), Duration::from_nanos(u64::MAX));
    }
}
