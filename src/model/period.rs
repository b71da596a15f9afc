//! Periods for counting calls.

use std::{fmt, num::NonZeroU32};

use serde::{Deserialize, Serialize};

/// The unit of a [`Period`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TimeUnit {
    /// Seconds.
    Second,
    /// Minutes.
    Minute,
    /// Hours.
    Hour,
    /// Days of 24 hours.
    Day,
}

impl TimeUnit {
    /// All units.
    pub const ALL: [Self; 4] = [Self::Second, Self::Minute, Self::Hour, Self::Day];

    /// Returns the unit's name in the store and on the APIG surface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Second => "SECOND",
            Self::Minute => "MINUTE",
            Self::Hour => "HOUR",
            Self::Day => "DAY",
        }
    }

    /// Returns the number of seconds of the unit.
    #[must_use]
    pub fn seconds(self) -> i64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 60 * 60,
            Self::Day => 24 * 60 * 60,
        }
    }
}

/// A period in which calls are counted. The count starts again from zero in the next period.
///
/// ```
/// use portcullis::model::{Period, TimeUnit};
///
/// let period = Period { interval: 5.try_into().unwrap(), unit: TimeUnit::Minute };
/// assert_eq!((period.seconds(), period.to_string()), (300, "5 minute".into()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    /// The number of units.
    pub interval: NonZeroU32,
    /// The unit.
    pub unit: TimeUnit,
}

impl Period {
    /// Returns the length in seconds: 1 s to 2³² days.
    #[must_use]
    pub fn seconds(self) -> i64 {
        i64::from(self.interval.get()) * self.unit.seconds()
    }
}

/// Formats the period like APIG's error messages: `5 minute`.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.interval, self.unit.as_str().to_ascii_lowercase())
    }
}
