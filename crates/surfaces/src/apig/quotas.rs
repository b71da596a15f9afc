//! Operations on quotas of apps, in V2 only.

pub(super) mod apps;
mod fields;
mod lookup;
mod show;

pub(super) use apps::{bind_quota, bindable_apps, bound_apps, quota_of_app, unbind_quota};

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    auth_request::plain,
    call_context::{CallContext, retry_conflicts},
    error::ApigError,
    extract::{Content, Page, Params, Read, WholeGateway, Write},
    openapi::Errors,
    query::{self, PageQuery, page_of},
    response::show,
    state::Apig,
};
use crate::openapi::schemas;
use fields::{QuotaBody, QuotaFields};
use lookup::{count_bound, find_quota, unknown};
use portcullis::{
    model::{Quota, Tenant},
    registry::{CreateQuota, DeleteQuota, RegistryError, RegistryExt, UpdateQuota},
};
use show::{QuotaInfo, QuotaList};

/// The filter of a list of quotas.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct QuotasQuery {
    /// Only quotas with this text in their name.
    #[param(value_type = schemas::Text, required = false)]
    name: Option<String>,
}

/// Creates a quota of apps.
#[utoipa::path(
    post,
    path = "/app-quotas",
    tag = "app-quotas",
    operation_id = "create_app_quota",
    request_body(content = QuotaBody),
    responses((status = 201, description = "The quota", body = QuotaInfo), Errors),
)]
pub(super) async fn create(
    State(surface): State<Arc<Apig>>,
    WholeGateway { call, tenant, .. }: WholeGateway<Write>,
    Content(content): Content,
) -> Result<Response, ApigError> {
    let fields = QuotaFields::read(&content)?;
    let actor = call.subscriber(&tenant)?;
    let quota = fields.quota(&tenant.id, surface.clock.now().time);
    let create = CreateQuota { quota, most: Some(surface.quotas) };
    let made = surface.registry.run(create, &actor).await;
    let made = made.map_err(|fault| match fault {
        RegistryError::LimitReached(_) => ApigError::TooMany,
        RegistryError::NameTaken => ApigError::QuotaTaken,
        fault => surface.registry_error(fault, call.no_instance()),
    })?;
    show(StatusCode::CREATED, &QuotaInfo::new(call.version, &made, 0))
}

/// Lists quotas, newest first.
#[utoipa::path(
    get,
    path = "/app-quotas",
    tag = "app-quotas",
    operation_id = "list_app_quotas",
    params(PageQuery, QuotasQuery),
    responses((status = 200, description = "A page of quotas", body = QuotaList), Errors),
)]
pub(super) async fn list(
    State(surface): State<Arc<Apig>>,
    WholeGateway { call, tenant, .. }: WholeGateway<Read>,
    Page(page): Page,
    Params(query): Params<QuotasQuery>,
) -> Result<Response, ApigError> {
    let name = plain(query.name.as_ref(), "name")?;
    let all = surface.registry.quotas(&tenant.id).await;
    let mut all = all.map_err(|fault| surface.registry_error(fault, call.no_instance()))?;
    all.retain(|quota| name.as_ref().is_none_or(|text| query::contains(&quota.name, text)));
    let mut quotas = Vec::new();
    for quota in page_of(&all, page) {
        let bound = count_bound(&surface, &call, &tenant, &quota.id).await?;
        quotas.push(QuotaInfo::new(call.version, quota, bound));
    }
    show(StatusCode::OK, &QuotaList { total: all.len(), size: quotas.len(), quotas })
}

/// Returns a quota.
#[utoipa::path(
    get,
    path = "/app-quotas/{app_quota_id}",
    tag = "app-quotas",
    operation_id = "show_app_quota",
    responses((status = 200, description = "The quota", body = QuotaInfo), Errors),
)]
pub(super) async fn read(
    State(surface): State<Arc<Apig>>,
    WholeGateway { call, tenant, .. }: WholeGateway<Read>,
) -> Result<Response, ApigError> {
    let quota = find_quota(&surface, &call, &tenant, call.segment(1)).await?;
    show_quota(&surface, &call, &tenant, &quota).await
}

/// Updates a quota.
#[utoipa::path(
    put,
    path = "/app-quotas/{app_quota_id}",
    tag = "app-quotas",
    operation_id = "update_app_quota",
    request_body(content = QuotaBody),
    responses((status = 200, description = "The quota", body = QuotaInfo), Errors),
)]
pub(super) async fn modify(
    State(surface): State<Arc<Apig>>,
    WholeGateway { call, tenant, .. }: WholeGateway<Write>,
    Content(content): Content,
) -> Result<Response, ApigError> {
    let fields = QuotaFields::read(&content)?;
    let actor = call.subscriber(&tenant)?;
    let update = || async {
        let mut quota = find_quota(&surface, &call, &tenant, call.segment(1)).await?;
        fields.edit(&mut quota);
        match surface.registry.run(UpdateQuota(quota), &actor).await {
            Ok(after) => Ok(Some(after)),
            Err(RegistryError::Conflict) => Ok(None),
            Err(RegistryError::NameTaken) => Err(ApigError::QuotaTaken),
            Err(fault) => Err(surface.registry_error(fault, unknown(&call, call.segment(1)))),
        }
    };
    show_quota(&surface, &call, &tenant, &retry_conflicts(update).await?).await
}

/// Deletes a quota.
///
/// Apps that were bound to it have no quota afterwards.
#[utoipa::path(
    delete,
    path = "/app-quotas/{app_quota_id}",
    tag = "app-quotas",
    operation_id = "delete_app_quota",
    responses((status = 204, description = "Deleted"), Errors),
)]
pub(super) async fn delete(
    State(surface): State<Arc<Apig>>,
    WholeGateway { call, tenant, .. }: WholeGateway<Write>,
) -> Result<Response, ApigError> {
    let missing = || unknown(&call, call.segment(1));
    let id = call.parse_id(call.segment(1)).ok_or_else(missing)?;
    let gone = surface.registry.run(DeleteQuota { tenant: tenant.id, id }, call.revoker()).await;
    gone.map_err(|fault| surface.registry_error(fault, missing()))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn show_quota(
    surface: &Apig,
    call: &CallContext,
    tenant: &Tenant,
    quota: &Quota,
) -> Result<Response, ApigError> {
    let bound = count_bound(surface, call, tenant, &quota.id).await?;
    show(StatusCode::OK, &QuotaInfo::new(call.version, quota, bound))
}
