//! The order of a chain: policies that need the caller follow one that identifies it.

use super::Policy;

/// An error for a chain whose policies cannot work in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{policy} needs the caller, but no policy before it identifies one: put ApiKey or Signature first, or build an \
     inner layer with `inner` if an outer layer identifies the caller"
)]
pub struct Misplaced {
    /// The policy that comes too early.
    pub policy: &'static str,
}

/// Collects the reports of the policies of a chain about their order, see [`Policy::check_order`].
///
/// ```
/// use std::sync::Arc;
/// use portcullis::{model::{Pepper, Peppers}, directory::Directory};
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
    /// The first policy that uses the caller but does not need one.
    without: Option<&'static str>,
    misplaced: Option<Misplaced>,
    /// The first policy that needs the request body.
    content: Option<&'static str>,
    is_strict: bool,
}

impl ChainOrder {
    /// Checks a chain that has no layer around it.
    ///
    /// # Errors
    /// [`Misplaced`] if a policy that decides about the caller precedes those that identify it.
    pub fn check(policy: &(impl Policy + ?Sized)) -> Result<(), Misplaced> {
        Self::collect(policy).misplaced.map_or(Ok(()), Err)
    }

    /// Returns the name of the first policy that needs the request body ([`needs_content`](Self::needs_content)).
    pub fn content_policy(policy: &(impl Policy + ?Sized)) -> Option<&'static str> {
        Self::collect(policy).content
    }

    /// Returns `true` if the chain has a policy that rejects ambiguous HTTP
    /// ([`checks_ambiguity`](Self::checks_ambiguity)).
    pub fn checks_http(policy: &(impl Policy + ?Sized)) -> bool {
        Self::collect(policy).is_strict
    }

    fn collect(policy: &(impl Policy + ?Sized)) -> Self {
        let mut order = Self::default();
        policy.check_order(&mut order);
        order
    }

    /// Reports that the policy of this name needs the request body ([`Stop::NeedsBody`](super::Stop::NeedsBody)). A Tower
    /// layer that passes bodies through rejects the chain.
    pub fn needs_content(&mut self, policy: &'static str) {
        self.content.get_or_insert(policy);
    }

    /// Reports that the policy rejects ambiguous HTTP, so that a layer does not check it first.
    pub fn checks_ambiguity(&mut self) {
        self.is_strict = true;
    }

    /// Reports that the caller is known to all later policies.
    pub fn recognises_caller(&mut self) {
        if let Some(policy) = self.without.filter(|_| !self.is_recognised) {
            self.misplaced.get_or_insert(Misplaced { policy });
        }
        self.is_recognised = true;
    }

    /// Reports that the policy of this name decides about the caller, and denies all requests without one.
    pub fn needs_caller(&mut self, policy: &'static str) {
        if !self.is_recognised {
            self.misplaced.get_or_insert(Misplaced { policy });
        }
    }

    /// Reports that the policy of this name decides about the caller if there is one. A chain that identifies no
    /// caller may contain it; in other chains it must follow the policy that identifies the caller.
    pub fn uses_caller(&mut self, policy: &'static str) {
        self.without.get_or_insert(policy);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        policy::{
            ApiKey, ApiThrottle, IpAcl, RateLimit, RequireGrant, RequireScope, RequireUnlocked, Signature,
        },
        test_support::Fixture,
    };

    #[test]
    fn misplaced_policies_are_found_in_any_composition() {
        let world = Fixture::new();
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
        let names = ["RateLimit", "RequireScope", "RequireGrant", "IpAcl", "ApiThrottle"];
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
    fn lock_before_authentication_is_misplaced() {
        let world = Fixture::new();
        let (lock, key) =
            (RequireUnlocked::new(world.directory.clone()), ApiKey::new(world.directory.clone()));
        assert_eq!(ChainOrder::check(&lock), Ok(()));
        assert_eq!(ChainOrder::check(&(key.clone(), lock.clone())), Ok(()));
        assert_eq!(ChainOrder::check(&(key.clone(), lock.clone(), key.clone())), Ok(()));
        assert_eq!(ChainOrder::check(&(lock, key)), Err(Misplaced { policy: "RequireUnlocked" }));
    }
}
