//! What every registry holds its changes to, whatever it keeps them in.

mod authorize;
mod import;
mod lock;
mod throttle;

pub use authorize::AuthorizedWork;
pub(super) use authorize::check;
pub use import::{Clash, clash};

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Command, Fault, Kept, NewCaller, SecretOf};
use crate::app::{
    Access, Caller, CallerEdit, CallerId, CallerKind, Credential, CredentialEdit, CredentialId,
    CredentialKind, Digest, Entity, Grant, GrantId, Lock, LockId, Plan, PlanId, Quota, QuotaId, Sealed,
    Status, Target, Tenant, TenantId, Throttle, ThrottleId, Verb,
};

/// The kind of resource that an administrator's scopes name.
const ADMIN_RESOURCE: &str = "admin";

/// A store within one transaction: what the rules ask of it, and how they change it.
///
/// Nobody else writes while it is open. What it reads includes what it has written. Every reading may fail
/// with [`Fault::Unavailable`] and [`Fault::Corrupt`].
#[async_trait]
pub trait Transaction: Send {
    /// The moment of everything in it, by the registry's clock.
    fn now(&self) -> Timestamp;

    /// A tenant.
    async fn tenant(&mut self, id: &TenantId) -> Result<Option<Tenant>, Fault>;

    /// Whether there is a tenant with this one's id, or with its project and instance.
    async fn has_tenant(&mut self, like: &Tenant) -> Result<bool, Fault>;

    /// Whether a tenant has a caller.
    async fn has_callers(&mut self, tenant: &TenantId) -> Result<bool, Fault>;

    /// A caller of a tenant.
    async fn caller(&mut self, tenant: &TenantId, id: &CallerId) -> Result<Option<Caller>, Fault>;

    /// Whether any tenant has a caller of this id.
    async fn has_caller(&mut self, id: &CallerId) -> Result<bool, Fault>;

    /// How many callers of this one's kind its tenant has.
    async fn count_like(&mut self, caller: &Caller) -> Result<u64, Fault>;

    /// Whether another caller of this one's tenant and kind has its name.
    async fn has_name(&mut self, caller: &Caller) -> Result<bool, Fault>;

    /// Whether another caller, of any tenant, has this one's AppKey.
    async fn has_app_key(&mut self, caller: &Caller) -> Result<bool, Fault>;

    /// A credential of a tenant.
    async fn credential(&mut self, tenant: &TenantId, id: &CredentialId)
    -> Result<Option<Credential>, Fault>;

    /// Whether any tenant has a credential of this id.
    async fn has_credential(&mut self, id: &CredentialId) -> Result<bool, Fault>;

    /// Whether any tenant has a credential of this digest.
    async fn has_digest(&mut self, digest: &Digest) -> Result<bool, Fault>;

    /// The administrators that own everything and are enabled.
    async fn owners(&mut self) -> Result<Vec<Caller>, Fault>;

    /// The credentials of a caller, by id.
    async fn credentials_of(&mut self, caller: &Caller) -> Result<Vec<Credential>, Fault>;

    /// A plan.
    async fn plan(&mut self, id: &PlanId) -> Result<Option<Plan>, Fault>;

    /// Whether a caller is on a plan.
    async fn is_used(&mut self, plan: &PlanId) -> Result<bool, Fault>;

    /// A lock, expired or not.
    async fn lock(&mut self, id: &LockId) -> Result<Option<Lock>, Fault>;

    /// Every lock whose target [meets](Target::meets) this one, by id: expired ones, and those of other tenants
    /// too.
    async fn locks_on(&mut self, target: &Target) -> Result<Vec<Lock>, Fault>;

    /// The number of locks of this [holder](Lock::holder), expired ones too.
    async fn count_held_by(&mut self, holder: &str) -> Result<u64, Fault>;

    /// The greatest fence that a lock was ever made with, whatever became of it; 0 when there was none.
    async fn last_fence(&mut self) -> Result<u64, Fault>;

    /// Every lock that no longer holds, by id.
    async fn expired_locks(&mut self) -> Result<Vec<Lock>, Fault>;

    /// A grant of a tenant.
    async fn grant(&mut self, tenant: &TenantId, id: &GrantId) -> Result<Option<Grant>, Fault>;

    /// Whether any tenant has a grant of this id.
    async fn has_grant(&mut self, id: &GrantId) -> Result<bool, Fault>;

    /// The grant that [is like](Grant::is_like) this one.
    async fn grant_like(&mut self, like: &Grant) -> Result<Option<Grant>, Fault>;

    /// The grants of a caller, by id.
    async fn grants_of(&mut self, caller: &Caller) -> Result<Vec<Grant>, Fault>;

    /// A throttle of a tenant.
    async fn throttle(&mut self, tenant: &TenantId, id: &ThrottleId) -> Result<Option<Throttle>, Fault>;

    /// Whether any tenant has a throttle of this id.
    async fn has_throttle(&mut self, id: &ThrottleId) -> Result<bool, Fault>;

    /// The throttles of a tenant, by id.
    async fn throttles(&mut self, tenant: &TenantId) -> Result<Vec<Throttle>, Fault>;

    /// A quota of a tenant.
    async fn quota(&mut self, tenant: &TenantId, id: &QuotaId) -> Result<Option<Quota>, Fault>;

    /// Whether any tenant has a quota of this id.
    async fn has_quota(&mut self, id: &QuotaId) -> Result<bool, Fault>;

    /// The quotas of a tenant, by id.
    async fn quotas(&mut self, tenant: &TenantId) -> Result<Vec<Quota>, Fault>;

    /// Some of the apps that have a quota, if any has.
    async fn some_with(&mut self, quota: &QuotaId) -> Result<Vec<Caller>, Fault>;

    /// Whether there is nothing, or nothing but plans: those come from a configuration too.
    async fn is_empty(&mut self) -> Result<bool, Fault>;

    /// Makes a change and its row in the change log.
    async fn make(&mut self, verb: Verb, entity: Entity) -> Result<(), Fault>;

    /// Notes when a credential that is there was last used, unless a later use is noted. Not a change.
    async fn note_use(&mut self, id: &CredentialId, at: Timestamp) -> Result<(), Fault>;

    /// The record of a request that takes effect once, expired or not.
    async fn kept(&mut self, key: &[u8; 32]) -> Result<Option<Kept>, Fault>;

    /// Keeps such a record. No change: the log does not tell of it.
    async fn keep(&mut self, key: &[u8; 32], kept: Kept) -> Result<(), Fault>;

    /// Drops the records that have expired, and says how many are left.
    async fn forget(&mut self) -> Result<u64, Fault>;
}

/// Does one thing after the other; returns, for each, the entity as it is since, or as it last was, as
/// [`Registry::execute`](super::Registry::execute) says.
///
/// # Errors
/// That of the first which cannot be done. The transaction is then to be given up.
pub async fn execute(tx: &mut dyn Transaction, commands: Vec<Command>) -> Result<Vec<Entity>, Fault> {
    let mut done = Vec::with_capacity(commands.len());
    let mut rules = Rules { tx, held: Vec::new() };
    for command in commands {
        done.extend(rules.execute(command).await?);
    }
    Ok(done)
}

struct Rules<'a> {
    tx: &'a mut dyn Transaction,
    /// The locks that who asks has proven to hold.
    held: Vec<LockId>,
}

impl Rules<'_> {
    /// The entity as it is since, or as it last was; none when there is nothing left to release, or to tell.
    async fn execute(&mut self, command: Command) -> Result<Option<Entity>, Fault> {
        let done = match command {
            Command::Expect(entity) => {
                let stands = self.standing(&entity).await?.as_ref() == Some(&entity);
                refuse_if(!stands, Fault::Conflict)?;
                Ok(entity)
            }
            Command::CreateTenant(tenant) => self.create_tenant(tenant).await,
            Command::UpdateTenant { id, expected, edit } => {
                let before = self.tx.tenant(&id).await?.ok_or(Fault::NotFound)?;
                still(expected, before.revision)?;
                match before.edited(edit, self.tx.now()) {
                    Some(after) => self.made(Verb::Updated, Entity::Tenant(after)).await,
                    None => Ok(Entity::Tenant(before)),
                }
            }
            Command::DeleteTenant { id, expected } => {
                let tenant = self.tx.tenant(&id).await?.ok_or(Fault::NotFound)?;
                still(expected, tenant.revision)?;
                refuse_if(self.tx.has_callers(&id).await?, Fault::InUse)?;
                for throttle in self.tx.throttles(&id).await? {
                    self.tx.make(Verb::Deleted, Entity::Throttle(throttle)).await?;
                }
                for quota in self.tx.quotas(&id).await? {
                    self.tx.make(Verb::Deleted, Entity::Quota(quota)).await?;
                }
                self.made(Verb::Deleted, Entity::Tenant(tenant)).await
            }
            Command::CreateCaller(caller) => self.create_caller(caller.at(self.tx.now())).await,
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
                let credential = self.tx.credential(&tenant, &id).await?.ok_or(Fault::NotFound)?;
                still(expected, credential.revision)?;
                self.made(Verb::Deleted, Entity::Credential(credential)).await
            }
            Command::CreatePlan(plan) => {
                refuse_if(self.tx.plan(plan.id()).await?.is_some(), Fault::Conflict)?;
                self.made(Verb::Created, Entity::Plan(plan)).await
            }
            Command::Reseal { tenant, secret, expected, sealed } => {
                self.reseal(&tenant, &secret, expected, sealed).await
            }
            Command::PutPlan(plan) => {
                let verb = match self.tx.plan(plan.id()).await? {
                    Some(before) if before == plan => return Ok(Some(Entity::Plan(plan))),
                    Some(_) => Verb::Updated,
                    None => Verb::Created,
                };
                self.made(verb, Entity::Plan(plan)).await
            }
            Command::DeletePlan(id) => {
                let plan = self.tx.plan(&id).await?.ok_or(Fault::NotFound)?;
                refuse_if(self.tx.is_used(&id).await?, Fault::InUse)?;
                self.made(Verb::Deleted, Entity::Plan(plan)).await
            }
            Command::PutGrant(grant) => self.put_grant(grant).await,
            Command::DeleteGrant { tenant, id } => {
                let grant = self.tx.grant(&tenant, &id).await?.ok_or(Fault::NotFound)?;
                self.made(Verb::Deleted, Entity::Grant(grant)).await
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
            Command::Hold { id, token, fence } => self.hold(&id, &token, fence).await,
            Command::KeepOwner { beyond } => return self.keep_owner(beyond).await.map(|()| None),
            Command::Import(entity) => import::import(self.tx, entity).await,
        };
        done.map(Some)
    }

    /// Whether there is an owner with a key that is accepted now and beyond a moment, for changes.
    async fn keep_owner(&mut self, beyond: Option<Timestamp>) -> Result<(), Fault> {
        let beyond = beyond.unwrap_or(Timestamp::MIN).max(self.tx.now());
        for owner in self.tx.owners().await? {
            let accepted = |key: &Credential| {
                key.status == Status::Enabled
                    && key.kind.is_presented()
                    && key.not_after.is_none_or(|end| end > beyond)
                    && key.scopes.cover(ADMIN_RESOURCE, Access::Write, None)
            };
            if self.tx.credentials_of(&owner).await?.iter().any(accepted) {
                return Ok(());
            }
        }
        Err(Fault::LastOwner)
    }

    /// What stands in the place of an entity.
    async fn standing(&mut self, like: &Entity) -> Result<Option<Entity>, Fault> {
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

    async fn made(&mut self, verb: Verb, entity: Entity) -> Result<Entity, Fault> {
        self.tx.make(verb, entity.clone()).await?;
        Ok(entity)
    }

    async fn create_tenant(&mut self, tenant: Tenant) -> Result<Entity, Fault> {
        refuse_if(self.tx.has_tenant(&tenant).await?, Fault::Conflict)?;
        let now = self.tx.now();
        let tenant = Tenant { revision: 1, created_at: now, updated_at: now, ..tenant };
        self.made(Verb::Created, Entity::Tenant(tenant)).await
    }

    async fn create_caller(&mut self, caller: Caller) -> Result<Entity, Fault> {
        let tenant = self.tx.tenant(&caller.tenant).await?.ok_or(Fault::NotFound)?;
        let full = self.tx.count_like(&caller).await? >= u64::from(tenant.max_callers);
        refuse_if(full, Fault::Full(tenant.max_callers))?;
        refuse_if(self.tx.has_caller(&caller.id).await?, Fault::Conflict)?;
        self.fits(&caller).await?;
        self.made(Verb::Created, Entity::Caller(caller)).await
    }

    async fn create_caller_or(
        &mut self,
        mut caller: NewCaller,
        otherwise: CallerId,
    ) -> Result<Entity, Fault> {
        for id in [&caller.id, &otherwise] {
            refuse_if(self.tx.caller(&caller.tenant, id).await?.is_some(), Fault::Conflict)?;
        }
        if self.tx.has_caller(&caller.id).await? {
            caller.id = otherwise;
        }
        self.create_caller(caller.at(self.tx.now())).await
    }

    async fn update_caller(
        &mut self,
        tenant: &TenantId,
        id: &CallerId,
        expected: Option<u64>,
        edit: CallerEdit,
    ) -> Result<Entity, Fault> {
        let before = self.tx.caller(tenant, id).await?.ok_or(Fault::NotFound)?;
        self.unlocked(&before).await?;
        still(expected, before.revision)?;
        let Some(after) = before.edited(edit, self.tx.now()) else { return Ok(Entity::Caller(before)) };
        self.fits(&after).await?;
        self.made(Verb::Updated, Entity::Caller(after)).await
    }

    async fn delete_caller(
        &mut self,
        tenant: &TenantId,
        id: &CallerId,
        expected: Option<u64>,
    ) -> Result<Entity, Fault> {
        let caller = self.tx.caller(tenant, id).await?.ok_or(Fault::NotFound)?;
        self.unlocked(&caller).await?;
        still(expected, caller.revision)?;
        for credential in self.tx.credentials_of(&caller).await? {
            self.tx.make(Verb::Deleted, Entity::Credential(credential)).await?;
        }
        for lock in self.tx.locks_on(&Target::Caller(id.clone())).await? {
            self.tx.make(Verb::Deleted, Entity::Lock(lock)).await?;
        }
        for grant in self.tx.grants_of(&caller).await? {
            self.tx.make(Verb::Deleted, Entity::Grant(grant)).await?;
        }
        self.drop_specials(tenant, id).await?;
        self.made(Verb::Deleted, Entity::Caller(caller)).await
    }

    /// Whether name and key of a caller are free for it, and its plan and its quota are there.
    async fn fits(&mut self, caller: &Caller) -> Result<(), Fault> {
        refuse_if(self.tx.has_name(caller).await?, Fault::NameTaken)?;
        refuse_if(caller.app().is_some() && self.tx.has_app_key(caller).await?, Fault::KeyTaken)?;
        if let Some(plan) = &caller.plan {
            refuse_if(self.tx.plan(plan).await?.is_none(), Fault::NotFound)?;
        }
        match caller.app().and_then(|app| app.quota.as_ref()) {
            Some(bound) => {
                refuse_if(self.tx.quota(&caller.tenant, &bound.id).await?.is_none(), Fault::NotFound)
            }
            None => Ok(()),
        }
    }

    async fn create_credential(
        &mut self,
        credential: Credential,
        most: Option<u32>,
    ) -> Result<Entity, Fault> {
        let caller = self.tx.caller(&credential.tenant, &credential.caller).await?;
        let caller = caller.ok_or(Fault::NotFound)?;
        if let Some(most) = most {
            let alike = |other: &&Credential| other.kind.name() == credential.kind.name();
            let count = self.tx.credentials_of(&caller).await?.iter().filter(alike).count();
            refuse_if(count >= most as usize, Fault::Full(most))?;
        }
        refuse_if(self.tx.has_credential(&credential.id).await?, Fault::Conflict)?;
        refuse_if(self.tx.has_digest(&credential.digest).await?, Fault::Conflict)?;
        let now = self.tx.now();
        let credential = Credential { revision: 1, created_at: now, updated_at: now, ..credential };
        self.made(Verb::Created, Entity::Credential(credential)).await
    }

    async fn update_credential(
        &mut self,
        tenant: &TenantId,
        id: &CredentialId,
        expected: Option<u64>,
        edit: CredentialEdit,
    ) -> Result<Entity, Fault> {
        let before = self.tx.credential(tenant, id).await?.ok_or(Fault::NotFound)?;
        still(expected, before.revision)?;
        match before.edited(edit, self.tx.now()) {
            Some(after) => self.made(Verb::Updated, Entity::Credential(after)).await,
            None => Ok(Entity::Credential(before)),
        }
    }

    async fn reseal(
        &mut self,
        tenant: &TenantId,
        secret: &SecretOf,
        expected: u64,
        sealed: Sealed,
    ) -> Result<Entity, Fault> {
        let resealed = match secret {
            SecretOf::App(id) => {
                let mut caller = self.tx.caller(tenant, id).await?.ok_or(Fault::NotFound)?;
                still(Some(expected), caller.revision)?;
                let CallerKind::App(app) = &mut caller.kind else { return Err(Fault::NotFound) };
                app.secret = sealed;
                Entity::Caller(caller)
            }
            SecretOf::Credential(id) => {
                let mut credential = self.tx.credential(tenant, id).await?.ok_or(Fault::NotFound)?;
                still(Some(expected), credential.revision)?;
                match &mut credential.kind {
                    CredentialKind::Key | CredentialKind::Sha256Key => return Err(Fault::NotFound),
                    CredentialKind::AppCode(old) | CredentialKind::Signing(old) => *old = sealed,
                }
                Entity::Credential(credential)
            }
        };
        self.made(Verb::Updated, resealed).await
    }

    async fn put_grant(&mut self, grant: Grant) -> Result<Entity, Fault> {
        let caller = self.tx.caller(&grant.tenant, &grant.caller).await?;
        refuse_if(caller.is_none(), Fault::NotFound)?;
        if let Some(there) = self.tx.grant_like(&grant).await? {
            return Ok(Entity::Grant(there));
        }
        refuse_if(self.tx.has_grant(&grant.id).await?, Fault::Conflict)?;
        let grant = Grant { created_at: self.tx.now(), ..grant };
        self.made(Verb::Created, Entity::Grant(grant)).await
    }
}

fn refuse_if(so: bool, fault: Fault) -> Result<(), Fault> {
    if so { Err(fault) } else { Ok(()) }
}

/// Whether an entity is still at the revision that a change is based on.
fn still(expected: Option<u64>, revision: u64) -> Result<(), Fault> {
    refuse_if(expected.is_some_and(|expected| expected != revision), Fault::Conflict)
}
