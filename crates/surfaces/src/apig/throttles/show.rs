//! Responses about throttling policies.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    apig::{auth_response::RELEASE, version::Version},
    openapi::schemas,
};
use portcullis::model::{Binding, EnvironmentId, RouteName, Throttle};

/// A throttling policy.
#[derive(Serialize, ToSchema)]
pub(super) struct ThrottleInfo<'a> {
    /// The id of the throttling policy.
    #[schema(value_type = String)]
    id: Cow<'a, str>,
    /// The name of the throttling policy.
    name: &'a str,
    /// The maximum number of calls of an API in a period.
    api_call_limits: u32,
    /// The maximum number of calls by one user in a period; absent if there is no such limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    user_call_limits: Option<u32>,
    /// The maximum number of calls by one app in a period; absent if there is no such limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    app_call_limits: Option<u32>,
    /// The maximum number of calls from one address in a period; absent if there is no such limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    ip_call_limits: Option<u32>,
    /// The length of a period, in time units.
    time_interval: u32,
    /// The unit of the period: `SECOND`, `MINUTE`, `HOUR` or `DAY`.
    #[schema(value_type = schemas::TimeUnit)]
    time_unit: &'static str,
    /// The description of the throttling policy.
    remark: &'a str,
    /// The time of creation.
    create_time: Timestamp,
    /// The scope of the limits. 1: each API is counted separately. 2: all APIs of the policy are counted together.
    r#type: u8,
    /// The number of APIs that the policy is bound to.
    bind_num: usize,
    /// 1: the policy has excluded configurations. 2: it has none.
    is_inclu_special_throttle: u8,
    /// The adaptive control; always `FALSE`.
    enable_adaptive_control: &'static str,
}

impl<'a> ThrottleInfo<'a> {
    pub(super) fn new(version: Version, throttle: &'a Throttle) -> Self {
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
    /// The total number of matches, on all pages.
    pub(super) total: usize,
    /// The number of items on this page.
    pub(super) size: usize,
    /// The throttling policies on this page.
    pub(super) throttles: Vec<ThrottleInfo<'a>>,
}

/// A throttling policy and its binding to an API.
#[derive(Serialize, ToSchema)]
pub(super) struct ThrottleOfApi<'a> {
    #[serde(flatten)]
    throttle: ThrottleInfo<'a>,
    /// The name of the environment.
    env_name: &'static str,
    /// The id of the binding.
    #[schema(value_type = String)]
    bind_id: Cow<'a, str>,
    /// The time of the binding.
    bind_time: Timestamp,
}

impl<'a> ThrottleOfApi<'a> {
    pub(super) fn new(version: Version, throttle: &'a Throttle, binding: &'a Binding) -> Self {
        Self {
            throttle: ThrottleInfo::new(version, throttle),
            env_name: RELEASE,
            bind_id: version.shown(binding.id.as_str()),
            bind_time: binding.created_at,
        }
    }
}

/// The throttling policy of an API: a list of at most one.
#[derive(Serialize, ToSchema)]
pub(super) struct ThrottlesOfApi<'a> {
    /// The total number of matches, on all pages.
    pub(super) total: usize,
    /// The number of items on this page.
    pub(super) size: usize,
    /// The throttling policies on this page.
    pub(super) throttles: Vec<ThrottleOfApi<'a>>,
}

/// A binding of a throttling policy to an API.
#[derive(Serialize, ToSchema)]
pub(super) struct Applied<'a> {
    /// The id of the API's publication, which is the id of the API.
    publish_id: &'a str,
    /// The scope of the binding; always 1, the API.
    scope: u8,
    /// The id of the throttling policy.
    #[schema(value_type = String)]
    strategy_id: Cow<'a, str>,
    /// The time of the binding.
    apply_time: Timestamp,
    /// The id of the binding.
    #[schema(value_type = String)]
    id: Cow<'a, str>,
}

impl<'a> Applied<'a> {
    pub(super) fn new(version: Version, throttle: &'a Throttle, binding: &'a Binding) -> Self {
        Self {
            publish_id: binding.route.as_str(),
            scope: 1,
            strategy_id: version.shown(throttle.id.as_str()),
            apply_time: binding.created_at,
            id: version.shown(binding.id.as_str()),
        }
    }
}

/// The bindings of a throttling policy to the requested APIs.
#[derive(Serialize, ToSchema)]
pub(super) struct AllApplied<'a> {
    /// One binding for each API.
    pub(super) throttle_applys: Vec<Applied<'a>>,
}

/// An API, and its binding to a throttling policy if it is bound.
#[derive(Serialize, ToSchema)]
pub(super) struct ApiOfThrottle<'a> {
    /// The id of the API.
    id: &'a str,
    /// The name of the API; equal to its id.
    name: &'a str,
    /// The visibility of the API; always 1, public.
    r#type: u8,
    /// The authentication mode; always `APP`.
    auth_type: &'static str,
    /// The id of the API's publication, which is the id of the API.
    publish_id: &'a str,
    /// The id of the environment of the API.
    run_env_id: &'static str,
    /// The name of the environment of the API.
    run_env_name: &'static str,
    /// The id of the binding.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    throttle_apply_id: Option<Cow<'a, str>>,
    /// The time of the binding.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    apply_time: Option<Timestamp>,
    /// The name of the throttling policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    throttle_name: Option<&'a str>,
}

impl<'a> ApiOfThrottle<'a> {
    /// Returns an API that the policy is not bound to.
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

    /// Returns an API that the policy is bound to.
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
    /// The total number of matches, on all pages.
    pub(super) total: usize,
    /// The number of items on this page.
    pub(super) size: usize,
    /// The APIs on this page.
    pub(super) apis: Vec<ApiOfThrottle<'a>>,
}

/// The result of unbinding many APIs.
#[derive(Serialize, ToSchema)]
pub(super) struct Unbound {
    /// The number of removed bindings.
    pub(super) success_count: usize,
    /// The bindings that could not be removed.
    pub(super) failure: Vec<NotUnbound>,
}

/// A binding that does not exist.
#[derive(Serialize, ToSchema)]
pub(super) struct NotUnbound {
    /// The id of the binding, as in the request.
    pub(super) bind_id: String,
    /// The reason as a code.
    pub(super) error_code: &'static str,
    /// The reason as a text.
    pub(super) error_msg: &'static str,
}
