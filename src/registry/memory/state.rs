//! What is kept.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    app::{
        Caller, CallerId, Change, Credential, CredentialId, Entity, Lock, LockId, Plan, PlanId, Tenant,
        TenantId, Verb,
    },
    registry::{Kept, Past},
};

/// Ordered by id, so that snapshots and listings are.
#[derive(Default)]
pub(super) struct State {
    pub(super) tenants: BTreeMap<TenantId, Tenant>,
    pub(super) callers: BTreeMap<CallerId, Caller>,
    pub(super) credentials: BTreeMap<CredentialId, Credential>,
    pub(super) plans: BTreeMap<PlanId, Plan>,
    pub(super) locks: BTreeMap<LockId, Lock>,
    /// The greatest that there was; also when its transaction was given up.
    pub(super) fence: u64,
    pub(super) changes: Vec<Change>,
    pub(super) uses: BTreeMap<CredentialId, Timestamp>,
    pub(super) kept: BTreeMap<[u8; 32], Kept>,
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
        }
    }

    pub(super) fn take(&mut self, entity: &Entity) -> Option<Entity> {
        match entity {
            Entity::Tenant(it) => self.tenants.remove(&it.id).map(Entity::Tenant),
            Entity::Caller(it) => self.callers.remove(&it.id).map(Entity::Caller),
            Entity::Credential(it) => self.credentials.remove(&it.id).map(Entity::Credential),
            Entity::Plan(it) => self.plans.remove(it.id()).map(Entity::Plan),
            Entity::Lock(it) => self.locks.remove(&it.id).map(Entity::Lock),
        }
    }

    /// In whole seconds.
    pub(super) fn note_use(&mut self, id: &CredentialId, at: Timestamp) {
        if self.credentials.contains_key(id) {
            let at = Timestamp::from_second(at.as_second()).unwrap_or(at);
            let last = self.uses.entry(id.clone()).or_insert(at);
            *last = at.max(*last);
        }
    }

    /// A change with what the one before it left of its entity. Nothing in memory is chained.
    pub(super) fn past(&self, change: &Change) -> Past {
        let (kind, id) = (change.entity.kind(), change.entity.id());
        let mut earlier = self.changes.iter().rev().skip_while(|other| other.seq >= change.seq);
        let last = earlier.find(|other| other.entity.kind() == kind && other.entity.id() == id);
        let before = last.filter(|other| other.verb != Verb::Deleted).map(|other| other.entity.clone());
        Past { change: change.clone(), before, hash: None }
    }
}
