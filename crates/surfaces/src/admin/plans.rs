//! The plan endpoints.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    etag::{self, ETag},
    extract::{Authorized, PageParameters},
    openapi,
    page::Page,
    response::{ApiResponse, ErrorResponse},
    roles::{Owner, ReadOnly},
    state::Surface,
};
use crate::{
    json::{self, FieldErrors},
    non_null,
    openapi::schemas,
};
use portcullis::{
    Denial,
    model::{self, Entity, InvalidPlan, MAX_LIMITS, PlanId, WindowGuarantee},
    registry::{AssertUnchanged, CreatePlan, DeletePlan, PutPlan, RegistryError},
};

/// A named set of rate limits for callers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Plan {
    /// The id, which is also the name.
    id: String,
    /// The limits, all of which apply. Without limits, the plan is unlimited.
    limits: Vec<Limit>,
}

/// A limit on the number of requests in each window.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Limit {
    /// The name of the limit in `RateLimit-Policy`.
    name: String,
    /// The number of requests in a window.
    quota: u32,
    /// The length of the window, in seconds.
    window: u32,
    /// The number of requests that may come at once.
    burst: u32,
    /// The guarantee for each window: the quota holds on average, or is never exceeded.
    #[schema(value_type = schemas::WindowGuarantee)]
    promise: WindowGuarantee,
}

/// A new plan.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPlan {
    /// The id in the path. May be absent.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = schemas::Id, required = false)]
    id: Option<PlanId>,
    /// The limits: at most 8, with different names.
    #[schema(max_items = 8)]
    limits: Vec<NewLimit>,
}

/// A limit of a new plan.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewLimit {
    /// The name: 1 to 32 characters of `a-z A-Z 0-9 - _ .`.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,32}$")]
    name: String,
    /// The number of requests in a window, at least 1.
    #[schema(value_type = u64, minimum = 1, maximum = 4_294_967_295u64)]
    quota: u32,
    /// The length of the window in seconds, from 1 second to 366 days.
    #[schema(minimum = 1, maximum = 31_622_400)]
    window: u32,
    /// The number of requests that may come at once. Defaults to the quota, or to half of it for the promise
    /// `ceiling`.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = u64, required = false, minimum = 1, maximum = 4_294_967_295u64)]
    burst: Option<u32>,
    /// The guarantee for each window. Defaults to `average`.
    #[serde(default)]
    #[schema(value_type = schemas::WindowGuarantee)]
    promise: WindowGuarantee,
}

impl From<model::Plan> for Plan {
    fn from(plan: model::Plan) -> Self {
        let limit = |limit: &model::Limit| Limit {
            name: limit.name().to_owned(),
            quota: limit.quota(),
            window: limit.window(),
            burst: limit.burst_size(),
            promise: limit.promise(),
        };
        Self { id: plan.id().to_string(), limits: plan.limits().iter().map(limit).collect() }
    }
}

/// Returns the invalid member of a limit, as the end of a pointer.
fn member(why: &InvalidPlan) -> &'static str {
    match why {
        InvalidPlan::Name | InvalidPlan::DuplicateName(_) => "/name",
        InvalidPlan::Quota => "/quota",
        InvalidPlan::Window => "/window",
        InvalidPlan::Burst => "/burst",
        InvalidPlan::TooSlow | InvalidPlan::TooManyLimits => "",
    }
}

impl NewPlan {
    fn checked(self, id: PlanId) -> Result<model::Plan, ErrorResponse> {
        let mut checks = FieldErrors::default();
        checks.ensure(self.id.as_ref().is_none_or(|own| *own == id), "#/id", "must be the id in the path");
        let count = self.limits.len();
        checks.ensure(count <= MAX_LIMITS, "#/limits", InvalidPlan::TooManyLimits.to_string());
        let mut limits: Vec<model::Limit> = Vec::new();
        for (at, new) in self.limits.into_iter().take(MAX_LIMITS).enumerate() {
            let burst = new.burst.unwrap_or(new.promise.usual_burst(new.quota));
            let twice = limits.iter().any(|other| other.name() == new.name);
            let limit = model::Limit::new(new.name, new.quota, new.window, burst, new.promise);
            match limit {
                Ok(limit) if !twice => limits.push(limit),
                Ok(_) => checks.ensure(false, format!("#/limits/{at}/name"), "another limit has this name"),
                Err(why) => {
                    checks.ensure(false, format!("#/limits/{at}{}", member(&why)), why.to_string());
                }
            }
        }
        checks.finish()?;
        model::Plan::new(id, limits)
            .map_err(|why| Denial::Unprocessable { detail: why.to_string().into() }.into())
    }
}

/// List plans
#[utoipa::path(
    get,
    path = "/plans",
    tag = "plans",
    operation_id = "list_plans",
    params(openapi::Paging),
    responses(openapi::OkPage<Plan>, openapi::CommonErrors),
)]
pub(super) async fn list(
    State(surface): State<Arc<Surface>>,
    Authorized { query, .. }: Authorized<ReadOnly, PageParameters>,
) -> Result<ApiResponse, ErrorResponse> {
    let (limit, after) = (query.limit()?, query.after::<PlanId>()?);
    let found = surface.admin.registry.plans(after.as_ref(), limit + 1).await;
    let found = found.map_err(|fault| surface.registry_error(fault))?;
    let page = Page::from_parts(&query, limit, found, |last| last.id().to_string());
    Ok(ApiResponse::page(&page.map(Plan::from)))
}

/// Get a plan
#[utoipa::path(
    get,
    path = "/plans/{plan}",
    tag = "plans",
    operation_id = "read_plan",
    params(openapi::IfNoneMatch),
    responses(openapi::OkResource<Plan>, openapi::CommonErrors, openapi::NotFound),
)]
pub(super) async fn read(
    State(surface): State<Arc<Surface>>,
    Authorized { call, .. }: Authorized<ReadOnly>,
) -> Result<ApiResponse, ErrorResponse> {
    let found = surface.admin.registry.plan(&call.path_id()?).await;
    let plan = Plan::from(found.map_err(|fault| surface.registry_error(fault))?);
    Ok(ApiResponse::conditional(&ETag::content(&plan), &call.headers, || ApiResponse::ok(&plan)))
}

/// Create or replace a plan
///
/// A plan that the gateway's configuration defines can be changed only there (409). Requires the role `owner`.
#[utoipa::path(
    put,
    path = "/plans/{plan}",
    tag = "plans",
    operation_id = "put_plan",
    params(openapi::IfMatch, openapi::LockToken, openapi::IfNoneMatch),
    request_body(content = NewPlan, content_type = "application/json"),
    responses(openapi::Updated<Plan>, openapi::CreatedAtTarget<Plan>, openapi::CommonErrors, openapi::NotFound, openapi::UpdateErrors),
)]
pub(super) async fn put(
    State(surface): State<Arc<Surface>>,
    Authorized { call, .. }: Authorized<Owner>,
) -> Result<ApiResponse, ErrorResponse> {
    let id: PlanId = call.path_id()?;
    surface.admin.defined_plans.check_not_defined(&id)?;
    let before = match surface.admin.registry.plan(&id).await {
        Ok(plan) => Some(plan),
        Err(RegistryError::NotFound) => None,
        Err(fault) => return Err(surface.registry_error(fault)),
    };
    let status = if before.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    let plan = match before {
        Some(_) if etag::if_none_match_any(&call.headers) => {
            let detail = "The plan exists, and If-None-Match excludes that.";
            return Err(Denial::PreconditionFailed { detail: detail.into() }.into());
        }
        Some(plan) => {
            ETag::content(&Plan::from(plan.clone())).check_if_match(&call.headers)?;
            let put = PutPlan(json::read::<NewPlan>(&call.content)?.checked(id)?);
            let (_, plan) = surface.change(&call, (AssertUnchanged(Entity::Plan(plan)), put)).await?;
            plan
        }
        // A plan that does not exist has no tag, so `If-Match` cannot match.
        None if call.headers.contains_key(http::header::IF_MATCH) => {
            return Err(etag::precondition_failed().into());
        }
        None => {
            let create = CreatePlan(json::read::<NewPlan>(&call.content)?.checked(id)?);
            surface.change(&call, create).await?
        }
    };
    let plan = Plan::from(plan);
    Ok(ApiResponse::document(status, &plan).with_etag(&ETag::content(&plan)))
}

/// Delete a plan
///
/// No caller may be on the plan. A plan that the gateway's configuration defines cannot be deleted here (409).
/// Requires the role `owner`.
#[utoipa::path(
    delete,
    path = "/plans/{plan}",
    tag = "plans",
    operation_id = "delete_plan",
    params(openapi::IfMatch, openapi::LockToken),
    responses(openapi::NoContent, openapi::CommonErrors, openapi::NotFound, openapi::UpdateErrors)
)]
pub(super) async fn delete(
    State(surface): State<Arc<Surface>>,
    Authorized { call, .. }: Authorized<Owner>,
) -> Result<ApiResponse, ErrorResponse> {
    let id: PlanId = call.path_id()?;
    surface.admin.defined_plans.check_not_defined(&id)?;
    let before = surface.admin.registry.plan(&id).await.map_err(|fault| surface.registry_error(fault))?;
    ETag::content(&Plan::from(before.clone())).check_if_match(&call.headers)?;
    surface.change(&call, (AssertUnchanged(Entity::Plan(before)), DeletePlan(id))).await?;
    Ok(ApiResponse::no_content())
}
