//! Apps as the contract shows them.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::{Apig, ApigError, Version, call_context::CallContext};
use crate::{
    Denial,
    model::{Access, App, Caller, Secret, Status},
    surface::openapi::schemas,
};

/// What stands for a secret that is not shown.
pub(super) const STARS: &str = "******";

/// Carries a secret that was generated, in the one answer that tells it.
static X_APP_SECRET: HeaderName = HeaderName::from_static("x-app-secret");

/// An app.
#[derive(Serialize, ToSchema)]
pub(super) struct AppInfo<'a> {
    /// Its id, as the version spells it.
    #[schema(value_type = String)]
    id: Cow<'a, str>,
    /// Its name.
    name: &'a str,
    /// 1 enabled, 2 disabled.
    #[schema(minimum = 1, maximum = 2)]
    status: u8,
    /// The AppKey.
    app_key: &'a str,
    /// The AppSecret, or six asterisks.
    #[serde(serialize_with = "expose")]
    #[schema(value_type = String)]
    app_secret: Secret,
    /// `USER` or `MARKET`.
    #[schema(value_type = schemas::Creator)]
    creator: &'static str,
    /// Its description.
    remark: &'a str,
    /// When it was made.
    register_time: Timestamp,
    /// When it last changed.
    update_time: Timestamp,
    /// Always `apig`; left out of V1's answer to a reset of the secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) app_type: Option<&'static str>,
    /// How many APIs it is authorized for; in lists only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) bind_num: Option<u64>,
}

/// A page of apps.
#[derive(Serialize, ToSchema)]
pub(super) struct AppList<'a> {
    /// How many there are on all pages together.
    pub(super) total: u64,
    /// How many there are on this one.
    pub(super) size: usize,
    /// These.
    pub(super) apps: Vec<AppInfo<'a>>,
}

/// What anybody may know of an app.
#[derive(Serialize, ToSchema)]
pub(super) struct AppBrief<'a> {
    /// Its id, as the version spells it.
    #[schema(value_type = String)]
    pub(super) id: Cow<'a, str>,
    /// Its name.
    pub(super) name: &'a str,
    /// Its description.
    pub(super) remark: &'a str,
}

/// How many apps there are.
#[derive(Serialize, ToSchema)]
pub(super) struct AppCounts {
    /// Those that are authorized for an API.
    pub(super) authed_nums: u64,
    /// The others.
    pub(super) unauthed_nums: u64,
}

pub(super) fn expose<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

/// The app's part of a caller that is one.
pub(super) fn app_of(caller: &Caller) -> Result<&App, ApigError> {
    caller.app().ok_or_else(|| Denial::internal("a caller that is no app was to be shown").into())
}

impl Apig {
    /// An app for who asks. The second version shows the secret to a token that may change the app: what reads a
    /// secret may act as the app.
    pub(super) fn app_response<'a>(&self, asked: &CallContext, caller: &'a Caller) -> Result<AppInfo<'a>, ApigError> {
        let app = app_of(caller)?;
        let app_secret = match asked.version {
            Version::Two if asked.covers(Access::Write, &caller.id) => self.unseal(caller)?,
            Version::One | Version::Two => Secret::from(STARS.to_owned()),
        };
        Ok(AppInfo {
            id: asked.version.shown(caller.id.as_str()),
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

    fn unseal(&self, caller: &Caller) -> Result<Secret, ApigError> {
        let unsealed = self.sealer.unseal(&app_of(caller)?.secret, &App::seal_context(&caller.tenant, &caller.id));
        unsealed.map_err(|error| Denial::internal(format!("app {}: {error}", caller.id)).into())
    }
}

/// A document, in answer to a request that succeeded.
pub(super) fn show(status: StatusCode, document: &impl Serialize) -> Result<Response, ApigError> {
    let body = serde_json::to_vec(document).map_err(|error| Denial::internal(error.to_string()))?;
    let media_type = HeaderValue::from_static("application/json");
    Ok((status, [(header::CONTENT_TYPE, media_type)], body).into_response())
}

/// Adds a secret that was generated to the first version's answer, whose body never shows one.
pub(super) fn with_generated_secret(mut response: Response, version: Version, generated: Option<&Secret>) -> Response {
    let value = generated.filter(|_| version == Version::One);
    if let Some(mut value) = value.and_then(|secret| HeaderValue::from_str(secret.expose()).ok()) {
        value.set_sensitive(true);
        response.headers_mut().insert(&X_APP_SECRET, value);
    }
    response
}
