//! How a connection is used, and when that is over.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until};

use crate::config::Limits;

/// How long a connection on which nothing was ever asked has to say goodbye.
const LAST_WORD: Duration = Duration::from_secs(1);

/// The requests of one connection.
#[derive(Debug, Clone)]
pub(super) struct Usage(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// How many more requests may come.
    left: u32,
    running: u32,
    /// Whether an answer waits for its client to take it.
    blocked: bool,
    /// Since when there is neither, and whether there ever was a request.
    since: Instant,
    fresh: bool,
    /// Whether a client took a request back before it had an answer.
    takes_back: bool,
}

impl State {
    fn is_idle(&self) -> bool {
        self.running == 0 && !self.blocked
    }
}

impl Usage {
    pub(super) fn new(requests: u32) -> Self {
        let since = Instant::now();
        let state =
            State { left: requests, running: 0, blocked: false, since, fresh: true, takes_back: false };
        Self(Arc::new(Mutex::new(state)))
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A request has come; it runs until the guard is dropped.
    pub(super) fn request(&self) -> Running {
        self.with(|state| {
            state.fresh = false;
            state.running += 1;
            state.left = state.left.saturating_sub(1);
        });
        Running { usage: self.clone(), answered: false }
    }

    /// An answer waits for its client to take it, or does no more.
    pub(super) fn blocked(&self, blocked: bool) {
        self.with(|state| {
            state.blocked = blocked;
            state.since = Instant::now();
        });
    }

    /// Whether the last request has come.
    pub(super) fn is_spent(&self) -> bool {
        self.with(|state| state.left == 0)
    }

    /// Resolves when nothing has been asked for too long: for `first` on a connection on which nothing was
    /// ever, for `later` on another.
    pub(super) async fn is_idle(&self, first: Duration, later: Duration) {
        loop {
            let idle = self.with(|state| {
                let most = if state.fresh { first } else { later };
                state.is_idle().then_some(state.since + most)
            });
            match idle {
                Some(until) if until <= Instant::now() => return,
                Some(until) => sleep_until(until).await,
                None => sleep(later).await,
            }
        }
    }

    /// Whether nothing was ever asked.
    pub(super) fn is_fresh(&self) -> bool {
        self.with(|state| state.fresh)
    }

    /// How long a connection without a request has to say goodbye. An answer that is through may still lie in
    /// a buffer: a client that ever asked has the time it always has to take it.
    pub(super) fn last_word(&self, limits: &Limits) -> Duration {
        if self.is_fresh() { LAST_WORD } else { limits.write_timeout.duration() }
    }

    /// Resolves when no request has been running for a time, from now on.
    pub(super) async fn is_unused(&self, most: Duration) {
        let start = Instant::now();
        loop {
            let since = self.with(|state| (state.running == 0).then_some(state.since.max(start)));
            match since {
                Some(since) if since.elapsed() >= most => return,
                _ => sleep(most).await,
            }
        }
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Running {
    usage: Usage,
    answered: bool,
}

impl Running {
    /// Whether another one of its connection was taken back: this one may be, too.
    pub(super) fn is_doubtful(&self) -> bool {
        self.usage.with(|state| state.takes_back)
    }

    /// Its answer has begun.
    pub(super) fn answered(&mut self) {
        self.answered = true;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.usage.with(|state| {
            state.running = state.running.saturating_sub(1);
            state.since = Instant::now();
            state.takes_back |= !self.answered;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(10);
    const LATER: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_idle_sooner_than_who_has_asked() {
        let start = Instant::now();
        Usage::new(9).is_idle(FIRST, LATER).await;
        assert_eq!(start.elapsed(), FIRST);

        let usage = Usage::new(9);
        let running = usage.request();
        let idle = tokio::spawn({
            let usage = usage.clone();
            async move { usage.is_idle(FIRST, LATER).await }
        });
        tokio::time::advance(LATER * 3).await;
        assert!(!idle.is_finished(), "a request is running");
        drop(running);
        let start = Instant::now();
        idle.await.unwrap();
        assert!(start.elapsed() >= LATER);
    }

    #[tokio::test]
    async fn who_has_asked_has_time_to_take_the_answer() {
        let (limits, usage) = (Limits::default(), Usage::new(9));
        assert_eq!(usage.last_word(&limits), LAST_WORD);
        drop(usage.request());
        assert_eq!(usage.last_word(&limits), limits.write_timeout.duration());
    }

    #[tokio::test(start_paused = true)]
    async fn who_still_takes_an_answer_is_not_idle() {
        let usage = Usage::new(9);
        drop(usage.request());
        usage.blocked(true);
        let idle = tokio::spawn({
            let usage = usage.clone();
            async move { usage.is_idle(FIRST, LATER).await }
        });
        tokio::time::sleep(LATER * 3).await;
        assert!(!idle.is_finished());
        usage.blocked(false);
        let start = Instant::now();
        idle.await.unwrap();
        assert!(start.elapsed() >= LATER);
    }

    #[test]
    fn requests_are_counted_down() {
        let usage = Usage::new(2);
        let _first = usage.request();
        assert!(!usage.is_spent());
        let _second = usage.request();
        assert!(usage.is_spent());
    }
}
