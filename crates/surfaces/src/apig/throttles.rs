//! Operations on throttling policies.

pub(super) mod bindings;
mod fields;
mod lookup;
mod show;
pub(super) mod specials;

pub(super) use bindings::{apis_of_throttle, bind, other_apis, throttles_of_api, unbind, unbind_all};
pub(super) use specials::{create_special, delete_special, list_specials, modify_special};

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;

use super::{
    error::ApigError,
    extract::{Content, Page, Params, Read, WholeGateway, Write},
    openapi::Errors,
    query::{PageQuery, page_of},
    response::show,
    state::Apig,
};
use fields::{ThrottleBody, ThrottleFields, ThrottlesQuery};
use lookup::{all_throttles, edit_throttle, find_throttle, unknown};
use portcullis::{
    model::Throttle,
    registry::{CreateThrottle, DeleteThrottle, RegistryError, RegistryExt},
};
use show::{ThrottleInfo, ThrottleList};

/// Creates a throttling policy.
#[utoipa::path(
    post,
    path = "/throttles",
    tag = "throttles",
    operation_id = "create_throttle",
    request_body(content = ThrottleBody),
    responses((status = 201, description = "The throttling policy", body = ThrottleInfo), Errors),
)]
pub(super) async fn create(
    State(surface): State<Arc<Apig>>,
    WholeGateway { call, tenant, .. }: WholeGateway<Write>,
    Content(content): Content,
) -> Result<Response, ApigError> {
    let fields = ThrottleFields::read(&content, call.version)?;
    let actor = call.subscriber(&tenant)?;
    let throttle = fields.throttle(&tenant.id, surface.clock.now().time)?;
    let create = CreateThrottle { throttle, most: Some(surface.throttles) };
    let made = surface.registry.run(create, &actor).await;
    let made = made.map_err(|fault| match fault {
        RegistryError::LimitReached(_) => ApigError::FullOfThrottles,
        RegistryError::NameTaken => ApigError::ThrottleTaken,
        fault => surface.registry_error(fault, call.no_instance()),
    })?;
    show(StatusCode::CREATED, &ThrottleInfo::new(call.version, &made))
}

/// Lists throttling policies, newest first.
#[utoipa::path(
    get,
    path = "/throttles",
    tag = "throttles",
    operation_id = "list_throttles",
    params(PageQuery, ThrottlesQuery),
    responses((status = 200, description = "A page of throttling policies", body = ThrottleList), Errors),
)]
pub(super) async fn list(
    State(surface): State<Arc<Apig>>,
    WholeGateway { call, tenant, .. }: WholeGateway<Read>,
    Page(page): Page,
    Params(query): Params<ThrottlesQuery>,
) -> Result<Response, ApigError> {
    let wanted = query.filter(&call)?;
    let mut all = all_throttles(&surface, &call, &tenant).await?;
    all.retain(wanted);
    let throttles: Vec<_> =
        page_of(&all, page).iter().map(|throttle| ThrottleInfo::new(call.version, throttle)).collect();
    show(StatusCode::OK, &ThrottleList { total: all.len(), size: throttles.len(), throttles })
}

/// Returns a throttling policy.
#[utoipa::path(
    get,
    path = "/throttles/{throttle_id}",
    tag = "throttles",
    operation_id = "show_throttle",
    responses((status = 200, description = "The throttling policy", body = ThrottleInfo), Errors),
)]
pub(super) async fn read(
    State(surface): State<Arc<Apig>>,
    WholeGateway { call, tenant, .. }: WholeGateway<Read>,
) -> Result<Response, ApigError> {
    let throttle = find_throttle(&surface, &call, &tenant, call.segment(1)).await?;
    show(StatusCode::OK, &ThrottleInfo::new(call.version, &throttle))
}

/// Updates a throttling policy.
#[utoipa::path(
    put,
    path = "/throttles/{throttle_id}",
    tag = "throttles",
    operation_id = "update_throttle",
    request_body(content = ThrottleBody),
    responses((status = 200, description = "The throttling policy", body = ThrottleInfo), Errors),
)]
pub(super) async fn modify(
    State(surface): State<Arc<Apig>>,
    WholeGateway { call, tenant, .. }: WholeGateway<Write>,
    Content(content): Content,
) -> Result<Response, ApigError> {
    let fields = ThrottleFields::read(&content, call.version)?;
    let actor = call.subscriber(&tenant)?;
    let edit = |throttle: &mut Throttle| fields.edit(throttle);
    let after = edit_throttle(&surface, &call, &actor, &tenant, call.segment(1), edit).await?;
    show(StatusCode::OK, &ThrottleInfo::new(call.version, &after))
}

/// Deletes a throttling policy. It must not be bound to an API.
#[utoipa::path(
    delete,
    path = "/throttles/{throttle_id}",
    tag = "throttles",
    operation_id = "delete_throttle",
    responses((status = 204, description = "Deleted"), Errors),
)]
pub(super) async fn delete(
    State(surface): State<Arc<Apig>>,
    WholeGateway { call, tenant, .. }: WholeGateway<Write>,
) -> Result<Response, ApigError> {
    let missing = || unknown(&call, call.segment(1));
    let id = call.parse_id(call.segment(1)).ok_or_else(missing)?;
    let delete = DeleteThrottle { tenant: tenant.id, id, expected: None };
    let gone = surface.registry.run(delete, call.revoker()).await;
    gone.map_err(|fault| match fault {
        RegistryError::InUse => ApigError::ThrottleBound,
        fault => surface.registry_error(fault, missing()),
    })?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
