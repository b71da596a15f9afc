//! The synchronous, in-memory read side of the registry: what policies ask.
//!
//! It holds every credential's digest, so that no request waits for a store and a store's outage stops
//! no traffic. It follows the registry's change log, see [`registry::follow()`](crate::registry::follow()).

mod apps;
mod entry;
mod lookup;
mod reload;
mod index;
mod interner;
mod throttles;
mod apply;

pub use entry::{CallerEntry, KeyEntry};
pub use reload::Following;

use std::{
    hash::{BuildHasherDefault, Hasher},
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use papaya::HashMap;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::{
    model::{Acl, CallerId, LockedRequests, CredentialId, Lock, Peppers, PlanId, RouteName, Seq, Tenant, TenantId},
    limit::{QuotaCounter, PlanRules, ThrottleCounter},
};
use apps::Apps;
use entry::TenantSlot;
use reload::Health;
use index::WriterIndex;
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
    key_count: HashMap<[u8; 16], Arc<KeyEntry>, BuildHasherDefault<FirstBytes>>,
    apps: Apps,
    budgets: HashMap<PlanId, Arc<PlanRules>>,
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
    applied_seq: watch::Sender<Seq>,
    health: Health,
    /// The number of tasks that follow a registry's change log into it.
    followers: AtomicUsize,
    /// Held by who writes.
    roster: Mutex<WriterIndex>,
}

impl Directory {
    /// An empty directory that digests presented credentials with these peppers.
    #[must_use]
    pub fn new(peppers: Peppers) -> Self {
        Self {
            peppers: ArcSwap::from_pointee(peppers),
            tenants: HashMap::new(),
            key_count: HashMap::default(),
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
            applied_seq: watch::Sender::new(0),
            health: Health::default(),
            followers: AtomicUsize::new(0),
            roster: Mutex::default(),
        }
    }

    /// The credential that a presented text proves, with its caller; disabled and expired ones too.
    #[must_use]
    pub fn find(&self, presented: &str) -> Option<Arc<KeyEntry>> {
        let found = self.digests_of(presented).filter(|key| key.kind().is_bearer());
        found.or_else(|| self.find_by_sha256(presented))
    }

    /// The same among the keys of which only the SHA-256 was known when they came; they are of any form.
    #[must_use]
    pub fn find_by_sha256(&self, presented: &str) -> Option<Arc<KeyEntry>> {
        if !self.has_by_sha256() {
            return None;
        }
        let sha256 = Sha256::digest(presented).into();
        let keys = self.key_count.pin();
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
    pub fn find_signing_key(&self, access_key: &str) -> Option<Arc<KeyEntry>> {
        self.digests_of(access_key).filter(|key| !key.kind().is_bearer())
    }

    /// The app that has this AppKey, as the credential that it signs with: its id is the app's.
    #[must_use]
    pub fn find_app_key(&self, app_key: &str) -> Option<Arc<KeyEntry>> {
        self.apps.find(app_key)
    }

    fn digests_of(&self, text: &str) -> Option<Arc<KeyEntry>> {
        let keys = self.key_count.pin();
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
        self.tenants.pin().get(id).map(|slot| slot.load())
    }

    /// The lock that stops a request longest, if any does: on the caller, or on the path or one above it.
    ///
    /// `path` is in its [normal form](crate::target), which [`Admission::path`](crate::Admission::path) gives; it is
    /// matched byte for byte, segment by segment.
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
            ours && lock.is_active(now) && (lock.covers == LockedRequests::All || !safe)
        };
        let (callers, resources) = (self.caller_locks.pin(), self.resource_locks.pin());
        let on_caller = caller.and_then(|caller| callers.get(&caller.id)).into_iter();
        let on_path = prefixes(path).filter_map(|prefix| resources.get(prefix));
        let all = on_caller.chain(on_path).flat_map(|locks| locks.iter());
        all.filter(stops).max_by_key(|lock| lock.expires_at).cloned()
    }

    /// Whether a caller may call from an address.
    #[must_use]
    pub fn address_allowed(&self, caller: &CallerId, address: Option<IpAddr>) -> bool {
        self.held.load(Ordering::Acquire) == 0
            || self.acls.pin().get(caller).is_none_or(|acl| acl.allows(address))
    }

    /// Whether a caller has a grant for a route.
    #[must_use]
    pub fn has_grant(&self, caller: &CallerId, route: &RouteName) -> bool {
        self.granted.pin().get(caller).is_some_and(|routes| routes.binary_search(route).is_ok())
    }

    /// What a tenant's throttle has counted on a route, when the tenant bound one to it.
    #[must_use]
    pub fn throttle(&self, tenant: &TenantId, route: &RouteName) -> Option<Arc<ThrottleCounter>> {
        self.throttles.for_route(tenant, route)
    }

    /// What is left to a caller of its quota, when it has one.
    #[must_use]
    pub fn quota(&self, caller: &CallerId) -> Option<Arc<QuotaCounter>> {
        self.throttles.for_caller(caller)
    }

    /// The number of the last change applied.
    #[must_use]
    pub fn applied(&self) -> Seq {
        *self.applied_seq.borrow()
    }

    /// How many credentials it holds.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.key_count.len()
    }

    /// The credentials that were used in a moment's second or later, and when: within ten seconds, and by this process.
    #[must_use]
    pub fn used_since(&self, moment: Timestamp) -> Vec<(CredentialId, Timestamp)> {
        // Uses are kept in whole seconds: one later in the same second is told again rather than never.
        let since = |used: &Timestamp| used.as_second() >= moment.as_second();
        let used = |key: &Arc<KeyEntry>| Some((key.id.clone(), key.used().filter(since)?));
        self.key_count.pin().values().filter_map(used).collect()
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
mod tests;
