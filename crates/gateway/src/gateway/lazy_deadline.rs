//! A deadline that is extended often and rarely reached.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline whose timer is reset only when it fires, or to an earlier time.
#[derive(Debug)]
pub(super) struct LazyDeadline {
    timer: Pin<Box<Sleep>>,
    deadline: Instant,
}

impl LazyDeadline {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { timer: Box::pin(sleep_until(now)), deadline: now }
    }

    pub(super) fn set(&mut self, deadline: Instant) {
        self.deadline = deadline;
        if deadline < self.timer.deadline() {
            self.timer.as_mut().reset(deadline);
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            if self.timer.deadline() >= self.deadline {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(self.deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn moved_deadline_fires_at_its_last_value() {
        let mut deadline = LazyDeadline::new();
        let start = Instant::now();
        let seconds = Duration::from_secs;
        deadline.set(start + seconds(1));
        deadline.set(start + seconds(5));
        std::future::poll_fn(|cx| deadline.poll(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 5);
        deadline.set(start + seconds(60));
        let _ = tokio::time::timeout(seconds(1), std::future::poll_fn(|cx| deadline.poll(cx))).await;
        deadline.set(start + seconds(10));
        std::future::poll_fn(|cx| deadline.poll(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 10, "an earlier one too");
    }
}
