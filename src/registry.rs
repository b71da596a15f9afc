//! The asynchronous home of tenants, callers, credentials, plans and locks.
//!
//! [`Registry`] is the trait; [`memory`] keeps everything in the process, [`sqlite`] (feature `sqlite`) in
//! a file. The registry is the only truth: every change is a row of its change log, written in the same
//! transaction and numbered. [`follow()`] keeps a [`Directory`](crate::directory::Directory) up to date
//! with it.
//!
//! # Bringing your own
//!
//! Implement [`Registry`] over your store. What the trait's methods promise is checked by the suite in
//! `tests/registry.rs`: run it against yours.

mod fault;
mod follow;
pub mod memory;
#[cfg(feature = "sqlite")]
pub mod sqlite;

pub use fault::Fault;
pub use follow::{follow, load};

use async_trait::async_trait;
use jiff::Timestamp;

use crate::app::{
    Actor, Caller, CallerEdit, CallerId, CallerKind, Change, Credential, CredentialId, Entity, Lock, LockId,
    Plan, PlanId, Seq, Standing, Status, Tenant, TenantId,
};

/// A caller to be made.
#[derive(Debug, Clone)]
pub struct NewCaller {
    /// Its id; the registry refuses one that is taken with [`Fault::Conflict`].
    pub id: CallerId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Its name.
    pub name: String,
    /// What kind of caller it is.
    pub kind: CallerKind,
    /// Its plan.
    pub plan: Option<PlanId>,
}

impl NewCaller {
    /// The caller as it is at first.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Caller {
        Caller {
            id: self.id,
            tenant: self.tenant,
            name: self.name,
            kind: self.kind,
            status: Status::Enabled,
            plan: self.plan,
            revision: 1,
            created_at: now,
            updated_at: now,
        }
    }
}

/// A consistent view of everything, as of one change.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The number of the last change it contains.
    pub seq: Seq,
    /// Tenants, then plans, then callers, then credentials, then locks.
    pub entities: Vec<Entity>,
}

/// Where tenants, callers, credentials, plans and locks live.
///
/// # Promises
///
/// * **Atomic.** A method that returns `Ok` has made its change and its row in the change log; one that
///   returns an error has made neither. What is acknowledged survives the end of the process, if the
///   implementation says that it keeps anything at all.
/// * **Ordered.** Changes are numbered from 1 without gaps, in the order in which they took effect.
/// * **Walled.** A caller is reached only through its tenant; one of another tenant is
///   [`Fault::NotFound`], like one that does not exist.
/// * **No lost update.** A change given the revision it was based on is refused with
///   [`Fault::Conflict`] when the entity has moved on.
/// * **Its own clock.** Times of changes and the expiry of locks come from the registry's clock, read
///   once in each transaction.
/// * **Honest.** When the store cannot be reached the answer is [`Fault::Unavailable`], and no other.
///
/// A change that changes nothing is no change: it returns the entity as it is and writes no row.
#[async_trait]
pub trait Registry: Send + Sync + 'static {
    /// Makes a tenant; `revision` and times of the given one are set by the registry.
    ///
    /// # Errors
    /// [`Fault::Conflict`] when the id, or its project and instance, are taken.
    async fn create_tenant(&self, tenant: Tenant, actor: &Actor) -> Result<Tenant, Fault>;

    /// A tenant by its id.
    ///
    /// # Errors
    /// [`Fault::NotFound`].
    async fn tenant(&self, id: &TenantId) -> Result<Tenant, Fault>;

    /// The tenant that is an APIG gateway.
    ///
    /// # Errors
    /// [`Fault::NotFound`].
    async fn gateway(&self, project_id: &str, instance_id: &str) -> Result<Tenant, Fault>;

    /// Sets a tenant's standing.
    ///
    /// # Errors
    /// [`Fault::NotFound`].
    async fn set_standing(&self, id: &TenantId, standing: Standing, actor: &Actor) -> Result<Tenant, Fault>;

    /// Makes a caller.
    ///
    /// # Errors
    /// [`Fault::NotFound`] without its tenant or plan, [`Fault::Full`] when the tenant has as many callers
    /// of its kind as it may, [`Fault::NameTaken`], [`Fault::KeyTaken`], or [`Fault::Conflict`] when the id
    /// is taken.
    async fn create_caller(&self, caller: NewCaller, actor: &Actor) -> Result<Caller, Fault>;

    /// A caller of a tenant.
    ///
    /// # Errors
    /// [`Fault::NotFound`].
    async fn caller(&self, tenant: &TenantId, id: &CallerId) -> Result<Caller, Fault>;

    /// Changes a caller, unless it is locked: by everybody's lock, or one of its own tenant.
    ///
    /// # Errors
    /// [`Fault::NotFound`] (the caller, or its new plan), [`Fault::Locked`], [`Fault::NameTaken`],
    /// [`Fault::KeyTaken`], or [`Fault::Conflict`] when `expected` is not the present revision.
    async fn update_caller(
        &self,
        tenant: &TenantId,
        id: &CallerId,
        expected: Option<u64>,
        edit: CallerEdit,
        actor: &Actor,
    ) -> Result<Caller, Fault>;

    /// Deletes a caller, its credentials and the locks on it, unless it is locked.
    ///
    /// # Errors
    /// [`Fault::NotFound`], [`Fault::Locked`].
    async fn delete_caller(&self, tenant: &TenantId, id: &CallerId, actor: &Actor) -> Result<(), Fault>;

    /// Makes a credential; `revision` and times of the given one are set by the registry.
    ///
    /// # Errors
    /// [`Fault::NotFound`] without its caller, [`Fault::Conflict`] when id or digest are taken.
    async fn create_credential(&self, credential: Credential, actor: &Actor) -> Result<Credential, Fault>;

    /// Sets a credential's status.
    ///
    /// # Errors
    /// [`Fault::NotFound`].
    async fn set_credential_status(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
        status: Status,
        actor: &Actor,
    ) -> Result<Credential, Fault>;

    /// Makes a plan, or puts new limits in its place.
    ///
    /// # Errors
    /// Only [`Fault::Unavailable`] and [`Fault::Corrupt`].
    async fn put_plan(&self, plan: Plan, actor: &Actor) -> Result<(), Fault>;

    /// Makes a lock. `acquired_at` is set by the registry; locks that have expired are cleared away first.
    ///
    /// # Errors
    /// [`Fault::Conflict`] when the id is that of a lock that still holds, or `expires_at` is past.
    async fn create_lock(&self, lock: Lock, actor: &Actor) -> Result<Lock, Fault>;

    /// Releases a lock.
    ///
    /// # Errors
    /// [`Fault::NotFound`].
    async fn delete_lock(&self, id: &LockId, actor: &Actor) -> Result<(), Fault>;

    /// Everything, as of one change.
    ///
    /// # Errors
    /// Only [`Fault::Unavailable`] and [`Fault::Corrupt`].
    async fn snapshot(&self) -> Result<Snapshot, Fault>;

    /// The changes after a number, in order, at most `limit` of them.
    ///
    /// # Errors
    /// Only [`Fault::Unavailable`] and [`Fault::Corrupt`].
    async fn changes(&self, after: Seq, limit: u32) -> Result<Vec<Change>, Fault>;

    /// Returns when there may be a change after a number: at once if there is one, soon after one is made
    /// here, and from time to time in any case, so that changes made elsewhere are seen too.
    async fn changed(&self, after: Seq);
}
