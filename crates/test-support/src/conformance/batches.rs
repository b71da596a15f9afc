//! Several commands in one transaction.

use std::sync::Arc;

use portcullis::{
    admission::Identity,
    clock::{Clock, ManualClock},
    directory::Directory,
    model::{
        Acl, AclKind, Actor, Caller, CallerEdit, CallerKind, Credential, CredentialEdit, Entity, Role,
        Scopes, Status, SubscriptionStatus,
    },
    registry::{
        AssertUnchanged, CreateCaller, CreateCredential, CreateTenant, DeleteCaller, NewCaller, PutPlan,
        Registry, RegistryError, RegistryExt, UpdateCaller, load,
    },
};

use super::{Promise, promises};
use crate::fixtures::{actor, app, caller, client, key, lock_on, log, peppers, plan, tenant};

/// The promises of this module.
pub(super) const PROMISES: &[Promise] = promises![
    later_commands_see_the_effects_of_earlier_ones,
    batch_is_atomic,
    failed_expectation_rejects_the_batch,
    revoked_credential_rejects_the_batch,
    lapsed_subscription_rejects_the_batch,
    app_acl_applies_to_its_own_batch,
];

async fn later_commands_see_the_effects_of_earlier_ones(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let caller = NewCaller { plan: Some("p".parse().unwrap()), ..client("t", "name") };
    let (tenant_id, id) = (caller.tenant.clone(), caller.id.clone());
    let edit = CallerEdit { status: Some(Status::Disabled), ..CallerEdit::default() };
    let commands = vec![
        CreateTenant(tenant("t")).into(),
        PutPlan(plan("p", 1)).into(),
        CreateCaller(caller.clone()).into(),
        CreateCredential {
            credential: key(&caller.into_caller(jiff::Timestamp::UNIX_EPOCH), "key"),
            most: None,
        }
        .into(),
        UpdateCaller { tenant: tenant_id.clone(), id: id.clone(), expected: Some(1), edit }.into(),
    ];
    let done = registry.execute(commands, &actor()).await.unwrap();
    let log = log(&*registry).await;
    assert!(log.iter().map(|change| &change.entity).eq(&done));
    assert!(log.iter().all(|change| change.at == log[0].at), "one moment for all");
    let now = registry.caller(&tenant_id, &id).await.unwrap();
    assert_eq!((now.status, now.revision), (Status::Disabled, 2));
    assert_eq!(done[4], Entity::Caller(now));
    assert_eq!(registry.execute(vec![], &actor()).await.unwrap(), []);
}

async fn batch_is_atomic(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    registry.create_tenant(tenant("t"), &actor()).await.unwrap();
    registry.put_plan(plan("p", 1), &actor()).await.unwrap();
    let first = registry.create_caller(client("t", "first"), &actor()).await.unwrap();
    registry.create_credential(key(&first, "key"), &actor()).await.unwrap();
    // Commands that create, replace, change and delete, followed by one that fails.
    let edit = CallerEdit { name: Some("renamed".into()), ..CallerEdit::default() };
    let (of, id) = (first.tenant.clone(), first.id.clone());
    let all = || {
        vec![
            CreateCaller(client("t", "second")).into(),
            PutPlan(plan("p", 2)).into(),
            UpdateCaller { tenant: of.clone(), id: id.clone(), expected: None, edit: edit.clone() }.into(),
            DeleteCaller { tenant: of.clone(), id: id.clone(), expected: None }.into(),
            DeleteCaller { tenant: of.clone(), id: id.clone(), expected: None }.into(),
        ]
    };
    refused!(registry, RegistryError::NotFound, registry.execute(all(), &actor()));
    assert_eq!(registry.caller(&of, &id).await.unwrap(), first);
    let mut good = all();
    good.pop();
    registry.execute(good, &actor()).await.unwrap();
    refused!(registry, RegistryError::NotFound, registry.caller(&of, &id));
}

async fn failed_expectation_rejects_the_batch(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    let tenant = registry.create_tenant(tenant("t"), &actor()).await.unwrap();
    registry.put_plan(plan("p", 1), &actor()).await.unwrap();
    let caller = registry.create_caller(client("t", "name"), &actor()).await.unwrap();
    let key = registry.create_credential(key(&caller, "key"), &actor()).await.unwrap();
    let changed = |status| Caller { status, ..caller.clone() };
    for entity in [
        Entity::Tenant(tenant.clone()),
        Entity::Plan(plan("p", 1)),
        Entity::Caller(caller.clone()),
        Entity::Credential(key.clone()),
    ] {
        let commands = vec![AssertUnchanged(entity.clone()).into()];
        assert_eq!(no_change!(registry, registry.execute(commands, &actor())), [entity]);
    }
    for does_not in [
        Entity::Plan(plan("p", 2)),
        Entity::Plan(plan("q", 1)),
        Entity::Caller(changed(Status::Disabled)),
        Entity::Lock(lock_on(&caller, std::time::Duration::from_secs(1)).into_lock(clock.now().time, 1)),
    ] {
        let commands = vec![PutPlan(plan("p", 3)).into(), AssertUnchanged(does_not).into()];
        refused!(registry, RegistryError::Conflict, registry.execute(commands, &actor()));
    }
    let commands = vec![AssertUnchanged(Entity::Plan(plan("p", 1))).into(), PutPlan(plan("p", 2)).into()];
    registry.execute(commands, &actor()).await.unwrap();
}

/// Returns the actor of a credential, as a surface builds it from the directory's current data.
async fn asking(registry: &dyn Registry, credential: &Credential) -> Actor {
    let directory = Directory::new(peppers());
    load(registry, &directory).await.unwrap();
    let key = directory.find_by_digest(credential.digest).unwrap();
    Actor::with_authority("surface", Identity { key }.authority(None))
}

async fn revoked_credential_rejects_the_batch(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    registry.create_tenant(tenant("t"), &actor()).await.unwrap();
    let boss = caller("t", "boss", CallerKind::Administrator(Role::Operator));
    let boss = registry.create_caller(boss, &actor()).await.unwrap();
    let made = registry.create_credential(key(&boss, "key"), &actor()).await.unwrap();
    let quotas = std::cell::Cell::new(1);
    let commands = || {
        quotas.set(quotas.get() + 1);
        vec![PutPlan(plan("p", quotas.get())).into()]
    };
    let by = asking(&*registry, &made).await;
    let done = registry.execute(commands(), &by).await.unwrap();
    assert_eq!(done, [Entity::Plan(plan("p", quotas.get()))]);
    registry.authorize(&by, clock.now().time).await.unwrap();
    assert_eq!(log(&*registry).await.last().unwrap().actor.as_str(), format!("surface:{}", boss.id));

    let edit_caller = async |edit| {
        registry.update_caller(&boss.tenant, &boss.id, None, edit, &actor()).await.unwrap();
    };
    let edit_key = async |edit| {
        registry.update_credential(&made.tenant, &made.id, None, edit, &actor()).await.unwrap();
    };
    let status = |status| CallerEdit { status: Some(status), ..CallerEdit::default() };
    let role = |role| CallerEdit { role: Some(role), ..CallerEdit::default() };
    for (revoke, restore) in
        [(status(Status::Disabled), status(Status::Enabled)), (role(Role::ReadOnly), role(Role::Operator))]
    {
        edit_caller(revoke).await;
        refused!(registry, RegistryError::NotAuthorized, registry.execute(commands(), &by));
        refused!(registry, RegistryError::NotAuthorized, registry.authorize(&by, clock.now().time));
        edit_caller(restore).await;
    }
    edit_caller(role(Role::Owner)).await;
    registry.execute(commands(), &by).await.unwrap();

    let status = |status| CredentialEdit { status: Some(status), ..CredentialEdit::default() };
    let scopes = |scopes| CredentialEdit { scopes: Some(scopes), ..CredentialEdit::default() };
    for (revoke, restore) in [
        (status(Status::Disabled), status(Status::Enabled)),
        (scopes(Scopes::Listed(vec![])), scopes(Scopes::All)),
    ] {
        edit_key(revoke).await;
        refused!(registry, RegistryError::NotAuthorized, registry.execute(commands(), &by));
        refused!(registry, RegistryError::NotAuthorized, registry.authorize(&by, clock.now().time));
        edit_key(restore).await;
    }

    let end = clock.now().time + std::time::Duration::from_secs(1);
    edit_key(CredentialEdit { not_after: Some(Some(end)), ..CredentialEdit::default() }).await;
    registry.execute(commands(), &by).await.unwrap();
    clock.advance(std::time::Duration::from_secs(1));
    refused!(registry, RegistryError::NotAuthorized, registry.execute(commands(), &by));
    refused!(registry, RegistryError::NotAuthorized, registry.authorize(&by, clock.now().time));

    registry.delete_credential(&made.tenant, &made.id, None, &actor()).await.unwrap();
    refused!(registry, RegistryError::NotAuthorized, registry.execute(commands(), &by));
    refused!(registry, RegistryError::NotAuthorized, registry.authorize(&by, clock.now().time));
}

async fn lapsed_subscription_rejects_the_batch(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let tenant = registry.create_tenant(tenant("t"), &actor()).await.unwrap();
    let by = actor().subscribed(tenant.id.clone());
    registry.put_plan(plan("p", 1), &by).await.unwrap();
    registry.set_standing(&tenant.id, SubscriptionStatus::Lapsed, &actor()).await.unwrap();
    refused!(registry, RegistryError::Lapsed, registry.put_plan(plan("p", 2), &by));
    registry.set_standing(&tenant.id, SubscriptionStatus::Active, &actor()).await.unwrap();
    registry.put_plan(plan("p", 2), &by).await.unwrap();
    registry.delete_tenant(&tenant.id, None, &actor()).await.unwrap();
    refused!(registry, RegistryError::NotFound, registry.put_plan(plan("p", 3), &by));
}

/// An app that signs with its own secret has no credential in the store: the app itself is the credential.
async fn app_acl_applies_to_its_own_batch(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    registry.create_tenant(tenant("t"), &actor()).await.unwrap();
    let app = registry.create_caller(app("t", "app", "app-key"), &actor()).await.unwrap();
    let directory = Directory::new(peppers());
    load(&*registry, &directory).await.unwrap();
    let identity = Identity { key: directory.find_app_key("app-key").unwrap() };
    let at = |address: &str| Actor::with_authority("surface", identity.authority(address.parse().ok()));
    registry.put_plan(plan("p", 1), &at("192.0.2.1")).await.unwrap();
    let acl = Acl::new(AclKind::Permit, vec!["192.0.2.1".parse().unwrap()]).unwrap();
    let edit = CallerEdit { acl: Some(Some(acl)), ..CallerEdit::default() };
    registry.update_caller(&app.tenant, &app.id, None, edit, &actor()).await.unwrap();
    registry.put_plan(plan("p", 2), &at("192.0.2.1")).await.unwrap();
    refused!(registry, RegistryError::NotAuthorized, registry.put_plan(plan("p", 3), &at("192.0.2.2")));
}
