//! The asynchronous store of tenants, callers, credentials, plans and locks.
//!
//! [`Registry`] is the trait. [`memory`] keeps all data in the process, [`sqlite`] (feature `sqlite`) in a file. The
//! registry is the only source of truth: every change is a numbered row of its change log, written in the same
//! transaction. [`follow()`] keeps a [`Directory`](crate::directory::Directory) up to date with the registry.
//!
//! # Implementing a registry
//!
//! Implement [`Transaction`] over your store, and [`Registry`], whose [`run_transaction`](Registry::run_transaction)
//! passes a transaction to a [`UnitOfWork`]. [`RegistryExt`] adds the methods that change data, which apply the same
//! rules in every registry; within a transaction, [`run_in`] and [`run_idempotent()`] do so. The suite in
//! `tests/registry.rs` checks what the methods of the trait promise: run it against your registry.

mod caller;
mod command;
mod credential;
mod error;
mod ext;
mod filter;
mod follow;
mod idempotency;
mod lock;
mod mark;
pub mod memory;
mod operation;
mod reseal;
mod rules;
mod secret_check;
mod snapshot_reader;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod stored_response;
mod tenant;
mod transaction;
mod unit_of_work;

pub use caller::NewCaller;
pub use command::{Command, execute};
pub use credential::NewCredential;
pub use error::RegistryError;
pub use ext::RegistryExt;
pub use filter::{
    CallerFilter, ChangeFilter, ChangeWithPrevious, CredentialFilter, GrantFilter, History, Order,
    TenantFilter,
};
pub use follow::{Unreadable, follow, load, record_last_used};
pub use idempotency::{IdempotentOutcome, IdempotentRequest, find_replay, run_idempotent, store_response};
pub use lock::NewLock;
pub use mark::Mark;
pub use operation::{Operation, run_in};
pub use reseal::{Resealed, reseal};
pub use rules::{
    AcquireLock, AssertUnchanged, AuthorizedWork, BreakLock, CreateCaller, CreateCallerOr, CreateCredential,
    CreatePlan, CreateQuota, CreateTenant, CreateThrottle, DeleteCaller, DeleteCredential, DeleteGrant,
    DeletePlan, DeleteQuota, DeleteTenant, DeleteThrottle, ImportConflict, ImportEntity, KeepOwner,
    ProveLock, PutGrant, PutPlan, RefreshLock, ReleaseLock, Reseal, SecretRef, UpdateCaller,
    UpdateCredential, UpdateQuota, UpdateTenant, UpdateThrottle, find_conflict,
};
pub use secret_check::SecretCheck;
pub use snapshot_reader::{Snapshot, SnapshotPage, SnapshotReader};
pub use stored_response::StoredResponse;
pub use tenant::NewTenant;
pub use transaction::Transaction;
pub use unit_of_work::{Outcome, UnitOfWork};

use async_trait::async_trait;
use jiff::Timestamp;
use snapshot_reader::BufferedSnapshot;

use crate::model::{
    Actor, Caller, CallerId, Change, Credential, CredentialId, Entity, Grant, GrantId, Lock, LockId, Plan,
    PlanId, Quota, QuotaId, Seq, Tenant, TenantId, Throttle, ThrottleId,
};

/// A store of tenants, callers, credentials, plans and locks.
///
/// # Promises
///
/// * **Atomic.** All operations that are [executed](RegistryExt::run) together, and each method that changes data, are in
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
/// An operation that would change nothing is not recorded: it returns the entity as it is and writes no row.
///
/// An implementation provides [`run_transaction`](Self::run_transaction) and the methods that read. Changes are methods
/// of [`RegistryExt`], and all of them end in [`run_transaction`](Self::run_transaction).
#[async_trait]
pub trait Registry: Send + Sync + 'static {
    /// Runs work in one transaction of the store and records the actor as the author of its changes. Stores implement
    /// this method. Only [`transact`](RegistryExt::transact) calls it, after it has added the check of the actor.
    ///
    /// # Errors
    /// The errors of [`transact`](RegistryExt::transact).
    async fn run_transaction(
        &self,
        work: &mut AuthorizedWork<'_>,
        actor: &Actor,
    ) -> Result<(), RegistryError>;

    /// Runs long work that only creates entities, such as an import. Other clients can write meanwhile: if the store
    /// supports it, the work runs on a copy, and a short transaction at the end inserts the results.
    ///
    /// The default implementation calls [`transact`](RegistryExt::transact).
    ///
    /// # Errors
    /// The errors of [`transact`](RegistryExt::transact); [`RegistryError::Conflict`] when another client has meanwhile
    /// created an entity that conflicts with the results.
    async fn transact_bulk(&self, work: &mut dyn UnitOfWork, actor: &Actor) -> Result<(), RegistryError> {
        self.transact(work, actor).await
    }

    /// Returns the response that [`run_idempotent`](RegistryExt::run_idempotent) stored under a key, unless it has
    /// expired.
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
    async fn tenants(&self, filter: &TenantFilter) -> Result<Vec<Tenant>, RegistryError>;

    /// Returns a caller of a tenant.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    async fn caller(&self, tenant: &TenantId, id: &CallerId) -> Result<Caller, RegistryError>;

    /// Returns a page of callers.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    async fn callers(&self, filter: &CallerFilter) -> Result<Vec<Caller>, RegistryError>;

    /// Returns the number of callers on all pages together.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    async fn count_callers(&self, filter: &CallerFilter) -> Result<u64, RegistryError>;

    /// Returns a credential of a tenant.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    async fn credential(&self, tenant: &TenantId, id: &CredentialId) -> Result<Credential, RegistryError>;

    /// Returns a page of credentials, ordered by id.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    async fn credentials(&self, filter: &CredentialFilter) -> Result<Vec<Credential>, RegistryError>;

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
    async fn grants(&self, filter: &GrantFilter) -> Result<Vec<Grant>, RegistryError>;

    /// Returns the number of grants on all pages together.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    async fn count_grants(&self, filter: &GrantFilter) -> Result<u64, RegistryError>;

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
    /// kind in the order of [`EntityKind::ALL`](crate::model::EntityKind::ALL). At most one page of them is in memory
    /// at a time.
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
    async fn history(&self, filter: &ChangeFilter) -> Result<History, RegistryError>;

    /// Waits until there may be a change after a number. Returns at once if there is one, soon after a change through
    /// this registry, and from time to time in any case, so that changes of other processes are seen, too.
    async fn wait_for_change(&self, after: Seq);

    /// Finishes the running operations, writes all data to its final place in the store and releases the store. Every
    /// later call may fail with [`RegistryError::Unavailable`]. The default implementation does nothing.
    async fn close(&self) {}
}
