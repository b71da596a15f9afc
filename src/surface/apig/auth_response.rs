//! Authorizations as the contract shows them.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::{ApigError, Version, call_context::repeated, response::app_of};
use crate::model::{Caller, Grant, RouteName};

/// What the one environment is called.
pub(super) const RELEASE: &str = "RELEASE";
/// The only way that apps are authorized in.
const NORMAL: &str = "NORMAL";

/// What became of an authorization; in V1 this alone.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schema(as = AuthStatus)]
pub(super) enum Status {
    /// It is made.
    Success,
    /// It was there.
    Skipped,
    /// It cannot be.
    Failed,
}

/// What became of an authorization, in V2.
#[derive(Serialize, ToSchema)]
pub(super) struct StatusInfo {
    status: Status,
    /// Why not, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error_msg: Option<String>,
    /// Why not, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error_code: Option<&'static str>,
    /// The API that it was not made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    api_name: Option<String>,
    /// The app that it was not made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    app_name: Option<String>,
}

/// What became of an authorization, as each version says it.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Outcome {
    /// V1.
    Plain(Status),
    /// V2.
    Whole(StatusInfo),
}

/// One result of an authorization.
#[derive(Serialize, ToSchema)]
pub(super) struct Authorized {
    /// The authorization's id, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    id: Option<String>,
    /// The API.
    api_id: String,
    /// The app.
    app_id: String,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    auth_time: Option<Timestamp>,
    /// Who made it: `PROVIDER` or `CONSUMER`.
    auth_role: &'static str,
    /// Always `NORMAL`; V2 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    auth_tunnel: Option<&'static str>,
    /// What became of it.
    auth_result: Outcome,
}

/// The results of an authorization, in V2; in V1 they stand alone.
#[derive(Serialize, ToSchema)]
pub(super) struct AuthResult {
    /// One for each pair of an app and an API.
    pub(super) auths: Vec<Authorized>,
}

impl Authorized {
    /// The grant that stands since, of the one that was wanted.
    pub(super) fn granted(version: Version, stands: &Grant, wanted: &Grant, app: &Caller) -> Self {
        let done = stands.id == wanted.id;
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
                api_name: Some(stands.route.to_string()),
                app_name: Some(app.name.clone()),
            }),
        };
        Self {
            id: Some(version.shown(stands.id.as_str()).into_owned()),
            api_id: stands.route.to_string(),
            app_id: version.shown(app.id.as_str()).into_owned(),
            auth_time: Some(stands.created_at),
            auth_role: stands.role.as_str(),
            auth_tunnel: tunnel(version),
            auth_result,
        }
    }

    /// There is no such API.
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

/// An authorization: of an app for an API.
#[derive(Serialize, ToSchema)]
pub(super) struct AuthInfo<'a> {
    /// Its id.
    #[schema(value_type = String)]
    id: Cow<'a, str>,
    /// The API.
    api_id: &'a str,
    /// The API's name: its id.
    api_name: &'a str,
    /// The environment.
    env_id: &'a str,
    /// Who made it: `PROVIDER` or `CONSUMER`.
    auth_role: &'static str,
    /// When it was made.
    auth_time: Timestamp,
    /// The app's name.
    app_name: &'a str,
    /// The app's description.
    app_remark: &'a str,
    /// Always `apig`.
    app_type: &'static str,
    /// `USER` or `MARKET`.
    app_creator: &'static str,
    /// V1: the app.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    appid: Option<Cow<'a, str>>,
    /// V1: the environment's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    envname: Option<&'static str>,
    /// V2: the app.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    app_id: Option<Cow<'a, str>>,
    /// V2: the environment's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    env_name: Option<&'static str>,
    /// V2: always `NORMAL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    auth_tunnel: Option<&'static str>,
}

impl<'a> AuthInfo<'a> {
    /// A grant of an app.
    pub(super) fn of(version: Version, grant: &'a Grant, caller: &'a Caller) -> Result<Self, ApigError> {
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
    /// How many there are on all pages together.
    total: u64,
    /// How many there are on this one.
    size: usize,
    /// These.
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
    /// Its id.
    id: &'a str,
    /// Its name: its id.
    name: &'a str,
    /// How its callers are known: `APP`.
    auth_type: &'static str,
    /// The environment that it is published in.
    run_env_id: &'static str,
    /// That environment's name.
    run_env_name: &'static str,
}

impl<'a> ApiOutline<'a> {
    pub(super) fn of(api: &'a RouteName) -> Self {
        Self {
            id: api.as_str(),
            name: api.as_str(),
            auth_type: "APP",
            run_env_id: crate::model::EnvironmentId::RELEASE,
            run_env_name: RELEASE,
        }
    }
}

/// A page of APIs.
#[derive(Serialize, ToSchema)]
pub(super) struct ApiList<'a> {
    /// How many there are on all pages together.
    pub(super) total: usize,
    /// How many there are on this one.
    pub(super) size: usize,
    /// These.
    pub(super) apis: Vec<ApiOutline<'a>>,
}
