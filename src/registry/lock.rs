//! The parameters of a new lock.

use jiff::Timestamp;

use crate::model::{CallerId, Lease, Lock, LockId, LockTarget, LockedRequests, TenantId, TokenDigest};

/// A lock to be acquired.
///
/// ```
/// # async fn example(registry: &dyn portcullis::registry::Registry) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use portcullis::{
///     model::{Actor, LockedRequests, Lease, LockId, LockToken, LockTarget},
///     registry::{NewLock, RegistryExt},
/// };
///
/// let token = LockToken::generate();
/// let lock = NewLock {
///     id: LockId::random(),
///     tenant: None,
///     target: LockTarget::Resource("/orders/7".parse()?),
///     owner: "night shift".into(),
///     holder: None,
///     reason: "stocktaking".into(),
///     covers: LockedRequests::Writes,
///     lasts: Lease::try_from(Duration::from_secs(60))?,
///     token: token.digest(),
/// };
/// let lock = registry.acquire_lock(lock, &Actor::system("example")).await?;
/// // The holder gets the id, the fence and, only once, the token, which is stored nowhere.
/// println!("{} {} {}", lock.id, lock.fence, token.expose());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct NewLock {
    /// The id of the lock. A taken id fails with [`RegistryError::Conflict`](super::RegistryError::Conflict).
    pub id: LockId,
    /// The tenant whose requests the lock stops; `None` is every tenant.
    pub tenant: Option<TenantId>,
    /// The target of the lock.
    pub target: LockTarget,
    /// The name of the owner, which is shown to stopped callers.
    pub owner: String,
    /// The caller that holds the lock, if the owner is a caller. The maximum number of locks,
    /// [`MAX_LOCKS`](crate::model::MAX_LOCKS), applies to this id, or else to the owner's name.
    pub holder: Option<CallerId>,
    /// The reason, which is shown to stopped callers.
    pub reason: String,
    /// The requests that the lock stops.
    pub covers: LockedRequests,
    /// The duration of the lock.
    pub lasts: Lease,
    /// The digest of the lock's token.
    pub token: TokenDigest,
}

impl NewLock {
    /// Returns the lock in its initial state.
    #[must_use]
    pub fn into_lock(self, now: Timestamp, fence: u64) -> Lock {
        Lock {
            id: self.id,
            tenant: self.tenant,
            target: self.target,
            owner: self.owner,
            holder: self.holder,
            reason: self.reason,
            covers: self.covers,
            acquired_at: now,
            expires_at: self.lasts.expires_at(now),
            fence,
            token: Some(self.token),
        }
    }
}
