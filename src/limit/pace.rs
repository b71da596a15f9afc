//! How slow a client's content may come.

use std::time::Duration;

/// How slow a client's content may come.
///
/// ```
/// use std::time::Duration;
/// use portcullis::limit::Pace;
///
/// let pace = Pace { timeout: Duration::from_secs(30), rate: 240 };
/// assert_eq!(pace.patience(0, Duration::from_secs(29)).as_secs(), 1);
/// assert_eq!(pace.patience(240 * 60, Duration::from_secs(60)).as_secs(), 30, "slow, and steady");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long it may stand still.
    pub timeout: Duration,
    /// Bytes a second, beyond the first `timeout`.
    pub rate: u32,
}

impl Pace {
    /// How much longer a client may keep us waiting now that has sent so many bytes, and kept us waiting so
    /// long in all.
    #[must_use]
    pub fn patience(self, taken: u64, starved: Duration) -> Duration {
        let earned = Duration::from_secs(taken / u64::from(self.rate.max(1)));
        self.timeout.saturating_add(earned).saturating_sub(starved).min(self.timeout)
    }
}

/// 30 s, and 240 bytes a second.
impl Default for Pace {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30), rate: 240 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_drips_runs_out_of_patience_and_who_sends_does_not() {
        let pace = Pace { timeout: Duration::from_secs(30), rate: 240 };
        let seconds = |taken, starved| pace.patience(taken, Duration::from_secs(starved)).as_secs();
        assert_eq!(seconds(0, 0), 30);
        assert_eq!(seconds(0, 29), 1);
        assert_eq!(seconds(100, 31), 0, "a byte now and then earns nothing");
        assert_eq!(seconds(240 * 60, 60), 30, "slow, and steady");
        assert_eq!(seconds(1 << 30, 0), 30, "no stall is longer than the timeout, whatever came before");
    }
}
