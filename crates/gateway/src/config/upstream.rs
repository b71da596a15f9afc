//! Configuration of upstreams.

mod address;

pub use address::{InvalidUpstreamAddress, UpstreamAddress};

use serde::Deserialize;

use super::ConfigDuration;

/// An upstream.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// The host and port. The gateway uses HTTP/1.1.
    pub address: UpstreamAddress,
    /// The maximum time to connect, and to resolve a name; beyond it, the response is 504.
    #[serde(default = "Upstream::connect_timeout")]
    pub connect_timeout: ConfigDuration,
    /// The maximum time to wait for the head of the response (beyond it, 504) and between two parts of its body (beyond
    /// it, the connection to the client is aborted because the status has already been sent).
    #[serde(default = "Upstream::read_timeout")]
    pub read_timeout: ConfigDuration,
    /// The maximum number of idle connections per worker thread.
    #[serde(default = "Upstream::idle_connections")]
    pub idle_connections: usize,
    /// The maximum time that a connection stays idle, with a resolution of one second. It should be shorter than the
    /// keep-alive timeout of the upstream.
    #[serde(default = "Upstream::idle_timeout")]
    pub idle_timeout: ConfigDuration,
}

impl Upstream {
    fn connect_timeout() -> ConfigDuration {
        ConfigDuration::from_secs(2)
    }
    fn read_timeout() -> ConfigDuration {
        ConfigDuration::from_secs(60)
    }
    fn idle_connections() -> usize {
        128
    }
    fn idle_timeout() -> ConfigDuration {
        ConfigDuration::from_secs(30)
    }
}
