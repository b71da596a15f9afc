//! What a lock is acquired by.

use jiff::Timestamp;

use crate::model::{CallerId, LockedRequests, Lease, Lock, LockId, LockTarget, TenantId, TokenDigest};

/// A lock to be acquired.
///
/// ```
/// # async fn example(registry: &dyn portcullis::registry::Registry) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use portcullis::{
///     app::{Actor, Covers, Lease, LockId, LockToken, Target},
///     registry::NewLock,
/// };
///
/// let token = LockToken::generate();
/// let lock = NewLock {
///     id: LockId::random(),
///     tenant: None,
///     target: Target::Resource("/orders/7".parse()?),
///     owner: "night shift".into(),
///     holder: None,
///     reason: "stocktaking".into(),
///     covers: Covers::Writes,
///     lasts: Lease::try_from(Duration::from_secs(60))?,
///     token: token.digest(),
/// };
/// let lock = registry.acquire_lock(lock, &Actor::system("example")).await?;
/// // To its holder, once: the id, the fence, and the token, which nobody else has.
/// println!("{} {} {}", lock.id, lock.fence, token.expose());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct NewLock {
    /// Its id; the registry refuses one that is taken with [`Fault::Conflict`](super::Fault::Conflict).
    pub id: LockId,
    /// Whose requests it is to stop; `None` is everybody's.
    pub tenant: Option<TenantId>,
    /// What it is to stand on.
    pub target: LockTarget,
    /// The name of its owner; shown to whoever is refused.
    pub owner: String,
    /// The caller that is to hold it, where the owner is one. Who holds at most [`MAX_LOCKS`](crate::app::MAX_LOCKS) is
    /// told by this id, or else by the owner's name.
    pub holder: Option<CallerId>,
    /// Why; shown to who is refused.
    pub reason: String,
    /// Which requests it is to stop.
    pub covers: LockedRequests,
    /// How long it is to hold.
    pub lasts: Lease,
    /// What its token is to be known by.
    pub token: TokenDigest,
}

impl NewLock {
    /// The lock as it is at first.
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
