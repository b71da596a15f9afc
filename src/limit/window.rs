//! Fixed windows: calls are counted from the start of a period to its end.

use crate::model::Period;

/// The limit that is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitedBy {
    /// The limit of an API.
    Api,
    /// The limit of a user.
    User,
    /// The limit of an app.
    App,
    /// The limit of an address.
    Ip,
    /// An app's quota.
    Quota,
}

impl LimitedBy {
    /// Returns the limit's name in APIG.
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

/// An error for a limit that is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitExceeded {
    /// The limit.
    pub by: LimitedBy,
    /// The number of calls that the limit allows.
    pub limit: u32,
    /// The period of the limit.
    pub period: Period,
    /// Seconds until the next period, at least 1.
    pub retry_after: u64,
}

/// The start of a window, in seconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window(i64);

impl Window {
    /// Returns the window that contains a call. It starts with the call; with an `origin`, from which all windows
    /// are counted, it starts with the last multiple of the period before the call.
    pub(super) fn containing(period: Period, origin: Option<i64>, now: i64) -> Self {
        Self(origin.map_or(now, |origin| now - now.saturating_sub(origin).rem_euclid(period.seconds())))
    }

    /// Returns `true` if the window contains this moment.
    pub(super) fn contains(self, period: Period, origin: Option<i64>, now: i64) -> bool {
        match origin {
            Some(_) => Self::containing(period, origin, now) == self,
            // A moment shortly before the window belongs to a call that was overtaken. A moment long before it
            // means that the clock was set back.
            None => now.abs_diff(self.0) < period.seconds().unsigned_abs(),
        }
    }

    /// Returns the seconds until the end of the window, at least 1.
    pub(super) fn remaining_secs(self, period: Period, now: i64) -> u64 {
        u64::try_from(self.0.saturating_add(period.seconds()).saturating_sub(now)).unwrap_or(0).max(1)
    }
}
