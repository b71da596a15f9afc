//! Responses about apps.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::{call_context::CallContext, error::ApigError, state::Apig, version::Version};
use crate::openapi::schemas;
use portcullis::{
    Denial,
    model::{Access, App, Caller, Secret, Status},
};

/// The placeholder for a hidden secret.
pub(super) const STARS: &str = "******";

/// Carries a generated secret, in the only response that shows it.
static X_APP_SECRET: HeaderName = HeaderName::from_static("x-app-secret");

/// An app.
#[derive(Serialize, ToSchema)]
pub(super) struct AppInfo<'a> {
    /// The id of the app, in the spelling of the version.
    #[schema(value_type = String)]
    id: Cow<'a, str>,
    /// The name of the app.
    name: &'a str,
    /// The status: 1 enabled, 2 disabled.
    #[schema(minimum = 1, maximum = 2)]
    status: u8,
    /// The AppKey.
    app_key: &'a str,
    /// The AppSecret, or six asterisks.
    #[serde(serialize_with = "expose")]
    #[schema(value_type = String)]
    app_secret: Secret,
    /// The creator: `USER` or `MARKET`.
    #[schema(value_type = schemas::Creator)]
    creator: &'static str,
    /// The description of the app.
    remark: &'a str,
    /// The time of creation.
    register_time: Timestamp,
    /// The time of the last change.
    update_time: Timestamp,
    /// The type of the app; always `apig`. Absent from V1's response to a reset of the secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) app_type: Option<&'static str>,
    /// The number of APIs that the app is authorized for; in lists only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) bind_num: Option<u64>,
}

/// A page of apps.
#[derive(Serialize, ToSchema)]
pub(super) struct AppList<'a> {
    /// The total number of matches, on all pages.
    pub(super) total: u64,
    /// The number of items on this page.
    pub(super) size: usize,
    /// The apps on this page.
    pub(super) apps: Vec<AppInfo<'a>>,
}

/// The part of an app that every token may read.
#[derive(Serialize, ToSchema)]
pub(super) struct AppBrief<'a> {
    /// The id of the app, in the spelling of the version.
    #[schema(value_type = String)]
    pub(super) id: Cow<'a, str>,
    /// The name of the app.
    pub(super) name: &'a str,
    /// The description of the app.
    pub(super) remark: &'a str,
}

/// Numbers of apps.
#[derive(Serialize, ToSchema)]
pub(super) struct AppCounts {
    /// The number of apps that are authorized for an API.
    pub(super) authed_nums: u64,
    /// The number of apps that are authorized for no API.
    pub(super) unauthed_nums: u64,
}

pub(super) fn expose<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

/// Returns the app of a caller of this kind.
pub(super) fn app_of(caller: &Caller) -> Result<&App, ApigError> {
    caller.app().ok_or_else(|| Denial::internal("a caller to show is not an app").into())
}

/// Returns the response for an app. V2 shows the secret only to a token that may change the app, because the secret
/// gives full access as the app.
pub(super) fn app_response<'a>(
    surface: &Apig,
    call: &CallContext,
    caller: &'a Caller,
) -> Result<AppInfo<'a>, ApigError> {
    let app = app_of(caller)?;
    let app_secret = match call.version {
        Version::Two if call.covers(Access::Write, &caller.id) => unseal(surface, caller)?,
        Version::One | Version::Two => Secret::from(STARS.to_owned()),
    };
    Ok(AppInfo {
        id: call.version.shown(caller.id.as_str()),
        name: &caller.name,
        status: if caller.status == Status::Enabled { 1 } else { 2 },
        app_key: &app.key,
        app_secret,
        creator: app.creator.as_str(),
        remark: &app.remark,
        register_time: caller.created_at,
        update_time: caller.updated_at,
        app_type: Some("apig"),
        bind_num: None,
    })
}

fn unseal(surface: &Apig, caller: &Caller) -> Result<Secret, ApigError> {
    let unsealed =
        surface.sealer.unseal(&app_of(caller)?.secret, &App::seal_context(&caller.tenant, &caller.id));
    unsealed.map_err(|error| Denial::internal(format!("app {}: {error}", caller.id)).into())
}

/// Returns a success response with a JSON body.
pub(super) fn show(status: StatusCode, document: &impl Serialize) -> Result<Response, ApigError> {
    let body = serde_json::to_vec(document).map_err(|error| Denial::internal(error.to_string()))?;
    let media_type = HeaderValue::from_static("application/json");
    Ok((status, [(header::CONTENT_TYPE, media_type)], body).into_response())
}

/// Adds a generated secret to a V1 response as a header. The body of V1 responses never shows a secret.
pub(super) fn with_generated_secret(
    mut response: Response,
    version: Version,
    generated: Option<&Secret>,
) -> Response {
    let value = generated.filter(|_| version == Version::One);
    if let Some(mut value) = value.and_then(|secret| HeaderValue::from_str(secret.expose()).ok()) {
        value.set_sensitive(true);
        response.headers_mut().insert(&X_APP_SECRET, value);
    }
    response
}
