//! The response body on its way from the upstream to the client.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::{sync::OwnedSemaphorePermit, task::JoinSet, time::Instant};

use super::{
    Upstream, framing, http1_connection::Http1Connection, http2_connection::Http2Stream,
    pool::UpstreamConnection, request_body::Progress,
};
use crate::gateway::lazy_deadline::LazyDeadline;
use portcullis::tower::BoxError;

/// The driver of an upstream connection whose response has begun.
enum Driver {
    /// The connection is driven when the response body is polled.
    Inline(Box<Http1Connection>),
    /// The connection is driven by a task of its own, which is aborted on drop.
    Spawned {
        _task: JoinSet<()>,
        response_timeout: LazyDeadline,
    },
    /// The connection is shared, and driven by a task of its own.
    Shared(Box<Http2Stream>),
    Done,
}

impl Driver {
    fn task(mut connection: Box<Http1Connection>) -> Self {
        let mut task = JoinSet::new();
        task.spawn(poll_fn(move |cx| connection.drive(cx)));
        Self::Spawned { _task: task, response_timeout: LazyDeadline::new() }
    }
}

/// The body of an upstream's response. When it is complete, the connection returns to the
/// pool. When it is dropped earlier, the connection is closed.
pub(in crate::gateway) struct UpstreamBody {
    body: Incoming,
    read_timeout: Duration,
    waiting: bool,
    driver: Driver,
    request: Option<Progress>,
    /// The upstream whose pool takes the connection back. `None` if the connection cannot be used again.
    upstream: Option<Arc<Upstream>>,
    /// Counts the request, if requests are bounded.
    _permit: Option<OwnedSemaphorePermit>,
    /// An error that the next poll returns.
    failure: Option<BoxError>,
}

impl UpstreamBody {
    pub(super) fn new(
        body: Incoming,
        read_timeout: Duration,
        connection: UpstreamConnection,
        request: Option<Progress>,
        upstream: Option<Arc<Upstream>>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        // The request body must make progress even if the response body is not polled.
        let uploads = request.as_ref().is_some_and(|request| !request.is_done());
        let driver = match connection {
            UpstreamConnection::Http1(connection) if uploads => Driver::task(connection),
            UpstreamConnection::Http1(connection) => Driver::Inline(connection),
            UpstreamConnection::Http2(stream) => Driver::Shared(stream),
        };
        let mut this = Self {
            body,
            read_timeout,
            waiting: false,
            driver,
            request,
            upstream,
            _permit: permit,
            failure: None,
        };
        if this.body.is_end_stream() {
            this.keep_connection();
        }
        this
    }

    /// Creates the body of a response that has none, and that leaves no connection.
    pub(super) fn ended(body: Incoming) -> Self {
        Self {
            body,
            read_timeout: Duration::ZERO,
            waiting: false,
            driver: Driver::Done,
            request: None,
            upstream: None,
            _permit: None,
            failure: None,
        }
    }

    /// Returns the connection to the pool, unless the upstream responded before the request was complete: it still has
    /// to read the rest.
    fn keep_connection(&mut self) {
        if let Driver::Inline(connection) = std::mem::replace(&mut self.driver, Driver::Done)
            && self.request.as_ref().is_none_or(Progress::is_done)
            && let Some(upstream) = &self.upstream
        {
            upstream.pool.put(connection);
        }
    }

    /// Polls the response body. If no data is available, drives the connection and polls again.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let Driver::Inline(connection) = &mut self.driver else {
            return Pin::new(&mut self.body).poll_frame(cx);
        };
        // Only the connection, which is driven here, moves the body: a second wake-up is not needed.
        let still = &mut Context::from_waker(Waker::noop());
        let frame = Pin::new(&mut self.body).poll_frame(still);
        if frame.is_pending() {
            let _ = connection.drive(cx);
            return Pin::new(&mut self.body).poll_frame(still);
        }
        frame
    }
}

/// Removes the fields that must not be in trailers.
fn clean(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        framing::clean_trailers(trailers);
    }
    frame
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if let Some(error) = this.failure.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match this.poll_body(cx) {
            // hyper discards what it has not written when a body fails. Its flush comes first: otherwise a response that
            // is cut off right after its head would reach the client as a closed connection without any response.
            Poll::Ready(Some(Err(error))) => {
                this.failure = Some(error.into());
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(frame) => {
                this.waiting = false;
                if frame.is_none() || this.body.is_end_stream() {
                    this.keep_connection();
                }
                Poll::Ready(frame.map(|frame| frame.map(clean).map_err(Into::into)))
            }
            Poll::Pending => {
                let response_timeout = match &mut this.driver {
                    Driver::Inline(connection) => &mut connection.response_timeout,
                    Driver::Spawned { response_timeout, .. } => response_timeout,
                    Driver::Shared(stream) => &mut stream.response_timeout,
                    Driver::Done => return Poll::Pending,
                };
                if !this.waiting {
                    this.waiting = true;
                    response_timeout.set(Instant::now() + this.read_timeout);
                }
                while response_timeout.poll(cx).is_ready() {
                    // An upstream that is still receiving the request body may read all of it before it continues.
                    match this.request.as_ref().map(Progress::last) {
                        Some(last) if last + this.read_timeout > Instant::now() => {
                            response_timeout.set(last + this.read_timeout);
                        }
                        _ => {
                            let stopped = "upstream stopped in the middle of the response";
                            return Poll::Ready(Some(Err(stopped.into())));
                        }
                    }
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
