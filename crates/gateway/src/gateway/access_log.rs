//! The access log: one line for each request, written when its response is finished.

use std::{
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{metrics::HeadError, request_id::RequestId, upstream::ExchangeRecord};
use portcullis::{
    Admission, Denial,
    admission::{Identity, MatchedRoute},
    denial::Names,
    model::Lock,
    normalize_path,
    problem::DenialCode,
    tower::Denied,
};

/// The access log line of a request. It is written on drop: when the response is finished, or the client is gone.
pub(super) struct AccessRecord {
    start: Instant,
    peer: Option<IpAddr>,
    method: http::Method,
    path: String,
    version: http::Version,
    status: u16,
    identity: Option<Identity>,
    route: Option<&'static str>,
    code: Option<&'static str>,
    /// The limits or the lock that the request was denied because of.
    cause: Option<DenialCause>,
    exchange: ExchangeRecord,
    /// Set for responses by the gateway itself, which send the same id to the client.
    request_id: Option<RequestId>,
    bytes: u64,
    complete: bool,
    /// The error that ended the body of the response.
    error: Option<String>,
}

impl AccessRecord {
    /// Starts the record of a request. The log contains the path but not the query, because queries often contain
    /// secrets.
    pub(super) fn new<B>(request: &Request<B>, peer: Option<IpAddr>) -> Self {
        Self {
            start: Instant::now(),
            peer,
            method: request.method().clone(),
            path: logged_path(request.uri().path()),
            version: request.version(),
            status: 0,
            identity: None,
            route: None,
            code: None,
            cause: None,
            exchange: ExchangeRecord::default(),
            request_id: None,
            bytes: 0,
            complete: false,
            error: None,
        }
    }

    /// Returns the part of the record that the exchange with an upstream sets.
    pub(super) fn exchange(&self) -> ExchangeRecord {
        self.exchange.clone()
    }

    fn answered<B>(&mut self, response: &Response<B>) {
        let extensions = response.extensions();
        self.status = response.status().as_u16();
        if let Some(admission) = extensions.get::<Admission>() {
            self.identity = admission.identity().cloned();
            self.route = admission.matched_route().map(MatchedRoute::name);
        }
        self.cause = extensions.get::<Denied>().and_then(|denied| DenialCause::new(denied.denial()));
        self.code = extensions.get::<DenialCode>().map(|code| code.0);
        self.request_id = extensions.get::<RequestId>().cloned();
    }
}

impl Drop for AccessRecord {
    fn drop(&mut self) {
        let identity = self.identity.as_ref();
        let caller = identity.map(Identity::caller);
        let plan =
            caller.and_then(|caller| caller.buckets.as_ref()).map(|buckets| buckets.plan().id().as_str());
        let exchange = self.exchange.get();
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        tracing::info!(
            target: "access",
            peer = self.peer.map(tracing::field::display),
            method = %self.method,
            path = self.path,
            version = ?self.version,
            status = self.status,
            route = self.route,
            tenant = caller.map(|caller| caller.tenant().id.to_string()),
            caller = caller.map(|caller| caller.id.as_str()),
            key = identity.map(|identity| identity.key.id.as_str()),
            plan,
            code = self.code,
            limits = self.cause.as_ref().and_then(DenialCause::limits),
            lock = self.cause.as_ref().and_then(DenialCause::lock),
            request_id = self.request_id.as_ref().map(RequestId::as_str),
            bytes = self.bytes,
            complete = self.complete,
            error = self.error,
            upstream = self.exchange.upstream(),
            target_address = exchange.and_then(|exchange| exchange.target()).map(tracing::field::display),
            attempts = exchange.map(|exchange| exchange.attempts),
            upstream_micros = exchange.map(|exchange| micros(exchange.duration)),
            micros = micros(self.start.elapsed()),
        );
    }
}

/// The limits or the lock that a request was denied because of.
enum DenialCause {
    Limits(Names),
    Lock(Arc<Lock>),
}

impl DenialCause {
    fn new(denial: &Denial) -> Option<Self> {
        match denial {
            Denial::RateLimited { violated, .. } => Some(Self::Limits(violated.clone())),
            Denial::Locked { lock, .. } => Some(Self::Lock(lock.clone())),
            _ => None,
        }
    }

    fn limits(&self) -> Option<String> {
        match self {
            Self::Limits(names) => Some(names.join(",")),
            Self::Lock(_) => None,
        }
    }

    fn lock(&self) -> Option<&str> {
        match self {
            Self::Lock(lock) => Some(lock.id.as_str()),
            Self::Limits(_) => None,
        }
    }
}

/// Returns the normalized path, which policies and upstreams see, or the original path if it cannot be normalized.
fn logged_path(path: &str) -> String {
    normalize_path::normalize(path).map_or_else(|_| path.to_owned(), |normal| normal.path.into_owned())
}

/// Logs a head that was rejected before there was a request.
pub(super) fn unread(why: HeadError, peer: IpAddr, id: Option<&RequestId>) {
    let (status, code, request_id) = (why.status().as_u16(), why.code(), id.map(RequestId::as_str));
    tracing::info!(target: "access", %peer, status, code, request_id, complete = true);
}

pin_project! {
    /// A response future, and later the response body, with its access log record.
    pub(super) struct AccessLogged<T> {
        // Dropped first: the line is written while the request still counts as open. Boxed, because futures and bodies
        // are moved often, and there may be no log.
        record: Option<Box<AccessRecord>>,
        #[pin]
        inner: T,
    }
}

impl<T> AccessLogged<T> {
    /// Adds the record of a request to its response. Nothing is logged without a record.
    pub(super) fn new(inner: T, record: Option<Box<AccessRecord>>) -> Self {
        Self { record, inner }
    }
}

impl<F: Future<Output = Result<Response<B>, E>>, B: Body, E> Future for AccessLogged<F> {
    type Output = Result<Response<AccessLogged<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx))?;
        let mut record = this.record.take();
        if let Some(record) = &mut record {
            record.answered(&response);
            // A response to HEAD is complete with its head.
            record.complete = response.body().is_end_stream() || record.method == http::Method::HEAD;
        }
        Poll::Ready(Ok(response.map(|inner| AccessLogged { record, inner })))
    }
}

impl<B: Body<Data = Bytes, Error: std::fmt::Display>> Body for AccessLogged<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        if let Some(record) = this.record {
            match &frame {
                None => record.complete = true,
                Some(Ok(frame)) => {
                    record.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                    record.complete = this.inner.is_end_stream();
                }
                Some(Err(error)) => {
                    record.complete = false;
                    record.error = Some(error.to_string());
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
