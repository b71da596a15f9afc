//! The duration of a lock.

use std::time::Duration;

use jiff::Timestamp;

/// An error for a duration that is shorter than [`Lease::MIN`] or longer than [`Lease::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a lock holds for 1 second to 24 hours at a time")]
pub struct InvalidLease;

/// The duration of a lock, counted from the moment it is acquired or refreshed. The client sends a duration and not
/// a moment, so that only the registry's clock counts.
///
/// ```
/// use std::time::Duration;
/// use portcullis::model::Lease;
///
/// assert!(Lease::try_from(Duration::from_secs(30)).is_ok());
/// assert!(Lease::try_from(Duration::MAX).is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lease(Duration);

impl Lease {
    /// One second, the resolution of `Retry-After`.
    pub const MIN: Duration = Duration::from_secs(1);
    /// 24 hours. A longer restriction should not be a lock.
    pub const MAX: Duration = Duration::from_secs(24 * 60 * 60);

    /// Returns the duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        self.0
    }

    /// Returns the first moment after the lease if it starts now.
    #[must_use]
    pub fn expires_at(self, now: Timestamp) -> Timestamp {
        now.checked_add(self.0).unwrap_or(Timestamp::MAX)
    }
}

impl TryFrom<Duration> for Lease {
    type Error = InvalidLease;

    fn try_from(length: Duration) -> Result<Self, InvalidLease> {
        if (Self::MIN..=Self::MAX).contains(&length) { Ok(Self(length)) } else { Err(InvalidLease) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lease_duration_is_bounded() {
        let nanosecond = Duration::from_nanos(1);
        for good in [Lease::MIN, Lease::MAX, Lease::MIN + nanosecond] {
            assert_eq!(Lease::try_from(good).unwrap().duration(), good);
        }
        for bad in [Duration::ZERO, Lease::MIN - nanosecond, Lease::MAX + nanosecond, Duration::MAX] {
            assert_eq!(Lease::try_from(bad), Err(InvalidLease), "{bad:?}");
        }
    }

    #[test]
    fn lease_ends_at_the_maximum_time() {
        let lease = Lease::try_from(Lease::MAX).unwrap();
        assert_eq!(lease.expires_at(Timestamp::UNIX_EPOCH).as_second(), 24 * 60 * 60);
        assert_eq!(lease.expires_at(Timestamp::MAX), Timestamp::MAX);
    }
}
