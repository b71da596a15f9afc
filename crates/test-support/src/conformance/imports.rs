//! Imports of entities exactly as they were exported.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use portcullis::{
    clock::{Clock, ManualClock},
    model::{
        Caller, ChangeKind, Credential, Entity, EntityKind, EnvironmentId, Grant, GrantRole, Lock,
        LockTarget, Plan, Tenant,
    },
    registry::{
        Command, ImportConflict, ImportEntity, NewTenant, Outcome, Registry, RegistryError, RegistryExt,
        Transaction, UnitOfWork, find_conflict,
    },
};
use serde_json::json;

use super::{Promise, promises};
use crate::fixtures::{actor, app, client, gateway, key, lock, log, plan, tenant};

/// The promises of this module.
pub(super) const PROMISES: &[Promise] = promises![
    imported_entities_are_unchanged,
    import_conflict_names_its_member,
    import_may_exceed_the_caller_limit_of_a_tenant,
    snapshot_is_consistent_however_long_it_is_read,
];

/// Returns entities of all kinds with different times and revisions, each after the entities that it refers to.
pub fn entities() -> Vec<Entity> {
    let then: Timestamp = "2020-02-02T02:02:02.000000002Z".parse().unwrap();
    let at = |caller: Caller| Caller { revision: 9, created_at: then, ..caller };
    let tenants = [tenant("t"), tenant("u"), gateway("g", "project", "instance")];
    let tenants = tenants.map(|tenant| Tenant { revision: 77, ..tenant.into_tenant(Timestamp::UNIX_EPOCH) });
    let key = |caller: &Caller, text| Credential {
        revision: 77,
        ..key(caller, text).into_credential(Timestamp::UNIX_EPOCH)
    };
    let mut client = at(client("t", "name").into_caller(then));
    client.plan = Some("p".parse().unwrap());
    let app = at(app("g", "app", "app key").into_caller(then));
    let (first, second) = (key(&client, "first"), key(&app, "second"));
    let grant = Grant {
        id: "g".parse().unwrap(),
        tenant: app.tenant.clone(),
        caller: app.id.clone(),
        route: "orders".parse().unwrap(),
        environment: EnvironmentId::release(),
        role: GrantRole::Consumer,
        created_at: then,
    };
    let lock = json!({
        "id": "l", "tenant": null, "target": { "caller": client.id }, "owner": "owner", "reason": "reason",
        "covers": "all", "acquired_at": then, "expires_at": "2020-02-02T03:00:00.5Z",
    });
    let mut all: Vec<Entity> = tenants.map(Entity::Tenant).into();
    all.extend([plan("p", 1), plan("q", 2)].map(Entity::Plan));
    all.extend([client, app].map(Entity::Caller));
    all.extend([first, second].map(Entity::Credential));
    all.push(Entity::Lock(serde_json::from_value(lock).unwrap()));
    all.push(Entity::Grant(grant));
    all
}

fn imports(entities: &[Entity]) -> Vec<Command> {
    entities.iter().cloned().map(|it| ImportEntity(it).into()).collect()
}

async fn imported_entities_are_unchanged(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    let all = entities();
    assert_eq!(registry.execute(imports(&all), &actor()).await.unwrap(), all);
    let snapshot = registry.snapshot().await.unwrap();
    assert_eq!(crate::fixtures::sorted(snapshot.entities), crate::fixtures::sorted(all.clone()));
    let log = log(&*registry).await;
    assert!(log.iter().all(|change| change.verb == ChangeKind::Created && change.at == clock.now().time));
    assert!(log.iter().map(|change| &change.entity).eq(&all));
    // A plan may exist already, if a configuration has created it.
    no_change!(registry, registry.execute(imports(&all[3..5]), &actor()));
}

struct Ask(Entity, Option<ImportConflict>);

#[async_trait]
impl UnitOfWork for Ask {
    async fn perform(&mut self, tx: &mut dyn Transaction) -> Result<Outcome, RegistryError> {
        self.1 = find_conflict(tx, &self.0).await?;
        Ok(Outcome::Rollback)
    }
}

#[expect(clippy::too_many_lines, reason = "one table of cases")]
async fn import_conflict_names_its_member(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let below = |path: &str| LockTarget::Resource(path.parse().unwrap());
    // Acquire this lock before the others, because acquiring removes expired locks.
    let held = registry.acquire_lock(lock(below("/a/b"), Duration::from_secs(1)), &actor()).await.unwrap();
    let all = entities();
    registry.execute(imports(&all), &actor()).await.unwrap();
    let [
        Entity::Tenant(t),
        _,
        Entity::Tenant(g),
        Entity::Plan(p),
        _,
        Entity::Caller(client),
        Entity::Caller(app),
        Entity::Credential(first),
        _,
        Entity::Lock(expired),
        Entity::Grant(grant),
    ] = &*all
    else {
        panic!("{all:?}")
    };
    let unlike = |target| Lock { id: "n".parse().unwrap(), target, ..held.clone() };
    let missing = || "nobody".parse().unwrap();
    let fresh = Caller { id: missing(), name: "fresh".into(), ..client.clone() };
    let (other, v) = (key(client, "other"), tenant("v"));
    let (other, v) = (other.into_credential(Timestamp::UNIX_EPOCH), v.into_tenant(Timestamp::UNIX_EPOCH));
    let caller = Entity::Caller;
    let credential = Entity::Credential;
    for (entity, expected) in [
        (Entity::Tenant(t.clone()), Some(ImportConflict::Taken("id"))),
        (Entity::Tenant(Tenant { id: nowhere(), ..g.clone() }), Some(ImportConflict::Taken("gateway"))),
        (Entity::Tenant(Tenant { revision: 0, ..v.clone() }), Some(ImportConflict::Impossible("revision"))),
        (Entity::Tenant(Tenant { revision: u64::MAX, ..v }), Some(ImportConflict::Impossible("revision"))),
        (Entity::Plan(plan("p", 7)), Some(ImportConflict::Taken("id"))),
        (Entity::Plan(Plan::clone(p)), None),
        (caller(fresh.clone()), None),
        (caller(client.clone()), Some(ImportConflict::Taken("id"))),
        (caller(Caller { tenant: nowhere(), ..fresh.clone() }), Some(ImportConflict::Missing("tenant"))),
        (
            caller(Caller { plan: Some("r".parse().unwrap()), ..fresh.clone() }),
            Some(ImportConflict::Missing("plan")),
        ),
        (caller(Caller { id: missing(), ..client.clone() }), Some(ImportConflict::Taken("name"))),
        (
            caller(Caller { tenant: t.id.clone(), id: missing(), ..app.clone() }),
            Some(ImportConflict::Taken("kind.app.key")),
        ),
        (caller(Caller { revision: 0, ..fresh.clone() }), Some(ImportConflict::Impossible("revision"))),
        (credential(other.clone()), None),
        (credential(first.clone()), Some(ImportConflict::Taken("id"))),
        (credential(Credential { id: first.id.clone(), ..other.clone() }), Some(ImportConflict::Taken("id"))),
        (
            credential(Credential { digest: first.digest, ..other.clone() }),
            Some(ImportConflict::Taken("digest")),
        ),
        (
            credential(Credential { caller: missing(), ..other.clone() }),
            Some(ImportConflict::Missing("caller")),
        ),
        (
            credential(Credential { tenant: g.id.clone(), ..other.clone() }),
            Some(ImportConflict::Missing("caller")),
        ),
        (credential(Credential { revision: 0, ..other }), Some(ImportConflict::Impossible("revision"))),
        (Entity::Lock(expired.clone()), Some(ImportConflict::Taken("id"))),
        (Entity::Lock(Lock { id: "m".parse().unwrap(), ..expired.clone() }), None),
        (Entity::Lock(unlike(below("/a"))), Some(ImportConflict::Taken("target"))),
        (Entity::Lock(unlike(below("/a/b/c"))), Some(ImportConflict::Taken("target"))),
        (Entity::Lock(unlike(below("/b"))), None),
        (Entity::Lock(Lock { expires_at: expired.expires_at, ..unlike(below("/a")) }), None),
        (
            Entity::Lock(Lock { fence: u64::MAX, ..unlike(below("/b")) }),
            Some(ImportConflict::Impossible("fence")),
        ),
        (Entity::Grant(grant.clone()), Some(ImportConflict::Taken("id"))),
        (
            Entity::Grant(Grant { id: "other".parse().unwrap(), ..grant.clone() }),
            Some(ImportConflict::Taken("route")),
        ),
        (
            Entity::Grant(Grant { caller: missing(), ..grant.clone() }),
            Some(ImportConflict::Missing("caller")),
        ),
        (
            Entity::Grant(Grant { tenant: t.id.clone(), ..grant.clone() }),
            Some(ImportConflict::Missing("caller")),
        ),
    ] {
        let mut ask = Ask(entity.clone(), None);
        no_change!(registry, registry.transact(&mut ask, &actor()));
        assert_eq!(ask.1, expected, "{entity:?}");
        if let Some(clash) = expected {
            let before = registry.snapshot().await.unwrap();
            let outcome = registry.execute(vec![ImportEntity(entity.clone()).into()], &actor()).await;
            let fault = match clash {
                ImportConflict::Missing(_) => RegistryError::NotFound,
                ImportConflict::Taken("name") => RegistryError::NameTaken,
                ImportConflict::Taken("kind.app.key") => RegistryError::KeyTaken,
                ImportConflict::Taken(_) | ImportConflict::Impossible(_) => RegistryError::Conflict,
            };
            assert_eq!(outcome.unwrap_err().to_string(), fault.to_string(), "{entity:?}");
            assert_unchanged!(registry, before);
        }
    }
}

fn nowhere() -> portcullis::model::TenantId {
    "nobody".parse().unwrap()
}

/// A tenant may have more callers than its maximum, if the maximum was lowered later.
async fn import_may_exceed_the_caller_limit_of_a_tenant(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let tenant = NewTenant { max_callers: 1, ..tenant("t") }.into_tenant(Timestamp::UNIX_EPOCH);
    let callers = ["a", "b"].map(|name| Entity::Caller(client("t", name).into_caller(Timestamp::UNIX_EPOCH)));
    let all: Vec<_> = [Entity::Tenant(tenant)].into_iter().chain(callers).collect();
    registry.execute(imports(&all), &actor()).await.unwrap();
    assert_eq!(registry.snapshot().await.unwrap().entities.len(), 3);
}

async fn snapshot_is_consistent_however_long_it_is_read(
    registry: Arc<dyn Registry>,
    clock: Arc<ManualClock>,
) {
    assert!(registry.view().await.unwrap().next().await.unwrap().is_empty());
    let mut all = entities();
    // More entities of one kind than fit on a page of any registry.
    all.extend((0..2_345).map(|at| Entity::Plan(plan(&format!("plan-{at}"), 1))));
    all.sort_by_key(|entity| EntityKind::ALL.iter().position(|kind| *kind == entity.kind()));
    registry.execute(imports(&all), &actor()).await.unwrap();
    let used: Vec<_> = all
        .iter()
        .filter_map(|entity| match entity {
            Entity::Credential(credential) => Some((credential.id.clone(), clock.now().time)),
            _ => None,
        })
        .collect();
    registry.record_last_used(&used).await.unwrap();

    let mut view = registry.view().await.unwrap();
    let mut pages = vec![view.next().await.unwrap()];
    registry.put_plan(plan("late", 1), &actor()).await.unwrap();
    registry
        .record_last_used(&[(used[0].0.clone(), clock.now().time + Duration::from_hours(1))])
        .await
        .unwrap();
    registry.delete_plan(&"plan-2344".parse().unwrap(), &actor()).await.unwrap();
    while !pages.last().unwrap().is_empty() {
        pages.push(view.next().await.unwrap());
    }
    assert!(pages.len() > 2 && view.next().await.unwrap().is_empty(), "still the end");
    assert_eq!(view.seq(), all.len() as u64);
    let entities: Vec<_> = pages.iter().flat_map(|page| page.entities.clone()).collect();
    let place = |entity: &Entity| EntityKind::ALL.iter().position(|kind| *kind == entity.kind());
    assert!(entities.is_sorted_by_key(place), "what something stands on comes first");
    assert_eq!(crate::fixtures::sorted(entities), crate::fixtures::sorted(all));
    let second = Timestamp::from_second(clock.now().time.as_second()).unwrap();
    let uses: Vec<_> = pages.iter().flat_map(|page| page.uses.clone()).collect();
    assert!(uses.len() == 2 && uses.iter().all(|(_, at)| *at == second), "{uses:?}");
}
