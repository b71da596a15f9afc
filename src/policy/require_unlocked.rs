//! The check for locks on the caller and the path (423).

use std::sync::Arc;

use super::{ChainOrder, Policy, Stop};
use crate::{
    Admission, Denial, Head,
    directory::{CallerEntry, Directory},
};

/// Denies requests of a locked caller, and requests to a locked path or a path below it.
///
/// Safe methods (RFC 9110, section 9.2.1) are allowed unless the lock covers all requests. `Retry-After` is the end
/// of the lock that lasts longest.
///
/// Paths are compared in their [normal form](crate::normalize_path), as the client sent them, independent of the router
/// that forwards the request: `/orders/%37` is `/orders/7`. A path without a normal form is answered with 400, as
/// is a path that violates a [rule](crate::normalize_path::PathRules) that no earlier [`StrictHttp`](super::StrictHttp) relaxes.
///
/// It follows the policy that identifies the caller. Without a caller, only locks on resources apply that hold for
/// every tenant.
#[derive(Debug, Clone)]
pub struct RequireUnlocked {
    directory: Arc<Directory>,
}

impl RequireUnlocked {
    /// Creates a policy that reads the locks from this directory.
    #[must_use]
    pub fn new(directory: Arc<Directory>) -> Self {
        Self { directory }
    }

    /// Decides about several spellings of one path. A lock on any of them denies the request.
    ///
    /// # Errors
    /// [`Denial::Locked`] with the lock that expires last.
    pub fn admit_on<'a>(
        &self,
        head: &Head<'_>,
        caller: Option<&CallerEntry>,
        spellings: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Stop> {
        let now = head.now.time;
        let locks =
            spellings.into_iter().filter_map(|path| self.directory.lock(caller, path, head.is_safe(), now));
        match locks.max_by_key(|lock| lock.expires_at) {
            None => Ok(()),
            Some(lock) => Err(Denial::Locked { lock, now }.into()),
        }
    }
}

impl Policy for RequireUnlocked {
    fn admit(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        admission.normalize(head)?;
        self.admit_on(head, admission.caller(), [admission.normalized_path(head)])
    }

    fn check_order(&self, order: &mut ChainOrder) {
        order.uses_caller("RequireUnlocked");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        model::{LockTarget, LockedRequests},
        policy::ApiKey,
        test_support::{Fixture, code, request},
    };

    fn resource(path: &str) -> LockTarget {
        LockTarget::Resource(path.parse().unwrap())
    }

    #[test]
    fn lock_truth_table() {
        let caller = || LockTarget::Caller("caller".parse().unwrap());
        let other = || LockTarget::Caller("other".parse().unwrap());
        for (target, covers, method, path, expected) in [
            (caller(), LockedRequests::Writes, "GET", "/x", "admitted"),
            (caller(), LockedRequests::Writes, "PUT", "/x", "locked"),
            (caller(), LockedRequests::All, "GET", "/x", "locked"),
            (other(), LockedRequests::All, "PUT", "/x", "admitted"),
            (resource("/orders/7"), LockedRequests::Writes, "GET", "/orders/7", "admitted"),
            (resource("/orders/7"), LockedRequests::Writes, "DELETE", "/orders/7", "locked"),
            (resource("/orders/7"), LockedRequests::Writes, "POST", "/orders/7/lines", "locked"),
            (resource("/orders/7"), LockedRequests::Writes, "POST", "/orders/77", "admitted"),
            (resource("/orders/7"), LockedRequests::Writes, "POST", "/orders", "admitted"),
            (resource("/orders"), LockedRequests::All, "GET", "/orders/7?x=/y", "locked"),
        ] {
            let world = Fixture::new();
            world.lock(target.clone(), covers, Duration::from_secs(60));
            let chain = (ApiKey::new(world.directory.clone()), RequireUnlocked::new(world.directory.clone()));
            let request = request(method, path, &[("x-api-key", &world.key())]);
            assert_eq!(code(world.ask(&chain, &request)), expected, "{target:?} {covers:?} {method} {path}");
        }
    }

    #[test]
    fn retry_after_is_the_first_unlocked_second() {
        let world = Fixture::new();
        world.lock(resource("/x"), LockedRequests::All, Duration::from_secs(5));
        world.lock(resource("/x"), LockedRequests::All, Duration::from_millis(30_500));
        let policy = RequireUnlocked::new(world.directory.clone());
        let put = request("PUT", "/x", &[]);
        let denial = world.ask(&policy, &put).unwrap_err();
        assert_eq!(denial.retry_after(), Some(31));
        world.clock.advance(Duration::from_secs(30));
        assert_eq!(code(world.ask(&policy, &put)), "locked");
        world.clock.advance(Duration::from_secs(1));
        assert_eq!(code(world.ask(&policy, &put)), "admitted");
    }

    #[test]
    fn released_lock_admits_and_leaves_other_locks() {
        let world = Fixture::new();
        let lock = world.lock(resource("/x"), LockedRequests::All, Duration::from_secs(5));
        let policy = RequireUnlocked::new(world.directory.clone());
        world.lock(resource("/y"), LockedRequests::All, Duration::from_secs(5));
        world.unlock(lock);
        assert_eq!(code(world.ask(&policy, &request("PUT", "/x", &[]))), "admitted");
        assert_eq!(code(world.ask(&policy, &request("PUT", "/y", &[]))), "locked");
    }

    #[test]
    fn tenant_lock_stops_only_its_own_callers() {
        let world = Fixture::new();
        world.lock_with(resource("/x"), |lock| lock.tenant = Some("another".parse().unwrap()));
        let chain = (ApiKey::new(world.directory.clone()), RequireUnlocked::new(world.directory.clone()));
        let request = request("PUT", "/x", &[("x-api-key", &world.key())]);
        assert_eq!(code(world.ask(&chain, &request)), "admitted");
        world.lock_with(resource("/x"), |lock| lock.tenant = Some("tenant".parse().unwrap()));
        assert_eq!(code(world.ask(&chain, &request)), "locked");
    }
}
