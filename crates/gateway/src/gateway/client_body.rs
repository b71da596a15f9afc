//! The body of a client's request. Discards the part that is not read.

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

/// The most bytes of an unread body that are discarded to keep an HTTP/1.1 connection open. If more bytes are left, the
/// connection is closed.
const KEEP_ALIVE_BYTES: u64 = 64 * 1024;
/// The most bytes of an unread body that are discarded on an HTTP/2 stream: as many as the stream's window allows a
/// client to send at once.
const STREAM_BYTES: u64 = 1024 * 1024;
/// The time in which the rest of an unread body must arrive. After this time, the connection is closed, or the HTTP/2
/// stream is reset.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// The body of a client's request. If it is dropped before its end, the rest is read and discarded, within limits,
/// while the response is sent.
///
/// Without that, an HTTP/1.1 connection could not be used again, and an HTTP/2 stream would be reset at once: a client
/// that sees the reset before it has read the response loses the response (RFC 9113, section 8.1).
#[derive(Debug)]
pub(super) struct ClientBody(Option<Content>);

#[derive(Debug)]
struct Content {
    rest: Option<UnreadBody>,
    shared: Arc<Mutex<State>>,
}

/// The part of the body that is not read yet.
#[derive(Debug)]
struct UnreadBody {
    incoming: Incoming,
    http2: bool,
    /// Set if the client waits for `100 (Continue)`, which the first poll sends.
    waits_for_continue: bool,
}

#[derive(Debug)]
enum State {
    /// The body is being read, or will be.
    Reading,
    /// The body was dropped before the response began.
    Dropped(UnreadBody),
    /// The response has begun. The connection is kept open, or closed after the response.
    Answered { pool: bool },
    /// The body was read to its end.
    Ended,
}

/// A handle on the state of a [`ClientBody`], for its connection.
#[derive(Debug, Clone)]
pub(super) struct BodyProgress(Option<Arc<Mutex<State>>>);

/// Reasons to close an HTTP/1.1 connection after the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Close {
    /// No reason besides the state of the body.
    Unneeded,
    /// The response denies the request because of its size. The rest of the body is discarded only if it is known to be
    /// small.
    UnlessSmall,
    /// The request is ambiguous, or did not arrive in time.
    Always,
}

impl BodyProgress {
    /// Decides what happens to the rest of the body when the response begins. Returns `true` if an HTTP/1.1 connection
    /// must be closed after the response.
    pub(super) fn respond(&self, close: Close) -> bool {
        let Some(shared) = &self.0 else { return close == Close::Always };
        let mut state = lock(shared);
        let pool = close != Close::Always
            && match &*state {
                State::Dropped(rest) => rest.is_small(close == Close::UnlessSmall),
                State::Reading => close != Close::UnlessSmall,
                State::Answered { pool } => *pool,
                State::Ended => true,
            };
        if let State::Dropped(rest) = std::mem::replace(&mut *state, State::Answered { pool }) {
            rest.discard(pool);
        }
        !pool
    }
}

fn lock(shared: &Mutex<State>) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientBody {
    /// Wraps the body of a request, and returns a handle on its state.
    pub(super) fn wrap(request: Request<Incoming>) -> (Request<Self>, BodyProgress) {
        if request.body().is_end_stream() {
            return (request.map(|_| Self(None)), BodyProgress(None));
        }
        let http2 = request.version() == Version::HTTP_2;
        // On HTTP/2, hyper ignores `Expect: 100-continue`.
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
    /// Returns `true` if the rest is small enough to keep an HTTP/1.1 connection open.
    fn is_small(&self, must_be_known: bool) -> bool {
        let rest = self.incoming.size_hint();
        // Reading would send `100 (Continue)` after the denial (RFC 9110, section 10.1.1).
        !self.waits_for_continue
            && rest.lower() <= KEEP_ALIVE_BYTES
            && (rest.upper().is_some() || !must_be_known)
    }

    /// Discards the rest in a separate task, because the response does not wait for it.
    fn discard(self, pool: bool) {
        if let Ok(runtime) = Handle::try_current()
            && (pool || self.http2)
        {
            runtime.spawn(self.discarded());
        }
    }

    async fn discarded(mut self) {
        let deadline = Instant::now() + DISCARD_TIMEOUT;
        let most = if self.http2 { STREAM_BYTES } else { KEEP_ALIVE_BYTES };
        let ended = timeout_at(deadline, discard_up_to(most, &mut self.incoming)).await;
        if self.http2 && matches!(ended, Ok(Discarded::Most)) {
            // Gives the client time to read the response before the stream is reset.
            sleep_until(deadline).await;
        }
    }
}

/// The result of discarding a body.
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
            (Some(rest), State::Answered { pool }) => rest.discard(*pool),
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
