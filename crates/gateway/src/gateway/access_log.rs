//! The access log: one line for each request, written when its response is finished.

use std::{
    future::Future,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{
    activity::RequestGuard,
    h2_streams::{WaitingOn, set_waiting_on},
    metrics::HeadError,
    request_id::RequestId,
};
use portcullis::{Admission, normalize_path, problem::DenialCode};

/// The size of the largest HTTP/2 frame that every client accepts, in bytes (RFC 9113, section 4.2).
const FRAME: usize = 16 * 1024;

/// The access log line of a request. It is written on drop: when the response is finished, or the client is gone.
pub(super) struct AccessRecord {
    start: Instant,
    peer: Option<IpAddr>,
    method: http::Method,
    path: String,
    version: http::Version,
    status: u16,
    caller: Option<String>,
    code: Option<&'static str>,
    /// Set for responses by the gateway itself, which send the same id to the client.
    request_id: Option<RequestId>,
    bytes: u64,
    complete: bool,
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
            caller: None,
            code: None,
            request_id: None,
            bytes: 0,
            complete: false,
        }
    }

    fn answered<B>(&mut self, response: &Response<B>) {
        let extensions = response.extensions();
        self.status = response.status().as_u16();
        self.caller =
            extensions.get::<Admission>().and_then(Admission::caller).map(|caller| caller.id.to_string());
        self.code = extensions.get::<DenialCode>().map(|code| code.0);
        self.request_id = extensions.get::<RequestId>().cloned();
    }
}

impl Drop for AccessRecord {
    fn drop(&mut self) {
        tracing::info!(
            target: "access",
            peer = self.peer.map(tracing::field::display),
            method = %self.method,
            path = self.path,
            version = ?self.version,
            status = self.status,
            caller = self.caller,
            code = self.code,
            request_id = self.request_id.as_ref().map(RequestId::as_str),
            bytes = self.bytes,
            complete = self.complete,
            micros = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX),
        );
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

/// Splits off the first bytes of a frame, and stores the rest.
fn first(frame: Frame<Bytes>, most: usize, rest: &mut Bytes) -> Frame<Bytes> {
    match frame.into_data() {
        Ok(mut data) if data.len() > most => {
            *rest = data.split_off(most);
            Frame::data(data)
        }
        Ok(data) => Frame::data(data),
        Err(frame) => frame,
    }
}

pin_project! {
    /// A response future, and later the response body, with its access log record. The request counts as open until it
    /// is dropped.
    pub(super) struct Logged<T> {
        #[pin]
        inner: T,
        record: Option<AccessRecord>,
        running: Option<RequestGuard>,
        begun: bool,
        // The most bytes of a DATA frame, and the rest of a larger one.
        most: usize,
        rest: Bytes,
    }
}

impl<T> Logged<T> {
    pub(super) fn new(inner: T, record: Option<AccessRecord>, running: RequestGuard) -> Self {
        Self { inner, record, running: Some(running), begun: false, most: usize::MAX, rest: Bytes::new() }
    }

    /// Splits the body into pieces of one HTTP/2 frame. Larger pieces would disappear in hyper's buffers, and the rate
    /// at which the client reads them could not be measured.
    pub(super) fn in_frames(mut self, version: Version) -> Self {
        if version == Version::HTTP_2 {
            self.most = FRAME;
        }
        self
    }
}

impl<F: Future<Output = Result<Response<B>, E>>, B: Body, E> Future for Logged<F> {
    type Output = Result<Response<Logged<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // Yields once, so that a request that its client has already cancelled ends here: forwarding it would cost an
        // upstream connection. That takes 4 µs, so it is done only for clients that cancel requests.
        if !std::mem::replace(this.begun, true)
            && this.running.as_ref().is_some_and(RequestGuard::client_cancels)
        {
            cx.waker().wake_by_ref();
            set_waiting_on(WaitingOn::Upstream);
            return Poll::Pending;
        }
        let Poll::Ready(response) = this.inner.poll(cx) else {
            set_waiting_on(WaitingOn::Upstream);
            return Poll::Pending;
        };
        let response = response?;
        let mut record = this.record.take();
        if let Some(record) = &mut record {
            record.answered(&response);
            // A response to HEAD is complete with its head.
            record.complete = response.body().is_end_stream() || record.method == http::Method::HEAD;
        }
        let mut running = this.running.take();
        if let Some(running) = &mut running {
            running.answered();
        }
        let most = *this.most;
        let rest = Bytes::new();
        Poll::Ready(Ok(response.map(|inner| Logged { inner, record, running, begun: true, most, rest })))
    }
}

impl<B: Body<Data = Bytes>> Body for Logged<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let frame = if this.rest.is_empty() {
            let Poll::Ready(frame) = this.inner.as_mut().poll_frame(cx) else {
                set_waiting_on(WaitingOn::Upstream);
                return Poll::Pending;
            };
            frame
        } else {
            Some(Ok(Frame::data(std::mem::take(this.rest))))
        };
        let frame = frame.map(|frame| frame.map(|frame| first(frame, *this.most, this.rest)));
        let bytes = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
        let bytes = bytes.map_or(0, |data| data.len() as u64);
        set_waiting_on(WaitingOn::Delivered(bytes));
        if let Some(record) = this.record {
            match &frame {
                None => record.complete = true,
                Some(Ok(_)) => {
                    record.bytes += bytes;
                    record.complete = this.rest.is_empty() && this.inner.is_end_stream();
                }
                Some(Err(_)) => record.complete = false,
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.inner.size_hint(), self.rest.len() as u64);
        if rest > 0 {
            if let Some(upper) = hint.upper() {
                hint.set_upper(upper.saturating_add(rest));
            }
            hint.set_lower(hint.lower().saturating_add(rest));
        }
        hint
    }
}
