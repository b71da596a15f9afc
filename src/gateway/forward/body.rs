//! Bodies on their way: what they tell about the exchange, and how long they may stand still.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::gateway::{
    answer::BodyError,
    pool::{Keep, Sender},
};

/// When the request's body last moved, and whether it is through, or broke.
#[derive(Debug, Clone)]
pub(in crate::gateway) struct Progress(Arc<State>);

#[derive(Debug)]
struct State {
    start: Instant,
    last: AtomicU64,
    done: AtomicBool,
    broken: AtomicBool,
}

impl Progress {
    pub(in crate::gateway) fn new() -> Self {
        Self(Arc::new(State {
            start: Instant::now(),
            last: AtomicU64::new(0),
            done: AtomicBool::new(false),
            broken: AtomicBool::new(false),
        }))
    }

    pub(in crate::gateway) fn last(&self) -> Instant {
        self.0.start + Duration::from_millis(self.0.last.load(Ordering::Relaxed))
    }

    fn moved(&self) {
        let millis = u64::try_from(self.0.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last.store(millis, Ordering::Relaxed);
    }

    /// Whether the client ended the body early, or sent one that cannot be read: then an exchange that
    /// failed is not the service's fault.
    pub(in crate::gateway) fn is_broken(&self) -> bool {
        self.0.broken.load(Ordering::Relaxed)
    }

    fn is_done(&self) -> bool {
        self.0.done.load(Ordering::Relaxed)
    }
}

/// The client's body, on its way to the service behind.
#[derive(Debug)]
pub(in crate::gateway) struct RequestBody {
    body: Incoming,
    progress: Progress,
}

impl RequestBody {
    pub(in crate::gateway) fn new(body: Incoming, progress: Progress) -> Self {
        progress.0.done.store(body.is_end_stream(), Ordering::Relaxed);
        Self { body, progress }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if polled.is_ready() {
            this.progress.moved();
        }
        if matches!(polled, Poll::Ready(Some(Err(_)))) {
            this.progress.0.broken.store(true, Ordering::Relaxed);
        } else if matches!(polled, Poll::Ready(None)) || this.body.is_end_stream() {
            this.progress.0.done.store(true, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of the service behind, on its way to the client. When it is through, its connection goes
/// back to the pool; when it is dropped before, the connection is closed.
pub(in crate::gateway) struct UpstreamBody {
    body: Incoming,
    read_timeout: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
    sender: Option<Sender>,
    keep: Keep,
    request: Progress,
}

impl UpstreamBody {
    pub(in crate::gateway) fn new(
        body: Incoming,
        read_timeout: Duration,
        sender: Sender,
        keep: Keep,
        request: Progress,
    ) -> Self {
        let mut this = Self { body, read_timeout, waiting: None, sender: Some(sender), keep, request };
        if this.body.is_end_stream() {
            this.keep_connection();
        }
        this
    }

    /// A service that answered before the request was through still has the rest of it to read.
    fn keep_connection(&mut self) {
        if let Some(sender) = self.sender.take().filter(|_| self.request.is_done()) {
            self.keep.put(sender);
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                this.waiting = None;
                if frame.is_none() || this.body.is_end_stream() {
                    this.keep_connection();
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => {
                let deadline = Instant::now() + this.read_timeout;
                let waiting = this.waiting.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
                match waiting.as_mut().poll(cx) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(()) => Poll::Ready(Some(Err(
                        "the service behind stopped in the middle of its answer".into(),
                    ))),
                }
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
