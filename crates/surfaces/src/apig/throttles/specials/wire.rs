//! Requests and responses about excluded configurations.

use std::{borrow::Cow, num::NonZeroU32};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    apig::{call_context::CallContext, error::ApigError, request::count, version::Version},
    openapi::schemas,
    parse_object,
};
use portcullis::model::{OverrideSubject, Throttle, ThrottleOverride};

/// The request to create an excluded configuration.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "it only describes the bodies of both versions")]
pub(super) struct SpecialBody {
    /// The maximum number of calls in a period.
    #[schema(value_type = schemas::Count)]
    call_limits: i64,
    /// V2: the id of the app, or of the user, which is the id of the project.
    #[schema(value_type = schemas::Id)]
    object_id: String,
    /// V2: the type of the object, `APP` or `USER`.
    #[schema(value_type = schemas::SpecialOf)]
    object_type: String,
    /// V1: the id of the app, or of the user, which is the id of the project.
    #[schema(value_type = schemas::Id)]
    instance_id: String,
    /// V1: the type of the object, `APP` or `USER`.
    #[schema(value_type = schemas::SpecialOf)]
    instance_type: String,
    /// V1: the id of the throttling policy.
    #[schema(value_type = schemas::Id)]
    strategy_id: String,
}

/// The V1 request to create an excluded configuration.
#[derive(Default, Deserialize)]
#[serde(default)]
struct FirstBody {
    call_limits: Option<i64>,
    instance_id: Option<String>,
    instance_type: Option<String>,
    strategy_id: Option<String>,
}

/// The V2 request to create an excluded configuration.
#[derive(Default, Deserialize)]
#[serde(default)]
struct SecondBody {
    call_limits: Option<i64>,
    object_id: Option<String>,
    object_type: Option<String>,
}

/// The validated members of a request to create an excluded configuration.
pub(super) struct WantedSpecial {
    pub(super) throttle: String,
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) limit: NonZeroU32,
}

impl WantedSpecial {
    /// Parses and validates a body. In V2, the path names the throttling policy.
    pub(super) fn read(content: &[u8], call: &CallContext) -> Result<Self, ApigError> {
        let (throttle, id, kind, limit) = match call.version {
            Version::One => {
                let body: FirstBody = parse_object(content)?;
                let throttle = text(body.strategy_id, "strategy_id")?;
                let id = text(body.instance_id, "instance_id")?;
                (throttle, id, text(body.instance_type, "instance_type")?, body.call_limits)
            }
            Version::Two => {
                let body: SecondBody = parse_object(content)?;
                let id = text(body.object_id, "object_id")?;
                (call.segment(1).to_owned(), id, text(body.object_type, "object_type")?, body.call_limits)
            }
        };
        let limit = count(limit.ok_or(ApigError::Missing("call_limits"))?, "call_limits")?;
        Ok(Self { throttle, id, kind, limit })
    }
}

/// Checks that a mandatory text is present and not empty.
fn text(text: Option<String>, member: &'static str) -> Result<String, ApigError> {
    text.filter(|text| !text.is_empty()).ok_or(ApigError::Missing(member))
}

/// The request to update an excluded configuration.
#[derive(Deserialize, ToSchema)]
pub(in crate::apig) struct LimitBody {
    /// The maximum number of calls in a period.
    #[serde(default)]
    #[schema(value_type = schemas::Count, required = true)]
    pub(super) call_limits: Option<i64>,
}

/// The filters of a list of excluded configurations.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::apig) struct SpecialsQuery {
    /// Only excluded apps (`APP`) or only excluded users (`USER`).
    #[param(value_type = String, required = false, pattern = "^(APP|USER)?$")]
    pub(super) object_type: Option<String>,
    /// V1: only excluded apps (`APP`) or only excluded users (`USER`).
    #[param(value_type = String, required = false, pattern = "^(APP|USER)?$")]
    pub(super) instance_type: Option<String>,
    /// Only apps with this text in their name.
    #[param(value_type = schemas::Text, required = false)]
    pub(super) app_name: Option<String>,
    /// Only users with this text in their name.
    #[param(value_type = schemas::Text, required = false)]
    pub(super) user: Option<String>,
}

/// An excluded configuration.
#[derive(Serialize, ToSchema)]
pub(super) struct SpecialInfo<'a> {
    /// The id of the excluded configuration.
    #[schema(value_type = String)]
    id: Cow<'a, str>,
    /// The maximum number of calls in a period.
    call_limits: u32,
    /// The time of creation.
    apply_time: Timestamp,
    /// The id of the app; absent for a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    app_id: Option<Cow<'a, str>>,
    /// The name of the app; absent for a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    app_name: Option<&'a str>,
    /// The name of the app, or the id of the user.
    object_name: &'a str,
    /// V1: the id of the app or user.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    instance_id: Option<Cow<'a, str>>,
    /// V1: the type of the object, `APP` or `USER`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schemas::SpecialOf, required = false)]
    instance_type: Option<&'static str>,
    /// V1: the id of the throttling policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    strategy_id: Option<Cow<'a, str>>,
    /// V2: the id of the app or user.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    object_id: Option<Cow<'a, str>>,
    /// V2: the type of the object, `APP` or `USER`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schemas::SpecialOf, required = false)]
    object_type: Option<&'static str>,
    /// V2: the id of the throttling policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    throttle_id: Option<Cow<'a, str>>,
}

/// A page of excluded configurations.
#[derive(Serialize, ToSchema)]
pub(super) struct SpecialList<'a> {
    /// The total number of matches, on all pages.
    pub(super) total: usize,
    /// The number of items on this page.
    pub(super) size: usize,
    /// The excluded configurations on this page.
    pub(super) throttle_specials: Vec<SpecialInfo<'a>>,
}

/// An excluded configuration and the name of its object.
pub(super) type Named = (ThrottleOverride, String);

pub(super) fn show_one<'a>(
    version: Version,
    throttle: &'a Throttle,
    (special, name): &'a Named,
) -> SpecialInfo<'a> {
    let (id, kind) = match &special.of {
        OverrideSubject::App(id) => (version.shown(id.as_str()), "APP"),
        OverrideSubject::User(id) => (id.into(), "USER"),
    };
    let app = matches!(special.of, OverrideSubject::App(_));
    let throttle = version.shown(throttle.id.as_str());
    let (first, second) = (version == Version::One, version == Version::Two);
    SpecialInfo {
        id: version.shown(special.id.as_str()),
        call_limits: special.limit.get(),
        apply_time: special.created_at,
        app_id: app.then(|| id.clone()),
        app_name: app.then_some(name.as_str()),
        object_name: name,
        instance_id: first.then(|| id.clone()),
        instance_type: first.then_some(kind),
        strategy_id: first.then(|| throttle.clone()),
        object_id: second.then_some(id),
        object_type: second.then_some(kind),
        throttle_id: second.then_some(throttle),
    }
}
