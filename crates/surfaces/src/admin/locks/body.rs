//! The request and response bodies of locks.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use utoipa::ToSchema;

use crate::{admin::response::ErrorResponse, json::FieldErrors, non_null, openapi::schemas};
use portcullis::{
    Denial,
    model::{
        self, CallerId, Lease, LockId, LockToken, LockedRequests, ResourcePath, TenantId, text::is_label,
    },
    registry::NewLock,
};

/// Default duration of a lock, in seconds.
const DEFAULT_DURATION: u32 = 60;

/// Maximum length of a reason, in characters.
const MAX_REASON_LEN: usize = 255;

/// An active lock.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Lock {
    /// The unique id; not a secret.
    id: String,
    /// The id of the tenant whose requests the lock stops; `null` means every tenant.
    #[schema(required)]
    tenant: Option<String>,
    /// The target of the lock.
    target: Target,
    /// The name of the holder, for the responses to denied requests.
    owner: String,
    /// The reason for the lock, for the responses to denied requests.
    reason: String,
    /// The requests that the lock denies.
    #[schema(value_type = schemas::LockedRequests)]
    deny: LockedRequests,
    /// The time of acquisition.
    acquired_at: Timestamp,
    /// The time from which the lock is no longer held, unless it is refreshed.
    expires_at: Timestamp,
    /// A fencing token: greater than that of every lock that was granted before. A service that remembers the
    /// greatest fence it has seen can reject requests of a former holder.
    fence: u64,
}

/// The target of a lock: either a caller or a path.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(min_properties = 1, max_properties = 1)]
pub(in crate::admin) struct Target {
    /// The id of a caller. The lock stops its requests and changes of it by others.
    #[serde(default, deserialize_with = "non_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schemas::Id, required = false)]
    caller: Option<CallerId>,
    /// A path with everything below it, such as `/orders/7`. The path is normalized: `/a%62` and `/a b` become `/ab`
    /// and `/a%20b`.
    #[serde(default, deserialize_with = "path", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, max_length = 1024, pattern = "^(/[^/?#]+)+$")]
    resource: Option<ResourcePath>,
}

/// Deserializes a path that can be locked. Paths in the store may be older and are checked less strictly.
fn path<'de, D: Deserializer<'de>>(member: D) -> Result<Option<ResourcePath>, D::Error> {
    String::deserialize(member)?.parse().map(Some).map_err(D::Error::custom)
}

/// A new lock, with its token.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct AcquiredLock {
    /// The token that proves that the lock is held, for `Lock-Token`. No later response shows it.
    token: String,
    #[serde(flatten)]
    lock: Lock,
    /// The requests that the lock does not stop, for people.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<String>,
}

impl AcquiredLock {
    pub(super) fn new(token: String, lock: Lock, warnings: Vec<String>) -> Self {
        Self { token, lock, warnings }
    }
}

/// A new lock. The caller that makes the request holds it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct LockRequest {
    /// The id of the tenant whose requests the lock stops. `null` and the default mean every tenant.
    #[serde(default)]
    #[schema(value_type = Option<schemas::Id>)]
    tenant: Option<TenantId>,
    /// The target of the lock.
    target: Target,
    /// The reason for the lock, for the responses to denied requests: 1 to 255 characters, without invisible
    /// characters.
    #[schema(value_type = schemas::Name)]
    reason: String,
    /// The requests that the lock denies. Defaults to `writes`.
    #[serde(default)]
    #[schema(value_type = schemas::LockedRequests)]
    deny: LockedRequests,
    /// The duration of the lock in seconds, at most a day. Defaults to 60.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = u32, required = false, minimum = 1, maximum = 86_400)]
    duration: Option<u32>,
}

/// The new duration of a lock.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Refresh {
    /// The duration from now on in seconds, at most a day. Defaults to 60. A refresh never shortens a lock.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = u32, required = false, minimum = 1, maximum = 86_400)]
    pub(super) duration: Option<u32>,
}

impl From<model::Lock> for Lock {
    fn from(lock: model::Lock) -> Self {
        let (caller, resource) = match lock.target {
            model::LockTarget::Caller(id) => (Some(id), None),
            model::LockTarget::Resource(path) => (None, Some(path)),
        };
        Self {
            id: lock.id.to_string(),
            tenant: lock.tenant.map(|tenant| tenant.to_string()),
            target: Target { caller, resource },
            owner: lock.owner,
            reason: lock.reason,
            deny: lock.covers,
            acquired_at: lock.acquired_at,
            expires_at: lock.expires_at,
            fence: lock.fence,
        }
    }
}

/// Validates the duration of a lock.
pub(super) fn lease(duration: Option<u32>, checks: &mut FieldErrors) -> Option<Lease> {
    let lease = Lease::try_from(Duration::from_secs(duration.unwrap_or(DEFAULT_DURATION).into()));
    checks.ensure(lease.is_ok(), "#/duration", "must be 1 to 86400 seconds");
    lease.ok()
}

impl LockRequest {
    /// Validates the body and returns the lock to be acquired by a holder.
    pub(super) fn checked(
        self,
        (owner, holder): (&str, &CallerId),
        token: &LockToken,
    ) -> Result<NewLock, ErrorResponse> {
        let mut checks = FieldErrors::default();
        let fits = is_label(&self.reason, 1..=MAX_REASON_LEN);
        checks.ensure(fits, "#/reason", "must be 1 to 255 characters, none of them invisible");
        let lasts = lease(self.duration, &mut checks);
        let target = match self.target {
            Target { caller: Some(id), resource: None } => Some(model::LockTarget::Caller(id)),
            Target { caller: None, resource: Some(path) } => Some(model::LockTarget::Resource(path)),
            _ => None,
        };
        checks.ensure(target.is_some(), "#/target", "must have either a caller or a resource");
        checks.finish()?;
        let checked = target.zip(lasts).ok_or_else(|| Denial::internal("a validated value is missing"));
        let (target, lasts) = checked?;
        Ok(NewLock {
            id: LockId::random(),
            tenant: self.tenant,
            target,
            owner: owner.to_owned(),
            holder: Some(holder.clone()),
            reason: self.reason,
            covers: self.deny,
            lasts,
            token: token.digest(),
        })
    }
}
