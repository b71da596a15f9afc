//! The write timeout of HTTP/2 streams. Each stream has a task of its own and is reset if its client stops reading the
//! response, independently of other streams.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep};

use portcullis::limit::{MinDataRate, RateMeter};

thread_local! {
    /// The bytes that the client read at once during the current poll of the stream.
    static TAKEN: Cell<u64> = const { Cell::new(0) };
    /// The side that the stream waits for, as found during its current poll.
    static WAITING_ON: Cell<WaitingOn> = const { Cell::new(WaitingOn::Client) };
}

/// The side that a stream waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum WaitingOn {
    /// The stream waits for the gateway: the upstream has not sent more.
    Upstream,
    /// The stream waits for the client, which was just given this number of bytes.
    Delivered(u64),
    /// The stream still waits for the client: no more of the response was requested.
    Client,
}

/// Records which side the stream waits for. Called whenever a response or its body is polled.
pub(in crate::gateway) fn set_waiting_on(turn: WaitingOn) {
    if let WaitingOn::Delivered(bytes) = WAITING_ON.replace(turn) {
        TAKEN.set(TAKEN.get().saturating_add(bytes));
    }
}

/// Runs each stream as a task, as long as its client reads the response.
#[derive(Debug, Clone, Copy)]
pub(in crate::gateway) struct StreamExecutor {
    /// The slowest rate at which a client may read a response.
    pub(in crate::gateway) pace: MinDataRate,
}

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        tokio::spawn(Stream::new(stream, self.pace));
    }
}

pin_project! {
    struct Stream<F> {
        #[pin]
        inner: F,
        pace: MinDataRate,
        meter: RateMeter,
        // The bytes that the client was given last, and the time since when the stream waits for it.
        given: u64,
        since: Option<Instant>,
        waiting: Option<Pin<Box<Sleep>>>,
    }
}

impl<F> Stream<F> {
    fn new(inner: F, pace: MinDataRate) -> Self {
        Self { inner, pace, meter: pace.meter(), given: 0, since: None, waiting: None }
    }
}

impl<F: Future> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        WAITING_ON.set(WaitingOn::Client);
        TAKEN.set(0);
        if this.inner.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let turn = WAITING_ON.get();
        if turn != WaitingOn::Client
            && let Some(since) = this.since.take()
        {
            // A client that requests more has read what it was given.
            this.meter.record(since.elapsed(), this.given.saturating_add(TAKEN.get()));
        }
        match turn {
            WaitingOn::Upstream => {
                *this.waiting = None;
                return Poll::Pending;
            }
            WaitingOn::Delivered(bytes) => {
                (*this.given, *this.since) = (bytes, Some(Instant::now()));
                let response_timeout = this.meter.time_left().saturating_add(this.pace.time_of(bytes));
                match this.waiting {
                    Some(waiting) => waiting.as_mut().reset(Instant::now() + response_timeout),
                    None => *this.waiting = Some(Box::pin(sleep(response_timeout))),
                }
            }
            WaitingOn::Client => {}
        }
        // A dropped stream is reset.
        match this.waiting {
            Some(waiting) => {
                ready!(waiting.as_mut().poll(cx));
                tracing::debug!("HTTP/2 stream reset: write timeout expired");
                Poll::Ready(())
            }
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;

    const PACE: MinDataRate = MinDataRate { timeout: Duration::from_secs(30), rate: 1024 };

    /// Returns the seconds that a stream lasts with the given turns, one every ten seconds; the last one stays for
    /// ever.
    async fn lasts(turns: &'static [WaitingOn]) -> u64 {
        let start = Instant::now();
        let mut left = turns.iter();
        let mut pause = Box::pin(sleep(Duration::ZERO));
        let stream = poll_fn(move |cx| {
            while pause.as_mut().poll(cx).is_ready() {
                let Some(next) = left.next() else { break };
                set_waiting_on(*next);
                pause.as_mut().reset(Instant::now() + Duration::from_secs(10));
            }
            Poll::<()>::Pending
        });
        let stream = Stream::new(stream, PACE);
        let _ = tokio::time::timeout(Duration::from_secs(3_600), stream).await;
        start.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn write_timeout_applies_only_while_waiting_for_the_client() {
        use WaitingOn::{Delivered, Upstream};
        assert_eq!(lasts(&[Delivered(10)]).await, 30);
        assert_eq!(lasts(&[Delivered(10 * 1024), Delivered(10 * 1024)]).await, 50, "a slow client");
        assert_eq!(
            lasts(&[Delivered(10), Delivered(10), Delivered(10), Delivered(10)]).await,
            30,
            "few bytes at a time"
        );
        assert_eq!(
            lasts(&[Delivered(1 << 30), Delivered(10)]).await,
            40,
            "bytes that were read quickly buy no time"
        );
        assert_eq!(lasts(&[Delivered(100 * 1024)]).await, 130, "more bytes take longer");
        assert_eq!(lasts(&[Delivered(10), Upstream]).await, 3_600);
        assert_eq!(lasts(&[]).await, 3_600, "nothing was given yet");
    }
}
