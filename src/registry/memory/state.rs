//! The data of the registry in memory.

use std::{collections::BTreeMap, ops::Bound};

use jiff::Timestamp;

use crate::{
    model::{
        Caller, CallerId, Change, ChangeKind, Credential, CredentialId, Entity, EntityKind, Grant, GrantId,
        Lock, LockId, Plan, PlanId, Quota, QuotaId, Tenant, TenantId, Throttle, ThrottleId,
    },
    registry::{CallerFilter, ChangeWithPrevious, GrantFilter, StoredResponse},
};

/// All data, in maps ordered by id, because snapshots and listings are ordered by id.
#[derive(Default)]
pub(super) struct State {
    pub(super) tenants: BTreeMap<TenantId, Tenant>,
    pub(super) callers: BTreeMap<CallerId, Caller>,
    pub(super) credentials: BTreeMap<CredentialId, Credential>,
    pub(super) plans: BTreeMap<PlanId, Plan>,
    pub(super) locks: BTreeMap<LockId, Lock>,
    pub(super) grants: BTreeMap<GrantId, Grant>,
    pub(super) quotas: BTreeMap<QuotaId, Quota>,
    pub(super) throttles: BTreeMap<ThrottleId, Throttle>,
    /// The greatest fence so far, including fences of transactions that were rolled back.
    pub(super) fence: u64,
    pub(super) changes: Vec<Change>,
    pub(super) uses: BTreeMap<CredentialId, Timestamp>,
    pub(super) responses: BTreeMap<[u8; 32], StoredResponse>,
}

impl State {
    pub(super) fn put(&mut self, entity: Entity) -> Option<Entity> {
        match entity {
            Entity::Tenant(it) => self.tenants.insert(it.id.clone(), it).map(Entity::Tenant),
            Entity::Caller(it) => self.callers.insert(it.id.clone(), it).map(Entity::Caller),
            Entity::Credential(it) => self.credentials.insert(it.id.clone(), it).map(Entity::Credential),
            Entity::Plan(it) => self.plans.insert(it.id().clone(), it).map(Entity::Plan),
            Entity::Lock(it) => {
                self.fence = self.fence.max(it.fence);
                self.locks.insert(it.id.clone(), it).map(Entity::Lock)
            }
            Entity::Grant(it) => self.grants.insert(it.id.clone(), it).map(Entity::Grant),
            Entity::Quota(it) => self.quotas.insert(it.id.clone(), it).map(Entity::Quota),
            Entity::Throttle(it) => self.throttles.insert(it.id.clone(), it).map(Entity::Throttle),
        }
    }

    pub(super) fn take(&mut self, entity: &Entity) -> Option<Entity> {
        match entity {
            Entity::Tenant(it) => self.tenants.remove(&it.id).map(Entity::Tenant),
            Entity::Caller(it) => self.callers.remove(&it.id).map(Entity::Caller),
            Entity::Credential(it) => self.credentials.remove(&it.id).map(Entity::Credential),
            Entity::Plan(it) => self.plans.remove(it.id()).map(Entity::Plan),
            Entity::Lock(it) => self.locks.remove(&it.id).map(Entity::Lock),
            Entity::Grant(it) => self.grants.remove(&it.id).map(Entity::Grant),
            Entity::Quota(it) => self.quotas.remove(&it.id).map(Entity::Quota),
            Entity::Throttle(it) => self.throttles.remove(&it.id).map(Entity::Throttle),
        }
    }

    /// Passes all entities of a kind to `each`.
    pub(super) fn each(&self, kind: EntityKind, each: &mut (dyn FnMut(Entity) + Send)) {
        match kind {
            EntityKind::Tenant => self.tenants.values().cloned().map(Entity::Tenant).for_each(each),
            EntityKind::Caller => self.callers.values().cloned().map(Entity::Caller).for_each(each),
            EntityKind::Credential => {
                self.credentials.values().cloned().map(Entity::Credential).for_each(each);
            }
            EntityKind::Plan => self.plans.values().cloned().map(Entity::Plan).for_each(each),
            EntityKind::Lock => self.locks.values().cloned().map(Entity::Lock).for_each(each),
            EntityKind::Grant => self.grants.values().cloned().map(Entity::Grant).for_each(each),
            EntityKind::Quota => self.quotas.values().cloned().map(Entity::Quota).for_each(each),
            EntityKind::Throttle => self.throttles.values().cloned().map(Entity::Throttle).for_each(each),
        }
    }

    /// Records a last use in whole seconds.
    pub(super) fn note_use(&mut self, id: &CredentialId, at: Timestamp) {
        if self.credentials.contains_key(id) {
            let at = Timestamp::from_second(at.as_second()).unwrap_or(at);
            let last = self.uses.entry(id.clone()).or_insert(at);
            *last = at.max(*last);
        }
    }

    /// Returns the callers that match a filter, ordered by id.
    pub(super) fn matching_callers<'a>(
        &'a self,
        filter: &'a CallerFilter,
    ) -> impl Iterator<Item = &'a Caller> {
        let behind = filter.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let found = self.callers.range((behind, Bound::Unbounded)).map(|(_, caller)| caller);
        let granted = |caller: &Caller| self.grants.values().any(|grant| grant.caller == caller.id);
        let fits = move |caller: &Caller| filter.granted.is_none_or(|wanted| granted(caller) == wanted);
        found.filter(|caller| filter.matches(caller)).filter(move |caller| fits(caller))
    }

    /// Returns the grants that match a filter, ordered by id.
    pub(super) fn matching_grants<'a>(&'a self, filter: &'a GrantFilter) -> impl Iterator<Item = &'a Grant> {
        let name = |grant: &Grant| self.callers.get(&grant.caller).map_or("", |caller| &caller.name);
        self.grants.values().filter(move |grant| filter.matches(grant, name(grant)))
    }

    /// Returns a change with the state of its entity after the previous change. There is no hash chain in memory.
    pub(super) fn past(&self, change: &Change) -> ChangeWithPrevious {
        let (kind, id) = (change.entity.kind(), change.entity.id());
        let mut earlier = self.changes.iter().rev().skip_while(|other| other.seq >= change.seq);
        let last = earlier.find(|other| other.entity.kind() == kind && other.entity.id() == id);
        let before = last.filter(|other| other.verb != ChangeKind::Deleted).map(|other| other.entity.clone());
        ChangeWithPrevious { change: change.clone(), before, hash: None }
    }
}
