//! The lock endpoints. Locks are leases that are acquired, refreshed, released and broken.

mod enforced;
mod lock_token;

pub(super) use lock_token::LockTokenHeader;

use std::{sync::Arc, time::Duration};

use axum::extract::{Request, State};
use http::{HeaderMap, header};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use utoipa::ToSchema;

use self::enforced::Stops;
use super::{
    Surface,
    call_context::CallContext,
    callers::manages,
    etag::{self, ETag},
    json::{self, FieldErrors},
    openapi,
    page::{Page, split_page},
    response::{ApiResponse, ErrorResponse},
    routes::Route,
};
use crate::{non_null, openapi::schemas};
use portcullis::{
    Denial,
    model::{
        self, CallerId, Entity, Lease, LockId, LockToken, LockedRequests, ResourcePath, Role, TenantId,
        text::is_label,
    },
    registry::{
        AcquireLock, AssertUnchanged, BreakLock, CallerFilter, NewLock, RefreshLock, RegistryError,
        RegistryExt,
    },
};

/// Default duration of a lock, in seconds.
const LASTS: u32 = 60;

/// Maximum length of a reason, in characters.
const MAX_REASON_LEN: usize = 255;

/// An active lock.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Lock {
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
    /// The requests that the lock stops.
    #[schema(value_type = schemas::Covers)]
    covers: LockedRequests,
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
pub(super) struct Target {
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
pub(super) struct Acquired {
    /// The token that proves that the lock is held, for `Lock-Token`. No later response shows it.
    token: String,
    #[serde(flatten)]
    lock: Lock,
    /// The requests that the lock does not stop, for people.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<String>,
}

/// A new lock. The caller that makes the request holds it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LockRequest {
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
    /// The requests that the lock stops. Defaults to `writes`.
    #[serde(default)]
    #[schema(value_type = schemas::Covers)]
    covers: LockedRequests,
    /// The duration of the lock in seconds, at most a day. Defaults to 60.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = u32, required = false, minimum = 1, maximum = 86_400)]
    lasts: Option<u32>,
}

/// The new duration of a lock.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Refresh {
    /// The duration from now on in seconds, at most a day. Defaults to 60. A refresh never shortens a lock.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = u32, required = false, minimum = 1, maximum = 86_400)]
    lasts: Option<u32>,
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
            covers: lock.covers,
            acquired_at: lock.acquired_at,
            expires_at: lock.expires_at,
            fence: lock.fence,
        }
    }
}

/// Validates the duration of a lock.
fn lease(lasts: Option<u32>, checks: &mut FieldErrors) -> Option<Lease> {
    let lease = Lease::try_from(Duration::from_secs(lasts.unwrap_or(LASTS).into()));
    checks.ensure(lease.is_ok(), "#/lasts", "must be 1 to 86400 seconds");
    lease.ok()
}

impl LockRequest {
    /// Validates the body and returns the lock to be acquired by a holder.
    fn checked(
        self,
        (owner, holder): (&str, &CallerId),
        token: &LockToken,
    ) -> Result<NewLock, ErrorResponse> {
        let mut checks = FieldErrors::default();
        let fits = is_label(&self.reason, 1..=MAX_REASON_LEN);
        checks.ensure(fits, "#/reason", "must be 1 to 255 characters, none of them invisible");
        let lasts = lease(self.lasts, &mut checks);
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
            covers: self.covers,
            lasts,
            token: token.digest(),
        })
    }
}

/// Refuses a lock on a path where no route would look at it; otherwise returns what the lock does not stop. `kind` is
/// that of the caller that the lock is on.
fn enforcement(routes: &[Route], lock: &NewLock, kind: Option<&str>) -> Result<Vec<String>, ErrorResponse> {
    let stops = Stops { covers: lock.covers, of_tenant: lock.tenant.is_some(), kind };
    let mut checks = FieldErrors::default();
    // Without routes, something else than this gateway serves requests and enforces locks.
    let warnings = match &lock.target {
        _ if routes.is_empty() => Vec::new(),
        model::LockTarget::Resource(path) => {
            checks.ensure(
                enforced::on_path(routes, path.as_str()),
                "#/target/resource",
                "no route there looks at locks, so the lock would stop nothing: add `lock = true` to the policies of \
                 the route that serves this path",
            );
            stops.gaps_on_path(routes, path.as_str())
        }
        model::LockTarget::Caller(_) => stops.gaps_on_caller(routes),
    };
    checks.finish()?;
    Ok(warnings)
}

fn shown(lock: model::Lock) -> ApiResponse {
    let lock = Lock::from(lock);
    ApiResponse::ok(&lock).with_etag(&ETag::content(&lock))
}

/// List locks
///
/// The list has active locks only. Expired locks are left out, even if the store still has them.
#[utoipa::path(
    get,
    path = "/locks",
    tag = "locks",
    operation_id = "list_locks",
    params(openapi::Paging),
    responses(openapi::OkPage<Lock>, openapi::CommonErrors),
)]
pub(super) async fn list(
    State(surface): State<Arc<Surface>>,
    request: Request,
) -> Result<ApiResponse, ErrorResponse> {
    let call = CallContext::extract(request, Role::ReadOnly).await?;
    let query = call.query(&["limit", "after"])?;
    let (limit, after) = (query.limit()?, query.after::<LockId>()?);
    let found = surface.admin.registry.locks(after.as_ref(), limit + 1).await;
    let (mut locks, next) =
        split_page(found.map_err(|fault| surface.refuse(fault))?, limit, |last| last.id.to_string());
    let now = surface.admin.clock.now().time;
    locks.retain(|lock| lock.is_active(now));
    let (page, link) = Page::of(&query, locks.into_iter().map(Lock::from).collect(), next);
    Ok(ApiResponse::ok(&page).with_link(link))
}

/// Acquire a lock
///
/// Only this response shows the token of the lock. A lock on a path is denied with 422 if no route there has the
/// policy `lock`. Requires the role `operator`.
#[utoipa::path(
    post,
    path = "/locks",
    tag = "locks",
    operation_id = "acquire_lock",
    params(openapi::IdempotencyKey, openapi::LockToken),
    request_body(content = LockRequest, content_type = "application/json"),
    responses(openapi::Created<Acquired>, openapi::CommonErrors, openapi::NotFound, openapi::CreateErrors),
)]
pub(super) async fn acquire(
    State(surface): State<Arc<Surface>>,
    request: Request,
) -> Result<ApiResponse, ErrorResponse> {
    let call = CallContext::extract(request, Role::Operator).await?;
    call.query(&[])?;
    let ticket = surface.ticket(&call)?;
    if let Some(answer) = surface.earlier(&call, ticket.as_ref()).await? {
        return Ok(answer);
    }
    let token = LockToken::generate();
    let wanted = json::read::<LockRequest>(&call.content)?.checked((call.name(), call.caller()), &token)?;
    let kind = match &wanted.target {
        model::LockTarget::Caller(id) => surface.may_hold(&call, id).await?,
        model::LockTarget::Resource(_) => None,
    };
    surface.can_concern(&wanted).await?;
    let warnings = enforcement(&surface.admin.routes, &wanted, kind)?;
    let acquired = surface.execute(&call, ticket.as_ref(), AcquireLock(wanted), |lock| {
        let token = LockTokenHeader::of(&lock, token).to_string();
        let location = format!("/admin/v1/locks/{}", lock.id);
        let lock = Lock::from(lock);
        let tag = ETag::content(&lock);
        ApiResponse::created(location, &Acquired { token, lock, warnings }).with_etag(&tag).secret()
    });
    acquired.await.map_err(|fault| match fault {
        RegistryError::LimitReached(most) => {
            let detail =
                format!("You hold {most} locks, which is the limit. Release one that is not needed.");
            Denial::Conflict { detail: detail.into() }.into()
        }
        fault => surface.refuse(fault),
    })
}

/// Get an active lock
#[utoipa::path(
    get,
    path = "/locks/{lock}",
    tag = "locks",
    operation_id = "read_lock",
    params(openapi::IfNoneMatch),
    responses(openapi::OkResource<Lock>, openapi::CommonErrors, openapi::NotFound),
)]
pub(super) async fn read(
    State(surface): State<Arc<Surface>>,
    request: Request,
) -> Result<ApiResponse, ErrorResponse> {
    let call = CallContext::extract(request, Role::ReadOnly).await?;
    call.query(&[])?;
    let lock = surface.lock(&call).await?;
    let tag = ETag::content(&Lock::from(lock.clone()));
    Ok(if tag.matches_if_none_match(&call.headers) { ApiResponse::not_modified(&tag) } else { shown(lock) })
}

/// Refresh a lock
///
/// Extends the lock, with its token in `Lock-Token`. Requires the role `operator`.
#[utoipa::path(
    post,
    path = "/locks/{lock}/refresh",
    tag = "locks",
    operation_id = "refresh_lock",
    params(openapi::IdempotencyKey, openapi::LockToken),
    request_body(content = Refresh, content_type = "application/json", description = "An empty body stands for the defaults"),
    responses(openapi::Updated<Lock>, openapi::CommonErrors, openapi::NotFound, openapi::CreateErrors, (status = 428, description = "`Lock-Token` is missing", body = openapi::Problem, content_type = "application/problem+json")),
)]
pub(super) async fn refresh(
    State(surface): State<Arc<Surface>>,
    request: Request,
) -> Result<ApiResponse, ErrorResponse> {
    let call = CallContext::extract(request, Role::Operator).await?;
    call.query(&[])?;
    let id: LockId = call.path_id()?;
    let ticket = surface.ticket(&call)?;
    if let Some(answer) = surface.earlier(&call, ticket.as_ref()).await? {
        return Ok(answer);
    }
    let Some(LockTokenHeader { token, .. }) = LockTokenHeader::of_lock(&call, &id)? else {
        let detail = "The request needs the header Lock-Token with the token of the lock.";
        return Err(Denial::PreconditionRequired { detail: detail.into() }.into());
    };
    let Refresh { lasts } =
        if call.content.is_empty() { Refresh::default() } else { json::read(&call.content)? };
    let mut checks = FieldErrors::default();
    let lease = lease(lasts, &mut checks);
    checks.finish()?;
    let lasts = lease.ok_or_else(|| Denial::internal("a validated value is missing"))?;
    let refreshed = surface.execute(&call, ticket.as_ref(), RefreshLock { id, token, lasts }, shown);
    refreshed.await.map_err(|fault| surface.refuse(fault))
}

/// Returns `true` if a request breaks a lock: it has `If-Match`, and no `Lock-Token` that proves the holder.
fn is_breaking(headers: &HeaderMap) -> bool {
    headers.contains_key(header::IF_MATCH) && !headers.contains_key(&lock_token::FIELD)
}

/// Release or break a lock
///
/// With its token in `Lock-Token`, a lock is released, even if it has expired. This requires the role `operator`.
/// With `If-Match`, a lock is broken. This requires the role `owner`.
#[utoipa::path(
    delete,
    path = "/locks/{lock}",
    tag = "locks",
    operation_id = "delete_lock",
    params(openapi::IfMatch, openapi::LockToken),
    responses(openapi::NoContent, openapi::CommonErrors, openapi::NotFound, openapi::UpdateErrors)
)]
pub(super) async fn delete(
    State(surface): State<Arc<Surface>>,
    request: Request,
) -> Result<ApiResponse, ErrorResponse> {
    let breaks = is_breaking(request.headers());
    let call = CallContext::extract(request, if breaks { Role::Owner } else { Role::Operator }).await?;
    call.query(&[])?;
    let id: LockId = call.path_id()?;
    if let Some(LockTokenHeader { token, .. }) = LockTokenHeader::of_lock(&call, &id)? {
        // The release does not check that the lock is held, because an expired lock can be released, too.
        let released = surface.admin.registry.release_lock(&id, &token, call.actor()).await;
        released.map_err(|fault| surface.refuse(fault))?;
        return Ok(ApiResponse::no_content());
    }
    if !breaks {
        let detail = "The request needs the header Lock-Token, or If-Match to break the lock as an owner.";
        return Err(Denial::PreconditionRequired { detail: detail.into() }.into());
    }
    let lock = surface.lock(&call).await?;
    ETag::content(&Lock::from(lock.clone())).check_if_match(&call.headers)?;
    surface.change(&call, (AssertUnchanged(Entity::Lock(lock)), BreakLock(id))).await?;
    Ok(ApiResponse::no_content())
}

impl Surface {
    /// Returns the lock in the path of a request, if it is active.
    async fn lock(&self, call: &CallContext) -> Result<model::Lock, ErrorResponse> {
        let lock = self.admin.registry.lock(&call.path_id()?).await.map_err(|fault| self.refuse(fault))?;
        if lock.is_active(self.admin.clock.now().time) { Ok(lock) } else { Err(Denial::NotFound.into()) }
    }

    /// Requires the role to lock a caller: only owners manage administrators. Returns the caller's kind.
    async fn may_hold(
        &self,
        call: &CallContext,
        caller: &CallerId,
    ) -> Result<Option<&'static str>, ErrorResponse> {
        let which = CallerFilter { among: Some(vec![caller.clone()]), limit: 1, ..CallerFilter::default() };
        let found = self.admin.registry.callers(&which).await.map_err(|fault| self.refuse(fault))?;
        let mut checks = FieldErrors::default();
        // A lock on an unknown caller would apply to an administrator that is created later.
        checks.ensure(!found.is_empty(), "#/target/caller", "the caller does not exist");
        checks.finish()?;
        found.iter().try_for_each(|caller| call.require_role(manages(&caller.kind)))?;
        Ok(found.first().map(|caller| caller.kind.name()))
    }

    /// Denies a lock that would stop nothing, because its tenant does not exist or is not the tenant of its caller.
    async fn can_concern(&self, lock: &NewLock) -> Result<(), ErrorResponse> {
        let Some(tenant) = &lock.tenant else { return Ok(()) };
        let (found, why) = match &lock.target {
            model::LockTarget::Caller(id) => (
                self.admin.registry.caller(tenant, id).await.map(drop),
                "the caller does not belong to this tenant",
            ),
            model::LockTarget::Resource(_) => {
                (self.admin.registry.tenant(tenant).await.map(drop), "the tenant does not exist")
            }
        };
        let mut checks = FieldErrors::default();
        match found {
            Ok(()) => {}
            Err(RegistryError::NotFound) => checks.ensure(false, "#/tenant", why),
            Err(fault) => return Err(self.refuse(fault)),
        }
        checks.finish()?;
        Ok(())
    }

    /// Checks the precondition of a change that concerns a caller: `If-Match` names the current tag, or `Lock-Token`
    /// proves that the client holds a lock on the caller.
    pub(super) async fn check_precondition(
        &self,
        call: &CallContext,
        tag: &ETag,
        caller: &CallerId,
    ) -> Result<(), ErrorResponse> {
        let Some(proof) = &call.proof else { return Ok(tag.check_if_match(&call.headers)?) };
        if tag.matches(&call.headers)? {
            return Ok(());
        }
        match self.admin.registry.lock(&proof.lock).await {
            Ok(model::Lock { target: model::LockTarget::Caller(held), .. }) if held == *caller => Ok(()),
            Ok(_) => Err(etag::precondition_required().into()),
            Err(RegistryError::NotFound) => Err(self.refuse(RegistryError::LockLost)),
            Err(fault) => Err(self.refuse(fault)),
        }
    }
}
