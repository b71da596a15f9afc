//! The directory's entries for tenants, callers and keys.
//!
//! There are millions of callers and keys. Therefore common values are shared, and rare ones are boxed.

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use arc_swap::ArcSwap;
use jiff::Timestamp;

use crate::{
    limit::{CallerBuckets, PlanRules},
    model::{
        App, Caller, CallerId, CallerKind, Credential, CredentialId, CredentialKind, Digest, Plan, Role,
        Scopes, Status, SubscriptionStatus, Tenant,
    },
};

/// The present state of a tenant, shared by all its callers.
#[derive(Debug)]
pub(crate) struct TenantSlot {
    tenant: ArcSwap<Tenant>,
    /// `true` while the tenant's subscription has lapsed. Every decision needs it, and this makes it a single load.
    is_lapsed: AtomicBool,
}

impl TenantSlot {
    pub(crate) fn new(tenant: Tenant) -> Self {
        let is_lapsed = AtomicBool::new(tenant.standing == SubscriptionStatus::Lapsed);
        Self { tenant: ArcSwap::from_pointee(tenant), is_lapsed }
    }

    pub(super) fn store(&self, tenant: Tenant) {
        self.is_lapsed.store(tenant.standing == SubscriptionStatus::Lapsed, Ordering::Release);
        self.tenant.store(tenant.into());
    }

    pub(super) fn load(&self) -> Arc<Tenant> {
        self.tenant.load_full()
    }
}

/// A caller, as decisions need it.
#[derive(Debug)]
pub struct CallerEntry {
    /// The caller's id.
    pub id: CallerId,
    /// The caller's name.
    pub name: Box<str>,
    /// Decides whether the caller's credentials are accepted.
    pub status: Status,
    kind: Kind,
    is_removed: AtomicBool,
    /// The caller's rate limits; `None` means unlimited.
    pub buckets: Option<CallerBuckets>,
    tenant: Arc<TenantSlot>,
}

/// The kind of a caller, in one byte.
#[derive(Debug, Clone, Copy)]
enum Kind {
    ApiClient,
    App,
    Operator,
    Administrator(Role),
}

impl CallerEntry {
    /// Creates the entry of a caller's new state. Its buckets are preserved.
    pub(crate) fn new(
        caller: &Caller,
        tenant: Arc<TenantSlot>,
        rules: Option<Arc<PlanRules>>,
        before: Option<&Self>,
    ) -> Self {
        let buckets = before.and_then(|before| before.buckets.as_ref());
        Self {
            id: caller.id.clone(),
            name: caller.name.as_str().into(),
            status: caller.status,
            kind: match caller.kind {
                CallerKind::ApiClient => Kind::ApiClient,
                CallerKind::App(_) => Kind::App,
                CallerKind::Operator => Kind::Operator,
                CallerKind::Administrator(role) => Kind::Administrator(role),
            },
            is_removed: AtomicBool::new(false),
            buckets: rules.map(|rules| match buckets {
                Some(buckets) => buckets.with_rules(rules),
                None => CallerBuckets::new(rules),
            }),
            tenant,
        }
    }

    /// Returns the entry with the new values of a plan; `None` if the caller is not on it.
    pub(super) fn with_rules(&self, rules: &Arc<PlanRules>) -> Option<Self> {
        let buckets = self.buckets.as_ref().filter(|old| old.plan().id() == rules.plan().id())?;
        Some(Self {
            id: self.id.clone(),
            name: self.name.clone(),
            status: self.status,
            kind: self.kind,
            is_removed: AtomicBool::new(false),
            buckets: Some(buckets.with_rules(rules.clone())),
            tenant: self.tenant.clone(),
        })
    }

    /// Returns the plan of the caller, if it has one.
    #[must_use]
    pub fn plan(&self) -> Option<&Plan> {
        self.buckets.as_ref().map(CallerBuckets::plan)
    }

    /// Returns the kind's short name: `api_client`, `app`, `operator` or `administrator`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.kind {
            Kind::ApiClient => "api_client",
            Kind::App => "app",
            Kind::Operator => "operator",
            Kind::Administrator(_) => "administrator",
        }
    }

    /// Returns the kind as one bit of a set of kinds.
    pub(crate) fn kind_bit(&self) -> u8 {
        match self.kind {
            Kind::ApiClient => 1,
            Kind::App => 1 << 1,
            Kind::Operator => 1 << 2,
            Kind::Administrator(_) => 1 << 3,
        }
    }

    /// Returns `true` if the tenant's subscription has lapsed.
    #[must_use]
    pub fn is_lapsed(&self) -> bool {
        self.tenant.is_lapsed.load(Ordering::Acquire)
    }

    /// Returns `true` if the caller was deleted after it was identified, so that its restrictions may already be
    /// gone.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.is_removed.load(Ordering::Acquire)
    }

    pub(super) fn remove(&self) {
        self.is_removed.store(true, Ordering::Release);
    }

    /// Returns the role on the admin API, if the caller is an administrator.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        if let Kind::Administrator(role) = self.kind { Some(role) } else { None }
    }

    /// Returns the present state of the tenant.
    #[must_use]
    pub fn tenant(&self) -> Arc<Tenant> {
        self.tenant.load()
    }
}

/// A credential, as decisions need it, with its caller. Both are in the state of the look-up.
#[derive(Debug)]
pub struct KeyEntry {
    /// The credential's id; not a secret.
    pub id: CredentialId,
    /// The scopes of the credential.
    pub scopes: Arc<Scopes>,
    pub(super) digest: Digest,
    pub(super) caller: Arc<CallerEntry>,
    /// Whether the digest is that of the key's SHA-256, as for most keys that were imported from other gateways.
    pub(super) by_sha256: bool,
    /// Time of the last use, in seconds since the epoch; 0 means none since this process started.
    used: AtomicU32,
    rare_fields: Option<Box<RareFields>>,
}

/// Seconds between two recorded uses. They are rare, because each writes to memory that all workers share.
const USE: u32 = 10;

/// The rare properties of a key: another kind, a state other than enabled, an end.
#[derive(Debug, Clone)]
struct RareFields {
    kind: CredentialKind,
    status: Status,
    not_after: Option<Timestamp>,
    deprecated_at: Option<Timestamp>,
    metadata: Option<Metadata>,
}

/// The application's own data about a key.
pub(crate) type Metadata = Arc<dyn Any + Send + Sync>;

/// The properties of common keys.
const COMMON: RareFields = RareFields {
    kind: CredentialKind::Key,
    status: Status::Enabled,
    not_after: None,
    deprecated_at: None,
    metadata: None,
};
const COMMON_BY_SHA256: RareFields = RareFields { kind: CredentialKind::Sha256Key, ..COMMON };

impl RareFields {
    fn is_common(&self) -> bool {
        matches!(self.kind, CredentialKind::Key | CredentialKind::Sha256Key)
            && self.status == Status::Enabled
            && self.not_after.is_none()
            && self.deprecated_at.is_none()
            && self.metadata.is_none()
    }
}

impl KeyEntry {
    pub(super) fn new(credential: &Credential, scopes: Arc<Scopes>, caller: Arc<CallerEntry>) -> Self {
        Self::with_metadata(credential, scopes, caller, None)
    }

    /// Creates an entry with the application's own data.
    pub(crate) fn with_metadata(
        credential: &Credential,
        scopes: Arc<Scopes>,
        caller: Arc<CallerEntry>,
        metadata: Option<Metadata>,
    ) -> Self {
        let rare = RareFields {
            kind: credential.kind.clone(),
            status: credential.status,
            not_after: credential.not_after,
            deprecated_at: credential.deprecated_at,
            metadata,
        };
        Self {
            id: credential.id.clone(),
            scopes,
            digest: credential.digest,
            caller,
            by_sha256: credential.kind == CredentialKind::Sha256Key,
            used: AtomicU32::new(0),
            rare_fields: (!rare.is_common()).then(|| Box::new(rare)),
        }
    }

    /// Creates an app's own signing credential. The app is its own credential, with all rights of the app.
    pub(super) fn for_app(app: &App, digest: Digest, scopes: Arc<Scopes>, caller: Arc<CallerEntry>) -> Self {
        let kind = CredentialKind::Signing(app.secret.clone());
        Self {
            id: CredentialId::from(&caller.id),
            scopes,
            digest,
            caller,
            by_sha256: false,
            used: AtomicU32::new(0),
            rare_fields: Some(Box::new(RareFields { kind, ..COMMON })),
        }
    }

    /// Returns the key with its caller's new state.
    pub(super) fn with_caller(&self, caller: Arc<CallerEntry>) -> Self {
        Self {
            id: self.id.clone(),
            scopes: self.scopes.clone(),
            digest: self.digest,
            caller,
            by_sha256: self.by_sha256,
            used: AtomicU32::new(self.used.load(Ordering::Relaxed)),
            rare_fields: self.rare_fields.clone(),
        }
    }

    /// Copies the time of the last use from another state of the same key.
    pub(super) fn copy_last_use(&mut self, before: &Self) {
        *self.used.get_mut() = before.used.load(Ordering::Relaxed);
    }

    /// Records a use, which [`Directory::used_since`](super::Directory::used_since) reports.
    #[inline]
    pub fn note_use(&self, now: Timestamp) {
        let now = u32::try_from(now.as_second()).unwrap_or_default();
        if now >= self.used.load(Ordering::Relaxed).saturating_add(USE) {
            self.used.store(now, Ordering::Relaxed);
        }
    }

    /// Returns the time of the last use since this process started, accurate to ten seconds.
    #[must_use]
    pub fn used(&self) -> Option<Timestamp> {
        let used = self.used.load(Ordering::Relaxed);
        if used == 0 { None } else { Timestamp::from_second(used.into()).ok() }
    }

    /// Returns the caller that the credential belongs to.
    #[must_use]
    pub fn caller(&self) -> &CallerEntry {
        &self.caller
    }

    /// Returns the shared entry of the caller.
    pub(crate) fn shared_caller(&self) -> Arc<CallerEntry> {
        self.caller.clone()
    }

    /// Returns the kind of the credential.
    #[must_use]
    pub fn kind(&self) -> &CredentialKind {
        &self.restriction().kind
    }

    /// Returns the status, which decides whether the credential is accepted.
    #[must_use]
    pub fn status(&self) -> Status {
        self.restriction().status
    }

    /// Returns the first moment at which the credential is no longer accepted.
    #[must_use]
    pub fn not_after(&self) -> Option<Timestamp> {
        self.restriction().not_after
    }

    /// Returns the moment since which responses advise to use another credential.
    #[must_use]
    pub fn deprecated_at(&self) -> Option<Timestamp> {
        self.restriction().deprecated_at
    }

    /// Returns the application's own data about the key, if it is of this type.
    #[must_use]
    pub fn metadata<T: Any>(&self) -> Option<&T> {
        self.rare_fields.as_ref()?.metadata.as_ref()?.downcast_ref()
    }

    fn restriction(&self) -> &RareFields {
        let none = if self.by_sha256 { &COMMON_BY_SHA256 } else { &COMMON };
        self.rare_fields.as_deref().unwrap_or(none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Limits the memory of millions of entries: with the counts of its `Arc`, each fits into 96 bytes.
    #[test]
    fn entries_are_small() {
        assert!(size_of::<KeyEntry>() <= 80, "{}", size_of::<KeyEntry>());
        assert!(size_of::<CallerEntry>() <= 72, "{}", size_of::<CallerEntry>());
    }
}
