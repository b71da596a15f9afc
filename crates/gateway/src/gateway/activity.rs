//! Tracks the requests of a connection and decides when it is idle or exhausted.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until};

use super::upstream::UpgradedConnection;
use crate::config::Limits;

/// The time to close a connection that never had a request.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// The maximum times of a connection without a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct IdleLimits {
    /// The time from the start of the connection to the end of the first head.
    pub(super) first_head: Duration,
    /// The time between two requests.
    pub(super) between: Duration,
    /// The time for the head of a later request, from its first byte. `None` if the protocol itself reads without requests.
    pub(super) later_head: Option<Duration>,
}

/// The requests of one connection.
#[derive(Clone)]
pub(super) struct ConnectionActivity(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// The number of reads that returned bytes. Not a part of the state, because it changes with each read.
    reads: AtomicU32,
}

struct State {
    /// The number of further requests that the connection may have.
    left: u32,
    running: u32,
    /// Set while a response waits for the client to read it.
    blocked: bool,
    /// The time since when there is neither a request nor a blocked response. `fresh` is set until the first request.
    since: Instant,
    fresh: bool,
    /// The number of reads when the last request ended.
    reads_before: u32,
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
            reads_before: 0,
            takes_back: false,
            upgraded: None,
        };
        Self(Arc::new(Shared { state: Mutex::new(state), reads: AtomicU32::new(0) }))
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
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

    /// Records that bytes were read from the client.
    pub(super) fn record_read(&self) {
        self.0.reads.fetch_add(1, Ordering::Relaxed);
    }

    fn reads(&self) -> u32 {
        self.0.reads.load(Ordering::Relaxed)
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

    /// Completes when the connection has been idle for too long.
    pub(super) async fn idle(&self, limits: IdleLimits) {
        let (mut since, mut begun) = (Instant::now(), None);
        loop {
            let now = Instant::now();
            let idle = self.with(|state| {
                state.is_idle().then(|| (state.since, state.fresh, state.reads_before != self.reads()))
            });
            let Some((idle_since, fresh, has_begun)) = idle else {
                sleep(limits.later_head.unwrap_or(limits.between)).await;
                continue;
            };
            // Another request was served meanwhile.
            if idle_since != since {
                (since, begun) = (idle_since, None);
            }
            // The head is noticed at the end of a wait, so that its timeout begins up to one wait too late.
            if has_begun && !fresh && begun.is_none() {
                begun = limits.later_head.map(|_| now);
            }
            let until = match (begun, limits.later_head) {
                (Some(begun), Some(head)) => (begun + head).min(since + limits.between),
                _ if fresh => since + limits.first_head,
                _ => since + limits.between,
            };
            if until <= now {
                return;
            }
            let next = limits.later_head.map_or(until, |head| until.min(now + head));
            sleep_until(next).await;
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
            state.reads_before = self.activity.reads();
            state.takes_back |= !self.answered;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(10);
    const LATER: Duration = Duration::from_secs(60);
    const LIMITS: IdleLimits = IdleLimits { first_head: FIRST, between: LATER, later_head: Some(FIRST) };

    #[tokio::test(start_paused = true)]
    async fn silent_connection_is_idle_sooner_than_a_used_one() {
        let start = Instant::now();
        ConnectionActivity::new(9).idle(LIMITS).await;
        assert_eq!(start.elapsed(), FIRST);

        let activity = ConnectionActivity::new(9);
        let running = activity.request();
        let idle = tokio::spawn({
            let activity = activity.clone();
            async move { activity.idle(LIMITS).await }
        });
        tokio::time::advance(LATER * 3).await;
        assert!(!idle.is_finished(), "a request is running");
        drop(running);
        let start = Instant::now();
        idle.await.unwrap();
        assert!(start.elapsed() >= LATER);
    }

    #[tokio::test(start_paused = true)]
    async fn begun_head_ends_the_idle_time_sooner() {
        for (later_head, expected) in [(Some(FIRST), FIRST * 2), (None, LATER)] {
            let activity = ConnectionActivity::new(9);
            activity.record_read();
            drop(activity.request());
            activity.record_read();
            let start = Instant::now();
            activity.idle(IdleLimits { later_head, ..LIMITS }).await;
            assert!(start.elapsed() <= expected, "{later_head:?} {:?}", start.elapsed());
            assert!(start.elapsed() >= expected / 2, "{later_head:?} {:?}", start.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn head_after_a_long_request_has_its_timeout() {
        let activity = ConnectionActivity::new(9);
        let running = activity.request();
        let idle = tokio::spawn({
            let activity = activity.clone();
            async move { activity.idle(LIMITS).await }
        });
        tokio::time::sleep(FIRST + Duration::from_secs(1)).await;
        drop(running);
        activity.record_read();
        let start = Instant::now();
        idle.await.unwrap();
        assert!(start.elapsed() <= FIRST * 2, "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn request_that_was_served_restarts_the_idle_time() {
        let activity = ConnectionActivity::new(9);
        drop(activity.request());
        let idle = tokio::spawn({
            let activity = activity.clone();
            async move { activity.idle(LIMITS).await }
        });
        tokio::time::sleep(LATER - Duration::from_secs(1)).await;
        activity.record_read();
        drop(activity.request());
        let start = Instant::now();
        idle.await.unwrap();
        assert_eq!(start.elapsed(), LATER);
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
            async move { activity.idle(LIMITS).await }
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
