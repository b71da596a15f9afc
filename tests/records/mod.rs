//! Fixtures and invariants that the tests of registries share.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use portcullis::{
    clock::ManualClock,
    model::{
        Actor, ApigInstance, App, Caller, CallerId, CallerKind, Change, ChangeKind, Creator, Credential,
        CredentialId, CredentialKind, Entity, EntityKind, Limit, LockId, LockTarget, LockToken,
        LockedRequests, Pepper, Peppers, Plan, Scopes, SealKey, Sealer, Secret, Status, SubscriptionStatus,
        Tenant, WindowGuarantee,
    },
    registry::{NewCaller, NewLock, Registry},
};

/// Starts at an odd nanosecond, so that a store that rounds is found out.
pub fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at("2026-01-01T00:00:00.000000007Z".parse().unwrap()))
}

/// Stands in for what the registry must set itself.
const ELSEWHEN: Timestamp = Timestamp::UNIX_EPOCH;

pub fn actor() -> Actor {
    Actor::system("test")
}

pub fn tenant(id: &str) -> Tenant {
    Tenant {
        id: id.parse().unwrap(),
        name: format!("the tenant {id}"),
        gateway: None,
        standing: SubscriptionStatus::Active,
        max_callers: 100,
        revision: 77,
        created_at: ELSEWHEN,
        updated_at: ELSEWHEN,
    }
}

pub fn gateway(id: &str, project_id: &str, instance_id: &str) -> Tenant {
    let (project_id, instance_id) = (project_id.to_owned(), instance_id.to_owned());
    Tenant { gateway: Some(ApigInstance { project_id, instance_id, custom_keys: true }), ..tenant(id) }
}

pub fn caller(tenant: &str, name: &str, kind: CallerKind) -> NewCaller {
    NewCaller {
        id: CallerId::random(),
        tenant: tenant.parse().unwrap(),
        name: name.to_owned(),
        kind,
        plan: None,
    }
}

pub fn client(tenant: &str, name: &str) -> NewCaller {
    caller(tenant, name, CallerKind::ApiClient)
}

pub fn app(tenant: &str, name: &str, key: &str) -> NewCaller {
    let secret = Sealer::new(SealKey::new(1, &[3; 32])).seal(&Secret::from("secret".to_owned()), &[key]);
    let (remark, key) = ("«remark» \u{1F511} \"'\\\n".to_owned(), key.to_owned());
    caller(
        tenant,
        name,
        CallerKind::App(App { remark, key, secret, creator: Creator::Market, acl: None, quota: None }),
    )
}

pub fn peppers() -> Peppers {
    Peppers::new(Pepper::new(1, &[7; 32]))
}

pub fn key(caller: &Caller, text: &str) -> Credential {
    Credential {
        id: CredentialId::random(),
        tenant: caller.tenant.clone(),
        caller: caller.id.clone(),
        name: format!("the key {text}"),
        digest: peppers().current().digest(text),
        pepper: 1,
        kind: CredentialKind::Key,
        hint: "hint".into(),
        status: Status::Enabled,
        scopes: Scopes::All,
        not_after: Some("2030-01-01T00:00:00.123456789Z".parse().unwrap()),
        deprecated_at: None,
        replaced_by: None,
        revision: 77,
        created_at: ELSEWHEN,
        updated_at: ELSEWHEN,
    }
}

pub fn plan(id: &str, quota: u32) -> Plan {
    let limit = Limit::new("minute", quota, 60, 1, WindowGuarantee::Average).unwrap();
    Plan::new(id.parse().unwrap(), vec![limit]).unwrap()
}

/// A lock for so long, of nobody's tenant, whose token nobody has.
pub fn lock(target: LockTarget, lasts: Duration) -> NewLock {
    NewLock {
        id: LockId::random(),
        tenant: None,
        target,
        owner: "owner".into(),
        holder: None,
        reason: "reason".into(),
        covers: LockedRequests::Writes,
        lasts: lasts.try_into().unwrap(),
        token: LockToken::generate().digest(),
    }
}

pub fn lock_on(caller: &Caller, lasts: Duration) -> NewLock {
    lock(LockTarget::Caller(caller.id.clone()), lasts)
}

/// Ends a test that would otherwise wait for ever. No test waits for it.
pub async fn within<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("it comes to an end")
}

/// Every change, read in pages.
pub async fn log(registry: &dyn Registry) -> Vec<Change> {
    let mut log: Vec<Change> = Vec::new();
    loop {
        let page = registry.changes(log.last().map_or(0, |last| last.seq), 64).await.unwrap();
        if page.is_empty() {
            return log;
        }
        log.extend(page);
    }
}

/// Returns the entities that a snapshot must contain after these changes. No entity is created twice, changed or deleted
/// without existing, or left without the entity that it depends on.
pub fn replay(log: &[Change]) -> Vec<Entity> {
    let mut entities = BTreeMap::new();
    for change in log {
        let (place, entity) = (place(&change.entity), change.entity.clone());
        let about = format!("change {}", change.seq);
        match change.verb {
            ChangeKind::Created => assert_eq!(entities.insert(place, entity), None, "{about}"),
            ChangeKind::Updated => assert!(entities.insert(place, entity).is_some(), "{about}"),
            ChangeKind::Deleted => assert_eq!(entities.remove(&place), Some(entity), "{about}"),
        }
    }
    entities.into_values().collect()
}

/// Checks that the change log has no gaps and contains every entity of a snapshot.
pub async fn the_log_tells_all(registry: &dyn Registry) {
    let (log, snapshot) = (log(registry).await, registry.snapshot().await.unwrap());
    assert!(log.iter().map(|change| change.seq).eq(1..=snapshot.seq), "numbered from 1 without gaps");
    assert!(log.is_sorted_by_key(|change| change.at), "in the order of the clock");
    let kinds = |entities: &[Entity]| entities.iter().map(place).map(|(kind, _)| kind).collect::<Vec<_>>();
    assert!(kinds(&snapshot.entities).is_sorted(), "what something stands on comes first");
    assert_eq!(replay(&log), sorted(snapshot.entities));
}

/// In the order of [`replay`].
pub fn sorted(mut entities: Vec<Entity>) -> Vec<Entity> {
    entities.sort_by_key(place);
    entities
}

fn place(entity: &Entity) -> (u8, String) {
    let kind = match entity.kind() {
        EntityKind::Tenant => 0,
        EntityKind::Plan => 1,
        EntityKind::Quota => 2,
        EntityKind::Caller => 3,
        EntityKind::Credential => 4,
        EntityKind::Lock => 5,
        EntityKind::Grant => 6,
        EntityKind::Throttle => 7,
    };
    (kind, entity.id().to_owned())
}
