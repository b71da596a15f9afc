//! Address lists of apps.

use std::{borrow::Cow, sync::Arc};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    call_context::CallContext,
    error::ApigError,
    extract::{ExistingApp, Json, Read, Write},
    openapi::{Errors, addresses},
    response::{app_of, show},
    state::Apig,
};
use portcullis::model::{Acl, AclKind, AddressRange, Caller, CallerEdit};

/// The request to set the address list of an app.
#[derive(Deserialize, ToSchema)]
pub(super) struct AclBody {
    /// `PERMIT` allows only the listed addresses, `DENY` all others.
    #[serde(default)]
    #[schema(value_type = String, required = true, pattern = "^(PERMIT|DENY)$")]
    app_acl_type: Option<String>,
    /// Addresses, ranges such as `192.0.2.1-192.0.2.9`, and blocks such as `192.0.2.0/24`; at most 100.
    #[serde(default)]
    #[schema(schema_with = addresses, required = true)]
    app_acl_values: Option<Vec<String>>,
}

impl AclBody {
    fn acl(self) -> Result<Acl, ApigError> {
        let kind = match self.app_acl_type.as_deref() {
            None | Some("") => return Err(ApigError::Missing("app_acl_type")),
            Some("PERMIT") => AclKind::Permit,
            Some("DENY") => AclKind::Deny,
            Some(_) => return Err(ApigError::Invalid("app_acl_type")),
        };
        let values = self.app_acl_values.filter(|values| !values.is_empty());
        let values = values.ok_or(ApigError::Missing("app_acl_values"))?;
        let ranges: Result<Vec<AddressRange>, _> = values.iter().map(|text| text.parse()).collect();
        let ranges = ranges.map_err(|_| ApigError::Invalid("app_acl_values"))?;
        Acl::new(kind, ranges).map_err(|_| ApigError::Invalid("app_acl_values"))
    }
}

/// The address list of an app.
#[derive(Serialize, ToSchema)]
#[allow(clippy::struct_field_names, reason = "the contract defines the names")]
struct AclInfo<'a> {
    /// The id of the app.
    #[schema(value_type = String)]
    app_id: Cow<'a, str>,
    /// `PERMIT` or `DENY`; empty for an app without an address list, which may call from any address.
    app_acl_type: &'static str,
    /// The addresses, ranges and blocks, as they were set.
    app_acl_values: Vec<String>,
}

impl<'a> AclInfo<'a> {
    fn new(call: &CallContext, caller: &'a Caller) -> Result<Self, ApigError> {
        let acl = app_of(caller)?.acl.as_ref();
        Ok(Self {
            app_id: call.version.shown(caller.id.as_str()),
            app_acl_type: acl.map_or("", |acl| acl.kind().as_str()),
            app_acl_values: acl.map_or(&[][..], Acl::ranges).iter().map(ToString::to_string).collect(),
        })
    }
}

/// Sets the address list of an app.
#[utoipa::path(
    put,
    path = "/apps/{app_id}/app-acl",
    tag = "app-acl",
    operation_id = "set_app_acl",
    request_body(content = AclBody),
    responses((status = 201, description = "The address list", body = AclInfo), Errors),
)]
pub(super) async fn set(
    State(surface): State<Arc<Apig>>,
    ExistingApp { call, tenant, app, .. }: ExistingApp<Write>,
    Json(body): Json<AclBody>,
) -> Result<Response, ApigError> {
    let edit = CallerEdit { acl: Some(Some(body.acl()?)), ..CallerEdit::default() };
    let actor = call.subscriber(&tenant)?;
    let after = surface.edit(&call, &actor, &tenant, &app.id, edit).await?;
    show(StatusCode::CREATED, &AclInfo::new(&call, &after)?)
}

/// Returns the address list of an app.
#[utoipa::path(
    get,
    path = "/apps/{app_id}/app-acl",
    tag = "app-acl",
    operation_id = "show_app_acl",
    responses((status = 200, description = "The address list", body = AclInfo), Errors),
)]
pub(super) async fn read(ExistingApp { call, app, .. }: ExistingApp<Read>) -> Result<Response, ApigError> {
    show(StatusCode::OK, &AclInfo::new(&call, &app)?)
}

/// Removes the address list of an app.
///
/// The app may then call from any address. Succeeds for an app without an address list, too.
#[utoipa::path(
    delete,
    path = "/apps/{app_id}/app-acl",
    tag = "app-acl",
    operation_id = "delete_app_acl",
    responses((status = 204, description = "The address list was removed"), Errors),
)]
pub(super) async fn delete(
    State(surface): State<Arc<Apig>>,
    ExistingApp { call, tenant, app, .. }: ExistingApp<Write>,
) -> Result<Response, ApigError> {
    let actor = call.subscriber(&tenant)?;
    let edit = CallerEdit { acl: Some(None), ..CallerEdit::default() };
    surface.edit(&call, &actor, &tenant, &app.id, edit).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
