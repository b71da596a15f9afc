//! The change log, snapshots, and directories that follow them.

use std::{sync::Arc, time::Duration};

use portcullis::{
    clock::{Clock, ManualClock},
    directory::Directory,
    limit::CallerBuckets,
    model::{
        Actor, Caller, CallerEdit, ChangeKind, Entity, EntityKind, EnvironmentId, Grant, GrantId, GrantRole,
        LockTarget, LockToken, LockedRequests, Status, SubscriptionStatus,
    },
    registry::{
        ChangeFilter, CreateQuota, CreateThrottle, NewCaller, NewCredential, NewLock, Registry, RegistryExt,
        follow, load,
    },
};
use tokio::join;

use super::throttles::{quota, throttle};
use super::{Promise, promises};
use crate::fixtures::{
    actor, app, client, gateway, key, lock, lock_on, log, peppers, plan, replay, sorted, tenant, within,
};

/// The promises of this module.
pub(super) const PROMISES: &[Promise] = promises![
    changes_name_action_time_and_actor,
    changes_are_read_in_pages,
    history_has_the_previous_state_and_matches_its_filter,
    history_page_names_the_start_of_the_next,
    entity_of_each_kind_is_found_in_the_history_by_id,
    empty_registry_is_at_sequence_number_zero,
    snapshot_lists_referenced_entities_first,
    snapshot_amid_changes_is_consistent,
    waiting_for_an_existing_change_ends_at_once,
    waiting_ends_with_the_next_change,
    followed_directory_equals_a_loaded_one,
    follower_receives_every_change,
];

const MINUTE: Duration = Duration::from_mins(1);

/// Performs every operation of a registry at least once, some of them on `others` of an earlier round.
async fn busy_day(registry: &dyn Registry, round: u32) -> Vec<Caller> {
    let by = &actor();
    let id = |what: &str| format!("{what}{round}");
    let tenant = registry.create_tenant(tenant(&id("t")), by).await.unwrap();
    registry.create_tenant(gateway(&id("g"), "project", &id("i")), by).await.unwrap();
    registry.put_plan(plan("p", round + 1), by).await.unwrap();
    registry.put_plan(plan(&id("p"), 7), by).await.unwrap();
    let mut callers = Vec::new();
    for (name, plan) in [("one", None), ("two", Some("p")), ("three", Some("p")), ("four", None)] {
        let plan = plan.map(|plan| plan.parse().unwrap());
        let new = NewCaller { plan, ..client(&id("t"), name) };
        let caller = registry.create_caller(new, by).await.unwrap();
        registry.create_credential(key(&caller, &id(name)), by).await.unwrap();
        callers.push(caller);
    }
    registry.create_caller(app(&id("g"), "app", &id("key")), by).await.unwrap();
    let edit = CallerEdit {
        status: Some(Status::Disabled),
        plan: Some(Some(id("p").parse().unwrap())),
        ..CallerEdit::default()
    };
    registry.update_caller(&tenant.id, &callers[1].id, Some(1), edit, by).await.unwrap();
    let late = NewCredential { id: id("late").parse().unwrap(), ..key(&callers[0], &id("late")) };
    registry.create_credential(late.clone(), by).await.unwrap();
    registry.set_credential_status(&tenant.id, &late.id, Status::Disabled, by).await.unwrap();
    registry.set_standing(&tenant.id, SubscriptionStatus::Lapsed, by).await.unwrap();
    registry.delete_caller(&tenant.id, &callers[2].id, None, by).await.unwrap();
    let token = LockToken::generate();
    let on_path = |path: &str| {
        let target = LockTarget::Resource(path.parse().unwrap());
        NewLock { owner: id("owner"), token: token.digest(), ..lock(target, MINUTE) }
    };
    let ours = NewLock { tenant: Some(tenant.id.clone()), covers: LockedRequests::All, ..on_path("/ours") };
    for lock in [ours, on_path(&id("/everybodys/things")), lock_on(&callers[0], MINUTE)] {
        registry.acquire_lock(lock, by).await.unwrap();
    }
    let [released, broken, refreshed] = ["/released", "/broken", "/refreshed"].map(|path| on_path(&id(path)));
    let released = registry.acquire_lock(released, by).await.unwrap();
    registry.release_lock(&released.id, &token, by).await.unwrap();
    let broken = registry.acquire_lock(broken, by).await.unwrap();
    registry.break_lock(&broken.id, by).await.unwrap();
    let refreshed = registry.acquire_lock(refreshed, by).await.unwrap();
    registry.refresh_lock(&refreshed.id, &token, (MINUTE * 2).try_into().unwrap(), by).await.unwrap();
    callers
}

async fn changes_name_action_time_and_actor(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    let by = |name: &str| Actor::system(name);
    let start = clock.now().time;
    let tick = || clock.advance(Duration::from_nanos(1));
    let made = registry.create_tenant(tenant("t"), &by("a")).await.unwrap();
    tick();
    registry.put_plan(plan("p", 1), &by("b")).await.unwrap();
    tick();
    let caller = registry.create_caller(client("t", "name"), &by("c")).await.unwrap();
    tick();
    let key = registry.create_credential(key(&caller, "key"), &by("d")).await.unwrap();
    tick();
    let edit = CallerEdit { name: Some("new".into()), ..CallerEdit::default() };
    registry.update_caller(&made.id, &caller.id, None, edit, &by("e 'quoted' ☃")).await.unwrap();
    tick();
    registry.set_credential_status(&made.id, &key.id, Status::Disabled, &by("")).await.unwrap();
    tick();
    registry.set_standing(&made.id, SubscriptionStatus::Lapsed, &by("g")).await.unwrap();
    tick();
    registry.delete_caller(&made.id, &caller.id, None, &by("h")).await.unwrap();

    let expected = [
        (0, "a", ChangeKind::Created, EntityKind::Tenant, "t"),
        (1, "b", ChangeKind::Created, EntityKind::Plan, "p"),
        (2, "c", ChangeKind::Created, EntityKind::Caller, caller.id.as_str()),
        (3, "d", ChangeKind::Created, EntityKind::Credential, key.id.as_str()),
        (4, "e 'quoted' ☃", ChangeKind::Updated, EntityKind::Caller, caller.id.as_str()),
        (5, "", ChangeKind::Updated, EntityKind::Credential, key.id.as_str()),
        (6, "g", ChangeKind::Updated, EntityKind::Tenant, "t"),
        (7, "h", ChangeKind::Deleted, EntityKind::Credential, key.id.as_str()),
        (7, "h", ChangeKind::Deleted, EntityKind::Caller, caller.id.as_str()),
    ];
    let log = log(&*registry).await;
    assert_eq!(log.len(), expected.len());
    for (change, (nanos, name, verb, kind, id)) in log.iter().zip(expected) {
        assert_eq!(change.at, start + Duration::from_nanos(nanos));
        assert_eq!((&change.actor, change.verb), (&by(name), verb));
        assert_eq!((change.entity.kind(), change.entity.id()), (kind, id));
    }
}

async fn changes_are_read_in_pages(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    for n in 1..=5 {
        registry.put_plan(plan("p", n), &actor()).await.unwrap();
    }
    let table: [(u64, u32, &[u64]); 8] = [
        (0, 2, &[1, 2]),
        (2, 2, &[3, 4]),
        (4, 2, &[5]),
        (5, 2, &[]),
        (0, 0, &[]),
        (0, u32::MAX, &[1, 2, 3, 4, 5]),
        (99, 2, &[]),
        (u64::MAX, 2, &[]),
    ];
    for (after, limit, expected) in table {
        let page = registry.changes(after, limit).await.unwrap();
        let page: Vec<_> = page.iter().map(|change| change.seq).collect();
        assert_eq!(page, expected, "{limit} after {after}");
    }
}

async fn history_has_the_previous_state_and_matches_its_filter(
    registry: Arc<dyn Registry>,
    _: Arc<ManualClock>,
) {
    let by = |name: &str| Actor::system(name);
    let (tenant_id, plan_id) = ("t".parse().unwrap(), "t".parse().unwrap());
    let made = registry.create_tenant(tenant("t"), &by("admin:1 from ::1")).await.unwrap();
    registry.put_plan(plan("t", 1), &by("config")).await.unwrap();
    let lapsed = registry.set_standing(&tenant_id, SubscriptionStatus::Lapsed, &by("admin:1")).await.unwrap();
    registry.put_plan(plan("t", 2), &by("admin:12 from ::1")).await.unwrap();
    registry.delete_plan(&plan_id, &by("admin:1 from x from y")).await.unwrap();
    registry.put_plan(plan("t", 3), &by("")).await.unwrap();

    let all = ChangeFilter { limit: 100, ..ChangeFilter::default() };
    let history = registry.history(&all).await.unwrap();
    assert!(history.changes.iter().map(|past| past.change.clone()).eq(log(&*registry).await));
    assert_eq!(history.next, None);
    let before: Vec<_> = history.changes.iter().map(|past| past.before.clone()).collect();
    let plan = |quota| Some(Entity::Plan(plan("t", quota)));
    assert_eq!(before, [None, None, Some(Entity::Tenant(made)), plan(1), plan(2), None]);
    assert_eq!(history.changes[2].change.entity, Entity::Tenant(lapsed));

    let (kind, by_actor) = (
        |kind| ChangeFilter { kind: Some(kind), ..all.clone() },
        |name: &str| ChangeFilter { actor: Some(name.into()), ..all.clone() },
    );
    for (filter, expected) in [
        (kind(EntityKind::Tenant), &[1, 3][..]),
        (kind(EntityKind::Lock), &[]),
        (ChangeFilter { id: Some("t".into()), ..all.clone() }, &[1, 2, 3, 4, 5, 6]),
        (ChangeFilter { id: Some("t".into()), after: 3, ..kind(EntityKind::Plan) }, &[4, 5, 6]),
        (ChangeFilter { id: Some("u".into()), ..all.clone() }, &[]),
        (by_actor("admin:1"), &[1, 3, 5]),
        (by_actor("admin:12"), &[4]),
        (by_actor("config"), &[2]),
        (by_actor(""), &[6]),
        (by_actor("admin:1 from"), &[]),
        (ChangeFilter { kind: Some(EntityKind::Plan), ..by_actor("admin:1") }, &[5]),
    ] {
        let found = registry.history(&filter).await.unwrap().changes;
        assert!(
            found.iter().map(|past| past.change.seq).eq(expected.iter().copied()),
            "{filter:?}: {found:?}"
        );
    }
}

async fn history_page_names_the_start_of_the_next(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    for n in 1..=5 {
        registry.put_plan(plan("p", n), &actor()).await.unwrap();
        registry.put_plan(plan("q", n), &actor()).await.unwrap();
    }
    let of = |id: Option<&str>| ChangeFilter { id: id.map(str::to_owned), ..ChangeFilter::default() };
    for (filter, after, limit, expected, next) in [
        (of(None), 0, 4, &[1, 2, 3, 4][..], Some(4)),
        (of(None), 4, 4, &[5, 6, 7, 8], Some(8)),
        (of(None), 8, 4, &[9, 10], None),
        (of(None), 6, 4, &[7, 8, 9, 10], None),
        (of(None), 10, 4, &[], None),
        (of(None), u64::MAX, 4, &[], None),
        (of(None), 0, 0, &[], None),
        (of(Some("p")), 0, 2, &[1, 3], Some(3)),
        (of(Some("p")), 3, 9, &[5, 7, 9], None),
        (of(Some("p")), 5, 2, &[7, 9], Some(9)),
    ] {
        let filter = ChangeFilter { after, limit, ..filter };
        let history = registry.history(&filter).await.unwrap();
        let found: Vec<_> = history.changes.iter().map(|past| past.change.seq).collect();
        assert_eq!((&*found, history.next), (expected, next), "{filter:?}");
    }
}

async fn entity_of_each_kind_is_found_in_the_history_by_id(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let by = &actor();
    registry.create_tenant(gateway("g", "project", "instance"), by).await.unwrap();
    registry.put_plan(plan("p", 1), by).await.unwrap();
    let made = registry.create_caller(app("g", "app", "key"), by).await.unwrap();
    registry.create_credential(key(&made, "key"), by).await.unwrap();
    registry.acquire_lock(lock_on(&made, MINUTE), by).await.unwrap();
    let grant = Grant {
        id: GrantId::random(),
        tenant: made.tenant.clone(),
        caller: made.id.clone(),
        route: "orders".parse().unwrap(),
        environment: EnvironmentId::release(),
        role: GrantRole::Provider,
        created_at: made.created_at,
    };
    registry.put_grant(grant, by).await.unwrap();
    let (quota, throttle) = (quota("g", "quota"), throttle("g", "throttle", &["orders"]));
    let commands =
        vec![CreateQuota { quota, most: None }.into(), CreateThrottle { throttle, most: None }.into()];
    registry.execute(commands, by).await.unwrap();
    let all = log(&*registry).await;
    for kind in EntityKind::ALL {
        let change = all.iter().find(|change| change.entity.kind() == kind);
        let change = change.unwrap_or_else(|| panic!("there is none of kind {kind:?}"));
        let filter =
            ChangeFilter { id: Some(change.entity.id().into()), limit: 10, ..ChangeFilter::default() };
        let found = registry.history(&filter).await.unwrap().changes;
        assert_eq!(found.iter().map(|past| past.change.seq).collect::<Vec<_>>(), [change.seq], "{kind:?}");
    }
}

async fn empty_registry_is_at_sequence_number_zero(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let snapshot = registry.snapshot().await.unwrap();
    assert_eq!((snapshot.seq, snapshot.entities), (0, vec![]));
    assert_eq!(registry.changes(0, 10).await.unwrap(), []);
}

async fn snapshot_lists_referenced_entities_first(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    for round in 0..3 {
        busy_day(&*registry, round).await;
    }
    let snapshot = registry.snapshot().await.unwrap();
    assert_eq!(snapshot.seq, log(&*registry).await.last().unwrap().seq);
    let place = |kind| {
        let order = EntityKind::ALL;
        order.iter().position(|it| *it == kind).unwrap()
    };
    let kinds: Vec<_> = snapshot.entities.iter().map(|entity| place(entity.kind())).collect();
    assert!(kinds.is_sorted(), "{:#?}", snapshot.entities);
}

async fn snapshot_amid_changes_is_consistent(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let mut writing = tokio::spawn({
        let registry = registry.clone();
        async move {
            for round in 0..15 {
                busy_day(&*registry, round).await;
            }
        }
    });
    let mut snapshots = Vec::new();
    loop {
        let snapshot = within(registry.snapshot()).await.unwrap();
        let seq = snapshot.seq;
        snapshots.push(snapshot);
        // Each begins right after a change, while the next change is written.
        tokio::select! {
            () = registry.wait_for_change(seq) => {}
            result = &mut writing => break result.unwrap(),
        }
    }
    let log = log(&*registry).await;
    for snapshot in snapshots {
        let before = usize::try_from(snapshot.seq).unwrap();
        assert_eq!(sorted(snapshot.entities), replay(&log[..before]), "as of change {before}");
    }
}

async fn waiting_for_an_existing_change_ends_at_once(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    registry.put_plan(plan("p", 1), &actor()).await.unwrap();
    registry.put_plan(plan("p", 2), &actor()).await.unwrap();
    within(registry.wait_for_change(0)).await;
    within(registry.wait_for_change(1)).await;
}

async fn waiting_ends_with_the_next_change(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    for seq in 0..20 {
        // The two waiting futures are polled first.
        let actor = actor();
        let change = registry.put_plan(plan("p", u32::try_from(seq).unwrap() + 1), &actor);
        let ((), (), made) = within(async {
            let by = registry.clone();
            join!(biased; registry.wait_for_change(seq), async { by.wait_for_change(seq).await }, change)
        })
        .await;
        made.unwrap();
    }
}

/// Returns the answers of a directory for every key and path of all rounds.
fn answers(directory: &Directory, clock: &ManualClock, rounds: u32) -> Vec<String> {
    let mut answers = vec![format!("{} keys at {}", directory.key_count(), directory.applied())];
    for round in 0..rounds {
        let tenant = directory.tenant(&format!("t{round}").parse().unwrap());
        answers.push(format!("{tenant:?}"));
        let mut callers = vec![None];
        for name in ["one", "two", "three", "four", "late", "unknown"] {
            let found = directory.find(&format!("{name}{round}"));
            answers.push(found.as_ref().map_or("none".into(), |key| {
                let caller = key.caller();
                let plan = caller.buckets.as_ref().map(CallerBuckets::plan);
                let (name, standing) = (&caller.name, caller.tenant().standing);
                format!("{name} {:?} {plan:?} {standing:?} {} {:?}", caller.status, key.id, key.status())
            }));
            callers.push(found);
        }
        for key in &callers {
            let caller = key.as_ref().map(|key| key.caller());
            let [things, released, broken, refreshed] =
                ["/everybodys/things", "/released", "/broken", "/refreshed"]
                    .map(|path| format!("{path}{round}"));
            for path in ["/ours/x", &things, "/everybodys", &released, &broken, &refreshed] {
                for safe in [true, false] {
                    let lock = directory.lock(caller, path, safe, clock.now().time);
                    answers.push(format!(
                        "{path} {:?}",
                        lock.map(|lock| (lock.target.clone(), lock.expires_at))
                    ));
                }
            }
        }
    }
    answers
}

async fn followed_directory_equals_a_loaded_one(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    let callers = busy_day(&*registry, 0).await;
    let following = Directory::new(peppers());
    load(&*registry, &following).await.unwrap();
    busy_day(&*registry, 1).await;
    registry.delete_caller(&callers[3].tenant, &callers[3].id, None, &actor()).await.unwrap();
    clock.advance(MINUTE);
    busy_day(&*registry, 2).await;

    let mut pages = 0;
    loop {
        let page = registry.changes(following.applied(), 7).await.unwrap();
        if page.is_empty() {
            break;
        }
        for change in page {
            following.apply(change);
        }
        pages += 1;
    }
    assert!(pages > 3);
    let loading = Directory::new(peppers());
    load(&*registry, &loading).await.unwrap();
    let expected = answers(&loading, &clock, 3);
    assert_eq!(answers(&following, &clock, 3), expected);
    let some = |text: &str| expected.iter().any(|answer| answer.contains(text));
    assert!(some("one Enabled") && some("two Disabled Some(Plan") && some("Lapsed") && some("Resource"));
}

async fn follower_receives_every_change(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    let directory = Arc::new(Directory::new(peppers()));
    let following = tokio::spawn(follow(registry.clone(), directory.clone()));
    for round in 0..3 {
        busy_day(&*registry, round).await;
        let seq = registry.snapshot().await.unwrap().seq;
        within(async {
            while directory.applied() < seq {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    following.abort();
    let loading = Directory::new(peppers());
    load(&*registry, &loading).await.unwrap();
    assert_eq!(answers(&directory, &clock, 3), answers(&loading, &clock, 3));
}
