//! The streams of an HTTP/2 connection, of which each has its own task: one whose client takes nothing of
//! its answer is given up, however well the others do.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep};

use crate::limit::{RateMeter, MinDataRate};

thread_local! {
    /// The bytes that the client took at once while the stream was polled just now.
    static TAKEN: Cell<u64> = const { Cell::new(0) };
    /// What the stream that is polled just now was found to wait for.
    static WAITING_ON: Cell<WaitingOn> = const { Cell::new(WaitingOn::Client) };
}

/// Whose turn it is on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WaitingOn {
    /// The gateway's: the service behind has not said more.
    Upstream,
    /// The client's, which has just been given so many bytes.
    Delivered(u64),
    /// The client's still: nothing was asked of the answer.
    Client,
}

/// Says whose turn it is, whenever an answer or its body was asked for more.
pub(super) fn set_waiting_on(turn: WaitingOn) {
    if let WaitingOn::Delivered(bytes) = WAITING_ON.replace(turn) {
        TAKEN.set(TAKEN.get().saturating_add(bytes));
    }
}

/// Runs each stream, for as long as its client takes what it asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct StreamExecutor {
    /// The slowest pace at which a client may take a response.
    pub(super) pace: MinDataRate,
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
        // The bytes that the client was given last, and the time since when it is waited for.
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
            // Who is asked for more has taken what was given.
            this.meter.record(since.elapsed(), this.given.saturating_add(TAKEN.get()));
        }
        match turn {
            WaitingOn::Upstream => {
                *this.waiting = None;
                return Poll::Pending;
            }
            WaitingOn::Delivered(bytes) => {
                (*this.given, *this.since) = (bytes, Some(Instant::now()));
                let patience = this.meter.time_left().saturating_add(this.pace.time_of(bytes));
                match this.waiting {
                    Some(waiting) => waiting.as_mut().reset(Instant::now() + patience),
                    None => *this.waiting = Some(Box::pin(sleep(patience))),
                }
            }
            WaitingOn::Client => {}
        }
        // What is dropped is reset.
        match this.waiting {
            Some(waiting) => {
                ready!(waiting.as_mut().poll(cx));
                tracing::debug!("a stream was given up: its client takes nothing of it");
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

    /// How long a stream lasts whose turns are these, one each ten seconds, and the last one for ever.
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
    async fn who_takes_nothing_is_given_up_and_who_waits_for_us_is_not() {
        use WaitingOn::{Delivered, Upstream};
        assert_eq!(lasts(&[Delivered(10)]).await, 30);
        assert_eq!(lasts(&[Delivered(10 * 1024), Delivered(10 * 1024)]).await, 50, "it takes, if slowly");
        assert_eq!(lasts(&[Delivered(10), Delivered(10), Delivered(10), Delivered(10)]).await, 30, "a little now and then");
        assert_eq!(lasts(&[Delivered(1 << 30), Delivered(10)]).await, 40, "what was taken quickly buys no time");
        assert_eq!(lasts(&[Delivered(100 * 1024)]).await, 130, "more takes longer");
        assert_eq!(lasts(&[Delivered(10), Upstream]).await, 3_600);
        assert_eq!(lasts(&[]).await, 3_600, "nothing was given yet");
    }
}
