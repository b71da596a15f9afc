//! Fixed windows: calls are counted from the beginning of a period to its end.

use crate::model::Period;

/// Which limit of this sort is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitedBy {
    /// That of an API.
    Api,
    /// That of a user.
    User,
    /// That of an app.
    App,
    /// That of an address.
    Ip,
    /// An app's quota.
    Quota,
}

impl LimitedBy {
    /// Its name, as APIG has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::User => "user",
            Self::App => "app",
            Self::Ip => "ip",
            Self::Quota => "quota",
        }
    }
}

/// A limit that is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitExceeded {
    /// Which.
    pub by: LimitedBy,
    /// How many calls it lets pass.
    pub limit: u32,
    /// In which period.
    pub period: Period,
    /// Seconds until it begins anew, at least 1.
    pub retry_after: u64,
}

/// Since when calls are counted, in seconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window(i64);

impl Window {
    /// The window of a call, when there is none yet: it begins with the call, or, when there is a moment from
    /// which all are counted, with the last one before it.
    pub(super) fn containing(period: Period, origin: Option<i64>, now: i64) -> Self {
        Self(origin.map_or(now, |origin| now - now.saturating_sub(origin).rem_euclid(period.seconds())))
    }

    /// Whether a moment lies in it.
    pub(super) fn contains(self, period: Period, origin: Option<i64>, now: i64) -> bool {
        match origin {
            Some(_) => Self::containing(period, origin, now) == self,
            // A moment just before the window is that of a call which was overtaken; one long before it, that of a
            // clock which was set back.
            None => now.abs_diff(self.0) < period.seconds().unsigned_abs(),
        }
    }

    /// Seconds until its end.
    pub(super) fn remaining_secs(self, period: Period, now: i64) -> u64 {
        u64::try_from(self.0.saturating_add(period.seconds()).saturating_sub(now)).unwrap_or(0).max(1)
    }
}
