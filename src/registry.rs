//! The asynchronous store of tenants, callers, credentials, plans and locks.
//!
//! [`Registry`] is the trait. [`memory`] keeps all data in the process, [`sqlite`] (feature `sqlite`) in a file. The
//! registry is the only source of truth: every change is a numbered row of its change log, written in the same
//! transaction. [`follow()`] keeps a [`Directory`](crate::directory::Directory) up to date with the registry.
//!
//! # Implementing a registry
//!
//! Implement [`Transaction`] over your store, and [`Registry`], whose [`run_transaction`](Registry::run_transaction)
//! passes a transaction to a [`UnitOfWork`]. [`execute()`] and [`execute_idempotent()`] apply the same rules to every change. The
//! suite in `tests/registry.rs` checks what the methods of the trait promise: run it against your registry.

mod authorize;
mod command;
mod error;
mod filter;
mod idempotency;
mod lock;
mod mark;
pub mod memory;
mod reseal;
mod rules;
mod secret_check;
mod snapshot_reader;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod sync;
mod transaction;
mod unit_of_work;

pub use authorize::AuthorizedWork;
pub use command::{Command, NewCaller, SecretRef};
pub use error::RegistryError;
pub use filter::{
    CallerFilter, ChangeFilter, ChangeWithPrevious, CredentialFilter, GrantFilter, History, Order,
    TenantFilter,
};
pub use idempotency::{
    IdempotentOutcome, IdempotentRequest, execute_idempotent, find_replay, store_response,
};
pub use lock::NewLock;
pub use mark::Mark;
pub use reseal::{Resealed, reseal};
pub use rules::{ImportConflict, execute, find_conflict};
pub use secret_check::SecretCheck;
pub use snapshot_reader::{SnapshotPage, SnapshotReader};
pub use sync::{Unreadable, follow, load, record_last_used};
pub use transaction::{StoredResponse, Transaction};
pub use unit_of_work::{Outcome, UnitOfWork};

use async_trait::async_trait;
use jiff::Timestamp;
use snapshot_reader::BufferedSnapshot;
use unit_of_work::{CommandBatch, IdempotentBatch};

use crate::model::{
    Actor, Caller, CallerEdit, CallerId, Change, Credential, CredentialEdit, CredentialId, Entity, Grant,
    GrantId, Lease, Lock, LockId, LockToken, Plan, PlanId, Quota, QuotaId, Seq, Status, SubscriptionStatus,
    Tenant, TenantEdit, TenantId, Throttle, ThrottleId,
};

/// Executes a single command and returns the entity of its kind.
macro_rules! one {
    ($registry:ident, $kind:ident, $command:expr, $actor:expr) => {
        match $registry.execute(vec![$command], $actor).await?.pop() {
            Some(Entity::$kind(entity)) => Ok(entity),
            _ => Err(RegistryError::Corrupt("the registry returned an entity of the wrong kind".into())),
        }
    };
}

/// A consistent view of all entities, as of one change.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The number of the last change that the snapshot contains.
    pub seq: Seq,
    /// All entities, grouped by kind in the order of [`EntityKind::ALL`](crate::model::EntityKind::ALL). Within a kind they are in no
    /// particular order.
    pub entities: Vec<Entity>,
}

/// A store of tenants, callers, credentials, plans and locks.
///
/// # Promises
///
/// * **Atomic.** All commands that are [executed](Self::execute) together, and each method that changes data, are in
///   the store and in the change log when the call returns `Ok`. When the call returns an error, nothing has changed.
///   Acknowledged changes survive the end of the process, if the implementation is persistent at all.
/// * **Ordered.** Changes are numbered from 1 without gaps, in the order in which they took effect.
/// * **Walled.** A caller is reached only through its tenant. A caller of another tenant is [`RegistryError::NotFound`], like
///   one that does not exist.
/// * **No lost update.** A change that states the revision it is based on fails with [`RegistryError::Conflict`] when the
///   entity has another revision by then.
/// * **Its own clock.** The times of changes and the expiry of locks come from the registry's clock, which is read once
///   in each transaction.
/// * **One holder.** Among locks that would stop the same requests, at most one is held at any moment. Each granted
///   lock has a greater [fence](Lock::fence) than every lock before it, however those ended and even if the process was
///   restarted. The token of a lock that was released, broken or has expired is worthless.
/// * **Honest.** When the store cannot be reached, the result is [`RegistryError::Unavailable`] and no other error.
///
/// A command that would change nothing is not recorded: it returns the entity as it is and writes no row.
///
/// The methods that make a single change are built on [`execute`](Self::execute), and that is built on
/// [`transact`](Self::transact). An implementation provides [`run_transaction`](Self::run_transaction) and the methods
/// that read.
#[async_trait]
pub trait Registry: Send + Sync + 'static {
    /// Executes commands in order in one transaction: all of them, or none. Returns one entity for each command: its
    /// new state, or, for a deletion, its last state. The release of a lock that is already gone returns no entity. The
    /// method with the command's name documents the effect of a command and its errors.
    ///
    /// To make a change only while a lock is held, put [`Command::ProveLock`], the proof of the lock, before the change.
    /// Both are checked at the same moment, so no other client can acquire the lock in between.
    ///
    /// # Errors
    /// The error of the first command that fails.
    async fn execute(&self, commands: Vec<Command>, actor: &Actor) -> Result<Vec<Entity>, RegistryError> {
        let mut batch = CommandBatch::new(commands);
        self.transact(&mut batch, actor).await?;
        Ok(batch.done())
    }

    /// Runs work in one transaction. When the work [rolls back](Outcome::Rollback) or fails, nothing has changed. There is no
    /// other writer during the transaction.
    ///
    /// The transaction first checks that the [authority](Actor::authority) of its actor still holds, and that the
    /// subscription that it needs is active.
    ///
    /// # Errors
    /// [`RegistryError::NotAuthorized`] and [`RegistryError::Lapsed`] from that check; the error of the work; [`RegistryError::Unavailable`] and
    /// [`RegistryError::Corrupt`].
    async fn transact(&self, work: &mut dyn UnitOfWork, actor: &Actor) -> Result<(), RegistryError> {
        self.run_transaction(&mut AuthorizedWork::new(work, actor), actor).await
    }

    /// Runs work in one transaction of the store and records the actor as the author of its changes. Stores implement
    /// this method. Only [`transact`](Self::transact) calls it, after it has added the check of the actor.
    ///
    /// # Errors
    /// The errors of [`transact`](Self::transact).
    async fn run_transaction(
        &self,
        work: &mut AuthorizedWork<'_>,
        actor: &Actor,
    ) -> Result<(), RegistryError>;

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
        authorize::check(authority, Some(&caller), credential.as_ref(), now)
    }

    /// Runs long work that only creates entities, such as an import. Other clients can write meanwhile: if the store
    /// supports it, the work runs on a copy, and a short transaction at the end inserts the results.
    ///
    /// The default implementation calls [`transact`](Self::transact).
    ///
    /// # Errors
    /// The errors of [`transact`](Self::transact); [`RegistryError::Conflict`] when another client has meanwhile created an
    /// entity that conflicts with the results.
    async fn transact_bulk(&self, work: &mut dyn UnitOfWork, actor: &Actor) -> Result<(), RegistryError> {
        self.transact(work, actor).await
    }

    /// Executes commands, unless they were executed before under the same key: then nothing changes and the stored
    /// response is returned. The changes and the stored response are written in one transaction. Responses are stored
    /// for a day by the registry's clock, and later calls remove expired ones. A request that fails stores no response.
    ///
    /// # Errors
    /// The errors of [`execute`](Self::execute); [`RegistryError::IdempotencyKeyReused`] when the key was used for a different request;
    /// [`RegistryError::Unavailable`] when the maximum number of responses is stored.
    async fn execute_idempotent(
        &self,
        commands: Vec<Command>,
        actor: &Actor,
        once: IdempotentRequest<'_>,
    ) -> Result<IdempotentOutcome, RegistryError> {
        let mut batch = IdempotentBatch::new(commands, once);
        self.transact(&mut batch, actor).await?;
        batch.outcome()
    }

    /// Returns the response that [`execute_idempotent`](Self::execute_idempotent) stored under a key, unless it has expired.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    async fn stored_response(&self, key: &[u8; 32]) -> Result<Option<StoredResponse>, RegistryError>;

    /// Returns a tenant by its id.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    async fn tenant(&self, id: &TenantId) -> Result<Tenant, RegistryError>;

    /// Returns the tenant of an APIG gateway.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    async fn gateway(&self, project_id: &str, instance_id: &str) -> Result<Tenant, RegistryError>;

    /// Returns a page of tenants, ordered by id.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    async fn tenants(&self, which: &TenantFilter) -> Result<Vec<Tenant>, RegistryError>;

    /// Returns a caller of a tenant.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    async fn caller(&self, tenant: &TenantId, id: &CallerId) -> Result<Caller, RegistryError>;

    /// Returns a page of callers.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    async fn callers(&self, which: &CallerFilter) -> Result<Vec<Caller>, RegistryError>;

    /// Returns the number of callers on all pages together.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    async fn count_callers(&self, which: &CallerFilter) -> Result<u64, RegistryError>;

    /// Returns a credential of a tenant.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    async fn credential(&self, tenant: &TenantId, id: &CredentialId) -> Result<Credential, RegistryError>;

    /// Returns a page of credentials, ordered by id.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    async fn credentials(&self, which: &CredentialFilter) -> Result<Vec<Credential>, RegistryError>;

    /// Returns a plan.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    async fn plan(&self, id: &PlanId) -> Result<Plan, RegistryError>;

    /// Returns a page of plans, ordered by id: at most `limit` plans after `after`.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    async fn plans(&self, after: Option<&PlanId>, limit: u32) -> Result<Vec<Plan>, RegistryError>;

    /// Returns a lock. An expired lock may still be found.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    async fn lock(&self, id: &LockId) -> Result<Lock, RegistryError>;

    /// Returns a page of locks, ordered by id: at most `limit` locks after `after`. Expired locks may be among them.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    async fn locks(&self, after: Option<&LockId>, limit: u32) -> Result<Vec<Lock>, RegistryError>;

    /// Returns a grant of a tenant.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    async fn grant(&self, tenant: &TenantId, id: &GrantId) -> Result<Grant, RegistryError>;

    /// Returns a page of grants, the newest first. Grants of the same time are ordered by descending id.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    async fn grants(&self, which: &GrantFilter) -> Result<Vec<Grant>, RegistryError>;

    /// Returns the number of grants on all pages together.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    async fn count_grants(&self, which: &GrantFilter) -> Result<u64, RegistryError>;

    /// Returns the number of grants of each of the callers.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    async fn count_grants_of(&self, ids: &[CallerId]) -> Result<Vec<u64>, RegistryError>;

    /// Returns a throttle of a tenant.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    async fn throttle(&self, tenant: &TenantId, id: &ThrottleId) -> Result<Throttle, RegistryError>;

    /// Returns the throttles of a tenant, the newest first. Throttles of the same time are ordered by descending id.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    async fn throttles(&self, tenant: &TenantId) -> Result<Vec<Throttle>, RegistryError>;

    /// Returns a quota of a tenant.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    async fn quota(&self, tenant: &TenantId, id: &QuotaId) -> Result<Quota, RegistryError>;

    /// Returns the quotas of a tenant, the newest first. Quotas of the same time are ordered by descending id.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    async fn quotas(&self, tenant: &TenantId) -> Result<Vec<Quota>, RegistryError>;

    /// Records the last use of credentials. A last use is not a change and does not appear in the change log. The
    /// latest recorded time is kept, whatever the order of the calls. Unknown credentials are ignored.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    async fn record_last_used(&self, uses: &[(CredentialId, Timestamp)]) -> Result<(), RegistryError>;

    /// Returns the recorded last use of each credential in whole seconds, in the order of the ids.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    async fn last_used(&self, ids: &[CredentialId]) -> Result<Vec<Option<Timestamp>>, RegistryError>;

    /// Passes all entities to `each`, as of one change, and returns the number of that change. Entities are grouped by
    /// kind in the order of [`EntityKind::ALL`](crate::model::EntityKind::ALL). At most one page of them is in memory at a time.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`]; some entities may have been passed by then.
    async fn for_each(&self, each: &mut (dyn FnMut(Entity) + Send)) -> Result<Seq, RegistryError>;

    /// Passes all entities to `each` like [`for_each`](Self::for_each). An entity that this version cannot read is
    /// reported as [`Unreadable`] instead. The default implementation calls [`for_each`](Self::for_each), which is
    /// enough for a store whose entities can always be read.
    ///
    /// # Errors
    /// The errors of [`for_each`](Self::for_each).
    async fn readable(
        &self,
        each: &mut (dyn FnMut(Result<Entity, Unreadable>) + Send),
    ) -> Result<Seq, RegistryError> {
        self.for_each(&mut |entity| each(Ok(entity))).await
    }

    /// Returns the identity of the store and of one change, by which a program detects that the store was replaced by
    /// another store or by an older copy. The default implementation returns `None`, for stores that cannot be
    /// replaced.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    async fn mark(&self, _at: Seq) -> Result<Option<Mark>, RegistryError> {
        Ok(None)
    }

    /// Compares the secrets at hand with those that the store was used with before. Returns one human-readable sentence
    /// for each mismatch. When all secrets match, secrets that the store does not know yet are recorded. The default
    /// implementation records nothing and returns no mismatch.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    async fn check_secrets(&self, _at_hand: &[SecretCheck]) -> Result<Vec<String>, RegistryError> {
        Ok(Vec::new())
    }

    /// Returns all entities in memory.
    ///
    /// # Errors
    /// The errors of [`for_each`](Self::for_each).
    async fn snapshot(&self) -> Result<Snapshot, RegistryError> {
        let mut entities = Vec::new();
        let seq = self.for_each(&mut |entity| entities.push(entity)).await?;
        Ok(Snapshot { seq, entities })
    }

    /// Returns a reader of all entities as of one change, which may be read page by page for as long as necessary. The
    /// default implementation holds all entities in memory. A store that is larger than memory should read each page
    /// when it is requested.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    async fn view(&self) -> Result<Box<dyn SnapshotReader>, RegistryError> {
        let Snapshot { seq, entities } = self.snapshot().await?;
        let mut view = BufferedSnapshot::new(seq, entities);
        let uses = self.last_used(view.credentials()).await?;
        view.note(uses);
        Ok(Box::new(view))
    }

    /// Returns the changes after a number, in order, at most `limit` of them.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    async fn changes(&self, after: Seq, limit: u32) -> Result<Vec<Change>, RegistryError>;

    /// Returns the number of the last change, or 0 when there is none.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    async fn last_change(&self) -> Result<Seq, RegistryError>;

    /// Returns a page of the change log. Each change comes with the previous state of its entity.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    async fn history(&self, which: &ChangeFilter) -> Result<History, RegistryError>;

    /// Waits until there may be a change after a number. Returns at once if there is one, soon after a change through
    /// this registry, and from time to time in any case, so that changes of other processes are seen, too.
    async fn wait_for_change(&self, after: Seq);

    /// Finishes the running operations, writes all data to its final place in the store and releases the store. Every
    /// later call may fail with [`RegistryError::Unavailable`]. The default implementation does nothing.
    async fn close(&self) {}

    /// Creates a tenant. The registry sets `revision` and the times of the given tenant.
    ///
    /// # Errors
    /// [`RegistryError::Conflict`] when the id, or the project and instance, are taken.
    async fn create_tenant(&self, tenant: Tenant, actor: &Actor) -> Result<Tenant, RegistryError> {
        one!(self, Tenant, Command::CreateTenant(tenant), actor)
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
        one!(self, Tenant, Command::UpdateTenant { id: id.clone(), expected, edit }, actor)
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
    /// [`RegistryError::NotFound`], [`RegistryError::InUse`], or [`RegistryError::Conflict`] when `expected` is not the current revision.
    async fn delete_tenant(
        &self,
        id: &TenantId,
        expected: Option<u64>,
        actor: &Actor,
    ) -> Result<(), RegistryError> {
        let command = Command::DeleteTenant { id: id.clone(), expected };
        self.execute(vec![command], actor).await.map(drop)
    }

    /// Creates a caller.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] when its tenant or plan does not exist, [`RegistryError::LimitReached`] when the tenant has its maximum
    /// number of callers of this kind, [`RegistryError::NameTaken`], [`RegistryError::KeyTaken`], or [`RegistryError::Conflict`] when the id is
    /// taken.
    async fn create_caller(&self, caller: NewCaller, actor: &Actor) -> Result<Caller, RegistryError> {
        one!(self, Caller, Command::CreateCaller(caller), actor)
    }

    /// Changes a caller, unless a lock for all tenants or for its own tenant is held on it. The holder of the lock
    /// proves it by [`Command::ProveLock`].
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] (the caller, or its new plan), [`RegistryError::Locked`], [`RegistryError::NameTaken`], [`RegistryError::KeyTaken`],
    /// or [`RegistryError::Conflict`] when `expected` is not the current revision.
    async fn update_caller(
        &self,
        tenant: &TenantId,
        id: &CallerId,
        expected: Option<u64>,
        edit: CallerEdit,
        actor: &Actor,
    ) -> Result<Caller, RegistryError> {
        let command = Command::UpdateCaller { tenant: tenant.clone(), id: id.clone(), expected, edit };
        one!(self, Caller, command, actor)
    }

    /// Deletes a caller, its credentials, its grants and the locks on it, unless the caller is locked.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], [`RegistryError::Locked`], or [`RegistryError::Conflict`] when `expected` is not the current revision.
    async fn delete_caller(
        &self,
        tenant: &TenantId,
        id: &CallerId,
        expected: Option<u64>,
        actor: &Actor,
    ) -> Result<(), RegistryError> {
        let command = Command::DeleteCaller { tenant: tenant.clone(), id: id.clone(), expected };
        self.execute(vec![command], actor).await.map(drop)
    }

    /// Creates a credential. The registry sets `revision` and the times of the given credential.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] when its caller does not exist, [`RegistryError::Conflict`] when the id or the digest is taken.
    async fn create_credential(
        &self,
        credential: Credential,
        actor: &Actor,
    ) -> Result<Credential, RegistryError> {
        one!(self, Credential, Command::CreateCredential { credential, most: None }, actor)
    }

    /// Creates a credential, unless its caller already has `most` credentials of the same kind.
    ///
    /// # Errors
    /// The errors of [`create_credential`](Self::create_credential), or [`RegistryError::LimitReached`].
    async fn create_credential_within(
        &self,
        most: u32,
        credential: Credential,
        actor: &Actor,
    ) -> Result<Credential, RegistryError> {
        one!(self, Credential, Command::CreateCredential { credential, most: Some(most) }, actor)
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
        let command = Command::UpdateCredential { tenant: tenant.clone(), id: id.clone(), expected, edit };
        one!(self, Credential, command, actor)
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
        let command = Command::DeleteCredential { tenant: tenant.clone(), id: id.clone(), expected };
        self.execute(vec![command], actor).await.map(drop)
    }

    /// Creates a plan, or replaces the limits of an existing one.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    async fn put_plan(&self, plan: Plan, actor: &Actor) -> Result<(), RegistryError> {
        self.execute(vec![Command::PutPlan(plan)], actor).await.map(drop)
    }

    /// Deletes a plan.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], or [`RegistryError::InUse`] when a caller has the plan.
    async fn delete_plan(&self, id: &PlanId, actor: &Actor) -> Result<(), RegistryError> {
        self.execute(vec![Command::DeletePlan(id.clone())], actor).await.map(drop)
    }

    /// Acquires a lock for the requested time by the registry's clock. Expired locks are removed first. The returned
    /// lock has its [fence](Lock::fence).
    ///
    /// # Errors
    /// [`RegistryError::Conflict`] when the id is that of a lock that is still held; [`RegistryError::Locked`] with the conflicting
    /// lock when one is held on the same target, or on a path above or below it, and applies to the same tenant;
    /// [`RegistryError::LimitReached`] when the owner holds [`MAX_LOCKS`](crate::model::MAX_LOCKS).
    async fn acquire_lock(&self, lock: NewLock, actor: &Actor) -> Result<Lock, RegistryError> {
        one!(self, Lock, Command::AcquireLock(lock), actor)
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
        let command = Command::RefreshLock { id: id.clone(), token: token.clone(), lasts };
        one!(self, Lock, command, actor)
    }

    /// Releases a lock. A lock that is gone or has expired counts as released, which is not a change.
    ///
    /// # Errors
    /// [`RegistryError::LockLost`] when the lock is held, and the token is not its own.
    async fn release_lock(&self, id: &LockId, token: &LockToken, actor: &Actor) -> Result<(), RegistryError> {
        let command = Command::ReleaseLock { id: id.clone(), token: token.clone() };
        self.execute(vec![command], actor).await.map(drop)
    }

    /// Breaks a lock. Its holder learns of it when it proves the lock the next time.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], also when the lock has expired.
    async fn break_lock(&self, id: &LockId, actor: &Actor) -> Result<(), RegistryError> {
        self.execute(vec![Command::BreakLock(id.clone())], actor).await.map(drop)
    }

    /// Creates a grant. When an equivalent grant exists, that one stays and is returned.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] when its caller does not exist, [`RegistryError::Conflict`] when the id is taken.
    async fn put_grant(&self, grant: Grant, actor: &Actor) -> Result<Grant, RegistryError> {
        one!(self, Grant, Command::PutGrant(grant), actor)
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
        let command = Command::DeleteGrant { tenant: tenant.clone(), id: id.clone() };
        self.execute(vec![command], actor).await.map(drop)
    }
}
