//! Forwards a request to an upstream and returns its response.

mod field_filter;
mod framing;
mod hop_headers;
mod pool;
mod request_body;
mod response_body;
mod stream;

use std::{
    future::{Future, poll_fn},
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::{HeaderName, HeaderValue, Method, Request, Response, Version, header, request};
use http_body::Body;
use hyper::{body::Incoming, client::conn::TrySendError};
use tokio::time::{Instant, timeout};

use super::{client_addr::ClientAddr, client_body::ClientBody, rewrite::Rewrite};
use crate::config::{self, Config, UpstreamAddress};
use field_filter::FieldFilter;
use framing::Reuse;
pub(super) use framing::plain_number;
use hop_headers::UnclaimedKeys;
pub(super) use pool::reap_idle;
use pool::{UpstreamConnection, UpstreamPool};
use portcullis::{Admission, Denial, limit::MinDataRate, tower};
use request_body::{Progress, RequestBody};
pub(super) use response_body::UpstreamBody;

/// An upstream of the configuration.
#[derive(Debug)]
pub(super) struct Upstream {
    name: String,
    pool: UpstreamPool,
    connect_timeout: Duration,
    read_timeout: Duration,
    pace: MinDataRate,
    filter: FieldFilter,
    caller_id_header: HeaderName,
    media_type_header: Option<HeaderName>,
}

impl Upstream {
    pub(super) fn new(name: &str, upstream: &config::Upstream, config: &Config) -> Self {
        Self {
            name: name.to_owned(),
            pool: UpstreamPool::new(upstream),
            connect_timeout: upstream.connect_timeout.duration(),
            read_timeout: upstream.read_timeout.duration(),
            pace: config.limits.pace(),
            filter: FieldFilter::new(&config.server),
            caller_id_header: config.server.caller_id_header.name().clone(),
            media_type_header: config.server.media_type_header.as_ref().map(|field| field.name().clone()),
        }
    }

    fn address(&self) -> &UpstreamAddress {
        &self.pool.address
    }

    /// Forwards a request.
    ///
    /// # Errors
    /// Returns 502 or 504 if the upstream does not respond, the error of the client's body if there was one, and 400 if
    /// the path cannot be rewritten.
    pub(super) async fn forward(
        &self,
        request: Request<tower::RequestBody<ClientBody>>,
        rewrite: Option<&Rewrite>,
    ) -> Result<Response<UpstreamBody>, Denial> {
        let (mut head, body) = request.into_parts();
        let admission = head.extensions.remove::<Admission>().unwrap_or_default();
        let Some(origin) = head.extensions.remove::<ClientAddr>() else {
            return Err(Denial::internal("request to forward has no client address"));
        };
        head.extensions.clear();
        // A key that no policy checked is of no use to the upstream.
        let keys = if admission.identity().is_none() { UnclaimedKeys::Drop } else { UnclaimedKeys::Keep };
        hop_headers::rewrite_request(&mut head, &origin, &self.filter, keys);
        // HTTP/1.0 requests may omit `Host`. The request is forwarded as HTTP/1.1, which requires it.
        if !head.headers.contains_key(header::HOST)
            && let Ok(host) = HeaderValue::try_from(self.address().to_string())
        {
            head.headers.insert(header::HOST, host);
        }
        admission.set_caller_header(&mut head.headers, &self.caller_id_header);
        if let Some(field) = &self.media_type_header {
            admission.set_media_type_headers(&mut head.headers, field);
        }
        if let Some(rewrite) = rewrite {
            rewrite.apply(&mut head, self.address())?;
        }
        frame_request(&mut head, &body);
        let method = head.method.clone();
        let (body, progress) = RequestBody::new(body, admission.body_limit(), self.pace);
        let (connection, response) =
            self.exchange(Request::from_parts(head, body), progress.as_ref()).await?;
        let (mut head, body) = response.into_parts();
        let reuse = framing::check(&method, &mut head).map_err(|error| self.unreachable(&error))?;
        // The version is that of the upstream's connection. The server sets the version that the client uses.
        head.version = Version::default();
        hop_headers::strip_response(&mut head.headers);
        let pool = (reuse == Reuse::Allowed).then(|| self.pool.clone());
        let body = UpstreamBody::new(body, self.read_timeout, connection, pool, progress);
        Ok(Response::from_parts(head, body))
    }

    /// Sends a request on an idle connection if there is one. If the connection turns out to be closed, the request is
    /// sent again on a new connection, provided that no response was read and the upstream cannot have processed the
    /// request twice (RFC 9110, section 9.2.2).
    async fn exchange(
        &self,
        request: Request<RequestBody>,
        progress: Option<&Progress>,
    ) -> Result<(UpstreamConnection, Response<Incoming>), Denial> {
        let Some(mut connection) = self.pool.get() else {
            return self.exchange_afresh(request, progress).await;
        };
        let method = request.method().clone();
        let mut error = match self.await_response(&mut connection, request, progress).await? {
            Ok(response) => return Ok((connection, response)),
            Err(error) => error,
        };
        let recorded = || connection.exchange.repeatable(&method).filter(|_| progress.is_none());
        match error.take_message().or_else(|| Some(recorded()?.map(|()| RequestBody::empty()))) {
            Some(request) => {
                tracing::debug!(upstream = %self.name, error = %error.error(), "retrying on a new connection");
                drop(connection);
                self.exchange_afresh(request, progress).await
            }
            None => Err(self.failed(error, progress)),
        }
    }

    async fn exchange_afresh(
        &self,
        request: Request<RequestBody>,
        progress: Option<&Progress>,
    ) -> Result<(UpstreamConnection, Response<Incoming>), Denial> {
        let mut connection = self.connect().await?;
        match self.await_response(&mut connection, request, progress).await? {
            Ok(response) => Ok((connection, response)),
            Err(error) => Err(self.failed(error, progress)),
        }
    }

    /// Returns the denial for an exchange that failed. An error in the client's body is not blamed on the upstream.
    fn failed(&self, error: TrySendError<Request<RequestBody>>, progress: Option<&Progress>) -> Denial {
        let fault = progress.and_then(Progress::fault);
        fault.unwrap_or_else(|| self.unreachable(&error.into_error()))
    }

    async fn connect(&self) -> Result<UpstreamConnection, Denial> {
        let Ok(connected) = timeout(self.connect_timeout, self.pool.connect()).await else {
            let inside = format!("upstream {} ({}): connect timed out", self.name, self.address());
            return Err(Denial::GatewayTimeout { inside: inside.into() });
        };
        connected.map_err(|error| self.unreachable(&error))
    }

    /// Waits for the head of the response: until the request is sent, and then for up to the read timeout.
    async fn await_response(
        &self,
        connection: &mut UpstreamConnection,
        request: Request<RequestBody>,
        progress: Option<&Progress>,
    ) -> Result<Result<Response<Incoming>, TrySendError<Request<RequestBody>>>, Denial> {
        let answer = connection.sender.try_send_request(request);
        tokio::pin!(answer);
        let mut deadline = Instant::now() + self.read_timeout;
        connection.response_timeout.set(deadline);
        poll_fn(|cx| {
            let _ = connection.drive(cx);
            // Only the connection, which was driven just now, completes the response: a second wake-up is not needed.
            if let Poll::Ready(answer) = answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return Poll::Ready(Ok(answer));
            }
            // The timer is polled with the task's waker each time: if the task has used up its budget, tokio returns
            // `Pending` from everything, also from the response above, and wakes only the waker of the last poll.
            while connection.response_timeout.poll(cx).is_ready() {
                // A client that sends its body slowly has a timeout of its own.
                let last = progress.map(Progress::last);
                if let Some(later) =
                    last.map(|last| last + self.read_timeout).filter(|later| *later > deadline)
                {
                    deadline = later;
                    connection.response_timeout.set(later);
                } else {
                    let inside = format!("upstream {} ({}): response timed out", self.name, self.address());
                    return Poll::Ready(Err(Denial::GatewayTimeout { inside: inside.into() }));
                }
            }
            Poll::Pending
        })
        .await
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> Denial {
        Denial::BadGateway { inside: format!("upstream {} ({}): {error}", self.name, self.address()).into() }
    }
}

/// Frames the body of a request for HTTP/1.1, independently of its framing by the client.
fn frame_request(head: &mut request::Parts, body: &impl Body) {
    if !body.is_end_stream() {
        // By default, hyper sends a GET of unknown length as a request without a body.
        if body.size_hint().exact().is_none() {
            head.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    } else if expects_content(&head.method) && !head.headers.contains_key(header::CONTENT_LENGTH) {
        // Some upstreams return 411 otherwise (RFC 9110, section 8.6).
        head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
}

/// Returns `true` if a method anticipates a body: POST, PUT, PATCH, and methods that HTTP itself does not define.
fn expects_content(method: &Method) -> bool {
    ![Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS, Method::TRACE, Method::CONNECT]
        .contains(method)
}
