//! What the directory holds of a tenant, a caller and a key.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::Timestamp;

use crate::{
    app::{Caller, CallerId, Credential, CredentialId, Digest, Scopes, Status, Tenant},
    limit::{Budget, Budgets},
};

pub(super) type TenantSlot = ArcSwap<Tenant>;

/// A caller as decisions need it.
#[derive(Debug)]
pub struct CallerEntry {
    /// Its id.
    pub id: CallerId,
    /// Its name.
    pub name: Box<str>,
    /// The kind's short name: `api_client`, `app` or `operator`.
    pub kind: &'static str,
    /// Whether its credentials are accepted.
    pub status: Status,
    /// What it may still spend; `None` is unlimited.
    pub budgets: Option<Budgets>,
    tenant: Arc<TenantSlot>,
}

impl CallerEntry {
    /// Its tenant, as it is now.
    #[must_use]
    pub fn tenant(&self) -> Arc<Tenant> {
        self.tenant.load_full()
    }
}

/// A caller's place: keys point here, and find its entry as it is now.
#[derive(Debug, Default)]
pub(super) struct CallerSlot(ArcSwapOption<CallerEntry>);

impl CallerSlot {
    /// Puts a caller's new state; its buckets stay.
    pub(super) fn update(&self, caller: &Caller, tenant: Arc<TenantSlot>, budget: Option<Arc<Budget>>) {
        let before = self.0.load();
        let budgets = budget.map(|budget| match before.as_ref().and_then(|entry| entry.budgets.as_ref()) {
            Some(budgets) => budgets.under(budget),
            None => Budgets::new(budget),
        });
        self.0.store(Some(Arc::new(CallerEntry {
            id: caller.id.clone(),
            name: caller.name.as_str().into(),
            kind: caller.kind_name(),
            status: caller.status,
            budgets,
            tenant,
        })));
    }

    /// Puts the new figures of a plan, when the caller is on it.
    pub(super) fn rebudget(&self, budget: &Arc<Budget>) {
        let Some(before) = self.0.load_full() else { return };
        let Some(budgets) = before.budgets.as_ref().filter(|old| old.plan().id() == budget.plan().id())
        else {
            return;
        };
        self.0.store(Some(Arc::new(CallerEntry {
            id: before.id.clone(),
            name: before.name.clone(),
            kind: before.kind,
            status: before.status,
            budgets: Some(budgets.under(budget.clone())),
            tenant: before.tenant.clone(),
        })));
    }

    /// Takes the caller away: its keys are unknown from now on.
    pub(super) fn clear(&self) {
        self.0.store(None);
    }
}

/// A credential as decisions need it.
#[derive(Debug)]
pub struct KeyEntry {
    /// Its id; not a secret.
    pub id: CredentialId,
    /// Whether it is accepted.
    pub status: Status,
    /// The first moment at which it is no longer accepted.
    pub not_after: Option<Timestamp>,
    /// What it may be used for.
    pub scopes: Scopes,
    pub(super) digest: Digest,
    caller: Arc<CallerSlot>,
}

impl KeyEntry {
    pub(super) fn new(credential: &Credential, caller: Arc<CallerSlot>) -> Self {
        Self {
            id: credential.id.clone(),
            status: credential.status,
            not_after: credential.not_after,
            scopes: credential.scopes.clone(),
            digest: credential.digest,
            caller,
        }
    }

    pub(super) fn caller(&self) -> Option<Arc<CallerEntry>> {
        self.caller.0.load_full()
    }
}
