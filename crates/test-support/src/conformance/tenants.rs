//! Tenants and plans.

use std::{sync::Arc, time::Duration};

use portcullis::{
    clock::{Clock, ManualClock},
    model::{ApigInstance, CallerEdit, ChangeKind, Entity, SubscriptionStatus, Tenant, TenantEdit},
    registry::{Command, NewCaller, Registry, RegistryError},
};

use super::{Promise, promises};
use crate::fixtures::{actor, client, gateway, log, plan, tenant};

/// The promises of this module.
pub(super) const PROMISES: &[Promise] = promises![
    tenant_is_created_at_the_registry_time,
    tenant_id_and_instance_are_unique,
    missing_tenant_is_not_found,
    tenant_standing_is_set_once,
    plan_is_created_replaced_and_left_unchanged,
    tenant_edit_changes_named_members_only,
    plan_is_deleted_only_if_unused,
    plan_is_created_once,
    tenant_is_deleted_only_without_callers,
];

async fn tenant_is_created_at_the_registry_time(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    clock.advance(Duration::from_nanos(1));
    let now = clock.now().time;
    let given = gateway("t", "project", "instance");
    let made = registry.create_tenant(given.clone(), &actor()).await.unwrap();
    assert_eq!(made, Tenant { revision: 1, created_at: now, updated_at: now, ..given });

    clock.advance(Duration::from_secs(1));
    assert_eq!(registry.tenant(&made.id).await.unwrap(), made);
    assert_eq!(registry.gateway("project", "instance").await.unwrap(), made);
    let log = log(&*registry).await;
    assert_eq!((log[0].verb, log[0].at), (ChangeKind::Created, now));
    assert_eq!(log[0].entity, Entity::Tenant(made));
}

async fn tenant_id_and_instance_are_unique(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let make = |tenant| {
        let registry = registry.clone();
        async move { registry.create_tenant(tenant, &actor()).await }
    };
    make(gateway("t", "project", "instance")).await.unwrap();
    refused!(registry, RegistryError::Conflict, make(tenant("t")));
    refused!(registry, RegistryError::Conflict, make(gateway("u", "project", "instance")));
    // Project and instance are unique only together, and several tenants may have no gateway.
    make(gateway("u", "project", "other")).await.unwrap();
    make(gateway("v", "other", "instance")).await.unwrap();
    make(tenant("w")).await.unwrap();
    make(tenant("x")).await.unwrap();
}

async fn missing_tenant_is_not_found(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let id = "other".parse().unwrap();
    registry.create_tenant(gateway("t", "project", "instance"), &actor()).await.unwrap();
    refused!(registry, RegistryError::NotFound, registry.tenant(&id));
    refused!(registry, RegistryError::NotFound, registry.gateway("project", "other"));
    refused!(registry, RegistryError::NotFound, registry.gateway("other", "instance"));
    refused!(registry, RegistryError::NotFound, registry.gateway("project", ""));
    refused!(
        registry,
        RegistryError::NotFound,
        registry.set_standing(&id, SubscriptionStatus::Lapsed, &actor())
    );
}

async fn tenant_standing_is_set_once(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    let made = registry.create_tenant(tenant("t"), &actor()).await.unwrap();
    let bystander = registry.create_tenant(tenant("u"), &actor()).await.unwrap();
    clock.advance(Duration::from_nanos(1));
    let set = registry.set_standing(&made.id, SubscriptionStatus::Lapsed, &actor()).await.unwrap();
    let updated_at = clock.now().time;
    assert_eq!(set, Tenant { standing: SubscriptionStatus::Lapsed, revision: 2, updated_at, ..made.clone() });
    assert_eq!(log(&*registry).await[2].verb, ChangeKind::Updated);

    clock.advance(Duration::from_secs(1));
    let again = no_change!(registry, registry.set_standing(&made.id, SubscriptionStatus::Lapsed, &actor()));
    assert_eq!(again, set);
    assert_eq!(registry.tenant(&made.id).await.unwrap(), set);
    assert_eq!(registry.tenant(&bystander.id).await.unwrap(), bystander);
}

async fn plan_is_created_replaced_and_left_unchanged(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    registry.put_plan(plan("p", 1), &actor()).await.unwrap();
    registry.put_plan(plan("p", 2), &actor()).await.unwrap();
    registry.put_plan(plan("q", 2), &actor()).await.unwrap();
    no_change!(registry, registry.put_plan(plan("p", 2), &actor()));

    let log: Vec<_> = log(&*registry).await.into_iter().map(|it| (it.verb, it.entity)).collect();
    let changes =
        [(ChangeKind::Created, "p", 1), (ChangeKind::Updated, "p", 2), (ChangeKind::Created, "q", 2)];
    assert_eq!(log, changes.map(|(verb, id, quota)| (verb, Entity::Plan(plan(id, quota)))));
    let held = registry.snapshot().await.unwrap().entities;
    assert_eq!(held, [Entity::Plan(plan("p", 2)), Entity::Plan(plan("q", 2))]);
}

async fn tenant_edit_changes_named_members_only(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    let made = registry.create_tenant(gateway("t", "project", "instance"), &actor()).await.unwrap();
    clock.advance(Duration::from_nanos(1));
    let edit = TenantEdit {
        name: Some("new".into()),
        max_callers: Some(1),
        custom_keys: Some(false),
        ..TenantEdit::default()
    };
    let edited = |expected, edit: &TenantEdit| {
        let (registry, id, edit) = (registry.clone(), &made.id, edit.clone());
        async move { registry.update_tenant(id, expected, edit, &actor()).await }
    };
    refused!(registry, RegistryError::Conflict, edited(Some(2), &edit));
    let after = edited(Some(1), &edit).await.unwrap();
    let updated_at = clock.now().time;
    let place = Some(ApigInstance { custom_keys: false, ..made.gateway.clone().unwrap() });
    let expected = Tenant {
        name: "new".into(),
        gateway: place,
        max_callers: 1,
        revision: 2,
        updated_at,
        ..made.clone()
    };
    assert_eq!(after, expected);
    assert_eq!(no_change!(registry, edited(None, &edit)), after);
    assert_eq!(registry.gateway("project", "instance").await.unwrap(), after);

    let organization = registry.create_tenant(tenant("o"), &actor()).await.unwrap();
    let edit = TenantEdit { custom_keys: Some(true), ..TenantEdit::default() };
    assert_eq!(
        no_change!(registry, registry.update_tenant(&organization.id, None, edit, &actor())),
        organization
    );
}

async fn plan_is_deleted_only_if_unused(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    registry.create_tenant(tenant("t"), &actor()).await.unwrap();
    registry.put_plan(plan("p", 1), &actor()).await.unwrap();
    registry.put_plan(plan("q", 1), &actor()).await.unwrap();
    let on_it = NewCaller { plan: Some("p".parse().unwrap()), ..client("t", "name") };
    let caller = registry.create_caller(on_it, &actor()).await.unwrap();
    let delete = |id: &str| {
        let (registry, id) = (registry.clone(), id.parse().unwrap());
        async move { registry.delete_plan(&id, &actor()).await }
    };
    refused!(registry, RegistryError::NotFound, delete("r"));
    refused!(registry, RegistryError::InUse, delete("p"));
    delete("q").await.unwrap();
    let edit = CallerEdit { plan: Some(None), ..CallerEdit::default() };
    registry.update_caller(&caller.tenant, &caller.id, None, edit, &actor()).await.unwrap();
    delete("p").await.unwrap();
    assert_eq!(registry.plans(None, 10).await.unwrap(), []);
}

async fn plan_is_created_once(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let make = |quota| {
        let registry = registry.clone();
        async move { registry.execute(vec![Command::CreatePlan(plan("p", quota))], &actor()).await }
    };
    refused!(registry, RegistryError::NotFound, registry.plan(&"p".parse().unwrap()));
    assert_eq!(make(1).await.unwrap(), [Entity::Plan(plan("p", 1))]);
    refused!(registry, RegistryError::Conflict, make(1));
    refused!(registry, RegistryError::Conflict, make(2));
    assert_eq!(registry.plan(&"p".parse().unwrap()).await.unwrap(), plan("p", 1));
}

async fn tenant_is_deleted_only_without_callers(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let made = registry.create_tenant(gateway("t", "project", "instance"), &actor()).await.unwrap();
    let caller = registry.create_caller(client("t", "name"), &actor()).await.unwrap();
    let delete = |id: &str, expected| {
        let (registry, id) = (registry.clone(), id.parse().unwrap());
        async move { registry.delete_tenant(&id, expected, &actor()).await }
    };
    refused!(registry, RegistryError::NotFound, delete("u", None));
    refused!(registry, RegistryError::InUse, delete("t", None));
    refused!(registry, RegistryError::Conflict, delete("t", Some(2)));
    registry.delete_caller(&made.id, &caller.id, None, &actor()).await.unwrap();
    refused!(registry, RegistryError::Conflict, delete("t", Some(2)));
    delete("t", Some(1)).await.unwrap();
    refused!(registry, RegistryError::NotFound, registry.tenant(&made.id));
    assert_eq!(log(&*registry).await.last().unwrap().entity, Entity::Tenant(made));
    // Its project and instance are free again.
    registry.create_tenant(gateway("u", "project", "instance"), &actor()).await.unwrap();
}
