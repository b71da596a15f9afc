//! Periods in which calls are counted.

use std::{fmt, num::NonZeroU32};

use serde::{Deserialize, Serialize};

/// What a [`Period`] is counted in.
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
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Second, Self::Minute, Self::Hour, Self::Day];

    /// The unit's name in the store, and on the APIG surface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Second => "SECOND",
            Self::Minute => "MINUTE",
            Self::Hour => "HOUR",
            Self::Day => "DAY",
        }
    }

    /// How many seconds it has.
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

/// How long calls are counted before the count begins anew.
///
/// ```
/// use portcullis::app::{Period, TimeUnit};
///
/// let period = Period { interval: 5.try_into().unwrap(), unit: TimeUnit::Minute };
/// assert_eq!((period.seconds(), period.to_string()), (300, "5 minute".into()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    /// How many units.
    pub interval: NonZeroU32,
    /// Of which.
    pub unit: TimeUnit,
}

impl Period {
    /// Its length in seconds: 1 s to 2³² days.
    #[must_use]
    pub fn seconds(self) -> i64 {
        i64::from(self.interval.get()) * self.unit.seconds()
    }
}

/// As APIG writes it in a refusal: `5 minute`.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.interval, self.unit.as_str().to_ascii_lowercase())
    }
}
