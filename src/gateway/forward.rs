//! The service at the end of a route: one request to the service behind, one answer back.

mod body;

pub(super) use body::{RequestBody, UpstreamBody};

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::Body;
use hyper::{body::Incoming, client::conn::TrySendError};
use tokio::time::{Instant, timeout};
use tower_service::Service;

use super::{
    answer::Answer,
    client_body::ClientBody,
    hop::{self, Keys},
    origin::Origin,
    pool::{Keep, Link},
};
use crate::{
    Admission, Denial,
    config::{self, Config},
    limit::Pace,
    tower,
};
use body::Progress;

/// A service behind.
#[derive(Debug)]
pub(super) struct Upstream {
    name: String,
    keep: Keep,
    connect_timeout: Duration,
    read_timeout: Duration,
    pace: Pace,
    identity_field: HeaderName,
}

impl Upstream {
    pub(super) fn new(name: &str, upstream: &config::Upstream, config: &Config) -> Self {
        Self {
            name: name.to_owned(),
            keep: Keep::new(upstream),
            connect_timeout: upstream.connect_timeout.duration(),
            read_timeout: upstream.read_timeout.duration(),
            pace: config.limits.pace(),
            identity_field: config.server.identity_field.name().clone(),
        }
    }

    fn address(&self) -> SocketAddr {
        self.keep.address
    }

    async fn forward(
        &self,
        request: Request<tower::RequestBody<ClientBody>>,
    ) -> Result<Response<Answer>, Denial> {
        let (mut head, body) = request.into_parts();
        let admission = head.extensions.remove::<Admission>().unwrap_or_default();
        let Some(origin) = head.extensions.remove::<Origin>() else {
            return Err(Denial::internal("a request without an origin came to be forwarded"));
        };
        head.extensions.clear();
        // A key that no policy here asked for is none of the service's business.
        let keys = if admission.identity().is_none() { Keys::Drop } else { Keys::Keep };
        hop::send_on(&mut head, &origin, keys);
        // HTTP/1.0 may leave it out; we speak HTTP/1.1, which may not.
        if !head.headers.contains_key(header::HOST)
            && let Ok(host) = HeaderValue::try_from(self.address().to_string())
        {
            head.headers.insert(header::HOST, host);
        }
        admission.identify(&mut head.headers, &self.identity_field);
        // Of itself, hyper sends a GET without a length as one without content.
        if !body.is_end_stream() && body.size_hint().exact().is_none() {
            head.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let (body, progress) = RequestBody::new(body, admission.body_limit(), self.pace);
        let (link, response) = self.exchange(Request::from_parts(head, body), progress.as_ref()).await?;
        let (mut head, body) = response.into_parts();
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Denial::BadGateway {
                inside: format!("{} switched protocols unasked", self.name).into(),
            });
        }
        // What it speaks ends here; the server says what the client speaks.
        head.version = Version::default();
        hop::leave(&mut head.headers);
        let body = UpstreamBody::new(body, self.read_timeout, link, self.keep.clone(), progress);
        Ok(Response::from_parts(head, Answer::Upstream(body)))
    }

    /// Sends on an idle connection if there is one. That may turn out to be closed: a request of which
    /// nothing was sent goes out again on another one.
    async fn exchange(
        &self,
        mut request: Request<RequestBody>,
        progress: Option<&Progress>,
    ) -> Result<(Link, Response<Incoming>), Denial> {
        loop {
            let idle = self.keep.take();
            let fresh = idle.is_none();
            let mut link = match idle {
                Some(link) => link,
                None => self.connect().await?,
            };
            match self.answer(&mut link, request, progress).await? {
                Ok(response) => return Ok((link, response)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) if !fresh => request = unsent,
                    // What the client did wrong is not the service's fault.
                    _ => {
                        let fault = progress.and_then(Progress::fault);
                        return Err(fault.unwrap_or_else(|| self.unreachable(&error.into_error())));
                    }
                },
            }
        }
    }

    async fn connect(&self) -> Result<Link, Denial> {
        let Ok(connected) = timeout(self.connect_timeout, self.keep.connect()).await else {
            let inside = format!("{} ({}) does not take connections", self.name, self.address());
            return Err(Denial::GatewayTimeout { inside: inside.into() });
        };
        connected.map_err(|error| self.unreachable(&error))
    }

    /// Waits for the answer's head: as long as the request is still on its way, and then for as long as
    /// the service behind may take.
    async fn answer(
        &self,
        link: &mut Link,
        request: Request<RequestBody>,
        progress: Option<&Progress>,
    ) -> Result<Result<Response<Incoming>, TrySendError<Request<RequestBody>>>, Denial> {
        let answer = link.sender.try_send_request(request);
        tokio::pin!(answer);
        let mut deadline = Instant::now() + self.read_timeout;
        link.patience.until(deadline);
        poll_fn(|cx| {
            let _ = link.drive(cx);
            // Nobody but the connection, driven just now, moves it: it needs not wake us a second time.
            if let Poll::Ready(answer) = answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return Poll::Ready(Ok(answer));
            }
            // Asked with our waker each time: when this task has had its turn, tokio makes everything pend,
            // the answer above too, and wakes whom it was asked by.
            while link.patience.poll(cx).is_ready() {
                // A client that keeps us waiting has a limit of its own.
                let last = progress.map(Progress::last);
                if let Some(later) =
                    last.map(|last| last + self.read_timeout).filter(|later| *later > deadline)
                {
                    deadline = later;
                    link.patience.until(later);
                } else {
                    let inside = format!("{} ({}) does not answer", self.name, self.address());
                    return Poll::Ready(Err(Denial::GatewayTimeout { inside: inside.into() }));
                }
            }
            Poll::Pending
        })
        .await
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> Denial {
        Denial::BadGateway { inside: format!("{} ({}): {error}", self.name, self.address()).into() }
    }
}

/// Forwards to a service behind.
#[derive(Clone)]
pub(super) struct Forward(pub(super) Arc<Upstream>);

impl Service<Request<tower::RequestBody<ClientBody>>> for Forward {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answer>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tower::RequestBody<ClientBody>>) -> Self::Future {
        let upstream = self.0.clone();
        Box::pin(async move {
            Ok(upstream.forward(request).await.unwrap_or_else(|denial| Answer::refusal(&denial)))
        })
    }
}
