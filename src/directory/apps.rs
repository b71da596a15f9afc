//! Apps by the `AppKeys` with which they sign.

use std::{collections, sync::Arc};

use papaya::HashMap;

use super::entry::{CallerEntry, KeyEntry};
use crate::model::CallerId;

/// The apps by AppKey. Readers take no lock; the directory serialises its writers.
#[derive(Debug, Default)]
pub(super) struct Apps(HashMap<Box<str>, Arc<KeyEntry>>);

/// The present AppKey of each app, which only writers need.
pub(super) type AppKeys = collections::HashMap<CallerId, Box<str>>;

impl Apps {
    pub(super) fn find(&self, app_key: &str) -> Option<Arc<KeyEntry>> {
        self.0.pin().get(app_key).cloned()
    }

    /// Stores an app's signing credential under its AppKey, and removes it from a previous one.
    pub(super) fn put(&self, keys: &mut AppKeys, app_key: &str, signs: KeyEntry) {
        let caller = signs.caller().id.clone();
        if keys.get(&caller).is_some_and(|before| **before != *app_key) {
            self.remove(keys, &caller);
        }
        self.0.pin().insert(app_key.into(), Arc::new(signs));
        keys.insert(caller, app_key.into());
    }

    /// Replaces the app's caller by its new state.
    pub(super) fn follow(&self, keys: &AppKeys, caller: &Arc<CallerEntry>) {
        let apps = self.0.pin();
        let Some((key, before)) = keys.get(&caller.id).and_then(|key| Some((key, apps.get(key)?))) else {
            return;
        };
        apps.insert(key.clone(), Arc::new(before.with_caller(caller.clone())));
    }

    pub(super) fn remove(&self, keys: &mut AppKeys, caller: &CallerId) {
        let Some(key) = keys.remove(caller) else { return };
        let apps = self.0.pin();
        // Another app may have this AppKey by now.
        if apps.get(&key).is_some_and(|app| app.caller().id == *caller) {
            apps.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        model::{
            App, Caller, CallerKind, ChangeKind, Creator, Entity, Limit, SealKey, Sealer, Secret, Status,
            WindowGuarantee,
        },
        test_support::Fixture,
    };

    fn app(world: &Fixture, id: &str, key: &str, edit: impl FnOnce(&mut Caller)) -> Caller {
        let secret = Sealer::new(SealKey::new(1, &[1; 32])).seal(&Secret::from("s".to_owned()), &[key]);
        let mut put = None;
        world.edit_caller(|caller| {
            caller.id = id.parse().unwrap();
            let (remark, creator) = (String::new(), Creator::User);
            caller.kind =
                CallerKind::App(App { remark, key: key.into(), secret, creator, acl: None, quota: None });
            edit(caller);
            put = Some(caller.clone());
        });
        put.unwrap()
    }

    fn limit(quota: u32) -> Limit {
        Limit::new("a", quota, 60, quota, WindowGuarantee::Average).unwrap()
    }

    #[test]
    fn app_is_found_by_its_current_app_key() {
        let world = Fixture::with_plan(vec![limit(10)]);
        app(&world, "one", "key-of-one", |caller| caller.plan = Some("plan".parse().unwrap()));
        let found = world.directory.find_app_key("key-of-one").unwrap();
        assert_eq!((found.id.as_str(), found.caller().kind()), ("one", "app"));
        assert!(
            world.directory.find_app_key("key-of-two").is_none()
                && world.directory.find("key-of-one").is_none()
        );
        assert!(world.directory.find_signing_key("key-of-one").is_none());

        world.put_plan(vec![limit(3)]);
        let quota = |key| {
            let found = world.directory.find_app_key(key).unwrap();
            found.caller().buckets.as_ref().map(|buckets| buckets.plan().limits()[0].quota())
        };
        assert_eq!(quota("key-of-one"), Some(3));
        let before = world.directory.find_app_key("key-of-one").unwrap().kind().clone();
        app(&world, "one", "key-of-two", |caller| caller.status = Status::Disabled);
        assert!(world.directory.find_app_key("key-of-one").is_none());
        let found = world.directory.find_app_key("key-of-two").unwrap();
        assert!(found.caller().status == Status::Disabled && *found.kind() != before);
    }

    #[test]
    fn transferred_app_key_stays_with_its_new_app() {
        let world = Fixture::new();
        app(&world, "one", "key", |_| {});
        let two = app(&world, "two", "key", |_| {});
        app(&world, "one", "another", |_| {});
        assert_eq!(world.directory.find_app_key("key").unwrap().id.as_str(), "two");
        world.change(ChangeKind::Deleted, Entity::Caller(two));
        assert!(
            world.directory.find_app_key("key").is_none()
                && world.directory.find_app_key("another").is_some()
        );
        world.edit_caller(|caller| caller.id = "one".parse().unwrap());
        assert!(world.directory.find_app_key("another").is_none(), "it is no app any more");
    }
}
