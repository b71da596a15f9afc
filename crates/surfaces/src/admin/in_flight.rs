//! The idempotent requests in progress.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

/// The idempotent requests in progress on this node.
#[derive(Default, Clone)]
pub(super) struct InFlight(Arc<Mutex<HashSet<[u8; 32]>>>);

impl InFlight {
    /// Registers a request, unless a request with the same key is in progress.
    pub(super) fn begin(&self, key: [u8; 32]) -> Option<InFlightGuard> {
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
        begun.then(|| InFlightGuard { running: self.clone(), key })
    }
}

/// A guard for a request in progress. Dropping it ends the registration.
pub(super) struct InFlightGuard {
    running: InFlight,
    pub(super) key: [u8; 32],
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.running.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_in_flight_until_its_guard_is_dropped() {
        let running = InFlight::default();
        let guard = running.begin([1; 32]);
        assert!(guard.is_some() && running.begin([1; 32]).is_none() && running.begin([2; 32]).is_some());
        drop(guard);
        assert!(running.begin([1; 32]).is_some());
    }
}
