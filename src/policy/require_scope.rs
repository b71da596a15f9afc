//! The check of a credential's scopes (403).

use std::sync::Arc;

use super::{ChainOrder, Policy, Stop, recognised};
use crate::{Admission, Denial, Head, denial::Forbidden, model::Access};

/// Enforces the scopes of a credential: safe methods need read access to a kind of resource, others write access.
///
/// The policy follows [`ApiKey`](super::ApiKey). A credential that is limited to some resources of the kind is
/// admitted only to those: [`target_segment`](Self::target_segment) is the segment of the path that names the
/// requested resource. Without it, such a credential is denied, unless the upstream
/// [checks the resource](Self::any_target).
///
/// ```
/// use portcullis::policy::RequireScope;
///
/// // `/orders/7` and all below it, for a key with the scope `orders:read:7`
/// let orders = RequireScope::new("orders").target_segment(2);
/// ```
#[derive(Debug, Clone)]
pub struct RequireScope {
    resource: Arc<str>,
    target: Target,
}

/// The resource of the kind that a request asks for.
#[derive(Debug, Clone, Copy)]
enum Target {
    /// Possibly all resources of the kind.
    Unknown,
    /// The resource named by a segment of the path. The first segment is 1.
    Segment(usize),
    /// Any resource; the upstream checks it.
    Any,
}

impl RequireScope {
    /// Creates a policy for a kind of resource, such as `orders`.
    #[must_use]
    pub fn new(resource: &str) -> Self {
        Self { resource: resource.into(), target: Target::Unknown }
    }

    /// Sets the segment of the path that names the requested resource; the first segment is 1. It is compared in
    /// its [normal form](crate::normalize_path). If the path is shorter, the request needs access to all resources of the
    /// kind.
    #[must_use]
    pub fn target_segment(mut self, segment: usize) -> Self {
        self.target = Target::Segment(segment);
        self
    }

    /// Admits a credential that is limited to any resources of the kind. The upstream checks the requested resource
    /// with [`Scopes::allow`](crate::model::Scopes::allow).
    #[must_use]
    pub fn any_target(mut self) -> Self {
        self.target = Target::Any;
        self
    }
}

impl Policy for RequireScope {
    fn admit(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        let access = if head.is_safe() { Access::Read } else { Access::Write };
        if matches!(self.target, Target::Segment(_)) {
            admission.normalize(head)?;
        }
        let scopes = &recognised(admission)?.key.scopes;
        let covered = match self.target {
            Target::Unknown => scopes.allow(&self.resource, access, None),
            Target::Any => scopes.allow_any(&self.resource, access),
            Target::Segment(at) => {
                let named = admission.normalized_path(head).split('/').nth(at).filter(|it| !it.is_empty());
                scopes.allow(&self.resource, access, named)
            }
        };
        if covered {
            return Ok(());
        }
        Err(Denial::Forbidden(Forbidden::Scope { resource: self.resource.clone(), access }).into())
    }

    fn check_order(&self, order: &mut ChainOrder) {
        order.needs_caller("RequireScope");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{self, Scopes},
        policy::ApiKey,
        test_support::{Fixture, code, request},
    };

    #[test]
    fn read_and_write_requests_need_their_scope() {
        let world = Fixture::new();
        let scope = |access| model::Scope { resource: "orders".into(), access, targets: None };
        let chain = |resource| (ApiKey::new(world.directory.clone()), RequireScope::new(resource));
        for (access, method, resource, expected) in [
            (Access::Read, "GET", "orders", "admitted"),
            (Access::Read, "PUT", "orders", "insufficient-scope"),
            (Access::Write, "PUT", "orders", "admitted"),
            (Access::Write, "GET", "orders", "admitted"),
            (Access::Write, "GET", "bills", "insufficient-scope"),
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
    fn credential_is_confined_to_its_targets() {
        let world = Fixture::new();
        let targets = Some(vec!["7".into(), "a b".into()]);
        let scope = model::Scope { resource: "orders".into(), access: Access::Read, targets };
        let key = world.key_with(|credential| credential.scopes = Scopes::Listed(vec![scope]));
        let whole = model::Scope { resource: "orders".into(), access: Access::Read, targets: None };
        let whole = world.key_with(|credential| credential.scopes = Scopes::Listed(vec![whole]));
        let ask = |policy: &RequireScope, key: &str, path: &str| {
            let chain = (ApiKey::new(world.directory.clone()), policy.clone());
            code(world.ask(&chain, &request("GET", path, &[("x-api-key", key)])))
        };
        let (plain, any) = (RequireScope::new("orders"), RequireScope::new("orders").any_target());
        let second = RequireScope::new("orders").target_segment(2);
        for (path, told) in [
            ("/orders/7", "admitted"),
            ("/orders/%37", "admitted"),
            ("/orders/7/lines", "admitted"),
            ("/orders/8", "insufficient-scope"),
            ("/orders/77", "insufficient-scope"),
            ("/orders/8/7", "insufficient-scope"),
            ("/orders/", "insufficient-scope"),
            ("/orders", "insufficient-scope"),
            ("/orders/8/../7", "bad-request"),
        ] {
            assert_eq!(ask(&second, &key, path), told, "{path}");
            assert_eq!(ask(&plain, &key, path), "insufficient-scope", "{path}");
            assert_eq!(ask(&any, &key, path), "admitted", "{path}");
            if told != "bad-request" {
                assert_eq!(ask(&second, &whole, path), "admitted", "{path}");
                assert_eq!(ask(&plain, &whole, path), "admitted", "{path}");
            }
        }
    }

    #[test]
    fn request_without_a_caller_has_no_scope() {
        let world = Fixture::new();
        assert_eq!(
            code(world.ask(&RequireScope::new("orders"), &request("GET", "/", &[]))),
            "credential-missing"
        );
    }
}
