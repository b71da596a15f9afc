//! Commands to a registry, as data.

use jiff::Timestamp;

use crate::model::{
    Caller, CallerEdit, CallerId, CallerKind, Credential, CredentialEdit, CredentialId, Entity, Grant,
    GrantId, Lease, LockId, LockToken, Plan, PlanId, Quota, QuotaId, Sealed, Status, Tenant, TenantEdit,
    TenantId, Throttle, ThrottleId,
};

use super::NewLock;

/// A caller to be created.
#[derive(Debug, Clone)]
pub struct NewCaller {
    /// The id of the caller. A taken id fails with [`RegistryError::Conflict`](super::RegistryError::Conflict).
    pub id: CallerId,
    /// The tenant of the caller.
    pub tenant: TenantId,
    /// The name of the caller.
    pub name: String,
    /// The kind of caller.
    pub kind: CallerKind,
    /// The plan of the caller.
    pub plan: Option<PlanId>,
}

impl NewCaller {
    /// Returns the caller in its initial state.
    #[must_use]
    pub fn into_caller(self, now: Timestamp) -> Caller {
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

/// The owner of a secret.
#[derive(Debug, Clone)]
pub enum SecretRef {
    /// The AppSecret of an app.
    App(CallerId),
    /// The sealed secret of a credential.
    Credential(CredentialId),
}

/// A change of a registry, executed by [`Registry::execute`](super::Registry::execute).
///
/// `expected` is the revision that the change is based on; `None` accepts any revision.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Command {
    /// Requires that an entity is exactly in the given state. Otherwise the transaction fails with
    /// [`RegistryError::Conflict`](super::RegistryError::Conflict).
    AssertUnchanged(Entity),
    /// Creates a tenant: [`Registry::create_tenant`](super::Registry::create_tenant).
    CreateTenant(Tenant),
    /// Changes a tenant: [`Registry::update_tenant`](super::Registry::update_tenant).
    UpdateTenant {
        /// The id of the tenant.
        id: TenantId,
        /// The revision that the change is based on.
        expected: Option<u64>,
        /// The new values.
        edit: TenantEdit,
    },
    /// Deletes a tenant: [`Registry::delete_tenant`](super::Registry::delete_tenant).
    DeleteTenant {
        /// The id of the tenant.
        id: TenantId,
        /// The revision of the tenant to delete.
        expected: Option<u64>,
    },
    /// Creates a caller: [`Registry::create_caller`](super::Registry::create_caller).
    CreateCaller(NewCaller),
    /// Creates a caller whose id was chosen by a client that must not learn about other tenants. If a caller of another
    /// tenant has the id, that is no conflict: the new caller gets the other id.
    ///
    /// Fails with [`RegistryError::Conflict`](super::RegistryError::Conflict) when the tenant itself has a caller with either id.
    CreateCallerOr {
        /// The caller to create.
        caller: NewCaller,
        /// The id for the case that another tenant has the preferred one. No other tenant may have this id.
        otherwise: CallerId,
    },
    /// Changes a caller: [`Registry::update_caller`](super::Registry::update_caller).
    UpdateCaller {
        /// The tenant of the caller.
        tenant: TenantId,
        /// The id of the caller.
        id: CallerId,
        /// The revision that the change is based on.
        expected: Option<u64>,
        /// The new values.
        edit: CallerEdit,
    },
    /// Deletes a caller: [`Registry::delete_caller`](super::Registry::delete_caller).
    DeleteCaller {
        /// The tenant of the caller.
        tenant: TenantId,
        /// The id of the caller.
        id: CallerId,
        /// The revision of the caller to delete.
        expected: Option<u64>,
    },
    /// Creates a credential: [`Registry::create_credential`](super::Registry::create_credential).
    CreateCredential {
        /// The credential to create.
        credential: Credential,
        /// The maximum number of credentials of this kind that the caller may have; `None` is unlimited.
        most: Option<u32>,
    },
    /// Changes a credential: [`Registry::update_credential`](super::Registry::update_credential).
    UpdateCredential {
        /// The tenant of the credential.
        tenant: TenantId,
        /// The id of the credential.
        id: CredentialId,
        /// The revision that the change is based on.
        expected: Option<u64>,
        /// The new values.
        edit: CredentialEdit,
    },
    /// Deletes a credential: [`Registry::delete_credential`](super::Registry::delete_credential).
    DeleteCredential {
        /// The tenant of the credential.
        tenant: TenantId,
        /// The id of the credential.
        id: CredentialId,
        /// The revision of the credential to delete.
        expected: Option<u64>,
    },
    /// Creates a plan. Fails with [`RegistryError::Conflict`](super::RegistryError::Conflict) when a plan with its id exists.
    CreatePlan(Plan),
    /// Replaces a sealed secret by the same secret, sealed with another key. Locks do not prevent this, and neither the
    /// revision nor the times of the entity change, because its visible state does not.
    ///
    /// Fails with [`RegistryError::NotFound`](super::RegistryError::NotFound) when there is no such secret, and with
    /// [`RegistryError::Conflict`](super::RegistryError::Conflict) when `expected` is not the current revision.
    Reseal {
        /// The tenant of the secret's owner.
        tenant: TenantId,
        /// The owner of the secret.
        secret: SecretRef,
        /// The revision of the entity that the secret was read from.
        expected: u64,
        /// The secret, sealed with the new key.
        sealed: Sealed,
    },
    /// Creates or replaces a plan: [`Registry::put_plan`](super::Registry::put_plan).
    PutPlan(Plan),
    /// Deletes a plan: [`Registry::delete_plan`](super::Registry::delete_plan).
    DeletePlan(PlanId),
    /// Acquires a lock: [`Registry::acquire_lock`](super::Registry::acquire_lock).
    AcquireLock(NewLock),
    /// Extends a lock: [`Registry::refresh_lock`](super::Registry::refresh_lock).
    RefreshLock {
        /// The id of the lock.
        id: LockId,
        /// The token of the lock.
        token: LockToken,
        /// The duration of the lock from now on.
        lasts: Lease,
    },
    /// Releases a lock: [`Registry::release_lock`](super::Registry::release_lock).
    ReleaseLock {
        /// The id of the lock.
        id: LockId,
        /// The token of the lock.
        token: LockToken,
    },
    /// Breaks a lock: [`Registry::break_lock`](super::Registry::break_lock).
    BreakLock(LockId),
    /// Proves that the client holds a lock, and returns the lock. Otherwise the transaction fails with
    /// [`RegistryError::LockLost`](super::RegistryError::LockLost). The lock does not stop the commands that follow in the same
    /// [`execute`](super::Registry::execute).
    ProveLock {
        /// The id of the lock.
        id: LockId,
        /// The token of the lock.
        token: LockToken,
        /// The fence of the lock when it was acquired. A lock with another fence is not the one that the changes are
        /// based on.
        fence: u64,
    },
    /// Requires that an owner has a key that is accepted now and after a given time. Otherwise the transaction fails
    /// with [`RegistryError::LastOwner`](super::RegistryError::LastOwner). Put this after commands that take a key away from an owner.
    KeepOwner {
        /// The time after which the key must still be accepted; `None` is now.
        beyond: Option<Timestamp>,
    },
    /// Inserts an entity that was exported from a registry, with its id, times and revision. The maximum number of
    /// callers of a tenant does not apply. An identical plan that exists already is left unchanged.
    ///
    /// Fails with [`RegistryError::NotFound`](super::RegistryError::NotFound) when an entity that it refers to does not exist, with
    /// [`RegistryError::NameTaken`](super::RegistryError::NameTaken), [`RegistryError::KeyTaken`](super::RegistryError::KeyTaken), and with
    /// [`RegistryError::Conflict`](super::RegistryError::Conflict) when another unique value is taken. [`clash()`](super::find_conflict)
    /// returns the conflicting member.
    Import(Entity),
    /// Creates a grant: [`Registry::put_grant`](super::Registry::put_grant).
    PutGrant(Grant),
    /// Deletes a grant: [`Registry::delete_grant`](super::Registry::delete_grant).
    DeleteGrant {
        /// The tenant of the grant.
        tenant: TenantId,
        /// The id of the grant.
        id: GrantId,
    },
    /// Creates a throttle. The registry sets its `revision` and its time. Fails with
    /// [`RegistryError::NotFound`](super::RegistryError::NotFound) when its tenant or an app that it names does not exist, with
    /// [`RegistryError::LimitReached`](super::RegistryError::LimitReached), [`RegistryError::NameTaken`](super::RegistryError::NameTaken), or
    /// [`RegistryError::Conflict`](super::RegistryError::Conflict) when its id or one of its routes is taken.
    CreateThrottle {
        /// The throttle to create.
        throttle: Throttle,
        /// The maximum number of throttles that the tenant may have; `None` is unlimited.
        most: Option<u32>,
    },
    /// Replaces a throttle. Its `revision` is the revision that the change is based on, and grows. Fails like
    /// [`CreateThrottle`](Self::CreateThrottle), and with [`RegistryError::Conflict`](super::RegistryError::Conflict) when `revision`
    /// is not the current revision.
    UpdateThrottle(Throttle),
    /// Deletes a throttle that is bound to no route; otherwise fails with [`RegistryError::InUse`](super::RegistryError::InUse).
    DeleteThrottle {
        /// The tenant of the throttle.
        tenant: TenantId,
        /// The id of the throttle.
        id: ThrottleId,
        /// The revision of the throttle to delete.
        expected: Option<u64>,
    },
    /// Creates a quota. The registry sets its `revision` and its time. Fails with
    /// [`RegistryError::NotFound`](super::RegistryError::NotFound) when its tenant does not exist, with
    /// [`RegistryError::LimitReached`](super::RegistryError::LimitReached), [`RegistryError::NameTaken`](super::RegistryError::NameTaken), or
    /// [`RegistryError::Conflict`](super::RegistryError::Conflict) when its id is taken.
    CreateQuota {
        /// The quota to create.
        quota: Quota,
        /// The maximum number of quotas that the tenant may have; `None` is unlimited.
        most: Option<u32>,
    },
    /// Replaces a quota. Its `revision` is the revision that the change is based on, and grows. Fails with
    /// [`RegistryError::NotFound`](super::RegistryError::NotFound), [`RegistryError::NameTaken`](super::RegistryError::NameTaken), or
    /// [`RegistryError::Conflict`](super::RegistryError::Conflict) when `revision` is not the current revision.
    UpdateQuota(Quota),
    /// Deletes a quota, and removes it from all apps that have it, unless one of them is
    /// [locked](super::RegistryError::Locked).
    DeleteQuota {
        /// The tenant of the quota.
        tenant: TenantId,
        /// The id of the quota.
        id: QuotaId,
    },
}

impl Command {
    /// Returns the name of the command, which is the name of the corresponding [`Registry`](super::Registry) method if
    /// there is one.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::AssertUnchanged(_) => "expect",
            Self::CreateTenant(_) => "create_tenant",
            Self::UpdateTenant { .. } => "update_tenant",
            Self::DeleteTenant { .. } => "delete_tenant",
            Self::CreateCaller(_) | Self::CreateCallerOr { .. } => "create_caller",
            Self::UpdateCaller { .. } => "update_caller",
            Self::DeleteCaller { .. } => "delete_caller",
            Self::CreateCredential { .. } => "create_credential",
            Self::UpdateCredential { .. } => "update_credential",
            Self::DeleteCredential { .. } => "delete_credential",
            Self::CreatePlan(_) => "create_plan",
            Self::Reseal { .. } => "reseal",
            Self::PutPlan(_) => "put_plan",
            Self::DeletePlan(_) => "delete_plan",
            Self::AcquireLock(_) => "acquire_lock",
            Self::RefreshLock { .. } => "refresh_lock",
            Self::ReleaseLock { .. } => "release_lock",
            Self::BreakLock(_) => "break_lock",
            Self::ProveLock { .. } => "hold",
            Self::KeepOwner { .. } => "keep_owner",
            Self::Import(_) => "import",
            Self::PutGrant(_) => "put_grant",
            Self::DeleteGrant { .. } => "delete_grant",
            Self::CreateThrottle { .. } => "create_throttle",
            Self::UpdateThrottle(_) => "update_throttle",
            Self::DeleteThrottle { .. } => "delete_throttle",
            Self::CreateQuota { .. } => "create_quota",
            Self::UpdateQuota(_) => "update_quota",
            Self::DeleteQuota { .. } => "delete_quota",
        }
    }
}
