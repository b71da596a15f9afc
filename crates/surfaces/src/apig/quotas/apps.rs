//! Bindings of quotas to apps. An app has at most one quota.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{
    lookup::{count_bound, find_quota, no_quota_came, unknown},
    show::{NoQuota, QuotaApp, QuotaApplies, QuotaApply, QuotaApps, QuotaInfo, QuotaOfApp},
};
use crate::{
    apig::{
        auth_request::plain,
        call_context::{CallContext, retry_conflicts},
        error::ApigError,
        extract::{ExistingApp, Json, Params, Read, WholeGateway, Write},
        openapi::Errors,
        query::{self, PageQuery},
        response::{app_of, show},
        state::Apig,
    },
    openapi::schemas,
};
use portcullis::{
    model::{BoundQuota, Caller, CallerEdit, CallerId, Quota, QuotaId, Tenant},
    registry::{CallerFilter, Order, RegistryError, RegistryExt, UpdateCaller},
};

/// The most apps in one request.
const MAX_APPS: usize = 500;

/// The request to bind a quota to apps.
#[derive(Deserialize, ToSchema)]
#[schema(as = BindQuotaBody)]
pub(in crate::apig) struct BindBody {
    /// The ids of the apps.
    #[serde(default)]
    #[schema(value_type = Vec<schemas::Id>, required = true, min_items = 1, max_items = 500)]
    app_ids: Option<Vec<String>>,
}

/// The filter of a list of apps.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::apig) struct AppsQuery {
    /// Only apps with this text in their name.
    #[param(value_type = schemas::Text, required = false)]
    app_name: Option<String>,
}

/// Binds a quota to apps.
///
/// The quota is bound to all of the apps or to none. It replaces another quota of an app.
#[utoipa::path(
    post,
    path = "/app-quotas/{app_quota_id}/binding-apps",
    tag = "app-quotas",
    operation_id = "bind_app_quota",
    request_body(content = BindBody),
    responses((status = 201, description = "The bindings", body = QuotaApplies), Errors),
)]
pub(in crate::apig) async fn bind_quota(
    State(surface): State<Arc<Apig>>,
    WholeGateway { call, tenant, .. }: WholeGateway<Write>,
    Json(BindBody { app_ids }): Json<BindBody>,
) -> Result<Response, ApigError> {
    let texts = app_ids.filter(|ids| !ids.is_empty()).ok_or(ApigError::Missing("app_ids"))?;
    if texts.len() > MAX_APPS {
        return Err(ApigError::Invalid("app_ids"));
    }
    let actor = call.subscriber(&tenant)?;
    let quota = find_quota(&surface, &call, &tenant, call.segment(1)).await?;
    let mut apps: Vec<Caller> = Vec::with_capacity(texts.len());
    for text in &texts {
        let id: CallerId = call.parse_id(text).ok_or_else(|| call.no_app(text))?;
        if !apps.iter().any(|app| app.id == id) {
            apps.push(surface.find(&tenant, &id, &call).await?);
        }
    }
    let now = surface.clock.now().time;
    let bind = |app: &Caller| {
        let has = app.app().and_then(|app| app.quota.clone()).filter(|bound| bound.id == quota.id);
        let bound = has.unwrap_or(BoundQuota { id: quota.id.clone(), bound_at: now });
        edit(&tenant, &app.id, None, Some(bound))
    };
    let binds: Vec<_> = apps.iter().map(bind).collect();
    let bound = surface.registry.run(binds, &actor).await;
    // The quota or an app was deleted since it was found above. The registry does not say which one; the client learns
    // it by repeating the request.
    let bound = bound.map_err(|fault| surface.registry_error(fault, unknown(&call, call.segment(1))))?;
    let mut applies = Vec::with_capacity(bound.len());
    for app in &bound {
        let has = app_of(app)?.quota.as_ref().ok_or_else(no_quota_came)?;
        applies.push(QuotaApply::new(call.version, app, has));
    }
    show(StatusCode::CREATED, &QuotaApplies { applies })
}

fn edit(tenant: &Tenant, app: &CallerId, expected: Option<u64>, quota: Option<BoundQuota>) -> UpdateCaller {
    UpdateCaller {
        tenant: tenant.id.clone(),
        id: app.clone(),
        expected,
        edit: CallerEdit { quota: Some(quota), ..CallerEdit::default() },
    }
}

/// Unbinds an app from its quota.
#[utoipa::path(
    delete,
    path = "/app-quotas/{app_quota_id}/bound-apps/{app_id}",
    tag = "app-quotas",
    operation_id = "unbind_app_quota",
    responses((status = 204, description = "Unbound"), Errors),
)]
pub(in crate::apig) async fn unbind_quota(
    State(surface): State<Arc<Apig>>,
    WholeGateway { call, tenant, .. }: WholeGateway<Write>,
) -> Result<Response, ApigError> {
    let quota = find_quota(&surface, &call, &tenant, call.segment(1)).await?;
    let text = call.segment(3);
    let missing = || call.no_app(text);
    let id: CallerId = call.parse_id(text).ok_or_else(missing)?;
    let unbind = || async {
        let app = surface.find(&tenant, &id, &call).await?;
        // For this quota, an app that is not bound to it does not exist.
        app_of(&app)?.quota.as_ref().filter(|bound| bound.id == quota.id).ok_or_else(missing)?;
        let unbind = edit(&tenant, &id, Some(app.revision), None);
        match surface.registry.run(unbind, call.revoker()).await {
            Ok(_) => Ok(Some(())),
            Err(RegistryError::Conflict) => Ok(None),
            Err(fault) => Err(surface.registry_error(fault, missing())),
        }
    };
    retry_conflicts(unbind).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Lists the apps that are bound to a quota.
#[utoipa::path(
    get,
    path = "/app-quotas/{app_quota_id}/bound-apps",
    tag = "app-quotas",
    operation_id = "list_apps_with_quota",
    params(PageQuery, AppsQuery),
    responses((status = 200, description = "A page of apps", body = QuotaApps), Errors),
)]
pub(in crate::apig) async fn bound_apps(
    State(surface): State<Arc<Apig>>,
    call: CallContext,
    Params(page): Params<PageQuery>,
    Params(filter): Params<AppsQuery>,
    WholeGateway { tenant, .. }: WholeGateway<Read>,
) -> Result<Response, ApigError> {
    let quota = find_quota(&surface, &call, &tenant, call.segment(1)).await?;
    apps_with(&surface, &call, &tenant, (page, filter), Some(&quota)).await
}

/// Lists the apps that a quota can be bound to.
///
/// These are the apps without a quota.
#[utoipa::path(
    get,
    path = "/app-quotas/{app_quota_id}/bindable-apps",
    tag = "app-quotas",
    operation_id = "list_apps_without_quota",
    params(PageQuery, AppsQuery),
    responses((status = 200, description = "A page of apps", body = QuotaApps), Errors),
)]
pub(in crate::apig) async fn bindable_apps(
    State(surface): State<Arc<Apig>>,
    call: CallContext,
    Params(page): Params<PageQuery>,
    Params(filter): Params<AppsQuery>,
    WholeGateway { tenant, .. }: WholeGateway<Read>,
) -> Result<Response, ApigError> {
    find_quota(&surface, &call, &tenant, call.segment(1)).await?;
    apps_with(&surface, &call, &tenant, (page, filter), None).await
}

/// Returns the quota of an app.
///
/// The response for an app without a quota is an empty object.
#[utoipa::path(
    get,
    path = "/apps/{app_id}/bound-quota",
    tag = "app-quotas",
    operation_id = "show_quota_of_app",
    responses((status = 200, description = "The quota, or an empty object", body = QuotaOfApp), Errors),
)]
pub(in crate::apig) async fn quota_of_app(
    State(surface): State<Arc<Apig>>,
    ExistingApp { call, tenant, app, .. }: ExistingApp<Read>,
) -> Result<Response, ApigError> {
    match &app_of(&app)?.quota {
        None => show(StatusCode::OK, &QuotaOfApp::None(NoQuota {})),
        Some(bound) => {
            let quota = find_quota(&surface, &call, &tenant, bound.id.as_str()).await?;
            let count = count_bound(&surface, &call, &tenant, &quota.id).await?;
            show(StatusCode::OK, &QuotaOfApp::Bound(QuotaInfo::new(call.version, &quota, count)))
        }
    }
}

/// Returns a page of the apps with a quota, or of the apps without any quota.
async fn apps_with(
    surface: &Apig,
    call: &CallContext,
    tenant: &Tenant,
    (page, filter): (PageQuery, AppsQuery),
    quota: Option<&Quota>,
) -> Result<Response, ApigError> {
    let (offset, limit) = page.page(call.version)?;
    let contains = plain(filter.app_name.as_ref(), "app_name")?;
    let id: Option<QuotaId> = quota.map(|quota| quota.id.clone());
    let filter = CallerFilter {
        quota: Some(id),
        contains,
        order: Order::Newest,
        offset,
        limit,
        ..query::apps(&tenant.id)
    };
    let refuse = |fault| surface.registry_error(fault, call.no_instance());
    let total = surface.registry.count_callers(&filter).await.map_err(refuse)?;
    let apps = surface.registry.callers(&filter).await.map_err(refuse)?;
    let apps = apps.iter().map(|app| QuotaApp::new(call.version, app, quota));
    let apps = apps.collect::<Result<Vec<_>, _>>()?;
    show(StatusCode::OK, &QuotaApps { total, size: apps.len(), apps })
}
