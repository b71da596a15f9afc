//! The endpoint that reloads the configuration.

use std::sync::Arc;

use axum::extract::State;

use super::{
    extract::Authorized,
    openapi,
    response::{ApiResponse, ErrorResponse},
    roles::Owner,
    settings::{ReloadError, Reloaded},
    state::Surface,
};
use portcullis::{Denial, denial::FieldError, registry::RegistryExt};

/// The `Retry-After` of a reload that could not be applied, in seconds.
const RETRY_AFTER: u64 = 5;

/// Reload the configuration
///
/// The gateway reads its configuration file and its certificates, checks them and applies them at once. If there is an
/// error, nothing changes, and `errors` lists all errors. Connections stay open. Requires the role `owner`.
#[utoipa::path(
    post,
    path = "/configuration/reload",
    tag = "configuration",
    operation_id = "reload_configuration",
    responses(
        (status = 200, description = "The configuration is applied", body = Reloaded),
        openapi::CommonErrors,
        openapi::ReloadErrors,
    ),
)]
pub(super) async fn reload(
    State(surface): State<Arc<Surface>>,
    Authorized { call, .. }: Authorized<Owner>,
) -> Result<ApiResponse, ErrorResponse> {
    let Some(configuration) = &surface.admin.configuration else {
        return Err(Denial::Conflict { detail: "No gateway serves this API.".into() }.into());
    };
    // The key may have been revoked since the request was admitted.
    let now = surface.admin.clock.now().time;
    let authorized = surface.admin.registry.authorize(call.actor(), now).await;
    authorized.map_err(|fault| surface.registry_error(fault))?;
    tracing::info!(caller = %call.caller(), "reload of the configuration requested");
    let error = |detail: String| FieldError { pointer: "#".into(), line: None, detail: detail.into() };
    let reloaded = configuration.reload().await.map_err(|failure| match failure {
        ReloadError::Invalid(errors) => {
            Denial::InvalidValues { wrong: errors.into_iter().map(error).collect() }
        }
        ReloadError::Unavailable(reason) => {
            Denial::unavailable(format!("The configuration could not be applied: {reason}."), RETRY_AFTER)
        }
    })?;
    Ok(ApiResponse::ok(&reloaded))
}
