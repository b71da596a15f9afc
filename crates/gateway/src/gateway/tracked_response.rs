//! A response and its connection: the request counts as open, and the write timeout of an HTTP/2 stream runs, for as long
//! as the response lasts.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Response, Version};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{
    activity::RequestGuard,
    write_timeout::h2_streams::{WaitingOn, set_waiting_on},
};

/// The size of the largest HTTP/2 frame that every client accepts, in bytes (RFC 9113, section 4.2).
const FRAME: usize = 16 * 1024;

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
    /// A response future, and later the response body, which reports its state to the connection. The request counts as
    /// open until it is dropped.
    pub(super) struct TrackedResponse<T> {
        #[pin]
        inner: T,
        running: Option<RequestGuard>,
        begun: bool,
        // The most bytes of a DATA frame, and the rest of a larger one.
        most: usize,
        rest: Bytes,
    }
}

impl<T> TrackedResponse<T> {
    pub(super) fn new(inner: T, running: RequestGuard) -> Self {
        Self { inner, running: Some(running), begun: false, most: usize::MAX, rest: Bytes::new() }
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

impl<F: Future<Output = Result<Response<B>, E>>, B: Body, E> Future for TrackedResponse<F> {
    type Output = Result<Response<TrackedResponse<B>>, E>;

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
        let mut running = this.running.take();
        if let Some(running) = &mut running {
            running.answered();
        }
        let most = *this.most;
        let rest = Bytes::new();
        Poll::Ready(Ok(response.map(|inner| TrackedResponse { inner, running, begun: true, most, rest })))
    }
}

impl<B: Body<Data = Bytes>> Body for TrackedResponse<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let frame = if this.rest.is_empty() {
            let Poll::Ready(frame) = this.inner.poll_frame(cx) else {
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
