//! Authorizations of apps for APIs, stored as grants of routes.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;

use super::{
    auth_request::{ApisQuery, AppsOfQuery, AuthsBody},
    auth_response::{ApiList, ApiOutline, AuthInfo, AuthList, AuthResult, Authorized},
    call_context::{CallContext, repeated},
    error::ApigError,
    extract::{Gateway, Json, Page, Params},
    openapi::Errors,
    query::{self, PageQuery, page_of},
    response::show,
    state::Apig,
    version::Version,
};
use crate::openapi::schemas;
use portcullis::{
    model::{Access, Caller, CallerId, EnvironmentId, Grant, GrantId, GrantRole, RouteName, Tenant},
    registry::{CallerFilter, GrantFilter, PutGrant, RegistryExt},
};

/// The most pairs of an app and an API in one request.
const MAX_GRANTS: usize = 500;

/// Authorizes each of the given apps for each of the given APIs.
#[utoipa::path(
    post,
    path = "/app-auths",
    tag = "app-auths",
    operation_id = "authorize_apps",
    request_body(content = AuthsBody),
    responses((status = 201, description = "One result for each pair of an app and an API", body = AuthResult), Errors),
)]
pub(super) async fn authorize(
    State(surface): State<Arc<Apig>>,
    Gateway { call, tenant }: Gateway,
    Json(AuthsBody { env_id, app_ids, api_ids }): Json<AuthsBody>,
) -> Result<Response, ApigError> {
    let environment = env_id.filter(|id| !id.is_empty()).ok_or(ApigError::Missing("env_id"))?;
    let app_ids = app_ids.filter(|ids| !ids.is_empty()).ok_or(ApigError::Missing("app_ids"))?;
    let api_ids = api_ids.filter(|ids| !ids.is_empty()).ok_or(ApigError::Missing("api_ids"))?;
    let environment = known(&environment)?;
    if app_ids.len().saturating_mul(api_ids.len()) > MAX_GRANTS {
        return Err(ApigError::Invalid("api_ids"));
    }
    let actor = call.subscriber(&tenant)?;
    let mut apps = Vec::with_capacity(app_ids.len());
    for text in &app_ids {
        let id = call.parse_id(text).ok_or_else(|| call.no_app(text))?;
        call.require_access(Access::Write, &id)?;
        apps.push(surface.find(&tenant, &id, &call).await?);
    }

    let pairs = || apps.iter().flat_map(|app| api_ids.iter().map(move |api| (app, api)));
    let grant = |(app, api): (&Caller, &String)| {
        let route = surface.api(api)?;
        Some(Grant {
            id: GrantId::random(),
            tenant: tenant.id.clone(),
            caller: app.id.clone(),
            route,
            environment: environment.clone(),
            role: GrantRole::Provider,
            created_at: surface.clock.now().time,
        })
    };
    let wanted: Vec<_> = pairs().map(grant).collect();
    let puts: Vec<_> = wanted.iter().map(|grant| grant.clone().map(PutGrant)).collect();
    let done = surface.registry.run(puts, &actor).await;
    // An app was deleted since it was found above. The registry does not say which one; the client learns it by
    // repeating the request.
    let done = done.map_err(|fault| surface.registry_error(fault, call.no_app(&app_ids[0])))?;

    let mut results = Vec::with_capacity(wanted.len());
    for ((app, api), (wanted, stored)) in pairs().zip(wanted.iter().zip(&done)) {
        results.push(match wanted.as_ref().zip(stored.as_ref()) {
            None => Authorized::failed(call.version, app, api),
            Some((wanted, stored)) => Authorized::granted(call.version, stored, wanted, app),
        });
    }
    match call.version {
        Version::One => show(StatusCode::CREATED, &results),
        Version::Two => show(StatusCode::CREATED, &AuthResult { auths: results }),
    }
}

/// Cancels an authorization.
///
/// Allowed under a lapsed subscription, too, so that access can be revoked.
#[utoipa::path(
    delete,
    path = "/app-auths/{app_auth_id}",
    tag = "app-auths",
    operation_id = "cancel_app_auth",
    responses((status = 204, description = "Canceled"), Errors),
)]
pub(super) async fn cancel(
    State(surface): State<Arc<Apig>>,
    Gateway { call, tenant }: Gateway,
) -> Result<Response, ApigError> {
    let missing = || ApigError::UnknownAuth(call.repeated(1));
    let id: GrantId = call.segment(1).parse().map_err(|_| missing())?;
    let grant = surface.registry.grant(&tenant.id, &id).await;
    let grant = grant.map_err(|fault| surface.registry_error(fault, missing()))?;
    call.require_access(Access::Write, &grant.caller)?;
    let gone = surface.registry.delete_grant(&tenant.id, &id, call.revoker()).await;
    gone.map_err(|fault| surface.registry_error(fault, missing()))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Lists the APIs that an app is authorized for.
#[utoipa::path(
    get,
    path = "/app-auths/binded-apis",
    tag = "app-auths",
    operation_id = "list_apis_of_app",
    params(PageQuery, ApisQuery, ("env_id" = Option<schemas::MaybeId>, Query, description = "Only this environment")),
    responses((status = 200, description = "A page of authorizations", body = AuthList), Errors),
)]
pub(super) async fn apis_of_app(
    State(surface): State<Arc<Apig>>,
    Gateway { call, tenant }: Gateway,
    Page((offset, limit)): Page,
    Params(query): Params<ApisQuery>,
) -> Result<Response, ApigError> {
    let app = app_asked_for(&surface, &call, &tenant, query.app_id()?).await?;
    let (mut total, mut found) = (0, Vec::new());
    if let Some(filter) = query.grants(&tenant.id)? {
        let filter = GrantFilter { callers: Some(vec![app.id.clone()]), offset, limit, ..filter };
        (total, found) = find_grants(&surface, &call, &filter).await?;
    }
    let rows =
        found.iter().map(|grant| AuthInfo::new(call.version, grant, &app)).collect::<Result<_, _>>()?;
    show(StatusCode::OK, &AuthList::new(total, rows))
}

/// Lists the APIs that an app is not authorized for.
#[utoipa::path(
    get,
    path = "/app-auths/unbinded-apis",
    tag = "app-auths",
    operation_id = "list_other_apis",
    params(PageQuery, ApisQuery, ("env_id" = schemas::Id, Query, description = "The id of the environment")),
    responses((status = 200, description = "A page of APIs", body = ApiList), Errors),
)]
pub(super) async fn other_apis(
    State(surface): State<Arc<Apig>>,
    Gateway { call, tenant }: Gateway,
    Page(page): Page,
    Params(query): Params<ApisQuery>,
) -> Result<Response, ApigError> {
    let app = app_asked_for(&surface, &call, &tenant, query.app_id()?).await?;
    let environment = query.environment().ok_or(ApigError::Missing("env_id"))?;
    let environment = known(environment)?;
    let mut apis = Vec::new();
    if let Some(filter) = query.grants(&tenant.id)? {
        let callers = Some(vec![app.id]);
        // The number of grants is bounded: an app has at most one for each API that exists or once existed.
        let granted = GrantFilter {
            tenant: filter.tenant.clone(),
            callers,
            environment: Some(environment),
            limit: u32::MAX,
            ..GrantFilter::default()
        };
        let (_, granted) = find_grants(&surface, &call, &granted).await?;
        let free = |api: &&RouteName| !granted.iter().any(|grant| grant.route == **api);
        apis.extend(surface.apis.iter().filter(free).filter(|api| filter.matches_route(api)));
    }
    let page: Vec<_> = page_of(&apis, page).iter().map(|api| ApiOutline::new(api)).collect();
    show(StatusCode::OK, &ApiList { total: apis.len(), size: page.len(), apis: page })
}

/// Lists the apps that are authorized for an API.
#[utoipa::path(
    get,
    path = "/app-auths/binded-apps",
    tag = "app-auths",
    operation_id = "list_apps_of_api",
    params(PageQuery, AppsOfQuery),
    responses((status = 200, description = "A page of authorizations", body = AuthList), Errors),
)]
pub(super) async fn apps_of_api(
    State(surface): State<Arc<Apig>>,
    Gateway { call, tenant }: Gateway,
    Page((offset, limit)): Page,
    Params(query): Params<AppsOfQuery>,
) -> Result<Response, ApigError> {
    let filter = query.grants(&call, &tenant.id)?;
    if let Some(api) = filter.route.as_ref().filter(|api| !surface.apis.contains(*api)) {
        return Err(ApigError::UnknownApi(repeated(api.as_str())));
    }
    let (total, found) = find_grants(&surface, &call, &GrantFilter { offset, limit, ..filter }).await?;
    let among = Some(found.iter().map(|grant| grant.caller.clone()).collect());
    let apps = CallerFilter { among, limit, ..query::apps(&tenant.id) };
    let apps = surface.registry.callers(&apps).await;
    let apps = apps.map_err(|fault| surface.registry_error(fault, call.no_instance()))?;
    // Grants of apps that were deleted in the meantime are left out.
    let app = |grant: &Grant| apps.iter().find(|app| app.id == grant.caller);
    let rows = found.iter().filter_map(|grant| Some(AuthInfo::new(call.version, grant, app(grant)?)));
    show(StatusCode::OK, &AuthList::new(total, rows.collect::<Result<_, _>>()?))
}

/// Returns the environment with this id. There is one environment.
fn known(id: &str) -> Result<EnvironmentId, ApigError> {
    let release = EnvironmentId::release();
    if id == release.as_str() { Ok(release) } else { Err(ApigError::UnknownEnvironment(repeated(id))) }
}

/// Returns the app that a query names, if the token may read it.
async fn app_asked_for(
    surface: &Apig,
    call: &CallContext,
    tenant: &Tenant,
    text: &str,
) -> Result<Caller, ApigError> {
    let id: CallerId = call.parse_id(text).ok_or_else(|| call.no_app(text))?;
    call.require_access(Access::Read, &id)?;
    surface.find(tenant, &id, call).await
}

async fn find_grants(
    surface: &Apig,
    call: &CallContext,
    filter: &GrantFilter,
) -> Result<(u64, Vec<Grant>), ApigError> {
    let refuse = |fault| surface.registry_error(fault, call.no_instance());
    let total = surface.registry.count_grants(filter).await.map_err(refuse)?;
    Ok((total, surface.registry.grants(filter).await.map_err(refuse)?))
}
