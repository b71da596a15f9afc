//! Configuration of upstreams.

mod address;
mod balance;
mod health;
mod target;

pub use address::{InvalidUpstreamAddress, UpstreamAddress, UpstreamPlace, UpstreamProtocol};
pub use balance::{Balance, HashKey};
pub use health::{Ejection, HealthCheck};
pub use target::Target;

use std::{
    num::{NonZeroU16, NonZeroU32},
    path::PathBuf,
};

use serde::Deserialize;

use super::ConfigDuration;

/// An upstream: one or several targets that serve the same requests.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// The address of the only target. Either this or `targets` is required.
    pub address: Option<UpstreamAddress>,
    /// The targets, if there are several.
    #[serde(default)]
    pub targets: Vec<Target>,
    /// The selection of a target for each request.
    #[serde(default)]
    pub balance: Balance,
    /// The time in which the share of a new or recovered target grows from a tenth to its weight. Default: none.
    pub slow_start: Option<ConfigDuration>,
    /// TLS for `https` targets.
    #[serde(default)]
    pub tls: UpstreamTls,
    /// The maximum time to connect, including the resolution of a name and the TLS handshake; beyond it, the response is
    /// 504.
    #[serde(default = "Upstream::connect_timeout")]
    pub connect_timeout: ConfigDuration,
    /// The maximum time to wait for the head of the response (beyond it, 504) and between two parts of its body (beyond
    /// it, the connection to the client is aborted because the status has already been sent).
    #[serde(default = "Upstream::read_timeout")]
    pub read_timeout: ConfigDuration,
    /// The maximum time between two parts of an event stream (`text/event-stream`), of a gRPC call, or of a connection
    /// that was upgraded, such as a WebSocket.
    #[serde(default = "Upstream::stream_idle_timeout")]
    pub stream_idle_timeout: ConfigDuration,
    /// The maximum number of idle connections per target and worker thread.
    #[serde(default = "Upstream::idle_connections")]
    pub idle_connections: usize,
    /// The maximum time that a connection stays idle, with a resolution of one second. It should be shorter than the
    /// keep-alive timeout of the upstream.
    #[serde(default = "Upstream::idle_timeout")]
    pub idle_timeout: ConfigDuration,
    /// The maximum size of a response head in bytes; beyond it, the response is 502.
    #[serde(default = "Upstream::response_head_bytes")]
    pub response_head_bytes: NonZeroU32,
    /// The maximum number of response headers; beyond it, the response is 502.
    #[serde(default = "Upstream::response_header_count")]
    pub response_header_count: NonZeroU16,
    /// Retries on other targets.
    #[serde(default)]
    pub retries: Retries,
    /// Active health checks. Default: none.
    pub health_check: Option<HealthCheck>,
    /// The ejection of targets that fail.
    #[serde(default)]
    pub ejection: Ejection,
    /// Bounds on the load of the upstream, beyond which the response is 503. Default: none.
    #[serde(default)]
    pub limits: UpstreamLimits,
}

/// TLS to the targets of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamTls {
    /// The path of the certificates (PEM) of the authorities to trust. Default: the authorities of the platform.
    pub ca: Option<PathBuf>,
    /// The name for SNI and for the verification of the certificate. Default: the host of the address.
    pub server_name: Option<String>,
    /// The path of the client certificate chain (PEM). Default: none.
    pub certificate: Option<PathBuf>,
    /// The path of the private key of the client certificate (PEM).
    pub key: Option<PathBuf>,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
    /// Whether the certificate is verified. Without verification, anybody on the network path can read and change the
    /// requests.
    pub verify: bool,
}

impl Default for UpstreamTls {
    fn default() -> Self {
        Self { ca: None, server_name: None, certificate: None, key: None, http2: true, verify: true }
    }
}

/// Retries of requests on other targets of an upstream.
///
/// A request is sent again only if no part of a response was received, and either nothing of it was sent, or its method
/// is idempotent and it has no content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retries {
    /// The maximum number of retries of a request; 0 means none.
    pub attempts: u8,
    /// The maximum number of retries in percent of the requests.
    pub budget_percent: u16,
    /// The number of retries that may be saved up, per worker thread. It is also the number of retries that are
    /// possible at the start.
    pub budget_burst: NonZeroU16,
}

impl Default for Retries {
    fn default() -> Self {
        Self { attempts: 2, budget_percent: 20, budget_burst: NonZeroU16::MIN.saturating_add(99) }
    }
}

/// Bounds on the load of an upstream, over all worker threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamLimits {
    /// The maximum number of requests in progress. Default: none.
    pub requests: Option<NonZeroU32>,
    /// The maximum number of open connections, idle ones included. Further requests wait for up to `connect_timeout`.
    /// Default: none.
    pub connections: Option<NonZeroU32>,
    /// The maximum number of requests that wait for a connection.
    pub pending: Option<u32>,
}

impl Upstream {
    /// Returns the targets.
    #[must_use]
    pub fn all_targets(&self) -> Vec<Target> {
        self.address.iter().cloned().map(Target::from).chain(self.targets.iter().cloned()).collect()
    }

    fn connect_timeout() -> ConfigDuration {
        ConfigDuration::from_secs(2)
    }
    fn read_timeout() -> ConfigDuration {
        ConfigDuration::from_secs(60)
    }
    fn stream_idle_timeout() -> ConfigDuration {
        ConfigDuration::from_secs(3_600)
    }
    fn idle_connections() -> usize {
        128
    }
    fn idle_timeout() -> ConfigDuration {
        ConfigDuration::from_secs(30)
    }
    fn response_head_bytes() -> NonZeroU32 {
        NonZeroU32::MIN.saturating_add(65_535)
    }
    fn response_header_count() -> NonZeroU16 {
        NonZeroU16::MIN.saturating_add(99)
    }
}
