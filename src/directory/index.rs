//! The writers' index from callers to their keys. Decisions never read it.

use std::{
    borrow::Borrow,
    collections::HashSet,
    hash::{Hash, Hasher},
    sync::Arc,
};

use super::{
    apps::AppKeys,
    entry::{CallerEntry, KeyEntry},
    interner::Interner,
    throttles::ThrottleIndex,
};
use crate::model::{CallerId, CredentialId, RouteName, Scopes};

/// The callers with their keys, and the scopes and sets of routes that are in use.
#[derive(Debug, Default)]
pub(super) struct WriterIndex {
    callers: HashSet<CallerRow>,
    pub(super) apps: AppKeys,
    pub(super) rules: ThrottleIndex,
    scopes: Interner<Scopes>,
    routes: Interner<[RouteName]>,
    /// The names of routes: as many as the gateway ever had routes.
    names: HashSet<RouteName>,
}

/// The present state of a caller and of its keys.
#[derive(Debug)]
pub(super) struct CallerRow {
    pub(super) caller: Arc<CallerEntry>,
    keys: Keys,
}

/// The keys of a caller. Most callers have one.
#[derive(Debug, Default)]
enum Keys {
    #[default]
    None,
    One(Arc<KeyEntry>),
    #[allow(clippy::box_collection, reason = "few callers have many keys, and all have a row")]
    Many(Box<Vec<Arc<KeyEntry>>>),
}

impl Keys {
    fn as_slice(&self) -> &[Arc<KeyEntry>] {
        match self {
            Self::None => &[],
            Self::One(key) => std::slice::from_ref(key),
            Self::Many(keys) => keys,
        }
    }
}

impl FromIterator<Arc<KeyEntry>> for Keys {
    fn from_iter<I: IntoIterator<Item = Arc<KeyEntry>>>(keys: I) -> Self {
        let mut keys = keys.into_iter();
        match (keys.next(), keys.next()) {
            (None, _) => Self::None,
            (Some(key), None) => Self::One(key),
            (Some(first), Some(second)) => {
                Self::Many(Box::new([first, second].into_iter().chain(keys).collect()))
            }
        }
    }
}

/// Finds a row by its caller's id, which therefore need not be stored twice.
impl Borrow<CallerId> for CallerRow {
    fn borrow(&self) -> &CallerId {
        &self.caller.id
    }
}

impl Hash for CallerRow {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.caller.id.hash(state);
    }
}

impl PartialEq for CallerRow {
    fn eq(&self, other: &Self) -> bool {
        self.caller.id == other.caller.id
    }
}

impl Eq for CallerRow {}

impl CallerRow {
    pub(super) fn keys(&self) -> &[Arc<KeyEntry>] {
        self.keys.as_slice()
    }
}

impl WriterIndex {
    pub(super) fn caller(&self, id: &CallerId) -> Option<&Arc<CallerEntry>> {
        self.callers.get(id).map(|row| &row.caller)
    }

    pub(super) fn callers(&self) -> impl Iterator<Item = &Arc<CallerEntry>> {
        self.callers.iter().map(|row| &row.caller)
    }

    /// Returns every caller with its keys.
    pub(super) fn rows(&self) -> impl Iterator<Item = &CallerRow> {
        self.callers.iter()
    }

    /// Stores a caller's new state, and returns its keys with that state.
    pub(super) fn insert(&mut self, caller: CallerEntry) -> Vec<Arc<KeyEntry>> {
        let caller = Arc::new(caller);
        let before = self.callers.take(&caller.id);
        let keys = before.as_ref().map(CallerRow::keys).unwrap_or_default();
        let keys: Vec<_> = keys.iter().map(|key| Arc::new(key.with_caller(caller.clone()))).collect();
        self.callers.insert(CallerRow { caller, keys: keys.iter().cloned().collect() });
        keys
    }

    /// Removes a caller with its keys.
    pub(super) fn remove(&mut self, id: &CallerId) -> Option<CallerRow> {
        self.callers.take(id)
    }

    /// Adds a key to those of its caller, or replaces its previous state, which is returned.
    pub(super) fn insert_key(&mut self, key: &Arc<KeyEntry>) -> Option<Arc<KeyEntry>> {
        let row = self.callers.get(&key.caller.id)?;
        let before = row.keys().iter().find(|other| other.id == key.id).cloned();
        self.edit_keys(&key.caller.id, |keys| {
            let others = keys.iter().filter(|other| other.id != key.id).cloned();
            others.chain([key.clone()]).collect()
        });
        before
    }

    pub(super) fn remove_key(&mut self, caller: &CallerId, id: &CredentialId) {
        self.edit_keys(caller, |keys| keys.iter().filter(|key| key.id != *id).cloned().collect());
    }

    fn edit_keys(&mut self, caller: &CallerId, edit: impl FnOnce(&[Arc<KeyEntry>]) -> Keys) {
        if let Some(CallerRow { caller, keys }) = self.callers.take(caller) {
            self.callers.insert(CallerRow { caller, keys: edit(keys.as_slice()) });
        }
    }

    /// Returns these scopes, shared by all keys with equal scopes.
    pub(super) fn scopes(&mut self, scopes: &Scopes) -> Arc<Scopes> {
        self.scopes.intern(scopes, || Arc::new(scopes.clone()))
    }

    /// Returns these routes, shared by all callers with equal grants.
    pub(super) fn routes(&mut self, routes: &[RouteName]) -> Arc<[RouteName]> {
        let Self { routes: sets, names, .. } = self;
        // Each grant was decoded with its own copy of the name.
        let one = |name: &RouteName| names.get(name).cloned().unwrap_or_else(|| name.clone());
        let shared = sets.intern(routes, || routes.iter().map(one).collect());
        names.extend(shared.iter().cloned());
        shared
    }
}
