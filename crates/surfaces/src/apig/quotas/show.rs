//! Responses about quotas.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::fields::MOMENT;
use crate::{
    apig::{error::ApigError, response::app_of, version::Version},
    openapi::schemas,
};
use portcullis::model::{BoundQuota, Caller, Quota, Status};

/// A quota.
#[derive(Serialize, ToSchema)]
pub(super) struct QuotaInfo<'a> {
    /// The id of the quota.
    #[schema(value_type = String)]
    app_quota_id: Cow<'a, str>,
    /// The name of the quota.
    name: &'a str,
    /// The maximum number of calls by each app in a period.
    call_limits: u32,
    /// The unit of the period: `SECOND`, `MINUTE`, `HOUR` or `DAY`.
    #[schema(value_type = schemas::TimeUnit)]
    time_unit: &'static str,
    /// The length of a period, in time units.
    time_interval: u32,
    /// The description of the quota.
    remark: &'a str,
    /// The start of a period, in UTC; absent if none was set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reset_time: Option<String>,
    /// The time of creation.
    create_time: Timestamp,
    /// The number of apps that are bound to the quota.
    bound_app_num: u64,
}

impl<'a> QuotaInfo<'a> {
    pub(super) fn new(version: Version, quota: &'a Quota, bound: u64) -> Self {
        Self {
            app_quota_id: version.shown(quota.id.as_str()),
            name: &quota.name,
            call_limits: quota.limit.get(),
            time_unit: quota.period.unit.as_str(),
            time_interval: quota.period.interval.get(),
            remark: &quota.remark,
            reset_time: quota.reset_at.map(|at| at.strftime(MOMENT).to_string()),
            create_time: quota.created_at,
            bound_app_num: bound,
        }
    }
}

/// The quota of an app, or an empty object.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum QuotaOfApp<'a> {
    /// The quota of the app.
    Bound(QuotaInfo<'a>),
    /// An empty object: the app has no quota.
    None(NoQuota),
}

/// An empty object.
#[derive(Serialize, ToSchema)]
#[schema(max_properties = 0)]
pub(super) struct NoQuota {}

/// A page of quotas.
#[derive(Serialize, ToSchema)]
pub(super) struct QuotaList<'a> {
    /// The total number of matches, on all pages.
    pub(super) total: usize,
    /// The number of items on this page.
    pub(super) size: usize,
    /// The quotas on this page.
    pub(super) quotas: Vec<QuotaInfo<'a>>,
}

/// A binding of a quota to an app.
#[derive(Serialize, ToSchema)]
pub(super) struct QuotaApply<'a> {
    /// The id of the app.
    #[schema(value_type = String)]
    app_id: Cow<'a, str>,
    /// The id of the quota.
    #[schema(value_type = String)]
    app_quota_id: Cow<'a, str>,
    /// The time of the binding.
    bound_time: Timestamp,
}

impl<'a> QuotaApply<'a> {
    pub(super) fn new(version: Version, app: &'a Caller, bound: &'a BoundQuota) -> Self {
        Self {
            app_id: version.shown(app.id.as_str()),
            app_quota_id: version.shown(bound.id.as_str()),
            bound_time: bound.bound_at,
        }
    }
}

/// The bindings of a quota to the requested apps.
#[derive(Serialize, ToSchema)]
pub(super) struct QuotaApplies<'a> {
    /// One binding for each app.
    pub(super) applies: Vec<QuotaApply<'a>>,
}

/// An app, and its quota if it has one.
#[derive(Serialize, ToSchema)]
pub(super) struct QuotaApp<'a> {
    /// The id of the app.
    #[schema(value_type = String)]
    app_id: Cow<'a, str>,
    /// The name of the app.
    name: &'a str,
    /// The status of the app: 1 enabled, 2 disabled.
    status: u8,
    /// The AppKey of the app.
    app_key: &'a str,
    /// The description of the app.
    remark: &'a str,
    /// The time of creation.
    register_time: Timestamp,
    /// The time of the last change.
    update_time: Timestamp,
    /// The id of the quota.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    app_quota_id: Option<Cow<'a, str>>,
    /// The name of the quota.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    app_quota_name: Option<&'a str>,
    /// The time of the binding.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    bound_time: Option<Timestamp>,
}

impl<'a> QuotaApp<'a> {
    pub(super) fn new(
        version: Version,
        caller: &'a Caller,
        quota: Option<&'a Quota>,
    ) -> Result<Self, ApigError> {
        let app = app_of(caller)?;
        Ok(Self {
            app_id: version.shown(caller.id.as_str()),
            name: &caller.name,
            status: if caller.status == Status::Enabled { 1 } else { 2 },
            app_key: &app.key,
            remark: &app.remark,
            register_time: caller.created_at,
            update_time: caller.updated_at,
            app_quota_id: quota.map(|quota| version.shown(quota.id.as_str())),
            app_quota_name: quota.map(|quota| &*quota.name),
            bound_time: app.quota.as_ref().map(|bound| bound.bound_at),
        })
    }
}

/// A page of apps.
#[derive(Serialize, ToSchema)]
pub(super) struct QuotaApps<'a> {
    /// The total number of matches, on all pages.
    pub(super) total: u64,
    /// The number of items on this page.
    pub(super) size: usize,
    /// The apps on this page.
    pub(super) apps: Vec<QuotaApp<'a>>,
}
