//! Throttles of routes and quotas of apps.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use portcullis::{
    clock::ManualClock,
    model::{
        Binding, BindingId, BoundQuota, CallLimits, Caller, CallerEdit, CallerId, ChangeKind, Entity,
        EntityKind, OverrideSubject, Period, Quota, QuotaId, SpecialId, Throttle, ThrottleId,
        ThrottleOverride, TimeUnit,
    },
    registry::{
        CallerFilter, Command, CreateQuota, CreateThrottle, DeleteQuota, DeleteThrottle, ImportConflict,
        ImportEntity, Outcome, Registry, RegistryError, RegistryExt, Transaction, UnitOfWork, UpdateCaller,
        UpdateQuota, UpdateThrottle, find_conflict,
    },
};

use super::{Promise, promises};
use crate::fixtures::{actor, app, log, tenant};

/// The promises of this module.
pub(super) const PROMISES: &[Promise] = promises![
    throttle_is_created_changed_and_deleted,
    throttle_name_and_routes_are_exclusive,
    quota_belongs_to_its_app_until_deleted,
    deleted_caller_leaves_no_throttle_or_quota,
    imported_throttle_or_quota_needs_its_references,
];

fn some(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn period() -> Period {
    Period { interval: some(2), unit: TimeUnit::Day }
}

pub fn throttle(tenant: &str, name: &str, routes: &[&str]) -> Throttle {
    let created_at = jiff::Timestamp::UNIX_EPOCH;
    let binding =
        |route: &&str| Binding { id: BindingId::random(), route: route.parse().unwrap(), created_at };
    Throttle {
        id: ThrottleId::random(),
        tenant: tenant.parse().unwrap(),
        name: name.into(),
        remark: "remark".into(),
        period: period(),
        limits: CallLimits { api: some(9), user: None, app: Some(some(3)), ip: None },
        shared: false,
        specials: Vec::new(),
        bindings: routes.iter().map(binding).collect(),
        revision: 77,
        created_at,
    }
}

pub fn quota(tenant: &str, name: &str) -> Quota {
    Quota {
        id: QuotaId::random(),
        tenant: tenant.parse().unwrap(),
        name: name.into(),
        remark: String::new(),
        limit: some(5),
        period: period(),
        reset_at: "2026-01-01T00:00:00Z".parse().ok(),
        revision: 77,
        created_at: jiff::Timestamp::UNIX_EPOCH,
    }
}

fn special(app: &CallerId) -> ThrottleOverride {
    let created_at = jiff::Timestamp::UNIX_EPOCH;
    ThrottleOverride {
        id: SpecialId::random(),
        of: OverrideSubject::App(app.clone()),
        limit: some(1),
        created_at,
    }
}

fn create(throttle: &Throttle) -> Command {
    CreateThrottle { throttle: throttle.clone(), most: Some(3) }.into()
}

fn create_quota(quota: &Quota) -> Command {
    CreateQuota { quota: quota.clone(), most: Some(3) }.into()
}

async fn done(registry: &dyn Registry, command: Command) -> Result<Entity, RegistryError> {
    Ok(registry.execute(vec![command], &actor()).await?.pop().unwrap())
}

async fn made(registry: &dyn Registry, throttle: &Throttle) -> Throttle {
    match done(registry, create(throttle)).await.unwrap() {
        Entity::Throttle(made) => made,
        other => panic!("{other:?}"),
    }
}

async fn made_quota(registry: &dyn Registry, quota: &Quota) -> Quota {
    match done(registry, create_quota(quota)).await.unwrap() {
        Entity::Quota(made) => made,
        other => panic!("{other:?}"),
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

async fn throttle_is_created_changed_and_deleted(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    let [ours, theirs] = two(&*registry).await;
    let first = made(&*registry, &throttle("t", "one", &["a"])).await;
    assert_eq!((first.revision, first.created_at), (1, ours.created_at));
    clock.advance(Duration::from_secs(1));
    let second = made(&*registry, &throttle("t", "two", &["b"])).await;
    made(&*registry, &throttle("u", "one", &["a"])).await;
    assert_eq!(registry.throttles(&ours.tenant).await.unwrap(), [second.clone(), first.clone()]);
    assert_eq!(registry.throttle(&ours.tenant, &first.id).await.unwrap(), first);
    refused!(registry, RegistryError::NotFound, registry.throttle(&theirs.tenant, &first.id));

    let wanted = Throttle { remark: "another".into(), specials: vec![special(&ours.id)], ..first.clone() };
    let after = done(&*registry, UpdateThrottle(wanted.clone()).into()).await.unwrap();
    let after = match after {
        Entity::Throttle(after) => after,
        other => panic!("{other:?}"),
    };
    assert_eq!(after, Throttle { revision: 2, ..wanted.clone() });
    refused!(registry, RegistryError::Conflict, done(&*registry, UpdateThrottle(wanted).into()));
    let count = log(&*registry).await.len();
    assert_eq!(
        done(&*registry, UpdateThrottle(after.clone()).into()).await.unwrap(),
        Entity::Throttle(after.clone())
    );
    assert_eq!(log(&*registry).await.len(), count, "no change");

    let delete = |throttle: &Throttle, expected| {
        let (tenant, id) = (throttle.tenant.clone(), throttle.id.clone());
        DeleteThrottle { tenant, id, expected }.into()
    };
    refused!(registry, RegistryError::InUse, done(&*registry, delete(&after, None)));
    let free = Throttle { bindings: Vec::new(), ..after };
    done(&*registry, UpdateThrottle(free.clone()).into()).await.unwrap();
    refused!(registry, RegistryError::Conflict, done(&*registry, delete(&free, Some(2))));
    let elsewhere = Throttle { tenant: theirs.tenant.clone(), ..free.clone() };
    refused!(registry, RegistryError::NotFound, done(&*registry, delete(&elsewhere, None)));
    done(&*registry, delete(&free, Some(3))).await.unwrap();
    refused!(registry, RegistryError::NotFound, done(&*registry, delete(&free, None)));
    assert_eq!(registry.throttles(&ours.tenant).await.unwrap(), [second]);
}

async fn throttle_name_and_routes_are_exclusive(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let [ours, theirs] = two(&*registry).await;
    refused!(registry, RegistryError::NotFound, done(&*registry, create(&throttle("nobody", "one", &[]))));
    let first = made(&*registry, &throttle("t", "one", &["a", "b"])).await;
    refused!(registry, RegistryError::NameTaken, done(&*registry, create(&throttle("t", "one", &[]))));
    refused!(registry, RegistryError::Conflict, done(&*registry, create(&throttle("t", "two", &["b"]))));
    refused!(registry, RegistryError::Conflict, done(&*registry, create(&throttle("t", "two", &["c", "c"]))));
    let same = Throttle { id: first.id.clone(), ..throttle("u", "two", &[]) };
    refused!(registry, RegistryError::Conflict, done(&*registry, create(&same)));
    let foreign = Throttle { specials: vec![special(&theirs.id)], ..throttle("t", "two", &[]) };
    refused!(registry, RegistryError::NotFound, done(&*registry, create(&foreign)));
    let second = made(&*registry, &throttle("t", "two", &["c"])).await;
    let renamed = Throttle { name: "one".into(), ..second.clone() };
    refused!(registry, RegistryError::NameTaken, done(&*registry, UpdateThrottle(renamed).into()));
    let moved = Throttle { bindings: first.bindings.clone(), ..second.clone() };
    refused!(registry, RegistryError::Conflict, done(&*registry, UpdateThrottle(moved.clone()).into()));
    made(&*registry, &throttle("t", "three", &[])).await;
    refused!(registry, RegistryError::LimitReached(3), done(&*registry, create(&throttle("t", "four", &[]))));

    // A route moves from one throttle to the other in one transaction.
    let left = Throttle { bindings: Vec::new(), ..first };
    let both = vec![UpdateThrottle(left).into(), UpdateThrottle(moved).into()];
    registry.execute(both, &actor()).await.unwrap();
    let routes = registry.throttle(&ours.tenant, &second.id).await.unwrap().bindings;
    assert_eq!(routes.iter().map(|binding| binding.route.as_str()).collect::<Vec<_>>(), ["a", "b"]);
}

async fn quota_belongs_to_its_app_until_deleted(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    let [ours, theirs] = two(&*registry).await;
    let other = registry.create_caller(app("t", "Another", "other"), &actor()).await.unwrap();
    refused!(registry, RegistryError::NotFound, done(&*registry, create_quota(&quota("nobody", "one"))));
    let first = made_quota(&*registry, &quota("t", "one")).await;
    assert_eq!((first.revision, first.created_at), (1, ours.created_at));
    refused!(registry, RegistryError::NameTaken, done(&*registry, create_quota(&quota("t", "one"))));
    refused!(
        registry,
        RegistryError::Conflict,
        done(&*registry, create_quota(&Quota { id: first.id.clone(), ..quota("u", "x") }))
    );
    clock.advance(Duration::from_secs(1));
    let second = made_quota(&*registry, &quota("t", "two")).await;
    made_quota(&*registry, &quota("t", "three")).await;
    refused!(registry, RegistryError::LimitReached(3), done(&*registry, create_quota(&quota("t", "four"))));
    assert_eq!(registry.quota(&ours.tenant, &first.id).await.unwrap(), first);
    refused!(registry, RegistryError::NotFound, registry.quota(&theirs.tenant, &first.id));
    assert_eq!(registry.quotas(&ours.tenant).await.unwrap().last(), Some(&first));

    let bind = |app: &Caller, quota: &Quota| {
        UpdateCaller {
            tenant: app.tenant.clone(),
            id: app.id.clone(),
            expected: None,
            edit: CallerEdit {
                quota: Some(Some(BoundQuota { id: quota.id.clone(), bound_at: first.created_at })),
                ..CallerEdit::default()
            },
        }
        .into()
    };
    refused!(registry, RegistryError::NotFound, done(&*registry, bind(&theirs, &first)));
    registry.execute(vec![bind(&ours, &first), bind(&other, &second)], &actor()).await.unwrap();
    let with = async |quota: Option<&Quota>| {
        let quota = Some(quota.map(|quota| quota.id.clone()));
        let filter =
            CallerFilter { tenant: Some(ours.tenant.clone()), quota, limit: 10, ..CallerFilter::default() };
        let found = registry.callers(&filter).await.unwrap();
        assert_eq!(registry.count_callers(&filter).await.unwrap(), found.len() as u64);
        found.into_iter().map(|app| app.id).collect::<Vec<_>>()
    };
    assert_eq!(
        (with(Some(&first)).await, with(Some(&second)).await),
        (vec![ours.id.clone()], vec![other.id.clone()])
    );
    assert_eq!(with(None).await, []);

    let renamed = Quota { name: "two".into(), ..first.clone() };
    refused!(registry, RegistryError::NameTaken, done(&*registry, UpdateQuota(renamed).into()));
    let wider = Quota { limit: some(6), ..first.clone() };
    done(&*registry, UpdateQuota(wider.clone()).into()).await.unwrap();
    refused!(registry, RegistryError::Conflict, done(&*registry, UpdateQuota(wider.clone()).into()));

    let delete: Command = DeleteQuota { tenant: first.tenant.clone(), id: first.id.clone() }.into();
    done(&*registry, delete.clone()).await.unwrap();
    refused!(registry, RegistryError::NotFound, done(&*registry, delete));
    assert_eq!(with(None).await, std::slice::from_ref(&ours.id));
    let log = log(&*registry).await;
    let last: Vec<_> = log.iter().rev().take(2).map(|it| (it.verb, it.entity.kind())).collect();
    assert_eq!(last, [(ChangeKind::Deleted, EntityKind::Quota), (ChangeKind::Updated, EntityKind::Caller)]);
}

async fn deleted_caller_leaves_no_throttle_or_quota(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let [ours, _] = two(&*registry).await;
    let named = Throttle { specials: vec![special(&ours.id)], ..throttle("t", "one", &["a"]) };
    let named = made(&*registry, &named).await;
    made_quota(&*registry, &quota("t", "one")).await;
    registry.delete_caller(&ours.tenant, &ours.id, None, &actor()).await.unwrap();
    let after = registry.throttle(&ours.tenant, &named.id).await.unwrap();
    assert_eq!(after, Throttle { specials: Vec::new(), revision: 2, ..named });
    registry.delete_tenant(&ours.tenant, None, &actor()).await.unwrap();
    assert_eq!(registry.throttles(&ours.tenant).await.unwrap(), []);
    assert_eq!(registry.quotas(&ours.tenant).await.unwrap(), []);
}

/// Checks entities for conflicts within one transaction.
struct Asking(Vec<(Entity, Option<ImportConflict>)>);

#[async_trait::async_trait]
impl UnitOfWork for Asking {
    async fn perform(&mut self, tx: &mut dyn Transaction) -> Result<Outcome, RegistryError> {
        for (entity, expected) in &self.0 {
            assert_eq!(find_conflict(tx, entity).await?, *expected, "{entity:?}");
        }
        Ok(Outcome::Rollback)
    }
}

async fn imported_throttle_or_quota_needs_its_references(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let [ours, theirs] = two(&*registry).await;
    let first = made(&*registry, &throttle("t", "one", &["a"])).await;
    let one = made_quota(&*registry, &quota("t", "one")).await;
    let bound = |quota: &Quota| {
        let mut caller = Caller { id: CallerId::random(), name: "new".into(), ..ours.clone() };
        if let portcullis::model::CallerKind::App(app) = &mut caller.kind {
            app.key = "new".into();
            app.quota = Some(BoundQuota { id: quota.id.clone(), bound_at: quota.created_at });
        }
        Entity::Caller(caller)
    };
    let special = |app: &Caller| vec![special(&app.id)];
    let asked = vec![
        (Entity::Throttle(throttle("nobody", "x", &[])), Some(ImportConflict::Missing("tenant"))),
        (
            Entity::Throttle(Throttle { id: first.id.clone(), ..throttle("u", "x", &[]) }),
            Some(ImportConflict::Taken("id")),
        ),
        (Entity::Throttle(throttle("t", "one", &[])), Some(ImportConflict::Taken("name"))),
        (Entity::Throttle(throttle("t", "x", &["a"])), Some(ImportConflict::Taken("bindings"))),
        (Entity::Throttle(throttle("t", "x", &["b", "b"])), Some(ImportConflict::Taken("bindings"))),
        (
            Entity::Throttle(Throttle { specials: special(&theirs), ..throttle("t", "x", &[]) }),
            Some(ImportConflict::Missing("specials")),
        ),
        (
            Entity::Throttle(Throttle { revision: 0, ..throttle("t", "x", &[]) }),
            Some(ImportConflict::Impossible("revision")),
        ),
        (Entity::Throttle(Throttle { specials: special(&ours), ..throttle("t", "x", &["b"]) }), None),
        (Entity::Quota(quota("nobody", "x")), Some(ImportConflict::Missing("tenant"))),
        (Entity::Quota(Quota { id: one.id.clone(), ..quota("u", "x") }), Some(ImportConflict::Taken("id"))),
        (Entity::Quota(quota("t", "one")), Some(ImportConflict::Taken("name"))),
        (
            Entity::Quota(Quota { revision: 0, ..quota("t", "x") }),
            Some(ImportConflict::Impossible("revision")),
        ),
        (Entity::Quota(quota("u", "one")), None),
        (bound(&quota("t", "x")), Some(ImportConflict::Missing("kind.app.quota"))),
        (bound(&one), None),
    ];
    registry.transact(&mut Asking(asked), &actor()).await.unwrap();
    let imported =
        [Entity::Throttle(throttle("t", "x", &["b"])), Entity::Quota(quota("t", "x")), bound(&one)];
    registry
        .execute(imported.iter().cloned().map(|it| ImportEntity(it).into()).collect(), &actor())
        .await
        .unwrap();
    let there = registry.snapshot().await.unwrap().entities;
    assert!(imported.iter().all(|it| there.contains(it)), "with their revisions and times");
}
