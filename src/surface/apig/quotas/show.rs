//! Quotas as the contract shows them.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::fields::MOMENT;
use crate::{
    model::{BoundQuota, Caller, Quota, Status},
    surface::{
        apig::{ApigError, Version, response::app_of},
        openapi::schemas,
    },
};

/// A quota.
#[derive(Serialize, ToSchema)]
pub(super) struct QuotaInfo<'a> {
    /// Its id.
    #[schema(value_type = String)]
    app_quota_id: Cow<'a, str>,
    /// Its name.
    name: &'a str,
    /// How often each app may call in a period.
    call_limits: u32,
    /// `SECOND`, `MINUTE`, `HOUR` or `DAY`.
    #[schema(value_type = schemas::TimeUnit)]
    time_unit: &'static str,
    /// How many of them are a period.
    time_interval: u32,
    /// Its description.
    remark: &'a str,
    /// When a period begins, in UTC, when that was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reset_time: Option<String>,
    /// When it was made.
    create_time: Timestamp,
    /// How many apps have it.
    bound_app_num: u64,
}

impl<'a> QuotaInfo<'a> {
    pub(super) fn of(version: Version, quota: &'a Quota, bound: u64) -> Self {
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

/// The quota of an app.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum QuotaOfApp<'a> {
    /// It has one.
    Bound(QuotaInfo<'a>),
    /// It has none.
    None(NoQuota),
}

/// An empty object.
#[derive(Serialize, ToSchema)]
#[schema(max_properties = 0)]
pub(super) struct NoQuota {}

/// A page of quotas.
#[derive(Serialize, ToSchema)]
pub(super) struct QuotaList<'a> {
    /// How many there are on all pages together.
    pub(super) total: usize,
    /// How many there are on this one.
    pub(super) size: usize,
    /// These.
    pub(super) quotas: Vec<QuotaInfo<'a>>,
}

/// That an app has a quota.
#[derive(Serialize, ToSchema)]
pub(super) struct QuotaApply<'a> {
    /// The app.
    #[schema(value_type = String)]
    app_id: Cow<'a, str>,
    /// The quota.
    #[schema(value_type = String)]
    app_quota_id: Cow<'a, str>,
    /// Since when.
    bound_time: Timestamp,
}

impl<'a> QuotaApply<'a> {
    pub(super) fn of(version: Version, app: &'a Caller, bound: &'a BoundQuota) -> Self {
        Self {
            app_id: version.shown(app.id.as_str()),
            app_quota_id: version.shown(bound.id.as_str()),
            bound_time: bound.bound_at,
        }
    }
}

/// The apps that have the quota since.
#[derive(Serialize, ToSchema)]
pub(super) struct QuotaApplies<'a> {
    /// These.
    pub(super) applies: Vec<QuotaApply<'a>>,
}

/// An app, with its quota, when it has one.
#[derive(Serialize, ToSchema)]
pub(super) struct QuotaApp<'a> {
    /// Its id.
    #[schema(value_type = String)]
    app_id: Cow<'a, str>,
    /// Its name.
    name: &'a str,
    /// 1 enabled, 2 disabled.
    status: u8,
    /// Its AppKey.
    app_key: &'a str,
    /// Its description.
    remark: &'a str,
    /// When it was made.
    register_time: Timestamp,
    /// When it last changed.
    update_time: Timestamp,
    /// Its quota.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    app_quota_id: Option<Cow<'a, str>>,
    /// The quota's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    app_quota_name: Option<&'a str>,
    /// Since when it has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    bound_time: Option<Timestamp>,
}

impl<'a> QuotaApp<'a> {
    pub(super) fn of(
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
    /// How many there are on all pages together.
    pub(super) total: u64,
    /// How many there are on this one.
    pub(super) size: usize,
    /// These.
    pub(super) apps: Vec<QuotaApp<'a>>,
}
