//! Excluded configurations as they are sent and shown.

use std::{borrow::Cow, num::NonZeroU32};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    model::{ThrottleOverride, OverrideSubject, Throttle},
    surface::{
        apig::{ApigError, Version, call_context::CallContext, request::count},
        parse_object,
        openapi::schemas,
    },
};

/// The body of a creation, as it is described: each version has the members that are its own.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "it only describes the bodies of both versions")]
pub(super) struct SpecialBody {
    /// How often it may call in each period.
    #[schema(value_type = schemas::Count)]
    call_limits: i64,
    /// V2: the app's id, or the user's: its project's.
    #[schema(value_type = schemas::Id)]
    object_id: String,
    /// V2: `APP` or `USER`.
    #[schema(value_type = schemas::SpecialOf)]
    object_type: String,
    /// V1: as `object_id`.
    #[schema(value_type = schemas::Id)]
    instance_id: String,
    /// V1: as `object_type`.
    #[schema(value_type = schemas::SpecialOf)]
    instance_type: String,
    /// V1: the throttling policy.
    #[schema(value_type = schemas::Id)]
    strategy_id: String,
}

/// The body of a creation in the first version.
#[derive(Default, Deserialize)]
#[serde(default)]
struct FirstBody {
    call_limits: Option<i64>,
    instance_id: Option<String>,
    instance_type: Option<String>,
    strategy_id: Option<String>,
}

/// The body of a creation in the second version.
#[derive(Default, Deserialize)]
#[serde(default)]
struct SecondBody {
    call_limits: Option<i64>,
    object_id: Option<String>,
    object_type: Option<String>,
}

/// An excluded configuration that is to be made, each member by its rule.
pub(super) struct WantedSpecial {
    pub(super) throttle: String,
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) limit: NonZeroU32,
}

impl WantedSpecial {
    /// Reads a body; in the second version, the path names the throttling policy.
    pub(super) fn read(content: &[u8], asked: &CallContext) -> Result<Self, ApigError> {
        let (throttle, id, kind, limit) = match asked.version {
            Version::One => {
                let body: FirstBody = parse_object(content)?;
                let throttle = text(body.strategy_id, "strategy_id")?;
                let id = text(body.instance_id, "instance_id")?;
                (throttle, id, text(body.instance_type, "instance_type")?, body.call_limits)
            }
            Version::Two => {
                let body: SecondBody = parse_object(content)?;
                let id = text(body.object_id, "object_id")?;
                (asked.segment(1).to_owned(), id, text(body.object_type, "object_type")?, body.call_limits)
            }
        };
        let limit = count(limit.ok_or(ApigError::Missing("call_limits"))?, "call_limits")?;
        Ok(Self { throttle, id, kind, limit })
    }
}

/// A mandatory member that is a text.
fn text(text: Option<String>, member: &'static str) -> Result<String, ApigError> {
    text.filter(|text| !text.is_empty()).ok_or(ApigError::Missing(member))
}

/// The body of a modification.
#[derive(Deserialize, ToSchema)]
pub(super) struct LimitBody {
    /// How often it may call in each period.
    #[serde(default)]
    #[schema(value_type = schemas::Count, required = true)]
    pub(super) call_limits: Option<i64>,
}

/// The filters of a list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SpecialsQuery {
    /// Only `APP`, or only `USER`.
    #[param(value_type = String, required = false, pattern = "^(APP|USER)?$")]
    pub(super) object_type: Option<String>,
    /// The same in V1.
    #[param(value_type = String, required = false, pattern = "^(APP|USER)?$")]
    pub(super) instance_type: Option<String>,
    /// Only apps whose name holds this.
    #[param(value_type = schemas::Text, required = false)]
    pub(super) app_name: Option<String>,
    /// Only users whose name holds this.
    #[param(value_type = schemas::Text, required = false)]
    pub(super) user: Option<String>,
}

/// An excluded configuration.
#[derive(Serialize, ToSchema)]
pub(super) struct SpecialInfo<'a> {
    /// Its id.
    #[schema(value_type = String)]
    id: Cow<'a, str>,
    /// How often it may call in each period.
    call_limits: u32,
    /// When it was made.
    apply_time: Timestamp,
    /// The app, when it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    app_id: Option<Cow<'a, str>>,
    /// The app's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    app_name: Option<&'a str>,
    /// The app's name, or the user's: its id.
    object_name: &'a str,
    /// V1: the app's id, or the user's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    instance_id: Option<Cow<'a, str>>,
    /// V1: `APP` or `USER`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schemas::SpecialOf, required = false)]
    instance_type: Option<&'static str>,
    /// V1: the throttling policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    strategy_id: Option<Cow<'a, str>>,
    /// V2: the app's id, or the user's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    object_id: Option<Cow<'a, str>>,
    /// V2: `APP` or `USER`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schemas::SpecialOf, required = false)]
    object_type: Option<&'static str>,
    /// V2: the throttling policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    throttle_id: Option<Cow<'a, str>>,
}

/// A page of excluded configurations.
#[derive(Serialize, ToSchema)]
pub(super) struct SpecialList<'a> {
    /// How many there are on all pages together.
    pub(super) total: usize,
    /// How many there are on this one.
    pub(super) size: usize,
    /// These.
    pub(super) throttle_specials: Vec<SpecialInfo<'a>>,
}

/// A special with the name of its object.
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
