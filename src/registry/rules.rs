//! Integrity rules shared by all registries.

mod import;
mod lock;
mod throttle;

pub use import::{ImportConflict, find_conflict};

use jiff::Timestamp;

use super::{Command, NewCaller, RegistryError, SecretRef, Transaction};
use crate::model::{
    Access, Caller, CallerEdit, CallerId, CallerKind, ChangeKind, Credential, CredentialEdit, CredentialId,
    CredentialKind, Entity, Grant, LockId, LockTarget, Sealed, Status, Tenant, TenantId,
};

/// The kind of resource in an administrator's scopes.
const ADMIN_RESOURCE: &str = "admin";

/// Executes commands in order and returns an entity for each, as described at
/// [`Registry::execute`](super::Registry::execute).
///
/// # Errors
/// The error of the first command that fails. Roll the transaction back after an error.
pub async fn execute(tx: &mut dyn Transaction, commands: Vec<Command>) -> Result<Vec<Entity>, RegistryError> {
    let mut done = Vec::with_capacity(commands.len());
    let mut rules = Rules { tx, held: Vec::new() };
    for command in commands {
        done.extend(rules.execute(command).await?);
    }
    Ok(done)
}

struct Rules<'a> {
    tx: &'a mut dyn Transaction,
    /// The locks that the client has proven to hold.
    held: Vec<LockId>,
}

impl Rules<'_> {
    /// Executes a command. Returns the entity in its new or last state, or `None` when the command has no entity to
    /// return.
    async fn execute(&mut self, command: Command) -> Result<Option<Entity>, RegistryError> {
        let done = match command {
            Command::AssertUnchanged(entity) => {
                let stands = self.current(&entity).await?.as_ref() == Some(&entity);
                ensure_not(!stands, RegistryError::Conflict)?;
                Ok(entity)
            }
            Command::CreateTenant(tenant) => self.create_tenant(tenant).await,
            Command::UpdateTenant { id, expected, edit } => {
                let before = self.tx.tenant(&id).await?.ok_or(RegistryError::NotFound)?;
                check_revision(expected, before.revision)?;
                match before.apply(edit, self.tx.now()) {
                    Some(after) => self.record(ChangeKind::Updated, Entity::Tenant(after)).await,
                    None => Ok(Entity::Tenant(before)),
                }
            }
            Command::DeleteTenant { id, expected } => {
                let tenant = self.tx.tenant(&id).await?.ok_or(RegistryError::NotFound)?;
                check_revision(expected, tenant.revision)?;
                ensure_not(self.tx.has_callers(&id).await?, RegistryError::InUse)?;
                for throttle in self.tx.throttles(&id).await? {
                    self.tx.write(ChangeKind::Deleted, Entity::Throttle(throttle)).await?;
                }
                for quota in self.tx.quotas(&id).await? {
                    self.tx.write(ChangeKind::Deleted, Entity::Quota(quota)).await?;
                }
                self.record(ChangeKind::Deleted, Entity::Tenant(tenant)).await
            }
            Command::CreateCaller(caller) => self.create_caller(caller.into_caller(self.tx.now())).await,
            Command::CreateCallerOr { caller, otherwise } => self.create_caller_or(caller, otherwise).await,
            Command::UpdateCaller { tenant, id, expected, edit } => {
                self.update_caller(&tenant, &id, expected, edit).await
            }
            Command::DeleteCaller { tenant, id, expected } => {
                self.delete_caller(&tenant, &id, expected).await
            }
            Command::CreateCredential { credential, most } => self.create_credential(credential, most).await,
            Command::UpdateCredential { tenant, id, expected, edit } => {
                self.update_credential(&tenant, &id, expected, edit).await
            }
            Command::DeleteCredential { tenant, id, expected } => {
                let credential = self.tx.credential(&tenant, &id).await?.ok_or(RegistryError::NotFound)?;
                check_revision(expected, credential.revision)?;
                self.record(ChangeKind::Deleted, Entity::Credential(credential)).await
            }
            Command::CreatePlan(plan) => {
                ensure_not(self.tx.plan(plan.id()).await?.is_some(), RegistryError::Conflict)?;
                self.record(ChangeKind::Created, Entity::Plan(plan)).await
            }
            Command::Reseal { tenant, secret, expected, sealed } => {
                self.reseal(&tenant, &secret, expected, sealed).await
            }
            Command::PutPlan(plan) => {
                let verb = match self.tx.plan(plan.id()).await? {
                    Some(before) if before == plan => return Ok(Some(Entity::Plan(plan))),
                    Some(_) => ChangeKind::Updated,
                    None => ChangeKind::Created,
                };
                self.record(verb, Entity::Plan(plan)).await
            }
            Command::DeletePlan(id) => {
                let plan = self.tx.plan(&id).await?.ok_or(RegistryError::NotFound)?;
                ensure_not(self.tx.plan_in_use(&id).await?, RegistryError::InUse)?;
                self.record(ChangeKind::Deleted, Entity::Plan(plan)).await
            }
            Command::PutGrant(grant) => self.put_grant(grant).await,
            Command::DeleteGrant { tenant, id } => {
                let grant = self.tx.grant(&tenant, &id).await?.ok_or(RegistryError::NotFound)?;
                self.record(ChangeKind::Deleted, Entity::Grant(grant)).await
            }
            Command::CreateThrottle { throttle, most } => self.create_throttle(throttle, most).await,
            Command::UpdateThrottle(throttle) => self.update_throttle(throttle).await,
            Command::DeleteThrottle { tenant, id, expected } => {
                self.delete_throttle(&tenant, &id, expected).await
            }
            Command::CreateQuota { quota, most } => self.create_quota(quota, most).await,
            Command::UpdateQuota(quota) => self.update_quota(quota).await,
            Command::DeleteQuota { tenant, id } => self.delete_quota(&tenant, &id).await,
            Command::AcquireLock(lock) => self.acquire_lock(lock).await,
            Command::RefreshLock { id, token, lasts } => self.refresh_lock(&id, &token, lasts).await,
            Command::ReleaseLock { id, token } => return self.release_lock(&id, &token).await,
            Command::BreakLock(id) => self.break_lock(&id).await,
            Command::ProveLock { id, token, fence } => self.prove_lock(&id, &token, fence).await,
            Command::KeepOwner { beyond } => return self.keep_owner(beyond).await.map(|()| None),
            Command::Import(entity) => import::import(self.tx, entity).await,
        };
        done.map(Some)
    }

    /// Checks that an owner has a key that is accepted now and after `beyond`, and that permits changes.
    async fn keep_owner(&mut self, beyond: Option<Timestamp>) -> Result<(), RegistryError> {
        let beyond = beyond.unwrap_or(Timestamp::MIN).max(self.tx.now());
        for owner in self.tx.owners().await? {
            let accepted = |key: &Credential| {
                key.status == Status::Enabled
                    && key.kind.is_bearer()
                    && key.not_after.is_none_or(|end| end > beyond)
                    && key.scopes.allow(ADMIN_RESOURCE, Access::Write, None)
            };
            if self.tx.credentials_of(&owner).await?.iter().any(accepted) {
                return Ok(());
            }
        }
        Err(RegistryError::LastOwner)
    }

    /// Returns the current state of an entity.
    async fn current(&mut self, like: &Entity) -> Result<Option<Entity>, RegistryError> {
        Ok(match like {
            Entity::Tenant(it) => self.tx.tenant(&it.id).await?.map(Entity::Tenant),
            Entity::Caller(it) => self.tx.caller(&it.tenant, &it.id).await?.map(Entity::Caller),
            Entity::Credential(it) => self.tx.credential(&it.tenant, &it.id).await?.map(Entity::Credential),
            Entity::Plan(it) => self.tx.plan(it.id()).await?.map(Entity::Plan),
            Entity::Lock(it) => self.tx.lock(&it.id).await?.map(Entity::Lock),
            Entity::Grant(it) => self.tx.grant(&it.tenant, &it.id).await?.map(Entity::Grant),
            Entity::Quota(it) => self.tx.quota(&it.tenant, &it.id).await?.map(Entity::Quota),
            Entity::Throttle(it) => self.tx.throttle(&it.tenant, &it.id).await?.map(Entity::Throttle),
        })
    }

    async fn record(&mut self, verb: ChangeKind, entity: Entity) -> Result<Entity, RegistryError> {
        self.tx.write(verb, entity.clone()).await?;
        Ok(entity)
    }

    async fn create_tenant(&mut self, tenant: Tenant) -> Result<Entity, RegistryError> {
        ensure_not(self.tx.has_tenant(&tenant).await?, RegistryError::Conflict)?;
        let now = self.tx.now();
        let tenant = Tenant { revision: 1, created_at: now, updated_at: now, ..tenant };
        self.record(ChangeKind::Created, Entity::Tenant(tenant)).await
    }

    async fn create_caller(&mut self, caller: Caller) -> Result<Entity, RegistryError> {
        let tenant = self.tx.tenant(&caller.tenant).await?.ok_or(RegistryError::NotFound)?;
        let full = self.tx.count_same_kind(&caller).await? >= u64::from(tenant.max_callers);
        ensure_not(full, RegistryError::LimitReached(tenant.max_callers))?;
        ensure_not(self.tx.has_caller(&caller.id).await?, RegistryError::Conflict)?;
        self.check_references(&caller).await?;
        self.record(ChangeKind::Created, Entity::Caller(caller)).await
    }

    async fn create_caller_or(
        &mut self,
        mut caller: NewCaller,
        otherwise: CallerId,
    ) -> Result<Entity, RegistryError> {
        for id in [&caller.id, &otherwise] {
            ensure_not(self.tx.caller(&caller.tenant, id).await?.is_some(), RegistryError::Conflict)?;
        }
        if self.tx.has_caller(&caller.id).await? {
            caller.id = otherwise;
        }
        self.create_caller(caller.into_caller(self.tx.now())).await
    }

    async fn update_caller(
        &mut self,
        tenant: &TenantId,
        id: &CallerId,
        expected: Option<u64>,
        edit: CallerEdit,
    ) -> Result<Entity, RegistryError> {
        let before = self.tx.caller(tenant, id).await?.ok_or(RegistryError::NotFound)?;
        self.check_not_locked(&before).await?;
        check_revision(expected, before.revision)?;
        let Some(after) = before.apply(edit, self.tx.now()) else { return Ok(Entity::Caller(before)) };
        self.check_references(&after).await?;
        self.record(ChangeKind::Updated, Entity::Caller(after)).await
    }

    async fn delete_caller(
        &mut self,
        tenant: &TenantId,
        id: &CallerId,
        expected: Option<u64>,
    ) -> Result<Entity, RegistryError> {
        let caller = self.tx.caller(tenant, id).await?.ok_or(RegistryError::NotFound)?;
        self.check_not_locked(&caller).await?;
        check_revision(expected, caller.revision)?;
        for credential in self.tx.credentials_of(&caller).await? {
            self.tx.write(ChangeKind::Deleted, Entity::Credential(credential)).await?;
        }
        for lock in self.tx.locks_on(&LockTarget::Caller(id.clone())).await? {
            self.tx.write(ChangeKind::Deleted, Entity::Lock(lock)).await?;
        }
        for grant in self.tx.grants_of(&caller).await? {
            self.tx.write(ChangeKind::Deleted, Entity::Grant(grant)).await?;
        }
        self.drop_specials(tenant, id).await?;
        self.record(ChangeKind::Deleted, Entity::Caller(caller)).await
    }

    /// Checks that the name and the AppKey of a caller are free, and that its plan and its quota exist.
    async fn check_references(&mut self, caller: &Caller) -> Result<(), RegistryError> {
        ensure_not(self.tx.name_taken(caller).await?, RegistryError::NameTaken)?;
        ensure_not(caller.app().is_some() && self.tx.has_app_key(caller).await?, RegistryError::KeyTaken)?;
        if let Some(plan) = &caller.plan {
            ensure_not(self.tx.plan(plan).await?.is_none(), RegistryError::NotFound)?;
        }
        match caller.app().and_then(|app| app.quota.as_ref()) {
            Some(bound) => {
                ensure_not(self.tx.quota(&caller.tenant, &bound.id).await?.is_none(), RegistryError::NotFound)
            }
            None => Ok(()),
        }
    }

    async fn create_credential(
        &mut self,
        credential: Credential,
        most: Option<u32>,
    ) -> Result<Entity, RegistryError> {
        let caller = self.tx.caller(&credential.tenant, &credential.caller).await?;
        let caller = caller.ok_or(RegistryError::NotFound)?;
        if let Some(most) = most {
            let alike = |other: &&Credential| other.kind.name() == credential.kind.name();
            let count = self.tx.credentials_of(&caller).await?.iter().filter(alike).count();
            ensure_not(count >= most as usize, RegistryError::LimitReached(most))?;
        }
        ensure_not(self.tx.has_credential(&credential.id).await?, RegistryError::Conflict)?;
        ensure_not(self.tx.has_digest(&credential.digest).await?, RegistryError::Conflict)?;
        let now = self.tx.now();
        let credential = Credential { revision: 1, created_at: now, updated_at: now, ..credential };
        self.record(ChangeKind::Created, Entity::Credential(credential)).await
    }

    async fn update_credential(
        &mut self,
        tenant: &TenantId,
        id: &CredentialId,
        expected: Option<u64>,
        edit: CredentialEdit,
    ) -> Result<Entity, RegistryError> {
        let before = self.tx.credential(tenant, id).await?.ok_or(RegistryError::NotFound)?;
        check_revision(expected, before.revision)?;
        match before.apply(edit, self.tx.now()) {
            Some(after) => self.record(ChangeKind::Updated, Entity::Credential(after)).await,
            None => Ok(Entity::Credential(before)),
        }
    }

    async fn reseal(
        &mut self,
        tenant: &TenantId,
        secret: &SecretRef,
        expected: u64,
        sealed: Sealed,
    ) -> Result<Entity, RegistryError> {
        let resealed = match secret {
            SecretRef::App(id) => {
                let mut caller = self.tx.caller(tenant, id).await?.ok_or(RegistryError::NotFound)?;
                check_revision(Some(expected), caller.revision)?;
                let CallerKind::App(app) = &mut caller.kind else { return Err(RegistryError::NotFound) };
                app.secret = sealed;
                Entity::Caller(caller)
            }
            SecretRef::Credential(id) => {
                let mut credential = self.tx.credential(tenant, id).await?.ok_or(RegistryError::NotFound)?;
                check_revision(Some(expected), credential.revision)?;
                match &mut credential.kind {
                    CredentialKind::Key | CredentialKind::Sha256Key => return Err(RegistryError::NotFound),
                    CredentialKind::AppCode(old) | CredentialKind::Signing(old) => *old = sealed,
                }
                Entity::Credential(credential)
            }
        };
        self.record(ChangeKind::Updated, resealed).await
    }

    async fn put_grant(&mut self, grant: Grant) -> Result<Entity, RegistryError> {
        let caller = self.tx.caller(&grant.tenant, &grant.caller).await?;
        ensure_not(caller.is_none(), RegistryError::NotFound)?;
        if let Some(there) = self.tx.grant_like(&grant).await? {
            return Ok(Entity::Grant(there));
        }
        ensure_not(self.tx.has_grant(&grant.id).await?, RegistryError::Conflict)?;
        let grant = Grant { created_at: self.tx.now(), ..grant };
        self.record(ChangeKind::Created, Entity::Grant(grant)).await
    }
}

pub(super) fn ensure_not(so: bool, fault: RegistryError) -> Result<(), RegistryError> {
    if so { Err(fault) } else { Ok(()) }
}

/// Checks that an entity still has the revision that a change is based on.
fn check_revision(expected: Option<u64>, revision: u64) -> Result<(), RegistryError> {
    ensure_not(expected.is_some_and(|expected| expected != revision), RegistryError::Conflict)
}
