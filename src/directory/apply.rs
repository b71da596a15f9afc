//! Application of changes of the registry.

use std::sync::{Arc, MutexGuard, atomic::Ordering};

use super::{
    Directory,
    entry::{CallerEntry, KeyEntry, TenantSlot},
    index::WriterIndex,
};
use crate::{
    limit::PlanRules,
    model::{
        Acl, Caller, CallerId, Change, ChangeKind, Credential, Digest, Entity, EnvironmentId, Grant, Lock,
        LockTarget, Plan, RouteName, Scopes, Seq, Tenant,
    },
    sync,
};

impl Directory {
    /// Loads a snapshot of the registry as of change `seq`.
    pub fn load(&self, entities: impl IntoIterator<Item = Entity>, seq: Seq) {
        entities.into_iter().for_each(|entity| self.load_one(entity));
        self.finish_load(seq);
    }

    /// Loads one entity. Each entity must follow those that it refers to. [`finish_load`](Self::finish_load) ends the load.
    pub fn load_one(&self, entity: Entity) {
        self.put(&mut self.writing(), entity);
    }

    /// Ends a load: all entities that existed at change `seq` are loaded.
    pub fn finish_load(&self, seq: Seq) {
        self.applied_seq.send_replace(seq);
    }

    /// Applies one change. A change that was applied already is ignored.
    pub fn apply(&self, change: Change) {
        let mut index = self.writing();
        if change.seq <= self.applied() {
            return;
        }
        match change.verb {
            ChangeKind::Created | ChangeKind::Updated => self.put(&mut index, change.entity),
            ChangeKind::Deleted => self.remove(&mut index, change.entity),
        }
        self.applied_seq.send_replace(change.seq);
    }

    pub(super) fn writing(&self) -> MutexGuard<'_, WriterIndex> {
        sync::lock(&self.index)
    }

    fn put(&self, index: &mut WriterIndex, entity: Entity) {
        match entity {
            Entity::Tenant(tenant) => self.put_tenant(tenant),
            Entity::Caller(caller) => self.put_caller(index, &caller),
            Entity::Credential(credential) => self.put_key(index, &credential),
            Entity::Plan(plan) => self.put_plan(index, plan),
            Entity::Quota(quota) => self.throttles.put_quota(&mut index.rules, quota),
            Entity::Throttle(throttle) => self.throttles.put_throttle(&mut index.rules, throttle),
            Entity::Grant(grant) => self.edit_grants(index, &grant, |routes| {
                if let Err(at) = routes.binary_search(&grant.route) {
                    routes.insert(at, grant.route.clone());
                }
            }),
            // A refreshed lock replaces its previous state; its target is unchanged.
            Entity::Lock(lock) => self.edit_locks(&lock.target.clone(), |locks| {
                locks.retain(|other| other.id != lock.id);
                locks.push(Arc::new(lock));
            }),
        }
    }

    fn remove(&self, index: &mut WriterIndex, entity: Entity) {
        match entity {
            Entity::Tenant(tenant) => drop(self.tenants.pin().remove(&tenant.id)),
            Entity::Caller(caller) => self.remove_caller(index, &caller.id),
            Entity::Credential(credential) => {
                self.hide(&credential.digest);
                index.remove_key(&credential.caller, &credential.id);
            }
            Entity::Plan(plan) => drop(self.plan_rules.pin().remove(plan.id())),
            Entity::Quota(quota) => self.throttles.remove_quota(&mut index.rules, &quota),
            Entity::Throttle(throttle) => self.throttles.remove_throttle(&mut index.rules, &throttle),
            Entity::Grant(grant) => {
                self.edit_grants(index, &grant, |routes| routes.retain(|route| *route != grant.route));
            }
            Entity::Lock(lock) => {
                self.edit_locks(&lock.target, |locks| locks.retain(|other| other.id != lock.id));
            }
        }
    }

    pub(super) fn remove_caller(&self, index: &mut WriterIndex, caller: &CallerId) {
        // The caller's credentials are removed first, so that no request is identified as this caller any more, and
        // its restrictions afterwards. Requests that are being decided learn that the caller was removed.
        let row = index.remove(caller);
        if let Some(row) = &row {
            row.caller.remove();
            for key in row.keys() {
                self.hide_key(key);
            }
        }
        self.apps.remove(&mut index.apps, caller);
        self.granted.pin().remove(caller);
        self.put_acl(caller, None);
        self.throttles.bind(&mut index.rules, caller, None);
    }

    fn put_tenant(&self, tenant: Tenant) {
        let tenants = self.tenants.pin();
        match tenants.get(&tenant.id) {
            Some(slot) => slot.store(tenant),
            None => drop(tenants.insert(tenant.id.clone(), Arc::new(TenantSlot::new(tenant)))),
        }
    }

    fn put_caller(&self, index: &mut WriterIndex, caller: &Caller) {
        // The address list is stored before the caller's credentials can be found.
        self.put_acl(&caller.id, caller.app().and_then(|app| app.acl.as_ref()));
        let Some(tenant) = self.tenants.pin().get(&caller.tenant).cloned() else {
            tracing::error!(caller = %caller.id, tenant = %caller.tenant, "caller ignored: unknown tenant");
            return;
        };
        let quota = caller.app().and_then(|app| app.quota.as_ref()).map(|bound| &bound.id);
        if !self.throttles.bind(&mut index.rules, &caller.id, quota) {
            // An unknown app is better than one without its limit.
            tracing::error!(caller = %caller.id, ?quota, "app ignored: unknown quota");
            return;
        }
        let rules = caller.plan.as_ref().and_then(|plan| self.plan_rules.pin().get(plan).cloned());
        if caller.plan.is_some() && rules.is_none() {
            // An unknown caller is better than one without its limits.
            tracing::error!(caller = %caller.id, plan = ?caller.plan, "caller ignored: unknown plan");
            return;
        }
        let before = index.caller(&caller.id);
        let after = CallerEntry::new(caller, tenant, rules, before.map(|before| &**before));
        self.show(index.insert(after));
        match caller.app().zip(index.caller(&caller.id).cloned()) {
            Some((app, entry)) => {
                let digest = self.peppers.load().current().digest(&app.key);
                let signs = KeyEntry::for_app(app, digest, index.scopes(&Scopes::All), entry);
                self.apps.put(&mut index.apps, &app.key, signs);
            }
            None => self.apps.remove(&mut index.apps, &caller.id),
        }
    }

    fn put_key(&self, index: &mut WriterIndex, credential: &Credential) {
        let Some(caller) = index.caller(&credential.caller).cloned() else {
            tracing::error!(credential = %credential.id, "credential ignored: unknown caller");
            return;
        };
        let scopes = index.scopes(&credential.scopes);
        let mut key = KeyEntry::new(credential, scopes, caller);
        let keys = self.keys.pin();
        if let Some(before) = keys.get(&key.digest.prefix()).filter(|before| before.id == key.id) {
            key.copy_last_use(before);
        }
        let key = Arc::new(key);
        // A credential has one caller and one digest: its previous digest no longer finds it.
        if let Some(before) =
            keys.get(&key.digest.prefix()).filter(|before| before.caller.id != key.caller.id)
        {
            index.remove_key(&before.caller.id, &before.id);
        }
        if let Some(before) = index.insert_key(&key).filter(|before| before.digest != key.digest) {
            self.hide(&before.digest);
        }
        self.show([key]);
    }

    fn put_plan(&self, index: &mut WriterIndex, plan: Plan) {
        let rules = Arc::new(PlanRules::new(plan));
        self.plan_rules.pin().insert(rules.plan().id().clone(), rules.clone());
        let after: Vec<_> = index.callers().filter_map(|caller| caller.with_rules(&rules)).collect();
        for caller in after {
            let id = caller.id.clone();
            self.show(index.insert(caller));
            if let Some(caller) = index.caller(&id) {
                self.apps.follow(&index.apps, caller);
            }
        }
    }

    /// Publishes the present state of keys and of their callers.
    fn show(&self, keys: impl IntoIterator<Item = Arc<KeyEntry>>) {
        let map = self.keys.pin();
        for key in keys {
            let now = usize::from(key.by_sha256);
            let before =
                map.insert(key.digest.prefix(), key).map_or(0, |before| usize::from(before.by_sha256));
            self.sha256_key_count.fetch_add(now.wrapping_sub(before), Ordering::AcqRel);
        }
        self.generation.advance();
    }

    /// Removes the key with this digest from the view of decisions.
    pub(super) fn hide(&self, digest: &Digest) {
        if self.keys.pin().remove(&digest.prefix()).is_some_and(|key| key.by_sha256) {
            self.sha256_key_count.fetch_sub(1, Ordering::AcqRel);
        }
        self.generation.advance();
    }

    fn put_acl(&self, caller: &CallerId, acl: Option<&Acl>) {
        let acls = self.acls.pin();
        match acl {
            Some(acl) => {
                if acls.insert(caller.clone(), Arc::new(acl.clone())).is_none() {
                    self.acl_count.fetch_add(1, Ordering::AcqRel);
                }
            }
            None => {
                if acls.remove(caller).is_some() {
                    self.acl_count.fetch_sub(1, Ordering::AcqRel);
                }
            }
        }
    }

    fn edit_grants(&self, index: &mut WriterIndex, grant: &Grant, edit: impl FnOnce(&mut Vec<RouteName>)) {
        if grant.environment.as_str() != EnvironmentId::RELEASE {
            return;
        }
        let granted = self.granted.pin();
        let mut routes = granted.get(&grant.caller).map(|routes| routes.to_vec()).unwrap_or_default();
        edit(&mut routes);
        if routes.is_empty() {
            granted.remove(&grant.caller);
        } else {
            granted.insert(grant.caller.clone(), index.routes(&routes));
        }
    }

    pub(super) fn edit_locks(&self, target: &LockTarget, edit: impl FnOnce(&mut Vec<Arc<Lock>>)) {
        let edited = |locks: Option<&Arc<[Arc<Lock>]>>| {
            let mut locks = locks.map(|locks| locks.to_vec()).unwrap_or_default();
            let before = locks.len();
            edit(&mut locks);
            (before, locks)
        };
        let (before, after) = match target {
            LockTarget::Caller(id) => {
                let map = self.caller_locks.pin();
                let (before, locks) = edited(map.get(id));
                let after = locks.len();
                if locks.is_empty() {
                    map.remove(id)
                } else {
                    map.insert(id.clone(), locks.into())
                };
                (before, after)
            }
            LockTarget::Resource(path) => {
                let map = self.resource_locks.pin();
                let (before, locks) = edited(map.get(path.as_str()));
                let after = locks.len();
                if locks.is_empty() {
                    map.remove(path.as_str())
                } else {
                    map.insert(path.as_str().into(), locks.into())
                };
                (before, after)
            }
        };
        self.lock_count.fetch_add(after.wrapping_sub(before), Ordering::AcqRel);
    }
}
