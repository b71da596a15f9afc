//! The servers of hyper, with the limits of the configuration.

use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioTimer;

use crate::{config::Limits, gateway::write_timeout::h2_streams::StreamExecutor};

/// The number of bytes that are read beyond the largest allowed head, so that the response can tell which part of the
/// head is too large. More than the longest target (64 KiB) for which hyper reports a long target instead of a large
/// head.
const BEYOND: u32 = 80 * 1024;

/// The maximum number of headers that hyper accepts by default.
const FIELDS: u32 = 100;

/// Creates the HTTP/1.1 server of a connection.
pub(super) fn http1(limits: &Limits) -> http1::Builder {
    let mut http = http1::Builder::new();
    // The timeout of a head is checked together with the idle timeout, to use one timer for each connection.
    http.header_read_timeout(None).max_buf_size(limits.head_bytes.get().saturating_add(BEYOND) as usize);
    // hyper heap-allocates the header table when `max_headers` is set, even to its default.
    if limits.header_count.get() != FIELDS {
        http.max_headers(limits.header_count.get() as usize);
    }
    http
}

/// Creates the HTTP/2 server of a connection.
pub(super) fn http2(limits: &Limits) -> http2::Builder<StreamExecutor> {
    let mut http = http2::Builder::new(StreamExecutor { pace: limits.write_pace() });
    http.timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_per_connection.get())
        .max_header_list_size(limits.head_bytes.get().saturating_add(BEYOND))
        .keep_alive_interval(Some(Duration::from_secs(60)));
    http
}
