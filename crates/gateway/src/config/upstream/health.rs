//! Health checks and the ejection of targets.

use std::num::{NonZeroU8, NonZeroU32};

use serde::Deserialize;

use crate::config::ConfigDuration;

/// Active health checks of each target. A target that fails receives requests only if no other target is healthy.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// The path of the GET request. Default: none; then it is checked that a connection can be opened.
    pub path: Option<String>,
    /// The value of `Host`. Default: that of the address.
    pub host: Option<String>,
    /// The status codes of a healthy target. Default: 200 to 399.
    #[serde(default)]
    pub statuses: Vec<u16>,
    /// The time between two checks.
    #[serde(default = "HealthCheck::interval")]
    pub interval: ConfigDuration,
    /// The maximum time of a check.
    #[serde(default = "HealthCheck::timeout")]
    pub timeout: ConfigDuration,
    /// The number of successful checks in succession after which a target is healthy again.
    #[serde(default = "HealthCheck::healthy_after")]
    pub healthy_after: NonZeroU8,
    /// The number of failed checks in succession after which a target is unhealthy.
    #[serde(default = "HealthCheck::unhealthy_after")]
    pub unhealthy_after: NonZeroU8,
}

impl HealthCheck {
    fn interval() -> ConfigDuration {
        ConfigDuration::from_secs(5)
    }
    fn timeout() -> ConfigDuration {
        ConfigDuration::from_secs(2)
    }
    fn healthy_after() -> NonZeroU8 {
        NonZeroU8::MIN.saturating_add(1)
    }
    fn unhealthy_after() -> NonZeroU8 {
        NonZeroU8::MIN.saturating_add(2)
    }

    /// Returns `true` if a target that responds with this status is healthy.
    #[must_use]
    pub fn accepts(&self, status: u16) -> bool {
        if self.statuses.is_empty() { (200..400).contains(&status) } else { self.statuses.contains(&status) }
    }
}

/// The ejection of targets that fail in succession: an ejected target receives requests only if no other target is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ejection {
    /// Whether targets are ejected.
    pub enabled: bool,
    /// The number of failures in succession: connections that fail, timeouts, invalid responses.
    pub failures: NonZeroU32,
    /// Whether responses with a status of 500 to 599 count as failures.
    pub count_5xx: bool,
    /// The time of the first ejection. It doubles with each further one in succession, up to ten minutes.
    pub duration: ConfigDuration,
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            enabled: true,
            failures: NonZeroU32::MIN.saturating_add(2),
            count_5xx: false,
            duration: ConfigDuration::from_secs(10),
        }
    }
}
