//! Grants of routes to apps.

use std::{sync::Arc, time::Duration};

use portcullis::{
    clock::ManualClock,
    model::{Caller, ChangeKind, Entity, EntityKind, EnvironmentId, Grant, GrantId, GrantRole},
    registry::{AssertUnchanged, CallerFilter, GrantFilter, PutGrant, Registry, RegistryError, RegistryExt},
};

use super::{Promise, promises};
use crate::fixtures::{actor, app, log, tenant};

/// The promises of this module.
pub(super) const PROMISES: &[Promise] = promises![
    grant_is_created_once_and_deleted,
    grant_needs_its_caller_and_a_unique_id,
    deleted_caller_loses_its_grants,
    grants_are_filtered_and_listed_newest_first,
];

fn grant(caller: &Caller, route: &str) -> Grant {
    Grant {
        id: GrantId::random(),
        tenant: caller.tenant.clone(),
        caller: caller.id.clone(),
        route: route.parse().unwrap(),
        environment: EnvironmentId::release(),
        role: GrantRole::Provider,
        created_at: jiff::Timestamp::UNIX_EPOCH,
    }
}

/// Creates two tenants with an app each.
async fn two(registry: &dyn Registry) -> [Caller; 2] {
    let mut callers = Vec::new();
    for id in ["t", "u"] {
        registry.create_tenant(tenant(id), &actor()).await.unwrap();
        callers.push(registry.create_caller(app(id, &format!("App of {id}"), id), &actor()).await.unwrap());
    }
    callers.try_into().unwrap()
}

async fn grant_is_created_once_and_deleted(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    let [ours, theirs] = two(&*registry).await;
    let wanted = grant(&ours, "orders");
    let given = registry.put_grant(wanted.clone(), &actor()).await.unwrap();
    let now = ours.created_at;
    assert_eq!(given, Grant { created_at: now, ..wanted });
    let count = log(&*registry).await.len();
    clock.advance(Duration::from_secs(1));
    assert_eq!(registry.put_grant(grant(&ours, "orders"), &actor()).await.unwrap(), given);
    assert_eq!(log(&*registry).await.len(), count, "no change");
    let elsewhere = Grant { environment: "test".parse().unwrap(), ..grant(&ours, "orders") };
    assert_ne!(registry.put_grant(elsewhere, &actor()).await.unwrap().id, given.id);

    assert_eq!(registry.grant(&ours.tenant, &given.id).await.unwrap(), given);
    refused!(registry, RegistryError::NotFound, registry.grant(&theirs.tenant, &given.id));
    refused!(registry, RegistryError::NotFound, registry.delete_grant(&theirs.tenant, &given.id, &actor()));
    registry.delete_grant(&ours.tenant, &given.id, &actor()).await.unwrap();
    refused!(registry, RegistryError::NotFound, registry.grant(&ours.tenant, &given.id));
    refused!(registry, RegistryError::NotFound, registry.delete_grant(&ours.tenant, &given.id, &actor()));
    let last = log(&*registry).await.pop().unwrap();
    assert_eq!((last.verb, last.entity), (ChangeKind::Deleted, Entity::Grant(given.clone())));
    let again = registry.put_grant(given.clone(), &actor()).await.unwrap();
    assert_eq!(again, Grant { created_at: now + Duration::from_secs(1), ..given });
    registry.execute(vec![AssertUnchanged(Entity::Grant(again)).into()], &actor()).await.unwrap();
}

async fn grant_needs_its_caller_and_a_unique_id(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let [ours, theirs] = two(&*registry).await;
    let stranger = Grant { tenant: theirs.tenant.clone(), ..grant(&ours, "orders") };
    refused!(registry, RegistryError::NotFound, registry.put_grant(stranger, &actor()));
    let orphan = Grant { caller: "nobody".parse().unwrap(), ..grant(&ours, "orders") };
    refused!(registry, RegistryError::NotFound, registry.put_grant(orphan, &actor()));
    let given = registry.put_grant(grant(&ours, "orders"), &actor()).await.unwrap();
    let same_id = Grant { id: given.id, ..grant(&theirs, "orders") };
    refused!(registry, RegistryError::Conflict, registry.put_grant(same_id, &actor()));
    // If one of several grants fails, none is created.
    let both =
        [grant(&theirs, "orders"), Grant { caller: "nobody".parse().unwrap(), ..grant(&theirs, "bills") }];
    let outcome = registry.execute(both.map(|it| PutGrant(it).into()).into(), &actor()).await;
    assert!(matches!(outcome, Err(RegistryError::NotFound)));
    assert_eq!(registry.count_grants(&GrantFilter::default()).await.unwrap(), 1);
}

async fn deleted_caller_loses_its_grants(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let [ours, theirs] = two(&*registry).await;
    for route in ["orders", "bills"] {
        registry.put_grant(grant(&ours, route), &actor()).await.unwrap();
        registry.put_grant(grant(&theirs, route), &actor()).await.unwrap();
    }
    let before = log(&*registry).await.len();
    registry.delete_caller(&ours.tenant, &ours.id, None, &actor()).await.unwrap();
    let kinds: Vec<_> = log(&*registry).await[before..].iter().map(|change| change.entity.kind()).collect();
    assert_eq!(kinds, [EntityKind::Grant, EntityKind::Grant, EntityKind::Caller]);
    assert_eq!(registry.count_grants(&GrantFilter::default()).await.unwrap(), 2);
    assert_eq!(registry.count_grants_of(&[ours.id, theirs.id]).await.unwrap(), [0, 2]);
}

async fn grants_are_filtered_and_listed_newest_first(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    let [ours, theirs] = two(&*registry).await;
    let mut made = Vec::new();
    for (caller, route) in [(&ours, "orders"), (&ours, "bills"), (&theirs, "orders"), (&ours, "old_orders")] {
        clock.advance(Duration::from_millis(100));
        made.push(registry.put_grant(grant(caller, route), &actor()).await.unwrap());
    }
    made.reverse();
    let all = GrantFilter { limit: 100, ..GrantFilter::default() };
    let t = Some(ours.tenant.clone());
    for (filter, expected) in [
        (all.clone(), vec![0, 1, 2, 3]),
        (GrantFilter { offset: 1, limit: 2, ..all.clone() }, vec![1, 2]),
        (GrantFilter { offset: u64::MAX, ..all.clone() }, vec![]),
        (GrantFilter { tenant: t.clone(), ..all.clone() }, vec![0, 2, 3]),
        (
            GrantFilter { callers: Some(vec![theirs.id.clone(), "gone".parse().unwrap()]), ..all.clone() },
            vec![1],
        ),
        (GrantFilter { callers: Some(vec![]), ..all.clone() }, vec![]),
        (GrantFilter { caller_contains: Some("OF T".into()), ..all.clone() }, vec![0, 2, 3]),
        (GrantFilter { route: Some("orders".parse().unwrap()), ..all.clone() }, vec![1, 3]),
        (GrantFilter { route_contains: Some("Orders".into()), ..all.clone() }, vec![0, 1, 3]),
        (GrantFilter { route_contains: Some("%".into()), ..all.clone() }, vec![]),
        (GrantFilter { environment: Some("test".parse().unwrap()), ..all.clone() }, vec![]),
        (
            GrantFilter { environment: Some(EnvironmentId::release()), tenant: t, ..all.clone() },
            vec![0, 2, 3],
        ),
    ] {
        let expected: Vec<_> = expected.into_iter().map(|at: usize| made[at].clone()).collect();
        assert_eq!(registry.grants(&filter).await.unwrap(), expected, "{filter:?}");
        let paged = filter.offset > 0;
        let count = registry.count_grants(&filter).await.unwrap();
        assert_eq!(count, if paged { 4 } else { expected.len() as u64 }, "{filter:?}");
    }
    registry.create_caller(app("t", "without", "without"), &actor()).await.unwrap();
    for (granted, expected) in [(None, 3), (Some(true), 2), (Some(false), 1)] {
        let filter = CallerFilter { granted, limit: 9, ..CallerFilter::default() };
        assert_eq!(registry.count_callers(&filter).await.unwrap(), expected);
        assert_eq!(registry.callers(&filter).await.unwrap().len() as u64, expected);
    }
}
