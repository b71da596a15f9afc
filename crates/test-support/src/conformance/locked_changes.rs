//! Changes of locked entities: the holder of the lock makes them, and no other caller does.

use std::sync::Arc;

use portcullis::{
    clock::ManualClock,
    model::{Entity, Lock, LockTarget, LockToken},
    registry::{CreateTenant, DeleteCaller, NewLock, ProveLock, Registry, RegistryError, RegistryExt},
};

use super::{
    Promise,
    locks::{NANOSECOND, SECOND, acquired, caller, hold, path, rename, update},
    promises,
};
use crate::fixtures::{actor, lock, lock_on, tenant};

/// The promises of this module.
pub(super) const PROMISES: &[Promise] = promises![
    lock_holder_changes_the_locked_entity,
    change_without_the_lock_is_rejected,
    locked_caller_is_unchanged_until_the_lock_expires,
    lock_protects_its_target_only,
];

async fn lock_holder_changes_the_locked_entity(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    let caller = caller(&*registry, "t", "name").await;
    let (lock, token) = acquired(&*registry, LockTarget::Caller(caller.id.clone())).await;
    clock.advance(SECOND - NANOSECOND);
    let batch = vec![hold(&lock, &token), update(&caller, "one"), update(&caller, "two")];
    let done = registry.execute(batch, &actor()).await.unwrap();
    assert_eq!(done[0], Entity::Lock(lock.clone()));
    assert_eq!(done[2], Entity::Caller(registry.caller(&caller.tenant, &caller.id).await.unwrap()));
    // Only in the batch that proves the lock, and only after the proof.
    refused!(registry, RegistryError::Locked(_), rename(&*registry, &caller, "three"));
    let late = vec![update(&caller, "three"), hold(&lock, &token)];
    refused!(registry, RegistryError::Locked(_), registry.execute(late, &actor()));
    no_change!(registry, registry.execute(vec![hold(&lock, &token)], &actor()));

    let delete =
        DeleteCaller { tenant: caller.tenant.clone(), id: caller.id.clone(), expected: Some(3) }.into();
    registry.execute(vec![hold(&lock, &token), delete], &actor()).await.unwrap();
    refused!(registry, RegistryError::NotFound, registry.lock(&lock.id));
}

async fn change_without_the_lock_is_rejected(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    let caller = caller(&*registry, "t", "name").await;
    let target = LockTarget::Caller(caller.id.clone());
    let (earlier, earlier_token) = acquired(&*registry, target.clone()).await;
    registry.break_lock(&earlier.id, &actor()).await.unwrap();
    let (lock, token) = acquired(&*registry, target).await;
    let (other, other_token) = acquired(&*registry, path("/a")).await;
    let proof = |lock: &Lock, token: &LockToken, fence| {
        ProveLock { id: lock.id.clone(), token: token.clone(), fence }.into()
    };
    for (proof, lost) in [
        (proof(&lock, &LockToken::generate(), lock.fence), true),
        (proof(&lock, &earlier_token, lock.fence), true),
        (proof(&lock, &token, earlier.fence), true),
        (proof(&lock, &token, lock.fence + 1), true),
        (proof(&earlier, &earlier_token, earlier.fence), true),
        // The proven lock is not the conflicting one.
        (proof(&other, &other_token, other.fence), false),
    ] {
        let about = format!("{proof:?}");
        let before = registry.snapshot().await.unwrap();
        let batch = vec![CreateTenant(tenant("u")).into(), proof, update(&caller, "new")];
        match registry.execute(batch, &actor()).await {
            Err(RegistryError::LockLost) => assert!(lost, "{about}"),
            Err(RegistryError::Locked(shown)) => assert!(!lost && *shown == lock, "{about}"),
            outcome => panic!("{about}: {outcome:?}"),
        }
        assert_unchanged!(registry, before);
    }
    clock.advance(SECOND);
    let batch = vec![hold(&lock, &token), update(&caller, "new")];
    refused!(registry, RegistryError::LockLost, registry.execute(batch, &actor()));
}

async fn locked_caller_is_unchanged_until_the_lock_expires(
    registry: Arc<dyn Registry>,
    clock: Arc<ManualClock>,
) {
    let caller = caller(&*registry, "t", "name").await;
    let lock = registry.acquire_lock(lock_on(&caller, SECOND), &actor()).await.unwrap();
    clock.advance(SECOND - NANOSECOND);
    match rename(&*registry, &caller, "new").await {
        Err(RegistryError::Locked(shown)) => assert_eq!(*shown, lock),
        other => panic!("{other:?}"),
    }
    refused!(registry, RegistryError::Locked(_), rename(&*registry, &caller, "new"));
    // Even an edit that would change nothing fails.
    refused!(registry, RegistryError::Locked(_), rename(&*registry, &caller, "name"));
    refused!(
        registry,
        RegistryError::Locked(_),
        registry.delete_caller(&caller.tenant, &caller.id, None, &actor())
    );
    clock.advance(NANOSECOND);
    rename(&*registry, &caller, "new").await.unwrap();
    registry.delete_caller(&caller.tenant, &caller.id, None, &actor()).await.unwrap();
}

async fn lock_protects_its_target_only(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let ours = caller(&*registry, "t", "name").await;
    let neighbour = caller(&*registry, "t", "neighbour").await;
    let theirs = caller(&*registry, "u", "name").await;
    // On another caller, on a path, and on this caller but for another tenant.
    registry.acquire_lock(lock_on(&neighbour, SECOND), &actor()).await.unwrap();
    registry.acquire_lock(lock(path("/name"), SECOND), &actor()).await.unwrap();
    let foreign = NewLock { tenant: Some(theirs.tenant.clone()), ..lock_on(&ours, SECOND) };
    registry.acquire_lock(foreign, &actor()).await.unwrap();
    rename(&*registry, &ours, "new").await.unwrap();

    let own = NewLock { tenant: Some(ours.tenant.clone()), ..lock_on(&ours, SECOND) };
    let own = registry.acquire_lock(own, &actor()).await.unwrap();
    refused!(registry, RegistryError::Locked(_), rename(&*registry, &ours, "newer"));
    registry.break_lock(&own.id, &actor()).await.unwrap();
    registry.delete_caller(&ours.tenant, &ours.id, None, &actor()).await.unwrap();
}
