//! The caller endpoints, for API clients, apps, operators and administrators.

mod body;

pub(super) use body::Caller;

use std::sync::Arc;

use axum::extract::State;

use super::{
    etag::ETag,
    extract::{Authorized, Parameters},
    openapi,
    page::Page,
    response::{ApiResponse, ErrorResponse},
    roles::{Manager, ReadOnly, manages},
    state::Surface,
};
use crate::{
    json::{self, FieldErrors},
    openapi::schemas,
};
use body::{CallerPatch, Kind, NewCaller};
use portcullis::{
    Denial,
    model::{self, Role, Status, TenantId},
    registry::{
        CallerFilter, CreateCaller, DeleteCaller, KeepOwner, RegistryError, RegistryExt, UpdateCaller,
    },
};

fn tag(caller: &model::Caller) -> ETag {
    ETag::revision(caller.revision)
}

/// The query parameters of the list of callers.
pub(super) struct CallerParameters;

impl Parameters for CallerParameters {
    const KNOWN: &'static [&'static str] = &["kind", "name", "status", "plan", "limit", "after"];
}

/// List callers of a tenant
#[utoipa::path(
    get,
    path = "/tenants/{tenant}/callers",
    tag = "callers",
    operation_id = "list_callers",
    params(openapi::Paging, ("kind" = Option<Kind>, Query, description = "Only callers of this kind"), ("name" = Option<String>, Query, description = "Only callers with this name"), ("status" = Option<schemas::Status>, Query, description = "Only callers with this status"), ("plan" = Option<schemas::Id>, Query, description = "Only callers on this plan")),
    responses(openapi::OkPage<Caller>, openapi::CommonErrors, openapi::NotFound),
)]
pub(super) async fn list(
    State(surface): State<Arc<Surface>>,
    Authorized { call, query, .. }: Authorized<ReadOnly, CallerParameters>,
) -> Result<ApiResponse, ErrorResponse> {
    let limit = query.limit()?;
    let filter = CallerFilter {
        tenant: Some(call.tenant()?),
        kind: query.chosen("kind", "api_client, app, operator or administrator", Kind::named)?,
        name: query.text("name").map(str::to_owned),
        status: query.chosen("status", "enabled or disabled", status)?,
        plan: query.parsed("plan", "the id of a plan")?,
        after: query.after()?,
        limit: limit + 1,
        ..CallerFilter::default()
    };
    let found =
        surface.admin.registry.callers(&filter).await.map_err(|fault| surface.registry_error(fault))?;
    if found.is_empty() {
        // Tells an empty tenant from a tenant that does not exist.
        surface.tenant(&call).await?;
    }
    let page = Page::from_parts(&query, limit, found, |last| last.id.to_string());
    Ok(ApiResponse::page(&page.map(Caller::from)))
}

fn status(text: &str) -> Option<Status> {
    [Status::Enabled, Status::Disabled].into_iter().find(|status| status.as_str() == text)
}

/// Create a caller
///
/// Requires the role `operator`, or `owner` for an administrator. If the AppSecret of an app is generated, only this
/// response shows it.
#[utoipa::path(
    post,
    path = "/tenants/{tenant}/callers",
    tag = "callers",
    operation_id = "create_caller",
    params(openapi::IdempotencyKey, openapi::LockToken),
    request_body(content = NewCaller, content_type = "application/json"),
    responses(openapi::Created<Caller>, openapi::CommonErrors, openapi::NotFound, openapi::CreateErrors),
)]
pub(super) async fn create(
    State(surface): State<Arc<Surface>>,
    Authorized { call, .. }: Authorized<Manager>,
) -> Result<ApiResponse, ErrorResponse> {
    let tenant = call.tenant()?;
    let idempotency_key = surface.idempotency_key(&call)?;
    if let Some(answer) = surface.find_replay(&call, idempotency_key.as_ref()).await? {
        return Ok(answer);
    }
    let body: NewCaller = json::read(&call.content)?;
    let has_plan = body.has_plan();
    let (caller, secret) = body.checked(tenant.clone(), &surface.admin.sealer)?;
    call.require_role(manages(&caller.kind))?;
    let made = surface.execute(&call, idempotency_key.as_ref(), CreateCaller(caller), |caller| {
        let location = format!("/admin/v1/tenants/{}/callers/{}", caller.tenant, caller.id);
        let shows = secret.is_some();
        let tag = tag(&caller);
        let document = Caller::from(caller).showing(secret);
        let answer = ApiResponse::created(location, &document).with_etag(&tag);
        if shows { answer.secret() } else { answer }
    });
    match made.await {
        Ok(answer) => Ok(answer),
        Err(RegistryError::NotFound) if has_plan => Err(no_plan(&surface, &tenant).await),
        Err(RegistryError::LimitReached(most)) => {
            let detail = format!(
                "The tenant has {most} callers of this kind, which is the limit (max_callers). Delete one, or raise \
                 max_callers."
            );
            Err(Denial::Conflict { detail: detail.into() }.into())
        }
        Err(fault) => Err(surface.registry_error(fault)),
    }
}

/// Get a caller
#[utoipa::path(
    get,
    path = "/tenants/{tenant}/callers/{caller}",
    tag = "callers",
    operation_id = "read_caller",
    params(openapi::IfNoneMatch),
    responses(openapi::OkResource<Caller>, openapi::CommonErrors, openapi::NotFound),
)]
pub(super) async fn read(
    State(surface): State<Arc<Surface>>,
    Authorized { call, .. }: Authorized<ReadOnly>,
) -> Result<ApiResponse, ErrorResponse> {
    let caller = surface.caller(&call.tenant()?, &call.child_id()?).await?;
    let document = || ApiResponse::ok(&Caller::from(caller.clone()));
    Ok(ApiResponse::conditional(&tag(&caller), &call.headers, document))
}

/// Update a caller
///
/// Requires the role `operator`, or `owner` for an administrator.
#[utoipa::path(
    patch,
    path = "/tenants/{tenant}/callers/{caller}",
    tag = "callers",
    operation_id = "modify_caller",
    params(openapi::IfMatch, openapi::LockToken),
    request_body(content((CallerPatch = "application/merge-patch+json"), (CallerPatch = "application/json"))),
    responses(openapi::Updated<Caller>, openapi::CommonErrors, openapi::NotFound, openapi::UpdateErrors),
)]
pub(super) async fn modify(
    State(surface): State<Arc<Surface>>,
    Authorized { call, .. }: Authorized<Manager>,
) -> Result<ApiResponse, ErrorResponse> {
    let before = surface.caller(&call.tenant()?, &call.child_id()?).await?;
    call.require_role(manages(&before.kind))?;
    surface.check_precondition(&call, &tag(&before), &before.id).await?;
    let patch: CallerPatch = json::read(&call.content)?;
    let edit = patch.checked(&before, &surface.admin.sealer)?;
    let weakened = edit.status == Some(Status::Disabled) || edit.role.is_some_and(|role| role != call.role());
    if before.id == *call.caller() && weakened {
        return Err(oneself());
    }
    let owns = before.owns_everything();
    let (tenant, id, expected) = (before.tenant, before.id, Some(before.revision));
    let has_plan = matches!(edit.plan, Some(Some(_)));
    let weakens = edit.status == Some(Status::Disabled) || edit.role.is_some_and(|role| role != Role::Owner);
    let keep_owner = (owns && weakens).then_some(KeepOwner { beyond: None });
    let update = UpdateCaller { tenant: tenant.clone(), id: id.clone(), expected, edit };
    let operation = (call.lock_proof(), update, keep_owner);
    let caller = match surface.admin.registry.run(operation, call.actor()).await {
        Ok((_, caller, _)) => caller,
        Err(RegistryError::NotFound) if has_plan => {
            surface.caller(&tenant, &id).await?;
            return Err(no_plan(&surface, &tenant).await);
        }
        Err(fault) => return Err(surface.refuse_change(fault)),
    };
    let tag = tag(&caller);
    Ok(ApiResponse::ok(&Caller::from(caller)).with_etag(&tag))
}

/// Delete a caller and its keys
///
/// Requires the role `operator`, or `owner` for an administrator.
#[utoipa::path(
    delete,
    path = "/tenants/{tenant}/callers/{caller}",
    tag = "callers",
    operation_id = "delete_caller",
    params(openapi::IfMatch, openapi::LockToken),
    responses(openapi::NoContent, openapi::CommonErrors, openapi::NotFound, openapi::UpdateErrors)
)]
pub(super) async fn delete(
    State(surface): State<Arc<Surface>>,
    Authorized { call, .. }: Authorized<Manager>,
) -> Result<ApiResponse, ErrorResponse> {
    let before = surface.caller(&call.tenant()?, &call.child_id()?).await?;
    call.require_role(manages(&before.kind))?;
    surface.check_precondition(&call, &tag(&before), &before.id).await?;
    if before.id == *call.caller() {
        return Err(oneself());
    }
    let keep_owner = before.owns_everything().then_some(KeepOwner { beyond: None });
    let (tenant, id, expected) = (before.tenant, before.id, Some(before.revision));
    surface.change(&call, (DeleteCaller { tenant, id, expected }, keep_owner)).await?;
    Ok(ApiResponse::no_content())
}

/// Denies an administrator changes that weaken itself: they could leave no administrator in the end.
fn oneself() -> ErrorResponse {
    let detail = "An administrator cannot delete, disable or demote itself. Ask another administrator.";
    Denial::Conflict { detail: detail.into() }.into()
}

/// Returns the error for a missing plan of a caller, or for the tenant if that is missing.
async fn no_plan(surface: &Surface, tenant: &TenantId) -> ErrorResponse {
    if let Err(fault) = surface.admin.registry.tenant(tenant).await {
        return surface.registry_error(fault);
    }
    let mut checks = FieldErrors::default();
    checks.ensure(false, "#/plan", "the plan does not exist");
    checks.finish().map_or_else(ErrorResponse::from, |()| Denial::NotFound.into())
}
