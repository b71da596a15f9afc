//! Requests about throttling policies.

use std::num::NonZeroU32;

use jiff::Timestamp;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::{
    apig::{
        auth_request::{given, plain},
        call_context::CallContext,
        error::ApigError,
        query::contains,
        request::{count, ensure, is_name, period},
        version::Version,
    },
    openapi::schemas,
    parse_object,
};
use portcullis::model::{CallLimits, Period, TenantId, Throttle, ThrottleId, name::is_app_remark};

/// The request to create or update a throttling policy.
#[derive(Deserialize, ToSchema)]
pub(super) struct ThrottleBody {
    /// The name: 3 to 64 letters, digits and `_`, starting with a letter. In V2, Chinese characters are letters, too.
    #[serde(default)]
    #[schema(value_type = String, required = true, pattern = r"^[A-Za-z\u4e00-\u9fa5][A-Za-z0-9_\u4e00-\u9fa5]{2,63}$")]
    name: Option<String>,
    /// The unit of the period: `SECOND`, `MINUTE`, `HOUR` or `DAY`.
    #[serde(default)]
    #[schema(value_type = schemas::TimeUnit, required = true)]
    time_unit: Option<String>,
    /// The length of a period, in time units.
    #[serde(default)]
    #[schema(value_type = schemas::Count, required = true)]
    time_interval: Option<i64>,
    /// The maximum number of calls of an API in a period.
    #[serde(default)]
    #[schema(value_type = schemas::Count, required = true)]
    api_call_limits: Option<i64>,
    /// The maximum number of calls by one user, not above `api_call_limits`.
    #[serde(default)]
    #[schema(value_type = Option<schemas::Count>, required = false)]
    user_call_limits: Option<i64>,
    /// The maximum number of calls by one app, not above `user_call_limits`.
    #[serde(default)]
    #[schema(value_type = Option<schemas::Count>, required = false)]
    app_call_limits: Option<i64>,
    /// The maximum number of calls from one address, not above `api_call_limits`.
    #[serde(default)]
    #[schema(value_type = Option<schemas::Count>, required = false)]
    ip_call_limits: Option<i64>,
    /// The scope of the limits. 1: each API is counted separately. 2: all APIs of the policy are counted together.
    #[serde(default)]
    #[schema(value_type = Option<u32>, required = false, minimum = 1, maximum = 2)]
    r#type: Option<i64>,
    /// The description: at most 255 characters.
    #[serde(default)]
    #[schema(value_type = Option<schemas::Remark>, required = false)]
    remark: Option<String>,
    /// The adaptive control: `FALSE`. `TRUE` is not supported.
    #[serde(default)]
    #[schema(value_type = Option<String>, required = false, pattern = "^(FALSE)?$")]
    enable_adaptive_control: Option<String>,
}

/// The validated members of a [`ThrottleBody`].
pub(super) struct ThrottleFields {
    version: Version,
    name: String,
    period: Period,
    api: NonZeroU32,
    user: Option<NonZeroU32>,
    app: Option<NonZeroU32>,
    ip: Option<NonZeroU32>,
    shared: Option<bool>,
    remark: Option<String>,
}

impl ThrottleFields {
    pub(super) fn read(content: &[u8], version: Version) -> Result<Self, ApigError> {
        let body: ThrottleBody = parse_object(content)?;
        let name = body.name.filter(|name| !name.is_empty()).ok_or(ApigError::Missing("name"))?;
        let period = period(body.time_unit.as_deref(), body.time_interval)?;
        let api = body.api_call_limits.ok_or(ApigError::Missing("api_call_limits"))?;
        let limit = |number: Option<i64>, member| number.map(|number| count(number, member)).transpose();
        let remark = body.remark.filter(|remark| !remark.is_empty());
        ensure(remark.as_deref().is_none_or(is_app_remark), "remark")?;
        match body.enable_adaptive_control.as_deref() {
            None | Some("" | "FALSE") => {}
            Some("TRUE") => return Err(ApigError::NotSupported("enable_adaptive_control")),
            Some(_) => return Err(ApigError::UnknownValue("enable_adaptive_control")),
        }
        Ok(Self {
            version,
            name,
            period,
            api: count(api, "api_call_limits")?,
            user: limit(body.user_call_limits, "user_call_limits")?,
            app: limit(body.app_call_limits, "app_call_limits")?,
            ip: limit(body.ip_call_limits, "ip_call_limits")?,
            shared: match body.r#type {
                None => None,
                Some(1) => Some(false),
                Some(2) => Some(true),
                Some(_) => return Err(ApigError::UnknownValue("type")),
            },
            remark,
        })
    }

    /// Returns a new throttling policy.
    pub(super) fn throttle(self, tenant: &TenantId, now: Timestamp) -> Result<Throttle, ApigError> {
        let mut throttle = Throttle {
            id: ThrottleId::random(),
            tenant: tenant.clone(),
            name: String::new(),
            remark: String::new(),
            period: self.period,
            limits: CallLimits { api: self.api, user: None, app: None, ip: None },
            shared: false,
            specials: Vec::new(),
            bindings: Vec::new(),
            revision: 1,
            created_at: now,
        };
        self.edit(&mut throttle)?;
        Ok(throttle)
    }

    /// Applies the members to a throttling policy. Absent optional members stay unchanged.
    pub(super) fn edit(&self, throttle: &mut Throttle) -> Result<(), ApigError> {
        ensure(self.name == throttle.name || is_name(&self.name, self.version), "name")?;
        let before = throttle.limits;
        let limits = CallLimits {
            api: self.api,
            user: self.user.or(before.user),
            app: self.app.or(before.app),
            ip: self.ip.or(before.ip),
        };
        let within = |inner: Option<_>, outer| inner.is_none_or(|inner| inner <= outer);
        ensure(within(limits.user, limits.api), "user_call_limits")?;
        ensure(within(limits.app, limits.user.unwrap_or(limits.api)), "app_call_limits")?;
        ensure(within(limits.ip, limits.api), "ip_call_limits")?;
        throttle.limits = limits;
        throttle.name.clone_from(&self.name);
        throttle.period = self.period;
        throttle.shared = self.shared.unwrap_or(throttle.shared);
        if let Some(remark) = &self.remark {
            throttle.remark.clone_from(remark);
        }
        Ok(())
    }
}

/// The filters of a list of throttling policies.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::apig) struct ThrottlesQuery {
    /// Only the throttling policy with this id.
    #[param(value_type = schemas::MaybeId, required = false)]
    id: Option<String>,
    /// Only throttling policies with this text in their name, or with exactly this name if `precise_search` is `name`.
    #[param(value_type = schemas::Text, required = false)]
    name: Option<String>,
    /// `name` requires `name` to match exactly.
    #[param(value_type = String, required = false, pattern = "^(name)?$")]
    precise_search: Option<String>,
}

impl ThrottlesQuery {
    pub(super) fn filter(self, call: &CallContext) -> Result<impl Fn(&Throttle) -> bool, ApigError> {
        let precise = match given(self.precise_search.as_ref()) {
            None => false,
            Some("name") => true,
            Some(_) => return Err(ApigError::NotSupported("precise_search")),
        };
        let id = given(self.id.as_ref()).map(|id| call.parse_id(id).ok_or(ApigError::NotSupported("id")));
        let id: Option<ThrottleId> = id.transpose()?;
        let name = plain(self.name.as_ref(), "name")?;
        Ok(move |throttle: &Throttle| {
            let named = |text: &String| {
                if precise { throttle.name == *text } else { contains(&throttle.name, text) }
            };
            id.as_ref().is_none_or(|id| throttle.id == *id) && name.as_ref().is_none_or(named)
        })
    }
}
