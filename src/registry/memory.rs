//! A registry in memory, for tests and for services that fill it at startup.
//!
//! All data is lost at the end of the process.

mod state;
mod transaction;

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    ops::Bound,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;

use super::{
    AuthorizedWork, CallerFilter, ChangeFilter, CredentialFilter, GrantFilter, History, Order, Outcome,
    Registry, RegistryError, StoredResponse, TenantFilter, UnitOfWork, filter::newest_first,
};
use crate::{
    clock::Clock,
    model::{
        Actor, ApigInstance, Caller, CallerId, Change, Credential, CredentialId, Entity, EntityKind, Grant,
        GrantId, Lock, LockId, Plan, PlanId, Quota, QuotaId, Seq, Tenant, TenantId, Throttle, ThrottleId,
    },
    sync,
};
use state::State;
use transaction::MemoryTransaction;

/// A registry in memory.
///
/// ```
/// use std::sync::Arc;
/// use portcullis::{clock::SystemClock, registry::memory::Memory};
///
/// let registry = Memory::new(Arc::new(SystemClock::new()));
/// ```
pub struct Memory {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    seq: watch::Sender<Seq>,
}

impl Memory {
    /// Creates an empty registry.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::default(), seq: watch::Sender::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        sync::lock(&self.state)
    }
}

/// Returns a page of a map, ordered by id.
fn page<I: Ord, T: Clone>(
    all: &BTreeMap<I, T>,
    after: Option<&I>,
    limit: u32,
    wanted: impl Fn(&T) -> bool,
) -> Vec<T> {
    let behind = after.map_or(Bound::Unbounded, Bound::Excluded);
    let found = all.range((behind, Bound::Unbounded)).map(|(_, it)| it);
    found.filter(|it| wanted(it)).take(limit as usize).cloned().collect()
}

fn paged<'a, T: Clone + 'a>(found: impl Iterator<Item = &'a T>, offset: u64, limit: u32) -> Vec<T> {
    found.skip(usize::try_from(offset).unwrap_or(usize::MAX)).take(limit as usize).cloned().collect()
}

#[async_trait]
impl Registry for Memory {
    async fn run_transaction(
        &self,
        work: &mut AuthorizedWork<'_>,
        actor: &Actor,
    ) -> Result<(), RegistryError> {
        let (mut state, now) = (self.state(), self.clock.now().time);
        let mut draft = MemoryTransaction::begin(&mut state, now, actor);
        // The work may only wait for this transaction, which never waits, so the mutex is not held across an await.
        let end = match pin!(work.perform(&mut draft)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(end) => end?,
            Poll::Pending => return Err(RegistryError::Unavailable("a memory transaction waited".into())),
        };
        if end == Outcome::Commit {
            draft.commit();
            self.seq.send_replace(state.changes.len() as Seq);
        }
        Ok(())
    }

    async fn stored_response(&self, key: &[u8; 32]) -> Result<Option<StoredResponse>, RegistryError> {
        let now = self.clock.now().time;
        Ok(self.state().responses.get(key).filter(|response| now < response.expires_at).cloned())
    }

    async fn tenant(&self, id: &TenantId) -> Result<Tenant, RegistryError> {
        self.state().tenants.get(id).cloned().ok_or(RegistryError::NotFound)
    }

    async fn gateway(&self, project_id: &str, instance_id: &str) -> Result<Tenant, RegistryError> {
        let is =
            |gateway: &ApigInstance| gateway.project_id == project_id && gateway.instance_id == instance_id;
        let is = |tenant: &&Tenant| tenant.gateway.as_ref().is_some_and(is);
        self.state().tenants.values().find(is).cloned().ok_or(RegistryError::NotFound)
    }

    async fn tenants(&self, filter: &TenantFilter) -> Result<Vec<Tenant>, RegistryError> {
        Ok(page(&self.state().tenants, filter.after.as_ref(), filter.limit, |tenant| {
            filter.name.as_ref().is_none_or(|name| tenant.name == *name)
                && filter.standing.is_none_or(|standing| tenant.standing == standing)
        }))
    }

    async fn caller(&self, tenant: &TenantId, id: &CallerId) -> Result<Caller, RegistryError> {
        let state = self.state();
        let found = state.callers.get(id).filter(|caller| caller.tenant == *tenant);
        found.cloned().ok_or(RegistryError::NotFound)
    }

    async fn callers(&self, filter: &CallerFilter) -> Result<Vec<Caller>, RegistryError> {
        let state = self.state();
        let found = state.matching_callers(filter);
        Ok(match filter.order {
            Order::Id => paged(found, filter.offset, filter.limit),
            Order::Newest => {
                let mut found: Vec<&Caller> = found.collect();
                found.sort_unstable_by_key(|caller| Reverse((caller.created_at, &caller.id)));
                paged(found.into_iter(), filter.offset, filter.limit)
            }
        })
    }

    async fn count_callers(&self, filter: &CallerFilter) -> Result<u64, RegistryError> {
        Ok(self.state().matching_callers(filter).count() as u64)
    }

    async fn grant(&self, tenant: &TenantId, id: &GrantId) -> Result<Grant, RegistryError> {
        let state = self.state();
        let found = state.grants.get(id).filter(|grant| grant.tenant == *tenant);
        found.cloned().ok_or(RegistryError::NotFound)
    }

    async fn grants(&self, filter: &GrantFilter) -> Result<Vec<Grant>, RegistryError> {
        let state = self.state();
        let mut found: Vec<&Grant> = state.matching_grants(filter).collect();
        found.sort_unstable_by_key(|grant| Reverse((grant.created_at, &grant.id)));
        Ok(paged(found.into_iter(), filter.offset, filter.limit))
    }

    async fn count_grants(&self, filter: &GrantFilter) -> Result<u64, RegistryError> {
        Ok(self.state().matching_grants(filter).count() as u64)
    }

    async fn count_grants_of(&self, ids: &[CallerId]) -> Result<Vec<u64>, RegistryError> {
        let state = self.state();
        let count = |id: &CallerId| state.grants.values().filter(|grant| grant.caller == *id).count() as u64;
        Ok(ids.iter().map(count).collect())
    }

    async fn throttle(&self, tenant: &TenantId, id: &ThrottleId) -> Result<Throttle, RegistryError> {
        let state = self.state();
        let found = state.throttles.get(id).filter(|throttle| throttle.tenant == *tenant);
        found.cloned().ok_or(RegistryError::NotFound)
    }

    async fn throttles(&self, tenant: &TenantId) -> Result<Vec<Throttle>, RegistryError> {
        let state = self.state();
        let theirs = state.throttles.values().filter(|throttle| throttle.tenant == *tenant);
        Ok(newest_first(theirs.cloned().collect(), |throttle| (throttle.created_at, throttle.id.clone())))
    }

    async fn quota(&self, tenant: &TenantId, id: &QuotaId) -> Result<Quota, RegistryError> {
        let state = self.state();
        let found = state.quotas.get(id).filter(|quota| quota.tenant == *tenant);
        found.cloned().ok_or(RegistryError::NotFound)
    }

    async fn quotas(&self, tenant: &TenantId) -> Result<Vec<Quota>, RegistryError> {
        let state = self.state();
        let theirs = state.quotas.values().filter(|quota| quota.tenant == *tenant);
        Ok(newest_first(theirs.cloned().collect(), |quota| (quota.created_at, quota.id.clone())))
    }

    async fn credential(&self, tenant: &TenantId, id: &CredentialId) -> Result<Credential, RegistryError> {
        let state = self.state();
        let found = state.credentials.get(id).filter(|credential| credential.tenant == *tenant);
        found.cloned().ok_or(RegistryError::NotFound)
    }

    async fn credentials(&self, filter: &CredentialFilter) -> Result<Vec<Credential>, RegistryError> {
        Ok(page(&self.state().credentials, filter.after.as_ref(), filter.limit, |credential| {
            filter.tenant.as_ref().is_none_or(|tenant| credential.tenant == *tenant)
                && filter.caller.as_ref().is_none_or(|caller| credential.caller == *caller)
        }))
    }

    async fn plan(&self, id: &PlanId) -> Result<Plan, RegistryError> {
        self.state().plans.get(id).cloned().ok_or(RegistryError::NotFound)
    }

    async fn plans(&self, after: Option<&PlanId>, limit: u32) -> Result<Vec<Plan>, RegistryError> {
        Ok(page(&self.state().plans, after, limit, |_| true))
    }

    async fn lock(&self, id: &LockId) -> Result<Lock, RegistryError> {
        self.state().locks.get(id).cloned().ok_or(RegistryError::NotFound)
    }

    async fn locks(&self, after: Option<&LockId>, limit: u32) -> Result<Vec<Lock>, RegistryError> {
        Ok(page(&self.state().locks, after, limit, |_| true))
    }

    async fn record_last_used(&self, uses: &[(CredentialId, Timestamp)]) -> Result<(), RegistryError> {
        let mut state = self.state();
        for (id, at) in uses {
            state.note_use(id, *at);
        }
        Ok(())
    }

    async fn last_used(&self, ids: &[CredentialId]) -> Result<Vec<Option<Timestamp>>, RegistryError> {
        let state = self.state();
        Ok(ids.iter().map(|id| state.uses.get(id).copied()).collect())
    }

    async fn for_each(&self, each: &mut (dyn FnMut(Entity) + Send)) -> Result<Seq, RegistryError> {
        let state = self.state();
        for kind in EntityKind::ALL {
            state.each(kind, each);
        }
        Ok(state.changes.len() as Seq)
    }

    async fn changes(&self, after: Seq, limit: u32) -> Result<Vec<Change>, RegistryError> {
        let after = usize::try_from(after).unwrap_or(usize::MAX);
        Ok(self.state().changes.iter().skip(after).take(limit as usize).cloned().collect())
    }

    async fn last_change(&self) -> Result<Seq, RegistryError> {
        Ok(self.state().changes.len() as Seq)
    }

    async fn history(&self, filter: &ChangeFilter) -> Result<History, RegistryError> {
        let state = self.state();
        let last = state.changes.len() as Seq;
        let wanted = |change: &&Change| {
            filter.kind.is_none_or(|kind| change.entity.kind() == kind)
                && filter.id.as_ref().is_none_or(|id| change.entity.id() == id)
                && filter.actor.as_ref().is_none_or(|actor| change.actor.name() == actor)
        };
        let from = usize::try_from(filter.after).unwrap_or(usize::MAX);
        let until = state.changes.iter().take_while(|change| change.seq <= filter.until(last));
        let found = until.skip(from).filter(wanted).take(filter.limit as usize);
        let changes: Vec<_> = found.map(|change| state.past(change)).collect();
        let next = filter.next(&changes, last);
        Ok(History { changes, next })
    }

    async fn wait_for_change(&self, after: Seq) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.seq.subscribe().wait_for(|seq| *seq > after).await;
    }
}
