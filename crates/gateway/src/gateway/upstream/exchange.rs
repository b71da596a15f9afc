//! Sends a request, and sends it again where that is safe.

use std::{
    error::Error,
    fmt::Display,
    future::{Future, poll_fn},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use smallvec::SmallVec;
use tokio::time::{Instant, timeout};

use super::{
    Upstream,
    connector::{ConnectError, Connection, HttpVersions, WithCauses},
    endpoint::{Endpoint, Monotonic},
    http1_connection::Http1Connection,
    http2_connection::Http2Stream,
    load_limit::Overload,
    outgoing::Outgoing,
    pool::{Opening, Selected, UpstreamConnection},
    request_body::{Progress, RequestBody},
    request_head,
};
use crate::gateway::lazy_deadline::LazyDeadline;
use portcullis::Denial;

/// A response, and the connection that its body arrives on.
pub(super) struct Received {
    pub(super) connection: UpstreamConnection,
    pub(super) response: Response<Incoming>,
}

/// The reason that there is no connection.
enum Unconnected {
    Failed(ConnectError),
    /// Another request has not opened the connection in time. The failure is counted there.
    Waited,
    Overloaded(Overload),
}

/// The `Retry-After` of a 503 because of the load or the health of the upstream, in seconds.
const RETRY_AFTER: u64 = 1;

/// The maximum number of fallback addresses that are tried in addition to the retries.
const MAX_FALLBACKS: u8 = 2;

/// The endpoints that failed to serve a request.
#[derive(Default)]
struct Failures {
    endpoints: SmallVec<[Arc<Endpoint>; 2]>,
    retries: u8,
    /// The number of fallback addresses, which do not count as retries.
    fallbacks: u8,
}

impl Upstream {
    /// Sends a request and waits for the head of the response.
    ///
    /// If an idle connection turns out to be closed, the request is sent again on a new one. If an endpoint fails, it is
    /// sent to another one, within the budget of retries. Both require that no part of a response was received, and that
    /// nothing was sent or the method is idempotent and there is no content (RFC 9110, section 9.2.2).
    pub(super) async fn exchange(&self, outgoing: &mut Outgoing) -> Result<Received, Denial> {
        let mut failures = Failures::default();
        let mut fresh = None;
        loop {
            let selected = if let Some(endpoint) = fresh.take() {
                Selected::Endpoint(endpoint)
            } else if let Some(selected) =
                self.pool.select(outgoing.key.as_deref(), &failures.endpoints, outgoing.http)
            {
                selected
            } else {
                self.wait_for_endpoints(&failures).await?;
                continue;
            };
            let (mut connection, reused) = match selected {
                Selected::Connection(connection) => (connection, true),
                Selected::Endpoint(endpoint) => {
                    match Box::pin(self.connect(&endpoint, outgoing.http)).await {
                        Ok(connection) => (connection, false),
                        Err(error) => {
                            let denial = self.unconnected(&endpoint, error)?;
                            if self.may_try_another(&mut failures, &endpoint, true) {
                                continue;
                            }
                            return Err(denial);
                        }
                    }
                }
            };
            let sent = self.send(&mut connection, outgoing).await;
            let endpoint = connection.endpoint();
            let error = match sent {
                Ok(Ok(response)) => return Ok(Received { connection, response }),
                Ok(Err(error)) => error,
                Err(denial) => {
                    if matches!(denial, Denial::GatewayTimeout { .. }) {
                        self.failed(endpoint, &"response timed out");
                    }
                    return Err(denial);
                }
            };
            let endpoint = endpoint.clone();
            drop(connection);
            if outgoing.request.is_none() {
                return Err(self.exchange_failed(&endpoint, &error, outgoing.progress.as_ref()));
            }
            if reused {
                tracing::debug!(upstream = %self.name, %endpoint, %error, "retrying on a new connection");
                fresh = Some(endpoint);
                continue;
            }
            let denial = self.exchange_failed(&endpoint, &error, outgoing.progress.as_ref());
            if !self.may_try_another(&mut failures, &endpoint, false) {
                return Err(denial);
            }
        }
    }

    /// Decides whether a request may be sent to another endpoint after one has failed, or could not be connected to.
    fn may_try_another(&self, failures: &mut Failures, endpoint: &Arc<Endpoint>, connecting: bool) -> bool {
        failures.endpoints.push(endpoint.clone());
        let (_, set) = self.pool.endpoints.current();
        let is_tried = |one: &Arc<Endpoint>| failures.endpoints.iter().any(|tried| Arc::ptr_eq(tried, one));
        let mut others = set.endpoints.iter().filter(|one| !is_tried(one)).peekable();
        if others.peek().is_none() {
            return false;
        }
        // A fallback address of the same name is a part of connecting to it.
        let mut of_target = others.filter(|one| one.target == endpoint.target).peekable();
        if connecting
            && failures.fallbacks < MAX_FALLBACKS
            && of_target.peek().is_some()
            && of_target.all(|one| one.is_fallback)
        {
            failures.fallbacks += 1;
            return true;
        }
        if failures.retries >= self.retries {
            return false;
        }
        if !self.pool.withdraw_retry() {
            tracing::debug!(upstream = %self.name, "no retry, because the budget is used up");
            return false;
        }
        failures.retries += 1;
        true
    }

    /// Opens a connection.
    async fn connect(
        &self,
        endpoint: &Arc<Endpoint>,
        http: HttpVersions,
    ) -> Result<UpstreamConnection, Unconnected> {
        let deadline = Instant::now() + self.connect_timeout;
        while http == HttpVersions::All && endpoint.uses_http2() {
            match self.pool.open_http2(endpoint) {
                Opening::Open(stream) => return Ok(UpstreamConnection::Http2(Box::new(stream))),
                Opening::Wait(mut opened) => {
                    // An error means that the other request is done: its sender is dropped.
                    let Err(_) = tokio::time::timeout_at(deadline, opened.changed()).await else { continue };
                    let is_limit = self.pool.load.is_contended();
                    return Err(if is_limit {
                        Unconnected::Overloaded(Overload::Connections)
                    } else {
                        Unconnected::Waited
                    });
                }
                Opening::Lead(_done) => return self.open(endpoint, http).await,
            }
        }
        self.open(endpoint, http).await
    }

    async fn open(
        &self,
        endpoint: &Arc<Endpoint>,
        http: HttpVersions,
    ) -> Result<UpstreamConnection, Unconnected> {
        let permit =
            self.pool.load.connection(self.connect_timeout).await.map_err(Unconnected::Overloaded)?;
        let connected = timeout(self.connect_timeout, self.connector.connect(endpoint, permit, http)).await;
        let connection = connected.unwrap_or(Err(ConnectError::Timeout)).map_err(Unconnected::Failed)?;
        match connection {
            Connection::Http1(mut connection) => {
                if http == HttpVersions::All {
                    endpoint.set_uses_http2(false);
                }
                self.pool.begin(&mut connection);
                Ok(UpstreamConnection::Http1(connection))
            }
            Connection::Http2(connection) => {
                endpoint.set_uses_http2(true);
                Ok(UpstreamConnection::Http2(Box::new(self.pool.share(connection, endpoint))))
            }
        }
    }

    /// Sends a request on a connection and waits for the head of the response.
    ///
    /// # Errors
    /// The outer error is the denial if the response does not begin in time. After the inner error, the request is back
    /// in `outgoing` if it may be sent again.
    pub(super) async fn send(
        &self,
        connection: &mut UpstreamConnection,
        outgoing: &mut Outgoing,
    ) -> Result<Result<Response<Incoming>, hyper::Error>, Denial> {
        let Some(mut request) = outgoing.request.take() else {
            return Err(Denial::internal("the request was already sent"));
        };
        outgoing.attempts = outgoing.attempts.saturating_add(1);
        if outgoing.host_of_target
            && let Ok(host) = HeaderValue::from_str(&connection.endpoint().authority)
        {
            request.headers_mut().insert(header::HOST, host);
        }
        match connection {
            UpstreamConnection::Http1(connection) => self.send_http1(connection, request, outgoing).await,
            UpstreamConnection::Http2(stream) => Box::pin(self.send_http2(stream, request, outgoing)).await,
        }
    }

    async fn send_http1(
        &self,
        connection: &mut Http1Connection,
        request: Request<RequestBody>,
        outgoing: &mut Outgoing,
    ) -> Result<Result<Response<Incoming>, hyper::Error>, Denial> {
        connection.exchange.begin();
        let answer = connection.sender.try_send_request(request);
        tokio::pin!(answer);
        let mut wait = ResponseWait::new(self, outgoing.progress.as_ref(), &mut connection.response_timeout);
        let sent = poll_fn(|cx| {
            let _ = connection.drive(cx);
            // Only the connection, which was driven just now, completes the response: a second wake-up is not needed.
            if let Poll::Ready(answer) = answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return Poll::Ready(Ok(answer));
            }
            wait.poll(&mut connection.response_timeout, cx).map(Err)
        })
        .await
        .map_err(|TimedOut| self.response_timed_out(&connection.endpoint))?;
        Ok(sent.map_err(|mut error| {
            outgoing.request = error.take_message().or_else(|| {
                let recorded = connection.exchange.repeatable(&outgoing.method);
                Some(recorded.filter(|_| outgoing.progress.is_none())?.map(|()| RequestBody::empty()))
            });
            error.into_error()
        }))
    }

    async fn send_http2(
        &self,
        stream: &mut Http2Stream,
        request: Request<RequestBody>,
        outgoing: &mut Outgoing,
    ) -> Result<Result<Response<Incoming>, hyper::Error>, Denial> {
        let (head, body) = request.into_parts();
        let copy = outgoing.progress.is_none().then(|| request_head::copy(&head));
        let scheme = stream.endpoint.protocol.scheme();
        let Some(head) = request_head::to_http2(head, &scheme, outgoing.trailers) else {
            return Err(Denial::bad_request("The host of the request is not valid."));
        };
        let answer = stream.sender.try_send_request(Request::from_parts(head, body));
        tokio::pin!(answer);
        let mut wait = ResponseWait::new(self, outgoing.progress.as_ref(), &mut stream.response_timeout);
        let sent = poll_fn(|cx| match answer.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Ok(answer)),
            Poll::Pending => wait.poll(&mut stream.response_timeout, cx).map(Err),
        })
        .await
        .map_err(|TimedOut| self.response_timed_out(&stream.endpoint))?;
        Ok(sent.map_err(|mut error| {
            if closes_connection(error.error()) {
                stream.guard.retire();
            }
            outgoing.request = error.take_message().map(request_head::restore_http1).or_else(|| {
                let may_repeat = outgoing.method.is_idempotent() || is_unprocessed(error.error());
                Some(Request::from_parts(copy.filter(|_| may_repeat)?, RequestBody::empty()))
            });
            error.into_error()
        }))
    }
}

/// Returns `true` if an error concerns the whole connection, and not only one stream of it.
fn closes_connection(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_none_or(|cause| cause.is_go_away() || cause.is_io())
}

/// Returns `true` if the server states that it has not processed a request (RFC 9113, section 8.7), such as when it ends
/// a connection gracefully.
fn is_unprocessed(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        cause.reason() == Some(h2::Reason::REFUSED_STREAM)
            || cause.is_go_away() && cause.is_remote() && cause.reason() == Some(h2::Reason::NO_ERROR)
    })
}

/// The wait for the head of a response: until the request is sent, and then for up to the read timeout.
struct ResponseWait<'a> {
    read_timeout: Duration,
    progress: Option<&'a Progress>,
    deadline: Instant,
}

/// The response did not begin in time.
struct TimedOut;

impl<'a> ResponseWait<'a> {
    fn new(upstream: &Upstream, progress: Option<&'a Progress>, timer: &mut LazyDeadline) -> Self {
        let deadline = Instant::now() + upstream.read_timeout;
        timer.set(deadline);
        Self { read_timeout: upstream.read_timeout, progress, deadline }
    }

    /// Polls the timer.
    ///
    /// It is polled with the task's waker each time: if the task has used up its budget, tokio returns `Pending` from
    /// everything, also from the response, and wakes only the waker of the last poll.
    fn poll(&mut self, timer: &mut LazyDeadline, cx: &mut Context<'_>) -> Poll<TimedOut> {
        while timer.poll(cx).is_ready() {
            // A client that sends its body slowly has a timeout of its own.
            let last = self.progress.map(Progress::last);
            match last.map(|last| last + self.read_timeout).filter(|later| *later > self.deadline) {
                Some(later) => {
                    self.deadline = later;
                    timer.set(later);
                }
                None => return Poll::Ready(TimedOut),
            }
        }
        Poll::Pending
    }
}

/// The denials of requests that the upstream does not serve. The texts are for the log.
impl Upstream {
    /// Waits until there is an endpoint.
    async fn wait_for_endpoints(&self, failures: &Failures) -> Result<(), Denial> {
        // If endpoints have failed, others have been there, but are gone since.
        let found = failures.endpoints.is_empty()
            && timeout(self.connect_timeout, self.pool.endpoints.wait_for_some()).await.is_ok();
        if found {
            return Ok(());
        }
        tracing::warn!(upstream = %self.name, "no address of the upstream is known");
        Err(Denial::unavailable("The service is not available.", RETRY_AFTER))
    }

    /// Returns the denial for a connection that failed.
    ///
    /// # Errors
    /// Returns the denial as an error if no other endpoint should be tried.
    fn unconnected(&self, endpoint: &Endpoint, error: Unconnected) -> Result<Denial, Denial> {
        match error {
            Unconnected::Overloaded(overload) => Err(self.overloaded(overload)),
            Unconnected::Waited => {
                let inside = format!("upstream {} ({endpoint}): {}", self.name, ConnectError::Timeout);
                Ok(Denial::GatewayTimeout { inside: inside.into() })
            }
            Unconnected::Failed(error) => {
                self.failed(endpoint, &error);
                let inside = format!("upstream {} ({endpoint}): {error}", self.name).into();
                Ok(if matches!(error, ConnectError::Timeout) {
                    Denial::GatewayTimeout { inside }
                } else {
                    Denial::BadGateway { inside }
                })
            }
        }
    }

    /// Returns the denial for an exchange that failed. An error in the client's body is not blamed on the upstream.
    fn exchange_failed(
        &self,
        endpoint: &Endpoint,
        error: &hyper::Error,
        progress: Option<&Progress>,
    ) -> Denial {
        if let Some(fault) = progress.and_then(Progress::fault) {
            return fault;
        }
        if is_unprocessed(error) {
            let inside = format!("upstream {} ({endpoint}): {}", self.name, WithCauses(error));
            return Denial::BadGateway { inside: inside.into() };
        }
        self.invalid_response(endpoint, error)
    }

    /// Returns the denial for a response that cannot be forwarded.
    pub(super) fn invalid_response(&self, endpoint: &Endpoint, error: &dyn Error) -> Denial {
        let reason = WithCauses(error);
        self.failed(endpoint, &reason);
        let inside = format!("upstream {} ({endpoint}): {reason}", self.name);
        Denial::BadGateway { inside: inside.into() }
    }

    fn response_timed_out(&self, endpoint: &Endpoint) -> Denial {
        let inside = format!("upstream {} ({endpoint}): response timed out", self.name);
        Denial::GatewayTimeout { inside: inside.into() }
    }

    pub(super) fn overloaded(&self, overload: Overload) -> Denial {
        tracing::warn!(upstream = %self.name, %overload, "request rejected");
        Denial::unavailable("The service is overloaded.", RETRY_AFTER)
    }

    /// Records that an endpoint failed. The requests are often served by another one, so only the log has the reason.
    pub(super) fn failed(&self, endpoint: &Endpoint, reason: &dyn Display) {
        if let Some(ejected) = endpoint.health.failed(&self.ejection, Monotonic::now()) {
            let (upstream, seconds) = (&self.name, ejected.as_secs());
            tracing::warn!(%upstream, %endpoint, %reason, seconds, "target ejected after failures in succession");
        }
    }
}
