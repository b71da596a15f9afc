//! The order of a chain: policies that decide about the caller stand behind one that recognises it.

use super::Policy;

/// A chain whose policies cannot work in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{policy} decides about the caller, and no policy in front of it recognises one: put ApiKey or Signature first, or \
     build an inner layer with `inner` when another layer around it does"
)]
pub struct Misplaced {
    /// The policy that stands too early.
    pub policy: &'static str,
}

/// Collects what the policies of a chain say about their order, see [`Policy::check_order`].
///
/// ```
/// use std::sync::Arc;
/// use portcullis::{app::{Pepper, Peppers}, directory::Directory};
/// use portcullis::policy::{ApiKey, ChainOrder, RateLimit};
///
/// let directory = Arc::new(Directory::new(Peppers::new(Pepper::new(1, &[0; 32]))));
/// let api_key = ApiKey::new(directory);
/// assert!(ChainOrder::check(&(api_key.clone(), RateLimit::new())).is_ok());
/// assert_eq!(ChainOrder::check(&(RateLimit::new(), api_key)).unwrap_err().policy, "RateLimit");
/// ```
#[derive(Debug, Default)]
pub struct ChainOrder {
    is_recognised: bool,
    /// The first policy that would have used the caller, and does without.
    without: Option<&'static str>,
    misplaced: Option<Misplaced>,
}

impl ChainOrder {
    /// Checks a chain that has no other around it.
    ///
    /// # Errors
    /// When a policy that decides about the caller stands before those that recognise one.
    pub fn check(policy: &(impl Policy + ?Sized)) -> Result<(), Misplaced> {
        let mut order = Self::default();
        policy.check_order(&mut order);
        order.misplaced.map_or(Ok(()), Err)
    }

    /// From here on, the caller is known.
    pub fn recognises_caller(&mut self) {
        if let Some(policy) = self.without.filter(|_| !self.is_recognised) {
            self.misplaced.get_or_insert(Misplaced { policy });
        }
        self.is_recognised = true;
    }

    /// The policy of this name decides about the caller, and refuses all requests without one.
    pub fn needs_caller(&mut self, policy: &'static str) {
        if !self.is_recognised {
            self.misplaced.get_or_insert(Misplaced { policy });
        }
    }

    /// The policy of this name decides about the caller when there is one: it may stand in a chain that recognises
    /// nobody, but not before the policy that does.
    pub fn uses_caller(&mut self, policy: &'static str) {
        self.without.get_or_insert(policy);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        policy::{IpAcl, ApiKey, RequireGrant, RequireUnlocked, RateLimit, RequireScope, Signature, ApiThrottle},
        testing::World,
    };

    #[test]
    fn misplaced_policies_are_found_in_any_composition() {
        let world = World::new();
        let directory = || world.directory.clone();
        let key = || ApiKey::new(directory());
        let signature = || {
            let sealer = crate::model::Sealer::new(crate::model::SealKey::new(1, &[1; 32]));
            Signature::new(directory(), sealer.into())
        };
        let route = || "orders".parse().unwrap();
        let early: [Box<dyn Policy>; 5] = [
            Box::new(RateLimit::new()),
            Box::new(RequireScope::new("orders")),
            Box::new(RequireGrant::new(directory(), route())),
            Box::new(IpAcl::new(directory())),
            Box::new(ApiThrottle::new(directory(), route())),
        ];
        let names = ["RateLimit", "Scope", "Grant", "Addresses", "Throttle"];
        for (policy, name) in early.into_iter().zip(names) {
            let policy: Arc<dyn Policy> = policy.into();
            let misplaced = Err(Misplaced { policy: name });
            assert_eq!(ChainOrder::check(&policy), misplaced);
            assert_eq!(ChainOrder::check(&(policy.clone(), key())), misplaced);
            assert_eq!(ChainOrder::check(&((Some(policy.clone()), ()), Some(key()))), misplaced);
            assert_eq!(ChainOrder::check(&(None::<ApiKey>, policy.clone())), misplaced);
            let boxed = |policies: Vec<Arc<dyn Policy>>| ChainOrder::check(&policies);
            assert_eq!(boxed(vec![policy.clone(), Arc::new(key())]), misplaced);
            assert_eq!(boxed(vec![Arc::new(key()), policy.clone()]), Ok(()));
            assert_eq!(ChainOrder::check(&(signature(), policy.clone())), Ok(()));
            assert_eq!(ChainOrder::check(&((), (signature().or(key()), Some(policy)))), Ok(()));
        }
    }

    #[test]
    fn lock_without_any_caller_is_in_order_and_before_its_recognition_is_not() {
        let world = World::new();
        let (lock, key) = (RequireUnlocked::new(world.directory.clone()), ApiKey::new(world.directory.clone()));
        assert_eq!(ChainOrder::check(&lock), Ok(()));
        assert_eq!(ChainOrder::check(&(key.clone(), lock.clone())), Ok(()));
        assert_eq!(ChainOrder::check(&(key.clone(), lock.clone(), key.clone())), Ok(()));
        assert_eq!(ChainOrder::check(&(lock, key)), Err(Misplaced { policy: "Lock" }));
    }
}
