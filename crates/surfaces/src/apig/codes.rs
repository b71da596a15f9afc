//! AppCodes: bearer credentials of an app.

use std::{borrow::Cow, cmp::Reverse, sync::Arc};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    call_context::CallContext,
    error::ApigError,
    extract::{ExistingApp, Json, Page, Read, Write},
    openapi::Errors,
    query::{PageQuery, page_of},
    response::{STARS, expose, show},
    state::Apig,
};
use portcullis::{
    Denial,
    model::{
        Access, AppCode, CallerId, Credential, CredentialId, CredentialKind, Scopes, Secret, Status, Tenant,
    },
    registry::{CredentialFilter, NewCredential, RegistryError, RegistryExt},
};

/// The number of credentials that one read from the registry returns.
const BATCH: u32 = 500;

/// The request to add an AppCode.
#[derive(Deserialize, ToSchema)]
pub(super) struct AppCodeBody {
    /// The AppCode: 64 to 180 characters.
    #[serde(default)]
    #[schema(value_type = String, required = true, pattern = "^[A-Za-z0-9+/][A-Za-z0-9+/_!@#$%=-]{63,179}$")]
    app_code: Option<String>,
}

/// An AppCode.
#[derive(Serialize, ToSchema)]
struct AppCodeInfo<'a> {
    /// The AppCode itself, or six asterisks.
    #[serde(serialize_with = "expose")]
    #[schema(value_type = String)]
    app_code: Secret,
    /// The id of the AppCode.
    #[schema(value_type = String)]
    id: Cow<'a, str>,
    /// The id of the app.
    #[schema(value_type = String)]
    app_id: Cow<'a, str>,
    /// The time of creation.
    create_time: Timestamp,
}

/// A page of AppCodes.
#[derive(Serialize, ToSchema)]
struct AppCodeList<'a> {
    /// The total number of matches, on all pages.
    total: usize,
    /// The number of items on this page.
    size: usize,
    /// The AppCodes on this page.
    app_codes: Vec<AppCodeInfo<'a>>,
}

/// Adds a given AppCode to an app.
#[utoipa::path(
    post,
    path = "/apps/{app_id}/app-codes",
    tag = "app-codes",
    operation_id = "create_app_code",
    request_body(content = AppCodeBody),
    responses((status = 201, description = "The AppCode", body = AppCodeInfo), Errors),
)]
pub(super) async fn create(
    State(surface): State<Arc<Apig>>,
    ExistingApp { call, tenant, app, .. }: ExistingApp<Write>,
    Json(AppCodeBody { app_code }): Json<AppCodeBody>,
) -> Result<Response, ApigError> {
    let code = app_code.filter(|code| !code.is_empty()).ok_or(ApigError::Missing("app_code"))?;
    let code = AppCode::try_from(code).map_err(|_| ApigError::Invalid("app_code"))?;
    create_code(&surface, &call, &tenant, app.id, &code).await
}

/// Generates an AppCode for an app.
///
/// The body of the request is ignored.
#[utoipa::path(
    put,
    path = "/apps/{app_id}/app-codes",
    tag = "app-codes",
    operation_id = "generate_app_code",
    responses((status = 201, description = "The AppCode", body = AppCodeInfo), Errors),
)]
pub(super) async fn generate(
    State(surface): State<Arc<Apig>>,
    ExistingApp { call, tenant, app, .. }: ExistingApp<Write>,
) -> Result<Response, ApigError> {
    create_code(&surface, &call, &tenant, app.id, &AppCode::generate()).await
}

/// Lists the AppCodes of an app, newest first.
#[utoipa::path(
    get,
    path = "/apps/{app_id}/app-codes",
    tag = "app-codes",
    operation_id = "list_app_codes",
    params(PageQuery),
    responses((status = 200, description = "A page of AppCodes", body = AppCodeList), Errors),
)]
pub(super) async fn list(
    State(surface): State<Arc<Apig>>,
    ExistingApp { call, tenant, app, .. }: ExistingApp<Read>,
    Page(page): Page,
) -> Result<Response, ApigError> {
    let codes = all_codes(&surface, &call, &tenant, &app.id).await?;
    let app_codes = page_of(&codes, page).iter().map(|code| code_info(&surface, &call, code));
    let app_codes = app_codes.collect::<Result<Vec<_>, _>>()?;
    show(StatusCode::OK, &AppCodeList { total: codes.len(), size: app_codes.len(), app_codes })
}

/// Returns an AppCode.
#[utoipa::path(
    get,
    path = "/apps/{app_id}/app-codes/{app_code_id}",
    tag = "app-codes",
    operation_id = "show_app_code",
    responses((status = 200, description = "The AppCode", body = AppCodeInfo), Errors),
)]
pub(super) async fn read(
    State(surface): State<Arc<Apig>>,
    ExistingApp { call, tenant, app, .. }: ExistingApp<Read>,
) -> Result<Response, ApigError> {
    let code = find_code(&surface, &call, &tenant, &app.id).await?;
    show(StatusCode::OK, &code_info(&surface, &call, &code)?)
}

/// Deletes an AppCode.
///
/// Allowed under a lapsed subscription, too, so that access can be revoked.
#[utoipa::path(
    delete,
    path = "/apps/{app_id}/app-codes/{app_code_id}",
    tag = "app-codes",
    operation_id = "delete_app_code",
    responses((status = 204, description = "Deleted"), Errors),
)]
pub(super) async fn delete(
    State(surface): State<Arc<Apig>>,
    ExistingApp { call, tenant, app, .. }: ExistingApp<Write>,
) -> Result<Response, ApigError> {
    let code = find_code(&surface, &call, &tenant, &app.id).await?;
    let gone = surface.registry.delete_credential(&tenant.id, &code.id, None, call.revoker()).await;
    gone.map_err(|fault| surface.registry_error(fault, no_code(&call)))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn no_code(call: &CallContext) -> ApigError {
    ApigError::UnknownCode(call.repeated(3))
}

async fn create_code(
    surface: &Apig,
    call: &CallContext,
    tenant: &Tenant,
    app: CallerId,
    code: &AppCode,
) -> Result<Response, ApigError> {
    let actor = call.subscriber(tenant)?;
    let peppers = surface.directory.peppers();
    // The registry compares digests under the current pepper only. The directory finds older digests, too.
    if surface.directory.find(code.expose()).is_some() {
        return Err(ApigError::CodeTaken);
    }
    let id = CredentialId::random();
    let credential = NewCredential {
        tenant: tenant.id.clone(),
        caller: app.clone(),
        kind: CredentialKind::AppCode(
            surface.sealer.seal(code.secret(), &Credential::seal_context(&tenant.id, &id)),
        ),
        name: "AppCode".into(),
        digest: peppers.current().digest(code.expose()),
        pepper: peppers.current().version(),
        hint: code.hint().into(),
        status: Status::Enabled,
        scopes: Scopes::All,
        not_after: None,
        id,
    };
    let made = surface.registry.create_credential_within(surface.app_codes, credential, &actor).await;
    let made = made.map_err(|fault| match fault {
        RegistryError::LimitReached(_) => ApigError::TooManyAppCodes,
        RegistryError::Conflict => ApigError::CodeTaken,
        fault => surface.registry_error(fault, call.no_app(app.as_str())),
    })?;
    show(StatusCode::CREATED, &code_info(surface, call, &made)?)
}

/// Returns the AppCode that the path names.
async fn find_code(
    surface: &Apig,
    call: &CallContext,
    tenant: &Tenant,
    app: &CallerId,
) -> Result<Credential, ApigError> {
    let id = call.segment(3).parse().map_err(|_| no_code(call))?;
    let code = surface.registry.credential(&tenant.id, &id).await;
    let code = code.map_err(|fault| surface.registry_error(fault, no_code(call)))?;
    if code.caller == *app && is_code(&code) { Ok(code) } else { Err(no_code(call)) }
}

/// Returns all AppCodes of an app, newest first. An app has few.
async fn all_codes(
    surface: &Apig,
    call: &CallContext,
    tenant: &Tenant,
    app: &CallerId,
) -> Result<Vec<Credential>, ApigError> {
    let mut filter = CredentialFilter {
        tenant: Some(tenant.id.clone()),
        caller: Some(app.clone()),
        limit: BATCH,
        ..CredentialFilter::default()
    };
    let mut codes = Vec::new();
    loop {
        let page = surface.registry.credentials(&filter).await;
        let page = page.map_err(|fault| surface.registry_error(fault, call.no_app(app.as_str())))?;
        let Some(last) = page.last() else { break };
        filter.after = Some(last.id.clone());
        codes.extend(page.into_iter().filter(is_code));
    }
    codes.sort_unstable_by_key(|code| Reverse((code.created_at, code.id.clone())));
    Ok(codes)
}

/// Returns the response for an AppCode. Only a token that may change the app sees the AppCode itself, because it
/// gives full access as the app.
fn code_info<'a>(
    surface: &Apig,
    call: &CallContext,
    code: &'a Credential,
) -> Result<AppCodeInfo<'a>, ApigError> {
    let app_code = match &code.kind {
        CredentialKind::AppCode(sealed) if call.covers(Access::Write, &code.caller) => {
            let place = Credential::seal_context(&code.tenant, &code.id);
            let unsealed = surface.sealer.unseal(sealed, &place);
            unsealed.map_err(|error| Denial::internal(format!("credential {}: {error}", code.id)))?
        }
        _ => Secret::from(STARS.to_owned()),
    };
    Ok(AppCodeInfo {
        app_code,
        id: call.version.shown(code.id.as_str()),
        app_id: call.version.shown(code.caller.as_str()),
        create_time: code.created_at,
    })
}

fn is_code(credential: &Credential) -> bool {
    matches!(credential.kind, CredentialKind::AppCode(_))
}
