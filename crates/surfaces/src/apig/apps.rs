//! Operations on apps.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;

use super::{
    call_context::CallContext,
    error::ApigError,
    extract::{AnyProject, Content, ExistingApp, Gateway, NamedApp, Page, Params, Read, WholeGateway, Write},
    openapi::Errors,
    query::{self, AppsQuery, PageQuery},
    request::{AppBody, AppFields, ResetBody, ResetFields},
    response::{AppBrief, AppCounts, AppInfo, AppList, app_of, app_response, show, with_generated_secret},
    state::Apig,
    version::Version,
};
use portcullis::{
    model::{App, Caller, CallerEdit, CallerId, CallerKind, Creator, Secret, Tenant},
    registry::{CallerFilter, NewCaller, RegistryExt},
};

/// Creates an app.
#[utoipa::path(
    post,
    path = "/apps",
    tag = "apps",
    operation_id = "create_app",
    request_body(content = AppBody),
    responses((status = 201, description = "The app", body = AppInfo), Errors),
)]
pub(super) async fn create(
    State(surface): State<Arc<Apig>>,
    // A token that is limited to some apps has no access to a new one.
    WholeGateway { call, tenant, .. }: WholeGateway<Write>,
    Content(content): Content,
) -> Result<Response, ApigError> {
    let id = CallerId::random();
    let fields = AppFields::read(&content, custom_keys(&tenant), call.version, None)?;
    let actor = call.subscriber(&tenant)?;
    let (secret, generated) = chosen_or_new(fields.secret);
    let app = App {
        remark: fields.remark.unwrap_or_default(),
        key: fields.key.unwrap_or_else(|| call.version.new_key()),
        secret: surface.seal(&secret, &tenant, &id),
        creator: Creator::User,
        acl: None,
        quota: None,
    };
    let kind = CallerKind::App(app);
    // An operator under a plan cannot create a caller without one.
    let plan = call.plan();
    let caller = NewCaller { id, tenant: tenant.id, name: fields.name, kind, plan };
    let made = surface.registry.create_caller(caller, &actor).await;
    let made = made.map_err(|fault| surface.registry_error(fault, call.no_instance()))?;
    let answer = show(StatusCode::CREATED, &app_response(&surface, &call, &made)?)?;
    Ok(with_generated_secret(answer, call.version, generated.as_ref()))
}

/// Lists apps, newest first.
#[utoipa::path(
    get,
    path = "/apps",
    tag = "apps",
    operation_id = "list_apps",
    params(PageQuery, AppsQuery),
    responses((status = 200, description = "A page of apps", body = AppList), Errors),
)]
pub(super) async fn list(
    State(surface): State<Arc<Apig>>,
    Gateway { call, tenant }: Gateway,
    Page((offset, limit)): Page,
    Params(query): Params<AppsQuery>,
) -> Result<Response, ApigError> {
    let (mut total, mut found) = (0, Vec::new());
    if let Some(filter) = query.callers(&call, &tenant.id)? {
        let filter = CallerFilter { offset, limit, ..filter };
        let refuse = |fault| surface.registry_error(fault, call.no_instance());
        total = surface.registry.count_callers(&filter).await.map_err(refuse)?;
        found = surface.registry.callers(&filter).await.map_err(refuse)?;
    }
    let ids: Vec<_> = found.iter().map(|caller| caller.id.clone()).collect();
    let bound = surface.registry.count_grants_of(&ids).await;
    let bound = bound.map_err(|fault| surface.registry_error(fault, call.no_instance()))?;
    let mut apps = Vec::with_capacity(found.len());
    for (caller, bound) in found.iter().zip(bound) {
        let mut app = app_response(&surface, &call, caller)?;
        app.bind_num = Some(bound);
        apps.push(app);
    }
    show(StatusCode::OK, &AppList { total, size: apps.len(), apps })
}

/// Returns an app.
#[utoipa::path(
    get,
    path = "/apps/{app_id}",
    tag = "apps",
    operation_id = "show_app",
    responses((status = 200, description = "The app", body = AppInfo), Errors),
)]
pub(super) async fn read(
    State(surface): State<Arc<Apig>>,
    ExistingApp { call, app, .. }: ExistingApp<Read>,
) -> Result<Response, ApigError> {
    show(StatusCode::OK, &app_response(&surface, &call, &app)?)
}

/// Updates an app.
#[utoipa::path(
    put,
    path = "/apps/{app_id}",
    tag = "apps",
    operation_id = "update_app",
    request_body(content = AppBody),
    responses((status = 200, description = "The app", body = AppInfo), Errors),
)]
pub(super) async fn modify(
    State(surface): State<Arc<Apig>>,
    ExistingApp { call, tenant, app, .. }: ExistingApp<Write>,
    Content(content): Content,
) -> Result<Response, ApigError> {
    let fields = AppFields::read(&content, custom_keys(&tenant), call.version, Some(&app.name))?;
    let actor = call.subscriber(&tenant)?;
    let edit = CallerEdit {
        name: Some(fields.name),
        remark: fields.remark,
        key: fields.key,
        secret: fields.secret.map(|secret| surface.seal(&secret, &tenant, &app.id)),
        ..CallerEdit::default()
    };
    let after = surface.edit(&call, &actor, &tenant, &app.id, edit).await?;
    show(StatusCode::OK, &app_response(&surface, &call, &after)?)
}

/// Deletes an app and everything that belongs to it.
///
/// Allowed under a lapsed subscription, too, so that access can be revoked.
#[utoipa::path(
    delete,
    path = "/apps/{app_id}",
    tag = "apps",
    operation_id = "delete_app",
    responses((status = 204, description = "Deleted"), Errors),
)]
pub(super) async fn delete(
    State(surface): State<Arc<Apig>>,
    ExistingApp { call, tenant, app, .. }: ExistingApp<Write>,
) -> Result<Response, ApigError> {
    if app_of(&app)?.creator == Creator::Market {
        return Err(ApigError::MarketplaceApp(call.version));
    }
    let gone = surface.registry.delete_caller(&tenant.id, &app.id, None, call.revoker()).await;
    gone.map_err(|fault| surface.registry_error(fault, call.no_app(app.id.as_str())))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Resets the secret of an app.
#[utoipa::path(
    put,
    path = "/apps/secret/{app_id}",
    tag = "apps",
    operation_id = "reset_app_secret",
    request_body(content = ResetBody, description = "The new secret. Without a body, a secret is generated."),
    responses((status = 200, description = "The app", body = AppInfo), Errors),
)]
pub(super) async fn reset_secret(
    State(surface): State<Arc<Apig>>,
    NamedApp { call, tenant, id, .. }: NamedApp<Write, 2>,
    Content(content): Content,
) -> Result<Response, ApigError> {
    let wanted = ResetFields::read(&content, custom_keys(&tenant), call.version)?.secret;
    let actor = call.subscriber(&tenant)?;
    surface.find(&tenant, &id, &call).await?;
    let (secret, generated) = chosen_or_new(wanted);
    let edit = CallerEdit { secret: Some(surface.seal(&secret, &tenant, &id)), ..CallerEdit::default() };
    let after = surface.edit(&call, &actor, &tenant, &id, edit).await?;
    let mut app = app_response(&surface, &call, &after)?;
    if call.version == Version::One {
        app.app_type = None;
    }
    Ok(with_generated_secret(show(StatusCode::OK, &app)?, call.version, generated.as_ref()))
}

/// Verifies that an app exists; tokens of other projects may ask, too.
///
/// Returns only the id, the name and the remark, whichever apps the token is limited to.
#[utoipa::path(
    get,
    path = "/apps/validation/{app_id}",
    tag = "apps",
    operation_id = "verify_app",
    responses((status = 200, description = "The app exists", body = AppBrief), Errors),
)]
pub(super) async fn verify(
    State(surface): State<Arc<Apig>>,
    AnyProject(call): AnyProject,
) -> Result<Response, ApigError> {
    let caller = find_for_anyone(&surface, &call.app(2)?, &call).await?;
    let (id, remark) = (call.version.shown(caller.id.as_str()), &app_of(&caller)?.remark);
    show(StatusCode::OK, &AppBrief { id, name: &caller.name, remark })
}

/// Returns the number of apps.
#[utoipa::path(
    get,
    path = "/resources/outline/apps",
    tag = "apps",
    operation_id = "count_apps",
    responses((status = 200, description = "The number of apps", body = AppCounts), Errors),
)]
pub(super) async fn counts(
    State(surface): State<Arc<Apig>>,
    Gateway { call, tenant }: Gateway,
) -> Result<Response, ApigError> {
    let mut filter = CallerFilter { among: call.visible_apps(), ..query::apps(&tenant.id) };
    let refuse = |fault| surface.registry_error(fault, call.no_instance());
    let all = surface.registry.count_callers(&filter).await.map_err(refuse)?;
    filter.granted = Some(true);
    let authed_nums = surface.registry.count_callers(&filter).await.map_err(refuse)?;
    show(StatusCode::OK, &AppCounts { authed_nums, unauthed_nums: all.saturating_sub(authed_nums) })
}

/// Returns `true` if operators may choose keys and secrets.
fn custom_keys(tenant: &Tenant) -> bool {
    tenant.gateway.as_ref().is_some_and(|gateway| gateway.custom_keys)
}

/// Returns the chosen secret, or a new one of 32 hexadecimal digits. A new one is returned a second time, for the
/// response that must show it.
fn chosen_or_new(chosen: Option<Secret>) -> (Secret, Option<Secret>) {
    if let Some(chosen) = chosen {
        return (chosen, None);
    }
    let new = Secret::from(uuid::Uuid::new_v4().simple().to_string());
    (new.clone(), Some(new))
}

/// Returns an app of any gateway. The path must name a gateway of the token's project, or the gateway that the app
/// belongs to: the response must not reveal whether other gateways exist.
async fn find_for_anyone(surface: &Apig, id: &CallerId, call: &CallContext) -> Result<Caller, ApigError> {
    let missing = || call.no_app(id.as_str());
    let owner = if call.is_own_project() {
        surface.gateway(call).await?;
        None
    } else {
        let owner = surface.registry.gateway(&call.project, &call.instance).await;
        Some(owner.map_err(|fault| surface.registry_error(fault, missing()))?.id)
    };
    let filter = CallerFilter {
        tenant: owner,
        kind: Some(CallerKind::APP),
        among: Some(vec![id.clone()]),
        limit: 1,
        ..CallerFilter::default()
    };
    let found =
        surface.registry.callers(&filter).await.map_err(|fault| surface.registry_error(fault, missing()))?;
    found.into_iter().next().ok_or_else(missing)
}
