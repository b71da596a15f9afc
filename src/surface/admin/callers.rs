//! Callers: api clients, apps, operators, administrators.

mod body;

pub(super) use body::Caller;

use std::sync::Arc;

use axum::extract::{Request, State};

use super::{
    ADMIN_TENANT, Surface,
    response::{ApiResponse, ErrorResponse},
    call_context::CallContext,
    done,
    etag::ETag,
    json::{self, FieldErrors},
    page::{Page, split_page},
    openapi,
};
use crate::{
    Denial,
    model::{self, CallerId, CallerKind, Role, Status, TenantId},
    registry::{CallerFilter, Command, RegistryError},
    surface::openapi::schemas,
};
use body::{CallerPatch, Kind, NewCaller};

/// The role that it takes to manage callers of the tenant in a path, as far as that says it.
pub(super) fn managing(request: &Request) -> Role {
    let reserved = CallContext::tenant_of(request.uri()).is_ok_and(|tenant| tenant.as_str() == ADMIN_TENANT);
    if reserved { Role::Owner } else { Role::Operator }
}

/// The role that it takes to manage callers of a kind.
pub(super) fn manages(kind: &CallerKind) -> Role {
    if matches!(kind, CallerKind::Administrator(_)) { Role::Owner } else { Role::Operator }
}

fn tag(caller: &model::Caller) -> ETag {
    ETag::revision(caller.revision)
}

/// Lists the callers of a tenant.
#[utoipa::path(
    get,
    path = "/tenants/{tenant}/callers",
    tag = "callers",
    operation_id = "list_callers",
    params(openapi::Paging, ("kind" = Option<Kind>, Query, description = "Only of this kind"), ("name" = Option<String>, Query, description = "Only of this name"), ("status" = Option<schemas::Status>, Query, description = "Only in this status"), ("plan" = Option<schemas::Id>, Query, description = "Only on this plan")),
    responses(openapi::OkPage<Caller>, openapi::CommonErrors, openapi::NotFound),
)]
pub(super) async fn list(State(surface): State<Arc<Surface>>, request: Request) -> Result<ApiResponse, ErrorResponse> {
    let call = CallContext::extract(request, Role::ReadOnly).await?;
    let query = call.query(&["kind", "name", "status", "plan", "limit", "after"])?;
    let limit = query.limit()?;
    let which = CallerFilter {
        tenant: Some(call.tenant()?),
        kind: query.chosen("kind", "api_client, app, operator or administrator", Kind::named)?,
        name: query.text("name").map(str::to_owned),
        status: query.chosen("status", "enabled or disabled", status)?,
        plan: query.parsed("plan", "the id of a plan")?,
        after: query.after()?,
        limit: limit + 1,
        ..CallerFilter::default()
    };
    let found = surface.admin.registry.callers(&which).await.map_err(|fault| surface.refuse(fault))?;
    if found.is_empty() {
        // That nobody is there is something else than that the tenant is not.
        surface.tenant(&call).await?;
    }
    let (callers, next) = split_page(found, limit, |last| last.id.to_string());
    let (page, link) = Page::of(&query, callers.into_iter().map(Caller::from).collect(), next);
    Ok(ApiResponse::ok(&page).with_link(link))
}

fn status(text: &str) -> Option<Status> {
    [Status::Enabled, Status::Disabled].into_iter().find(|status| status.as_str() == text)
}

/// Makes a caller. For an operator; an administrator, for an owner.
#[utoipa::path(
    post,
    path = "/tenants/{tenant}/callers",
    tag = "callers",
    operation_id = "create_caller",
    params(openapi::IdempotencyKey, openapi::LockToken),
    request_body(content = NewCaller, content_type = "application/json"),
    responses(openapi::Created<Caller>, openapi::CommonErrors, openapi::NotFound, openapi::CreateErrors),
)]
pub(super) async fn create(State(surface): State<Arc<Surface>>, request: Request) -> Result<ApiResponse, ErrorResponse> {
    let needed = managing(&request);
    let call = CallContext::extract(request, needed).await?;
    call.query(&[])?;
    let tenant = call.tenant()?;
    let ticket = surface.ticket(&call)?;
    if let Some(answer) = surface.earlier(&call, ticket.as_ref()).await? {
        return Ok(answer);
    }
    let body: NewCaller = json::read(&call.content)?;
    let has_plan = body.has_plan();
    let (caller, secret) = body.checked(tenant.clone(), &surface.admin.sealer)?;
    call.require_role(manages(&caller.kind))?;
    let made = surface.execute(&call, ticket.as_ref(), vec![Command::CreateCaller(caller)], |done| {
        let caller = done!(Caller, done)?;
        let location = format!("/admin/v1/tenants/{}/callers/{}", caller.tenant, caller.id);
        let shows = secret.is_some();
        let document = Caller::from(caller.clone()).showing(secret);
        let answer = ApiResponse::created(location, &document).with_etag(&tag(caller));
        Ok(if shows { answer.secret() } else { answer })
    });
    match made.await {
        Ok(answer) => Ok(answer),
        Err(RegistryError::NotFound) if has_plan => Err(surface.no_plan(&tenant).await),
        Err(RegistryError::LimitReached(most)) => {
            let detail = format!(
                "The tenant has {most} callers of this kind, as many as its max_callers allows. Delete one, or raise \
                 max_callers."
            );
            Err(Denial::Conflict { detail: detail.into() }.into())
        }
        Err(fault) => Err(surface.refuse(fault)),
    }
}

/// Shows a caller.
#[utoipa::path(
    get,
    path = "/tenants/{tenant}/callers/{caller}",
    tag = "callers",
    operation_id = "read_caller",
    params(openapi::IfNoneMatch),
    responses(openapi::OkResource<Caller>, openapi::CommonErrors, openapi::NotFound),
)]
pub(super) async fn read(State(surface): State<Arc<Surface>>, request: Request) -> Result<ApiResponse, ErrorResponse> {
    let call = CallContext::extract(request, Role::ReadOnly).await?;
    call.query(&[])?;
    let caller = surface.caller(&call.tenant()?, &call.child_id()?).await?;
    let tag = tag(&caller);
    Ok(if tag.matches_if_none_match(&call.headers) {
        ApiResponse::not_modified(&tag)
    } else {
        ApiResponse::ok(&Caller::from(caller)).with_etag(&tag)
    })
}

/// Changes a caller. For an operator; an administrator, for an owner.
#[utoipa::path(
    patch,
    path = "/tenants/{tenant}/callers/{caller}",
    tag = "callers",
    operation_id = "modify_caller",
    params(openapi::IfMatch, openapi::LockToken),
    request_body(content((CallerPatch = "application/merge-patch+json"), (CallerPatch = "application/json"))),
    responses(openapi::Updated<Caller>, openapi::CommonErrors, openapi::NotFound, openapi::UpdateErrors),
)]
pub(super) async fn modify(State(surface): State<Arc<Surface>>, request: Request) -> Result<ApiResponse, ErrorResponse> {
    let needed = managing(&request);
    let call = CallContext::extract(request, needed).await?;
    call.query(&[])?;
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
    let keep_owner = (owns && weakens).then_some(Command::KeepOwner { beyond: None });
    let command = Command::UpdateCaller { tenant: tenant.clone(), id: id.clone(), expected, edit };
    let commands = call.with_lock_proof([command].into_iter().chain(keep_owner).collect());
    let done = match surface.admin.registry.execute(commands, call.actor()).await {
        Ok(done) => done,
        Err(RegistryError::NotFound) if has_plan => {
            surface.caller(&tenant, &id).await?;
            return Err(surface.no_plan(&tenant).await);
        }
        Err(fault) => return Err(surface.refuse_change(fault)),
    };
    let caller = done!(Caller, done).map_err(|fault| surface.refuse(fault))?;
    Ok(ApiResponse::ok(&Caller::from(caller.clone())).with_etag(&tag(caller)))
}

/// Deletes a caller, with its keys. For an operator; an administrator, for an owner.
#[utoipa::path(
    delete,
    path = "/tenants/{tenant}/callers/{caller}",
    tag = "callers",
    operation_id = "delete_caller",
    params(openapi::IfMatch, openapi::LockToken),
    responses(openapi::NoContent, openapi::CommonErrors, openapi::NotFound, openapi::UpdateErrors)
)]
pub(super) async fn delete(State(surface): State<Arc<Surface>>, request: Request) -> Result<ApiResponse, ErrorResponse> {
    let needed = managing(&request);
    let call = CallContext::extract(request, needed).await?;
    call.query(&[])?;
    let before = surface.caller(&call.tenant()?, &call.child_id()?).await?;
    call.require_role(manages(&before.kind))?;
    surface.check_precondition(&call, &tag(&before), &before.id).await?;
    if before.id == *call.caller() {
        return Err(oneself());
    }
    let keep_owner = before.owns_everything().then_some(Command::KeepOwner { beyond: None });
    let (tenant, id, expected) = (before.tenant, before.id, Some(before.revision));
    let command = Command::DeleteCaller { tenant, id, expected };
    surface.change(&call, [command].into_iter().chain(keep_owner).collect()).await?;
    Ok(ApiResponse::no_content())
}

/// Who could would leave nobody behind, sooner or later.
fn oneself() -> ErrorResponse {
    let detail = "An administrator does not delete, disable or demote itself: let another one do it.";
    Denial::Conflict { detail: detail.into() }.into()
}

/// Whether callers of a kind may stand in a tenant.
fn check_place(checks: &mut FieldErrors, tenant: &TenantId, kind: &CallerKind) {
    let reserved = tenant.as_str() == ADMIN_TENANT;
    let administrator = matches!(kind, CallerKind::Administrator(_));
    let what = if reserved {
        "in this tenant are only administrators"
    } else {
        "administrators are only in the tenant administration"
    };
    checks.ensure(reserved == administrator, "#/kind", what);
}

impl Surface {
    pub(super) async fn caller(&self, tenant: &TenantId, id: &CallerId) -> Result<model::Caller, ErrorResponse> {
        self.admin.registry.caller(tenant, id).await.map_err(|fault| self.refuse(fault))
    }

    /// What is not there, of a tenant and the plan that one of its callers was to be put on.
    async fn no_plan(&self, tenant: &TenantId) -> ErrorResponse {
        if let Err(fault) = self.admin.registry.tenant(tenant).await {
            return self.refuse(fault);
        }
        let mut checks = FieldErrors::default();
        checks.ensure(false, "#/plan", "there is no such plan");
        checks.finish().map_or_else(ErrorResponse::from, |()| Denial::NotFound.into())
    }
}
