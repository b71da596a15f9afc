//! HTTP/2 connections to endpoints. Several requests share a connection.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use hyper::client::conn::http2::SendRequest;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    endpoint::{Endpoint, InFlight},
    request_body::RequestBody,
};
use crate::gateway::lazy_deadline::LazyDeadline;

/// The most concurrent requests of a connection. With more, a second connection is opened: they all share one TCP
/// stream, in which each waits for the loss of any packet.
const MAX_STREAMS: usize = 100;

/// A connection that serves several requests at a time. A task of its own drives it.
pub(super) struct Http2Connection {
    sender: SendRequest<RequestBody>,
    state: Arc<ConnectionState>,
    endpoint: Arc<Endpoint>,
}

/// The state that a connection shares with its requests and its task.
#[derive(Debug)]
pub(super) struct ConnectionState {
    streams: AtomicUsize,
    /// The maximum of the peer.
    peer_streams: AtomicUsize,
    /// Set after an error, also if only a stream failed: a new connection is safer than one of unknown state.
    failed: AtomicBool,
    /// Counts the connection, if connections are bounded.
    _permit: Option<OwnedSemaphorePermit>,
}

impl ConnectionState {
    pub(super) fn new(permit: Option<OwnedSemaphorePermit>) -> Arc<Self> {
        Arc::new(Self {
            streams: AtomicUsize::new(0),
            peer_streams: AtomicUsize::new(MAX_STREAMS),
            failed: AtomicBool::new(false),
            _permit: permit,
        })
    }

    pub(super) fn set_peer_streams(&self, most: usize) {
        self.peer_streams.store(most, Ordering::Relaxed);
    }
}

impl Http2Connection {
    pub(super) fn new(
        sender: SendRequest<RequestBody>,
        state: Arc<ConnectionState>,
        endpoint: Arc<Endpoint>,
    ) -> Self {
        Self { sender, state, endpoint }
    }

    /// Returns `true` if the connection accepts further requests, now or later.
    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed() && !self.state.failed.load(Ordering::Relaxed)
    }

    /// Returns `true` if no request is in progress.
    pub(super) fn is_idle(&self) -> bool {
        self.state.streams.load(Ordering::Relaxed) == 0
    }

    /// Begins a request, unless the connection has as many as it can take.
    pub(super) fn stream(&self, counts: bool) -> Option<Http2Stream> {
        let most = self.state.peer_streams.load(Ordering::Relaxed).clamp(1, MAX_STREAMS);
        if self.state.streams.load(Ordering::Relaxed) >= most {
            return None;
        }
        Some(self.begin(counts))
    }

    /// Begins a request, even if it has to wait for others to end.
    pub(super) fn begin(&self, counts: bool) -> Http2Stream {
        self.state.streams.fetch_add(1, Ordering::Relaxed);
        Http2Stream {
            sender: self.sender.clone(),
            response_timeout: LazyDeadline::new(),
            guard: StreamGuard(self.state.clone()),
            _in_flight: counts.then(|| InFlight::new(&self.endpoint)),
            endpoint: self.endpoint.clone(),
        }
    }
}

/// A request on a shared connection.
pub(super) struct Http2Stream {
    pub(super) sender: SendRequest<RequestBody>,
    pub(super) response_timeout: LazyDeadline,
    pub(super) guard: StreamGuard,
    /// Set if requests in progress are counted.
    _in_flight: Option<InFlight>,
    pub(super) endpoint: Arc<Endpoint>,
}

/// Counts a request until it is dropped.
#[derive(Debug)]
pub(super) struct StreamGuard(Arc<ConnectionState>);

impl StreamGuard {
    /// Records that the connection is not to be used for further requests.
    pub(super) fn retire(&self) {
        self.0.failed.store(true, Ordering::Relaxed);
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}
