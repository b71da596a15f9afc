//! A registry that fails on demand, and lets a test act between two of its calls.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use portcullis::{
    app::{
        Actor, Caller, CallerEdit, CallerId, Change, Credential, CredentialId, Lock, LockId, Plan, Seq,
        Standing, Status, Tenant, TenantId,
    },
    registry::{Fault, NewCaller, Registry, Snapshot, memory::Memory},
};

/// What a registry answers instead of doing anything.
pub type Failure = fn() -> Fault;

/// Delegates to a registry in memory.
pub struct Faulty {
    pub inner: Arc<Memory>,
    /// All calls fail so, or only those of the named method.
    failing: Mutex<Option<(Option<&'static str>, Failure)>>,
    /// Edits made by somebody else right after the next reading of a caller.
    meanwhile: Mutex<Option<CallerEdit>>,
}

impl Faulty {
    pub fn new(inner: Arc<Memory>) -> Self {
        Self { inner, failing: Mutex::default(), meanwhile: Mutex::default() }
    }

    pub fn fail(&self, method: Option<&'static str>, failure: Failure) {
        *self.failing.lock().unwrap() = Some((method, failure));
    }

    pub fn recover(&self) {
        *self.failing.lock().unwrap() = None;
    }

    pub fn meanwhile(&self, edit: CallerEdit) {
        *self.meanwhile.lock().unwrap() = Some(edit);
    }

    fn check(&self, method: &'static str) -> Result<&Memory, Fault> {
        match *self.failing.lock().unwrap() {
            Some((only, failure)) if only.is_none_or(|only| only == method) => Err(failure()),
            _ => Ok(&self.inner),
        }
    }
}

#[async_trait]
impl Registry for Faulty {
    async fn create_tenant(&self, tenant: Tenant, actor: &Actor) -> Result<Tenant, Fault> {
        self.check("create_tenant")?.create_tenant(tenant, actor).await
    }

    async fn tenant(&self, id: &TenantId) -> Result<Tenant, Fault> {
        self.check("tenant")?.tenant(id).await
    }

    async fn gateway(&self, project_id: &str, instance_id: &str) -> Result<Tenant, Fault> {
        self.check("gateway")?.gateway(project_id, instance_id).await
    }

    async fn set_standing(&self, id: &TenantId, standing: Standing, actor: &Actor) -> Result<Tenant, Fault> {
        self.check("set_standing")?.set_standing(id, standing, actor).await
    }

    async fn create_caller(&self, caller: NewCaller, actor: &Actor) -> Result<Caller, Fault> {
        self.check("create_caller")?.create_caller(caller, actor).await
    }

    async fn caller(&self, tenant: &TenantId, id: &CallerId) -> Result<Caller, Fault> {
        let read = self.check("caller")?.caller(tenant, id).await;
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some(edit) = meanwhile {
            self.inner.update_caller(tenant, id, None, edit, &Actor("somebody else".into())).await?;
        }
        read
    }

    async fn update_caller(
        &self,
        tenant: &TenantId,
        id: &CallerId,
        expected: Option<u64>,
        edit: CallerEdit,
        actor: &Actor,
    ) -> Result<Caller, Fault> {
        self.check("update_caller")?.update_caller(tenant, id, expected, edit, actor).await
    }

    async fn delete_caller(&self, tenant: &TenantId, id: &CallerId, actor: &Actor) -> Result<(), Fault> {
        self.check("delete_caller")?.delete_caller(tenant, id, actor).await
    }

    async fn create_credential(&self, credential: Credential, actor: &Actor) -> Result<Credential, Fault> {
        self.check("create_credential")?.create_credential(credential, actor).await
    }

    async fn set_credential_status(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
        status: Status,
        actor: &Actor,
    ) -> Result<Credential, Fault> {
        self.check("set_credential_status")?.set_credential_status(tenant, id, status, actor).await
    }

    async fn put_plan(&self, plan: Plan, actor: &Actor) -> Result<(), Fault> {
        self.check("put_plan")?.put_plan(plan, actor).await
    }

    async fn create_lock(&self, lock: Lock, actor: &Actor) -> Result<Lock, Fault> {
        self.check("create_lock")?.create_lock(lock, actor).await
    }

    async fn delete_lock(&self, id: &LockId, actor: &Actor) -> Result<(), Fault> {
        self.check("delete_lock")?.delete_lock(id, actor).await
    }

    async fn snapshot(&self) -> Result<Snapshot, Fault> {
        self.check("snapshot")?.snapshot().await
    }

    async fn changes(&self, after: Seq, limit: u32) -> Result<Vec<Change>, Fault> {
        self.check("changes")?.changes(after, limit).await
    }

    async fn changed(&self, after: Seq) {
        self.inner.changed(after).await;
    }
}
