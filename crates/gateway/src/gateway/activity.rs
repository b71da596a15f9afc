//! Tracks the requests of a connection and decides when it is idle or exhausted.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until};

use super::upstream::UpgradedConnection;
use crate::config::Limits;

/// The time to close a connection that never had a request.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// The requests of one connection.
#[derive(Clone)]
pub(super) struct ConnectionActivity(Arc<Mutex<State>>);

struct State {
    /// The number of further requests that the connection may have.
    left: u32,
    running: u32,
    /// Set while a response waits for the client to read it.
    blocked: bool,
    /// The time since when there is neither a request nor a blocked response. `fresh` is set until the first request.
    since: Instant,
    fresh: bool,
    /// Set if the client has cancelled a request before its response began.
    takes_back: bool,
    /// The upstream's side of the connection, after a response that upgrades it.
    upgraded: Option<UpgradedConnection>,
}

impl State {
    fn is_idle(&self) -> bool {
        self.running == 0 && !self.blocked
    }
}

impl ConnectionActivity {
    pub(super) fn new(requests: u32) -> Self {
        let since = Instant::now();
        let state = State {
            left: requests,
            running: 0,
            blocked: false,
            since,
            fresh: true,
            takes_back: false,
            upgraded: None,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records a new request. The request is open until the guard is dropped.
    pub(super) fn request(&self) -> RequestGuard {
        self.with(|state| {
            state.fresh = false;
            state.running += 1;
            state.left = state.left.saturating_sub(1);
        });
        RequestGuard { activity: self.clone(), answered: false }
    }

    /// Records whether a response waits for the client to read it.
    pub(super) fn set_write_blocked(&self, blocked: bool) {
        self.with(|state| {
            state.blocked = blocked;
            state.since = Instant::now();
        });
    }

    /// Stores the upstream's side of the connection when a response upgrades it.
    pub(super) fn upgrade(&self, connection: UpgradedConnection) {
        self.with(|state| state.upgraded = Some(connection));
    }

    /// Takes the upstream's side of the connection, if it was upgraded.
    pub(super) fn take_upgraded(&self) -> Option<UpgradedConnection> {
        self.with(|state| state.upgraded.take())
    }

    /// Returns `true` if the connection has had its last request.
    pub(super) fn requests_exhausted(&self) -> bool {
        self.with(|state| state.left == 0)
    }

    /// Completes when the connection has been idle for too long: for `first` if it never had a request, and for `later`
    /// otherwise.
    pub(super) async fn idle(&self, first: Duration, later: Duration) {
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

    /// Returns `true` if the connection never had a request.
    pub(super) fn is_fresh(&self) -> bool {
        self.with(|state| state.fresh)
    }

    /// Returns the time to close a connection without an open request. A finished response may still be buffered: a
    /// client that has sent a request gets the full write timeout to read it.
    pub(super) fn close_grace(&self, limits: &Limits) -> Duration {
        if self.is_fresh() { CLOSE_GRACE } else { limits.write_timeout.duration() }
    }

    /// Completes when there has been no open request for a time, counted from this call at the earliest.
    pub(super) async fn drained(&self, most: Duration) {
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

/// An open request.
pub(super) struct RequestGuard {
    activity: ConnectionActivity,
    answered: bool,
}

impl RequestGuard {
    /// Returns `true` if the client has cancelled another request of the connection, and may cancel this one, too.
    pub(super) fn client_cancels(&self) -> bool {
        self.activity.with(|state| state.takes_back)
    }

    /// Records that the response has begun.
    pub(super) fn answered(&mut self) {
        self.answered = true;
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.activity.with(|state| {
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
    async fn silent_connection_is_idle_sooner_than_a_used_one() {
        let start = Instant::now();
        ConnectionActivity::new(9).idle(FIRST, LATER).await;
        assert_eq!(start.elapsed(), FIRST);

        let activity = ConnectionActivity::new(9);
        let running = activity.request();
        let idle = tokio::spawn({
            let activity = activity.clone();
            async move { activity.idle(FIRST, LATER).await }
        });
        tokio::time::advance(LATER * 3).await;
        assert!(!idle.is_finished(), "a request is running");
        drop(running);
        let start = Instant::now();
        idle.await.unwrap();
        assert!(start.elapsed() >= LATER);
    }

    #[tokio::test]
    async fn client_has_time_to_read_the_response() {
        let (limits, activity) = (Limits::default(), ConnectionActivity::new(9));
        assert_eq!(activity.close_grace(&limits), CLOSE_GRACE);
        drop(activity.request());
        assert_eq!(activity.close_grace(&limits), limits.write_timeout.duration());
    }

    #[tokio::test(start_paused = true)]
    async fn connection_is_busy_while_a_response_is_read() {
        let activity = ConnectionActivity::new(9);
        drop(activity.request());
        activity.set_write_blocked(true);
        let idle = tokio::spawn({
            let activity = activity.clone();
            async move { activity.idle(FIRST, LATER).await }
        });
        tokio::time::sleep(LATER * 3).await;
        assert!(!idle.is_finished());
        activity.set_write_blocked(false);
        let start = Instant::now();
        idle.await.unwrap();
        assert!(start.elapsed() >= LATER);
    }

    #[test]
    fn requests_are_counted_down() {
        let activity = ConnectionActivity::new(2);
        let _first = activity.request();
        assert!(!activity.requests_exhausted());
        let _second = activity.request();
        assert!(activity.requests_exhausted());
    }
}
