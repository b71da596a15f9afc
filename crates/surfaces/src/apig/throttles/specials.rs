//! Excluded configurations: limits for an app or a user that replace those of a throttling policy.

mod wire;

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;

use super::lookup::{edit_throttle, find_throttle};
use crate::apig::{
    auth_request::{given, plain},
    call_context::CallContext,
    error::ApigError,
    extract::{Content, Json, Page, Params, Read, WholeGateway, Write},
    openapi::Errors,
    query::{self, PageQuery, contains, page_of},
    request::count,
    response::show,
    state::Apig,
    version::Version,
};
use portcullis::{
    model::{CallerId, OverrideSubject, SpecialId, Tenant, Throttle, ThrottleOverride},
    registry::CallerFilter,
};

use wire::{LimitBody, Named, SpecialBody, SpecialInfo, SpecialList, SpecialsQuery, WantedSpecial, show_one};

/// The most excluded apps of a throttling policy, and the most excluded users.
const MAX_OVERRIDES: usize = 30;

/// Creates an excluded configuration: another limit for an app or a user.
///
/// The throttling policy is named in the body in V1, and in the path in V2.
#[utoipa::path(
    post,
    path = "/throttles/{throttle_id}/throttle-specials",
    tag = "throttles",
    operation_id = "create_throttle_special",
    request_body(content = SpecialBody),
    responses((status = 201, description = "The excluded configuration", body = SpecialInfo), Errors),
)]
pub(in crate::apig) async fn create_special(
    State(surface): State<Arc<Apig>>,
    WholeGateway { call, tenant, .. }: WholeGateway<Write>,
    Content(content): Content,
) -> Result<Response, ApigError> {
    let WantedSpecial { throttle, id, kind, limit } = WantedSpecial::read(&content, &call)?;
    let actor = call.subscriber(&tenant)?;
    find_throttle(&surface, &call, &tenant, &throttle).await?;
    let (of, name) = subject(&surface, &call, &tenant, &id, &kind).await?;
    let special =
        ThrottleOverride { id: SpecialId::random(), of, limit, created_at: surface.clock.now().time };
    let add = |throttle: &mut Throttle| add(throttle, &special);
    let after = edit_throttle(&surface, &call, &actor, &tenant, &throttle, add).await?;
    show(StatusCode::CREATED, &show_one(call.version, &after, &(special, name)))
}

fn add(throttle: &mut Throttle, special: &ThrottleOverride) -> Result<(), ApigError> {
    if throttle.specials.iter().any(|other| other.of == special.of) {
        return Err(ApigError::SpecialTaken);
    }
    let alike = |other: &&ThrottleOverride| is_app(other) == is_app(special);
    if throttle.specials.iter().filter(alike).count() >= MAX_OVERRIDES {
        return Err(ApigError::TooMany);
    }
    throttle.specials.push(special.clone());
    Ok(())
}

fn is_app(special: &ThrottleOverride) -> bool {
    matches!(special.of, OverrideSubject::App(_))
}

/// Lists the excluded configurations of a throttling policy.
#[utoipa::path(
    get,
    path = "/throttles/{throttle_id}/throttle-specials",
    tag = "throttles",
    operation_id = "list_throttle_specials",
    params(PageQuery, SpecialsQuery),
    responses((status = 200, description = "A page of excluded configurations", body = SpecialList), Errors),
)]
pub(in crate::apig) async fn list_specials(
    State(surface): State<Arc<Apig>>,
    WholeGateway { call, tenant, .. }: WholeGateway<Read>,
    Page(page): Page,
    Params(query): Params<SpecialsQuery>,
) -> Result<Response, ApigError> {
    let throttle = find_throttle(&surface, &call, &tenant, call.segment(1)).await?;
    let (kind, member) = match call.version {
        Version::One => (given(query.instance_type.as_ref()), "instance_type"),
        Version::Two => (given(query.object_type.as_ref()), "object_type"),
    };
    if kind.is_some_and(|kind| kind != "APP" && kind != "USER") {
        return Err(ApigError::NotSupported(member));
    }
    let app_name = plain(query.app_name.as_ref(), "app_name")?;
    let user = plain(query.user.as_ref(), "user")?;
    let named = with_names(&surface, &call, &tenant, &throttle).await?;
    let wanted = |(special, name): &&Named| {
        let app = is_app(special);
        kind.is_none_or(|kind| (kind == "APP") == app)
            && app_name.as_ref().is_none_or(|text| app && contains(name, text))
            && user.as_ref().is_none_or(|text| !app && contains(name, text))
    };
    let found: Vec<_> = named.iter().rev().filter(wanted).collect();
    let throttle_specials: Vec<_> =
        page_of(&found, page).iter().map(|named| show_one(call.version, &throttle, named)).collect();
    show(
        StatusCode::OK,
        &SpecialList { total: found.len(), size: throttle_specials.len(), throttle_specials },
    )
}

/// Updates an excluded configuration.
#[utoipa::path(
    put,
    path = "/throttles/{throttle_id}/throttle-specials/{special_id}",
    tag = "throttles",
    operation_id = "update_throttle_special",
    request_body(content = LimitBody),
    responses((status = 200, description = "The excluded configuration", body = SpecialInfo), Errors),
)]
pub(in crate::apig) async fn modify_special(
    State(surface): State<Arc<Apig>>,
    WholeGateway { call, tenant, .. }: WholeGateway<Write>,
    Json(LimitBody { call_limits }): Json<LimitBody>,
) -> Result<Response, ApigError> {
    let limit = count(call_limits.ok_or(ApigError::Missing("call_limits"))?, "call_limits")?;
    let actor = call.subscriber(&tenant)?;
    let id: SpecialId = call.parse_id(call.segment(3)).ok_or(ApigError::UnknownSpecial)?;
    let edit = |throttle: &mut Throttle| {
        let special = throttle.specials.iter_mut().find(|special| special.id == id);
        special.ok_or(ApigError::UnknownSpecial)?.limit = limit;
        Ok(())
    };
    let after = edit_throttle(&surface, &call, &actor, &tenant, call.segment(1), edit).await?;
    let named = with_names(&surface, &call, &tenant, &after).await?;
    let named = named.iter().find(|(special, _)| special.id == id).ok_or(ApigError::UnknownSpecial)?;
    show(StatusCode::OK, &show_one(call.version, &after, named))
}

/// Deletes an excluded configuration.
#[utoipa::path(
    delete,
    path = "/throttles/{throttle_id}/throttle-specials/{special_id}",
    tag = "throttles",
    operation_id = "delete_throttle_special",
    responses((status = 204, description = "Deleted"), Errors),
)]
pub(in crate::apig) async fn delete_special(
    State(surface): State<Arc<Apig>>,
    WholeGateway { call, tenant, .. }: WholeGateway<Write>,
) -> Result<Response, ApigError> {
    let id: SpecialId = call.parse_id(call.segment(3)).ok_or(ApigError::UnknownSpecial)?;
    let edit = |throttle: &mut Throttle| {
        let before = throttle.specials.len();
        throttle.specials.retain(|special| special.id != id);
        if throttle.specials.len() < before { Ok(()) } else { Err(ApigError::UnknownSpecial) }
    };
    edit_throttle(&surface, &call, call.revoker(), &tenant, call.segment(1), edit).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Returns the object that a body names, and its name: an app of the gateway, or the gateway's only user.
async fn subject(
    surface: &Apig,
    call: &CallContext,
    tenant: &Tenant,
    id: &str,
    kind: &str,
) -> Result<(OverrideSubject, String), ApigError> {
    let (id_member, kind_member) = match call.version {
        Version::One => ("instance_id", "instance_type"),
        Version::Two => ("object_id", "object_type"),
    };
    match kind {
        "APP" => {
            let app: CallerId = call.parse_id(id).ok_or_else(|| call.no_app(id))?;
            let caller = surface.find(tenant, &app, call).await?;
            Ok((OverrideSubject::App(app), caller.name))
        }
        "USER" if id == call.project => Ok((OverrideSubject::User(id.to_owned()), id.to_owned())),
        "USER" => Err(ApigError::NotSupported(id_member)),
        _ => Err(ApigError::UnknownValue(kind_member)),
    }
}

/// Returns all excluded configurations of a throttling policy, each with the name of its object.
async fn with_names(
    surface: &Apig,
    call: &CallContext,
    tenant: &Tenant,
    throttle: &Throttle,
) -> Result<Vec<Named>, ApigError> {
    let app = |special: &ThrottleOverride| match &special.of {
        OverrideSubject::App(id) => Some(id.clone()),
        OverrideSubject::User(_) => None,
    };
    let among: Vec<_> = throttle.specials.iter().filter_map(app).collect();
    let limit = u32::try_from(among.len()).unwrap_or(u32::MAX);
    let apps = CallerFilter { among: Some(among), limit, ..query::apps(&tenant.id) };
    let apps = surface.registry.callers(&apps).await;
    let apps = apps.map_err(|fault| surface.registry_error(fault, call.no_instance()))?;
    let name = |special: &ThrottleOverride| match &special.of {
        OverrideSubject::App(id) => apps.iter().find(|app| app.id == *id).map(|app| app.name.clone()),
        OverrideSubject::User(id) => Some(id.clone()),
    };
    // Configurations of apps that were deleted in the meantime are left out.
    let specials = throttle.specials.iter();
    Ok(specials.filter_map(|special| Some((special.clone(), name(special)?))).collect())
}
