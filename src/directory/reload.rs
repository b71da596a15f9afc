//! Reload of the whole directory while decisions continue. Entities that no longer exist are removed.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use super::{Directory, entry::KeyEntry};
use crate::model::{CallerId, Entity, EntityKind, LockTarget, PlanId, QuotaId, RouteName, Seq, TenantId};

/// The state of the replication from the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Following {
    /// Every change that was read is applied.
    Current,
    /// The registry contains something that this version of the program cannot read. Everything else is applied;
    /// entities that cannot be read are not accepted.
    Incomplete,
    /// The registry was replaced, or holds something made with a secret that is not at hand, and the secrets in use are
    /// not those of the registry, or are not known yet to be: credentials that need other secrets are not accepted.
    Mismatched,
    /// The registry cannot be read: nothing newer than the last applied change is known.
    Stalled,
}

impl Following {
    /// Returns the name of the state, for people and programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Incomplete => "incomplete",
            Self::Mismatched => "mismatched",
            Self::Stalled => "stalled",
        }
    }
}

/// The state of the replication, for status and metrics.
#[derive(Debug, Default)]
pub(super) struct Health {
    stalled: AtomicU8,
    incomplete: AtomicU8,
    regressions: AtomicU64,
    /// The versions of the seal keys in use, if something checks secrets whenever they are in doubt.
    seal_keys: ArcSwapOption<Vec<u32>>,
    /// The number of times that the secrets in use came into doubt.
    doubts: AtomicU64,
    /// The number of doubts after which the secrets were found to fit.
    fitting: AtomicU64,
    doubted: Notify,
}

impl Directory {
    /// Returns the state of the replication from the registry.
    #[must_use]
    pub fn following(&self) -> Following {
        if self.health.stalled.load(Ordering::Acquire) > 0 {
            return Following::Stalled;
        }
        if self.secrets_in_doubt() {
            return Following::Mismatched;
        }
        match self.health.incomplete.load(Ordering::Acquire) {
            0 => Following::Current,
            _ => Following::Incomplete,
        }
    }

    /// Returns the number of times that the store was found to be older than before, or to be another one.
    #[must_use]
    pub fn regressions(&self) -> u64 {
        self.health.regressions.load(Ordering::Relaxed)
    }

    pub(crate) fn count_regression(&self) {
        self.health.regressions.fetch_add(1, Ordering::Relaxed);
        self.doubt_secrets();
    }

    /// Notes that the secrets in use may not be those of the registry.
    fn doubt_secrets(&self) {
        self.health.doubts.fetch_add(1, Ordering::AcqRel);
        self.health.doubted.notify_one();
    }

    /// Notes that the secrets in use may not be those of the registry if an entity in it needs another version.
    pub(crate) fn check_secrets_of(&self, entity: &Entity) {
        let Some(seal_keys) = self.health.seal_keys.load_full() else { return };
        let (pepper, sealed) = match entity {
            Entity::Caller(caller) => (None, caller.app().map(|app| &app.secret)),
            Entity::Credential(credential) => (Some(credential.pepper), credential.kind.sealed()),
            _ => return,
        };
        let peppers = self.peppers();
        let lacks_pepper = pepper.is_some_and(|needed| !peppers.all().any(|it| it.version() == needed));
        if lacks_pepper || sealed.is_some_and(|sealed| !seal_keys.contains(&sealed.key())) {
            self.doubt_secrets();
        }
    }

    /// Notes that something checks the secrets in use whenever they are in doubt, and the seal keys among them.
    pub fn set_checked_seal_keys(&self, versions: Vec<u32>) {
        self.health.seal_keys.store(Some(versions.into()));
    }

    /// The number of times that the secrets in use came into doubt.
    pub fn doubts(&self) -> u64 {
        self.health.doubts.load(Ordering::Acquire)
    }

    /// Returns `true` if the secrets in use may not be those of the registry.
    pub fn secrets_in_doubt(&self) -> bool {
        // The cheaper check, which usually decides, is first.
        self.health.fitting.load(Ordering::Acquire) != self.doubts() && self.health.seal_keys.load().is_some()
    }

    /// Notes that the secrets in use are those of the registry as it is after so many doubts.
    pub fn secrets_fit(&self, doubts: u64) {
        self.health.fitting.store(doubts, Ordering::Release);
    }

    /// Returns when the secrets came into doubt; at once if they did since the last call.
    pub async fn doubted(&self) {
        self.health.doubted.notified().await;
    }

    pub(crate) fn set_following(&self, following: Following) {
        if following != Following::Stalled {
            self.health.incomplete.store(u8::from(following == Following::Incomplete), Ordering::Release);
        }
        self.health.stalled.store(u8::from(following == Following::Stalled), Ordering::Release);
    }

    /// Records that the registry can be read again. Entities that could not be read before still cannot.
    pub(crate) fn follows_again(&self) {
        self.health.stalled.store(0, Ordering::Release);
    }

    /// Starts to load everything again.
    pub(crate) fn reload(&self) -> Reload<'_> {
        Reload { directory: self, seen: Seen::default() }
    }

    pub(super) fn hide_key(&self, key: &KeyEntry) {
        // Another credential may have the digest by now.
        if self.keys.pin().get(&key.digest.prefix()).is_some_and(|found| found.id == key.id) {
            self.hide(&key.digest);
        }
    }
}

/// The ids of all entities that a reload has found.
#[derive(Debug, Default)]
struct Seen {
    tenants: HashSet<TenantId>,
    plans: HashSet<PlanId>,
    quotas: HashSet<QuotaId>,
    callers: HashSet<CallerId>,
    keys: HashSet<String>,
    locks: HashSet<String>,
    throttles: HashSet<String>,
    grants: HashMap<CallerId, Vec<RouteName>>,
}

impl Seen {
    /// Records an entity. Returns `false` if an entity that it refers to is missing: then it must not be accepted
    /// either.
    fn note(&mut self, entity: &Entity) -> bool {
        match entity {
            Entity::Tenant(it) => drop(self.tenants.insert(it.id.clone())),
            Entity::Plan(it) => drop(self.plans.insert(it.id().clone())),
            Entity::Quota(it) => drop(self.quotas.insert(it.id.clone())),
            Entity::Lock(it) => drop(self.locks.insert(it.id.to_string())),
            Entity::Throttle(it) => drop(self.throttles.insert(it.id.to_string())),
            Entity::Caller(it) => {
                let quota = it.app().and_then(|app| app.quota.as_ref());
                let is_complete = self.tenants.contains(&it.tenant)
                    && it.plan.as_ref().is_none_or(|plan| self.plans.contains(plan))
                    && quota.is_none_or(|quota| self.quotas.contains(&quota.id));
                if !is_complete {
                    return false;
                }
                self.callers.insert(it.id.clone());
            }
            Entity::Credential(it) => {
                if !self.callers.contains(&it.caller) {
                    return false;
                }
                self.keys.insert(it.id.to_string());
            }
            Entity::Grant(it) => {
                self.grants.entry(it.caller.clone()).or_default().push(it.route.clone());
            }
        }
        true
    }
}

/// A reload of the directory, one entity after the other. Each entity follows those that it refers to.
pub(crate) struct Reload<'d> {
    directory: &'d Directory,
    seen: Seen,
}

impl Reload<'_> {
    /// Stores an entity.
    pub(crate) fn put(&mut self, entity: Entity) {
        if self.seen.note(&entity) {
            self.directory.load_one(entity);
        }
    }

    /// Keeps an unreadable entity as it is if its removal would admit more requests: locks and throttles.
    pub(crate) fn keep_restriction(&mut self, kind: EntityKind, id: &str) {
        match kind {
            EntityKind::Lock => drop(self.seen.locks.insert(id.to_owned())),
            EntityKind::Throttle => drop(self.seen.throttles.insert(id.to_owned())),
            _ => {}
        }
    }

    /// Removes all entities that were not stored. The state is that of change `seq`, which may precede the last
    /// applied one.
    pub(crate) fn end(self, seq: Seq) {
        let Self { directory, seen } = self;
        directory.keep_callers(&seen);
        directory.keep_others(&seen);
        directory.finish_load(seq);
    }
}

impl Directory {
    fn keep_callers(&self, seen: &Seen) {
        let mut index = self.writing();
        let (mut callers, mut keys) = (Vec::new(), Vec::<Arc<KeyEntry>>::new());
        for row in index.rows() {
            if seen.callers.contains(&row.caller.id) {
                keys.extend(row.keys().iter().filter(|key| !seen.keys.contains(key.id.as_str())).cloned());
            } else {
                callers.push(row.caller.id.clone());
            }
        }
        for key in keys {
            self.hide_key(&key);
            index.remove_key(&key.caller.id, &key.id);
        }
        for caller in callers {
            self.remove_caller(&mut index, &caller);
        }
        let granted: Vec<_> =
            self.granted.pin().iter().map(|(caller, routes)| (caller.clone(), routes.clone())).collect();
        for (caller, routes) in granted {
            let there = seen.grants.get(&caller).map_or(&[][..], Vec::as_slice);
            let remaining: Vec<_> = routes.iter().filter(|route| there.contains(route)).cloned().collect();
            if remaining.is_empty() {
                self.granted.pin().remove(&caller);
            } else if remaining.len() < routes.len() {
                let routes = index.routes(&remaining);
                self.granted.pin().insert(caller, routes);
            }
        }
        self.throttles.retain(&mut index.rules, &seen.quotas, &seen.throttles);
    }

    fn keep_others(&self, seen: &Seen) {
        let _writing = self.writing();
        let gone = |lock: &&Arc<crate::model::Lock>| !seen.locks.contains(lock.id.as_str());
        let on_callers: Vec<LockTarget> = self
            .caller_locks
            .pin()
            .values()
            .flat_map(|locks| locks.iter().filter(gone).map(|lock| lock.target.clone()))
            .collect();
        let on_paths: Vec<LockTarget> = self
            .resource_locks
            .pin()
            .values()
            .flat_map(|locks| locks.iter().filter(gone).map(|lock| lock.target.clone()))
            .collect();
        for target in on_callers.iter().chain(&on_paths) {
            self.edit_locks(target, |locks| locks.retain(|lock| seen.locks.contains(lock.id.as_str())));
        }
        self.tenants.pin().retain(|id, _| seen.tenants.contains(id));
        self.plan_rules.pin().retain(|id, _| seen.plans.contains(id));
    }
}
