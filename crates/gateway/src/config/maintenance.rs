//! Configuration of the maintenance of a route.

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de};

use super::ConfigDuration;

/// The maintenance of a route: all requests are denied, always or in planned windows.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Maintenance {
    /// The status: 503, or 423.
    pub status: MaintenanceStatus,
    /// The explanation for clients.
    pub message: String,
    /// The time after which clients should retry if the end is not known.
    pub retry_after: ConfigDuration,
    /// The planned windows. Default: always.
    pub windows: Vec<Window>,
    /// The networks of clients whose requests are served.
    pub exempt_addresses: Vec<IpNet>,
}

impl Default for Maintenance {
    fn default() -> Self {
        Self {
            status: MaintenanceStatus(503),
            message: "The service is under maintenance. Retry later.".into(),
            retry_after: ConfigDuration::from_secs(300),
            windows: Vec::new(),
            exempt_addresses: Vec::new(),
        }
    }
}

/// The status of responses during maintenance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaintenanceStatus(u16);

impl MaintenanceStatus {
    /// Returns `true` for 423.
    #[must_use]
    pub fn is_locked(self) -> bool {
        self.0 == 423
    }
}

impl<'de> Deserialize<'de> for MaintenanceStatus {
    fn deserialize<D: Deserializer<'de>>(number: D) -> Result<Self, D::Error> {
        match u16::deserialize(number)? {
            number @ (503 | 423) => Ok(Self(number)),
            _ => Err(de::Error::custom("the status of maintenance is 503 or 423")),
        }
    }
}

/// A planned window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The first moment. Default: every moment before `until`.
    #[serde(default, deserialize_with = "moment")]
    pub from: Option<Timestamp>,
    /// The first moment after the window. Default: never.
    #[serde(default, deserialize_with = "moment")]
    pub until: Option<Timestamp>,
}

impl Window {
    /// Returns `true` if a moment is in the window.
    #[must_use]
    pub fn contains(&self, now: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= now) && self.until.is_none_or(|until| now < until)
    }
}

/// A moment in the file: a date and time of TOML, or the same as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Moment {
    Native(toml::value::Datetime),
    Text(String),
}

fn moment<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Timestamp>, D::Error> {
    const WRONG: &str = "a moment is a date, a time and an offset (RFC 3339), such as 2027-01-31T22:00:00Z";
    let text = match Moment::deserialize(value).map_err(|_| de::Error::custom(WRONG))? {
        Moment::Native(moment) => moment.to_string(),
        Moment::Text(text) => text,
    };
    text.parse().map(Some).map_err(|_| de::Error::custom(WRONG))
}
