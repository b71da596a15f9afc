//! The domain as plain data: who owns what, and what was changed.
//!
//! Nothing here does I/O, reads a clock or knows HTTP. Types that must not hold nonsense parse it away
//! (`FromStr`, `TryFrom`); types that hold a secret print it as `***`.

mod acl;
mod authority;
mod caller;
mod change;
mod code;
mod credential;
mod grant;
pub(crate) mod hex;
mod id;
mod key;
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
mod token;

pub use acl::{Acl, AclKind, AddressRange, InvalidAcl, InvalidRange};
pub use authority::Authority;
pub use caller::{App, Caller, CallerEdit, CallerKind, Creator, Role, Status};
pub use change::{Actor, Change, Entity, Kind, Seq, Verb};
pub use code::AppCode;
pub use credential::{Access, Credential, CredentialEdit, CredentialKind, Resource, Scope, Scopes};
pub use grant::{Grant, GrantRole};
pub use id::{
    BindingId, CallerId, CredentialId, EnvironmentId, GrantId, InvalidId, LockId, PlanId, QuotaId, RouteName,
    SpecialId, TenantId, ThrottleId,
};
pub use key::{ApiKey, InvalidKey, KeyPrefix};
pub use lease::{InvalidLease, Lease};
pub use lock::{Covers, InvalidPath, Lock, MAX_LOCKS, ResourcePath, Target};
pub use pepper::{Digest, Pepper, Peppers};
pub use period::{Period, TimeUnit};
pub use plan::{InvalidPlan, Limit, MAX_LIMITS, Plan, Promise};
pub use quota::{BoundQuota, Quota};
pub use seal::{SealKey, Sealed, Sealer, Unsealable};
pub use secret::Secret;
pub use tenant::{ADMINISTRATION, Gateway, Standing, Tenant, TenantEdit};
pub use throttle::{Binding, CallLimits, Special, SpecialOf, Throttle};
pub use token::{InvalidToken, LockToken, TokenDigest};
