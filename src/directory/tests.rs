//! Tests of the directory as policies use it.

use std::time::Duration;

use super::*;
use crate::{
    model::{
        CallerKind, ChangeKind, Credential, CredentialId, CredentialKind, Entity, Limit, LockTarget, Pepper,
        Status,
    },
    test_support::Fixture,
};

fn named(world: &Fixture, id: &str, status: Status) {
    world.edit_caller(|caller| {
        caller.id = id.parse().unwrap();
        caller.kind = CallerKind::Operator;
        caller.status = status;
    });
}

#[test]
fn caller_change_applies_to_all_of_its_keys() {
    let world = Fixture::new();
    let keys = [(); 3].map(|()| world.key());
    named(&world, "caller", Status::Disabled);
    for key in &keys {
        let found = world.directory.find(key).unwrap();
        assert_eq!((found.caller().status, found.caller().kind()), (Status::Disabled, "operator"));
    }
}

#[test]
fn credential_is_found_by_its_last_digest_only() {
    let world = Fixture::new();
    let id = CredentialId::random();
    let [first, last] = [(); 2].map(|()| world.key_with(|credential| credential.id = id.clone()));
    assert!(world.directory.find(&first).is_none());
    assert_eq!(world.directory.find(&last).unwrap().id, id);
}

#[test]
fn transferred_credential_ignores_its_former_caller() {
    let world = Fixture::new();
    let mut moved = None;
    let key = world.key_with(|credential| moved = Some(credential.clone()));
    let mut moved = moved.unwrap();
    named(&world, "heir", Status::Enabled);
    moved.caller = "heir".parse().unwrap();
    world.change(ChangeKind::Updated, Entity::Credential(moved));
    named(&world, "caller", Status::Disabled);
    assert_eq!(world.directory.find(&key).unwrap().caller().id.as_str(), "heir");
}

fn by_sha256(world: &Fixture, text: &str) -> Credential {
    let mut made = None;
    world.key_with(|credential| {
        credential.kind = CredentialKind::Sha256Key;
        let sha256 = Sha256::digest(text).into();
        credential.digest = world.directory.peppers().current().digest_of_sha256(&sha256);
        made = Some(credential.clone());
    });
    made.unwrap()
}

#[test]
fn key_imported_as_sha256_is_found_by_its_text() {
    let world = Fixture::new();
    let (imported, other) = (by_sha256(&world, "their key"), by_sha256(&world, "their other key"));
    let ordinary = world.key();
    let found = |text: &str| world.directory.find(text).map(|key| key.id.clone());
    assert_eq!(found("their key"), Some(imported.id.clone()));
    assert_eq!(found("their other key"), Some(other.id));
    assert!(found(&ordinary).is_some());
    assert!(world.directory.find_by_sha256(&ordinary).is_none(), "it was not kept so");
    let key = world.directory.find("their key").unwrap();
    assert_eq!((key.kind(), key.status()), (&CredentialKind::Sha256Key, Status::Enabled));
    assert!(world.directory.find_signing_key("their key").is_none());
    // Knowledge of the SHA-256 does not help an attacker to find the key.
    let sha256 = crate::model::hex::encode(&Sha256::digest("their key"));
    for presented in [&sha256, &format!("sha256{sha256}"), &String::from(imported.digest)] {
        assert_eq!(found(presented), None, "{presented}");
    }
}

#[test]
fn presence_of_sha256_keys_follows_every_change() {
    let world = Fixture::new();
    let count = || world.directory.sha256_key_count.load(Ordering::Acquire);
    world.key();
    assert_eq!((count(), world.directory.has_by_sha256()), (0, false));
    let first = by_sha256(&world, "a");
    let second = by_sha256(&world, "b");
    assert_eq!((count(), world.directory.has_by_sha256()), (2, true));
    named(&world, "caller", Status::Disabled);
    let disabled = Credential { status: Status::Disabled, ..first.clone() };
    world.change(ChangeKind::Updated, Entity::Credential(disabled));
    assert_eq!(count(), 2, "they are the same keys");
    assert_eq!(world.directory.find("a").unwrap().kind(), &CredentialKind::Sha256Key);
    let ordinary = Credential { kind: CredentialKind::Key, ..second.clone() };
    world.change(ChangeKind::Updated, Entity::Credential(ordinary));
    assert_eq!(count(), 1);
    assert!(world.directory.find("b").is_none(), "its digest is no longer of that kind");
    world.change(ChangeKind::Updated, Entity::Credential(second));
    world.change(ChangeKind::Deleted, Entity::Credential(first));
    assert_eq!(count(), 1);
    let mut gone = None;
    world.edit_caller(|caller| gone = Some(caller.clone()));
    world.change(ChangeKind::Deleted, Entity::Caller(gone.unwrap()));
    assert_eq!((count(), world.directory.key_count()), (0, 0));
}

#[test]
fn deleted_caller_loses_its_keys() {
    let world = Fixture::new();
    let key = world.key();
    let mut gone = None;
    world.edit_caller(|caller| gone = Some(caller.clone()));
    world.change(ChangeKind::Deleted, Entity::Caller(gone.unwrap()));
    assert!(world.directory.find(&key).is_none());
    world.edit_caller(|_| {});
    assert!(world.directory.find(&key).is_none());
}

#[test]
fn changed_key_keeps_its_last_use() {
    let world = Fixture::new();
    let mut made = None;
    let key = world.key_with(|credential| made = Some(credential.clone()));
    let idle = world.key();
    let (start, credential) = (world.now(), made.unwrap());
    assert_eq!(world.directory.used_since(start), []);
    let policy = crate::policy::ApiKey::new(world.directory.clone());
    let ask =
        || world.ask(&policy, &crate::test_support::request("GET", "/", &[("x-api-key", &key)])).unwrap();
    ask();
    assert_eq!(world.directory.used_since(start), [(credential.id.clone(), start)]);
    world.clock.advance(Duration::from_secs(9));
    ask();
    assert_eq!(world.directory.used_since(start), [(credential.id.clone(), start)], "ten seconds are one");
    world.clock.advance(Duration::from_secs(1));
    ask();
    world.change(
        ChangeKind::Updated,
        Entity::Credential(Credential { name: "b".into(), ..credential.clone() }),
    );
    named(&world, "caller", Status::Enabled);
    assert_eq!(world.directory.used_since(world.now()), [(credential.id, world.now())]);
    assert!(world.directory.find(&idle).unwrap().used().is_none());
}

#[test]
fn use_within_the_queried_second_is_returned() {
    let world = Fixture::new();
    let policy = crate::policy::ApiKey::new(world.directory.clone());
    let key = world.key();
    world.clock.advance(Duration::from_millis(500));
    let noted = world.now();
    world.clock.advance(Duration::from_millis(400));
    world.ask(&policy, &crate::test_support::request("GET", "/", &[("x-api-key", &key)])).unwrap();
    assert_eq!(world.directory.used_since(noted).len(), 1);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.directory.used_since(world.now()), []);
}

#[test]
fn refreshed_lock_is_stored_once_and_gone_after_release() {
    let world = Fixture::new();
    for target in [LockTarget::Resource("/x".parse().unwrap()), LockTarget::Caller("caller".parse().unwrap())]
    {
        let first = world.lock(target, LockedRequests::All, Duration::from_secs(1));
        let refreshed = Lock { expires_at: first.expires_at + Duration::from_secs(9), ..first };
        world.change(ChangeKind::Updated, Entity::Lock(refreshed.clone()));
        let caller = world.directory.find(&world.key()).unwrap();
        let active_lock = || world.directory.lock(Some(caller.caller()), "/x", false, world.now());
        assert_eq!(active_lock().as_deref(), Some(&refreshed));
        world.unlock(refreshed);
        assert_eq!((active_lock(), world.directory.lock_count.load(Ordering::Acquire)), (None, 0));
    }
}

#[test]
fn path_has_its_ancestors() {
    assert_eq!(prefixes("/a/bc/d").collect::<Vec<_>>(), ["/a", "/a/bc", "/a/bc/d"]);
    assert_eq!(prefixes("/a/").collect::<Vec<_>>(), ["/a", "/a/"]);
    assert_eq!(prefixes("").count(), 0);
    assert!(prefixes(&"/a".repeat(100_000)).count() <= 512);
}

/// Each text is looked up twice: the thread remembers the first result.
#[test]
fn remembered_key_follows_every_change() {
    let world = Fixture::new();
    let mut created = None;
    let key = world.key_with(|credential| created = Some(credential.clone()));
    let created = created.unwrap();
    let find = || {
        let find =
            || world.directory.find_remembered(&key, || Ok::<_, ()>(world.directory.find(&key))).unwrap();
        let first = find();
        assert_eq!(first.as_ref().map(Arc::as_ptr), find().as_ref().map(Arc::as_ptr));
        first
    };
    assert_eq!(find().unwrap().status(), Status::Enabled);
    let disabled = Credential { status: Status::Disabled, ..created.clone() };
    world.change(ChangeKind::Updated, Entity::Credential(disabled));
    assert_eq!(find().unwrap().status(), Status::Disabled);
    named(&world, "caller", Status::Disabled);
    assert_eq!(find().unwrap().caller().status, Status::Disabled);
    assert!(find().unwrap().caller().plan().is_none());
    world.put_plan(Vec::new());
    world.edit_caller(|caller| caller.plan = Some("plan".parse().unwrap()));
    assert!(find().unwrap().caller().plan().unwrap().limits().is_empty());
    world.put_plan(vec![Limit::per_day(1)]);
    assert_eq!(find().unwrap().caller().plan().unwrap().limits().len(), 1);
    let before = world.directory.peppers();
    world.directory.set_peppers(Peppers::new(Pepper::new(2, &[8; 32])));
    assert!(find().is_none());
    world.directory.set_peppers(Peppers::clone(&before));
    assert!(find().is_some());
    world.change(ChangeKind::Deleted, Entity::Credential(created));
    assert!(find().is_none());
}

#[test]
fn unknown_key_is_found_after_its_creation() {
    let world = Fixture::new();
    let created = std::cell::Cell::new(None);
    let key = world.key_with(|credential| created.set(Some(credential.clone())));
    let created = created.into_inner().unwrap();
    world.change(ChangeKind::Deleted, Entity::Credential(created.clone()));
    let find = || world.directory.find_remembered(&key, || Ok::<_, ()>(world.directory.find(&key))).unwrap();
    assert!((0..2).all(|_| find().is_none()));
    world.change(ChangeKind::Created, Entity::Credential(created));
    assert!(find().is_some());
}

#[test]
fn key_of_a_deleted_caller_is_not_found() {
    let world = Fixture::new();
    let key = world.key();
    let find = || world.directory.find_remembered(&key, || Ok::<_, ()>(world.directory.find(&key))).unwrap();
    assert!(find().is_some());
    world.delete_caller(&"caller".parse().unwrap());
    assert!(find().is_none());
}

#[test]
fn remembered_key_is_known_to_its_own_directory_only() {
    let [ours, other] = [(); 2].map(|()| Fixture::new());
    // Both directories have had equally many changes.
    let [key, _] = [&ours, &other].map(Fixture::key);
    let find = |world: &Fixture| {
        world.directory.find_remembered(&key, || Ok::<_, ()>(world.directory.find(&key))).unwrap()
    };
    assert!(find(&ours).is_some());
    assert!(find(&other).is_none());
    assert!(find(&ours).is_some());
}
