//! A registry that fails on demand, and that lets a test act between two of its calls.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::FutureExt;
use jiff::Timestamp;
use portcullis::{
    model::{
        Actor, Caller, CallerEdit, CallerId, Change, Credential, CredentialId, Entity, Grant, GrantId, Lock,
        LockId, Plan, PlanId, Quota, QuotaId, Seq, Tenant, TenantId, Throttle, ThrottleId,
    },
    registry::{
        AuthorizedWork, CallerFilter, ChangeFilter, CredentialFilter, GrantFilter, History, Registry,
        RegistryError, RegistryExt, StoredResponse, TenantFilter, UnitOfWork, memory::Memory,
    },
};

/// An error that a registry returns instead of executing a call.
pub type Failure = fn() -> RegistryError;

/// Delegates to a registry in memory.
pub struct Faulty {
    pub inner: Arc<Memory>,
    /// The failure of all calls, or only of the named method.
    failing: Mutex<Option<(Option<&'static str>, Failure)>>,
    /// A gate at which transactions wait.
    gate: tokio::sync::RwLock<()>,
    /// The number of transactions that have arrived at the gate.
    arrived: tokio::sync::watch::Sender<u32>,
    /// An edit by another actor, made right after the next read of a caller.
    meanwhile: Mutex<Option<CallerEdit>>,
    /// A credential that is deleted before the next call is executed.
    revoked: Mutex<Option<(TenantId, CredentialId)>>,
}

impl Faulty {
    pub fn new(inner: Arc<Memory>) -> Self {
        Self {
            inner,
            failing: Mutex::default(),
            gate: tokio::sync::RwLock::new(()),
            arrived: tokio::sync::watch::Sender::new(0),
            meanwhile: Mutex::default(),
            revoked: Mutex::default(),
        }
    }

    /// Blocks transactions until the guard is dropped.
    pub async fn hold(&self) -> tokio::sync::RwLockWriteGuard<'_, ()> {
        self.gate.write().await
    }

    /// Waits until this many transactions have arrived.
    pub async fn arrived(&self, count: u32) {
        self.arrived.subscribe().wait_for(|arrived| *arrived >= count).await.unwrap();
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

    /// Deletes a credential right before the next call.
    pub fn revoke_before_next(&self, tenant: TenantId, id: CredentialId) {
        *self.revoked.lock().unwrap() = Some((tenant, id));
    }

    fn check(&self, method: &'static str) -> Result<&Memory, RegistryError> {
        if let Some((tenant, id)) = self.revoked.lock().unwrap().take() {
            // A registry in memory never waits.
            let by = Actor::system("somebody else");
            let deleted = self.inner.delete_credential(&tenant, &id, None, &by).now_or_never();
            deleted.expect("it waited").unwrap();
        }
        match *self.failing.lock().unwrap() {
            Some((only, failure)) if only.is_none_or(|only| only == method) => Err(failure()),
            _ => Ok(&self.inner),
        }
    }
}

#[async_trait]
impl Registry for Faulty {
    async fn run_transaction(
        &self,
        work: &mut AuthorizedWork<'_>,
        actor: &Actor,
    ) -> Result<(), RegistryError> {
        let operations = work.operations();
        for operation in &operations {
            self.check(operation)?;
        }
        if operations.is_empty() {
            self.check("transact")?;
        }
        self.arrived.send_modify(|arrived| *arrived += 1);
        let _through = self.gate.read().await;
        self.inner.run_transaction(work, actor).await
    }

    async fn stored_response(&self, key: &[u8; 32]) -> Result<Option<StoredResponse>, RegistryError> {
        self.check("kept")?.stored_response(key).await
    }

    async fn tenant(&self, id: &TenantId) -> Result<Tenant, RegistryError> {
        self.check("tenant")?.tenant(id).await
    }

    async fn gateway(&self, project_id: &str, instance_id: &str) -> Result<Tenant, RegistryError> {
        self.check("gateway")?.gateway(project_id, instance_id).await
    }

    async fn tenants(&self, filter: &TenantFilter) -> Result<Vec<Tenant>, RegistryError> {
        self.check("tenants")?.tenants(filter).await
    }

    async fn caller(&self, tenant: &TenantId, id: &CallerId) -> Result<Caller, RegistryError> {
        let read = self.check("caller")?.caller(tenant, id).await;
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some(edit) = meanwhile {
            self.inner.update_caller(tenant, id, None, edit, &Actor::system("somebody else")).await?;
        }
        read
    }

    async fn callers(&self, filter: &CallerFilter) -> Result<Vec<Caller>, RegistryError> {
        self.check("callers")?.callers(filter).await
    }

    async fn count_callers(&self, filter: &CallerFilter) -> Result<u64, RegistryError> {
        self.check("count_callers")?.count_callers(filter).await
    }

    async fn credential(&self, tenant: &TenantId, id: &CredentialId) -> Result<Credential, RegistryError> {
        self.check("credential")?.credential(tenant, id).await
    }

    async fn credentials(&self, filter: &CredentialFilter) -> Result<Vec<Credential>, RegistryError> {
        self.check("credentials")?.credentials(filter).await
    }

    async fn plan(&self, id: &PlanId) -> Result<Plan, RegistryError> {
        self.check("plan")?.plan(id).await
    }

    async fn plans(&self, after: Option<&PlanId>, limit: u32) -> Result<Vec<Plan>, RegistryError> {
        self.check("plans")?.plans(after, limit).await
    }

    async fn lock(&self, id: &LockId) -> Result<Lock, RegistryError> {
        self.check("lock")?.lock(id).await
    }

    async fn locks(&self, after: Option<&LockId>, limit: u32) -> Result<Vec<Lock>, RegistryError> {
        self.check("locks")?.locks(after, limit).await
    }

    async fn grant(&self, tenant: &TenantId, id: &GrantId) -> Result<Grant, RegistryError> {
        self.check("grant")?.grant(tenant, id).await
    }

    async fn grants(&self, filter: &GrantFilter) -> Result<Vec<Grant>, RegistryError> {
        self.check("grants")?.grants(filter).await
    }

    async fn throttle(&self, tenant: &TenantId, id: &ThrottleId) -> Result<Throttle, RegistryError> {
        self.check("throttle")?.throttle(tenant, id).await
    }

    async fn throttles(&self, tenant: &TenantId) -> Result<Vec<Throttle>, RegistryError> {
        self.check("throttles")?.throttles(tenant).await
    }

    async fn quota(&self, tenant: &TenantId, id: &QuotaId) -> Result<Quota, RegistryError> {
        self.check("quota")?.quota(tenant, id).await
    }

    async fn quotas(&self, tenant: &TenantId) -> Result<Vec<Quota>, RegistryError> {
        self.check("quotas")?.quotas(tenant).await
    }

    async fn count_grants(&self, filter: &GrantFilter) -> Result<u64, RegistryError> {
        self.check("count_grants")?.count_grants(filter).await
    }

    async fn count_grants_of(&self, ids: &[CallerId]) -> Result<Vec<u64>, RegistryError> {
        self.check("count_grants_of")?.count_grants_of(ids).await
    }

    async fn record_last_used(&self, uses: &[(CredentialId, Timestamp)]) -> Result<(), RegistryError> {
        self.check("note_uses")?.record_last_used(uses).await
    }

    async fn last_used(&self, ids: &[CredentialId]) -> Result<Vec<Option<Timestamp>>, RegistryError> {
        self.check("last_uses")?.last_used(ids).await
    }

    async fn for_each(&self, each: &mut (dyn FnMut(Entity) + Send)) -> Result<Seq, RegistryError> {
        self.check("everything")?.for_each(each).await
    }

    async fn changes(&self, after: Seq, limit: u32) -> Result<Vec<Change>, RegistryError> {
        self.check("changes")?.changes(after, limit).await
    }

    async fn last_change(&self) -> Result<Seq, RegistryError> {
        self.check("last_change")?.last_change().await
    }

    async fn history(&self, filter: &ChangeFilter) -> Result<History, RegistryError> {
        self.check("history")?.history(filter).await
    }

    async fn wait_for_change(&self, after: Seq) {
        self.inner.wait_for_change(after).await;
    }
}
