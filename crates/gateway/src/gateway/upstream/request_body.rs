//! The request body on its way to the upstream: its progress, its size limit and its minimum rate.

use std::{
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
use tokio::time::Instant;

use crate::gateway::{client_body::ClientBody, lazy_deadline::LazyDeadline};
use portcullis::{
    Denial,
    admission::DigestMismatch,
    limit::{MinDataRate, RateMeter},
    tower,
};

/// The progress of a request body: the time of its last frame, and whether it is complete or failed.
#[derive(Debug, Clone)]
pub(super) struct Progress(Arc<State>);

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
    pub(super) fn new() -> Self {
        Self(Arc::new(State {
            start: Instant::now(),
            last: AtomicU64::new(0),
            done: AtomicBool::new(false),
            starved: AtomicBool::new(false),
            fault: OnceLock::new(),
        }))
    }

    /// Returns the last time that the upstream was given data, or was able to read some.
    pub(super) fn last(&self) -> Instant {
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
    pub(super) fn fault(&self) -> Option<Denial> {
        self.0.fault.get().map(|fault| match fault {
            BodyError::Broken => Denial::bad_request("The request body could not be read completely."),
            BodyError::TooLarge(limit) => Denial::ContentTooLarge { limit: *limit },
            BodyError::TooSlow => Denial::RequestTimeout,
            BodyError::ContentMismatch => Denial::content_mismatch(),
        })
    }

    fn failed(&self, fault: BodyError) -> BodyError {
        *self.0.fault.get_or_init(|| fault)
    }

    /// Returns `true` if the exchange waits for the client.
    fn waiting_on_client(&self) -> bool {
        self.0.starved.load(Ordering::Relaxed)
    }

    /// Returns `true` if the client has sent the whole body.
    pub(super) fn is_done(&self) -> bool {
        self.0.done.load(Ordering::Relaxed)
    }
}

/// Errors in a client's body.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(super) enum BodyError {
    #[error("client body incomplete or malformed")]
    Broken,
    #[error("client body larger than {0} bytes")]
    TooLarge(u64),
    #[error("client body too slow")]
    TooSlow,
    #[error("client body does not match the signed digest")]
    ContentMismatch,
}

/// The client's body on its way to the upstream, with a size limit and a minimum rate.
///
/// Trailers are not forwarded: no policy has checked them, and they could contain a header that only the gateway may
/// set.
///
/// Most requests have no body, and all of them are moved in memory, so the state of a body is boxed.
#[derive(Debug)]
pub(super) struct RequestBody(Option<Box<Content>>);

#[derive(Debug)]
struct Content {
    body: tower::RequestBody<ClientBody>,
    progress: Progress,
    limit: Option<u64>,
    received: u64,
    meter: RateMeter,
    /// The time since when the body waits for the client.
    since: Option<Instant>,
    response_timeout: Option<LazyDeadline>,
}

impl RequestBody {
    /// Creates an empty body.
    pub(super) fn empty() -> Self {
        Self(None)
    }

    /// Wraps a body. Returns its progress, too, unless the body is empty.
    pub(super) fn new(
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
            received: 0,
            meter: pace.meter(),
            since: None,
            response_timeout: None,
        };
        (Self(Some(Box::new(content))), Some(progress))
    }
}

impl Content {
    fn ends(&self) {
        self.progress.0.done.store(true, Ordering::Relaxed);
    }

    fn count(&mut self, bytes: usize) -> Result<(), BodyError> {
        self.received = self.received.saturating_add(bytes as u64);
        self.meter.moved(bytes as u64);
        match self.limit {
            Some(limit) if self.received > limit => Err(self.progress.failed(BodyError::TooLarge(limit))),
            _ => Ok(()),
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            self.progress.0.starved.store(true, Ordering::Relaxed);
            let response_timeout = self.response_timeout.get_or_insert_with(LazyDeadline::new);
            if self.since.is_none() {
                let now = Instant::now();
                self.since = Some(now);
                response_timeout.set(now + self.meter.time_left());
            }
            ready!(response_timeout.poll(cx));
            return Poll::Ready(Some(Err(self.progress.failed(BodyError::TooSlow))));
        };
        if let Some(since) = self.since.take() {
            self.meter.set_waiting(since.elapsed());
        }
        self.progress.0.starved.store(false, Ordering::Relaxed);
        self.progress.moved();
        Poll::Ready(match frame {
            Some(Err(error)) => {
                let fault = if DigestMismatch::is_cause_of(&*error) {
                    BodyError::ContentMismatch
                } else {
                    BodyError::Broken
                };
                Some(Err(self.progress.failed(fault)))
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    if self.body.is_end_stream() {
                        self.ends();
                    }
                    Some(self.count(data.len()).map(|()| Frame::data(data)))
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
