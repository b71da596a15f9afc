//! The bodies of requests and responses in transit: their progress and their timeouts.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::{task::JoinSet, time::Instant};

use crate::gateway::{
    client_body::ClientBody,
    framing,
    pool::{LazyDeadline, UpstreamConnection, UpstreamPool},
    response_body::BoxError,
};
use portcullis::{
    Denial,
    admission::DigestMismatch,
    limit::{MinDataRate, RateMeter},
    tower,
};

/// The progress of a request body: the time of its last frame, and whether it is complete or failed.
#[derive(Debug, Clone)]
pub(in crate::gateway) struct Progress(Arc<State>);

#[derive(Debug)]
struct State {
    start: Instant,
    last: AtomicU64,
    done: AtomicBool,
    /// Set while the client has to send the next bytes.
    starved: AtomicBool,
    fault: OnceLock<BodyError>,
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

    /// Returns the last time that the upstream was given data, or was able to read some.
    pub(in crate::gateway) fn last(&self) -> Instant {
        if self.waiting_on_client() { Instant::now() } else { self.moved_at() }
    }

    fn moved_at(&self) -> Instant {
        self.0.start + Duration::from_millis(self.0.last.load(Ordering::Relaxed))
    }

    fn moved(&self) {
        let millis = u64::try_from(self.0.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last.store(millis, Ordering::Relaxed);
    }

    /// Returns the error in the client's body, if there was one. A failed exchange is then not the fault of the
    /// upstream.
    pub(in crate::gateway) fn fault(&self) -> Option<Denial> {
        self.0.fault.get().map(|fault| match fault {
            BodyError::Broken => Denial::bad_request("The request body could not be read completely."),
            BodyError::TooLarge(limit) => Denial::ContentTooLarge { limit: *limit },
            BodyError::TooSlow => Denial::RequestTimeout,
            BodyError::Altered => Denial::content_mismatch(),
        })
    }

    fn failed(&self, fault: BodyError) -> BodyError {
        *self.0.fault.get_or_init(|| fault)
    }

    /// Returns `true` if the exchange waits for the client.
    fn waiting_on_client(&self) -> bool {
        self.0.starved.load(Ordering::Relaxed)
    }

    fn is_done(&self) -> bool {
        self.0.done.load(Ordering::Relaxed)
    }
}

/// Errors in a client's body.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(in crate::gateway) enum BodyError {
    #[error("client body incomplete or malformed")]
    Broken,
    #[error("client body larger than {0} bytes")]
    TooLarge(u64),
    #[error("client body too slow")]
    TooSlow,
    #[error("client body does not match the signed digest")]
    Altered,
}

/// The client's body on its way to the upstream, with a size limit and a minimum rate.
///
/// Trailers are not forwarded: no policy has checked them, and they could contain a header that only the gateway may
/// set.
///
/// Most requests have no body, and all of them are moved in memory, so the state of a body is boxed.
#[derive(Debug)]
pub(in crate::gateway) struct RequestBody(Option<Box<Content>>);

#[derive(Debug)]
struct Content {
    body: tower::RequestBody<ClientBody>,
    progress: Progress,
    limit: Option<u64>,
    taken: u64,
    meter: RateMeter,
    /// The time since when the body waits for the client.
    since: Option<Instant>,
    patience: Option<LazyDeadline>,
}

impl RequestBody {
    /// Creates an empty body.
    pub(in crate::gateway) fn empty() -> Self {
        Self(None)
    }

    /// Wraps a body. Returns its progress, too, unless the body is empty.
    pub(in crate::gateway) fn new(
        body: tower::RequestBody<ClientBody>,
        limit: Option<u64>,
        pace: MinDataRate,
    ) -> (Self, Option<Progress>) {
        if body.is_end_stream() {
            return (Self(None), None);
        }
        let progress = Progress::new();
        let content = Content {
            body,
            progress: progress.clone(),
            limit,
            taken: 0,
            meter: pace.meter(),
            since: None,
            patience: None,
        };
        (Self(Some(Box::new(content))), Some(progress))
    }
}

impl Content {
    fn ends(&self) {
        self.progress.0.done.store(true, Ordering::Relaxed);
    }

    fn taken(&mut self, bytes: usize) -> Result<(), BodyError> {
        self.taken = self.taken.saturating_add(bytes as u64);
        self.meter.moved(bytes as u64);
        match self.limit {
            Some(limit) if self.taken > limit => Err(self.progress.failed(BodyError::TooLarge(limit))),
            _ => Ok(()),
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            self.progress.0.starved.store(true, Ordering::Relaxed);
            let patience = self.patience.get_or_insert_with(LazyDeadline::new);
            if self.since.is_none() {
                let now = Instant::now();
                self.since = Some(now);
                patience.set(now + self.meter.time_left());
            }
            ready!(patience.poll(cx));
            return Poll::Ready(Some(Err(self.progress.failed(BodyError::TooSlow))));
        };
        if let Some(since) = self.since.take() {
            self.meter.set_waiting(since.elapsed());
        }
        self.progress.0.starved.store(false, Ordering::Relaxed);
        self.progress.moved();
        Poll::Ready(match frame {
            Some(Err(error)) => {
                let fault =
                    if DigestMismatch::is_cause_of(&*error) { BodyError::Altered } else { BodyError::Broken };
                Some(Err(self.progress.failed(fault)))
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    if self.body.is_end_stream() {
                        self.ends();
                    }
                    Some(self.taken(data.len()).map(|()| Frame::data(data)))
                }
                Err(_trailers) => {
                    self.ends();
                    None
                }
            },
            None => {
                self.ends();
                None
            }
        })
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Some(content) => content.poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|content| content.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or(SizeHint::with_exact(0), |content| content.body.size_hint())
    }
}

/// The driver of an upstream connection whose response has begun.
enum Driver {
    /// The connection is driven when the response body is polled.
    Inline(UpstreamConnection),
    /// The connection is driven by a task of its own, which is aborted on drop.
    Spawned {
        _task: JoinSet<()>,
        patience: LazyDeadline,
    },
    Done,
}

impl Driver {
    fn task(mut link: UpstreamConnection) -> Self {
        let mut task = JoinSet::new();
        task.spawn(poll_fn(move |cx| link.drive(cx)));
        Self::Spawned { _task: task, patience: LazyDeadline::new() }
    }
}

/// The response body on its way from the upstream to the client. When it is complete, the connection returns to the
/// pool. When it is dropped earlier, the connection is closed.
pub(in crate::gateway) struct UpstreamBody {
    body: Incoming,
    read_timeout: Duration,
    waiting: bool,
    driver: Driver,
    /// The pool for the connection. `None` if the connection cannot be used again.
    keep: Option<UpstreamPool>,
    request: Option<Progress>,
    /// An error that the next poll returns.
    failure: Option<BoxError>,
}

impl UpstreamBody {
    pub(in crate::gateway) fn new(
        body: Incoming,
        read_timeout: Duration,
        link: UpstreamConnection,
        keep: Option<UpstreamPool>,
        request: Option<Progress>,
    ) -> Self {
        // The request body must make progress even if the response body is not polled.
        let uploads = request.as_ref().is_some_and(|request| !request.is_done());
        let driver = if uploads { Driver::task(link) } else { Driver::Inline(link) };
        let mut this = Self { body, read_timeout, waiting: false, driver, keep, request, failure: None };
        if this.body.is_end_stream() {
            this.keep_connection();
        }
        this
    }

    /// Returns the connection to the pool, unless the upstream responded before the request was complete: it still has
    /// to read the rest.
    fn keep_connection(&mut self) {
        if let Driver::Inline(link) = std::mem::replace(&mut self.driver, Driver::Done)
            && self.request.as_ref().is_none_or(Progress::is_done)
            && let Some(keep) = &self.keep
        {
            keep.put(link);
        }
    }

    /// Polls the response body. If no data is available, drives the connection and polls again.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let Driver::Inline(link) = &mut self.driver else { return Pin::new(&mut self.body).poll_frame(cx) };
        // Only the connection, which is driven here, moves the body: a second wake-up is not needed.
        let still = &mut Context::from_waker(Waker::noop());
        let frame = Pin::new(&mut self.body).poll_frame(still);
        if frame.is_pending() {
            let _ = link.drive(cx);
            return Pin::new(&mut self.body).poll_frame(still);
        }
        frame
    }
}

/// Removes the fields that must not be in trailers.
fn clean(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        framing::clean_trailers(trailers);
    }
    frame
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if let Some(error) = this.failure.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match this.poll_body(cx) {
            // hyper discards what it has not written when a body fails. Its flush comes first: otherwise a response that
            // is cut off right after its head would reach the client as a closed connection without any response.
            Poll::Ready(Some(Err(error))) => {
                this.failure = Some(error.into());
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(frame) => {
                this.waiting = false;
                if frame.is_none() || this.body.is_end_stream() {
                    this.keep_connection();
                }
                Poll::Ready(frame.map(|frame| frame.map(clean).map_err(Into::into)))
            }
            Poll::Pending => {
                let patience = match &mut this.driver {
                    Driver::Inline(link) => &mut link.patience,
                    Driver::Spawned { patience, .. } => patience,
                    Driver::Done => return Poll::Pending,
                };
                if !this.waiting {
                    this.waiting = true;
                    patience.set(Instant::now() + this.read_timeout);
                }
                while patience.poll(cx).is_ready() {
                    // An upstream that is still receiving the request body may read all of it before it continues.
                    match this.request.as_ref().map(Progress::last) {
                        Some(last) if last + this.read_timeout > Instant::now() => {
                            patience.set(last + this.read_timeout);
                        }
                        _ => {
                            let stopped = "upstream stopped in the middle of the response";
                            return Poll::Ready(Some(Err(stopped.into())));
                        }
                    }
                }
                Poll::Pending
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
