//! What a credential may be used for (403).

use std::sync::Arc;

use super::{Policy, Stop};
use crate::{Admission, Denial, Head, app::Access, denial::Forbidden};

/// Holds a credential to its scopes: safe methods need read access to a kind of resource, others write.
///
/// Stands behind [`ApiKey`](super::ApiKey). It knows the kind only; who knows which one of the kind is
/// asked for checks that with [`Scopes::cover`](crate::app::Scopes::cover).
#[derive(Debug, Clone)]
pub struct Scope {
    resource: Arc<str>,
}

impl Scope {
    /// Guards a kind of resource, such as `orders`.
    #[must_use]
    pub fn new(resource: &str) -> Self {
        Self { resource: resource.into() }
    }
}

impl Policy for Scope {
    fn admit(&self, head: Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        let Some(identity) = admission.identity() else {
            return Err(Denial::internal("a scope policy stands before any that recognises a caller").into());
        };
        let access = if head.is_safe() { Access::Read } else { Access::Write };
        if identity.key.scopes.touch(&self.resource, access) {
            return Ok(());
        }
        Err(Denial::Forbidden(Forbidden::Scope { resource: self.resource.clone(), access }).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        app::{self, Scopes},
        policy::ApiKey,
        testing::{World, code, request},
    };

    #[test]
    fn reading_needs_read_and_changing_needs_write() {
        let world = World::new();
        let scope =
            |access| app::Scope { resource: "orders".into(), access, targets: Some(vec!["7".into()]) };
        let chain = |resource| (ApiKey::new(world.directory.clone()), Scope::new(resource));
        for (access, method, resource, expected) in [
            (Access::Read, "GET", "orders", "admitted"),
            (Access::Read, "PUT", "orders", "scope"),
            (Access::Write, "PUT", "orders", "admitted"),
            (Access::Write, "GET", "orders", "admitted"),
            (Access::Write, "GET", "bills", "scope"),
        ] {
            let key = world.key_with(|credential| credential.scopes = Scopes::Listed(vec![scope(access)]));
            let request = request(method, "/", &[("x-api-key", &key)]);
            assert_eq!(
                code(world.ask(&chain(resource), &request)),
                expected,
                "{access:?} {method} {resource}"
            );
        }
    }

    #[test]
    fn without_a_caller_nothing_is_covered() {
        let world = World::new();
        assert_eq!(code(world.ask(&Scope::new("orders"), &request("GET", "/", &[]))), "internal");
    }
}
