//! Why a registry refuses.

use crate::model::Lock;

/// Why a registry did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// There is no such thing, or it is another tenant's.
    #[error("not found")]
    NotFound,
    /// The name is taken by another caller of the same kind and tenant.
    #[error("the name is taken")]
    NameTaken,
    /// The AppKey is taken by another app, of whatever tenant.
    #[error("the key is taken")]
    KeyTaken,
    /// The entity has moved on, or is there already.
    #[error("it has changed meanwhile, or is there already")]
    Conflict,
    /// Something still stands on it: callers of a tenant, or on a plan.
    #[error("it is in use")]
    InUse,
    /// What names a request that takes effect once named another one before.
    #[error("another request was made under this key")]
    IdempotencyKeyReused,
    /// There are as many of one kind as there may be: callers of a tenant, credentials of a caller, locks of
    /// an owner.
    #[error("there are as many of this kind as there may be: {0}")]
    LimitReached(u32),
    /// A lock stands on it: of those in the way, the one that holds longest.
    #[error("locked by {}", .0.owner)]
    Locked(Box<Lock>),
    /// The lock that was to be held does not hold, or not by who asks: it is gone or has expired, or its token
    /// or its fence is another. Which of these is not told.
    #[error("the lock is not held, or not with this token and fence")]
    LockLost,
    /// The authority of the [`Actor`](crate::app::Actor) no longer holds: its credential or caller was deleted,
    /// disabled or narrowed since the request was let in, or has expired.
    #[error("the credential is not accepted any more")]
    NotAuthorized,
    /// The subscription that the change needs has lapsed.
    #[error("the subscription has lapsed")]
    Lapsed,
    /// Nobody would be left who owns everything and has a key that is accepted, now or at the moment in question.
    #[error("no owner would be left with a key that is accepted")]
    LastOwner,
    /// The store cannot be reached, or does not answer. The reason is for the log.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The store holds what cannot be. The reason is for the log.
    #[error("the store is corrupt: {0}")]
    Corrupt(String),
}
