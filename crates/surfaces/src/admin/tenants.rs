//! The tenant endpoints.

use std::sync::Arc;

use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    etag::ETag,
    extract::{Authorized, Parameters},
    openapi,
    page::Page,
    response::{ApiResponse, ErrorResponse},
    roles::{Owner, ReadOnly},
    state::Surface,
    validation::check_name,
};
use crate::{
    json::{self, FieldErrors},
    non_null,
    openapi::schemas,
};
use portcullis::{
    model::{self, SubscriptionStatus, TenantEdit, TenantId},
    registry::{self, CreateTenant, DeleteTenant, TenantFilter, UpdateTenant},
};

/// Default maximum number of callers of each kind in a tenant.
const CALLERS: u32 = 50;

/// A customer. Tenants cannot see each other's data.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Tenant {
    /// The unique id; not a secret.
    id: String,
    /// The name, for people.
    name: String,
    /// The APIG gateway that the tenant represents, if any.
    #[schema(required)]
    gateway: Option<Gateway>,
    /// The state of the tenant's subscription.
    #[schema(value_type = schemas::SubscriptionStatus)]
    subscription: SubscriptionStatus,
    /// The maximum number of callers of each kind.
    max_callers: u32,
    /// The revision: the value of the `ETag`, incremented by every change.
    revision: u64,
    /// The time of creation.
    created_at: Timestamp,
    /// The time of the last change.
    updated_at: Timestamp,
}

/// The APIG gateway that a tenant represents.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Gateway {
    /// The project id in paths; 1 to 64 characters of `A-Z a-z 0-9 - _ .`.
    #[schema(value_type = schemas::Id)]
    project_id: String,
    /// The id of the dedicated gateway within the project; 1 to 64 characters of `A-Z a-z 0-9 - _ .`.
    #[schema(value_type = schemas::Id)]
    instance_id: String,
    /// Whether operators may choose the `AppKey` and the `AppSecret` of an app.
    #[serde(default)]
    custom_keys: bool,
}

/// A new tenant.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTenant {
    /// The id. Defaults to a random id.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = schemas::Id, required = false)]
    id: Option<TenantId>,
    /// The name, for people; 1 to 255 printable characters.
    #[schema(value_type = schemas::Name)]
    name: String,
    /// The APIG gateway that the tenant represents, if any.
    #[serde(default)]
    gateway: Option<Gateway>,
    /// The state of the tenant's subscription. Defaults to `active`.
    #[serde(default)]
    #[schema(value_type = schemas::SubscriptionStatus)]
    subscription: SubscriptionStatus,
    /// The maximum number of callers of each kind. Defaults to 50.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = schemas::Number, required = false)]
    max_callers: Option<u32>,
}

/// Changes to a tenant. Absent members stay unchanged.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TenantPatch {
    /// The new name.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = schemas::Name, required = false)]
    name: Option<String>,
    /// The new state of the subscription.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = schemas::SubscriptionStatus, required = false)]
    subscription: Option<SubscriptionStatus>,
    /// The new maximum number of callers of each kind. Existing callers remain.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = schemas::Number, required = false)]
    max_callers: Option<u32>,
    /// Changes to the APIG gateway; only for a tenant that represents one.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = GatewayPatch, required = false)]
    gateway: Option<GatewayPatch>,
}

/// Changes to an APIG gateway. The project and the instance cannot be changed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GatewayPatch {
    /// Whether operators may choose the `AppKey` and the `AppSecret` of an app. Existing ones remain.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = bool, required = false)]
    custom_keys: Option<bool>,
}

impl From<model::Tenant> for Tenant {
    fn from(tenant: model::Tenant) -> Self {
        Self {
            id: tenant.id.to_string(),
            name: tenant.name,
            gateway: tenant.gateway.map(|gateway| Gateway {
                project_id: gateway.project_id,
                instance_id: gateway.instance_id,
                custom_keys: gateway.custom_keys,
            }),
            subscription: tenant.standing,
            max_callers: tenant.max_callers,
            revision: tenant.revision,
            created_at: tenant.created_at,
            updated_at: tenant.updated_at,
        }
    }
}

impl NewTenant {
    fn checked(self) -> Result<registry::NewTenant, ErrorResponse> {
        let mut checks = FieldErrors::default();
        check_name(&mut checks, Some(&self.name));
        if let Some(gateway) = &self.gateway {
            let is_id = |text: &str| text.parse::<TenantId>().is_ok();
            let what = "must be 1 to 64 characters of A-Z a-z 0-9 - _ .";
            checks.ensure(is_id(&gateway.project_id), "#/gateway/project_id", what);
            checks.ensure(is_id(&gateway.instance_id), "#/gateway/instance_id", what);
        }
        checks.finish()?;
        Ok(registry::NewTenant {
            id: self.id.unwrap_or_else(TenantId::random),
            name: self.name,
            gateway: self.gateway.map(|gateway| model::ApigInstance {
                project_id: gateway.project_id,
                instance_id: gateway.instance_id,
                custom_keys: gateway.custom_keys,
            }),
            standing: self.subscription,
            max_callers: self.max_callers.unwrap_or(CALLERS),
        })
    }
}

fn shown(tenant: model::Tenant) -> ApiResponse {
    let tag = ETag::revision(tenant.revision);
    ApiResponse::ok(&Tenant::from(tenant)).with_etag(&tag)
}

/// The query parameters of the list of tenants.
pub(super) struct TenantParameters;

impl Parameters for TenantParameters {
    const KNOWN: &'static [&'static str] = &["name", "subscription", "limit", "after"];
}

/// List tenants
#[utoipa::path(
    get,
    path = "/tenants",
    tag = "tenants",
    operation_id = "list_tenants",
    params(openapi::Paging, ("name" = Option<String>, Query, description = "Only tenants with this name"), ("subscription" = Option<schemas::SubscriptionStatus>, Query, description = "Only tenants whose subscription has this state")),
    responses(openapi::OkPage<Tenant>, openapi::CommonErrors),
)]
pub(super) async fn list(
    State(surface): State<Arc<Surface>>,
    Authorized { query, .. }: Authorized<ReadOnly, TenantParameters>,
) -> Result<ApiResponse, ErrorResponse> {
    let states = [SubscriptionStatus::Active, SubscriptionStatus::Lapsed];
    let state = |text: &str| states.into_iter().find(|state| state.as_str() == text);
    let limit = query.limit()?;
    let filter = TenantFilter {
        name: query.text("name").map(str::to_owned),
        standing: query.chosen("subscription", "active or lapsed", state)?,
        after: query.after()?,
        limit: limit + 1,
    };
    let found =
        surface.admin.registry.tenants(&filter).await.map_err(|fault| surface.registry_error(fault))?;
    let page = Page::from_parts(&query, limit, found, |last| last.id.to_string());
    Ok(ApiResponse::page(&page.map(Tenant::from)))
}

/// Create a tenant
///
/// Requires the role `owner`.
#[utoipa::path(
    post,
    path = "/tenants",
    tag = "tenants",
    operation_id = "create_tenant",
    params(openapi::IdempotencyKey, openapi::LockToken),
    request_body(content = NewTenant, content_type = "application/json"),
    responses(openapi::Created<Tenant>, openapi::CommonErrors, openapi::CreateErrors),
)]
pub(super) async fn create(
    State(surface): State<Arc<Surface>>,
    Authorized { call, .. }: Authorized<Owner>,
) -> Result<ApiResponse, ErrorResponse> {
    let idempotency_key = surface.idempotency_key(&call)?;
    if let Some(answer) = surface.find_replay(&call, idempotency_key.as_ref()).await? {
        return Ok(answer);
    }
    let tenant = json::read::<NewTenant>(&call.content)?.checked()?;
    let made = surface.execute(&call, idempotency_key.as_ref(), CreateTenant(tenant), |tenant| {
        let location = format!("/admin/v1/tenants/{}", tenant.id);
        let tag = ETag::revision(tenant.revision);
        ApiResponse::created(location, &Tenant::from(tenant)).with_etag(&tag)
    });
    made.await.map_err(|fault| surface.registry_error(fault))
}

/// Get a tenant
#[utoipa::path(
    get,
    path = "/tenants/{tenant}",
    tag = "tenants",
    operation_id = "read_tenant",
    params(openapi::IfNoneMatch),
    responses(openapi::OkResource<Tenant>, openapi::CommonErrors, openapi::NotFound),
)]
pub(super) async fn read(
    State(surface): State<Arc<Surface>>,
    Authorized { call, .. }: Authorized<ReadOnly>,
) -> Result<ApiResponse, ErrorResponse> {
    let tenant = surface.tenant(&call).await?;
    Ok(ApiResponse::conditional(&ETag::revision(tenant.revision), &call.headers, || shown(tenant)))
}

/// Update a tenant
///
/// Requires the role `owner`.
#[utoipa::path(
    patch,
    path = "/tenants/{tenant}",
    tag = "tenants",
    operation_id = "modify_tenant",
    params(openapi::IfMatch, openapi::LockToken),
    request_body(content((TenantPatch = "application/merge-patch+json"), (TenantPatch = "application/json"))),
    responses(openapi::Updated<Tenant>, openapi::CommonErrors, openapi::NotFound, openapi::UpdateErrors),
)]
pub(super) async fn modify(
    State(surface): State<Arc<Surface>>,
    Authorized { call, .. }: Authorized<Owner>,
) -> Result<ApiResponse, ErrorResponse> {
    let before = surface.tenant(&call).await?;
    ETag::revision(before.revision).check_if_match(&call.headers)?;
    let TenantPatch { name, subscription, max_callers, gateway } = json::read(&call.content)?;
    let mut checks = FieldErrors::default();
    check_name(&mut checks, name.as_deref());
    checks.ensure(
        gateway.is_none() || before.gateway.is_some(),
        "#/gateway",
        "the tenant has no APIG gateway",
    );
    checks.finish()?;
    let custom_keys = gateway.and_then(|gateway| gateway.custom_keys);
    let edit = TenantEdit { name, standing: subscription, max_callers, custom_keys };
    let update = UpdateTenant { id: before.id, expected: Some(before.revision), edit };
    Ok(shown(surface.change(&call, update).await?))
}

/// Delete a tenant
///
/// The tenant must not have any callers. Requires the role `owner`.
#[utoipa::path(
    delete,
    path = "/tenants/{tenant}",
    tag = "tenants",
    operation_id = "delete_tenant",
    params(openapi::IfMatch, openapi::LockToken),
    responses(openapi::NoContent, openapi::CommonErrors, openapi::NotFound, openapi::UpdateErrors)
)]
pub(super) async fn delete(
    State(surface): State<Arc<Surface>>,
    Authorized { call, .. }: Authorized<Owner>,
) -> Result<ApiResponse, ErrorResponse> {
    let before = surface.tenant(&call).await?;
    ETag::revision(before.revision).check_if_match(&call.headers)?;
    surface.change(&call, DeleteTenant { id: before.id, expected: Some(before.revision) }).await?;
    Ok(ApiResponse::no_content())
}
