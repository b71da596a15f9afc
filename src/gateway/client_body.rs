//! The body of a client's request, and the discarding of what is not read of it.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Version, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::{
    runtime::Handle,
    time::{Instant, sleep_until, timeout_at},
};

/// Bytes of an unread body that are discarded so that an HTTP/1.1 connection can be kept. Beyond it, the
/// connection is closed.
const KEEP_ALIVE_BYTES: u64 = 64 * 1024;
/// Bytes of an unread body that are discarded on an HTTP/2 stream: as many as its window lets a client send at once.
const STREAM_BYTES: u64 = 1024 * 1024;
/// The time in which the rest of an unread body must arrive. After it, the connection is closed, or the HTTP/2
/// stream is reset.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// The body of a client's request. When it is dropped before its end, the rest is read and discarded, within
/// bounds, while the response is on its way.
///
/// Without that, HTTP/1.1 could not use the connection again, and HTTP/2 would reset the stream at once: clients that
/// see the reset before they have read the response lose the response (RFC 9113, section 8.1).
#[derive(Debug)]
pub(super) struct ClientBody(Option<Content>);

#[derive(Debug)]
struct Content {
    rest: Option<UnreadBody>,
    shared: Arc<Mutex<State>>,
}

/// The part that is not read yet.
#[derive(Debug)]
struct UnreadBody {
    incoming: Incoming,
    http2: bool,
    /// The client waits for `100 (Continue)`, which the first poll sends.
    waits_for_continue: bool,
}

#[derive(Debug)]
enum State {
    /// The body is being read, or is about to be.
    Reading,
    /// The body was dropped before there was a response.
    Dropped(UnreadBody),
    /// The response has begun; the connection is kept, or is closed behind it.
    Answered { keep: bool },
    /// The body was read to its end.
    Ended,
}

/// The connection's view on a [`ClientBody`].
#[derive(Debug, Clone)]
pub(super) struct BodyProgress(Option<Arc<Mutex<State>>>);

/// The reasons that a response has to be the last one of an HTTP/1.1 connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Close {
    /// None but those that the body has.
    Unneeded,
    /// A refusal of the body's size: its rest is not worth waiting for unless that is known to be small.
    UnlessSmall,
    /// The request may be read in two ways, or did not come in time.
    Always,
}

impl BodyProgress {
    /// Decides on the rest of the body when the response begins, and returns `true` if an HTTP/1.1 connection has to
    /// be closed behind it.
    pub(super) fn respond(&self, close: Close) -> bool {
        let Some(shared) = &self.0 else { return close == Close::Always };
        let mut state = lock(shared);
        let keep = close != Close::Always
            && match &*state {
                State::Dropped(rest) => rest.is_small(close == Close::UnlessSmall),
                State::Reading => close != Close::UnlessSmall,
                State::Answered { keep } => *keep,
                State::Ended => true,
            };
        if let State::Dropped(rest) = std::mem::replace(&mut *state, State::Answered { keep }) {
            rest.discard(keep);
        }
        !keep
    }
}

fn lock(shared: &Mutex<State>) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientBody {
    /// Wraps the body of a request, and returns a view on its progress.
    pub(super) fn wrap(request: Request<Incoming>) -> (Request<Self>, BodyProgress) {
        if request.body().is_end_stream() {
            return (request.map(|_| Self(None)), BodyProgress(None));
        }
        let http2 = request.version() == Version::HTTP_2;
        // On HTTP/2, hyper does not act on the expectation.
        let waits_for_continue = !http2 && request.headers().contains_key(header::EXPECT);
        let shared = Arc::new(Mutex::new(State::Reading));
        let progress = BodyProgress(Some(shared.clone()));
        let body = |incoming| {
            let rest = Some(UnreadBody { incoming, http2, waits_for_continue });
            Self(Some(Content { rest, shared }))
        };
        (request.map(body), progress)
    }
}

impl UnreadBody {
    /// Returns `true` if an HTTP/1.1 connection can be kept for it.
    fn is_small(&self, must_be_known: bool) -> bool {
        let rest = self.incoming.size_hint();
        // Reading would send `100 (Continue)` behind the refusal (RFC 9110, section 10.1.1).
        !self.waits_for_continue
            && rest.lower() <= KEEP_ALIVE_BYTES
            && (rest.upper().is_some() || !must_be_known)
    }

    /// Discards it in a task of its own, because the response does not wait for it.
    fn discard(self, keep: bool) {
        if let Ok(runtime) = Handle::try_current()
            && (keep || self.http2)
        {
            runtime.spawn(self.discarded());
        }
    }

    async fn discarded(mut self) {
        let deadline = Instant::now() + DISCARD_TIMEOUT;
        let most = if self.http2 { STREAM_BYTES } else { KEEP_ALIVE_BYTES };
        let ended = timeout_at(deadline, discard_up_to(most, &mut self.incoming)).await;
        if self.http2 && matches!(ended, Ok(Discarded::Most)) {
            // The client has the time to read the response before the stream is reset.
            sleep_until(deadline).await;
        }
    }
}

/// The part of a body that was discarded.
enum Discarded {
    All,
    Most,
}

async fn discard_up_to(most: u64, body: &mut Incoming) -> Discarded {
    let mut left = most;
    loop {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
        let Some(Ok(frame)) = frame else { return Discarded::All };
        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => return Discarded::Most,
        }
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        let Some(Content { rest, shared }) = self.0.take() else { return };
        let mut state = lock(&shared);
        match (rest, &*state) {
            (None, State::Reading) => *state = State::Ended,
            (Some(rest), State::Reading) => *state = State::Dropped(rest),
            (Some(rest), State::Answered { keep }) => rest.discard(*keep),
            _ => {}
        }
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(content) = &mut self.0 else { return Poll::Ready(None) };
        let Some(rest) = &mut content.rest else { return Poll::Ready(None) };
        rest.waits_for_continue = false;
        let polled = Pin::new(&mut rest.incoming).poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) || rest.incoming.is_end_stream() {
            content.rest = None;
            let mut state = lock(&content.shared);
            if matches!(*state, State::Reading) {
                *state = State::Ended;
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let rest = self.0.as_ref().and_then(|content| content.rest.as_ref());
        rest.is_none_or(|rest| rest.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.0.as_ref().and_then(|content| content.rest.as_ref());
        rest.map_or(SizeHint::with_exact(0), |rest| rest.incoming.size_hint())
    }
}
