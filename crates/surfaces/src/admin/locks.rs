//! The lock endpoints. Locks are leases that are acquired, refreshed, released and broken.

mod body;
mod enforced;

pub(super) use body::{AcquiredLock, Lock};

use std::sync::Arc;

use axum::extract::{Request, State};
use http::{HeaderMap, header};

use self::{
    body::{LockRequest, Refresh, lease},
    enforced::Stops,
};
use super::{
    call_context::CallContext,
    etag::ETag,
    extract::{Authorized, PageParameters},
    lock_token::{self, LockTokenHeader},
    openapi,
    page::Page,
    response::{ApiResponse, ErrorResponse},
    roles::{Operator, ReadOnly, RequiredRole, manages},
    settings::Route,
    state::Surface,
};
use crate::json::{self, FieldErrors};
use portcullis::{
    Denial,
    model::{self, CallerId, Entity, LockId, LockToken, Role},
    registry::{
        AcquireLock, AssertUnchanged, BreakLock, CallerFilter, NewLock, RefreshLock, RegistryError,
        RegistryExt,
    },
};

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
    Authorized { query, .. }: Authorized<ReadOnly, PageParameters>,
) -> Result<ApiResponse, ErrorResponse> {
    let (limit, after) = (query.limit()?, query.after::<LockId>()?);
    let found = surface.admin.registry.locks(after.as_ref(), limit + 1).await;
    let found = found.map_err(|fault| surface.registry_error(fault))?;
    let mut page = Page::from_parts(&query, limit, found, |last| last.id.to_string());
    let now = surface.admin.clock.now().time;
    page.retain(|lock| lock.is_active(now));
    Ok(ApiResponse::page(&page.map(Lock::from)))
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
    responses(openapi::Created<AcquiredLock>, openapi::CommonErrors, openapi::NotFound, openapi::CreateErrors),
)]
pub(super) async fn acquire(
    State(surface): State<Arc<Surface>>,
    Authorized { call, .. }: Authorized<Operator>,
) -> Result<ApiResponse, ErrorResponse> {
    let idempotency_key = surface.idempotency_key(&call)?;
    if let Some(answer) = surface.find_replay(&call, idempotency_key.as_ref()).await? {
        return Ok(answer);
    }
    let token = LockToken::generate();
    let wanted = json::read::<LockRequest>(&call.content)?.checked((call.name(), call.caller()), &token)?;
    let kind = match &wanted.target {
        model::LockTarget::Caller(id) => may_hold(&surface, &call, id).await?,
        model::LockTarget::Resource(_) => None,
    };
    can_concern(&surface, &wanted).await?;
    let warnings = enforcement(&surface.admin.routes, &wanted, kind)?;
    let acquired = surface.execute(&call, idempotency_key.as_ref(), AcquireLock(wanted), |lock| {
        let token = LockTokenHeader::new(&lock, token).to_string();
        let location = format!("/admin/v1/locks/{}", lock.id);
        let lock = Lock::from(lock);
        let tag = ETag::content(&lock);
        ApiResponse::created(location, &AcquiredLock::new(token, lock, warnings)).with_etag(&tag).secret()
    });
    acquired.await.map_err(|fault| match fault {
        RegistryError::LimitReached(most) => {
            let detail =
                format!("You hold {most} locks, which is the limit. Release one that is not needed.");
            Denial::Conflict { detail: detail.into() }.into()
        }
        fault => surface.registry_error(fault),
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
    Authorized { call, .. }: Authorized<ReadOnly>,
) -> Result<ApiResponse, ErrorResponse> {
    let lock = find_lock(&surface, &call).await?;
    let lock = Lock::from(lock);
    Ok(ApiResponse::conditional(&ETag::content(&lock), &call.headers, || ApiResponse::ok(&lock)))
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
    Authorized { call, .. }: Authorized<Operator>,
) -> Result<ApiResponse, ErrorResponse> {
    let id: LockId = call.path_id()?;
    let idempotency_key = surface.idempotency_key(&call)?;
    if let Some(answer) = surface.find_replay(&call, idempotency_key.as_ref()).await? {
        return Ok(answer);
    }
    let Some(token) = call.token_of(&id)? else {
        let detail = "The request needs the header Lock-Token with the token of the lock.";
        return Err(Denial::PreconditionRequired { detail: detail.into() }.into());
    };
    let Refresh { duration } =
        if call.content.is_empty() { Refresh::default() } else { json::read(&call.content)? };
    let mut checks = FieldErrors::default();
    let lease = lease(duration, &mut checks);
    checks.finish()?;
    let lasts = lease.ok_or_else(|| Denial::internal("a validated value is missing"))?;
    let refreshed = surface.execute(&call, idempotency_key.as_ref(), RefreshLock { id, token, lasts }, shown);
    refreshed.await.map_err(|fault| surface.registry_error(fault))
}

/// Returns `true` if a request breaks a lock: it has `If-Match`, and no `Lock-Token` that proves the holder.
fn is_breaking(headers: &HeaderMap) -> bool {
    headers.contains_key(header::IF_MATCH) && !headers.contains_key(&lock_token::FIELD)
}

/// The role that removing a lock requires: an owner may break the lock of another administrator.
pub(super) struct Releaser;

impl RequiredRole for Releaser {
    fn needed(request: &Request) -> Role {
        if is_breaking(request.headers()) { Role::Owner } else { Role::Operator }
    }
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
    Authorized { call, .. }: Authorized<Releaser>,
) -> Result<ApiResponse, ErrorResponse> {
    let breaks = is_breaking(&call.headers);
    let id: LockId = call.path_id()?;
    if let Some(token) = call.token_of(&id)? {
        // The release does not check that the lock is held, because an expired lock can be released, too.
        let released = surface.admin.registry.release_lock(&id, &token, call.actor()).await;
        released.map_err(|fault| surface.registry_error(fault))?;
        return Ok(ApiResponse::no_content());
    }
    if !breaks {
        let detail = "The request needs the header Lock-Token, or If-Match to break the lock as an owner.";
        return Err(Denial::PreconditionRequired { detail: detail.into() }.into());
    }
    let lock = find_lock(&surface, &call).await?;
    ETag::content(&Lock::from(lock.clone())).check_if_match(&call.headers)?;
    surface.change(&call, (AssertUnchanged(Entity::Lock(lock)), BreakLock(id))).await?;
    Ok(ApiResponse::no_content())
}

/// Returns the lock in the path of a request, if it is active.
async fn find_lock(surface: &Surface, call: &CallContext) -> Result<model::Lock, ErrorResponse> {
    let lock =
        surface.admin.registry.lock(&call.path_id()?).await.map_err(|fault| surface.registry_error(fault))?;
    if lock.is_active(surface.admin.clock.now().time) { Ok(lock) } else { Err(Denial::NotFound.into()) }
}

/// Requires the role to lock a caller: only owners manage administrators. Returns the caller's kind.
async fn may_hold(
    surface: &Surface,
    call: &CallContext,
    caller: &CallerId,
) -> Result<Option<&'static str>, ErrorResponse> {
    let filter = CallerFilter { among: Some(vec![caller.clone()]), limit: 1, ..CallerFilter::default() };
    let found =
        surface.admin.registry.callers(&filter).await.map_err(|fault| surface.registry_error(fault))?;
    let mut checks = FieldErrors::default();
    // A lock on an unknown caller would apply to an administrator that is created later.
    checks.ensure(!found.is_empty(), "#/target/caller", "the caller does not exist");
    checks.finish()?;
    found.iter().try_for_each(|caller| call.require_role(manages(&caller.kind)))?;
    Ok(found.first().map(|caller| caller.kind.name()))
}

/// Denies a lock that would stop nothing, because its tenant does not exist or is not the tenant of its caller.
async fn can_concern(surface: &Surface, lock: &NewLock) -> Result<(), ErrorResponse> {
    let Some(tenant) = &lock.tenant else { return Ok(()) };
    let (found, why) = match &lock.target {
        model::LockTarget::Caller(id) => (
            surface.admin.registry.caller(tenant, id).await.map(drop),
            "the caller does not belong to this tenant",
        ),
        model::LockTarget::Resource(_) => {
            (surface.admin.registry.tenant(tenant).await.map(drop), "the tenant does not exist")
        }
    };
    let mut checks = FieldErrors::default();
    match found {
        Ok(()) => {}
        Err(RegistryError::NotFound) => checks.ensure(false, "#/tenant", why),
        Err(fault) => return Err(surface.registry_error(fault)),
    }
    checks.finish()?;
    Ok(())
}
