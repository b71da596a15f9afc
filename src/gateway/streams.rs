//! The streams of an HTTP/2 connection, of which each has its own task: one whose client takes nothing of
//! its answer is given up, however well the others do.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep};

/// Bytes a second that a client takes at least of what it was given: beyond the first `write_timeout`.
const SLOWEST: u64 = 1024;

thread_local! {
    /// What the stream that is polled just now was found to wait for.
    static TURN: Cell<Turn> = const { Cell::new(Turn::Theirs) };
}

/// Whose turn it is on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The gateway's: the service behind has not said more.
    Ours,
    /// The client's, which has just been given so many bytes.
    Given(u64),
    /// The client's still: nothing was asked of the answer.
    Theirs,
}

/// Says whose turn it is, whenever an answer or its body was asked for more.
pub(super) fn turn(turn: Turn) {
    TURN.set(turn);
}

/// Runs each stream, for as long as its client takes what it asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streams {
    /// How long a client may take nothing.
    pub(super) most: Duration,
}

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        tokio::spawn(Stream { inner: stream, most: self.most, waiting: None });
    }
}

pin_project! {
    struct Stream<F> {
        #[pin]
        inner: F,
        most: Duration,
        waiting: Option<Pin<Box<Sleep>>>,
    }
}

impl<F: Future> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        TURN.set(Turn::Theirs);
        if this.inner.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        match TURN.get() {
            Turn::Ours => {
                *this.waiting = None;
                return Poll::Pending;
            }
            Turn::Given(bytes) => {
                let patience = this.most.saturating_add(Duration::from_secs(bytes / SLOWEST));
                match this.waiting {
                    Some(waiting) => waiting.as_mut().reset(Instant::now() + patience),
                    None => *this.waiting = Some(Box::pin(sleep(patience))),
                }
            }
            Turn::Theirs => {}
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
    use std::future::poll_fn;

    use super::*;

    const MOST: Duration = Duration::from_secs(30);

    /// How long a stream lasts whose turns are these, one each ten seconds, and the last one for ever.
    async fn lasts(turns: &'static [Turn]) -> u64 {
        let start = Instant::now();
        let mut left = turns.iter();
        let mut pause = Box::pin(sleep(Duration::ZERO));
        let stream = poll_fn(move |cx| {
            while pause.as_mut().poll(cx).is_ready() {
                let Some(next) = left.next() else { break };
                turn(*next);
                pause.as_mut().reset(Instant::now() + Duration::from_secs(10));
            }
            Poll::<()>::Pending
        });
        let stream = Stream { inner: stream, most: MOST, waiting: None };
        let _ = tokio::time::timeout(Duration::from_secs(3_600), stream).await;
        start.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up_and_who_waits_for_us_is_not() {
        use Turn::{Given, Ours};
        assert_eq!(lasts(&[Given(10)]).await, 30);
        assert_eq!(lasts(&[Given(10), Given(10)]).await, 40, "it takes, if slowly");
        assert_eq!(lasts(&[Given(100 * 1024)]).await, 130, "more takes longer");
        assert_eq!(lasts(&[Given(10), Ours]).await, 3_600);
        assert_eq!(lasts(&[]).await, 3_600, "nothing was given yet");
    }
}
