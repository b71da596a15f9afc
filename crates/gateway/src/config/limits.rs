//! Resource limits for clients.

use std::num::NonZeroU32;

use serde::Deserialize;

use super::ConfigDuration;
use portcullis::limit::MinDataRate;

/// Limits on connections and requests. Every limit has a default.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The maximum number of open connections; beyond it, new connections are closed at once. It is lowered at start if
    /// the limit of open files is less than twice this number.
    pub connections: NonZeroU32,
    /// The maximum number of open connections per client address (per /64 network for IPv6); beyond it, new connections
    /// are closed at once.
    pub connections_per_address: NonZeroU32,
    /// The maximum number of requests per connection. The response to the last one has `Connection: close`, or a GOAWAY
    /// frame on HTTP/2.
    pub requests_per_connection: NonZeroU32,
    /// The maximum age of a connection. It then closes in the same way as after `requests_per_connection`.
    pub connection_age: ConfigDuration,
    /// The maximum size of a request target with its query, in bytes; beyond it, the response is 414.
    pub target_bytes: NonZeroU32,
    /// The maximum size of a request head with its target, in bytes; beyond it, the response is 431. Up to 80 KiB more
    /// are read to tell a long target (414) from a long head; beyond that, the response is 431.
    pub head_bytes: NonZeroU32,
    /// The maximum number of headers of a request; beyond it, the response is 431.
    pub header_count: NonZeroU32,
    /// The maximum time for a client to send a request head, from the start of the connection or, later, from the first
    /// byte; beyond it, the response is 408. For a head after the first one, it may be exceeded by its own length. It
    /// also limits TLS handshakes.
    pub head_timeout: ConfigDuration,
    /// The maximum time between two requests of a connection; beyond it, the connection is closed. It should be longer
    /// than that of a load balancer in front, which would otherwise reuse a connection that is being closed.
    pub idle_timeout: ConfigDuration,
    /// The maximum size of a request body in bytes, unless the route has its own limit; beyond it, the response is 413.
    pub body_bytes: u64,
    /// The maximum time to wait for the next bytes of a request body; beyond it, the response is 408.
    pub body_timeout: ConfigDuration,
    /// The minimum data rate in bytes per second. A request body that is slower after the first `body_timeout`,
    /// measured over the time spent waiting for the client, gets 408. If a client reads a response more slowly after
    /// the first `write_timeout`, the connection is closed or the stream is reset. Faster transfer builds up a reserve
    /// of at most these timeouts.
    pub min_data_rate: NonZeroU32,
    /// The maximum time for which a client may read nothing of a response; beyond it, the connection is closed.
    pub write_timeout: ConfigDuration,
    /// The maximum number of concurrent streams on an HTTP/2 connection; beyond it, new streams are refused.
    pub streams_per_connection: NonZeroU32,
}

impl Limits {
    /// Returns the minimum data rate of request bodies.
    #[must_use]
    pub fn pace(&self) -> MinDataRate {
        MinDataRate { timeout: self.body_timeout.duration(), rate: self.min_data_rate.get() }
    }

    /// Returns the minimum data rate at which clients must read responses.
    #[must_use]
    pub fn write_pace(&self) -> MinDataRate {
        MinDataRate { timeout: self.write_timeout.duration(), rate: self.min_data_rate.get() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let number = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MAX);
        Self {
            connections: number(10_000),
            connections_per_address: number(256),
            requests_per_connection: number(10_000),
            connection_age: ConfigDuration::from_secs(3_600),
            target_bytes: number(8 * 1024),
            head_bytes: number(32 * 1024),
            header_count: number(100),
            head_timeout: ConfigDuration::from_secs(10),
            idle_timeout: ConfigDuration::from_secs(75),
            body_bytes: 10 * 1024 * 1024,
            body_timeout: ConfigDuration::from_secs(30),
            min_data_rate: number(240),
            write_timeout: ConfigDuration::from_secs(30),
            streams_per_connection: number(128),
        }
    }
}
