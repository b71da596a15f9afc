//! How a connection is used, and when that is over.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};

use crate::config::Limits;

/// How long a connection on which nothing was ever asked has to say goodbye.
const LAST_WORD: Duration = Duration::from_secs(1);

/// The requests of one connection.
#[derive(Debug, Clone)]
pub(super) struct Usage(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    last: Notify,
}

#[derive(Debug)]
struct State {
    /// How many more requests may come.
    left: u32,
    running: u32,
    /// Since when none is running, and whether there ever was one.
    since: Instant,
    fresh: bool,
}

impl Usage {
    pub(super) fn new(requests: u32) -> Self {
        let state = State { left: requests, running: 0, since: Instant::now(), fresh: true };
        Self(Arc::new(Inner { state: Mutex::new(state), last: Notify::new() }))
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A request has come; it runs until the guard is dropped.
    pub(super) fn request(&self) -> Running {
        let left = self.with(|state| {
            state.fresh = false;
            state.running += 1;
            state.left = state.left.saturating_sub(1);
            state.left
        });
        if left == 0 {
            self.0.last.notify_one();
        }
        Running(self.clone())
    }

    /// Resolves when the connection is to take no further requests: its time is over, its last request has
    /// come, or, when there is a time for that, it has been idle for too long.
    pub(super) async fn is_over(&self, limits: &Limits, idle: Option<Duration>) {
        let is_idle = async {
            match idle {
                Some(idle) => self.is_idle(limits.head_timeout.duration(), idle).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleep(limits.connection_age.duration()) => {}
            () = self.0.last.notified() => {}
            () = is_idle => {}
        }
    }

    async fn is_idle(&self, first: Duration, later: Duration) {
        loop {
            let idle = self.with(|state| {
                let most = if state.fresh { first } else { later };
                (state.running == 0).then_some(state.since + most)
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

    /// Resolves when no request has been running for a time.
    pub(super) async fn is_unused(&self, most: Duration) {
        loop {
            let since = self.with(|state| (state.running == 0).then_some(state.since));
            match since {
                Some(since) if since.elapsed() >= most => return,
                _ => sleep(most).await,
            }
        }
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Running(Usage);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.with(|state| {
            state.running = state.running.saturating_sub(1);
            state.since = Instant::now();
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
    async fn the_last_request_ends_the_connection() {
        let limits = Limits::default();
        let usage = Usage::new(2);
        let _first = usage.request();
        let over = tokio::time::timeout(Duration::from_millis(1), usage.is_over(&limits, None)).await;
        assert!(over.is_err());
        let _second = usage.request();
        usage.is_over(&limits, None).await;
    }
}
