//! The synchronous, in-memory read side of the registry: what policies ask.
//!
//! It holds every credential's digest, so that no request waits for a store and a store's outage stops
//! no traffic. It follows the registry's change log, see [`registry::follow()`](crate::registry::follow()).

mod apps;
mod entry;
mod look;
mod roster;
mod shared;
mod throttles;

pub use entry::{CallerEntry, KeyEntry};

use std::{
    hash::{BuildHasherDefault, Hasher},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use papaya::HashMap;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::{
    app::{
        Acl, Caller, CallerId, Change, Covers, Credential, CredentialId, Digest, Entity, EnvironmentId,
        Grant, Lock, Peppers, Plan, PlanId, RouteName, Scopes, Seq, Target, Tenant, TenantId, Verb,
    },
    limit::{Allowance, Budget, Throttling},
};
use apps::Apps;
use entry::TenantSlot;
use roster::{Roster, Row};
use throttles::Throttles;

/// A digest is uniformly distributed already: its first bytes are its hash.
#[derive(Default)]
struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn write(&mut self, bytes: &[u8]) {
        let mut first = [0; 8];
        let len = bytes.len().min(8);
        first[..len].copy_from_slice(&bytes[..len]);
        self.0 = u64::from_le_bytes(first);
    }

    /// Array lengths are hashed too; they say nothing here.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Every tenant, caller, credential, plan, lock and grant, as decisions need them.
///
/// Reads take no lock; writes take one among themselves.
#[derive(Debug)]
pub struct Directory {
    peppers: ArcSwap<Peppers>,
    tenants: HashMap<TenantId, Arc<TenantSlot>>,
    keys: HashMap<[u8; 16], Arc<KeyEntry>, BuildHasherDefault<FirstBytes>>,
    apps: Apps,
    budgets: HashMap<PlanId, Arc<Budget>>,
    caller_locks: HashMap<CallerId, Arc<[Arc<Lock>]>>,
    resource_locks: HashMap<Box<str>, Arc<[Arc<Lock>]>>,
    locks: AtomicUsize,
    /// How many of the keys are kept by their SHA-256.
    by_sha256: AtomicUsize,
    /// From which addresses callers may call, of those that may not from all.
    acls: HashMap<CallerId, Arc<Acl>>,
    /// How many of them there are.
    held: AtomicUsize,
    /// The routes that callers have grants for, in order.
    granted: HashMap<CallerId, Arc<[RouteName]>>,
    throttles: Throttles,
    applied: watch::Sender<Seq>,
    /// Held by who writes.
    roster: Mutex<Roster>,
}

impl Directory {
    /// An empty directory that digests presented credentials with these peppers.
    #[must_use]
    pub fn new(peppers: Peppers) -> Self {
        Self {
            peppers: ArcSwap::from_pointee(peppers),
            tenants: HashMap::new(),
            keys: HashMap::default(),
            apps: Apps::default(),
            budgets: HashMap::new(),
            caller_locks: HashMap::new(),
            resource_locks: HashMap::new(),
            locks: AtomicUsize::new(0),
            by_sha256: AtomicUsize::new(0),
            acls: HashMap::new(),
            held: AtomicUsize::new(0),
            granted: HashMap::new(),
            throttles: Throttles::default(),
            applied: watch::Sender::new(0),
            roster: Mutex::default(),
        }
    }

    /// The credential that a presented text proves, with its caller; disabled and expired ones too.
    #[must_use]
    pub fn find(&self, presented: &str) -> Option<Arc<KeyEntry>> {
        let found = self.digested(presented).filter(|key| key.kind().is_presented());
        found.or_else(|| self.find_by_sha256(presented))
    }

    /// The same among the keys of which only the SHA-256 was known when they came; they are of any form.
    #[must_use]
    pub fn find_by_sha256(&self, presented: &str) -> Option<Arc<KeyEntry>> {
        if !self.has_by_sha256() {
            return None;
        }
        let sha256 = Sha256::digest(presented).into();
        let keys = self.keys.pin();
        self.peppers.load().digests_of_sha256(&sha256).find_map(|digest| {
            let key = keys.get(&digest.prefix())?;
            (key.digest == digest && key.by_sha256).then(|| key.clone())
        })
    }

    /// Whether there are such keys.
    #[must_use]
    pub fn has_by_sha256(&self) -> bool {
        self.by_sha256.load(Ordering::Acquire) > 0
    }

    /// The credential that signs under this access key, with its caller; disabled and expired ones too.
    #[must_use]
    pub fn signer(&self, access_key: &str) -> Option<Arc<KeyEntry>> {
        self.digested(access_key).filter(|key| !key.kind().is_presented())
    }

    /// The app that has this AppKey, as the credential that it signs with: its id is the app's.
    #[must_use]
    pub fn app(&self, app_key: &str) -> Option<Arc<KeyEntry>> {
        self.apps.find(app_key)
    }

    fn digested(&self, text: &str) -> Option<Arc<KeyEntry>> {
        let keys = self.keys.pin();
        self.peppers.load().digests(text).find_map(|digest| {
            let key = keys.get(&digest.prefix())?;
            (key.digest == digest && !key.by_sha256).then(|| key.clone())
        })
    }

    /// What credentials are digested with.
    #[must_use]
    pub fn peppers(&self) -> Arc<Peppers> {
        self.peppers.load_full()
    }

    /// Digests with other peppers from now on; credentials whose pepper is not among them are no longer found.
    pub fn set_peppers(&self, peppers: Peppers) {
        self.peppers.store(peppers.into());
    }

    /// The tenant of an id.
    #[must_use]
    pub fn tenant(&self, id: &TenantId) -> Option<Arc<Tenant>> {
        self.tenants.pin().get(id).map(|slot| slot.load_full())
    }

    /// The lock that stops a request longest, if any does: on the caller, or on the path or one above it.
    ///
    /// `path` is matched byte for byte, segment by segment.
    #[must_use]
    pub fn lock(
        &self,
        caller: Option<&CallerEntry>,
        path: &str,
        safe: bool,
        now: Timestamp,
    ) -> Option<Arc<Lock>> {
        if self.locks.load(Ordering::Acquire) == 0 {
            return None;
        }
        let tenant = caller.map(|caller| caller.tenant().id.clone());
        let stops = |lock: &&Arc<Lock>| {
            let ours = lock.tenant.is_none() || lock.tenant == tenant;
            ours && lock.holds(now) && (lock.covers == Covers::All || !safe)
        };
        let (callers, resources) = (self.caller_locks.pin(), self.resource_locks.pin());
        let on_caller = caller.and_then(|caller| callers.get(&caller.id)).into_iter();
        let on_path = prefixes(path).filter_map(|prefix| resources.get(prefix));
        let all = on_caller.chain(on_path).flat_map(|locks| locks.iter());
        all.filter(stops).max_by_key(|lock| lock.expires_at).cloned()
    }

    /// Whether a caller may call from an address.
    #[must_use]
    pub fn lets(&self, caller: &CallerId, address: Option<IpAddr>) -> bool {
        self.held.load(Ordering::Acquire) == 0
            || self.acls.pin().get(caller).is_none_or(|acl| acl.lets(address))
    }

    /// Whether a caller has a grant for a route.
    #[must_use]
    pub fn grants(&self, caller: &CallerId, route: &RouteName) -> bool {
        self.granted.pin().get(caller).is_some_and(|routes| routes.binary_search(route).is_ok())
    }

    /// What a tenant's throttle has counted on a route, when the tenant bound one to it.
    #[must_use]
    pub fn throttling(&self, tenant: &TenantId, route: &RouteName) -> Option<Arc<Throttling>> {
        self.throttles.on(tenant, route)
    }

    /// What is left to a caller of its quota, when it has one.
    #[must_use]
    pub fn allowance(&self, caller: &CallerId) -> Option<Arc<Allowance>> {
        self.throttles.of(caller)
    }

    /// The number of the last change applied.
    #[must_use]
    pub fn applied(&self) -> Seq {
        *self.applied.borrow()
    }

    /// How many credentials it holds.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// The credentials that were used in a moment's second or later, and when: within ten seconds, and by this process.
    #[must_use]
    pub fn used_since(&self, moment: Timestamp) -> Vec<(CredentialId, Timestamp)> {
        // Uses are kept in whole seconds: one later in the same second is told again rather than never.
        let since = |used: &Timestamp| used.as_second() >= moment.as_second();
        let used = |key: &Arc<KeyEntry>| Some((key.id.clone(), key.used().filter(since)?));
        self.keys.pin().values().filter_map(used).collect()
    }

    /// Fills the directory from a snapshot of the registry taken at change `seq`.
    pub fn load(&self, entities: impl IntoIterator<Item = Entity>, seq: Seq) {
        entities.into_iter().for_each(|entity| self.fill(entity));
        self.filled(seq);
    }

    /// Fills the directory, one by one; what something stands on comes before it. [`filled`](Self::filled) ends it.
    pub fn fill(&self, entity: Entity) {
        self.put(&mut self.writing(), entity);
    }

    /// All that there was at change `seq` has been filled in.
    pub fn filled(&self, seq: Seq) {
        self.applied.send_replace(seq);
    }

    /// Applies one change; one that was applied already changes nothing.
    pub fn apply(&self, change: Change) {
        let mut roster = self.writing();
        if change.seq <= self.applied() {
            return;
        }
        match change.verb {
            Verb::Created | Verb::Updated => self.put(&mut roster, change.entity),
            Verb::Deleted => self.remove(&mut roster, change.entity),
        }
        self.applied.send_replace(change.seq);
    }

    fn writing(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, roster: &mut Roster, entity: Entity) {
        match entity {
            Entity::Tenant(tenant) => self.put_tenant(tenant),
            Entity::Caller(caller) => self.put_caller(roster, &caller),
            Entity::Credential(credential) => self.put_key(roster, &credential),
            Entity::Plan(plan) => self.put_plan(roster, plan),
            Entity::Quota(quota) => self.throttles.put_quota(&mut roster.rules, quota),
            Entity::Throttle(throttle) => self.throttles.put_throttle(&mut roster.rules, throttle),
            Entity::Grant(grant) => self.edit_grants(roster, &grant, |routes| {
                if let Err(at) = routes.binary_search(&grant.route) {
                    routes.insert(at, grant.route.clone());
                }
            }),
            // A lock that is refreshed takes the place of what it was; its target is the same.
            Entity::Lock(lock) => self.edit_locks(&lock.target.clone(), |locks| {
                locks.retain(|other| other.id != lock.id);
                locks.push(Arc::new(lock));
            }),
        }
    }

    fn remove(&self, roster: &mut Roster, entity: Entity) {
        match entity {
            Entity::Tenant(tenant) => drop(self.tenants.pin().remove(&tenant.id)),
            Entity::Caller(caller) => {
                self.put_acl(&caller.id, None);
                self.granted.pin().remove(&caller.id);
                self.throttles.bind(&mut roster.rules, &caller.id, None);
                self.apps.remove(&mut roster.apps, &caller.id);
                for key in roster.remove(&caller.id).iter().flat_map(Row::keys) {
                    self.hide(&key.digest);
                }
            }
            Entity::Credential(credential) => {
                self.hide(&credential.digest);
                roster.remove_key(&credential.caller, &credential.id);
            }
            Entity::Plan(plan) => drop(self.budgets.pin().remove(plan.id())),
            Entity::Quota(quota) => self.throttles.remove_quota(&mut roster.rules, &quota),
            Entity::Throttle(throttle) => self.throttles.remove_throttle(&mut roster.rules, &throttle),
            Entity::Grant(grant) => {
                self.edit_grants(roster, &grant, |routes| routes.retain(|route| *route != grant.route));
            }
            Entity::Lock(lock) => {
                self.edit_locks(&lock.target, |locks| locks.retain(|other| other.id != lock.id));
            }
        }
    }

    fn put_tenant(&self, tenant: Tenant) {
        let tenants = self.tenants.pin();
        match tenants.get(&tenant.id) {
            Some(slot) => slot.store(tenant.into()),
            None => drop(tenants.insert(tenant.id.clone(), Arc::new(TenantSlot::from_pointee(tenant)))),
        }
    }

    fn put_caller(&self, roster: &mut Roster, caller: &Caller) {
        // Before its credentials can be found.
        self.put_acl(&caller.id, caller.app().and_then(|app| app.acl.as_ref()));
        let Some(tenant) = self.tenants.pin().get(&caller.tenant).cloned() else {
            tracing::error!(caller = %caller.id, tenant = %caller.tenant, "a caller came before its tenant");
            return;
        };
        let quota = caller.app().and_then(|app| app.quota.as_ref()).map(|bound| &bound.id);
        if !self.throttles.bind(&mut roster.rules, &caller.id, quota) {
            // Better unknown than unlimited.
            tracing::error!(caller = %caller.id, ?quota, "an app came before its quota");
            return;
        }
        let budget = caller.plan.as_ref().and_then(|plan| self.budgets.pin().get(plan).cloned());
        if caller.plan.is_some() && budget.is_none() {
            // Better unknown than unlimited.
            tracing::error!(caller = %caller.id, plan = ?caller.plan, "a caller came before its plan");
            return;
        }
        let before = roster.caller(&caller.id);
        let after = CallerEntry::new(caller, tenant, budget, before.map(|before| &**before));
        self.show(roster.put(after));
        match caller.app().zip(roster.caller(&caller.id).cloned()) {
            Some((app, entry)) => {
                let digest = self.peppers.load().current().digest(&app.key);
                let signs = KeyEntry::of_app(app, digest, roster.scopes(&Scopes::All), entry);
                self.apps.put(&mut roster.apps, &app.key, signs);
            }
            None => self.apps.remove(&mut roster.apps, &caller.id),
        }
    }

    fn put_key(&self, roster: &mut Roster, credential: &Credential) {
        let Some(caller) = roster.caller(&credential.caller).cloned() else {
            tracing::error!(credential = %credential.id, "a credential came before its caller");
            return;
        };
        let scopes = roster.scopes(&credential.scopes);
        let mut key = KeyEntry::new(credential, scopes, caller);
        let keys = self.keys.pin();
        if let Some(before) = keys.get(&key.digest.prefix()).filter(|before| before.id == key.id) {
            key.used_like(before);
        }
        let key = Arc::new(key);
        // A credential has one caller and one digest: what it was found by before finds nothing any more.
        if let Some(before) =
            keys.get(&key.digest.prefix()).filter(|before| before.caller.id != key.caller.id)
        {
            roster.remove_key(&before.caller.id, &before.id);
        }
        if let Some(before) = roster.put_key(&key).filter(|before| before.digest != key.digest) {
            self.hide(&before.digest);
        }
        self.show([key]);
    }

    fn put_plan(&self, roster: &mut Roster, plan: Plan) {
        let budget = Arc::new(Budget::new(plan));
        self.budgets.pin().insert(budget.plan().id().clone(), budget.clone());
        let after: Vec<_> = roster.callers().filter_map(|caller| caller.rebudgeted(&budget)).collect();
        for caller in after {
            let id = caller.id.clone();
            self.show(roster.put(caller));
            if let Some(caller) = roster.caller(&id) {
                self.apps.follow(&roster.apps, caller);
            }
        }
    }

    /// Lets decisions see keys as they are now, and their callers with them.
    fn show(&self, keys: impl IntoIterator<Item = Arc<KeyEntry>>) {
        let map = self.keys.pin();
        for key in keys {
            let now = usize::from(key.by_sha256);
            let before =
                map.insert(key.digest.prefix(), key).map_or(0, |before| usize::from(before.by_sha256));
            self.by_sha256.fetch_add(now.wrapping_sub(before), Ordering::AcqRel);
        }
    }

    /// Lets decisions see no key of this digest.
    fn hide(&self, digest: &Digest) {
        if self.keys.pin().remove(&digest.prefix()).is_some_and(|key| key.by_sha256) {
            self.by_sha256.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn put_acl(&self, caller: &CallerId, acl: Option<&Acl>) {
        let acls = self.acls.pin();
        match acl {
            Some(acl) => {
                if acls.insert(caller.clone(), Arc::new(acl.clone())).is_none() {
                    self.held.fetch_add(1, Ordering::AcqRel);
                }
            }
            None => {
                if acls.remove(caller).is_some() {
                    self.held.fetch_sub(1, Ordering::AcqRel);
                }
            }
        }
    }

    fn edit_grants(&self, roster: &mut Roster, grant: &Grant, edit: impl FnOnce(&mut Vec<RouteName>)) {
        if grant.environment.as_str() != EnvironmentId::RELEASE {
            return;
        }
        let granted = self.granted.pin();
        let mut routes = granted.get(&grant.caller).map(|routes| routes.to_vec()).unwrap_or_default();
        edit(&mut routes);
        if routes.is_empty() {
            granted.remove(&grant.caller);
        } else {
            granted.insert(grant.caller.clone(), roster.routes(&routes));
        }
    }

    fn edit_locks(&self, target: &Target, edit: impl FnOnce(&mut Vec<Arc<Lock>>)) {
        let edited = |locks: Option<&Arc<[Arc<Lock>]>>| {
            let mut locks = locks.map(|locks| locks.to_vec()).unwrap_or_default();
            let before = locks.len();
            edit(&mut locks);
            (before, locks)
        };
        let (before, after) = match target {
            Target::Caller(id) => {
                let map = self.caller_locks.pin();
                let (before, locks) = edited(map.get(id));
                let after = locks.len();
                if locks.is_empty() {
                    map.remove(id)
                } else {
                    map.insert(id.clone(), locks.into())
                };
                (before, after)
            }
            Target::Resource(path) => {
                let map = self.resource_locks.pin();
                let (before, locks) = edited(map.get(path.as_str()));
                let after = locks.len();
                if locks.is_empty() {
                    map.remove(path.as_str())
                } else {
                    map.insert(path.as_str().into(), locks.into())
                };
                (before, after)
            }
        };
        self.locks.fetch_add(after.wrapping_sub(before), Ordering::AcqRel);
    }
}

/// `/a`, `/a/b`, `/a/b/c` of `/a/b/c`: every path a lock could stand on, up to the longest there can be.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    let bytes = path.as_bytes();
    (1..=bytes.len().min(1024))
        .filter(move |end| bytes.get(*end).is_none_or(|next| *next == b'/'))
        .filter_map(move |end| path.get(..end))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        app::{CallerKind, CredentialId, CredentialKind, Status},
        testing::World,
    };

    fn named(world: &World, id: &str, status: Status) {
        world.edit_caller(|caller| {
            caller.id = id.parse().unwrap();
            caller.kind = CallerKind::Operator;
            caller.status = status;
        });
    }

    #[test]
    fn a_caller_changes_under_all_of_its_keys() {
        let world = World::new();
        let keys = [(); 3].map(|()| world.key());
        named(&world, "caller", Status::Disabled);
        for key in &keys {
            let found = world.directory.find(key).unwrap();
            assert_eq!((found.caller().status, found.caller().kind()), (Status::Disabled, "operator"));
        }
    }

    #[test]
    fn a_credential_is_found_by_its_last_digest_only() {
        let world = World::new();
        let id = CredentialId::random();
        let [first, last] = [(); 2].map(|()| world.key_with(|credential| credential.id = id.clone()));
        assert!(world.directory.find(&first).is_none());
        assert_eq!(world.directory.find(&last).unwrap().id, id);
    }

    #[test]
    fn a_credential_that_changed_hands_does_not_follow_its_former_caller() {
        let world = World::new();
        let mut moved = None;
        let key = world.key_with(|credential| moved = Some(credential.clone()));
        let mut moved = moved.unwrap();
        named(&world, "heir", Status::Enabled);
        moved.caller = "heir".parse().unwrap();
        world.change(Verb::Updated, Entity::Credential(moved));
        named(&world, "caller", Status::Disabled);
        assert_eq!(world.directory.find(&key).unwrap().caller().id.as_str(), "heir");
    }

    fn by_sha256(world: &World, text: &str) -> Credential {
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
    fn a_key_of_which_only_the_sha_256_was_known_is_found_by_itself() {
        let world = World::new();
        let (kept, other) = (by_sha256(&world, "their key"), by_sha256(&world, "their other key"));
        let ordinary = world.key();
        let found = |text: &str| world.directory.find(text).map(|key| key.id.clone());
        assert_eq!(found("their key"), Some(kept.id.clone()));
        assert_eq!(found("their other key"), Some(other.id));
        assert!(found(&ordinary).is_some());
        assert!(world.directory.find_by_sha256(&ordinary).is_none(), "it was not kept so");
        let key = world.directory.find("their key").unwrap();
        assert_eq!((key.kind(), key.status()), (&CredentialKind::Sha256Key, Status::Enabled));
        assert!(world.directory.signer("their key").is_none());
        // Not by what somebody who has read the SHA-256 could present.
        let sha256 = crate::app::hex::hex(&Sha256::digest("their key"));
        for presented in [&sha256, &format!("sha256{sha256}"), &String::from(kept.digest)] {
            assert_eq!(found(presented), None, "{presented}");
        }
    }

    #[test]
    fn whether_there_are_keys_by_sha_256_is_known_at_every_change() {
        let world = World::new();
        let count = || world.directory.by_sha256.load(Ordering::Acquire);
        world.key();
        assert_eq!((count(), world.directory.has_by_sha256()), (0, false));
        let first = by_sha256(&world, "a");
        let second = by_sha256(&world, "b");
        assert_eq!((count(), world.directory.has_by_sha256()), (2, true));
        named(&world, "caller", Status::Disabled);
        let disabled = Credential { status: Status::Disabled, ..first.clone() };
        world.change(Verb::Updated, Entity::Credential(disabled));
        assert_eq!(count(), 2, "they are the same keys");
        assert_eq!(world.directory.find("a").unwrap().kind(), &CredentialKind::Sha256Key);
        let ordinary = Credential { kind: CredentialKind::Key, ..second.clone() };
        world.change(Verb::Updated, Entity::Credential(ordinary));
        assert_eq!(count(), 1);
        assert!(world.directory.find("b").is_none(), "its digest is no longer of that kind");
        world.change(Verb::Updated, Entity::Credential(second));
        world.change(Verb::Deleted, Entity::Credential(first));
        assert_eq!(count(), 1);
        let mut gone = None;
        world.edit_caller(|caller| gone = Some(caller.clone()));
        world.change(Verb::Deleted, Entity::Caller(gone.unwrap()));
        assert_eq!((count(), world.directory.keys()), (0, 0));
    }

    #[test]
    fn a_caller_that_is_gone_takes_its_keys_along() {
        let world = World::new();
        let key = world.key();
        let mut gone = None;
        world.edit_caller(|caller| gone = Some(caller.clone()));
        world.change(Verb::Deleted, Entity::Caller(gone.unwrap()));
        assert!(world.directory.find(&key).is_none());
        world.edit_caller(|_| {});
        assert!(world.directory.find(&key).is_none());
    }

    #[test]
    fn a_key_remembers_when_it_was_used_whatever_else_of_it_changes() {
        let world = World::new();
        let mut made = None;
        let key = world.key_with(|credential| made = Some(credential.clone()));
        let idle = world.key();
        let (start, credential) = (world.now(), made.unwrap());
        assert_eq!(world.directory.used_since(start), []);
        let policy = crate::policy::ApiKey::new(world.directory.clone());
        let ask =
            || world.ask(&policy, &crate::testing::request("GET", "/", &[("x-api-key", &key)])).unwrap();
        ask();
        assert_eq!(world.directory.used_since(start), [(credential.id.clone(), start)]);
        world.clock.advance(Duration::from_secs(9));
        ask();
        assert_eq!(
            world.directory.used_since(start),
            [(credential.id.clone(), start)],
            "ten seconds are one"
        );
        world.clock.advance(Duration::from_secs(1));
        ask();
        world
            .change(Verb::Updated, Entity::Credential(Credential { name: "b".into(), ..credential.clone() }));
        named(&world, "caller", Status::Enabled);
        assert_eq!(world.directory.used_since(world.now()), [(credential.id, world.now())]);
        assert!(world.directory.find(&idle).unwrap().used().is_none());
    }

    #[test]
    fn a_use_within_the_second_that_is_asked_about_is_told() {
        let world = World::new();
        let policy = crate::policy::ApiKey::new(world.directory.clone());
        let key = world.key();
        world.clock.advance(Duration::from_millis(500));
        let noted = world.now();
        world.clock.advance(Duration::from_millis(400));
        world.ask(&policy, &crate::testing::request("GET", "/", &[("x-api-key", &key)])).unwrap();
        assert_eq!(world.directory.used_since(noted).len(), 1);
        world.clock.advance(Duration::from_secs(1));
        assert_eq!(world.directory.used_since(world.now()), []);
    }

    #[test]
    fn a_refreshed_lock_is_there_once_and_gone_when_it_is_released() {
        let world = World::new();
        for target in [Target::Resource("/x".parse().unwrap()), Target::Caller("caller".parse().unwrap())] {
            let first = world.lock(target, Covers::All, Duration::from_secs(1));
            let refreshed = Lock { expires_at: first.expires_at + Duration::from_secs(9), ..first };
            world.change(Verb::Updated, Entity::Lock(refreshed.clone()));
            let caller = world.directory.find(&world.key()).unwrap();
            let stands = || world.directory.lock(Some(caller.caller()), "/x", false, world.now());
            assert_eq!(stands().as_deref(), Some(&refreshed));
            world.unlock(refreshed);
            assert_eq!((stands(), world.directory.locks.load(Ordering::Acquire)), (None, 0));
        }
    }

    #[test]
    fn a_path_has_its_ancestors() {
        assert_eq!(prefixes("/a/bc/d").collect::<Vec<_>>(), ["/a", "/a/bc", "/a/bc/d"]);
        assert_eq!(prefixes("/a/").collect::<Vec<_>>(), ["/a", "/a/"]);
        assert_eq!(prefixes("").count(), 0);
        assert!(prefixes(&"/a".repeat(100_000)).count() <= 512);
    }
}
