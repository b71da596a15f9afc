//! Plans: how much a caller may.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::PlanId;

/// The most limits one plan may have. A caller's record holds one bucket of 8 bytes for each.
pub const MAX_LIMITS: usize = 8;
/// 366 days: a longer window is a contract, not a rate.
const MAX_WINDOW: u32 = 366 * 24 * 60 * 60;

/// Why a plan or one of its limits holds no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlan {
    /// More than [`MAX_LIMITS`] limits.
    #[error("a plan has at most {MAX_LIMITS} limits")]
    TooManyLimits,
    /// Two limits with one name.
    #[error("two limits are named {0:?}")]
    DuplicateName(String),
    /// A name that could not stand in a `RateLimit-Policy` field.
    #[error("a limit's name is 1 to 32 characters of a-z A-Z 0-9 - _ .")]
    Name,
    /// A quota of zero admits nobody: disable the caller instead.
    #[error("a quota is at least 1")]
    Quota,
    /// A window out of range.
    #[error("a window is 1 second to 366 days")]
    Window,
    /// A burst out of range for its promise.
    #[error("a burst is at least 1 and at most the quota; under a ceiling, below it")]
    Burst,
    /// A bucket that would take more than a hundred years to fill.
    #[error("quota, window and burst together fill too slowly to count")]
    TooSlow,
}

/// What a limit promises of every window, however the requests arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowGuarantee {
    /// The quota is the long-run rate; a burst comes on top: at most quota + burst in any one window.
    #[default]
    Average,
    /// At most the quota in any one window, the burst included.
    Ceiling,
}

impl WindowGuarantee {
    /// How much of a quota may come at once, unless it is said.
    #[must_use]
    pub fn usual_burst(self, quota: u32) -> u32 {
        match self {
            Self::Average => quota,
            Self::Ceiling => (quota / 2).max(1),
        }
    }
}

/// One limit of a plan: a quota for each window, and how much of it may come at once.
///
/// ```
/// use portcullis::app::{Limit, Promise};
///
/// // 100 a minute in the long run, 20 of them at once: one more every 0.6 s
/// let limit = Limit::new("burst", 100, 60, 20, Promise::Average).unwrap();
/// assert_eq!(limit.interval().as_millis(), 600);
/// // never more than 100 in any minute: one more every 0.75 s
/// let limit = Limit::new("minute", 100, 60, 20, Promise::Ceiling).unwrap();
/// assert_eq!(limit.interval().as_millis(), 750);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawLimit")]
pub struct Limit {
    name: Arc<str>,
    quota: u32,
    window: u32,
    burst: u32,
    promise: WindowGuarantee,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimit {
    name: String,
    quota: u32,
    window: u32,
    burst: Option<u32>,
    #[serde(default)]
    promise: WindowGuarantee,
}

impl TryFrom<RawLimit> for Limit {
    type Error = InvalidPlan;

    fn try_from(raw: RawLimit) -> Result<Self, InvalidPlan> {
        let burst = raw.burst.unwrap_or(raw.promise.usual_burst(raw.quota));
        Self::new(raw.name, raw.quota, raw.window, burst, raw.promise)
    }
}

impl Limit {
    /// A limit of `quota` requests per `window` seconds, of which `burst` may come at once.
    ///
    /// # Errors
    /// [`InvalidPlan`] when a value is out of the range its variant names.
    pub fn new(
        name: impl Into<String>,
        quota: u32,
        window: u32,
        burst: u32,
        promise: WindowGuarantee,
    ) -> Result<Self, InvalidPlan> {
        let name = name.into();
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if !(1..=32).contains(&name.len()) || !name.bytes().all(plain) {
            return Err(InvalidPlan::Name);
        }
        if quota == 0 {
            return Err(InvalidPlan::Quota);
        }
        if !(1..=MAX_WINDOW).contains(&window) {
            return Err(InvalidPlan::Window);
        }
        let most = match promise {
            WindowGuarantee::Average => quota,
            WindowGuarantee::Ceiling => quota - 1,
        };
        if !(1..=most).contains(&burst) {
            return Err(InvalidPlan::Burst);
        }
        let limit = Self { name: name.into(), quota, window, burst, promise };
        let century = Duration::from_secs(100 * 365 * 24 * 60 * 60);
        match limit.interval().checked_mul(burst) {
            Some(full) if full <= century => Ok(limit),
            _ => Err(InvalidPlan::TooSlow),
        }
    }

    /// The name, as it stands in `RateLimit-Policy`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name, to be kept.
    #[must_use]
    pub fn shared_name(&self) -> Arc<str> {
        self.name.clone()
    }

    /// Requests per window, at least 1.
    #[must_use]
    pub fn quota(&self) -> u32 {
        self.quota
    }

    /// The window in seconds, 1 s to 366 days.
    #[must_use]
    pub fn window(&self) -> u32 {
        self.window
    }

    /// How many requests may come at once, 1 to the quota.
    #[must_use]
    pub fn burst(&self) -> u32 {
        self.burst
    }

    /// What holds of every window.
    #[must_use]
    pub fn promise(&self) -> WindowGuarantee {
        self.promise
    }

    /// The time in which one request's worth comes back. Rounded up to the nanosecond, so that a
    /// promise is never broken by rounding.
    #[must_use]
    pub fn interval(&self) -> Duration {
        let spread = match self.promise {
            WindowGuarantee::Average => self.quota,
            WindowGuarantee::Ceiling => self.quota - self.burst,
        };
        Duration::from_nanos((u64::from(self.window) * 1_000_000_000).div_ceil(u64::from(spread)))
    }
}

/// Named limits that hold together: a request needs room in every one, and spends from every one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawPlan")]
pub struct Plan {
    id: PlanId,
    limits: Vec<Limit>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlan {
    id: PlanId,
    limits: Vec<Limit>,
}

impl TryFrom<RawPlan> for Plan {
    type Error = InvalidPlan;

    fn try_from(raw: RawPlan) -> Result<Self, InvalidPlan> {
        Self::new(raw.id, raw.limits)
    }
}

impl Plan {
    /// A plan of these limits; none at all means unlimited.
    ///
    /// # Errors
    /// [`InvalidPlan`] when there are more than [`MAX_LIMITS`], or two of one name.
    pub fn new(id: PlanId, limits: Vec<Limit>) -> Result<Self, InvalidPlan> {
        if limits.len() > MAX_LIMITS {
            return Err(InvalidPlan::TooManyLimits);
        }
        for (at, limit) in limits.iter().enumerate() {
            if limits[..at].iter().any(|other| other.name == limit.name) {
                return Err(InvalidPlan::DuplicateName(limit.name.to_string()));
            }
        }
        Ok(Self { id, limits })
    }

    /// The plan's name.
    #[must_use]
    pub fn id(&self) -> &PlanId {
        &self.id
    }

    /// The limits, in the order they are reported.
    #[must_use]
    pub fn limits(&self) -> &[Limit] {
        &self.limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_out_of_range_says_which() {
        let limit = |quota, window, burst, promise| Limit::new("x", quota, window, burst, promise);
        assert_eq!(limit(0, 1, 1, WindowGuarantee::Average), Err(InvalidPlan::Quota));
        assert_eq!(limit(1, 0, 1, WindowGuarantee::Average), Err(InvalidPlan::Window));
        assert_eq!(limit(5, 1, 6, WindowGuarantee::Average), Err(InvalidPlan::Burst));
        assert_eq!(limit(5, 1, 5, WindowGuarantee::Ceiling), Err(InvalidPlan::Burst));
        assert_eq!(limit(1, 1, 1, WindowGuarantee::Ceiling), Err(InvalidPlan::Burst));
        let slow = limit(u32::MAX, MAX_WINDOW, u32::MAX - 1, WindowGuarantee::Ceiling);
        assert_eq!(slow, Err(InvalidPlan::TooSlow));
        assert_eq!(Limit::new("a b", 1, 1, 1, WindowGuarantee::Average), Err(InvalidPlan::Name));
    }

    #[test]
    fn names_within_a_plan_differ() {
        let limit = Limit::new("x", 1, 1, 1, WindowGuarantee::Average).unwrap();
        let plan = Plan::new("p".parse().unwrap(), vec![limit.clone(), limit]);
        assert_eq!(plan, Err(InvalidPlan::DuplicateName("x".into())));
    }
}
