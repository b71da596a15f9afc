//! Bindings of throttling policies to APIs.

mod requests;

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;

use self::requests::{ActionQuery, ApisQuery, BindBody, Delete, ThrottlesOfQuery, UnbindBody, released};
use super::{
    lookup::{all_throttles, find_throttle, put_throttles},
    show::{
        AllApplied, ApiOfThrottle, ApisOfThrottle, Applied, NotUnbound, ThrottleOfApi, ThrottlesOfApi,
        Unbound,
    },
};
use crate::apig::{
    auth_request::{given, plain},
    call_context::{CallContext, repeated, retry_conflicts},
    error::ApigError,
    extract::{Json, Page, Params, Read, WholeGateway, Write},
    openapi::Errors,
    query::{PageQuery, contains, page_of},
    response::show,
    state::Apig,
};
use portcullis::{
    model::{Actor, Binding, BindingId, RouteName, Tenant, Throttle},
    registry::UpdateThrottle,
};

/// The most APIs, and the most bindings, in one request.
const MAX_BINDINGS: usize = 500;

/// Binds a throttling policy to APIs.
///
/// An API has at most one throttling policy: a new binding replaces the previous one.
#[utoipa::path(
    post,
    path = "/throttle-bindings",
    tag = "throttles",
    operation_id = "bind_throttle",
    request_body(content = BindBody),
    responses((status = 201, description = "The bindings", body = AllApplied), Errors),
)]
pub(in crate::apig) async fn bind(
    State(surface): State<Arc<Apig>>,
    WholeGateway { call, tenant, .. }: WholeGateway<Write>,
    Json(BindBody { strategy_id, publish_ids }): Json<BindBody>,
) -> Result<Response, ApigError> {
    let id = strategy_id.filter(|id| !id.is_empty()).ok_or(ApigError::Missing("strategy_id"))?;
    let publish_ids = publish_ids.filter(|ids| !ids.is_empty()).ok_or(ApigError::Missing("publish_ids"))?;
    if publish_ids.len() > MAX_BINDINGS {
        return Err(ApigError::Invalid("publish_ids"));
    }
    let actor = call.subscriber(&tenant)?;
    let api = |id: &String| surface.api(id).ok_or_else(|| ApigError::UnknownApi(repeated(id)));
    let apis = publish_ids.iter().map(api).collect::<Result<Vec<_>, _>>()?;
    let throttle = bind_to(&surface, &call, &actor, &tenant, &id, &apis).await?;
    let binding = |api: &RouteName| throttle.bindings.iter().find(|binding| binding.route == *api);
    let applied = apis.iter().filter_map(binding);
    let throttle_applys = applied.map(|binding| Applied::new(call.version, &throttle, binding)).collect();
    show(StatusCode::CREATED, &AllApplied { throttle_applys })
}

/// Unbinds an API from its throttling policy.
#[utoipa::path(
    delete,
    path = "/throttle-bindings/{throttle_binding_id}",
    tag = "throttles",
    operation_id = "unbind_throttle",
    responses((status = 204, description = "Unbound"), Errors),
)]
pub(in crate::apig) async fn unbind(
    State(surface): State<Arc<Apig>>,
    WholeGateway { call, tenant, .. }: WholeGateway<Write>,
) -> Result<Response, ApigError> {
    let id = call.parse_id(call.segment(1)).ok_or(ApigError::UnknownBinding)?;
    match remove_bindings(&surface, &call, &tenant, &[id]).await? {
        1 => Ok(StatusCode::NO_CONTENT.into_response()),
        _ => Err(ApigError::UnknownBinding),
    }
}

/// Unbinds many APIs from their throttling policies.
#[utoipa::path(
    put,
    path = "/throttle-bindings",
    tag = "throttles",
    operation_id = "unbind_throttles",
    params(ActionQuery),
    request_body(content = UnbindBody),
    responses((status = 200, description = "The number of removed bindings, and the failures", body = Unbound), Errors),
)]
pub(in crate::apig) async fn unbind_all(
    State(surface): State<Arc<Apig>>,
    WholeGateway { call, tenant, .. }: WholeGateway<Write>,
    _: Delete,
    Json(UnbindBody { throttle_bindings }): Json<UnbindBody>,
) -> Result<Response, ApigError> {
    let texts = throttle_bindings.unwrap_or_default();
    if texts.len() > MAX_BINDINGS {
        return Err(ApigError::Invalid("throttle_bindings"));
    }
    let all = all_throttles(&surface, &call, &tenant).await?;
    let known = |id: &BindingId| all.iter().flat_map(|it| &it.bindings).any(|binding| binding.id == *id);
    let (mut ids, mut failure) = (Vec::new(), Vec::new());
    for text in &texts {
        match call.parse_id(text).filter(|id| known(id) && !ids.contains(id)) {
            Some(id) => ids.push(id),
            None => failure.push(NotUnbound {
                bind_id: repeated(text),
                error_code: "APIG.3012",
                error_msg: "The request throttling policy binding record does not exist",
            }),
        }
    }
    let success_count = remove_bindings(&surface, &call, &tenant, &ids).await?;
    show(StatusCode::OK, &Unbound { success_count, failure })
}

/// Lists the APIs that a throttling policy is bound to.
#[utoipa::path(
    get,
    path = "/throttle-bindings/binded-apis",
    tag = "throttles",
    operation_id = "list_apis_of_throttle",
    params(PageQuery, ApisQuery),
    responses((status = 200, description = "A page of APIs", body = ApisOfThrottle), Errors),
)]
pub(in crate::apig) async fn apis_of_throttle(
    State(surface): State<Arc<Apig>>,
    WholeGateway { call, tenant, .. }: WholeGateway<Read>,
    Page(page): Page,
    Params(query): Params<ApisQuery>,
) -> Result<Response, ApigError> {
    show_apis(&surface, (&call, &tenant), page, &query, true).await
}

/// Lists the APIs that a throttling policy is not bound to.
#[utoipa::path(
    get,
    path = "/throttle-bindings/unbinded-apis",
    tag = "throttles",
    operation_id = "list_apis_without_throttle",
    params(PageQuery, ApisQuery),
    responses((status = 200, description = "A page of APIs", body = ApisOfThrottle), Errors),
)]
pub(in crate::apig) async fn other_apis(
    State(surface): State<Arc<Apig>>,
    WholeGateway { call, tenant, .. }: WholeGateway<Read>,
    Page(page): Page,
    Params(query): Params<ApisQuery>,
) -> Result<Response, ApigError> {
    show_apis(&surface, (&call, &tenant), page, &query, false).await
}

/// Returns a page of the APIs that a throttling policy is bound to, or of those that it is not bound to.
async fn show_apis(
    surface: &Apig,
    (call, tenant): (&CallContext, &Tenant),
    page: (u64, u32),
    query: &ApisQuery,
    bound: bool,
) -> Result<Response, ApigError> {
    let throttle = find_throttle(surface, call, tenant, query.throttle_id()?).await?;
    let wanted = query.filter()?;
    let is_bound = |api: &RouteName| throttle.bindings.iter().any(|binding| binding.route == *api);
    let mut all: Vec<(&RouteName, Option<&Binding>)> = if bound {
        throttle.bindings.iter().map(|binding| (&binding.route, Some(binding))).collect()
    } else {
        surface.apis.iter().filter(|api| !is_bound(api)).map(|api| (api, None)).collect()
    };
    all.retain(|(api, _)| wanted(api));
    let shown = |(api, binding)| match binding {
        Some(binding) => ApiOfThrottle::bound(call.version, &throttle, binding),
        None => ApiOfThrottle::unbound(api),
    };
    let apis: Vec<_> = page_of(&all, page).iter().copied().map(shown).collect();
    show(StatusCode::OK, &ApisOfThrottle { total: all.len(), size: apis.len(), apis })
}

/// Lists the throttling policy that is bound to an API.
#[utoipa::path(
    get,
    path = "/throttle-bindings/binded-throttles",
    tag = "throttles",
    operation_id = "list_throttles_of_api",
    params(PageQuery, ThrottlesOfQuery),
    responses((status = 200, description = "The throttling policy, or an empty list", body = ThrottlesOfApi), Errors),
)]
pub(in crate::apig) async fn throttles_of_api(
    State(surface): State<Arc<Apig>>,
    WholeGateway { call, tenant, .. }: WholeGateway<Read>,
    Page(page): Page,
    Params(query): Params<ThrottlesOfQuery>,
) -> Result<Response, ApigError> {
    let api = given(query.api_id.as_ref()).ok_or(ApigError::Missing("api_id"))?;
    let api = surface.api(api).ok_or_else(|| ApigError::UnknownApi(repeated(api)))?;
    let name = plain(query.throttle_name.as_ref(), "throttle_name")?;
    let id = given(query.throttle_id.as_ref());
    let id = id.map(|id| call.parse_id(id).ok_or(ApigError::NotSupported("throttle_id"))).transpose()?;
    let all = all_throttles(&surface, &call, &tenant).await?;
    let wanted = |throttle: &&Throttle| {
        id.as_ref().is_none_or(|id| throttle.id == *id)
            && name.as_ref().is_none_or(|text| contains(&throttle.name, text))
            && released(query.env_id.as_ref())
    };
    let bound: Vec<_> = all
        .iter()
        .filter(wanted)
        .filter_map(|throttle| Some((throttle, throttle.bindings.iter().find(|it| it.route == api)?)))
        .collect();
    let throttles: Vec<_> = page_of(&bound, page)
        .iter()
        .map(|(throttle, binding)| ThrottleOfApi::new(call.version, throttle, binding))
        .collect();
    show(StatusCode::OK, &ThrottlesOfApi { total: bound.len(), size: throttles.len(), throttles })
}

/// Binds a throttling policy to these APIs, unbinds all other policies from them, and returns the updated policy.
async fn bind_to(
    surface: &Apig,
    call: &CallContext,
    actor: &Actor,
    tenant: &Tenant,
    id: &str,
    apis: &[RouteName],
) -> Result<Throttle, ApigError> {
    let bind = || async {
        let mut throttle = find_throttle(surface, call, tenant, id).await?;
        let now = surface.clock.now().time;
        for api in apis {
            if !throttle.bindings.iter().any(|binding| binding.route == *api) {
                let (id, route) = (BindingId::random(), api.clone());
                throttle.bindings.push(Binding { id, route, created_at: now });
            }
        }
        let mut changed = Vec::new();
        for mut other in all_throttles(surface, call, tenant).await? {
            let before = other.bindings.len();
            other.bindings.retain(|binding| !apis.contains(&binding.route));
            if other.id != throttle.id && other.bindings.len() < before {
                changed.push(UpdateThrottle(other));
            }
        }
        let last = throttle.id.clone();
        let updates = (changed, UpdateThrottle(throttle));
        let after = put_throttles(surface, call, actor, &last, updates).await?;
        Ok(after.map(|(_, throttle)| throttle))
    };
    retry_conflicts(bind).await
}

/// Removes bindings and returns the number of those that existed.
async fn remove_bindings(
    surface: &Apig,
    call: &CallContext,
    tenant: &Tenant,
    ids: &[BindingId],
) -> Result<usize, ApigError> {
    let unbind = || async {
        let (mut changed, mut gone) = (Vec::new(), 0);
        for mut throttle in all_throttles(surface, call, tenant).await? {
            let before = throttle.bindings.len();
            throttle.bindings.retain(|binding| !ids.contains(&binding.id));
            if throttle.bindings.len() < before {
                gone += before - throttle.bindings.len();
                changed.push(UpdateThrottle(throttle));
            }
        }
        let Some(last) = changed.last().map(|UpdateThrottle(throttle)| throttle.id.clone()) else {
            return Ok(Some(gone));
        };
        Ok(put_throttles(surface, call, call.revoker(), &last, changed).await?.map(|_| gone))
    };
    retry_conflicts(unbind).await
}
