//! Credentials.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use portcullis::{
    clock::{Clock, ManualClock},
    model::{
        Access, Caller, ChangeKind, Credential, CredentialEdit, CredentialId, CredentialKind, Entity, Scope,
        Scopes, SealKey, Sealer, Secret, Status,
    },
    registry::{NewCredential, Registry, RegistryError, RegistryExt},
};

use super::{Promise, promises};
use crate::fixtures::{actor, client, key, lock_on, log, tenant};

/// The promises of this module.
pub(super) const PROMISES: &[Promise] = promises![
    credential_is_created_at_the_registry_time,
    credential_needs_its_caller,
    credential_id_and_digest_are_unique_across_tenants,
    credential_status_is_set_once,
    credential_edit_changes_named_members_and_not_the_digest,
    credentials_of_a_kind_are_limited_per_caller,
    lost_update_of_a_credential_is_rejected,
    deleted_credential_frees_its_digest,
    last_use_of_a_credential_is_stored_and_is_no_change,
];

/// Creates a caller in each of two tenants.
async fn callers(registry: &dyn Registry) -> [Caller; 2] {
    let mut callers = Vec::new();
    for id in ["t", "u"] {
        registry.create_tenant(tenant(id), &actor()).await.unwrap();
        callers.push(registry.create_caller(client(id, "name"), &actor()).await.unwrap());
    }
    callers.try_into().unwrap()
}

async fn credential_is_created_at_the_registry_time(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    let [caller, _] = callers(&*registry).await;
    clock.advance(Duration::from_nanos(1));
    let targets = Some(vec!["q/1".into(), "ключ".into()]);
    let scopes = Scopes::Listed(vec![Scope { resource: "queues".into(), access: Access::Write, targets }]);
    let given = NewCredential { scopes, status: Status::Disabled, ..key(&caller, "key") };
    let made = registry.create_credential(given.clone(), &actor()).await.unwrap();
    let now = clock.now().time;
    assert_eq!(made, given.into_credential(now));
    assert!(registry.snapshot().await.unwrap().entities.contains(&Entity::Credential(made.clone())));
    let last = log(&*registry).await.pop().unwrap();
    assert_eq!((last.verb, last.entity), (ChangeKind::Created, Entity::Credential(made)));
}

async fn credential_needs_its_caller(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let [ours, theirs] = callers(&*registry).await;
    let orphan = NewCredential { caller: "nobody".parse().unwrap(), ..key(&ours, "key") };
    refused!(registry, RegistryError::NotFound, registry.create_credential(orphan, &actor()));
    let across = NewCredential { tenant: theirs.tenant.clone(), ..key(&ours, "key") };
    refused!(registry, RegistryError::NotFound, registry.create_credential(across, &actor()));
}

async fn credential_id_and_digest_are_unique_across_tenants(
    registry: Arc<dyn Registry>,
    _: Arc<ManualClock>,
) {
    let [ours, theirs] = callers(&*registry).await;
    let made = registry.create_credential(key(&ours, "key"), &actor()).await.unwrap();
    for caller in [&ours, &theirs] {
        let same_id = NewCredential { id: made.id.clone(), ..key(caller, "other") };
        refused!(registry, RegistryError::Conflict, registry.create_credential(same_id, &actor()));
        refused!(registry, RegistryError::Conflict, registry.create_credential(key(caller, "key"), &actor()));
    }
    registry.create_credential(key(&theirs, "other"), &actor()).await.unwrap();
}

async fn credential_status_is_set_once(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    let [ours, theirs] = callers(&*registry).await;
    let made = registry.create_credential(key(&ours, "key"), &actor()).await.unwrap();
    clock.advance(Duration::from_nanos(1));
    let set = |tenant, id| {
        let registry = registry.clone();
        async move { registry.set_credential_status(tenant, id, Status::Disabled, &actor()).await }
    };
    refused!(registry, RegistryError::NotFound, set(&theirs.tenant, &made.id));
    let nowhere = "nowhere".parse().unwrap();
    refused!(registry, RegistryError::NotFound, set(&ours.tenant, &nowhere));
    let disabled = set(&ours.tenant, &made.id).await.unwrap();
    let updated_at = clock.now().time;
    assert_eq!(disabled, Credential { status: Status::Disabled, revision: 2, updated_at, ..made.clone() });
    let last = log(&*registry).await.pop().unwrap();
    assert_eq!((last.verb, last.entity), (ChangeKind::Updated, Entity::Credential(disabled.clone())));

    clock.advance(Duration::from_secs(1));
    assert_eq!(no_change!(registry, set(&ours.tenant, &made.id)), disabled);
    let enabled = registry.set_credential_status(&made.tenant, &made.id, Status::Enabled, &actor()).await;
    assert_eq!(enabled.unwrap().revision, 3);
}

async fn credential_edit_changes_named_members_and_not_the_digest(
    registry: Arc<dyn Registry>,
    clock: Arc<ManualClock>,
) {
    let [ours, theirs] = callers(&*registry).await;
    let made = registry.create_credential(key(&ours, "key"), &actor()).await.unwrap();
    clock.advance(Duration::from_nanos(1));
    let scopes = Scopes::Listed(vec![Scope { resource: "a".into(), access: Access::Read, targets: None }]);
    let sealer = Sealer::new(SealKey::new(1, &[3; 32]));
    let kind = CredentialKind::AppCode(sealer.seal(&Secret::from("code".to_owned()), &[]));
    let edit = CredentialEdit {
        deprecated_at: Some(Some(Timestamp::UNIX_EPOCH)),
        replaced_by: Some(Some("another".parse().unwrap())),
        kind: Some(kind.clone()),
        name: Some("another".into()),
        status: Some(Status::Disabled),
        scopes: Some(scopes.clone()),
        not_after: Some(None),
    };
    let edited = |tenant, id, edit| {
        let registry = registry.clone();
        async move { registry.update_credential(tenant, id, None, edit, &actor()).await }
    };
    refused!(registry, RegistryError::NotFound, edited(&theirs.tenant, &made.id, edit.clone()));
    let after = edited(&ours.tenant, &made.id, edit.clone()).await.unwrap();
    let expected = Credential {
        name: "another".into(),
        status: Status::Disabled,
        scopes,
        not_after: None,
        deprecated_at: Some(Timestamp::UNIX_EPOCH),
        replaced_by: Some("another".parse().unwrap()),
        kind,
        revision: 2,
        updated_at: clock.now().time,
        ..made.clone()
    };
    assert_eq!(after, expected);
    assert_eq!(registry.credential(&ours.tenant, &after.id).await.unwrap(), after);
    refused!(registry, RegistryError::NotFound, registry.credential(&theirs.tenant, &after.id));
    assert_eq!(no_change!(registry, edited(&ours.tenant, &after.id, edit)), after);
    assert_eq!(no_change!(registry, edited(&ours.tenant, &after.id, CredentialEdit::default())), after);
}

async fn lost_update_of_a_credential_is_rejected(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let [caller, _] = callers(&*registry).await;
    let made = registry.create_credential(key(&caller, "key"), &actor()).await.unwrap();
    let rename = |expected, name: &str| {
        let edit = CredentialEdit { name: Some(name.into()), ..CredentialEdit::default() };
        let (registry, tenant, id) = (registry.clone(), &caller.tenant, &made.id);
        async move { registry.update_credential(tenant, id, Some(expected), edit, &actor()).await }
    };
    rename(1, "second").await.unwrap();
    refused!(registry, RegistryError::Conflict, rename(1, "third"));
    let delete = |expected| {
        let (registry, tenant, id) = (registry.clone(), &caller.tenant, &made.id);
        async move { registry.delete_credential(tenant, id, Some(expected), &actor()).await }
    };
    refused!(registry, RegistryError::Conflict, delete(1));
    delete(2).await.unwrap();
}

async fn deleted_credential_frees_its_digest(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let [ours, theirs] = callers(&*registry).await;
    let made = registry.create_credential(key(&ours, "key"), &actor()).await.unwrap();
    // Even a lock does not protect a key from revocation.
    registry.acquire_lock(lock_on(&ours, Duration::from_secs(1)), &actor()).await.unwrap();
    let delete = |tenant| {
        let (registry, id) = (registry.clone(), &made.id);
        async move { registry.delete_credential(tenant, id, None, &actor()).await }
    };
    refused!(registry, RegistryError::NotFound, delete(&theirs.tenant));
    delete(&ours.tenant).await.unwrap();
    let last = log(&*registry).await.pop().unwrap();
    assert_eq!((last.verb, last.entity), (ChangeKind::Deleted, Entity::Credential(made.clone())));
    refused!(registry, RegistryError::NotFound, delete(&ours.tenant));
    refused!(registry, RegistryError::NotFound, registry.credential(&ours.tenant, &made.id));
    registry.create_credential(key(&theirs, "key"), &actor()).await.unwrap();
}

async fn last_use_of_a_credential_is_stored_and_is_no_change(
    registry: Arc<dyn Registry>,
    clock: Arc<ManualClock>,
) {
    let [ours, theirs] = callers(&*registry).await;
    let first = registry.create_credential(key(&ours, "first"), &actor()).await.unwrap();
    let second = registry.create_credential(key(&theirs, "second"), &actor()).await.unwrap();
    let gone: CredentialId = "gone".parse().unwrap();
    let ids = [second.id.clone(), gone.clone(), first.id.clone()];
    assert_eq!(registry.last_used(&ids).await.unwrap(), [None, None, None]);
    let now = clock.now().time;
    let (early, late) = (now + Duration::from_secs(1), now + Duration::from_secs(2));
    no_change!(registry, registry.record_last_used(&[(first.id.clone(), late), (gone, late)]));
    no_change!(registry, registry.record_last_used(&[(first.id.clone(), early), (second.id.clone(), early)]));
    let whole = |at: Timestamp| Timestamp::from_second(at.as_second()).ok();
    assert_eq!(registry.last_used(&ids).await.unwrap(), [whole(early), None, whole(late)]);
    registry.delete_credential(&theirs.tenant, &second.id, None, &actor()).await.unwrap();
    assert_eq!(registry.last_used(&ids).await.unwrap(), [None, None, whole(late)]);
}

async fn credentials_of_a_kind_are_limited_per_caller(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let [ours, theirs] = callers(&*registry).await;
    registry.create_credential_within(1, key(&ours, "first"), &actor()).await.unwrap();
    let second = key(&ours, "second");
    refused!(
        registry,
        RegistryError::LimitReached(1),
        registry.create_credential_within(1, second.clone(), &actor())
    );
    registry.create_credential_within(2, second, &actor()).await.unwrap();
    registry.create_credential_within(1, key(&theirs, "theirs"), &actor()).await.unwrap();
    let sealer = Sealer::new(SealKey::new(1, &[3; 32]));
    let kind = CredentialKind::AppCode(sealer.seal(&Secret::from("code".to_owned()), &[]));
    let code = NewCredential { kind, ..key(&ours, "code") };
    registry.create_credential_within(1, code, &actor()).await.unwrap();
}
