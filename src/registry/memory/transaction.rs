//! A transaction of the registry in memory.

use async_trait::async_trait;
use jiff::Timestamp;

use super::state::State;
use crate::{
    model::{
        Actor, Caller, CallerId, Change, ChangeKind, Credential, CredentialId, Digest, Entity, Grant,
        GrantId, Lock, LockId, LockTarget, Plan, PlanId, Quota, QuotaId, Seq, Tenant, TenantId, Throttle,
        ThrottleId,
    },
    registry::{RegistryError, StoredResponse, Transaction},
};

/// A transaction. Changes are made at once, and undone when the transaction is dropped before it is committed.
pub(super) struct MemoryTransaction<'a> {
    state: &'a mut State,
    now: Timestamp,
    actor: &'a Actor,
    /// For each change, the new entity and the previous one.
    made: Vec<(Entity, Option<Entity>)>,
    /// The keys of the responses that the transaction stored.
    response_keys: Vec<[u8; 32]>,
    /// For each last use that was recorded, or removed with its credential, the previous value.
    noted: Vec<(CredentialId, Option<Timestamp>)>,
}

impl<'a> MemoryTransaction<'a> {
    pub(super) fn begin(state: &'a mut State, now: Timestamp, actor: &'a Actor) -> Self {
        Self { state, now, actor, made: Vec::new(), response_keys: Vec::new(), noted: Vec::new() }
    }

    /// Commits the transaction.
    pub(super) fn commit(mut self) {
        self.made.clear();
        self.response_keys.clear();
        self.noted.clear();
    }
}

impl Drop for MemoryTransaction<'_> {
    fn drop(&mut self) {
        self.state.changes.truncate(self.state.changes.len() - self.made.len());
        for (made, before) in self.made.drain(..).rev() {
            match before {
                Some(before) => self.state.put(before),
                None => self.state.take(&made),
            };
        }
        self.response_keys.drain(..).for_each(|key| drop(self.state.responses.remove(&key)));
        for (id, before) in self.noted.drain(..).rev() {
            match before {
                Some(before) => self.state.uses.insert(id, before),
                None => self.state.uses.remove(&id),
            };
        }
    }
}

#[async_trait]
impl Transaction for MemoryTransaction<'_> {
    fn now(&self) -> Timestamp {
        self.now
    }

    async fn tenant(&mut self, id: &TenantId) -> Result<Option<Tenant>, RegistryError> {
        Ok(self.state.tenants.get(id).cloned())
    }

    async fn has_tenant(&mut self, like: &Tenant) -> Result<bool, RegistryError> {
        let place = |tenant: &Tenant| {
            let gateway = tenant.gateway.as_ref();
            gateway.map(|gateway| (gateway.project_id.clone(), gateway.instance_id.clone()))
        };
        let same_place = |other: &Tenant| place(like).is_some() && place(other) == place(like);
        Ok(self.state.tenants.contains_key(&like.id) || self.state.tenants.values().any(same_place))
    }

    async fn has_callers(&mut self, tenant: &TenantId) -> Result<bool, RegistryError> {
        Ok(self.state.callers.values().any(|caller| caller.tenant == *tenant))
    }

    async fn caller(&mut self, tenant: &TenantId, id: &CallerId) -> Result<Option<Caller>, RegistryError> {
        Ok(self.state.callers.get(id).filter(|caller| caller.tenant == *tenant).cloned())
    }

    async fn has_caller(&mut self, id: &CallerId) -> Result<bool, RegistryError> {
        Ok(self.state.callers.contains_key(id))
    }

    async fn count_same_kind(&mut self, caller: &Caller) -> Result<u64, RegistryError> {
        Ok(self.state.callers.values().filter(|other| alike(caller, other)).count() as u64)
    }

    async fn name_taken(&mut self, caller: &Caller) -> Result<bool, RegistryError> {
        let named = |other: &Caller| alike(caller, other) && other.name == caller.name;
        Ok(self.state.callers.values().any(|other| other.id != caller.id && named(other)))
    }

    async fn has_app_key(&mut self, caller: &Caller) -> Result<bool, RegistryError> {
        let key = |caller: &Caller| caller.app().map(|app| app.key.clone());
        let same = |other: &Caller| key(other).is_some() && key(other) == key(caller);
        Ok(self.state.callers.values().any(|other| other.id != caller.id && same(other)))
    }

    async fn owners(&mut self) -> Result<Vec<Caller>, RegistryError> {
        let owns = |caller: &&Caller| caller.owns_everything();
        Ok(self.state.callers.values().filter(owns).cloned().collect())
    }

    async fn credential(
        &mut self,
        tenant: &TenantId,
        id: &CredentialId,
    ) -> Result<Option<Credential>, RegistryError> {
        Ok(self.state.credentials.get(id).filter(|credential| credential.tenant == *tenant).cloned())
    }

    async fn has_credential(&mut self, id: &CredentialId) -> Result<bool, RegistryError> {
        Ok(self.state.credentials.contains_key(id))
    }

    async fn has_digest(&mut self, digest: &Digest) -> Result<bool, RegistryError> {
        Ok(self.state.credentials.values().any(|other| other.digest == *digest))
    }

    async fn credentials_of(&mut self, caller: &Caller) -> Result<Vec<Credential>, RegistryError> {
        let theirs = |credential: &&Credential| credential.caller == caller.id;
        Ok(self.state.credentials.values().filter(theirs).cloned().collect())
    }

    async fn plan(&mut self, id: &PlanId) -> Result<Option<Plan>, RegistryError> {
        Ok(self.state.plans.get(id).cloned())
    }

    async fn plan_in_use(&mut self, plan: &PlanId) -> Result<bool, RegistryError> {
        Ok(self.state.callers.values().any(|caller| caller.plan.as_ref() == Some(plan)))
    }

    async fn lock(&mut self, id: &LockId) -> Result<Option<Lock>, RegistryError> {
        Ok(self.state.locks.get(id).cloned())
    }

    async fn locks_on(&mut self, target: &LockTarget) -> Result<Vec<Lock>, RegistryError> {
        let on_it = |lock: &&Lock| lock.target.overlaps(target);
        Ok(self.state.locks.values().filter(on_it).cloned().collect())
    }

    async fn count_held_by(&mut self, holder: &str) -> Result<u64, RegistryError> {
        Ok(self.state.locks.values().filter(|lock| lock.holder() == holder).count() as u64)
    }

    async fn last_fence(&mut self) -> Result<u64, RegistryError> {
        Ok(self.state.fence)
    }

    async fn expired_locks(&mut self) -> Result<Vec<Lock>, RegistryError> {
        Ok(self.state.locks.values().filter(|lock| !lock.is_active(self.now)).cloned().collect())
    }

    async fn throttle(
        &mut self,
        tenant: &TenantId,
        id: &ThrottleId,
    ) -> Result<Option<Throttle>, RegistryError> {
        Ok(self.state.throttles.get(id).filter(|throttle| throttle.tenant == *tenant).cloned())
    }

    async fn has_throttle(&mut self, id: &ThrottleId) -> Result<bool, RegistryError> {
        Ok(self.state.throttles.contains_key(id))
    }

    async fn throttles(&mut self, tenant: &TenantId) -> Result<Vec<Throttle>, RegistryError> {
        let theirs = |throttle: &&Throttle| throttle.tenant == *tenant;
        Ok(self.state.throttles.values().filter(theirs).cloned().collect())
    }

    async fn quota(&mut self, tenant: &TenantId, id: &QuotaId) -> Result<Option<Quota>, RegistryError> {
        Ok(self.state.quotas.get(id).filter(|quota| quota.tenant == *tenant).cloned())
    }

    async fn has_quota(&mut self, id: &QuotaId) -> Result<bool, RegistryError> {
        Ok(self.state.quotas.contains_key(id))
    }

    async fn quotas(&mut self, tenant: &TenantId) -> Result<Vec<Quota>, RegistryError> {
        Ok(self.state.quotas.values().filter(|quota| quota.tenant == *tenant).cloned().collect())
    }

    async fn apps_with_quota(&mut self, quota: &QuotaId) -> Result<Vec<Caller>, RegistryError> {
        let has = |caller: &&Caller| {
            caller.app().and_then(|app| app.quota.as_ref()).is_some_and(|bound| bound.id == *quota)
        };
        Ok(self.state.callers.values().filter(has).cloned().collect())
    }

    async fn is_empty(&mut self) -> Result<bool, RegistryError> {
        // Every entity but a plan and a lock belongs to a tenant.
        Ok(self.state.tenants.is_empty() && self.state.locks.is_empty())
    }

    async fn record_last_used(&mut self, id: &CredentialId, at: Timestamp) -> Result<(), RegistryError> {
        self.noted.push((id.clone(), self.state.uses.get(id).copied()));
        self.state.note_use(id, at);
        Ok(())
    }

    async fn grant(&mut self, tenant: &TenantId, id: &GrantId) -> Result<Option<Grant>, RegistryError> {
        Ok(self.state.grants.get(id).filter(|grant| grant.tenant == *tenant).cloned())
    }

    async fn has_grant(&mut self, id: &GrantId) -> Result<bool, RegistryError> {
        Ok(self.state.grants.contains_key(id))
    }

    async fn grant_like(&mut self, like: &Grant) -> Result<Option<Grant>, RegistryError> {
        Ok(self.state.grants.values().find(|grant| grant.is_same_grant(like)).cloned())
    }

    async fn grants_of(&mut self, caller: &Caller) -> Result<Vec<Grant>, RegistryError> {
        let theirs = |grant: &&Grant| grant.caller == caller.id;
        Ok(self.state.grants.values().filter(theirs).cloned().collect())
    }

    async fn write(&mut self, verb: ChangeKind, entity: Entity) -> Result<(), RegistryError> {
        let before = match verb {
            ChangeKind::Created | ChangeKind::Updated => self.state.put(entity.clone()),
            ChangeKind::Deleted => self.state.take(&entity),
        };
        if let (ChangeKind::Deleted, Entity::Credential(gone)) = (verb, &entity) {
            let used = self.state.uses.remove(&gone.id);
            self.noted.push((gone.id.clone(), used));
        }
        let seq = self.state.changes.len() as Seq + 1;
        let change = Change {
            seq,
            at: self.now,
            actor: Actor::recorded(self.actor.as_str()),
            verb,
            entity: entity.clone(),
        };
        self.state.changes.push(change);
        self.made.push((entity, before));
        Ok(())
    }

    async fn stored_response(&mut self, key: &[u8; 32]) -> Result<Option<StoredResponse>, RegistryError> {
        Ok(self.state.responses.get(key).cloned())
    }

    async fn store_response(
        &mut self,
        key: &[u8; 32],
        response: StoredResponse,
    ) -> Result<(), RegistryError> {
        self.state.responses.insert(*key, response);
        self.response_keys.push(*key);
        Ok(())
    }

    async fn purge_expired(&mut self) -> Result<u64, RegistryError> {
        self.state.responses.retain(|_, response| self.now < response.expires_at);
        Ok(self.state.responses.len() as u64)
    }
}

/// Returns `true` if both callers have the same tenant and kind.
fn alike(one: &Caller, other: &Caller) -> bool {
    one.tenant == other.tenant && one.kind_name() == other.kind_name()
}
