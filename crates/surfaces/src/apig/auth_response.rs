//! Responses about authorizations.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::{call_context::repeated, error::ApigError, response::app_of, version::Version};
use portcullis::model::{Caller, Grant, RouteName};

/// The name of the only environment.
pub(super) const RELEASE: &str = "RELEASE";
/// The only authorization channel (`auth_tunnel`).
const NORMAL: &str = "NORMAL";

/// The status of one authorization; in V1 the whole result.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schema(as = AuthStatus)]
pub(super) enum Status {
    /// The app was authorized.
    Success,
    /// The app was already authorized.
    Skipped,
    /// The app could not be authorized.
    Failed,
}

/// The result of one authorization, in V2.
#[derive(Serialize, ToSchema)]
pub(super) struct StatusInfo {
    status: Status,
    /// The reason as a text; absent on success.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error_msg: Option<String>,
    /// The reason as a code; absent on success.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error_code: Option<&'static str>,
    /// The name of an API that was already authorized.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    api_name: Option<String>,
    /// The name of the app; absent on success.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    app_name: Option<String>,
}

/// The result of one authorization, in the form of either version.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Outcome {
    /// The V1 form.
    Plain(Status),
    /// The V2 form.
    Whole(StatusInfo),
}

/// One pair of an app and an API, with its result.
#[derive(Serialize, ToSchema)]
pub(super) struct Authorized {
    /// The id of the authorization; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    id: Option<String>,
    /// The id of the API.
    api_id: String,
    /// The id of the app.
    app_id: String,
    /// The time of the authorization.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    auth_time: Option<Timestamp>,
    /// The authorizing party: `PROVIDER` or `CONSUMER`.
    auth_role: &'static str,
    /// Always `NORMAL`; V2 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    auth_tunnel: Option<&'static str>,
    /// The result.
    auth_result: Outcome,
}

/// The results of an authorization request, in V2. V1 returns the bare array.
#[derive(Serialize, ToSchema)]
pub(super) struct AuthResult {
    /// One result for each pair of an app and an API.
    pub(super) auths: Vec<Authorized>,
}

impl Authorized {
    /// Returns the result for the grant `wanted`; `stored` is the stored grant, new or old.
    pub(super) fn granted(version: Version, stored: &Grant, wanted: &Grant, app: &Caller) -> Self {
        let done = stored.id == wanted.id;
        let auth_result = match version {
            Version::One => Outcome::Plain(if done { Status::Success } else { Status::Skipped }),
            Version::Two if done => Outcome::Whole(StatusInfo {
                status: Status::Success,
                error_msg: None,
                error_code: None,
                api_name: None,
                app_name: None,
            }),
            Version::Two => Outcome::Whole(StatusInfo {
                status: Status::Skipped,
                error_msg: Some("The API authorization record already exists.".into()),
                error_code: Some("APIG.3316"),
                api_name: Some(stored.route.to_string()),
                app_name: Some(app.name.clone()),
            }),
        };
        Self {
            id: Some(version.shown(stored.id.as_str()).into_owned()),
            api_id: stored.route.to_string(),
            app_id: version.shown(app.id.as_str()).into_owned(),
            auth_time: Some(stored.created_at),
            auth_role: stored.role.as_str(),
            auth_tunnel: tunnel(version),
            auth_result,
        }
    }

    /// Returns the result for an API that does not exist.
    pub(super) fn failed(version: Version, app: &Caller, api: &str) -> Self {
        let api = repeated(api);
        let auth_result = match version {
            Version::One => Outcome::Plain(Status::Failed),
            Version::Two => Outcome::Whole(StatusInfo {
                status: Status::Failed,
                error_msg: Some(format!("API {api} does not exist")),
                error_code: Some("APIG.3002"),
                api_name: None,
                app_name: Some(app.name.clone()),
            }),
        };
        Self {
            id: None,
            api_id: api,
            app_id: version.shown(app.id.as_str()).into_owned(),
            auth_time: None,
            auth_role: "PROVIDER",
            auth_tunnel: tunnel(version),
            auth_result,
        }
    }
}

fn tunnel(version: Version) -> Option<&'static str> {
    (version == Version::Two).then_some(NORMAL)
}

/// An authorization of an app for an API.
#[derive(Serialize, ToSchema)]
pub(super) struct AuthInfo<'a> {
    /// The id of the authorization.
    #[schema(value_type = String)]
    id: Cow<'a, str>,
    /// The id of the API.
    api_id: &'a str,
    /// The name of the API; equal to its id.
    api_name: &'a str,
    /// The id of the environment.
    env_id: &'a str,
    /// The authorizing party: `PROVIDER` or `CONSUMER`.
    auth_role: &'static str,
    /// The time of the authorization.
    auth_time: Timestamp,
    /// The name of the app.
    app_name: &'a str,
    /// The description of the app.
    app_remark: &'a str,
    /// The type of the app; always `apig`.
    app_type: &'static str,
    /// The creator of the app: `USER` or `MARKET`.
    app_creator: &'static str,
    /// V1: the id of the app.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    appid: Option<Cow<'a, str>>,
    /// V1: the name of the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    envname: Option<&'static str>,
    /// V2: the id of the app.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    app_id: Option<Cow<'a, str>>,
    /// V2: the name of the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    env_name: Option<&'static str>,
    /// V2: always `NORMAL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    auth_tunnel: Option<&'static str>,
}

impl<'a> AuthInfo<'a> {
    /// Returns a grant of an app in the form of a version.
    pub(super) fn new(version: Version, grant: &'a Grant, caller: &'a Caller) -> Result<Self, ApigError> {
        let app = app_of(caller)?;
        let id = version.shown(caller.id.as_str());
        let (in_first, in_second) = match version {
            Version::One => (Some(id), None),
            Version::Two => (None, Some(id)),
        };
        Ok(Self {
            id: version.shown(grant.id.as_str()),
            api_id: grant.route.as_str(),
            api_name: grant.route.as_str(),
            env_id: grant.environment.as_str(),
            auth_role: grant.role.as_str(),
            auth_time: grant.created_at,
            app_name: &caller.name,
            app_remark: &app.remark,
            app_type: "apig",
            app_creator: app.creator.as_str(),
            envname: in_first.as_ref().map(|_| RELEASE),
            env_name: in_second.as_ref().map(|_| RELEASE),
            auth_tunnel: tunnel(version),
            appid: in_first,
            app_id: in_second,
        })
    }
}

/// A page of authorizations.
#[derive(Serialize, ToSchema)]
pub(super) struct AuthList<'a> {
    /// The total number of matches, on all pages.
    total: u64,
    /// The number of items on this page.
    size: usize,
    /// The authorizations on this page.
    auths: Vec<AuthInfo<'a>>,
}

impl<'a> AuthList<'a> {
    pub(super) fn new(total: u64, auths: Vec<AuthInfo<'a>>) -> Self {
        Self { total, size: auths.len(), auths }
    }
}

/// An API that an app is not authorized for.
#[derive(Serialize, ToSchema)]
pub(super) struct ApiOutline<'a> {
    /// The id of the API.
    id: &'a str,
    /// The name of the API; equal to its id.
    name: &'a str,
    /// The authentication mode; always `APP`.
    auth_type: &'static str,
    /// The id of the environment of the API.
    run_env_id: &'static str,
    /// The name of the environment of the API.
    run_env_name: &'static str,
}

impl<'a> ApiOutline<'a> {
    pub(super) fn new(api: &'a RouteName) -> Self {
        Self {
            id: api.as_str(),
            name: api.as_str(),
            auth_type: "APP",
            run_env_id: portcullis::model::EnvironmentId::RELEASE,
            run_env_name: RELEASE,
        }
    }
}

/// A page of APIs.
#[derive(Serialize, ToSchema)]
pub(super) struct ApiList<'a> {
    /// The total number of matches, on all pages.
    pub(super) total: usize,
    /// The number of items on this page.
    pub(super) size: usize,
    /// The APIs on this page.
    pub(super) apis: Vec<ApiOutline<'a>>,
}
