//! The synchronous, in-memory read side of the registry, used by policies.
//!
//! The directory contains the digest of every credential, so that no request waits for a store, and requests are
//! still served when the store fails. It follows the registry's change log, see
//! [`registry::follow()`](crate::registry::follow()).

mod apply;
mod apps;
mod entry;
mod index;
mod interner;
mod lookup;
mod reload;
mod remembered;
mod throttles;

pub use entry::{CallerEntry, KeyEntry};
pub(crate) use entry::{Metadata, TenantSlot};
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
    limit::{PlanRules, QuotaCounter, ThrottleCounter},
    model::{
        Acl, CallerId, CredentialId, Lock, LockedRequests, Peppers, PlanId, RouteName, Seq, Tenant, TenantId,
    },
};
use apps::Apps;
use index::WriterIndex;
use reload::Health;
use remembered::Generation;
use throttles::Throttles;

/// A hasher for digests. They are uniformly distributed, so their first bytes are the hash.
#[derive(Default)]
struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn write(&mut self, bytes: &[u8]) {
        let mut first = [0; 8];
        let len = bytes.len().min(8);
        first[..len].copy_from_slice(&bytes[..len]);
        self.0 = u64::from_le_bytes(first);
    }

    /// Ignores the length of the array, which is constant.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// All tenants, callers, credentials, plans, locks and grants, as decisions need them.
///
/// Readers take no lock. Writers share one.
#[derive(Debug)]
pub struct Directory {
    peppers: ArcSwap<Peppers>,
    tenants: HashMap<TenantId, Arc<TenantSlot>>,
    keys: HashMap<[u8; 16], Arc<KeyEntry>, BuildHasherDefault<FirstBytes>>,
    /// Advances with every change of `keys` and of the peppers.
    generation: Generation,
    apps: Apps,
    plan_rules: HashMap<PlanId, Arc<PlanRules>>,
    caller_locks: HashMap<CallerId, Arc<[Arc<Lock>]>>,
    resource_locks: HashMap<Box<str>, Arc<[Arc<Lock>]>>,
    lock_count: AtomicUsize,
    /// The number of keys that are stored by their SHA-256.
    sha256_key_count: AtomicUsize,
    /// The address lists of callers that have one.
    acls: HashMap<CallerId, Arc<Acl>>,
    /// The number of address lists.
    acl_count: AtomicUsize,
    /// The routes that callers have grants for, sorted.
    granted: HashMap<CallerId, Arc<[RouteName]>>,
    throttles: Throttles,
    applied_seq: watch::Sender<Seq>,
    health: Health,
    /// The number of tasks that apply a registry's change log to this directory.
    followers: AtomicUsize,
    /// The data that only writers need. Its mutex serialises them.
    index: Mutex<WriterIndex>,
}

impl Directory {
    /// Creates an empty directory that computes the digests of credentials with these peppers.
    #[must_use]
    pub fn new(peppers: Peppers) -> Self {
        Self {
            peppers: ArcSwap::from_pointee(peppers),
            tenants: HashMap::new(),
            keys: HashMap::default(),
            generation: Generation::default(),
            apps: Apps::default(),
            plan_rules: HashMap::new(),
            caller_locks: HashMap::new(),
            resource_locks: HashMap::new(),
            lock_count: AtomicUsize::new(0),
            sha256_key_count: AtomicUsize::new(0),
            acls: HashMap::new(),
            acl_count: AtomicUsize::new(0),
            granted: HashMap::new(),
            throttles: Throttles::default(),
            applied_seq: watch::Sender::new(0),
            health: Health::default(),
            followers: AtomicUsize::new(0),
            index: Mutex::default(),
        }
    }

    /// Returns the credential whose secret is this text, with its caller. Disabled and expired credentials are
    /// included.
    #[must_use]
    pub fn find(&self, presented: &str) -> Option<Arc<KeyEntry>> {
        let found = self.digests_of(presented).filter(|key| key.kind().is_bearer());
        found.or_else(|| self.find_by_sha256(presented))
    }

    /// Returns the credential whose secret is this text, like `find`, which is called unless this thread has looked
    /// the text up since the last change of credentials.
    pub(crate) fn find_remembered<E>(
        &self,
        presented: &str,
        find: impl FnOnce() -> Result<Option<Arc<KeyEntry>>, E>,
    ) -> Result<Option<Arc<KeyEntry>>, E> {
        self.generation.find(presented, find)
    }

    /// Returns the credential whose secret is this text, of those that were imported as a SHA-256. They may have
    /// any format.
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

    /// Returns `true` if there are keys that were imported as a SHA-256.
    #[must_use]
    pub fn has_by_sha256(&self) -> bool {
        self.sha256_key_count.load(Ordering::Acquire) > 0
    }

    /// Returns the signing credential with this access key, with its caller. Disabled and expired credentials are
    /// included.
    #[must_use]
    pub fn find_signing_key(&self, access_key: &str) -> Option<Arc<KeyEntry>> {
        self.digests_of(access_key).filter(|key| !key.kind().is_bearer())
    }

    /// Returns the app with this AppKey, as its own signing credential. The credential has the app's id.
    #[must_use]
    pub fn find_app_key(&self, app_key: &str) -> Option<Arc<KeyEntry>> {
        self.apps.find(app_key)
    }

    fn digests_of(&self, text: &str) -> Option<Arc<KeyEntry>> {
        let keys = self.keys.pin();
        self.peppers.load().digests(text).find_map(|digest| {
            let key = keys.get(&digest.prefix())?;
            (key.digest == digest && !key.by_sha256).then(|| key.clone())
        })
    }

    /// Returns the peppers with which digests of credentials are computed.
    #[must_use]
    pub fn peppers(&self) -> Arc<Peppers> {
        self.peppers.load_full()
    }

    /// Replaces the peppers. Credentials whose pepper is not among them are no longer found.
    pub fn set_peppers(&self, peppers: Peppers) {
        self.peppers.store(peppers.into());
        self.generation.advance();
    }

    /// Returns the tenant with this id.
    #[must_use]
    pub fn tenant(&self, id: &TenantId) -> Option<Arc<Tenant>> {
        self.tenants.pin().get(id).map(|slot| slot.load())
    }

    /// Returns the lock that denies a request for the longest time, if there is one: on the caller, or on the path
    /// or a path above it.
    ///
    /// `path` is in its [normal form](crate::normalize_path), as returned by [`Admission::path`](crate::Admission::path).
    /// It is compared byte by byte, segment by segment.
    #[must_use]
    pub fn lock(
        &self,
        caller: Option<&CallerEntry>,
        path: &str,
        safe: bool,
        now: Timestamp,
    ) -> Option<Arc<Lock>> {
        if self.lock_count.load(Ordering::Acquire) == 0 {
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

    /// Returns `true` if a caller may call from this address.
    #[must_use]
    pub fn address_allowed(&self, caller: &CallerId, address: Option<IpAddr>) -> bool {
        self.acl_count.load(Ordering::Acquire) == 0
            || self.acls.pin().get(caller).is_none_or(|acl| acl.allows(address))
    }

    /// Returns `true` if a caller has a grant for a route.
    #[must_use]
    pub fn has_grant(&self, caller: &CallerId, route: &RouteName) -> bool {
        self.granted.pin().get(caller).is_some_and(|routes| routes.binary_search(route).is_ok())
    }

    /// Returns the counter of the throttle that the tenant bound to the route, if any.
    #[must_use]
    pub fn throttle(&self, tenant: &TenantId, route: &RouteName) -> Option<Arc<ThrottleCounter>> {
        self.throttles.for_route(tenant, route)
    }

    /// Returns the counter of the caller's quota, if it has one.
    #[must_use]
    pub fn quota(&self, caller: &CallerId) -> Option<Arc<QuotaCounter>> {
        self.throttles.for_caller(caller)
    }

    /// Returns the number of the last applied change.
    #[must_use]
    pub fn applied(&self) -> Seq {
        *self.applied_seq.borrow()
    }

    /// Returns the number of credentials.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// Returns the credentials that were used in the second of this moment or later, with the time of use. Times
    /// are accurate to ten seconds. Only uses by this process are included.
    #[must_use]
    pub fn used_since(&self, moment: Timestamp) -> Vec<(CredentialId, Timestamp)> {
        // Uses are stored in whole seconds. A later use in the same second is reported again, because otherwise it
        // would never be reported.
        let since = |used: &Timestamp| used.as_second() >= moment.as_second();
        let used = |key: &Arc<KeyEntry>| Some((key.id.clone(), key.used().filter(since)?));
        self.keys.pin().values().filter_map(used).collect()
    }
}

/// Returns every path that a lock could have, up to the maximum length: `/a`, `/a/b`, `/a/b/c` of `/a/b/c`.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    let bytes = path.as_bytes();
    (1..=bytes.len().min(1024))
        .filter(move |end| bytes.get(*end).is_none_or(|next| *next == b'/'))
        .filter_map(move |end| path.get(..end))
}

#[cfg(test)]
mod tests;
