//! Creating, finding and deleting callers.

use std::{sync::Arc, time::Duration};

use portcullis::{
    clock::{Clock, ManualClock},
    model::{Caller, CallerEdit, CallerId, CallerKind, ChangeKind, Entity, EntityKind, Status},
    registry::{NewCaller, NewCredential, NewLock, NewTenant, Registry, RegistryError, RegistryExt},
};
use tokio::task::JoinSet;

use super::{Promise, promises};
use crate::fixtures::{actor, app, caller, client, key, lock_on, log, plan, tenant, within};

/// The promises of this module.
pub(super) const PROMISES: &[Promise] = promises![
    caller_of_any_kind_is_created_and_read_back,
    caller_needs_its_tenant_and_its_plan,
    caller_id_is_unique,
    caller_name_is_unique_per_tenant_and_kind,
    app_key_is_unique_across_tenants,
    full_tenant_rejects_more_callers_of_that_kind,
    fifty_concurrent_creations_do_not_overfill_a_tenant,
    caller_of_another_tenant_is_not_found,
    deleted_caller_loses_its_credentials_and_locks,
    first_of_several_errors_of_a_new_caller_is_returned,
];

/// Creates a tenant and a caller.
async fn with_caller(registry: &dyn Registry, new: NewCaller) -> Caller {
    let _ = registry.create_tenant(tenant(new.tenant.as_str()), &actor()).await;
    registry.create_caller(new, &actor()).await.unwrap()
}

async fn caller_of_any_kind_is_created_and_read_back(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    registry.create_tenant(tenant("t"), &actor()).await.unwrap();
    registry.put_plan(plan("p", 1), &actor()).await.unwrap();
    // A name may contain any character, and one caller of each kind may have the name.
    let name = "O'Näme \u{0} \u{202E}%_\" -- ☃";
    let mut news = [client("t", name), app("t", name, "key"), caller("t", name, CallerKind::Operator)];
    news[1].plan = Some("p".parse().unwrap());
    for new in news {
        clock.advance(Duration::from_nanos(1));
        let made = registry.create_caller(new.clone(), &actor()).await.unwrap();
        assert_eq!(made, new.into_caller(clock.now().time));
        assert_eq!((made.revision, made.status), (1, Status::Enabled));
        assert_eq!(registry.caller(&made.tenant, &made.id).await.unwrap(), made);
    }
}

async fn caller_needs_its_tenant_and_its_plan(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    refused!(registry, RegistryError::NotFound, registry.create_caller(client("t", "name"), &actor()));
    registry.create_tenant(tenant("t"), &actor()).await.unwrap();
    let on_plan = NewCaller { plan: Some("p".parse().unwrap()), ..client("t", "name") };
    refused!(registry, RegistryError::NotFound, registry.create_caller(on_plan.clone(), &actor()));
    registry.put_plan(plan("p", 1), &actor()).await.unwrap();
    registry.create_caller(on_plan, &actor()).await.unwrap();
}

async fn caller_id_is_unique(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let made = with_caller(&*registry, client("t", "name")).await;
    registry.create_tenant(tenant("u"), &actor()).await.unwrap();
    for tenant in ["t", "u"] {
        let again = NewCaller { id: made.id.clone(), ..client(tenant, "other") };
        refused!(registry, RegistryError::Conflict, registry.create_caller(again, &actor()));
    }
}

async fn caller_name_is_unique_per_tenant_and_kind(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let made = with_caller(&*registry, client("t", "name")).await;
    registry.create_tenant(tenant("u"), &actor()).await.unwrap();
    let make = |new| {
        let registry = registry.clone();
        async move { registry.create_caller(new, &actor()).await }
    };
    refused!(registry, RegistryError::NameTaken, make(client("t", "name")));
    // Names are compared byte by byte, and only within a tenant and a kind.
    for new in [client("t", "Name"), client("t", "name "), client("u", "name"), app("t", "name", "key")] {
        make(new).await.unwrap();
    }
    registry.delete_caller(&made.tenant, &made.id, None, &actor()).await.unwrap();
    make(client("t", "name")).await.unwrap();
}

async fn app_key_is_unique_across_tenants(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let made = with_caller(&*registry, app("t", "name", "key")).await;
    registry.create_tenant(tenant("u"), &actor()).await.unwrap();
    for tenant in ["t", "u"] {
        let again = app(tenant, "other", "key");
        refused!(registry, RegistryError::KeyTaken, registry.create_caller(again, &actor()));
    }
    registry.create_caller(app("u", "name", "Key"), &actor()).await.unwrap();
    registry.delete_caller(&made.tenant, &made.id, None, &actor()).await.unwrap();
    registry.create_caller(app("u", "other", "key"), &actor()).await.unwrap();
}

async fn full_tenant_rejects_more_callers_of_that_kind(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    registry.create_tenant(NewTenant { max_callers: 2, ..tenant("t") }, &actor()).await.unwrap();
    registry.create_tenant(NewTenant { max_callers: 0, ..tenant("none") }, &actor()).await.unwrap();
    registry.create_tenant(tenant("u"), &actor()).await.unwrap();
    registry.create_caller(client("t", "1"), &actor()).await.unwrap();
    let second = registry.create_caller(client("t", "2"), &actor()).await.unwrap();
    refused!(registry, RegistryError::LimitReached(2), registry.create_caller(client("t", "3"), &actor()));
    refused!(registry, RegistryError::LimitReached(0), registry.create_caller(client("none", "1"), &actor()));
    registry.create_caller(app("t", "1", "key"), &actor()).await.unwrap();
    registry.create_caller(client("u", "1"), &actor()).await.unwrap();
    registry.delete_caller(&second.tenant, &second.id, None, &actor()).await.unwrap();
    registry.create_caller(client("t", "3"), &actor()).await.unwrap();
}

async fn fifty_concurrent_creations_do_not_overfill_a_tenant(
    registry: Arc<dyn Registry>,
    _: Arc<ManualClock>,
) {
    registry.create_tenant(NewTenant { max_callers: 30, ..tenant("t") }, &actor()).await.unwrap();
    let mut all = JoinSet::new();
    for n in 0..50 {
        let registry = registry.clone();
        all.spawn(async move { registry.create_caller(client("t", &n.to_string()), &actor()).await });
    }
    let (mut made, mut refused) = (Vec::new(), 0);
    while let Some(outcome) = within(all.join_next()).await {
        match outcome.unwrap() {
            Ok(caller) => made.push(caller.id),
            Err(RegistryError::LimitReached(30)) => refused += 1,
            Err(fault) => panic!("{fault:?}"),
        }
    }
    assert_eq!((made.len(), refused), (30, 20));

    let log = log(&*registry).await;
    let mut logged: Vec<_> = log[1..].iter().map(|change| change.entity.id()).collect();
    assert!(log.iter().map(|change| change.seq).eq(1..=31));
    made.sort_unstable();
    logged.sort_unstable();
    assert!(made.iter().map(CallerId::as_str).eq(logged));
}

async fn caller_of_another_tenant_is_not_found(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let ours = with_caller(&*registry, client("t", "name")).await;
    let theirs = with_caller(&*registry, client("u", "name")).await;
    let key = registry.create_credential(key(&ours, "ours"), &actor()).await.unwrap();
    let edit = || CallerEdit { name: Some("new".into()), ..CallerEdit::default() };
    // From another tenant, and from a tenant that does not exist.
    for from in [&theirs.tenant, &"nobody".parse().unwrap()] {
        let (id, by) = (&ours.id, &actor());
        refused!(registry, RegistryError::NotFound, registry.caller(from, id));
        refused!(registry, RegistryError::NotFound, registry.update_caller(from, id, None, edit(), by));
        refused!(registry, RegistryError::NotFound, registry.update_caller(from, id, Some(9), edit(), by));
        refused!(registry, RegistryError::NotFound, registry.delete_caller(from, id, None, by));
        let status = Status::Disabled;
        refused!(
            registry,
            RegistryError::NotFound,
            registry.set_credential_status(from, &key.id, status, by)
        );
    }
    // A caller that does not exist.
    let (tenant, id, by) = (&ours.tenant, &"nowhere".parse().unwrap(), &actor());
    refused!(registry, RegistryError::NotFound, registry.caller(tenant, id));
    refused!(registry, RegistryError::NotFound, registry.update_caller(tenant, id, None, edit(), by));
    refused!(registry, RegistryError::NotFound, registry.delete_caller(tenant, id, None, by));
}

async fn deleted_caller_loses_its_credentials_and_locks(
    registry: Arc<dyn Registry>,
    clock: Arc<ManualClock>,
) {
    let gone = with_caller(&*registry, client("t", "gone")).await;
    let stays = with_caller(&*registry, client("t", "stays")).await;
    let second = Duration::from_secs(1);
    // Created neither in the order of their ids nor in the opposite order.
    for (caller, id) in [(&gone, "2"), (&stays, "4"), (&gone, "1"), (&gone, "3")] {
        let key = NewCredential { id: id.parse().unwrap(), ..key(caller, id) };
        registry.create_credential(key, &actor()).await.unwrap();
        // Each lock applies to another tenant, so that the locks do not conflict.
        let lock = lock_on(caller, second);
        let lock = NewLock { id: id.parse().unwrap(), tenant: Some(id.parse().unwrap()), ..lock };
        registry.acquire_lock(lock, &actor()).await.unwrap();
    }
    clock.advance(second);
    let before = registry.snapshot().await.unwrap();
    registry.delete_caller(&gone.tenant, &gone.id, None, &actor()).await.unwrap();

    let deleted = registry.changes(before.seq, 100).await.unwrap();
    assert!(deleted.iter().all(|change| change.verb == ChangeKind::Deleted && change.at == clock.now().time));
    let deleted: Vec<_> = deleted.iter().map(|it| (it.entity.kind(), it.entity.id())).collect();
    let of = |kind| ["1", "2", "3"].map(|id| (kind, id));
    let expected =
        [&of(EntityKind::Credential)[..], &of(EntityKind::Lock), &[(EntityKind::Caller, gone.id.as_str())]]
            .concat();
    assert_eq!(deleted, expected);
    refused!(
        registry,
        RegistryError::NotFound,
        registry.delete_caller(&gone.tenant, &gone.id, None, &actor())
    );
    let left: Vec<_> = registry.snapshot().await.unwrap().entities.iter().map(Entity::kind).collect();
    assert_eq!(left, [EntityKind::Tenant, EntityKind::Caller, EntityKind::Credential, EntityKind::Lock]);
    // Its name is free again.
    let heir = registry.create_caller(client("t", "gone"), &actor()).await.unwrap();
    registry.create_credential(key(&heir, "1"), &actor()).await.unwrap();
}

async fn first_of_several_errors_of_a_new_caller_is_returned(
    registry: Arc<dyn Registry>,
    _: Arc<ManualClock>,
) {
    registry.create_tenant(NewTenant { max_callers: 2, ..tenant("t") }, &actor()).await.unwrap();
    let existing = registry.create_caller(app("t", "name", "key"), &actor()).await.unwrap();
    let new = |id, name, key| NewCaller { id, plan: Some("none".parse().unwrap()), ..app("t", name, key) };
    let (same, other) = (existing.id.clone(), "other".parse().unwrap());
    let make = |new| {
        let registry = registry.clone();
        async move { registry.create_caller(new, &actor()).await }
    };
    // No tenant, limit reached, id, name, key, no plan.
    refused!(registry, RegistryError::Conflict, make(new(same.clone(), "name", "key")));
    refused!(registry, RegistryError::NameTaken, make(new(other, "name", "key")));
    refused!(registry, RegistryError::KeyTaken, make(new("other".parse().unwrap(), "new", "key")));
    refused!(registry, RegistryError::NotFound, make(new("other".parse().unwrap(), "new", "new")));
    make(app("t", "last", "last")).await.unwrap();
    refused!(registry, RegistryError::LimitReached(2), make(new(same, "name", "key")));
}
