//! A registry in the process's memory: for tests, and for services that fill it themselves at start.
//!
//! Nothing survives the end of the process.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;

use super::{Fault, NewCaller, Registry, Snapshot};
use crate::{
    app::{
        Actor, Caller, CallerEdit, CallerId, Change, Credential, CredentialId, Entity, Lock, LockId, Plan,
        Seq, Standing, Status, Target, Tenant, TenantId, Verb,
    },
    clock::Clock,
};

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

/// Ordered by id, so that snapshots and listings are.
#[derive(Default)]
struct State {
    tenants: BTreeMap<TenantId, Tenant>,
    callers: BTreeMap<CallerId, Caller>,
    credentials: BTreeMap<CredentialId, Credential>,
    plans: BTreeMap<crate::app::PlanId, Plan>,
    locks: BTreeMap<LockId, Lock>,
    changes: Vec<Change>,
}

impl Memory {
    /// An empty registry.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::default(), seq: watch::Sender::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a change: all checks come before the first write, so that an error leaves nothing behind.
    fn write<T>(&self, change: impl FnOnce(&mut State, Timestamp) -> Result<T, Fault>) -> Result<T, Fault> {
        let mut state = self.state();
        let done = change(&mut state, self.clock.now().time)?;
        self.seq.send_replace(state.changes.len() as Seq);
        Ok(done)
    }
}

impl State {
    fn log(&mut self, at: Timestamp, actor: &Actor, verb: Verb, entity: Entity) {
        let seq = self.changes.len() as Seq + 1;
        self.changes.push(Change { seq, at, actor: actor.clone(), verb, entity });
    }

    fn caller(&self, tenant: &TenantId, id: &CallerId) -> Result<&Caller, Fault> {
        self.callers.get(id).filter(|caller| caller.tenant == *tenant).ok_or(Fault::NotFound)
    }

    fn unlocked(&self, caller: &Caller, now: Timestamp) -> Result<(), Fault> {
        let held = self.locks.values().filter(|lock| lock.holds_caller(caller, now));
        held.max_by_key(|lock| lock.expires_at)
            .map_or(Ok(()), |lock| Err(Fault::Locked(Box::new(lock.clone()))))
    }

    /// Whether name and key of a caller are free for it, and its plan is there.
    fn fits(&self, caller: &Caller) -> Result<(), Fault> {
        let mut others = self.callers.values().filter(|other| other.id != caller.id);
        let same_name = |other: &Caller| {
            other.tenant == caller.tenant
                && other.kind_name() == caller.kind_name()
                && other.name == caller.name
        };
        if others.clone().any(same_name) {
            return Err(Fault::NameTaken);
        }
        if caller.app().is_some_and(|app| others.any(|other| other.app().is_some_and(|it| it.key == app.key)))
        {
            return Err(Fault::KeyTaken);
        }
        if caller.plan.as_ref().is_some_and(|plan| !self.plans.contains_key(plan)) {
            return Err(Fault::NotFound);
        }
        Ok(())
    }

    fn drop_locks(&mut self, at: Timestamp, actor: &Actor, gone: impl Fn(&Lock) -> bool) {
        let gone: Vec<Lock> = self.locks.values().filter(|lock| gone(lock)).cloned().collect();
        for lock in gone {
            self.locks.remove(&lock.id);
            self.log(at, actor, Verb::Deleted, Entity::Lock(lock));
        }
    }
}

#[async_trait]
impl Registry for Memory {
    async fn create_tenant(&self, tenant: Tenant, actor: &Actor) -> Result<Tenant, Fault> {
        self.write(|state, now| {
            let place = |tenant: &Tenant| {
                tenant
                    .gateway
                    .as_ref()
                    .map(|gateway| (gateway.project_id.clone(), gateway.instance_id.clone()))
            };
            let taken = place(&tenant).is_some()
                && state.tenants.values().any(|other| place(other) == place(&tenant));
            if taken || state.tenants.contains_key(&tenant.id) {
                return Err(Fault::Conflict);
            }
            let tenant = Tenant { revision: 1, created_at: now, updated_at: now, ..tenant };
            state.tenants.insert(tenant.id.clone(), tenant.clone());
            state.log(now, actor, Verb::Created, Entity::Tenant(tenant.clone()));
            Ok(tenant)
        })
    }

    async fn tenant(&self, id: &TenantId) -> Result<Tenant, Fault> {
        self.state().tenants.get(id).cloned().ok_or(Fault::NotFound)
    }

    async fn gateway(&self, project_id: &str, instance_id: &str) -> Result<Tenant, Fault> {
        let is = |tenant: &&Tenant| {
            tenant
                .gateway
                .as_ref()
                .is_some_and(|gateway| gateway.project_id == project_id && gateway.instance_id == instance_id)
        };
        self.state().tenants.values().find(is).cloned().ok_or(Fault::NotFound)
    }

    async fn set_standing(&self, id: &TenantId, standing: Standing, actor: &Actor) -> Result<Tenant, Fault> {
        self.write(|state, now| {
            let tenant = state.tenants.get_mut(id).ok_or(Fault::NotFound)?;
            if tenant.standing != standing {
                tenant.standing = standing;
                tenant.revision += 1;
                tenant.updated_at = now;
                let tenant = tenant.clone();
                state.log(now, actor, Verb::Updated, Entity::Tenant(tenant));
            }
            Ok(state.tenants[id].clone())
        })
    }

    async fn create_caller(&self, caller: NewCaller, actor: &Actor) -> Result<Caller, Fault> {
        self.write(|state, now| {
            let caller = caller.at(now);
            let tenant = state.tenants.get(&caller.tenant).ok_or(Fault::NotFound)?;
            let kin =
                |other: &&Caller| other.tenant == caller.tenant && other.kind_name() == caller.kind_name();
            if state.callers.values().filter(kin).count() >= tenant.max_callers as usize {
                return Err(Fault::Full(tenant.max_callers));
            }
            if state.callers.contains_key(&caller.id) {
                return Err(Fault::Conflict);
            }
            state.fits(&caller)?;
            state.callers.insert(caller.id.clone(), caller.clone());
            state.log(now, actor, Verb::Created, Entity::Caller(caller.clone()));
            Ok(caller)
        })
    }

    async fn caller(&self, tenant: &TenantId, id: &CallerId) -> Result<Caller, Fault> {
        self.state().caller(tenant, id).cloned()
    }

    async fn update_caller(
        &self,
        tenant: &TenantId,
        id: &CallerId,
        expected: Option<u64>,
        edit: CallerEdit,
        actor: &Actor,
    ) -> Result<Caller, Fault> {
        self.write(|state, now| {
            let before = state.caller(tenant, id)?.clone();
            state.unlocked(&before, now)?;
            if expected.is_some_and(|revision| revision != before.revision) {
                return Err(Fault::Conflict);
            }
            let Some(after) = before.edited(edit, now) else { return Ok(before) };
            state.fits(&after)?;
            state.callers.insert(id.clone(), after.clone());
            state.log(now, actor, Verb::Updated, Entity::Caller(after.clone()));
            Ok(after)
        })
    }

    async fn delete_caller(&self, tenant: &TenantId, id: &CallerId, actor: &Actor) -> Result<(), Fault> {
        self.write(|state, now| {
            let caller = state.caller(tenant, id)?.clone();
            state.unlocked(&caller, now)?;
            let keys: Vec<_> = state.credentials.values().filter(|key| key.caller == *id).cloned().collect();
            for key in keys {
                state.credentials.remove(&key.id);
                state.log(now, actor, Verb::Deleted, Entity::Credential(key));
            }
            let target = Target::Caller(id.clone());
            state.drop_locks(now, actor, |lock| lock.target == target);
            state.callers.remove(id);
            state.log(now, actor, Verb::Deleted, Entity::Caller(caller));
            Ok(())
        })
    }

    async fn create_credential(&self, credential: Credential, actor: &Actor) -> Result<Credential, Fault> {
        self.write(|state, now| {
            state.caller(&credential.tenant, &credential.caller)?;
            let taken = |other: &Credential| other.id == credential.id || other.digest == credential.digest;
            if state.credentials.values().any(taken) {
                return Err(Fault::Conflict);
            }
            let credential = Credential { revision: 1, created_at: now, updated_at: now, ..credential };
            state.credentials.insert(credential.id.clone(), credential.clone());
            state.log(now, actor, Verb::Created, Entity::Credential(credential.clone()));
            Ok(credential)
        })
    }

    async fn set_credential_status(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
        status: Status,
        actor: &Actor,
    ) -> Result<Credential, Fault> {
        self.write(|state, now| {
            let found = state.credentials.get_mut(id).filter(|credential| credential.tenant == *tenant);
            let credential = found.ok_or(Fault::NotFound)?;
            if credential.status != status {
                credential.status = status;
                credential.revision += 1;
                credential.updated_at = now;
                let credential = credential.clone();
                state.log(now, actor, Verb::Updated, Entity::Credential(credential));
            }
            Ok(state.credentials[id].clone())
        })
    }

    async fn put_plan(&self, plan: Plan, actor: &Actor) -> Result<(), Fault> {
        self.write(|state, now| {
            let verb = match state.plans.get(plan.id()) {
                Some(before) if *before == plan => return Ok(()),
                Some(_) => Verb::Updated,
                None => Verb::Created,
            };
            state.plans.insert(plan.id().clone(), plan.clone());
            state.log(now, actor, verb, Entity::Plan(plan));
            Ok(())
        })
    }

    async fn create_lock(&self, lock: Lock, actor: &Actor) -> Result<Lock, Fault> {
        self.write(|state, now| {
            let taken = state.locks.get(&lock.id).is_some_and(|other| other.holds(now));
            if taken || !lock.holds(now) {
                return Err(Fault::Conflict);
            }
            state.drop_locks(now, actor, |other| !other.holds(now));
            let lock = Lock { acquired_at: now, ..lock };
            state.locks.insert(lock.id.clone(), lock.clone());
            state.log(now, actor, Verb::Created, Entity::Lock(lock.clone()));
            Ok(lock)
        })
    }

    async fn delete_lock(&self, id: &LockId, actor: &Actor) -> Result<(), Fault> {
        self.write(|state, now| {
            let lock = state.locks.remove(id).ok_or(Fault::NotFound)?;
            state.log(now, actor, Verb::Deleted, Entity::Lock(lock));
            Ok(())
        })
    }

    async fn snapshot(&self) -> Result<Snapshot, Fault> {
        let state = self.state();
        let entities = (state.tenants.values().cloned().map(Entity::Tenant))
            .chain(state.plans.values().cloned().map(Entity::Plan))
            .chain(state.callers.values().cloned().map(Entity::Caller))
            .chain(state.credentials.values().cloned().map(Entity::Credential))
            .chain(state.locks.values().cloned().map(Entity::Lock))
            .collect();
        Ok(Snapshot { seq: state.changes.len() as Seq, entities })
    }

    async fn changes(&self, after: Seq, limit: u32) -> Result<Vec<Change>, Fault> {
        let after = usize::try_from(after).unwrap_or(usize::MAX);
        Ok(self.state().changes.iter().skip(after).take(limit as usize).cloned().collect())
    }

    async fn changed(&self, after: Seq) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.seq.subscribe().wait_for(|seq| *seq > after).await;
    }
}
