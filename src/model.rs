//! The domain as plain data: who owns what, and what was changed.
//!
//! Nothing here does I/O, reads a clock or knows HTTP. Types that must not hold nonsense parse it away
//! (`FromStr`, `TryFrom`); types that hold a secret print it as `***`.

mod acl;
mod authority;
mod caller;
mod change;
mod app_code;
mod credential;
mod grant;
pub(crate) mod hex;
mod id;
mod api_key;
mod lease;
mod lock;
pub mod name;
mod pepper;
mod period;
mod plan;
mod quota;
mod seal;
mod secret;
mod tenant;
pub mod text;
mod throttle;
mod lock_token;

pub use acl::{Acl, AclKind, AddressRange, InvalidAcl, InvalidRange};
pub use authority::Authority;
pub use caller::{App, Caller, CallerEdit, CallerKind, Creator, Role, Status};
pub use change::{Actor, Change, Entity, EntityKind, Seq, ChangeKind};
pub use app_code::AppCode;
pub use credential::{Access, Credential, CredentialEdit, CredentialKind, Resource, Scope, Scopes};
pub use grant::{Grant, GrantRole};
pub use id::{
    BindingId, CallerId, CredentialId, EnvironmentId, GrantId, InvalidId, LockId, PlanId, QuotaId, RouteName,
    SpecialId, TenantId, ThrottleId,
};
pub use api_key::{GeneratedKey, InvalidKey, KeyPrefix};
pub use lease::{InvalidLease, Lease};
pub use lock::{LockedRequests, InvalidPath, Lock, MAX_LOCKS, ResourcePath, LockTarget};
pub use pepper::{Digest, Pepper, Peppers};
pub use period::{Period, TimeUnit};
pub use plan::{InvalidPlan, Limit, MAX_LIMITS, Plan, WindowGuarantee};
pub use quota::{BoundQuota, Quota};
pub use seal::{SealKey, Sealed, Sealer, UnsealError};
pub use secret::Secret;
pub use tenant::{ADMIN_TENANT, ApigInstance, SubscriptionStatus, Tenant, TenantEdit};
pub use throttle::{Binding, CallLimits, ThrottleOverride, OverrideSubject, Throttle};
pub use lock_token::{InvalidToken, LockToken, TokenDigest};
