//! Bounds on the load of an upstream, over all worker threads (a circuit breaker).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::config::UpstreamLimits;

/// The bounds of an upstream. Without bounds, nothing is counted.
#[derive(Debug, Clone, Default)]
pub(super) struct LoadLimit {
    requests: Option<Arc<Semaphore>>,
    connections: Option<Arc<ConnectionLimit>>,
}

#[derive(Debug)]
struct ConnectionLimit {
    permits: Arc<Semaphore>,
    waiting: AtomicU32,
    most_waiting: u32,
}

/// The reason that a request is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Overload {
    #[error("limits.requests is reached")]
    Requests,
    #[error("limits.connections and limits.pending are reached")]
    Pending,
    #[error("limits.connections is reached, and no connection became free within connect_timeout")]
    Connections,
}

impl LoadLimit {
    pub(super) fn new(limits: &UpstreamLimits) -> Self {
        let semaphore = |most: u32| Arc::new(Semaphore::new((most as usize).min(Semaphore::MAX_PERMITS)));
        let connections = limits.connections.map(|most| {
            Arc::new(ConnectionLimit {
                permits: semaphore(most.get()),
                waiting: AtomicU32::new(0),
                most_waiting: limits.pending.unwrap_or(u32::MAX),
            })
        });
        Self { requests: limits.requests.map(|most| semaphore(most.get())), connections }
    }

    /// Counts a request until the permit is dropped.
    ///
    /// # Errors
    /// If there are too many.
    pub(super) fn request(&self) -> Result<Option<OwnedSemaphorePermit>, Overload> {
        let Some(requests) = &self.requests else { return Ok(None) };
        requests.clone().try_acquire_owned().map(Some).map_err(|_| Overload::Requests)
    }

    /// Counts a connection until the permit is dropped. If there are too many, waits until one is closed.
    ///
    /// # Errors
    /// If too many requests wait already, or the time is over.
    pub(super) async fn connection(&self, most: Duration) -> Result<Option<OwnedSemaphorePermit>, Overload> {
        let Some(limit) = &self.connections else { return Ok(None) };
        if let Ok(permit) = limit.permits.clone().try_acquire_owned() {
            return Ok(Some(permit));
        }
        let _waiting = Waiting::new(limit)?;
        match timeout(most, limit.permits.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            _ => Err(Overload::Connections),
        }
    }

    /// Returns `true` if a request waits for a connection. Idle connections are then closed.
    pub(super) fn is_contended(&self) -> bool {
        self.connections.as_ref().is_some_and(|limit| limit.waiting.load(Ordering::Relaxed) > 0)
    }
}

struct Waiting<'a>(&'a ConnectionLimit);

impl<'a> Waiting<'a> {
    fn new(limit: &'a ConnectionLimit) -> Result<Self, Overload> {
        let earlier = limit.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Self(limit);
        if earlier < limit.most_waiting { Ok(waiting) } else { Err(Overload::Pending) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn requests_are_bounded() {
        let limit = LoadLimit::new(&UpstreamLimits { requests: NonZeroU32::new(2), ..Default::default() });
        let first = limit.request().unwrap();
        let _second = limit.request().unwrap();
        assert_eq!(limit.request().unwrap_err(), Overload::Requests);
        drop(first);
        assert!(limit.request().is_ok());
        assert!(LoadLimit::default().request().unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn request_waits_for_a_connection_in_a_bounded_queue() {
        let limit = LoadLimit::new(&UpstreamLimits {
            connections: NonZeroU32::new(1),
            pending: Some(1),
            ..Default::default()
        });
        let first = limit.connection(SECOND).await.unwrap();
        let waits = tokio::spawn({
            let limit = limit.clone();
            async move { limit.connection(SECOND).await }
        });
        tokio::task::yield_now().await;
        assert!(limit.is_contended());
        assert_eq!(limit.connection(SECOND).await.unwrap_err(), Overload::Pending);
        drop(first);
        let second = waits.await.unwrap().unwrap();
        assert!(!limit.is_contended());
        assert_eq!(limit.connection(SECOND).await.unwrap_err(), Overload::Connections);
        drop(second);
    }
}
