//! The check that a caller has a grant for the route (403).

use std::sync::Arc;

use super::{ChainOrder, Policy, Stop, recognised};
use crate::{Admission, Denial, Head, denial::Forbidden, directory::Directory, model::RouteName};

/// Denies callers that have no [grant](crate::model::Grant) for a route.
///
/// It follows the policy that identifies the caller.
#[derive(Debug, Clone)]
pub struct RequireGrant {
    directory: Arc<Directory>,
    route: RouteName,
}

impl RequireGrant {
    /// Creates a policy that reads the grants of this route from the directory.
    #[must_use]
    pub fn new(directory: Arc<Directory>, route: RouteName) -> Self {
        Self { directory, route }
    }
}

impl Policy for RequireGrant {
    fn admit(&self, _: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        let caller = recognised(admission)?.caller();
        if self.directory.has_grant(&caller.id, &self.route) {
            return Ok(());
        }
        Err(Denial::Forbidden(Forbidden::NoGrant).into())
    }

    fn check_order(&self, order: &mut ChainOrder) {
        order.needs_caller("RequireGrant");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{self, ChangeKind, Entity, EnvironmentId, GrantId, GrantRole},
        policy::ApiKey,
        test_support::{Fixture, code, request},
    };

    fn grant(world: &Fixture, route: &str, environment: &str) -> model::Grant {
        model::Grant {
            id: GrantId::random(),
            tenant: "tenant".parse().unwrap(),
            caller: "caller".parse().unwrap(),
            route: route.parse().unwrap(),
            environment: environment.parse().unwrap(),
            role: GrantRole::Provider,
            created_at: world.now(),
        }
    }

    #[test]
    fn caller_is_admitted_while_it_has_the_grant() {
        let world = Fixture::new();
        let key = world.key();
        let ask = |route: &str| {
            let grant = RequireGrant::new(world.directory.clone(), route.parse().unwrap());
            let chain = (ApiKey::new(world.directory.clone()), grant);
            code(world.ask(&chain, &request("GET", "/", &[("x-api-key", &key)])))
        };
        assert_eq!(ask("orders"), "not-granted");
        let [orders, bills] = ["orders", "bills"].map(|route| grant(&world, route, EnvironmentId::RELEASE));
        for grant in [&orders, &bills, &orders] {
            world.change(ChangeKind::Created, Entity::Grant(grant.clone()));
        }
        world.change(ChangeKind::Created, Entity::Grant(grant(&world, "other", "test")));
        assert_eq!(
            ["orders", "bills", "order", "other"].map(ask),
            ["admitted", "admitted", "not-granted", "not-granted"]
        );
        world.change(ChangeKind::Deleted, Entity::Grant(orders));
        assert_eq!(["orders", "bills"].map(ask), ["not-granted", "admitted"]);
        world.change(ChangeKind::Deleted, Entity::Grant(bills));
        assert_eq!(["orders", "bills"].map(ask), ["not-granted", "not-granted"]);
    }

    #[test]
    fn request_without_a_caller_is_denied() {
        let world = Fixture::new();
        let policy = RequireGrant::new(world.directory.clone(), "orders".parse().unwrap());
        assert_eq!(code(world.ask(&policy, &request("GET", "/", &[]))), "credential-missing");
    }
}
