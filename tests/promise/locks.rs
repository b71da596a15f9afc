//! Locks, and what they hold.

use std::{sync::Arc, time::Duration};

use portcullis::{
    app::{Actor, Caller, CallerEdit, Covers, Entity, Lock, Target, Verb},
    clock::{Clock, ManualClock},
    registry::{Fault, Registry},
};

use crate::records::{actor, client, lock, lock_on, log, sorted, tenant};

const SECOND: Duration = Duration::from_secs(1);
const NANOSECOND: Duration = Duration::from_nanos(1);

async fn caller(registry: &dyn Registry, of: &str, name: &str) -> Caller {
    let _ = registry.create_tenant(tenant(of), &actor()).await;
    registry.create_caller(client(of, name), &actor()).await.unwrap()
}

async fn rename(registry: &dyn Registry, caller: &Caller, name: &str) -> Result<Caller, Fault> {
    let edit = CallerEdit { name: Some(name.into()), ..CallerEdit::default() };
    registry.update_caller(&caller.tenant, &caller.id, None, edit, &actor()).await
}

fn path(path: &str) -> Target {
    Target::Resource(path.parse().unwrap())
}

pub async fn a_lock_is_made_and_released(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    let caller = caller(&*registry, "t", "name").await;
    let before = registry.snapshot().await.unwrap().entities;
    let ours = Some(caller.tenant.clone());
    let on_path = Lock { tenant: ours, covers: Covers::All, ..lock(path("/a/b"), &clock, SECOND) };
    for given in [lock_on(&caller, &clock, SECOND), on_path] {
        let made = registry.create_lock(given.clone(), &actor()).await.unwrap();
        assert_eq!(made, Lock { acquired_at: clock.now().time, ..given });
        assert!(registry.snapshot().await.unwrap().entities.contains(&Entity::Lock(made.clone())));
        registry.delete_lock(&made.id, &actor()).await.unwrap();
        assert_eq!(registry.snapshot().await.unwrap().entities, before);
        let log = log(&*registry).await;
        let (gone, came) = (&log[log.len() - 1], &log[log.len() - 2]);
        assert_eq!((came.verb, &came.entity), (Verb::Created, &Entity::Lock(made.clone())));
        assert_eq!((gone.verb, &gone.entity), (Verb::Deleted, &Entity::Lock(made.clone())));
        refused!(registry, Fault::NotFound, registry.delete_lock(&made.id, &actor()));
    }
    rename(&*registry, &caller, "new").await.unwrap();
}

pub async fn a_lock_that_has_expired_already_is_refused(
    registry: Arc<dyn Registry>,
    clock: Arc<ManualClock>,
) {
    let now = lock(path("/a"), &clock, Duration::ZERO);
    refused!(registry, Fault::Conflict, registry.create_lock(now, &actor()));
    let soon = lock(path("/a"), &clock, NANOSECOND);
    registry.create_lock(soon, &actor()).await.unwrap();
    let past = lock(path("/a"), &clock, SECOND);
    clock.advance(SECOND * 2);
    refused!(registry, Fault::Conflict, registry.create_lock(past, &actor()));
}

pub async fn a_locks_id_is_taken_for_as_long_as_it_holds(
    registry: Arc<dyn Registry>,
    clock: Arc<ManualClock>,
) {
    let first = registry.create_lock(lock(path("/a"), &clock, SECOND), &actor()).await.unwrap();
    let again = |held| Lock { id: first.id.clone(), ..lock(path("/b"), &clock, held) };
    clock.advance(SECOND - NANOSECOND);
    refused!(registry, Fault::Conflict, registry.create_lock(again(SECOND), &actor()));
    clock.advance(NANOSECOND);
    let second = registry.create_lock(again(SECOND), &actor()).await.unwrap();
    let log: Vec<_> = log(&*registry).await.into_iter().map(|it| (it.verb, it.entity)).collect();
    let [first, second] = [first, second].map(Entity::Lock);
    let changes = [(Verb::Created, first.clone()), (Verb::Deleted, first), (Verb::Created, second)];
    assert_eq!(log, changes);
}

pub async fn a_locked_caller_stays_as_it_is_until_the_nanosecond_the_lock_expires(
    registry: Arc<dyn Registry>,
    clock: Arc<ManualClock>,
) {
    let caller = caller(&*registry, "t", "name").await;
    let lock = registry.create_lock(lock_on(&caller, &clock, SECOND), &actor()).await.unwrap();
    clock.advance(SECOND - NANOSECOND);
    match rename(&*registry, &caller, "new").await {
        Err(Fault::Locked(shown)) => assert_eq!(*shown, lock),
        other => panic!("{other:?}"),
    }
    refused!(registry, Fault::Locked(_), rename(&*registry, &caller, "new"));
    // Not even an edit that would change nothing gets past it.
    refused!(registry, Fault::Locked(_), rename(&*registry, &caller, "name"));
    refused!(registry, Fault::Locked(_), registry.delete_caller(&caller.tenant, &caller.id, None, &actor()));
    clock.advance(NANOSECOND);
    rename(&*registry, &caller, "new").await.unwrap();
    registry.delete_caller(&caller.tenant, &caller.id, None, &actor()).await.unwrap();
}

pub async fn the_longest_of_several_locks_is_shown(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    let caller = caller(&*registry, "t", "name").await;
    for seconds in [2, 3, 1] {
        registry.create_lock(lock_on(&caller, &clock, SECOND * seconds), &actor()).await.unwrap();
    }
    let longest = clock.now().time + SECOND * 3;
    for _ in 0..3 {
        match rename(&*registry, &caller, "new").await {
            Err(Fault::Locked(shown)) => assert_eq!(shown.expires_at, longest),
            other => panic!("{other:?}"),
        }
        clock.advance(SECOND);
    }
    rename(&*registry, &caller, "new").await.unwrap();
}

pub async fn a_lock_holds_only_what_it_stands_on(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    let ours = caller(&*registry, "t", "name").await;
    let neighbour = caller(&*registry, "t", "neighbour").await;
    let theirs = caller(&*registry, "u", "name").await;
    // On another caller, on a path, and on this caller but in another tenant's name.
    registry.create_lock(lock_on(&neighbour, &clock, SECOND), &actor()).await.unwrap();
    registry.create_lock(lock(path("/name"), &clock, SECOND), &actor()).await.unwrap();
    let foreign = Lock { tenant: Some(theirs.tenant.clone()), ..lock_on(&ours, &clock, SECOND) };
    registry.create_lock(foreign, &actor()).await.unwrap();
    rename(&*registry, &ours, "new").await.unwrap();

    let own = Lock { tenant: Some(ours.tenant.clone()), ..lock_on(&ours, &clock, SECOND) };
    let own = registry.create_lock(own, &actor()).await.unwrap();
    refused!(registry, Fault::Locked(_), rename(&*registry, &ours, "newer"));
    registry.delete_lock(&own.id, &actor()).await.unwrap();
    registry.delete_caller(&ours.tenant, &ours.id, None, &actor()).await.unwrap();
}

pub async fn expired_locks_are_cleared_away_by_the_next(
    registry: Arc<dyn Registry>,
    clock: Arc<ManualClock>,
) {
    for held in [SECOND, SECOND + NANOSECOND, SECOND * 2, SECOND] {
        registry.create_lock(lock(path("/a"), &clock, held), &actor()).await.unwrap();
    }
    clock.advance(SECOND);
    let before = registry.snapshot().await.unwrap();
    let sweeper = Actor("sweeper".into());
    let made = registry.create_lock(lock(path("/b"), &clock, SECOND), &sweeper).await.unwrap();

    let changes = registry.changes(before.seq, 100).await.unwrap();
    assert!(changes.iter().all(|change| change.actor == sweeper));
    let expired = sorted(before.entities).into_iter().filter(|entity| match entity {
        Entity::Lock(lock) => !lock.holds(clock.now().time),
        _ => false,
    });
    let mut expected: Vec<_> = expired.map(|entity| (Verb::Deleted, entity)).collect();
    assert_eq!(expected.len(), 2);
    expected.push((Verb::Created, Entity::Lock(made)));
    let changes: Vec<_> = changes.into_iter().map(|change| (change.verb, change.entity)).collect();
    assert_eq!(changes, expected);
    assert_eq!(registry.snapshot().await.unwrap().entities.len(), 3);
}
