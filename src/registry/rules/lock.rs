//! Rules of locks: who may acquire one and what proves that a client holds it.

use jiff::Timestamp;

use super::{Rules, ensure_not};
use crate::{
    model::{Caller, ChangeKind, Entity, Lease, Lock, LockId, LockTarget, LockToken, MAX_LOCKS},
    registry::{NewLock, RegistryError},
};

impl Rules<'_> {
    pub(super) async fn acquire_lock(&mut self, lock: NewLock) -> Result<Entity, RegistryError> {
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
        let lock =
            self.tx.lock(id).await?.filter(|lock| lock.is_active(now)).ok_or(RegistryError::NotFound)?;
        self.record(ChangeKind::Deleted, Entity::Lock(lock)).await
    }

    /// Proves a lock. The lock does not stop the following commands of the transaction.
    pub(super) async fn prove_lock(
        &mut self,
        id: &LockId,
        token: &LockToken,
        fence: u64,
    ) -> Result<Entity, RegistryError> {
        let lock = self.proven(id, token).await?;
        ensure_not(lock.fence != fence, RegistryError::LockLost)?;
        self.held.push(lock.id.clone());
        Ok(Entity::Lock(lock))
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
