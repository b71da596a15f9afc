//! Throttling policies as the contract shows them.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::{Version, auth_response::RELEASE};
use crate::{
    model::{Binding, EnvironmentId, RouteName, Throttle},
    surface::openapi::schemas,
};

/// A throttling policy.
#[derive(Serialize, ToSchema)]
pub(super) struct ThrottleInfo<'a> {
    /// Its id.
    #[schema(value_type = String)]
    id: Cow<'a, str>,
    /// Its name.
    name: &'a str,
    /// How often an API may be called in each period.
    api_call_limits: u32,
    /// How often by one user.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    user_call_limits: Option<u32>,
    /// How often by one app.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    app_call_limits: Option<u32>,
    /// How often from one address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    ip_call_limits: Option<u32>,
    /// How many units a period has.
    time_interval: u32,
    /// `SECOND`, `MINUTE`, `HOUR` or `DAY`.
    #[schema(value_type = schemas::TimeUnit)]
    time_unit: &'static str,
    /// Its description.
    remark: &'a str,
    /// When it was made.
    create_time: Timestamp,
    /// 1: each API has limits of its own. 2: all that it is bound to share them.
    r#type: u8,
    /// How many APIs it is bound to.
    bind_num: usize,
    /// 1: somebody has another limit. 2: nobody has.
    is_inclu_special_throttle: u8,
    /// Always `FALSE`.
    enable_adaptive_control: &'static str,
}

impl<'a> ThrottleInfo<'a> {
    pub(super) fn of(version: Version, throttle: &'a Throttle) -> Self {
        let limits = throttle.limits;
        Self {
            id: version.shown(throttle.id.as_str()),
            name: &throttle.name,
            api_call_limits: limits.api.get(),
            user_call_limits: limits.user.map(Into::into),
            app_call_limits: limits.app.map(Into::into),
            ip_call_limits: limits.ip.map(Into::into),
            time_interval: throttle.period.interval.get(),
            time_unit: throttle.period.unit.as_str(),
            remark: &throttle.remark,
            create_time: throttle.created_at,
            r#type: if throttle.shared { 2 } else { 1 },
            bind_num: throttle.bindings.len(),
            is_inclu_special_throttle: if throttle.specials.is_empty() { 2 } else { 1 },
            enable_adaptive_control: "FALSE",
        }
    }
}

/// A page of throttling policies.
#[derive(Serialize, ToSchema)]
pub(super) struct ThrottleList<'a> {
    /// How many there are on all pages together.
    pub(super) total: usize,
    /// How many there are on this one.
    pub(super) size: usize,
    /// These.
    pub(super) throttles: Vec<ThrottleInfo<'a>>,
}

/// A throttling policy, as it is bound to an API.
#[derive(Serialize, ToSchema)]
pub(super) struct ThrottleOfApi<'a> {
    #[serde(flatten)]
    throttle: ThrottleInfo<'a>,
    /// The environment's name.
    env_name: &'static str,
    /// The binding.
    #[schema(value_type = String)]
    bind_id: Cow<'a, str>,
    /// When it was made.
    bind_time: Timestamp,
}

impl<'a> ThrottleOfApi<'a> {
    pub(super) fn of(version: Version, throttle: &'a Throttle, binding: &'a Binding) -> Self {
        Self {
            throttle: ThrottleInfo::of(version, throttle),
            env_name: RELEASE,
            bind_id: version.shown(binding.id.as_str()),
            bind_time: binding.created_at,
        }
    }
}

/// The throttling policy of an API: one, or none.
#[derive(Serialize, ToSchema)]
pub(super) struct ThrottlesOfApi<'a> {
    /// How many there are on all pages together.
    pub(super) total: usize,
    /// How many there are on this one.
    pub(super) size: usize,
    /// These.
    pub(super) throttles: Vec<ThrottleOfApi<'a>>,
}

/// A binding that stands since.
#[derive(Serialize, ToSchema)]
pub(super) struct Applied<'a> {
    /// The API's publication: its id.
    publish_id: &'a str,
    /// Always 1: the API.
    scope: u8,
    /// The throttling policy.
    #[schema(value_type = String)]
    strategy_id: Cow<'a, str>,
    /// When it was bound.
    apply_time: Timestamp,
    /// The binding.
    #[schema(value_type = String)]
    id: Cow<'a, str>,
}

impl<'a> Applied<'a> {
    pub(super) fn of(version: Version, throttle: &'a Throttle, binding: &'a Binding) -> Self {
        Self {
            publish_id: binding.route.as_str(),
            scope: 1,
            strategy_id: version.shown(throttle.id.as_str()),
            apply_time: binding.created_at,
            id: version.shown(binding.id.as_str()),
        }
    }
}

/// The bindings that were asked for.
#[derive(Serialize, ToSchema)]
pub(super) struct AllApplied<'a> {
    /// One for each API.
    pub(super) throttle_applys: Vec<Applied<'a>>,
}

/// An API, with what binds it to a throttling policy, when something does.
#[derive(Serialize, ToSchema)]
pub(super) struct ApiOfThrottle<'a> {
    /// Its id.
    id: &'a str,
    /// Its name: its id.
    name: &'a str,
    /// Always 1: it is public.
    r#type: u8,
    /// How its callers are known: `APP`.
    auth_type: &'static str,
    /// Its publication: its id.
    publish_id: &'a str,
    /// The environment that it is published in.
    run_env_id: &'static str,
    /// That environment's name.
    run_env_name: &'static str,
    /// The binding.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    throttle_apply_id: Option<Cow<'a, str>>,
    /// When it was bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    apply_time: Option<Timestamp>,
    /// The throttling policy's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    throttle_name: Option<&'a str>,
}

impl<'a> ApiOfThrottle<'a> {
    /// An API that it is not bound to.
    pub(super) fn unbound(api: &'a RouteName) -> Self {
        Self {
            id: api.as_str(),
            name: api.as_str(),
            r#type: 1,
            auth_type: "APP",
            publish_id: api.as_str(),
            run_env_id: EnvironmentId::RELEASE,
            run_env_name: RELEASE,
            throttle_apply_id: None,
            apply_time: None,
            throttle_name: None,
        }
    }

    /// One that it is bound to.
    pub(super) fn bound(version: Version, throttle: &'a Throttle, binding: &'a Binding) -> Self {
        Self {
            throttle_apply_id: Some(version.shown(binding.id.as_str())),
            apply_time: Some(binding.created_at),
            throttle_name: Some(&throttle.name),
            ..Self::unbound(&binding.route)
        }
    }
}

/// A page of APIs.
#[derive(Serialize, ToSchema)]
pub(super) struct ApisOfThrottle<'a> {
    /// How many there are on all pages together.
    pub(super) total: usize,
    /// How many there are on this one.
    pub(super) size: usize,
    /// These.
    pub(super) apis: Vec<ApiOfThrottle<'a>>,
}

/// What became of many bindings that were to go.
#[derive(Serialize, ToSchema)]
pub(super) struct Unbound {
    /// How many are gone.
    pub(super) success_count: usize,
    /// The others.
    pub(super) failure: Vec<NotUnbound>,
}

/// A binding that was not there.
#[derive(Serialize, ToSchema)]
pub(super) struct NotUnbound {
    /// Its id, as it was given.
    pub(super) bind_id: String,
    /// Why, for programs.
    pub(super) error_code: &'static str,
    /// Why, for people.
    pub(super) error_msg: &'static str,
}
