//! Bodies on their way: what they tell about the exchange, and how long they may stand still.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    Denial,
    gateway::{
        answer::BodyError,
        pool::{Keep, Sender},
    },
};

/// When the request's body last moved, and whether it is through, or broke.
#[derive(Debug, Clone)]
pub(in crate::gateway) struct Progress(Arc<State>);

#[derive(Debug)]
struct State {
    start: Instant,
    last: AtomicU64,
    done: AtomicBool,
    /// Whether the next bytes are the client's to send.
    starved: AtomicBool,
    fault: OnceLock<BodyFault>,
}

impl Progress {
    pub(in crate::gateway) fn new() -> Self {
        Self(Arc::new(State {
            start: Instant::now(),
            last: AtomicU64::new(0),
            done: AtomicBool::new(false),
            starved: AtomicBool::new(false),
            fault: OnceLock::new(),
        }))
    }

    pub(in crate::gateway) fn last(&self) -> Instant {
        self.0.start + Duration::from_millis(self.0.last.load(Ordering::Relaxed))
    }

    fn moved(&self) {
        let millis = u64::try_from(self.0.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last.store(millis, Ordering::Relaxed);
    }

    /// What the client did wrong with its body, if it did: then an exchange that failed is not the
    /// service's fault.
    pub(in crate::gateway) fn fault(&self) -> Option<Denial> {
        self.0.fault.get().map(|fault| match fault {
            BodyFault::Broken => Denial::bad_request("The request's content cannot be read to its end."),
            BodyFault::TooLarge(limit) => Denial::ContentTooLarge { limit: *limit },
            BodyFault::TooSlow => Denial::RequestTimeout,
        })
    }

    fn failed(&self, fault: BodyFault) -> BodyFault {
        *self.0.fault.get_or_init(|| fault)
    }

    /// Whether it is the client that is waited for.
    pub(in crate::gateway) fn is_starved(&self) -> bool {
        self.0.starved.load(Ordering::Relaxed)
    }

    fn is_done(&self) -> bool {
        self.0.done.load(Ordering::Relaxed)
    }
}

/// What can be wrong with a client's body.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(in crate::gateway) enum BodyFault {
    #[error("the client's content broke off or is malformed")]
    Broken,
    #[error("the client's content is more than {0} bytes")]
    TooLarge(u64),
    #[error("the client's content does not come")]
    TooSlow,
}

/// The client's body, on its way to the service behind: no larger and no slower than it may be.
///
/// Trailers stay here: nothing decided about them, and they could hold what a field of ours says.
#[derive(Debug)]
pub(in crate::gateway) struct RequestBody {
    body: Incoming,
    progress: Progress,
    limit: Option<u64>,
    taken: u64,
    timeout: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    pub(in crate::gateway) fn new(
        body: Incoming,
        progress: Progress,
        limit: Option<u64>,
        timeout: Duration,
    ) -> Self {
        progress.0.done.store(body.is_end_stream(), Ordering::Relaxed);
        Self { body, progress, limit, taken: 0, timeout, waiting: None }
    }

    fn ends(&self) {
        self.progress.0.done.store(true, Ordering::Relaxed);
    }

    fn taken(&mut self, bytes: usize) -> Result<(), BodyFault> {
        self.taken = self.taken.saturating_add(bytes as u64);
        match self.limit {
            Some(limit) if self.taken > limit => Err(self.progress.failed(BodyFault::TooLarge(limit))),
            _ => Ok(()),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let this = self.get_mut();
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            this.progress.0.starved.store(true, Ordering::Relaxed);
            let deadline = Instant::now() + this.timeout;
            let waiting = this.waiting.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            ready!(waiting.as_mut().poll(cx));
            return Poll::Ready(Some(Err(this.progress.failed(BodyFault::TooSlow))));
        };
        this.waiting = None;
        this.progress.0.starved.store(false, Ordering::Relaxed);
        this.progress.moved();
        Poll::Ready(match frame {
            Some(Err(_)) => Some(Err(this.progress.failed(BodyFault::Broken))),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    if this.body.is_end_stream() {
                        this.ends();
                    }
                    Some(this.taken(data.len()).map(|()| Frame::data(data)))
                }
                Err(_trailers) => {
                    this.ends();
                    None
                }
            },
            None => {
                this.ends();
                None
            }
        })
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
