//! Enforcement of callers' address lists (403).

use std::sync::Arc;

use super::{ChainOrder, Policy, Stop, recognised};
use crate::{Admission, Denial, Head, denial::Forbidden, directory::Directory};

/// Enforces the [address list](crate::model::Acl) of a caller that has one.
///
/// It follows the policy that identifies the caller, and uses the client address that the face provides. If the
/// face does not know the address, a caller with a list is denied.
#[derive(Debug, Clone)]
pub struct IpAcl {
    directory: Arc<Directory>,
}

impl IpAcl {
    /// Creates a policy that reads the lists from this directory.
    #[must_use]
    pub fn new(directory: Arc<Directory>) -> Self {
        Self { directory }
    }
}

impl Policy for IpAcl {
    fn admit(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        let caller = recognised(admission)?.caller();
        // A caller that was deleted meanwhile has also lost its list. Therefore its removal is checked after the
        // list.
        if self.directory.address_allowed(&caller.id, head.peer) && !caller.is_removed() {
            return Ok(());
        }
        Err(Denial::Forbidden(Forbidden::AddressNotAllowed).into())
    }

    fn check_order(&self, order: &mut ChainOrder) {
        order.needs_caller("IpAcl");
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::{
        model::{Acl, AclKind, App, CallerKind, Creator, SealKey, Sealer, Secret},
        policy::ApiKey,
        test_support::{Fixture, code, request},
    };

    fn with(world: &Fixture, acl: Option<Acl>) {
        let secret = Sealer::new(SealKey::new(1, &[3; 32])).seal(&Secret::from(String::new()), &[]);
        let app = App {
            remark: String::new(),
            key: "key".into(),
            secret,
            creator: Creator::User,
            acl,
            quota: None,
        };
        world.edit_caller(|caller| caller.kind = CallerKind::App(app));
    }

    fn acl(kind: AclKind, range: &str) -> Acl {
        Acl::new(kind, vec![range.parse().unwrap()]).unwrap()
    }

    /// Deletes the caller between the policy that identifies it and the one that enforces its list.
    struct Deletes<'a>(&'a Fixture);

    impl Policy for Deletes<'_> {
        fn admit(&self, _: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
            let caller = admission.caller().map(|caller| caller.id.clone()).unwrap();
            self.0.delete_caller(&caller);
            Ok(())
        }
    }

    #[test]
    fn caller_deleted_during_admission_stays_under_its_acl() {
        let world = Fixture::new();
        let key = world.key();
        with(&world, Some(acl(AclKind::Permit, "192.0.2.1")));
        let directory = || world.directory.clone();
        let chain = (ApiKey::new(directory()), Deletes(&world), IpAcl::new(directory()));
        let mut request = request("GET", "/", &[("x-api-key", &key)]);
        request.extensions_mut().insert::<IpAddr>("192.0.2.2".parse().unwrap());
        assert_eq!(code(world.ask(&chain, &request)), "address-not-allowed");
        assert_eq!(code(world.ask(&chain, &request)), "credential-unknown");
    }

    #[test]
    fn caller_is_admitted_from_its_allowed_addresses() {
        let world = Fixture::new();
        let key = world.key();
        let chain = (ApiKey::new(world.directory.clone()), IpAcl::new(world.directory.clone()));
        let ask = |from: Option<&str>| {
            let mut request = request("GET", "/", &[("x-api-key", &key)]);
            if let Some(from) = from {
                request.extensions_mut().insert::<IpAddr>(from.parse().unwrap());
            }
            code(world.ask(&chain, &request))
        };
        let from = [Some("192.0.2.1"), Some("::ffff:192.0.2.1"), Some("192.0.2.2"), None];
        assert_eq!(from.map(ask), ["admitted"; 4]);
        with(&world, Some(acl(AclKind::Permit, "192.0.2.1")));
        assert_eq!(from.map(ask), ["admitted", "admitted", "address-not-allowed", "address-not-allowed"]);
        with(&world, Some(acl(AclKind::Deny, "192.0.2.1")));
        assert_eq!(
            from.map(ask),
            ["address-not-allowed", "address-not-allowed", "admitted", "address-not-allowed"]
        );
        with(&world, None);
        assert_eq!(from.map(ask), ["admitted"; 4]);
    }
}
