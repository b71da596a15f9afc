//! The access log: a line for each request, when its answer is through.

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
    metrics::HeadError,
    request_id::RequestId,
    h2_streams::{WaitingOn, set_waiting_on},
    activity::RequestGuard,
};
use crate::{Admission, problem::DenialCode, normalize_path};

/// Bytes of the largest HTTP/2 frame that every client takes (RFC 9113, section 4.2).
const FRAME: usize = 16 * 1024;

/// What the log says of a request. Written when dropped: when the answer is through, or the client gone.
pub(super) struct AccessRecord {
    start: Instant,
    peer: Option<IpAddr>,
    method: http::Method,
    path: String,
    version: http::Version,
    status: u16,
    caller: Option<String>,
    code: Option<&'static str>,
    /// Of an answer of the gateway's own, which tells the client the same.
    request_id: Option<RequestId>,
    bytes: u64,
    complete: bool,
}

impl AccessRecord {
    /// The path goes into the log, the query does not: people put secrets there.
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

/// The path that policies and the service behind see; when it has none, the one that was sent.
fn logged_path(path: &str) -> String {
    normalize_path::normalize(path).map_or_else(|_| path.to_owned(), |normal| normal.path.into_owned())
}

/// A line for a head that is refused before there is a request.
pub(super) fn unread(why: HeadError, peer: IpAddr, id: Option<&RequestId>) {
    let (status, code, request_id) = (why.status().as_u16(), why.code(), id.map(RequestId::as_str));
    tracing::info!(target: "access", %peer, status, code, request_id, complete = true);
}

/// The first bytes of a frame; the rest is kept.
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
    /// A response future, and then its body, with a record of them; the request runs for as long.
    pub(super) struct Logged<T> {
        #[pin]
        inner: T,
        record: Option<AccessRecord>,
        running: Option<RequestGuard>,
        begun: bool,
        // The most bytes that are given at once, and what is left of a larger piece.
        most: usize,
        rest: Bytes,
    }
}

impl<T> Logged<T> {
    pub(super) fn new(inner: T, record: Option<AccessRecord>, running: RequestGuard) -> Self {
        Self { inner, record, running: Some(running), begun: false, most: usize::MAX, rest: Bytes::new() }
    }

    /// Gives the body in pieces of one HTTP/2 frame. Larger ones would disappear in hyper's buffers, and how quickly the
    /// client takes them could not be seen.
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
        // A request that its client has taken back by now ends here, when others go first: what was sent on for
        // it would cost a connection to the service behind. That costs 4 µs, so it is not done for everybody.
        if !std::mem::replace(this.begun, true) && this.running.as_ref().is_some_and(RequestGuard::client_cancels) {
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
            // An answer to HEAD is through with its head.
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
