//! What a stranger can make the gateway hold, and for how long.

use std::num::NonZeroU32;

use serde::Deserialize;

use super::ConfigDuration;
use crate::limit::MinDataRate;

/// Bounds on connections and requests. Every one has a default, and what happens beyond it is said.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Open connections in all; beyond it new ones are closed at once. Lowered at start if the limit of open
    /// files is too low for twice as many.
    pub connections: NonZeroU32,
    /// Open connections of one address, an IPv6 address counting with its /64; beyond it new ones are
    /// closed at once.
    pub connections_per_address: NonZeroU32,
    /// Requests on one connection; the last of them is answered with `Connection: close`, or on HTTP/2
    /// with GOAWAY.
    pub requests_per_connection: NonZeroU32,
    /// How old a connection may get; then it ends as after its last request.
    pub connection_age: ConfigDuration,
    /// Bytes of a request's target, its query included; beyond it 414.
    pub target_bytes: NonZeroU32,
    /// Bytes of a request's head, its target included; beyond it 431. To say which of the two it was, up
    /// to 80 KiB more are read; beyond that it is 431.
    pub head_bytes: NonZeroU32,
    /// Fields of a request's head; beyond it 431.
    pub head_fields: NonZeroU32,
    /// How long a client may take to send a request's head, counted from the connection's start or from
    /// the last answer; beyond it 408. An idle connection is kept for as long, and then closed. So long
    /// may a TLS handshake take, too.
    pub head_timeout: ConfigDuration,
    /// How long an HTTP/2 connection may have no request on it; beyond it the connection ends. On HTTP/1.1
    /// `head_timeout` counts.
    pub idle_timeout: ConfigDuration,
    /// Bytes of a request's body, unless its route says otherwise; beyond it 413.
    pub body_bytes: u64,
    /// How long a client may take for the next bytes of a request's body; beyond it 408.
    pub body_timeout: ConfigDuration,
    /// Bytes a second of a request's body, counted over the time in which the client is waited for, beyond
    /// the first `body_timeout`; slower is 408. Bytes a second of a response, too, beyond the first
    /// `write_timeout`; slower, the connection is closed, or the stream is reset. What comes faster saves
    /// up no more than these timeouts.
    pub body_rate: NonZeroU32,
    /// How long a client may take none of the bytes it asked for; beyond it the connection is closed.
    pub write_timeout: ConfigDuration,
    /// Streams a client may have open on one HTTP/2 connection; beyond it they are refused.
    pub streams: NonZeroU32,
}

impl Limits {
    /// How slow a request's body may come.
    #[must_use]
    pub fn pace(&self) -> MinDataRate {
        MinDataRate { timeout: self.body_timeout.duration(), rate: self.body_rate.get() }
    }

    /// The slowest pace at which a response may be taken.
    #[must_use]
    pub fn write_pace(&self) -> MinDataRate {
        MinDataRate { timeout: self.write_timeout.duration(), rate: self.body_rate.get() }
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
            head_fields: number(100),
            head_timeout: ConfigDuration::from_secs(10),
            idle_timeout: ConfigDuration::from_secs(60),
            body_bytes: 10 * 1024 * 1024,
            body_timeout: ConfigDuration::from_secs(30),
            body_rate: number(240),
            write_timeout: ConfigDuration::from_secs(30),
            streams: number(128),
        }
    }
}
