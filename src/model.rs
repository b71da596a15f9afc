//! The domain as plain data: tenants, callers, credentials, plans, locks, and the log of their changes.
//!
//! These types do no I/O, read no clock and know nothing of HTTP. A type with invalid values rejects them when it
//! is parsed (`FromStr`, `TryFrom`). A type that holds a secret prints it as `***`.

mod acl;
mod api_key;
mod app_code;
mod authority;
mod caller;
mod change;
mod credential;
mod grant;
#[doc(hidden)] // shared with the other packages
pub mod hex;
mod id;
mod lease;
mod lock;
mod lock_token;
#[doc(hidden)] // shared with the other packages
pub mod name;
mod pepper;
mod period;
mod plan;
mod quota;
mod scope;
mod seal;
mod secret;
mod tenant;
#[doc(hidden)] // shared with the other packages
pub mod text;
mod throttle;

pub use acl::{Acl, AclKind, AddressRange, InvalidAcl, InvalidRange};
pub use api_key::{GeneratedKey, InvalidKey, KeyPrefix};
pub use app_code::AppCode;
pub use authority::Authority;
pub use caller::{App, Caller, CallerEdit, CallerKind, Creator, Role, Status};
pub use change::{Actor, Change, ChangeKind, Entity, EntityKind, Seq};
pub use credential::{Credential, CredentialEdit, CredentialKind};
pub use grant::{Grant, GrantRole};
pub use id::{
    BindingId, CallerId, CredentialId, EnvironmentId, GrantId, InvalidId, LockId, PlanId, QuotaId, RouteName,
    SpecialId, TenantId, ThrottleId,
};
pub use lease::{InvalidLease, Lease};
pub use lock::{InvalidPath, Lock, LockTarget, LockedRequests, MAX_LOCKS, ResourcePath};
pub use lock_token::{InvalidToken, LockToken, TokenDigest};
pub use pepper::{Digest, Pepper, Peppers};
pub use period::{Period, TimeUnit};
pub use plan::{InvalidPlan, Limit, MAX_LIMITS, Plan, WindowGuarantee};
pub use quota::{BoundQuota, Quota};
pub use scope::{Access, InvalidScope, Resource, Scope, Scopes};
pub use seal::{SealKey, Sealed, Sealer, UnsealError};
pub use secret::Secret;
pub use tenant::{ADMIN_TENANT, ApigInstance, SubscriptionStatus, Tenant, TenantEdit};
pub use throttle::{Binding, CallLimits, OverrideSubject, Throttle, ThrottleOverride};
