//! Tenants.

use std::sync::Arc;

use axum::extract::{Request, State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Surface,
    response::{ApiResponse, ErrorResponse},
    call_context::CallContext,
    done,
    etag::ETag,
    json::{self, FieldErrors},
    page::{Page, split_page},
    openapi,
};
use crate::{
    model::{
        self, Role, SubscriptionStatus, TenantEdit, TenantId,
        name::{PLAIN_NAME_RULE, is_plain_name},
    },
    registry::{Command, TenantFilter},
    surface::{non_null, openapi::schemas},
};

/// How many callers of each kind a tenant may have, unless it is said.
const CALLERS: u32 = 50;

/// A customer. Nothing of one tenant is visible to another.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Tenant {
    /// Unique; not a secret.
    id: String,
    /// For people.
    name: String,
    /// Which APIG gateway it is, if it is one.
    #[schema(required)]
    gateway: Option<Gateway>,
    /// Whether its subscription holds.
    #[schema(value_type = schemas::Standing)]
    standing: SubscriptionStatus,
    /// How many callers of each kind it may have.
    max_callers: u32,
    /// Grows by one with every change; the `ETag`.
    revision: u64,
    /// When it was made.
    created_at: Timestamp,
    /// When it last changed.
    updated_at: Timestamp,
}

/// Which APIG gateway a tenant is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Gateway {
    /// The project, as it stands in paths; 1 to 64 of `A-Z a-z 0-9 - _ .`.
    #[schema(value_type = schemas::Id)]
    project_id: String,
    /// The dedicated gateway within the project; likewise.
    #[schema(value_type = schemas::Id)]
    instance_id: String,
    /// Whether operators may choose the keys and secrets of apps.
    #[serde(default)]
    custom_keys: bool,
}

/// A tenant to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTenant {
    /// Its id; without one it gets a random one.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = schemas::Id, required = false)]
    id: Option<TenantId>,
    /// For people; 1 to 255 characters that can be printed.
    #[schema(value_type = schemas::Name)]
    name: String,
    /// Which APIG gateway it is to be, if it is to be one.
    #[serde(default)]
    gateway: Option<Gateway>,
    /// Whether its subscription holds; it does, unless it is said.
    #[serde(default)]
    #[schema(value_type = schemas::Standing)]
    standing: SubscriptionStatus,
    /// How many callers of each kind it may have; 50, unless it is said.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = schemas::Number, required = false)]
    max_callers: Option<u32>,
}

/// What to change of a tenant; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TenantPatch {
    /// A new name.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = schemas::Name, required = false)]
    name: Option<String>,
    /// A new standing.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = schemas::Standing, required = false)]
    standing: Option<SubscriptionStatus>,
    /// How many callers of each kind it may have; those that it has stay.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = schemas::Number, required = false)]
    max_callers: Option<u32>,
    /// What to change of the APIG gateway; for a tenant that is one.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = GatewayPatch, required = false)]
    gateway: Option<GatewayPatch>,
}

/// What to change of an APIG gateway; its project and its instance are what it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GatewayPatch {
    /// Whether operators may choose the keys and secrets of apps; those that they have stay.
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
            standing: tenant.standing,
            max_callers: tenant.max_callers,
            revision: tenant.revision,
            created_at: tenant.created_at,
            updated_at: tenant.updated_at,
        }
    }
}

/// Holds a name, where there is one, to the rule for tenants and credentials.
pub(super) fn check_name(checks: &mut FieldErrors, name: Option<&str>) {
    checks.ensure(name.is_none_or(is_plain_name), "#/name", PLAIN_NAME_RULE);
}

impl NewTenant {
    fn checked(self, now: Timestamp) -> Result<model::Tenant, ErrorResponse> {
        let mut checks = FieldErrors::default();
        check_name(&mut checks, Some(&self.name));
        if let Some(gateway) = &self.gateway {
            let is_id = |text: &str| text.parse::<TenantId>().is_ok();
            let what = "it is 1 to 64 characters of A-Z a-z 0-9 - _ .";
            checks.ensure(is_id(&gateway.project_id), "#/gateway/project_id", what);
            checks.ensure(is_id(&gateway.instance_id), "#/gateway/instance_id", what);
        }
        checks.finish()?;
        Ok(model::Tenant {
            id: self.id.unwrap_or_else(TenantId::random),
            name: self.name,
            gateway: self.gateway.map(|gateway| model::ApigInstance {
                project_id: gateway.project_id,
                instance_id: gateway.instance_id,
                custom_keys: gateway.custom_keys,
            }),
            standing: self.standing,
            max_callers: self.max_callers.unwrap_or(CALLERS),
            revision: 1,
            created_at: now,
            updated_at: now,
        })
    }
}

fn shown(tenant: &model::Tenant) -> ApiResponse {
    ApiResponse::ok(&Tenant::from(tenant.clone())).with_etag(&ETag::revision(tenant.revision))
}

/// Lists the tenants.
#[utoipa::path(
    get,
    path = "/tenants",
    tag = "tenants",
    operation_id = "list_tenants",
    params(openapi::Paging, ("name" = Option<String>, Query, description = "Only of this name"), ("standing" = Option<schemas::Standing>, Query, description = "Only in this standing")),
    responses(openapi::OkPage<Tenant>, openapi::CommonErrors),
)]
pub(super) async fn list(State(surface): State<Arc<Surface>>, request: Request) -> Result<ApiResponse, ErrorResponse> {
    let call = CallContext::extract(request, Role::ReadOnly).await?;
    let query = call.query(&["name", "standing", "limit", "after"])?;
    let standings = [SubscriptionStatus::Active, SubscriptionStatus::Lapsed];
    let standing = |text: &str| standings.into_iter().find(|standing| standing.as_str() == text);
    let limit = query.limit()?;
    let which = TenantFilter {
        name: query.text("name").map(str::to_owned),
        standing: query.chosen("standing", "active or lapsed", standing)?,
        after: query.after()?,
        limit: limit + 1,
    };
    let found = surface.admin.registry.tenants(&which).await.map_err(|fault| surface.refuse(fault))?;
    let (tenants, next) = split_page(found, limit, |last| last.id.to_string());
    let (page, link) = Page::of(&query, tenants.into_iter().map(Tenant::from).collect(), next);
    Ok(ApiResponse::ok(&page).with_link(link))
}

/// Makes a tenant. For an owner.
#[utoipa::path(
    post,
    path = "/tenants",
    tag = "tenants",
    operation_id = "create_tenant",
    params(openapi::IdempotencyKey, openapi::LockToken),
    request_body(content = NewTenant, content_type = "application/json"),
    responses(openapi::Created<Tenant>, openapi::CommonErrors, openapi::CreateErrors),
)]
pub(super) async fn create(State(surface): State<Arc<Surface>>, request: Request) -> Result<ApiResponse, ErrorResponse> {
    let call = CallContext::extract(request, Role::Owner).await?;
    call.query(&[])?;
    let ticket = surface.ticket(&call)?;
    if let Some(answer) = surface.earlier(&call, ticket.as_ref()).await? {
        return Ok(answer);
    }
    let tenant = json::read::<NewTenant>(&call.content)?.checked(surface.admin.clock.now().time)?;
    let commands = vec![Command::CreateTenant(tenant)];
    let made = surface.execute(&call, ticket.as_ref(), commands, |done| {
        let tenant = done!(Tenant, done)?;
        let location = format!("/admin/v1/tenants/{}", tenant.id);
        Ok(ApiResponse::created(location, &Tenant::from(tenant.clone())).with_etag(&ETag::revision(tenant.revision)))
    });
    made.await.map_err(|fault| surface.refuse(fault))
}

/// Shows a tenant.
#[utoipa::path(
    get,
    path = "/tenants/{tenant}",
    tag = "tenants",
    operation_id = "read_tenant",
    params(openapi::IfNoneMatch),
    responses(openapi::OkResource<Tenant>, openapi::CommonErrors, openapi::NotFound),
)]
pub(super) async fn read(State(surface): State<Arc<Surface>>, request: Request) -> Result<ApiResponse, ErrorResponse> {
    let call = CallContext::extract(request, Role::ReadOnly).await?;
    call.query(&[])?;
    let tenant = surface.tenant(&call).await?;
    let tag = ETag::revision(tenant.revision);
    Ok(if tag.matches_if_none_match(&call.headers) { ApiResponse::not_modified(&tag) } else { shown(&tenant) })
}

/// Changes a tenant. For an owner.
#[utoipa::path(
    patch,
    path = "/tenants/{tenant}",
    tag = "tenants",
    operation_id = "modify_tenant",
    params(openapi::IfMatch, openapi::LockToken),
    request_body(content((TenantPatch = "application/merge-patch+json"), (TenantPatch = "application/json"))),
    responses(openapi::Updated<Tenant>, openapi::CommonErrors, openapi::NotFound, openapi::UpdateErrors),
)]
pub(super) async fn modify(State(surface): State<Arc<Surface>>, request: Request) -> Result<ApiResponse, ErrorResponse> {
    let call = CallContext::extract(request, Role::Owner).await?;
    call.query(&[])?;
    let before = surface.tenant(&call).await?;
    ETag::revision(before.revision).check_if_match(&call.headers)?;
    let TenantPatch { name, standing, max_callers, gateway } = json::read(&call.content)?;
    let mut checks = FieldErrors::default();
    check_name(&mut checks, name.as_deref());
    checks.ensure(gateway.is_none() || before.gateway.is_some(), "#/gateway", "the tenant is no APIG gateway");
    checks.finish()?;
    let custom_keys = gateway.and_then(|gateway| gateway.custom_keys);
    let edit = TenantEdit { name, standing, max_callers, custom_keys };
    let command = Command::UpdateTenant { id: before.id, expected: Some(before.revision), edit };
    let done = surface.change(&call, vec![command]).await?;
    Ok(shown(done!(Tenant, done).map_err(|fault| surface.refuse(fault))?))
}

/// Deletes a tenant that has no callers. For an owner.
#[utoipa::path(
    delete,
    path = "/tenants/{tenant}",
    tag = "tenants",
    operation_id = "delete_tenant",
    params(openapi::IfMatch, openapi::LockToken),
    responses(openapi::NoContent, openapi::CommonErrors, openapi::NotFound, openapi::UpdateErrors)
)]
pub(super) async fn delete(State(surface): State<Arc<Surface>>, request: Request) -> Result<ApiResponse, ErrorResponse> {
    let call = CallContext::extract(request, Role::Owner).await?;
    call.query(&[])?;
    let before = surface.tenant(&call).await?;
    ETag::revision(before.revision).check_if_match(&call.headers)?;
    let command = Command::DeleteTenant { id: before.id, expected: Some(before.revision) };
    surface.change(&call, vec![command]).await?;
    Ok(ApiResponse::no_content())
}

impl Surface {
    /// The tenant that is asked about.
    pub(super) async fn tenant(&self, call: &CallContext) -> Result<model::Tenant, ErrorResponse> {
        let tenant = self.admin.registry.tenant(&call.tenant()?).await;
        tenant.map_err(|fault| self.refuse(fault))
    }
}
