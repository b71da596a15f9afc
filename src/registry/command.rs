//! What can be asked of a registry, as data.

use jiff::Timestamp;

use crate::model::{
    Caller, CallerEdit, CallerId, CallerKind, Credential, CredentialEdit, CredentialId, Entity, Grant,
    GrantId, Lease, LockId, LockToken, Plan, PlanId, Quota, QuotaId, Sealed, Status, Tenant, TenantEdit,
    TenantId, Throttle, ThrottleId,
};

use super::NewLock;

/// A caller to be made.
#[derive(Debug, Clone)]
pub struct NewCaller {
    /// Its id; the registry refuses one that is taken with [`Fault::Conflict`](super::Fault::Conflict).
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

/// Whose secret is meant.
#[derive(Debug, Clone)]
pub enum SecretRef {
    /// An app's AppSecret.
    App(CallerId),
    /// What is sealed of a credential.
    Credential(CredentialId),
}

/// One thing to be done to a registry, by [`Registry::execute`](super::Registry::execute).
///
/// `expected` is the revision that it is based on; `None` takes what is there.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Command {
    /// Nothing, if an entity stands exactly so; otherwise [`Fault::Conflict`](super::Fault::Conflict), and none
    /// of what is asked together is done.
    AssertUnchanged(Entity),
    /// As [`Registry::create_tenant`](super::Registry::create_tenant).
    CreateTenant(Tenant),
    /// As [`Registry::update_tenant`](super::Registry::update_tenant).
    UpdateTenant {
        /// Which.
        id: TenantId,
        /// The revision that the edit is based on.
        expected: Option<u64>,
        /// What to change.
        edit: TenantEdit,
    },
    /// As [`Registry::delete_tenant`](super::Registry::delete_tenant).
    DeleteTenant {
        /// Which.
        id: TenantId,
        /// The revision that is to go.
        expected: Option<u64>,
    },
    /// As [`Registry::create_caller`](super::Registry::create_caller).
    CreateCaller(NewCaller),
    /// The same, for an id that somebody chose who must not learn what other tenants have: a caller of another tenant
    /// that has it is no conflict, and the new one then has the other id.
    ///
    /// Fails with [`Fault::Conflict`](super::Fault::Conflict) when the tenant itself has a caller of either id.
    CreateCallerOr {
        /// What to make.
        caller: NewCaller,
        /// The id that it has when another tenant has its own; no other tenant may have this one.
        otherwise: CallerId,
    },
    /// As [`Registry::update_caller`](super::Registry::update_caller).
    UpdateCaller {
        /// Whose.
        tenant: TenantId,
        /// Which.
        id: CallerId,
        /// The revision that the edit is based on.
        expected: Option<u64>,
        /// What to change.
        edit: CallerEdit,
    },
    /// As [`Registry::delete_caller`](super::Registry::delete_caller).
    DeleteCaller {
        /// Whose.
        tenant: TenantId,
        /// Which.
        id: CallerId,
        /// The revision that is to go.
        expected: Option<u64>,
    },
    /// As [`Registry::create_credential`](super::Registry::create_credential).
    CreateCredential {
        /// What to make.
        credential: Credential,
        /// How many of its kind its caller may have; `None` is any number.
        most: Option<u32>,
    },
    /// As [`Registry::update_credential`](super::Registry::update_credential).
    UpdateCredential {
        /// Whose.
        tenant: TenantId,
        /// Which.
        id: CredentialId,
        /// The revision that the edit is based on.
        expected: Option<u64>,
        /// What to change.
        edit: CredentialEdit,
    },
    /// As [`Registry::delete_credential`](super::Registry::delete_credential).
    DeleteCredential {
        /// Whose.
        tenant: TenantId,
        /// Which.
        id: CredentialId,
        /// The revision that is to go.
        expected: Option<u64>,
    },
    /// A new plan; [`Fault::Conflict`](super::Fault::Conflict) when there is one of its id.
    CreatePlan(Plan),
    /// Puts the same secret, sealed with another key, in the place of one. Locks do not hold it, and neither
    /// revision nor times change: to whoever looks at the entity, nothing has.
    ///
    /// Fails with [`Fault::NotFound`](super::Fault::NotFound) when there is no such secret, and
    /// [`Fault::Conflict`](super::Fault::Conflict) when `expected` is not the present revision.
    Reseal {
        /// Whose.
        tenant: TenantId,
        /// Which.
        secret: SecretRef,
        /// The revision of the entity that was looked at.
        expected: u64,
        /// The secret.
        sealed: Sealed,
    },
    /// As [`Registry::put_plan`](super::Registry::put_plan).
    PutPlan(Plan),
    /// As [`Registry::delete_plan`](super::Registry::delete_plan).
    DeletePlan(PlanId),
    /// As [`Registry::acquire_lock`](super::Registry::acquire_lock).
    AcquireLock(NewLock),
    /// As [`Registry::refresh_lock`](super::Registry::refresh_lock).
    RefreshLock {
        /// Which.
        id: LockId,
        /// Its own.
        token: LockToken,
        /// How long it is to hold from now on.
        lasts: Lease,
    },
    /// As [`Registry::release_lock`](super::Registry::release_lock).
    ReleaseLock {
        /// Which.
        id: LockId,
        /// Its own.
        token: LockToken,
    },
    /// As [`Registry::break_lock`](super::Registry::break_lock).
    BreakLock(LockId),
    /// Proves that who asks holds a lock, or fails with [`Fault::LockLost`](super::Fault::LockLost). To what
    /// follows in the same [`execute`](super::Registry::execute), the lock is its own, and stops nothing.
    /// It answers with the lock.
    ProveLock {
        /// Which.
        id: LockId,
        /// Its own.
        token: LockToken,
        /// Its own: that of the grant on which what follows is based.
        fence: u64,
    },
    /// Nothing, if there is an owner with a key that is accepted now and beyond a moment; otherwise
    /// [`Fault::LastOwner`](super::Fault::LastOwner), and none of what is asked together is done. To be asked behind what
    /// takes an owner's key away.
    KeepOwner {
        /// The moment; `None` is now.
        beyond: Option<Timestamp>,
    },
    /// Puts something beside what is there, with its id, times and revision: what was taken out of a registry.
    /// How many callers a tenant may have does not count. A plan that is there and the same is left alone.
    ///
    /// Fails with [`Fault::NotFound`](super::Fault::NotFound) without what it stands on, with
    /// [`Fault::NameTaken`](super::Fault::NameTaken), [`Fault::KeyTaken`](super::Fault::KeyTaken), and with
    /// [`Fault::Conflict`](super::Fault::Conflict) when anything else is taken that is only there once;
    /// [`clash()`](super::clash) says what it is.
    Import(Entity),
    /// As [`Registry::put_grant`](super::Registry::put_grant).
    PutGrant(Grant),
    /// As [`Registry::delete_grant`](super::Registry::delete_grant).
    DeleteGrant {
        /// Whose.
        tenant: TenantId,
        /// Which.
        id: GrantId,
    },
    /// A new throttle; `revision` and time are set by the registry. [`Fault::NotFound`](super::Fault::NotFound)
    /// without its tenant or an app that it names, [`Fault::Full`](super::Fault::Full),
    /// [`Fault::NameTaken`](super::Fault::NameTaken), or [`Fault::Conflict`](super::Fault::Conflict) when its id or
    /// one of its routes is taken.
    CreateThrottle {
        /// What to make.
        throttle: Throttle,
        /// How many its tenant may have; `None` is any number.
        most: Option<u32>,
    },
    /// Puts a throttle in the place of the one that it was made from: that of its `revision`, which then grows.
    /// As above, and [`Fault::Conflict`](super::Fault::Conflict) when that is not the present one.
    UpdateThrottle(Throttle),
    /// Deletes a throttle that is bound to no route; otherwise [`Fault::InUse`](super::Fault::InUse).
    DeleteThrottle {
        /// Whose.
        tenant: TenantId,
        /// Which.
        id: ThrottleId,
        /// The revision that is to go.
        expected: Option<u64>,
    },
    /// A new quota; likewise.
    CreateQuota {
        /// What to make.
        quota: Quota,
        /// How many its tenant may have; `None` is any number.
        most: Option<u32>,
    },
    /// Puts a quota in the place of the one that it was made from, likewise.
    UpdateQuota(Quota),
    /// Deletes a quota, and takes it from all apps that have it, unless one of them is
    /// [locked](super::Fault::Locked).
    DeleteQuota {
        /// Whose.
        tenant: TenantId,
        /// Which.
        id: QuotaId,
    },
}

impl Command {
    /// The command's name: that of the method which does it alone, if there is one.
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
