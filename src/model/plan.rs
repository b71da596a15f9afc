//! Plans: the rate limits of callers.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::PlanId;

/// Maximum number of limits in a plan. A caller's record contains one bucket of 8 bytes for each.
pub const MAX_LIMITS: usize = 8;
/// 366 days: a limit over a longer window belongs in a contract, not in a rate limiter.
const MAX_WINDOW: u32 = 366 * 24 * 60 * 60;

/// Errors in a plan or one of its limits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlan {
    /// The plan has more than [`MAX_LIMITS`] limits.
    #[error("a plan has at most {MAX_LIMITS} limits")]
    TooManyLimits,
    /// Two limits have the same name.
    #[error("two limits are named {0:?}")]
    DuplicateName(String),
    /// The name cannot be part of a `RateLimit-Policy` header.
    #[error("a limit's name is 1 to 32 characters of a-z A-Z 0-9 - _ .")]
    Name,
    /// The quota is zero, which would deny every request. Disable the caller instead.
    #[error("a quota is at least 1")]
    Quota,
    /// The window is out of range.
    #[error("a window is 1 second to 366 days")]
    Window,
    /// The burst is out of range for the limit's guarantee.
    #[error("a burst is 1 to the quota; with the promise ceiling, it is less than the quota")]
    Burst,
    /// The bucket would take more than a hundred years to fill.
    #[error("quota, window and burst together refill too slowly: more than 100 years")]
    TooSlow,
}

/// The guarantee that a limit gives for every window, independent of when requests arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowGuarantee {
    /// The quota is the long-run rate, and a burst is allowed in addition: at most quota + burst in any one window.
    #[default]
    Average,
    /// At most the quota in any one window, the burst included.
    Ceiling,
}

impl WindowGuarantee {
    /// Returns the default burst of a quota.
    #[must_use]
    pub fn usual_burst(self, quota: u32) -> u32 {
        match self {
            Self::Average => quota,
            Self::Ceiling => (quota / 2).max(1),
        }
    }
}

/// A limit of a plan: a quota for each window, and the burst that may be used at once.
///
/// ```
/// use portcullis::model::{Limit, WindowGuarantee};
///
/// // 100 a minute in the long run, 20 of them at once: one more every 0.6 s
/// let limit = Limit::new("burst", 100, 60, 20, WindowGuarantee::Average).unwrap();
/// assert_eq!(limit.interval().as_millis(), 600);
/// // never more than 100 in any minute: one more every 0.75 s
/// let limit = Limit::new("minute", 100, 60, 20, WindowGuarantee::Ceiling).unwrap();
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
    /// Creates a limit of `quota` requests per `window` seconds, of which `burst` may arrive at once.
    ///
    /// # Errors
    /// [`InvalidPlan`] when a value is out of its range; the variant names the value.
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

    /// Creates the limit `second` of `quota` requests a second, all of which may arrive at once.
    ///
    /// # Panics
    /// If `quota` is 0.
    #[must_use]
    #[track_caller]
    pub fn per_second(quota: u32) -> Self {
        Self::constant("second", quota, 1)
    }

    /// Creates the limit `minute` of `quota` requests a minute, all of which may arrive at once.
    ///
    /// ```
    /// use portcullis::model::Limit;
    ///
    /// // 600 a minute in the long run, 50 of them at once: one more every 0.1 s
    /// let limit = Limit::per_minute(600).burst(50);
    /// assert_eq!(limit.interval().as_millis(), 100);
    /// ```
    ///
    /// # Panics
    /// If `quota` is 0.
    #[must_use]
    #[track_caller]
    pub fn per_minute(quota: u32) -> Self {
        Self::constant("minute", quota, 60)
    }

    /// Creates the limit `hour` of `quota` requests an hour, all of which may arrive at once.
    ///
    /// # Panics
    /// If `quota` is 0.
    #[must_use]
    #[track_caller]
    pub fn per_hour(quota: u32) -> Self {
        Self::constant("hour", quota, 60 * 60)
    }

    /// Creates the limit `day` of `quota` requests in 24 hours, all of which may arrive at once.
    ///
    /// # Panics
    /// If `quota` is 0.
    #[must_use]
    #[track_caller]
    pub fn per_day(quota: u32) -> Self {
        Self::constant("day", quota, 24 * 60 * 60)
    }

    /// Sets the number of requests that may arrive at once.
    ///
    /// # Panics
    /// If `burst` is 0 or more than the quota.
    #[must_use]
    #[track_caller]
    pub fn burst(self, burst: u32) -> Self {
        let Self { name, quota, window, promise, .. } = self;
        valid(Self::new(&*name, quota, window, burst, promise))
    }

    /// Never admits more than the quota in any one window, the burst included ([`WindowGuarantee::Ceiling`]). A burst
    /// of the whole quota becomes half of it.
    ///
    /// # Panics
    /// If the quota is 1: there would be no room for a burst.
    #[must_use]
    #[track_caller]
    pub fn ceiling(self) -> Self {
        let Self { name, quota, window, burst, .. } = self;
        let promise = WindowGuarantee::Ceiling;
        let burst = if burst == quota { promise.usual_burst(quota) } else { burst };
        valid(Self::new(&*name, quota, window, burst, promise))
    }

    /// Sets the name, as responses report it. The limits of a plan have different names.
    ///
    /// # Panics
    /// If the name is not 1 to 32 characters of `a-z A-Z 0-9 - _ .`.
    #[must_use]
    #[track_caller]
    pub fn named(self, name: &str) -> Self {
        let Self { quota, window, burst, promise, .. } = self;
        valid(Self::new(name, quota, window, burst, promise))
    }

    #[track_caller]
    fn constant(name: &str, quota: u32, window: u32) -> Self {
        valid(Self::new(name, quota, window, quota, WindowGuarantee::Average))
    }

    /// Returns the name, as `RateLimit-Policy` contains it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns a shared reference to the name.
    #[must_use]
    pub fn shared_name(&self) -> Arc<str> {
        self.name.clone()
    }

    /// Returns the number of requests per window, at least 1.
    #[must_use]
    pub fn quota(&self) -> u32 {
        self.quota
    }

    /// Returns the window in seconds, 1 s to 366 days.
    #[must_use]
    pub fn window(&self) -> u32 {
        self.window
    }

    /// Returns the number of requests that may arrive at once, 1 to the quota.
    #[must_use]
    pub fn burst_size(&self) -> u32 {
        self.burst
    }

    /// Returns the guarantee for every window.
    #[must_use]
    pub fn promise(&self) -> WindowGuarantee {
        self.promise
    }

    /// Returns the time after which the bucket has regained one request. It is rounded up to the nanosecond, so
    /// that rounding never breaks the guarantee.
    #[must_use]
    pub fn interval(&self) -> Duration {
        let spread = match self.promise {
            WindowGuarantee::Average => self.quota,
            WindowGuarantee::Ceiling => self.quota - self.burst,
        };
        Duration::from_nanos((u64::from(self.window) * 1_000_000_000).div_ceil(u64::from(spread)))
    }
}

/// Returns a limit whose values are constants of a program.
#[track_caller]
#[allow(clippy::panic, reason = "the values are constants, so this fails in the first run of the program")]
fn valid(limit: Result<Limit, InvalidPlan>) -> Limit {
    limit.unwrap_or_else(|invalid| panic!("invalid limit: {invalid}"))
}

/// A set of named limits. A request is allowed only if every limit has room, and it consumes from every limit.
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
    /// Creates a plan of these limits. A plan without limits is unlimited.
    ///
    /// # Errors
    /// [`InvalidPlan`] when there are more than [`MAX_LIMITS`] limits, or two with the same name.
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

    /// Returns the plan's name.
    #[must_use]
    pub fn id(&self) -> &PlanId {
        &self.id
    }

    /// Returns the limits in the order in which they are reported.
    #[must_use]
    pub fn limits(&self) -> &[Limit] {
        &self.limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_out_of_range_names_the_member() {
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
    fn limit_of_constants_equals_the_checked_one() {
        let new =
            |name, quota, window, burst, promise| Limit::new(name, quota, window, burst, promise).unwrap();
        assert_eq!(Limit::per_second(5), new("second", 5, 1, 5, WindowGuarantee::Average));
        assert_eq!(Limit::per_minute(6).burst(2), new("minute", 6, 60, 2, WindowGuarantee::Average));
        assert_eq!(Limit::per_hour(9).ceiling(), new("hour", 9, 3_600, 4, WindowGuarantee::Ceiling));
        let named = Limit::per_day(9).burst(3).ceiling().named("free");
        assert_eq!(named, new("free", 9, 86_400, 3, WindowGuarantee::Ceiling));
        assert!(std::panic::catch_unwind(|| Limit::per_minute(0)).is_err());
        assert!(std::panic::catch_unwind(|| Limit::per_minute(1).burst(2)).is_err());
    }

    #[test]
    fn limit_names_of_a_plan_differ() {
        let limit = Limit::new("x", 1, 1, 1, WindowGuarantee::Average).unwrap();
        let plan = Plan::new("p".parse().unwrap(), vec![limit.clone(), limit]);
        assert_eq!(plan, Err(InvalidPlan::DuplicateName("x".into())));
    }
}
