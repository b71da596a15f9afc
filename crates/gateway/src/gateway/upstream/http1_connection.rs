//! An HTTP/1.1 connection to an endpoint.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use hyper::client::conn::http1::{Connection, Parts, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    endpoint::{Endpoint, InFlight},
    request_body::RequestBody,
    stream::{Exchange, UpstreamStream},
};
use crate::gateway::{lazy_deadline::LazyDeadline, tunnel::Prefixed};

type Driver = Pin<Box<Connection<TokioIo<UpstreamStream>, RequestBody>>>;

/// A connection that serves one request at a time.
///
/// The connection has no task of its own: the code that waits for it [drives](Self::drive) it, so that an exchange does
/// not have to wake a second task.
pub(super) struct Http1Connection {
    pub(super) sender: SendRequest<RequestBody>,
    connection: Driver,
    is_closed: bool,
    pub(super) exchange: Arc<Exchange>,
    pub(super) response_timeout: LazyDeadline,
    pub(super) endpoint: Arc<Endpoint>,
    /// Set during an exchange, if requests in progress are counted.
    pub(super) in_flight: Option<InFlight>,
    /// Counts the connection, if connections are bounded.
    permit: Option<OwnedSemaphorePermit>,
}

impl Http1Connection {
    pub(super) fn new(
        sender: SendRequest<RequestBody>,
        connection: Connection<TokioIo<UpstreamStream>, RequestBody>,
        exchange: Arc<Exchange>,
        endpoint: Arc<Endpoint>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            sender,
            connection: Box::pin(connection),
            is_closed: false,
            exchange,
            response_timeout: LazyDeadline::new(),
            endpoint,
            in_flight: None,
            permit,
        }
    }

    /// Makes progress on the connection, and registers the waker for more. Ready when the connection is closed.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_closed {
            return Poll::Ready(());
        }
        let end = ready!(self.connection.as_mut().poll(cx));
        self.is_closed = true;
        if let Err(error) = end {
            tracing::debug!(%error, "upstream connection failed");
        }
        Poll::Ready(())
    }

    /// Returns `true` if another exchange can begin on the connection.
    pub(super) fn is_free(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop())).is_pending() && self.sender.is_ready()
    }

    /// Returns the stream of a connection whose last response has upgraded it. hyper has nothing more to do with it.
    pub(super) async fn into_upgraded(mut self, permit: Option<OwnedSemaphorePermit>) -> UpgradedStream {
        poll_fn(|cx| self.drive(cx)).await;
        let Parts { io, read_buf, .. } = Pin::into_inner(self.connection).into_parts();
        UpgradedStream {
            io: Prefixed { begin: read_buf, io: io.into_inner() },
            _in_flight: self.in_flight,
            _permits: [self.permit, permit],
        }
    }
}

/// The stream of a connection that is upgraded to another protocol.
pub(in crate::gateway) struct UpgradedStream {
    pub(in crate::gateway) io: Prefixed<UpstreamStream>,
    _in_flight: Option<InFlight>,
    /// Count the connection and the request, if they are bounded.
    _permits: [Option<OwnedSemaphorePermit>; 2],
}
