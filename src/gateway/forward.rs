//! The service at the end of a route: one request to the service behind, one answer back.

mod body;

pub(super) use body::{RequestBody, UpstreamBody};

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::{Instant, sleep_until, timeout};
use tower_service::Service;

use super::{
    answer::Answer,
    hop,
    origin::Origin,
    pool::{Keep, Sender},
};
use crate::{
    Admission, Denial,
    config::{self, Config},
};
use body::{Pace, Progress};

/// How long an idle connection may take to be ready: it is, unless its last exchange is not over.
const READY: Duration = Duration::from_millis(50);

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
            keep: Keep {
                address: upstream.address,
                connections: upstream.idle_connections,
                time: upstream.idle_timeout.duration(),
            },
            connect_timeout: upstream.connect_timeout.duration(),
            read_timeout: upstream.read_timeout.duration(),
            pace: Pace {
                timeout: config.limits.body_timeout.duration(),
                rate: config.limits.body_rate.get(),
            },
            identity_field: config.server.identity_field.name().clone(),
        }
    }

    fn address(&self) -> SocketAddr {
        self.keep.address
    }

    async fn forward(&self, request: Request<Incoming>) -> Result<Response<Answer>, Denial> {
        let (mut head, body) = request.into_parts();
        let admission = head.extensions.remove::<Admission>().unwrap_or_default();
        let Some(origin) = head.extensions.get::<Origin>().copied() else {
            return Err(Denial::internal("a request without an origin came to be forwarded"));
        };
        head.extensions.clear();
        if admission.identity().is_none() {
            // A key that no policy here asked for is none of the service's business.
            hop::drop_keys(&mut head.headers);
        }
        hop::send_on(&mut head, origin);
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
        let progress = Progress::new();
        let request = Request::from_parts(
            head,
            RequestBody::new(body, progress.clone(), admission.body_limit(), self.pace),
        );

        let (sender, response) = self.exchange(request, &progress).await?;
        let (mut head, body) = response.into_parts();
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Denial::BadGateway {
                inside: format!("{} switched protocols unasked", self.name).into(),
            });
        }
        // What it speaks ends here; the server says what the client speaks.
        head.version = Version::default();
        hop::leave(&mut head.headers);
        let body = UpstreamBody::new(body, self.read_timeout, sender, self.keep.clone(), progress);
        Ok(Response::from_parts(head, Answer::Upstream(body)))
    }

    /// Sends on an idle connection if there is one. That may turn out to be closed: a request of which
    /// nothing was sent goes out again on another one.
    async fn exchange(
        &self,
        mut request: Request<RequestBody>,
        progress: &Progress,
    ) -> Result<(Sender, Response<Incoming>), Denial> {
        loop {
            let idle = self.keep.take();
            let fresh = idle.is_none();
            let mut sender = match idle {
                Some(sender) => sender,
                None => self.connect().await?,
            };
            // One that does not get ready has something of the last request still to send.
            if !fresh && !matches!(timeout(READY, sender.ready()).await, Ok(Ok(()))) {
                continue;
            }
            match self.head_in_time(sender.try_send_request(request), progress).await? {
                Ok(response) => return Ok((sender, response)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) if !fresh => request = unsent,
                    // What the client did wrong is not the service's fault.
                    _ => {
                        return Err(progress
                            .fault()
                            .unwrap_or_else(|| self.unreachable(&error.into_error())));
                    }
                },
            }
        }
    }

    async fn connect(&self) -> Result<Sender, Denial> {
        let Ok(connected) = timeout(self.connect_timeout, self.keep.connect()).await else {
            let inside = format!("{} ({}) does not take connections", self.name, self.address());
            return Err(Denial::GatewayTimeout { inside: inside.into() });
        };
        connected.map_err(|error| self.unreachable(&error))
    }

    /// Waits for the answer's head: as long as the request is still on its way, and then for as long as
    /// the service behind may take.
    async fn head_in_time<T>(
        &self,
        answer: impl Future<Output = T>,
        progress: &Progress,
    ) -> Result<T, Denial> {
        tokio::pin!(answer);
        let mut deadline = Instant::now() + self.read_timeout;
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return Ok(answer),
                () = sleep_until(deadline) => {
                    // A client that keeps us waiting has a limit of its own.
                    let last = if progress.is_starved() { Instant::now() } else { progress.last() };
                    let later = last + self.read_timeout;
                    if later <= deadline {
                        let inside = format!("{} ({}) does not answer", self.name, self.address());
                        return Err(Denial::GatewayTimeout { inside: inside.into() });
                    }
                    deadline = later;
                }
            }
        }
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> Denial {
        Denial::BadGateway { inside: format!("{} ({}): {error}", self.name, self.address()).into() }
    }
}

/// Forwards to a service behind.
#[derive(Clone)]
pub(super) struct Forward(pub(super) Arc<Upstream>);

impl Service<Request<Incoming>> for Forward {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answer>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let upstream = self.0.clone();
        Box::pin(async move {
            Ok(upstream.forward(request).await.unwrap_or_else(|denial| Answer::refusal(&denial)))
        })
    }
}
