//! Locks: acquiring them, their effect, and their end.

use std::{sync::Arc, time::Duration};

use portcullis::{
    clock::{Clock, ManualClock},
    model::{
        Actor, Caller, CallerEdit, ChangeKind, Entity, Lease, Lock, LockTarget, LockToken, LockedRequests,
        MAX_LOCKS,
    },
    registry::{
        AcquireLock, BreakLock, Command, ImportEntity, NewLock, ProveLock, Registry, RegistryError,
        RegistryExt, UpdateCaller, memory::Memory,
    },
};
use tokio::task::JoinSet;

use super::{Promise, promises};
use crate::fixtures::{actor, client, lock, lock_on, log, sorted, tenant, within};

/// The promises of this module.
pub(super) const PROMISES: &[Promise] = promises![
    lock_is_acquired_and_released,
    releasing_a_missing_or_expired_lock_succeeds,
    held_lock_excludes_others,
    longest_of_the_conflicting_locks_is_returned,
    lock_id_is_unique_while_it_is_active,
    locks_are_limited_per_owner,
    fence_is_greater_than_all_earlier_ones,
    imported_store_grants_greater_fences_than_its_source,
    lock_is_refreshed_only_while_active,
    broken_lock_is_lost_to_its_holder,
    expired_locks_are_removed_by_the_next,
    one_of_many_concurrent_acquisitions_succeeds,
];

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const NANOSECOND: Duration = Duration::from_nanos(1);

pub(super) async fn caller(registry: &dyn Registry, of: &str, name: &str) -> Caller {
    let _ = registry.create_tenant(tenant(of), &actor()).await;
    registry.create_caller(client(of, name), &actor()).await.unwrap()
}

fn new_name(name: &str) -> CallerEdit {
    CallerEdit { name: Some(name.into()), ..CallerEdit::default() }
}

pub(super) async fn rename(
    registry: &dyn Registry,
    caller: &Caller,
    name: &str,
) -> Result<Caller, RegistryError> {
    registry.update_caller(&caller.tenant, &caller.id, None, new_name(name), &actor()).await
}

pub(super) fn path(path: &str) -> LockTarget {
    LockTarget::Resource(path.parse().unwrap())
}

fn lease(length: Duration) -> Lease {
    length.try_into().unwrap()
}

/// Acquires a lock of one second, and returns it with its token.
pub(super) async fn acquired(registry: &dyn Registry, target: LockTarget) -> (Lock, LockToken) {
    let token = LockToken::generate();
    let new = NewLock { token: token.digest(), ..lock(target, SECOND) };
    (registry.acquire_lock(new, &actor()).await.unwrap(), token)
}

pub(super) fn hold(lock: &Lock, token: &LockToken) -> Command {
    ProveLock { id: lock.id.clone(), token: token.clone(), fence: lock.fence }.into()
}

pub(super) fn update(caller: &Caller, name: &str) -> Command {
    let (tenant, id) = (caller.tenant.clone(), caller.id.clone());
    UpdateCaller { tenant, id, expected: None, edit: new_name(name) }.into()
}

async fn lock_is_acquired_and_released(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    let caller = caller(&*registry, "t", "name").await;
    let before = registry.snapshot().await.unwrap().entities;
    let token = LockToken::generate();
    let ours = Some(caller.tenant.clone());
    let on_path = NewLock { tenant: ours, covers: LockedRequests::All, ..lock(path("/a/b"), SECOND) };
    for given in [lock_on(&caller, SECOND), on_path] {
        let given = NewLock { token: token.digest(), ..given };
        let made = registry.acquire_lock(given.clone(), &actor()).await.unwrap();
        assert_eq!(made, given.into_lock(clock.now().time, made.fence));
        assert_eq!(registry.lock(&made.id).await.unwrap(), made);
        assert!(registry.snapshot().await.unwrap().entities.contains(&Entity::Lock(made.clone())));
        refused!(
            registry,
            RegistryError::LockLost,
            registry.release_lock(&made.id, &LockToken::generate(), &actor())
        );
        registry.release_lock(&made.id, &token, &actor()).await.unwrap();
        assert_eq!(registry.snapshot().await.unwrap().entities, before);
        let log = log(&*registry).await;
        let (release, acquisition) = (&log[log.len() - 1], &log[log.len() - 2]);
        assert_eq!(
            (acquisition.verb, &acquisition.entity),
            (ChangeKind::Created, &Entity::Lock(made.clone()))
        );
        assert_eq!((release.verb, &release.entity), (ChangeKind::Deleted, &Entity::Lock(made.clone())));
        refused!(registry, RegistryError::NotFound, registry.lock(&made.id));
    }
    rename(&*registry, &caller, "new").await.unwrap();
}

async fn releasing_a_missing_or_expired_lock_succeeds(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    let (released, token) = acquired(&*registry, path("/a")).await;
    registry.release_lock(&released.id, &token, &actor()).await.unwrap();
    no_change!(registry, registry.release_lock(&released.id, &token, &actor()));
    let (expired, token) = acquired(&*registry, path("/a")).await;
    clock.advance(SECOND);
    no_change!(registry, registry.release_lock(&expired.id, &token, &actor()));
    // Any client may release it, because it is no longer held.
    no_change!(registry, registry.release_lock(&expired.id, &LockToken::generate(), &actor()));
    let (_, other) = acquired(&*registry, path("/a")).await;
    no_change!(registry, registry.release_lock(&expired.id, &other, &actor()));
}

async fn held_lock_excludes_others(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let [one, other] = [("t", "one"), ("t", "other")].map(|(of, name)| caller(&*registry, of, name));
    let (one, other) = (one.await, other.await);
    let on = |caller: &Caller| LockTarget::Caller(caller.id.clone());
    for (held, wanted, in_the_way) in [
        ((path("/a/b"), None), (path("/a/b"), None), true),
        ((path("/a/b"), None), (path("/a"), None), true),
        ((path("/a/b"), None), (path("/a/b/c/d"), None), true),
        ((path("/a/b"), None), (path("/a/bc"), None), false),
        ((path("/a/b"), None), (path("/a/b0"), None), false),
        ((path("/a/b"), None), (path("/a/b."), None), false),
        ((path("/a/b"), None), (path("/a/é"), None), false),
        ((path("/é"), None), (path("/é/é"), None), true),
        ((path("/a_b"), None), (path("/aXb/c"), None), false),
        ((path("/a"), Some("t")), (path("/a"), Some("t")), true),
        ((path("/a"), Some("t")), (path("/a/b"), None), true),
        ((path("/a"), None), (path("/a"), Some("t")), true),
        ((path("/a"), Some("t")), (path("/a"), Some("u")), false),
        ((on(&one), None), (on(&one), Some("t")), true),
        ((on(&one), Some("u")), (on(&one), Some("t")), false),
        ((on(&one), None), (on(&other), None), false),
        ((path(&format!("/{}", one.id)), None), (on(&one), None), false),
    ] {
        let about = format!("{held:?} {wanted:?}");
        let new = |(target, tenant): (LockTarget, Option<&str>)| {
            let tenant = tenant.map(|tenant| tenant.parse().unwrap());
            NewLock { tenant, ..lock(target, SECOND) }
        };
        let first = registry.acquire_lock(new(held), &actor()).await.unwrap();
        let second = NewLock { covers: LockedRequests::All, ..new(wanted) };
        let before = registry.snapshot().await.unwrap();
        match registry.acquire_lock(second, &actor()).await {
            Err(RegistryError::Locked(shown)) => {
                assert!(in_the_way && *shown == first, "{about}");
                assert_unchanged!(registry, before);
            }
            Ok(second) => {
                assert!(!in_the_way, "{about}");
                registry.break_lock(&second.id, &actor()).await.unwrap();
            }
            Err(fault) => panic!("{about}: {fault}"),
        }
        registry.break_lock(&first.id, &actor()).await.unwrap();
    }
}

async fn longest_of_the_conflicting_locks_is_returned(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    for (at, seconds) in [("/a/b", 2), ("/a/c/d", 3), ("/a/e", 1)] {
        registry.acquire_lock(lock(path(at), SECOND * seconds), &actor()).await.unwrap();
    }
    let longest = clock.now().time + SECOND * 3;
    for _ in 0..3 {
        match registry.acquire_lock(lock(path("/a"), SECOND), &actor()).await {
            Err(RegistryError::Locked(shown)) => assert_eq!(shown.expires_at, longest),
            other => panic!("{other:?}"),
        }
        clock.advance(SECOND);
    }
    registry.acquire_lock(lock(path("/a"), SECOND), &actor()).await.unwrap();
}

async fn lock_id_is_unique_while_it_is_active(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    let first = registry.acquire_lock(lock(path("/a"), SECOND), &actor()).await.unwrap();
    let again = |at| NewLock { id: first.id.clone(), ..lock(path(at), SECOND) };
    clock.advance(SECOND - NANOSECOND);
    refused!(registry, RegistryError::Conflict, registry.acquire_lock(again("/b"), &actor()));
    refused!(registry, RegistryError::Conflict, registry.acquire_lock(again("/a"), &actor()));
    clock.advance(NANOSECOND);
    let second = registry.acquire_lock(again("/b"), &actor()).await.unwrap();
    let log: Vec<_> = log(&*registry).await.into_iter().map(|it| (it.verb, it.entity)).collect();
    let [first, second] = [first, second].map(Entity::Lock);
    let changes =
        [(ChangeKind::Created, first.clone()), (ChangeKind::Deleted, first), (ChangeKind::Created, second)];
    assert_eq!(log, changes);
}

async fn locks_are_limited_per_owner(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    let new = |n: u32| lock(path(&format!("/{n}")), SECOND + NANOSECOND * (n % 2));
    let first = registry.acquire_lock(new(0), &actor()).await.unwrap();
    for n in 1..MAX_LOCKS {
        registry.acquire_lock(new(n), &actor()).await.unwrap();
    }
    refused!(registry, RegistryError::LimitReached(64), registry.acquire_lock(new(MAX_LOCKS), &actor()));
    refused!(registry, RegistryError::Locked(_), registry.acquire_lock(new(1), &actor()));
    let somebody_else = NewLock { owner: "somebody else".into(), ..new(MAX_LOCKS) };
    registry.acquire_lock(somebody_else, &actor()).await.unwrap();
    // The maximum applies to the caller's id: another owner's name does not change it.
    let by_caller = |n: u32, owner: &str| {
        let holder = Some("caller".parse().unwrap());
        NewLock { owner: owner.into(), holder, ..lock(path(&format!("/caller/{n}")), SECOND) }
    };
    for n in 0..MAX_LOCKS {
        registry.acquire_lock(by_caller(n, "owner"), &actor()).await.unwrap();
    }
    refused!(
        registry,
        RegistryError::LimitReached(64),
        registry.acquire_lock(by_caller(MAX_LOCKS, "renamed"), &actor())
    );
    registry.break_lock(&first.id, &actor()).await.unwrap();
    registry.acquire_lock(new(0), &actor()).await.unwrap();
    refused!(registry, RegistryError::LimitReached(64), registry.acquire_lock(new(MAX_LOCKS + 1), &actor()));
    // Half of the locks expire.
    clock.advance(SECOND);
    for n in 0..MAX_LOCKS / 2 {
        registry.acquire_lock(new(1_000 + n), &actor()).await.unwrap();
    }
    refused!(registry, RegistryError::LimitReached(64), registry.acquire_lock(new(2_000), &actor()));
}

async fn fence_is_greater_than_all_earlier_ones(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    let mut last = 0;
    for end in ["released", "broken", "expired", "given up", "still there"] {
        let (lock, token) = acquired(&*registry, path("/a")).await;
        assert!(lock.fence > last, "{} after {last}", lock.fence);
        last = lock.fence;
        match end {
            "released" => registry.release_lock(&lock.id, &token, &actor()).await.unwrap(),
            "broken" => registry.break_lock(&lock.id, &actor()).await.unwrap(),
            "expired" => clock.advance(SECOND),
            "given up" => {
                clock.advance(SECOND);
                let new = AcquireLock(self::lock(path("/a"), SECOND)).into();
                let batch = vec![new, BreakLock("none".parse().unwrap()).into()];
                refused!(registry, RegistryError::NotFound, registry.execute(batch, &actor()));
            }
            _ => {}
        }
    }
    let (other, _) = acquired(&*registry, path("/b")).await;
    assert!(other.fence > last);
}

/// The registry was restored from an older copy, which does not contain all locks.
async fn imported_store_grants_greater_fences_than_its_source(
    registry: Arc<dyn Registry>,
    clock: Arc<ManualClock>,
) {
    let there = Memory::new(clock.clone());
    let (held, token) = acquired(&there, path("/a")).await;
    let copy = there.snapshot().await.unwrap().entities;
    let mut last = held.fence;
    for _ in 0..100 {
        let (lock, token) = acquired(&there, path("/b")).await;
        there.release_lock(&lock.id, &token, &actor()).await.unwrap();
        last = lock.fence;
    }
    clock.advance(Duration::from_millis(1));
    registry.execute(copy.into_iter().map(|it| ImportEntity(it).into()).collect(), &actor()).await.unwrap();
    let (next, _) = acquired(&*registry, path("/b")).await;
    assert!(next.fence > last, "{} after {last}", next.fence);
    // The holder of a lock in the old registry holds it here, too.
    no_change!(registry, registry.execute(vec![hold(&held, &token)], &actor()));

    let ahead = Lock { id: "ahead".parse().unwrap(), target: path("/c"), fence: next.fence * 2, ..held };
    registry.execute(vec![ImportEntity(Entity::Lock(ahead.clone())).into()], &actor()).await.unwrap();
    assert!(acquired(&*registry, path("/d")).await.0.fence > ahead.fence);
}

async fn lock_is_refreshed_only_while_active(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    let (made, token) = acquired(&*registry, path("/a")).await;
    let refresh = |token: &LockToken, seconds: u32| {
        let (registry, id, token) = (registry.clone(), made.id.clone(), token.clone());
        async move { registry.refresh_lock(&id, &token, lease(SECOND * seconds), &actor()).await }
    };
    clock.advance(SECOND - NANOSECOND);
    refused!(registry, RegistryError::LockLost, refresh(&LockToken::generate(), 5));
    let refreshed = refresh(&token, 5).await.unwrap();
    assert_eq!(refreshed, Lock { expires_at: clock.now().time + SECOND * 5, ..made.clone() });
    let last = log(&*registry).await.pop().unwrap();
    assert_eq!((last.verb, last.entity), (ChangeKind::Updated, Entity::Lock(refreshed.clone())));
    // Once more, and for a time that would end earlier: neither changes anything.
    assert_eq!(no_change!(registry, refresh(&token, 5)), refreshed);
    assert_eq!(no_change!(registry, refresh(&token, 1)), refreshed);

    clock.advance(SECOND * 5);
    refused!(registry, RegistryError::LockLost, refresh(&token, 5));
    let (next, _) = acquired(&*registry, path("/a")).await;
    refused!(registry, RegistryError::LockLost, refresh(&token, 5));
    assert_eq!(registry.lock(&next.id).await.unwrap(), next);
}

async fn broken_lock_is_lost_to_its_holder(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let caller = caller(&*registry, "t", "name").await;
    let (lock, token) = acquired(&*registry, LockTarget::Caller(caller.id.clone())).await;
    registry.break_lock(&lock.id, &actor()).await.unwrap();
    refused!(registry, RegistryError::NotFound, registry.break_lock(&lock.id, &actor()));
    let refresh = registry.refresh_lock(&lock.id, &token, lease(SECOND), &actor()).await;
    assert!(matches!(refresh, Err(RegistryError::LockLost)), "{refresh:?}");
    let batch = vec![hold(&lock, &token), update(&caller, "new")];
    refused!(registry, RegistryError::LockLost, registry.execute(batch, &actor()));
    no_change!(registry, registry.release_lock(&lock.id, &token, &actor()));
    rename(&*registry, &caller, "new").await.unwrap();
}

async fn expired_locks_are_removed_by_the_next(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    let held = [SECOND, SECOND + NANOSECOND, SECOND * 2, SECOND];
    for (at, held) in ["/a", "/b", "/c", "/d"].into_iter().zip(held) {
        registry.acquire_lock(lock(path(at), held), &actor()).await.unwrap();
    }
    clock.advance(SECOND);
    let before = registry.snapshot().await.unwrap();
    let sweeper = Actor::system("sweeper");
    let made = registry.acquire_lock(lock(path("/e"), SECOND), &sweeper).await.unwrap();

    let changes = registry.changes(before.seq, 100).await.unwrap();
    assert!(changes.iter().all(|change| change.actor == sweeper));
    let expired = sorted(before.entities).into_iter().filter(|entity| match entity {
        Entity::Lock(lock) => !lock.is_active(clock.now().time),
        _ => false,
    });
    let mut expected: Vec<_> = expired.map(|entity| (ChangeKind::Deleted, entity)).collect();
    assert_eq!(expected.len(), 2);
    expected.push((ChangeKind::Created, Entity::Lock(made)));
    let changes: Vec<_> = changes.into_iter().map(|change| (change.verb, change.entity)).collect();
    assert_eq!(changes, expected);
    assert_eq!(registry.snapshot().await.unwrap().entities.len(), 3);
}

async fn one_of_many_concurrent_acquisitions_succeeds(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    let mut last = 0;
    for _ in 0..10 {
        let mut all = JoinSet::new();
        for at in ["/a", "/a/b", "/a/b/c", "/a", "/a/b", "/a/b/c"] {
            let (registry, new) = (registry.clone(), lock(path(at), SECOND));
            all.spawn(async move { registry.acquire_lock(new, &actor()).await });
        }
        let outcomes = within(all.join_all()).await;
        let granted: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
        let [granted] = granted[..] else { panic!("{outcomes:?}") };
        for refused in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            assert!(matches!(refused, RegistryError::Locked(holder) if **holder == *granted), "{refused:?}");
        }
        assert!(granted.fence > last);
        last = granted.fence;
        clock.advance(SECOND);
    }
}
