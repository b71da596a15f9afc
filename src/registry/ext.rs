//! Operations on any registry.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{
    AcquireLock, AuthorizedWork, BreakLock, Command, CreateCaller, CreateCredential, CreateTenant,
    DeleteCaller, DeleteCredential, DeleteGrant, DeletePlan, DeleteTenant, IdempotentOutcome,
    IdempotentRequest, NewCaller, NewCredential, NewLock, NewTenant, Operation, PutGrant, PutPlan,
    RefreshLock, Registry, RegistryError, ReleaseLock, Snapshot, UnitOfWork, UpdateCaller, UpdateCredential,
    UpdateTenant, idempotency::Idempotent, operation::OperationWork, rules,
};
use crate::model::{
    Actor, Caller, CallerEdit, CallerId, Credential, CredentialEdit, CredentialId, Entity, Grant, GrantId,
    Lease, Lock, LockId, LockToken, Plan, PlanId, Status, SubscriptionStatus, Tenant, TenantEdit, TenantId,
};

/// Changes to a [`Registry`], each in one transaction. Every registry has these methods, also as `dyn Registry`.
#[async_trait]
pub trait RegistryExt: Registry {
    /// Runs work in one transaction. When the work [rolls back](super::Outcome::Rollback) or fails, nothing has
    /// changed. There is no other writer during the transaction.
    ///
    /// The transaction first checks that the [authority](Actor::authority) of its actor still holds, and that the
    /// subscription that it needs is active.
    ///
    /// # Errors
    /// [`RegistryError::NotAuthorized`] and [`RegistryError::Lapsed`] from that check; the error of the work;
    /// [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    async fn transact(&self, work: &mut dyn UnitOfWork, actor: &Actor) -> Result<(), RegistryError> {
        self.run_transaction(&mut AuthorizedWork::new(work, actor), actor).await
    }

    /// Executes an operation in one transaction, with all of its parts or without effect, and returns its result. The
    /// method of this trait with the operation's name documents the effect of an operation and its errors. An operation
    /// that would change nothing writes nothing.
    ///
    /// To make a change only while a lock is held, put [`ProveLock`](super::ProveLock), the proof of the lock, before
    /// the change. Both are checked at the same moment, so no other client can acquire the lock in between.
    ///
    /// # Errors
    /// The error of the first part of the operation that fails.
    async fn run<O: Operation>(&self, operation: O, actor: &Actor) -> Result<O::Output, RegistryError> {
        let mut work = OperationWork::new(operation);
        self.transact(&mut work, actor).await?;
        work.output()
    }

    /// Executes commands in order in one transaction: all of them, or none. Returns one entity for each command: its
    /// new state, or, for a deletion, its last state. The release of a lock that is already gone and
    /// [`KeepOwner`](super::KeepOwner) return no entity.
    ///
    /// # Errors
    /// The error of the first command that fails.
    async fn execute(&self, commands: Vec<Command>, actor: &Actor) -> Result<Vec<Entity>, RegistryError> {
        let entities = self.run(commands, actor).await?;
        Ok(entities.into_iter().flatten().collect())
    }

    /// Executes an operation, unless it was executed before under the same key: then nothing changes and the stored
    /// response is returned. The changes and the stored response are written in one transaction. Responses are stored
    /// for a day by the registry's clock, and later calls remove expired ones. A request that fails stores no response.
    ///
    /// # Errors
    /// The errors of [`run`](Self::run); [`RegistryError::IdempotencyKeyReused`] when the key was used for a different
    /// request; [`RegistryError::Unavailable`] when the maximum number of responses is stored.
    async fn run_idempotent<O: Operation>(
        &self,
        operation: O,
        actor: &Actor,
        once: IdempotentRequest<'_, O::Output>,
    ) -> Result<IdempotentOutcome, RegistryError> {
        self.run(Idempotent { operation, once }, actor).await
    }

    /// Checks outside of a transaction that the [authority](Actor::authority) of an actor still holds. Call it before
    /// you show a secret that was read for the actor.
    ///
    /// # Errors
    /// [`RegistryError::NotAuthorized`], [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    async fn authorize(&self, actor: &Actor, now: Timestamp) -> Result<(), RegistryError> {
        let Some(authority) = actor.authority() else { return Ok(()) };
        let gone = |fault| {
            if matches!(fault, RegistryError::NotFound) { RegistryError::NotAuthorized } else { fault }
        };
        let caller = self.caller(authority.tenant(), authority.caller()).await.map_err(gone)?;
        let credential = match authority.credential() {
            Some(id) => Some(self.credential(authority.tenant(), id).await.map_err(gone)?),
            None => None,
        };
        rules::check(authority, Some(&caller), credential.as_ref(), now)
    }

    /// Returns all entities in memory.
    ///
    /// # Errors
    /// The errors of [`for_each`](Registry::for_each).
    async fn snapshot(&self) -> Result<Snapshot, RegistryError> {
        let mut entities = Vec::new();
        let seq = self.for_each(&mut |entity| entities.push(entity)).await?;
        Ok(Snapshot { seq, entities })
    }

    /// Creates a tenant.
    ///
    /// # Errors
    /// [`RegistryError::Conflict`] when the id, or the project and instance, are taken.
    async fn create_tenant(&self, tenant: NewTenant, actor: &Actor) -> Result<Tenant, RegistryError> {
        self.run(CreateTenant(tenant), actor).await
    }

    /// Changes a tenant.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], or [`RegistryError::Conflict`] when `expected` is not the current revision.
    async fn update_tenant(
        &self,
        id: &TenantId,
        expected: Option<u64>,
        edit: TenantEdit,
        actor: &Actor,
    ) -> Result<Tenant, RegistryError> {
        self.run(UpdateTenant { id: id.clone(), expected, edit }, actor).await
    }

    /// Sets the status of a tenant's subscription.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    async fn set_standing(
        &self,
        id: &TenantId,
        standing: SubscriptionStatus,
        actor: &Actor,
    ) -> Result<Tenant, RegistryError> {
        let edit = TenantEdit { standing: Some(standing), ..TenantEdit::default() };
        self.update_tenant(id, None, edit, actor).await
    }

    /// Deletes a tenant that has no callers.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], [`RegistryError::InUse`], or [`RegistryError::Conflict`] when `expected` is not the
    /// current revision.
    async fn delete_tenant(
        &self,
        id: &TenantId,
        expected: Option<u64>,
        actor: &Actor,
    ) -> Result<(), RegistryError> {
        let operation = DeleteTenant { id: id.clone(), expected };
        self.run(operation, actor).await.map(drop)
    }

    /// Creates a caller.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] when its tenant or plan does not exist, [`RegistryError::LimitReached`] when the
    /// tenant has its maximum number of callers of this kind, [`RegistryError::NameTaken`],
    /// [`RegistryError::KeyTaken`], or [`RegistryError::Conflict`] when the id is taken.
    async fn create_caller(&self, caller: NewCaller, actor: &Actor) -> Result<Caller, RegistryError> {
        self.run(CreateCaller(caller), actor).await
    }

    /// Changes a caller, unless a lock for all tenants or for its own tenant is held on it. The holder of the lock
    /// proves it by [`ProveLock`](super::ProveLock).
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] (the caller, or its new plan), [`RegistryError::Locked`],
    /// [`RegistryError::NameTaken`], [`RegistryError::KeyTaken`], or [`RegistryError::Conflict`] when `expected` is not
    /// the current revision.
    async fn update_caller(
        &self,
        tenant: &TenantId,
        id: &CallerId,
        expected: Option<u64>,
        edit: CallerEdit,
        actor: &Actor,
    ) -> Result<Caller, RegistryError> {
        let update = UpdateCaller { tenant: tenant.clone(), id: id.clone(), expected, edit };
        self.run(update, actor).await
    }

    /// Deletes a caller, its credentials, its grants and the locks on it, unless the caller is locked.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], [`RegistryError::Locked`], or [`RegistryError::Conflict`] when `expected` is not
    /// the current revision.
    async fn delete_caller(
        &self,
        tenant: &TenantId,
        id: &CallerId,
        expected: Option<u64>,
        actor: &Actor,
    ) -> Result<(), RegistryError> {
        let operation = DeleteCaller { tenant: tenant.clone(), id: id.clone(), expected };
        self.run(operation, actor).await.map(drop)
    }

    /// Creates a credential.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] when its caller does not exist, [`RegistryError::Conflict`] when the id or the
    /// digest is taken.
    async fn create_credential(
        &self,
        credential: NewCredential,
        actor: &Actor,
    ) -> Result<Credential, RegistryError> {
        self.run(CreateCredential { credential, most: None }, actor).await
    }

    /// Creates a credential, unless its caller already has `most` credentials of the same kind.
    ///
    /// # Errors
    /// The errors of [`create_credential`](Self::create_credential), or [`RegistryError::LimitReached`].
    async fn create_credential_within(
        &self,
        most: u32,
        credential: NewCredential,
        actor: &Actor,
    ) -> Result<Credential, RegistryError> {
        self.run(CreateCredential { credential, most: Some(most) }, actor).await
    }

    /// Changes a credential. A lock on its caller does not prevent this: a key can always be revoked.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], or [`RegistryError::Conflict`] when `expected` is not the current revision.
    async fn update_credential(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
        expected: Option<u64>,
        edit: CredentialEdit,
        actor: &Actor,
    ) -> Result<Credential, RegistryError> {
        let update = UpdateCredential { tenant: tenant.clone(), id: id.clone(), expected, edit };
        self.run(update, actor).await
    }

    /// Sets a credential's status.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    async fn set_credential_status(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
        status: Status,
        actor: &Actor,
    ) -> Result<Credential, RegistryError> {
        let edit = CredentialEdit { status: Some(status), ..CredentialEdit::default() };
        self.update_credential(tenant, id, None, edit, actor).await
    }

    /// Deletes a credential, which is unknown from now on. A lock on its caller does not prevent this.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], or [`RegistryError::Conflict`] when `expected` is not the current revision.
    async fn delete_credential(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
        expected: Option<u64>,
        actor: &Actor,
    ) -> Result<(), RegistryError> {
        let operation = DeleteCredential { tenant: tenant.clone(), id: id.clone(), expected };
        self.run(operation, actor).await.map(drop)
    }

    /// Creates a plan, or replaces the limits of an existing one.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    async fn put_plan(&self, plan: Plan, actor: &Actor) -> Result<(), RegistryError> {
        self.run(PutPlan(plan), actor).await.map(drop)
    }

    /// Deletes a plan.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], or [`RegistryError::InUse`] when a caller has the plan.
    async fn delete_plan(&self, id: &PlanId, actor: &Actor) -> Result<(), RegistryError> {
        self.run(DeletePlan(id.clone()), actor).await.map(drop)
    }

    /// Acquires a lock for the requested time by the registry's clock. Expired locks are removed first. The returned
    /// lock has its [fence](Lock::fence).
    ///
    /// # Errors
    /// [`RegistryError::Conflict`] when the id is that of a lock that is still held; [`RegistryError::Locked`] with the
    /// conflicting lock when one is held on the same target, or on a path above or below it, and applies to the same
    /// tenant; [`RegistryError::LimitReached`] when the owner holds [`MAX_LOCKS`](crate::model::MAX_LOCKS).
    async fn acquire_lock(&self, lock: NewLock, actor: &Actor) -> Result<Lock, RegistryError> {
        self.run(AcquireLock(lock), actor).await
    }

    /// Extends a lock by the requested time from now on, or leaves its expiry unchanged when that is later. The fence
    /// stays. A lock that is no longer held stays lost, even if no other client has locked its target since.
    ///
    /// # Errors
    /// [`RegistryError::LockLost`] when the lock is not held, or the token is not its own.
    async fn refresh_lock(
        &self,
        id: &LockId,
        token: &LockToken,
        lasts: Lease,
        actor: &Actor,
    ) -> Result<Lock, RegistryError> {
        let update = RefreshLock { id: id.clone(), token: token.clone(), lasts };
        self.run(update, actor).await
    }

    /// Releases a lock. A lock that is gone or has expired counts as released, which is not a change.
    ///
    /// # Errors
    /// [`RegistryError::LockLost`] when the lock is held, and the token is not its own.
    async fn release_lock(&self, id: &LockId, token: &LockToken, actor: &Actor) -> Result<(), RegistryError> {
        let operation = ReleaseLock { id: id.clone(), token: token.clone() };
        self.run(operation, actor).await.map(drop)
    }

    /// Breaks a lock. Its holder learns of it when it proves the lock the next time.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], also when the lock has expired.
    async fn break_lock(&self, id: &LockId, actor: &Actor) -> Result<(), RegistryError> {
        self.run(BreakLock(id.clone()), actor).await.map(drop)
    }

    /// Creates a grant. When an equivalent grant exists, that one stays and is returned.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] when its caller does not exist, [`RegistryError::Conflict`] when the id is taken.
    async fn put_grant(&self, grant: Grant, actor: &Actor) -> Result<Grant, RegistryError> {
        self.run(PutGrant(grant), actor).await
    }

    /// Deletes a grant. A lock on its caller does not prevent this.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    async fn delete_grant(
        &self,
        tenant: &TenantId,
        id: &GrantId,
        actor: &Actor,
    ) -> Result<(), RegistryError> {
        let operation = DeleteGrant { tenant: tenant.clone(), id: id.clone() };
        self.run(operation, actor).await.map(drop)
    }
}

impl<R: Registry + ?Sized> RegistryExt for R {}
