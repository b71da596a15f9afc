//! The rules of locks: who is granted one, and what holding it takes.

use jiff::Timestamp;

use super::{Rules, ensure_not};
use crate::{
    model::{Caller, Entity, Lease, Lock, LockId, LockToken, MAX_LOCKS, LockTarget, ChangeKind},
    registry::{RegistryError, NewLock},
};

impl Rules<'_> {
    pub(super) async fn acquire_lock(&mut self, lock: NewLock) -> Result<Entity, RegistryError> {
        for expired in self.tx.expired_locks().await? {
            self.tx.write(ChangeKind::Deleted, Entity::Lock(expired)).await?;
        }
        // Every lock that is left holds.
        ensure_not(self.tx.lock(&lock.id).await?.is_some(), RegistryError::Conflict)?;
        let near = self.tx.locks_on(&lock.target).await?;
        none_of(near.into_iter().filter(|held| held.applies_to(lock.tenant.as_ref())))?;
        let now = self.tx.now();
        let lock = lock.into_lock(now, after(self.tx.last_fence().await?, now));
        let full = self.tx.count_held_by(lock.holder()).await? >= u64::from(MAX_LOCKS);
        ensure_not(full, RegistryError::LimitReached(MAX_LOCKS))?;
        self.record(ChangeKind::Created, Entity::Lock(lock)).await
    }

    pub(super) async fn refresh_lock(
        &mut self,
        id: &LockId,
        token: &LockToken,
        lasts: Lease,
    ) -> Result<Entity, RegistryError> {
        let before = self.proven(id, token).await?;
        match before.refreshed(lasts, self.tx.now()) {
            Some(after) => self.record(ChangeKind::Updated, Entity::Lock(after)).await,
            None => Ok(Entity::Lock(before)),
        }
    }

    pub(super) async fn release_lock(
        &mut self,
        id: &LockId,
        token: &LockToken,
    ) -> Result<Option<Entity>, RegistryError> {
        let now = self.tx.now();
        let Some(lock) = self.tx.lock(id).await?.filter(|lock| lock.is_active(now)) else { return Ok(None) };
        ensure_not(!lock.matches(token), RegistryError::LockLost)?;
        self.record(ChangeKind::Deleted, Entity::Lock(lock)).await.map(Some)
    }

    pub(super) async fn break_lock(&mut self, id: &LockId) -> Result<Entity, RegistryError> {
        let now = self.tx.now();
        let lock = self.tx.lock(id).await?.filter(|lock| lock.is_active(now)).ok_or(RegistryError::NotFound)?;
        self.record(ChangeKind::Deleted, Entity::Lock(lock)).await
    }

    /// From here on, what the lock stands on is the one's who asks.
    pub(super) async fn prove_lock(&mut self, id: &LockId, token: &LockToken, fence: u64) -> Result<Entity, RegistryError> {
        let lock = self.proven(id, token).await?;
        ensure_not(lock.fence != fence, RegistryError::LockLost)?;
        self.held.push(lock.id.clone());
        Ok(Entity::Lock(lock))
    }

    /// Whether no lock that is everybody's, or of the caller's own tenant, holds the caller, but for those
    /// that are held here.
    pub(super) async fn check_not_locked(&mut self, caller: &Caller) -> Result<(), RegistryError> {
        let (now, target) = (self.tx.now(), LockTarget::Caller(caller.id.clone()));
        let locks = self.tx.locks_on(&target).await?.into_iter();
        none_of(locks.filter(|lock| lock.holds_caller(caller, now) && !self.held.contains(&lock.id)))
    }

    /// A lock that holds, and whose token this is.
    async fn proven(&mut self, id: &LockId, token: &LockToken) -> Result<Lock, RegistryError> {
        let now = self.tx.now();
        let lock = self.tx.lock(id).await?.filter(|lock| lock.is_active(now) && lock.matches(token));
        lock.ok_or(RegistryError::LockLost)
    }
}

/// A fence greater than the last. Microseconds, unless there is one for each: what goes on from an older copy of a
/// registry, or from one that was put in elsewhere, has not the last fence, and must not grant it again.
fn after(last: u64, now: Timestamp) -> u64 {
    u64::try_from(now.as_microsecond()).unwrap_or(0).max(last + 1)
}

/// Whether there is none; else the one that holds longest: when it ends, the others have.
fn none_of(locks: impl Iterator<Item = Lock>) -> Result<(), RegistryError> {
    locks.max_by_key(|lock| lock.expires_at).map_or(Ok(()), |lock| Err(RegistryError::Locked(Box::new(lock))))
}
