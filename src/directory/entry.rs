//! What the directory holds of a tenant, a caller and a key.
//!
//! There are millions of callers and keys, so what many have in common they share, and what few have is
//! boxed.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use arc_swap::ArcSwap;
use jiff::Timestamp;

use crate::{
    model::{
        App, Caller, CallerId, CallerKind, Credential, CredentialId, CredentialKind, Digest, Role, Scopes,
        SubscriptionStatus, Status, Tenant,
    },
    limit::{PlanRules, CallerBuckets},
};

/// A tenant as it is now, shared by all its callers.
#[derive(Debug)]
pub(super) struct TenantSlot {
    tenant: ArcSwap<Tenant>,
    /// Set while its subscription has lapsed: every decision asks, and one load is all that it takes here.
    is_lapsed: AtomicBool,
}

impl TenantSlot {
    pub(super) fn new(tenant: Tenant) -> Self {
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

/// A caller as decisions need it.
#[derive(Debug)]
pub struct CallerEntry {
    /// Its id.
    pub id: CallerId,
    /// Its name.
    pub name: Box<str>,
    /// Whether its credentials are accepted.
    pub status: Status,
    kind: Kind,
    is_removed: AtomicBool,
    /// What it may still spend; `None` is unlimited.
    pub budgets: Option<CallerBuckets>,
    tenant: Arc<TenantSlot>,
}

/// A caller's kind, in one byte.
#[derive(Debug, Clone, Copy)]
enum Kind {
    ApiClient,
    App,
    Operator,
    Administrator(Role),
}

impl CallerEntry {
    /// A caller's new state; its buckets stay.
    pub(super) fn new(
        caller: &Caller,
        tenant: Arc<TenantSlot>,
        budget: Option<Arc<PlanRules>>,
        before: Option<&Self>,
    ) -> Self {
        let buckets = before.and_then(|before| before.budgets.as_ref());
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
            budgets: budget.map(|budget| match buckets {
                Some(buckets) => buckets.with_rules(budget),
                None => CallerBuckets::new(budget),
            }),
            tenant,
        }
    }

    /// The same under the new figures of a plan; `None` when the caller is not on it.
    pub(super) fn with_rules(&self, budget: &Arc<PlanRules>) -> Option<Self> {
        let budgets = self.budgets.as_ref().filter(|old| old.plan().id() == budget.plan().id())?;
        Some(Self {
            id: self.id.clone(),
            name: self.name.clone(),
            status: self.status,
            kind: self.kind,
            is_removed: AtomicBool::new(false),
            budgets: Some(budgets.with_rules(budget.clone())),
            tenant: self.tenant.clone(),
        })
    }

    /// The kind's short name: `api_client`, `app`, `operator` or `administrator`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.kind {
            Kind::ApiClient => "api_client",
            Kind::App => "app",
            Kind::Operator => "operator",
            Kind::Administrator(_) => "administrator",
        }
    }

    /// Its kind, as one bit of a set of kinds.
    pub(crate) fn kind_bit(&self) -> u8 {
        match self.kind {
            Kind::ApiClient => 1,
            Kind::App => 1 << 1,
            Kind::Operator => 1 << 2,
            Kind::Administrator(_) => 1 << 3,
        }
    }

    /// Returns `true` if its tenant's subscription has lapsed.
    #[must_use]
    pub fn is_lapsed(&self) -> bool {
        self.tenant.is_lapsed.load(Ordering::Acquire)
    }

    /// Returns `true` if it was deleted after it was recognised, so that what it was confined to may be gone.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.is_removed.load(Ordering::Acquire)
    }

    pub(super) fn remove(&self) {
        self.is_removed.store(true, Ordering::Release);
    }

    /// What it may do on the admin API, when it is an administrator.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        if let Kind::Administrator(role) = self.kind { Some(role) } else { None }
    }

    /// Its tenant, as it is now.
    #[must_use]
    pub fn tenant(&self) -> Arc<Tenant> {
        self.tenant.load()
    }
}

/// A credential as decisions need it, with its caller as both were when it was looked up.
#[derive(Debug)]
pub struct KeyEntry {
    /// Its id; not a secret.
    pub id: CredentialId,
    /// What it may be used for.
    pub scopes: Arc<Scopes>,
    pub(super) digest: Digest,
    pub(super) caller: Arc<CallerEntry>,
    /// Whether the digest is that of its SHA-256. Where other gateways' keys came from, most are.
    pub(super) by_sha256: bool,
    /// When it was last used, in seconds since the epoch; 0 is never since this process began.
    used: AtomicU32,
    rare_fields: Option<Box<RareFields>>,
}

/// How many seconds of use are one: so seldom is what all who decide share written to.
const USE: u32 = 10;

/// What most keys have not: another kind, a state other than enabled, an end.
#[derive(Debug, Clone, PartialEq)]
struct RareFields {
    kind: CredentialKind,
    status: Status,
    not_after: Option<Timestamp>,
    deprecated_at: Option<Timestamp>,
}

/// What keys have that have none of it.
const COMMON: RareFields =
    RareFields { kind: CredentialKind::Key, status: Status::Enabled, not_after: None, deprecated_at: None };
const COMMON_BY_SHA256: RareFields = RareFields { kind: CredentialKind::Sha256Key, ..COMMON };

impl KeyEntry {
    pub(super) fn new(credential: &Credential, scopes: Arc<Scopes>, caller: Arc<CallerEntry>) -> Self {
        let restriction = RareFields {
            kind: credential.kind.clone(),
            status: credential.status,
            not_after: credential.not_after,
            deprecated_at: credential.deprecated_at,
        };
        let none = restriction == COMMON || restriction == COMMON_BY_SHA256;
        Self {
            id: credential.id.clone(),
            scopes,
            digest: credential.digest,
            caller,
            by_sha256: credential.kind == CredentialKind::Sha256Key,
            used: AtomicU32::new(0),
            rare_fields: (!none).then(|| Box::new(restriction)),
        }
    }

    /// What an app signs with: its own secret. The app is its own credential, and may all that it may.
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

    /// The same key of its caller's new state.
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

    /// Takes over when another state of the same key was used.
    pub(super) fn copy_last_use(&mut self, before: &Self) {
        *self.used.get_mut() = before.used.load(Ordering::Relaxed);
    }

    /// Notes that it is used; what [`Directory::used_since`](super::Directory::used_since) tells.
    #[inline]
    pub fn note_use(&self, now: Timestamp) {
        let now = u32::try_from(now.as_second()).unwrap_or_default();
        if now >= self.used.load(Ordering::Relaxed).saturating_add(USE) {
            self.used.store(now, Ordering::Relaxed);
        }
    }

    /// When it was last used since this process began, ten seconds more or less.
    #[must_use]
    pub fn used(&self) -> Option<Timestamp> {
        let used = self.used.load(Ordering::Relaxed);
        if used == 0 { None } else { Timestamp::from_second(used.into()).ok() }
    }

    /// Whose it is.
    #[must_use]
    pub fn caller(&self) -> &CallerEntry {
        &self.caller
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> &CredentialKind {
        &self.restriction().kind
    }

    /// Whether it is accepted.
    #[must_use]
    pub fn status(&self) -> Status {
        self.restriction().status
    }

    /// The first moment at which it is no longer accepted.
    #[must_use]
    pub fn not_after(&self) -> Option<Timestamp> {
        self.restriction().not_after
    }

    /// Since when whoever uses it is told to use another one.
    #[must_use]
    pub fn deprecated_at(&self) -> Option<Timestamp> {
        self.restriction().deprecated_at
    }

    fn restriction(&self) -> &RareFields {
        let none = if self.by_sha256 { &COMMON_BY_SHA256 } else { &COMMON };
        self.rare_fields.as_deref().unwrap_or(none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a million of them cost: both fit, with the counts of their `Arc`, into 96 bytes.
    #[test]
    fn entries_are_small() {
        assert!(size_of::<KeyEntry>() <= 80, "{}", size_of::<KeyEntry>());
        assert!(size_of::<CallerEntry>() <= 72, "{}", size_of::<CallerEntry>());
    }
}
