//! The asynchronous home of tenants, callers, credentials, plans and locks.
//!
//! [`Registry`] is the trait; [`memory`] keeps everything in the process, [`sqlite`] (feature `sqlite`) in
//! a file. The registry is the only truth: every change is a row of its change log, written in the same
//! transaction and numbered. [`follow()`] keeps a [`Directory`](crate::directory::Directory) up to date
//! with it.
//!
//! # Bringing your own
//!
//! Implement [`Transaction`] over your store, and [`Registry`], whose [`run_transaction`](Registry::run_transaction)
//! hands one to a [`Work`]; [`execute()`] and [`execute_once()`] hold every change to the same rules. What the trait's
//! methods promise is checked by the suite in `tests/registry.rs`: run
//! it against yours.

mod command;
mod error;
mod sync;
mod filter;
mod lock;
mod mark;
pub mod memory;
mod idempotency;
mod reseal;
mod rules;
mod secret_check;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod snapshot_reader;
mod unit_of_work;

pub use command::{Command, NewCaller, SecretRef};
pub use error::RegistryError;
pub use sync::{Unreadable, follow, load, record_last_used};
pub use filter::{CallerFilter, ChangeFilter, CredentialFilter, GrantFilter, History, Order, ChangeWithPrevious, TenantFilter};
pub use lock::NewLock;
pub use mark::Mark;
pub use idempotency::{StoredResponse, IdempotentRequest, IdempotentOutcome, find_replay, execute_idempotent, store_response};
pub use reseal::{Resealed, reseal};
pub use rules::{AuthorizedWork, ImportConflict, Transaction, find_conflict, execute};
pub use secret_check::SecretCheck;
pub use snapshot_reader::{SnapshotPage, SnapshotReader};
pub use unit_of_work::{Outcome, UnitOfWork};

use async_trait::async_trait;
use jiff::Timestamp;
use snapshot_reader::BufferedSnapshot;
use unit_of_work::{CommandBatch, IdempotentBatch};

use crate::model::{
    Actor, Caller, CallerEdit, CallerId, Change, Credential, CredentialEdit, CredentialId, Entity, Grant,
    GrantId, Lease, Lock, LockId, LockToken, Plan, PlanId, Quota, QuotaId, Seq, SubscriptionStatus, Status, Tenant,
    TenantEdit, TenantId, Throttle, ThrottleId,
};

/// One command by itself, and the entity of its kind that it answers with.
macro_rules! one {
    ($registry:ident, $kind:ident, $command:expr, $actor:expr) => {
        match $registry.execute(vec![$command], $actor).await?.pop() {
            Some(Entity::$kind(entity)) => Ok(entity),
            _ => Err(RegistryError::Corrupt("a registry answered with another thing than was asked for".into())),
        }
    };
}

/// A consistent view of everything, as of one change.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The number of the last change it contains.
    pub seq: Seq,
    /// Kind by kind, as [`Kind::ALL`](crate::app::Kind::ALL) has them; in no order among their kind.
    pub entities: Vec<Entity>,
}

/// Where tenants, callers, credentials, plans and locks live.
///
/// # Promises
///
/// * **Atomic.** What is [executed](Self::execute) together, and each method that changes something, is in
///   the store and in the change log once it has returned `Ok`; when it returns an error, none of it is.
///   What is acknowledged survives the end of the process, if the implementation says that it keeps
///   anything at all.
/// * **Ordered.** Changes are numbered from 1 without gaps, in the order in which they took effect.
/// * **Walled.** A caller is reached only through its tenant; one of another tenant is
///   [`Fault::NotFound`], like one that does not exist.
/// * **No lost update.** A change given the revision it was based on is refused with
///   [`Fault::Conflict`] when the entity has moved on.
/// * **Its own clock.** Times of changes and the expiry of locks come from the registry's clock, read
///   once in each transaction.
/// * **One holder.** Of locks that would stop the same requests, at most one holds at any moment. Each that is
///   granted has a greater [fence](Lock::fence) than all before it, however those ended and whatever became of
///   the process. Once a lock is released, broken or expired, its token is worth nothing.
/// * **Honest.** When the store cannot be reached the answer is [`Fault::Unavailable`], and no other.
///
/// A change that changes nothing is no change: it returns the entity as it is and writes no row.
///
/// The methods that change one thing stand on [`execute`](Self::execute), and that on
/// [`transact`](Self::transact); an implementation needs that one, and those that read.
#[async_trait]
pub trait Registry: Send + Sync + 'static {
    /// Does one thing after the other in one transaction: all of them, or none. Returns for each the entity
    /// as it is since, or, when deleted, as it last was; a lock that was to be released and was gone is left
    /// out. What it does with each, and which errors that has, is said by the method of its name.
    ///
    /// A change that is to be made only while a lock is held goes with its proof: [`Command::Hold`], and
    /// behind it the change. Both are of one moment, so nobody else acquires the lock in between.
    ///
    /// # Errors
    /// That of the first which cannot be done.
    async fn execute(&self, commands: Vec<Command>, actor: &Actor) -> Result<Vec<Entity>, RegistryError> {
        let mut batch = CommandBatch::new(commands);
        self.transact(&mut batch, actor).await?;
        Ok(batch.done())
    }

    /// Does something in one transaction: all of it, or, when it is [given up](End::GiveUp) or fails, nothing.
    /// Nobody else writes meanwhile.
    ///
    /// The transaction first checks that the [authority](Actor::authority) of its author still holds, and that the
    /// subscription that it needs is active.
    ///
    /// # Errors
    /// [`Fault::Revoked`] and [`Fault::Lapsed`] by that check; what the work fails with; [`Fault::Unavailable`] and
    /// [`Fault::Corrupt`].
    async fn transact(&self, work: &mut dyn UnitOfWork, actor: &Actor) -> Result<(), RegistryError> {
        self.run_transaction(&mut AuthorizedWork::new(work, actor), actor).await
    }

    /// Runs work in one transaction of the store, whose changes have this author. Implemented by a store, and called
    /// by [`transact`](Self::transact) alone, which adds the check of the author.
    ///
    /// # Errors
    /// As [`transact`](Self::transact).
    async fn run_transaction(&self, work: &mut AuthorizedWork<'_>, actor: &Actor) -> Result<(), RegistryError>;

    /// Checks outside of a transaction that the [authority](Actor::authority) of an actor still holds: before a secret
    /// is shown that was read for it.
    ///
    /// # Errors
    /// [`Fault::Revoked`], [`Fault::Unavailable`] and [`Fault::Corrupt`].
    async fn authorize(&self, actor: &Actor, now: Timestamp) -> Result<(), RegistryError> {
        let Some(authority) = actor.authority() else { return Ok(()) };
        let gone = |fault| if matches!(fault, RegistryError::NotFound) { RegistryError::NotAuthorized } else { fault };
        let caller = self.caller(authority.tenant(), authority.caller()).await.map_err(gone)?;
        let credential = match authority.credential() {
            Some(id) => Some(self.credential(authority.tenant(), id).await.map_err(gone)?),
            None => None,
        };
        rules::check(authority, Some(&caller), credential.as_ref(), now)
    }

    /// The same for work that takes long and only makes things, such as an import. Others write meanwhile: where the
    /// store can, the work is done beside it, and what it made is put in at its end, which is short.
    ///
    /// By default it is [`transact`](Self::transact).
    ///
    /// # Errors
    /// As [`transact`](Self::transact); [`Fault::Conflict`] when somebody has made something meanwhile that stands in
    /// the way.
    async fn transact_bulk(&self, work: &mut dyn UnitOfWork, actor: &Actor) -> Result<(), RegistryError> {
        self.transact(work, actor).await
    }

    /// The same, unless it was done before: then nothing is, and the answer that was kept is given back. What
    /// is done and the record of it are one transaction. Records are kept for a day by the registry's clock,
    /// and cleared away by later ones. A request that was refused leaves none.
    ///
    /// # Errors
    /// As [`execute`](Self::execute); [`Fault::Reused`] when what was done before was something else;
    /// [`Fault::Unavailable`] when as many records are kept as may be.
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

    /// What is kept under a key of [`execute_once`](Self::execute_once), as long as it is.
    ///
    /// # Errors
    /// Only [`Fault::Unavailable`] and [`Fault::Corrupt`].
    async fn stored_response(&self, key: &[u8; 32]) -> Result<Option<StoredResponse>, RegistryError>;

    /// A tenant by its id.
    ///
    /// # Errors
    /// [`Fault::NotFound`].
    async fn tenant(&self, id: &TenantId) -> Result<Tenant, RegistryError>;

    /// The tenant that is an APIG gateway.
    ///
    /// # Errors
    /// [`Fault::NotFound`].
    async fn gateway(&self, project_id: &str, instance_id: &str) -> Result<Tenant, RegistryError>;

    /// A page of tenants by id.
    ///
    /// # Errors
    /// Only [`Fault::Unavailable`] and [`Fault::Corrupt`].
    async fn tenants(&self, which: &TenantFilter) -> Result<Vec<Tenant>, RegistryError>;

    /// A caller of a tenant.
    ///
    /// # Errors
    /// [`Fault::NotFound`].
    async fn caller(&self, tenant: &TenantId, id: &CallerId) -> Result<Caller, RegistryError>;

    /// A page of callers.
    ///
    /// # Errors
    /// Only [`Fault::Unavailable`] and [`Fault::Corrupt`].
    async fn callers(&self, which: &CallerFilter) -> Result<Vec<Caller>, RegistryError>;

    /// How many callers there are on all pages together.
    ///
    /// # Errors
    /// Only [`Fault::Unavailable`] and [`Fault::Corrupt`].
    async fn count_callers(&self, which: &CallerFilter) -> Result<u64, RegistryError>;

    /// A credential of a tenant.
    ///
    /// # Errors
    /// [`Fault::NotFound`].
    async fn credential(&self, tenant: &TenantId, id: &CredentialId) -> Result<Credential, RegistryError>;

    /// A page of credentials by id.
    ///
    /// # Errors
    /// Only [`Fault::Unavailable`] and [`Fault::Corrupt`].
    async fn credentials(&self, which: &CredentialFilter) -> Result<Vec<Credential>, RegistryError>;

    /// A plan.
    ///
    /// # Errors
    /// [`Fault::NotFound`].
    async fn plan(&self, id: &PlanId) -> Result<Plan, RegistryError>;

    /// A page of plans by id: at most `limit`, behind `after`.
    ///
    /// # Errors
    /// Only [`Fault::Unavailable`] and [`Fault::Corrupt`].
    async fn plans(&self, after: Option<&PlanId>, limit: u32) -> Result<Vec<Plan>, RegistryError>;

    /// A lock; one that has expired may still be there.
    ///
    /// # Errors
    /// [`Fault::NotFound`].
    async fn lock(&self, id: &LockId) -> Result<Lock, RegistryError>;

    /// A page of locks by id: at most `limit`, behind `after`; those that have expired may be among them.
    ///
    /// # Errors
    /// Only [`Fault::Unavailable`] and [`Fault::Corrupt`].
    async fn locks(&self, after: Option<&LockId>, limit: u32) -> Result<Vec<Lock>, RegistryError>;

    /// A grant of a tenant.
    ///
    /// # Errors
    /// [`Fault::NotFound`].
    async fn grant(&self, tenant: &TenantId, id: &GrantId) -> Result<Grant, RegistryError>;

    /// A page of grants, those given last first; of those given at once, the greater id.
    ///
    /// # Errors
    /// Only [`Fault::Unavailable`] and [`Fault::Corrupt`].
    async fn grants(&self, which: &GrantFilter) -> Result<Vec<Grant>, RegistryError>;

    /// How many grants there are on all pages together.
    ///
    /// # Errors
    /// Only [`Fault::Unavailable`] and [`Fault::Corrupt`].
    async fn count_grants(&self, which: &GrantFilter) -> Result<u64, RegistryError>;

    /// How many grants each of some callers has.
    ///
    /// # Errors
    /// Only [`Fault::Unavailable`] and [`Fault::Corrupt`].
    async fn count_grants_of(&self, ids: &[CallerId]) -> Result<Vec<u64>, RegistryError>;

    /// A throttle of a tenant.
    ///
    /// # Errors
    /// [`Fault::NotFound`].
    async fn throttle(&self, tenant: &TenantId, id: &ThrottleId) -> Result<Throttle, RegistryError>;

    /// The throttles of a tenant, those made last first; of those made at once, the greater id.
    ///
    /// # Errors
    /// Only [`Fault::Unavailable`] and [`Fault::Corrupt`].
    async fn throttles(&self, tenant: &TenantId) -> Result<Vec<Throttle>, RegistryError>;

    /// A quota of a tenant.
    ///
    /// # Errors
    /// [`Fault::NotFound`].
    async fn quota(&self, tenant: &TenantId, id: &QuotaId) -> Result<Quota, RegistryError>;

    /// The quotas of a tenant, in the same order.
    ///
    /// # Errors
    /// Only [`Fault::Unavailable`] and [`Fault::Corrupt`].
    async fn quotas(&self, tenant: &TenantId) -> Result<Vec<Quota>, RegistryError>;

    /// Notes when credentials were used. Not a change: nothing of it is in the change log. What is noted last
    /// is kept, whoever notes it; credentials that are not there are left out.
    ///
    /// # Errors
    /// Only [`Fault::Unavailable`] and [`Fault::Corrupt`].
    async fn record_last_used(&self, uses: &[(CredentialId, Timestamp)]) -> Result<(), RegistryError>;

    /// When credentials were last used, as far as it was noted, in whole seconds; in the order of the ids.
    ///
    /// # Errors
    /// Only [`Fault::Unavailable`] and [`Fault::Corrupt`].
    async fn last_used(&self, ids: &[CredentialId]) -> Result<Vec<Option<Timestamp>>, RegistryError>;

    /// Hands over everything, as of one change, whose number it returns: kind by kind, as
    /// [`Kind::ALL`](crate::app::Kind::ALL) has them. Never more than a page of it is held here.
    ///
    /// # Errors
    /// Only [`Fault::Unavailable`] and [`Fault::Corrupt`]; a part has been handed over by then.
    async fn for_each(&self, each: &mut (dyn FnMut(Entity) + Send)) -> Result<Seq, RegistryError>;

    /// The same, without what cannot be read by this version, which is named instead. For a store all of whose entities
    /// can be read, this is [`everything`](Self::everything), which it is by default.
    ///
    /// # Errors
    /// As [`everything`](Self::everything).
    async fn readable(
        &self,
        each: &mut (dyn FnMut(Result<Entity, Unreadable>) + Send),
    ) -> Result<Seq, RegistryError> {
        self.for_each(&mut |entity| each(Ok(entity))).await
    }

    /// What the store says of itself and of a change, by which it is seen that another store, or an older copy, stands
    /// in its place; `None`, by default, where that cannot happen.
    ///
    /// # Errors
    /// Only [`Fault::Unavailable`] and [`Fault::Corrupt`].
    async fn mark(&self, _at: Seq) -> Result<Option<Mark>, RegistryError> {
        Ok(None)
    }

    /// What does not fit of the secrets at hand, for people: the store was used with others before. When all fit, those
    /// that it does not know yet are noted. By default nothing is noted, and everything fits.
    ///
    /// # Errors
    /// Only [`Fault::Unavailable`] and [`Fault::Corrupt`].
    async fn check_secrets(&self, _at_hand: &[SecretCheck]) -> Result<Vec<String>, RegistryError> {
        Ok(Vec::new())
    }

    /// The same, held.
    ///
    /// # Errors
    /// As [`everything`](Self::everything).
    async fn snapshot(&self) -> Result<Snapshot, RegistryError> {
        let mut entities = Vec::new();
        let seq = self.for_each(&mut |entity| entities.push(entity)).await?;
        Ok(Snapshot { seq, entities })
    }

    /// Everything as of one change, to be read page by page for as long as it takes. This one holds all of it at
    /// once; a store that is larger than memory reads each page when it is asked for.
    ///
    /// # Errors
    /// Only [`Fault::Unavailable`] and [`Fault::Corrupt`].
    async fn view(&self) -> Result<Box<dyn SnapshotReader>, RegistryError> {
        let Snapshot { seq, entities } = self.snapshot().await?;
        let mut view = BufferedSnapshot::new(seq, entities);
        let uses = self.last_used(view.credentials()).await?;
        view.note(uses);
        Ok(Box::new(view))
    }

    /// The changes after a number, in order, at most `limit` of them.
    ///
    /// # Errors
    /// Only [`Fault::Unavailable`] and [`Fault::Corrupt`].
    async fn changes(&self, after: Seq, limit: u32) -> Result<Vec<Change>, RegistryError>;

    /// The number of the last change; 0 when there was none.
    ///
    /// # Errors
    /// Only [`Fault::Unavailable`] and [`Fault::Corrupt`].
    async fn last_change(&self) -> Result<Seq, RegistryError>;

    /// A page of the change log, each change with what there was before.
    ///
    /// # Errors
    /// Only [`Fault::Unavailable`] and [`Fault::Corrupt`].
    async fn history(&self, which: &ChangeFilter) -> Result<History, RegistryError>;

    /// Returns when there may be a change after a number: at once if there is one, soon after one is made
    /// here, and from time to time in any case, so that changes made elsewhere are seen too.
    async fn wait_for_change(&self, after: Seq);

    /// Finishes what is under way, brings all of it into the place where it is stored, and releases that. Every
    /// later call may fail with [`Fault::Unavailable`]. By default there is nothing to finish.
    async fn close(&self) {}

    /// Makes a tenant; `revision` and times of the given one are set by the registry.
    ///
    /// # Errors
    /// [`Fault::Conflict`] when the id, or its project and instance, are taken.
    async fn create_tenant(&self, tenant: Tenant, actor: &Actor) -> Result<Tenant, RegistryError> {
        one!(self, Tenant, Command::CreateTenant(tenant), actor)
    }

    /// Changes a tenant.
    ///
    /// # Errors
    /// [`Fault::NotFound`], or [`Fault::Conflict`] when `expected` is not the present revision.
    async fn update_tenant(
        &self,
        id: &TenantId,
        expected: Option<u64>,
        edit: TenantEdit,
        actor: &Actor,
    ) -> Result<Tenant, RegistryError> {
        one!(self, Tenant, Command::UpdateTenant { id: id.clone(), expected, edit }, actor)
    }

    /// Sets a tenant's standing.
    ///
    /// # Errors
    /// [`Fault::NotFound`].
    async fn set_standing(&self, id: &TenantId, standing: SubscriptionStatus, actor: &Actor) -> Result<Tenant, RegistryError> {
        let edit = TenantEdit { standing: Some(standing), ..TenantEdit::default() };
        self.update_tenant(id, None, edit, actor).await
    }

    /// Deletes a tenant that has no callers.
    ///
    /// # Errors
    /// [`Fault::NotFound`], [`Fault::InUse`], or [`Fault::Conflict`] when `expected` is not the present
    /// revision.
    async fn delete_tenant(&self, id: &TenantId, expected: Option<u64>, actor: &Actor) -> Result<(), RegistryError> {
        let command = Command::DeleteTenant { id: id.clone(), expected };
        self.execute(vec![command], actor).await.map(drop)
    }

    /// Makes a caller.
    ///
    /// # Errors
    /// [`Fault::NotFound`] without its tenant or plan, [`Fault::Full`] when the tenant has as many callers
    /// of its kind as it may, [`Fault::NameTaken`], [`Fault::KeyTaken`], or [`Fault::Conflict`] when the id
    /// is taken.
    async fn create_caller(&self, caller: NewCaller, actor: &Actor) -> Result<Caller, RegistryError> {
        one!(self, Caller, Command::CreateCaller(caller), actor)
    }

    /// Changes a caller, unless it is locked: by everybody's lock, or one of its own tenant. Who holds the lock
    /// says so by [`Command::Hold`].
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
    ) -> Result<Caller, RegistryError> {
        let command = Command::UpdateCaller { tenant: tenant.clone(), id: id.clone(), expected, edit };
        one!(self, Caller, command, actor)
    }

    /// Deletes a caller, its credentials, its grants and the locks on it, unless it is locked.
    ///
    /// # Errors
    /// [`Fault::NotFound`], [`Fault::Locked`], or [`Fault::Conflict`] when `expected` is not the present
    /// revision.
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

    /// Makes a credential; `revision` and times of the given one are set by the registry.
    ///
    /// # Errors
    /// [`Fault::NotFound`] without its caller, [`Fault::Conflict`] when id or digest are taken.
    async fn create_credential(&self, credential: Credential, actor: &Actor) -> Result<Credential, RegistryError> {
        one!(self, Credential, Command::CreateCredential { credential, most: None }, actor)
    }

    /// Makes a credential, of at most so many of its kind that its caller may have.
    ///
    /// # Errors
    /// As [`create_credential`](Self::create_credential), or [`Fault::Full`].
    async fn create_credential_within(
        &self,
        most: u32,
        credential: Credential,
        actor: &Actor,
    ) -> Result<Credential, RegistryError> {
        one!(self, Credential, Command::CreateCredential { credential, most: Some(most) }, actor)
    }

    /// Changes a credential. A lock on its caller does not hold it: a key can always be revoked.
    ///
    /// # Errors
    /// [`Fault::NotFound`], or [`Fault::Conflict`] when `expected` is not the present revision.
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
    /// [`Fault::NotFound`].
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

    /// Deletes a credential: it is unknown from now on. A lock on its caller does not hold it.
    ///
    /// # Errors
    /// [`Fault::NotFound`], or [`Fault::Conflict`] when `expected` is not the present revision.
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

    /// Makes a plan, or puts new limits in its place.
    ///
    /// # Errors
    /// Only [`Fault::Unavailable`] and [`Fault::Corrupt`].
    async fn put_plan(&self, plan: Plan, actor: &Actor) -> Result<(), RegistryError> {
        self.execute(vec![Command::PutPlan(plan)], actor).await.map(drop)
    }

    /// Deletes a plan.
    ///
    /// # Errors
    /// [`Fault::NotFound`], or [`Fault::InUse`] when a caller is on it.
    async fn delete_plan(&self, id: &PlanId, actor: &Actor) -> Result<(), RegistryError> {
        self.execute(vec![Command::DeletePlan(id.clone())], actor).await.map(drop)
    }

    /// Acquires a lock, for so long by the registry's clock; locks that have expired are cleared away first.
    /// What it answers with has the [fence](Lock::fence).
    ///
    /// # Errors
    /// [`Fault::Conflict`] when the id is that of a lock that still holds; [`Fault::Locked`] when one holds on
    /// the same target, or a path above or below it, and concerns the same tenant: that one; [`Fault::Full`]
    /// when the owner holds [`MAX_LOCKS`](crate::app::MAX_LOCKS).
    async fn acquire_lock(&self, lock: NewLock, actor: &Actor) -> Result<Lock, RegistryError> {
        one!(self, Lock, Command::AcquireLock(lock), actor)
    }

    /// Lets a lock hold for so long from now on, or for as long as it does when that is longer. The fence
    /// stays. One that no longer holds stays lost, whoever holds its target since.
    ///
    /// # Errors
    /// [`Fault::LockLost`] when it does not hold, or the token is not its own.
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

    /// Releases a lock. One that is gone or has expired is released: that is no change.
    ///
    /// # Errors
    /// [`Fault::LockLost`] when it holds, and the token is not its own.
    async fn release_lock(&self, id: &LockId, token: &LockToken, actor: &Actor) -> Result<(), RegistryError> {
        let command = Command::ReleaseLock { id: id.clone(), token: token.clone() };
        self.execute(vec![command], actor).await.map(drop)
    }

    /// Takes a lock away from its holder, who learns of it when it proves it the next time.
    ///
    /// # Errors
    /// [`Fault::NotFound`], also when it has expired.
    async fn break_lock(&self, id: &LockId, actor: &Actor) -> Result<(), RegistryError> {
        self.execute(vec![Command::BreakLock(id.clone())], actor).await.map(drop)
    }

    /// Gives a grant; when there is one like it, that one stays, and is returned.
    ///
    /// # Errors
    /// [`Fault::NotFound`] without its caller, [`Fault::Conflict`] when the id is taken.
    async fn put_grant(&self, grant: Grant, actor: &Actor) -> Result<Grant, RegistryError> {
        one!(self, Grant, Command::PutGrant(grant), actor)
    }

    /// Takes a grant back. A lock on its caller does not hold it.
    ///
    /// # Errors
    /// [`Fault::NotFound`].
    async fn delete_grant(&self, tenant: &TenantId, id: &GrantId, actor: &Actor) -> Result<(), RegistryError> {
        let command = Command::DeleteGrant { tenant: tenant.clone(), id: id.clone() };
        self.execute(vec![command], actor).await.map(drop)
    }
}
