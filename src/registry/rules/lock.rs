//! Rules of locks: who may acquire one and what proves that a client holds it.

use jiff::Timestamp;

use super::{Rules, ensure_not};
use crate::{
    model::{Caller, ChangeKind, Entity, Lease, Lock, LockId, LockTarget, LockToken, MAX_LOCKS},
    registry::{NewLock, RegistryError},
};

/// Acquires a lock: [`acquire_lock`](crate::registry::RegistryExt::acquire_lock).
#[derive(Debug, Clone)]
pub struct AcquireLock(
    /// The lock to acquire.
    pub NewLock,
);

/// Extends a lock: [`refresh_lock`](crate::registry::RegistryExt::refresh_lock).
#[derive(Debug, Clone)]
pub struct RefreshLock {
    /// The id of the lock.
    pub id: LockId,
    /// The token of the lock.
    pub token: LockToken,
    /// The duration of the lock from now on.
    pub lasts: Lease,
}

/// Releases a lock and returns its last state, or `None` if it is already gone:
/// [`release_lock`](crate::registry::RegistryExt::release_lock).
#[derive(Debug, Clone)]
pub struct ReleaseLock {
    /// The id of the lock.
    pub id: LockId,
    /// The token of the lock.
    pub token: LockToken,
}

/// Breaks a lock and returns its last state: [`break_lock`](crate::registry::RegistryExt::break_lock).
#[derive(Debug, Clone)]
pub struct BreakLock(
    /// The id of the lock.
    pub LockId,
);

/// Proves that the client holds a lock, and returns the lock. Otherwise the transaction fails with
/// [`RegistryError::LockLost`]. The lock does not stop the operations that follow in the same
/// [`run`](crate::registry::RegistryExt::run).
#[derive(Debug, Clone)]
pub struct ProveLock {
    /// The id of the lock.
    pub id: LockId,
    /// The token of the lock.
    pub token: LockToken,
    /// The fence of the lock when it was acquired. A lock with another fence is not the one that the changes are
    /// based on.
    pub fence: u64,
}

impl Rules<'_> {
    pub(in crate::registry) async fn acquire_lock(
        &mut self,
        AcquireLock(lock): AcquireLock,
    ) -> Result<Lock, RegistryError> {
        for expired in self.tx.expired_locks().await? {
            self.tx.write(ChangeKind::Deleted, Entity::Lock(expired)).await?;
        }
        // All remaining locks are held.
        ensure_not(self.tx.lock(&lock.id).await?.is_some(), RegistryError::Conflict)?;
        let near = self.tx.locks_on(&lock.target).await?;
        none_of(near.into_iter().filter(|held| held.applies_to(lock.tenant.as_ref())))?;
        let now = self.tx.now();
        let lock = lock.into_lock(now, after(self.tx.last_fence().await?, now));
        let full = self.tx.count_held_by(lock.holder()).await? >= u64::from(MAX_LOCKS);
        ensure_not(full, RegistryError::LimitReached(MAX_LOCKS))?;
        self.record(ChangeKind::Created, lock).await
    }

    pub(in crate::registry) async fn refresh_lock(
        &mut self,
        RefreshLock { id, token, lasts }: RefreshLock,
    ) -> Result<Lock, RegistryError> {
        let before = self.proven(&id, &token).await?;
        match before.refreshed(lasts, self.tx.now()) {
            Some(after) => self.record(ChangeKind::Updated, after).await,
            None => Ok(before),
        }
    }

    pub(in crate::registry) async fn release_lock(
        &mut self,
        ReleaseLock { id, token }: ReleaseLock,
    ) -> Result<Option<Lock>, RegistryError> {
        let now = self.tx.now();
        let Some(lock) = self.tx.lock(&id).await?.filter(|lock| lock.is_active(now)) else { return Ok(None) };
        ensure_not(!lock.matches(&token), RegistryError::LockLost)?;
        self.record(ChangeKind::Deleted, lock).await.map(Some)
    }

    pub(in crate::registry) async fn break_lock(
        &mut self,
        BreakLock(id): BreakLock,
    ) -> Result<Lock, RegistryError> {
        let now = self.tx.now();
        let lock =
            self.tx.lock(&id).await?.filter(|lock| lock.is_active(now)).ok_or(RegistryError::NotFound)?;
        self.record(ChangeKind::Deleted, lock).await
    }

    /// Proves a lock. The lock does not stop the following commands of the transaction.
    pub(in crate::registry) async fn prove_lock(
        &mut self,
        ProveLock { id, token, fence }: ProveLock,
    ) -> Result<Lock, RegistryError> {
        let lock = self.proven(&id, &token).await?;
        ensure_not(lock.fence != fence, RegistryError::LockLost)?;
        self.held.push(lock.id.clone());
        Ok(lock)
    }

    /// Checks that no lock for all tenants or for the caller's own tenant is held on the caller. Locks proven in this
    /// transaction do not count.
    pub(super) async fn check_not_locked(&mut self, caller: &Caller) -> Result<(), RegistryError> {
        let (now, target) = (self.tx.now(), LockTarget::Caller(caller.id.clone()));
        let locks = self.tx.locks_on(&target).await?.into_iter();
        none_of(locks.filter(|lock| lock.holds_caller(caller, now) && !self.held.contains(&lock.id)))
    }

    /// Returns a lock that is held and has this token.
    async fn proven(&mut self, id: &LockId, token: &LockToken) -> Result<Lock, RegistryError> {
        let now = self.tx.now();
        let lock = self.tx.lock(id).await?.filter(|lock| lock.is_active(now) && lock.matches(token));
        lock.ok_or(RegistryError::LockLost)
    }
}

/// Returns a fence greater than the last one, which is the time in microseconds unless the last fence is later. A
/// registry that was restored from an older copy, or imported elsewhere, does not know the last fence and must not
/// grant it again.
fn after(last: u64, now: Timestamp) -> u64 {
    u64::try_from(now.as_microsecond()).unwrap_or(0).max(last + 1)
}

/// Fails with the lock that expires last, if there is any: when it expires, the others have expired, too.
fn none_of(locks: impl Iterator<Item = Lock>) -> Result<(), RegistryError> {
    locks.max_by_key(|lock| lock.expires_at).map_or(Ok(()), |lock| Err(RegistryError::Locked(Box::new(lock))))
}
