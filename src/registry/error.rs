//! Errors of a registry.

use crate::model::Lock;

/// The reason for which a registry did not execute a request.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The entity does not exist, or belongs to another tenant.
    #[error("not found")]
    NotFound,
    /// The name is taken by another caller of the same kind and tenant.
    #[error("the name is taken")]
    NameTaken,
    /// The AppKey is taken by another app of any tenant.
    #[error("the AppKey is taken")]
    KeyTaken,
    /// The entity has changed since the expected revision, or exists already.
    #[error("the entity was changed meanwhile, or exists already")]
    Conflict,
    /// Another entity still refers to the entity, such as a caller to its tenant or plan.
    #[error("the entity is in use")]
    InUse,
    /// The key of an idempotent request was used for a different request before.
    #[error("the idempotency key was used for another request")]
    IdempotencyKeyReused,
    /// The maximum number of entities of a kind exists: callers of a tenant, credentials of a caller, or locks of an
    /// owner.
    #[error("the maximum of {0} entities of this kind is reached")]
    LimitReached(u32),
    /// A lock is held on the target. Of several conflicting locks, this is the one that expires last.
    #[error("locked by {}", .0.owner)]
    Locked(Box<Lock>),
    /// The lock is not held by the client: it is gone or has expired, or the token or the fence is wrong. The error
    /// deliberately does not distinguish these cases.
    #[error("the lock is not held, or its token or fence is wrong")]
    LockLost,
    /// The authority of the [`Actor`](crate::model::Actor) no longer holds: since the request was admitted, its
    /// credential or caller was deleted, disabled or restricted, or has expired.
    #[error("the credential is no longer accepted")]
    NotAuthorized,
    /// The subscription that the change needs has lapsed.
    #[error("the subscription has lapsed")]
    Lapsed,
    /// No owner of everything with an accepted key would remain, now or at the given time.
    #[error("no owner with an accepted key would remain")]
    LastOwner,
    /// The store cannot be reached, or does not answer. The reason is for the log.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The store holds invalid data. The reason is for the log.
    #[error("the store is corrupt: {0}")]
    Corrupt(String),
}
