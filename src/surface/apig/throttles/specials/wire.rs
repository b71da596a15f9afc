//! Excluded configurations as they are sent and shown.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::{Special, SpecialOf, Throttle},
    surface::{apig::Version, spec::words, whole},
};

/// The body of a creation; the versions name its members differently.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SpecialBody {
    /// How often it may call in each period.
    #[serde(default, deserialize_with = "whole")]
    #[schema(value_type = words::Count, required = true)]
    pub(super) call_limits: Option<i64>,
    /// V2: the app's id, or the user's: its project's.
    #[serde(default)]
    #[schema(value_type = words::Id, required = true)]
    pub(super) object_id: Option<String>,
    /// V2: `APP` or `USER`.
    #[serde(default)]
    #[schema(value_type = words::SpecialOf, required = true)]
    pub(super) object_type: Option<String>,
    /// V1: as `object_id`.
    #[serde(default)]
    #[schema(value_type = words::Id, required = true)]
    pub(super) instance_id: Option<String>,
    /// V1: as `object_type`.
    #[serde(default)]
    #[schema(value_type = words::SpecialOf, required = true)]
    pub(super) instance_type: Option<String>,
    /// V1: the throttling policy.
    #[serde(default)]
    #[schema(value_type = words::Id, required = true)]
    pub(super) strategy_id: Option<String>,
}

/// The body of a modification.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitBody {
    /// How often it may call in each period.
    #[serde(default, deserialize_with = "whole")]
    #[schema(value_type = words::Count, required = true)]
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
    #[param(value_type = words::Text, required = false)]
    pub(super) app_name: Option<String>,
    /// Only users whose name holds this.
    #[param(value_type = words::Text, required = false)]
    pub(super) user: Option<String>,
}

/// Members that the versions name differently.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = SpecialObject)]
#[allow(clippy::struct_field_names, reason = "they are the contract's")]
enum Object<'a> {
    /// V1.
    One {
        #[schema(value_type = String)]
        instance_id: Cow<'a, str>,
        #[schema(value_type = words::SpecialOf)]
        instance_type: &'static str,
        #[schema(value_type = String)]
        strategy_id: Cow<'a, str>,
    },
    /// V2.
    Two {
        #[schema(value_type = String)]
        object_id: Cow<'a, str>,
        #[schema(value_type = words::SpecialOf)]
        object_type: &'static str,
        #[schema(value_type = String)]
        throttle_id: Cow<'a, str>,
    },
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
    #[serde(flatten)]
    object: Object<'a>,
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
pub(super) type Named = (Special, String);

pub(super) fn show_one<'a>(
    version: Version,
    throttle: &'a Throttle,
    (special, name): &'a Named,
) -> SpecialInfo<'a> {
    let (id, kind) = match &special.of {
        SpecialOf::App(id) => (version.shown(id.as_str()), "APP"),
        SpecialOf::User(id) => (id.into(), "USER"),
    };
    let app = matches!(special.of, SpecialOf::App(_));
    let throttle = version.shown(throttle.id.as_str());
    SpecialInfo {
        id: version.shown(special.id.as_str()),
        call_limits: special.limit.get(),
        apply_time: special.created_at,
        app_id: app.then(|| id.clone()),
        app_name: app.then_some(name.as_str()),
        object_name: name,
        object: match version {
            Version::One => Object::One { instance_id: id, instance_type: kind, strategy_id: throttle },
            Version::Two => Object::Two { object_id: id, object_type: kind, throttle_id: throttle },
        },
    }
}
