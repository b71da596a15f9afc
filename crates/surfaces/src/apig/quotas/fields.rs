//! Request bodies about quotas.

use std::num::NonZeroU32;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    apig::{
        error::ApigError,
        request::{count, ensure, is_quota_name, period},
    },
    openapi::schemas,
    parse_object,
};
use portcullis::model::{Period, Quota, QuotaId, TenantId, name::is_app_remark};

/// The contract's format of a reset time, in UTC.
pub(super) const MOMENT: &str = "%Y-%m-%d %H:%M:%S";

/// The request to create or update a quota.
#[derive(Deserialize, ToSchema)]
pub(super) struct QuotaBody {
    /// The name: 3 to 255 letters (ASCII or Chinese), digits and `_`, starting with a letter.
    #[serde(default)]
    #[schema(value_type = String, required = true, pattern = r"^[A-Za-z\u4e00-\u9fa5][A-Za-z0-9_\u4e00-\u9fa5]{2,254}$")]
    name: Option<String>,
    /// The maximum number of calls by each app in a period.
    #[serde(default)]
    #[schema(value_type = schemas::Count, required = true)]
    call_limits: Option<i64>,
    /// The unit of the period: `SECOND`, `MINUTE`, `HOUR` or `DAY`.
    #[serde(default)]
    #[schema(value_type = schemas::TimeUnit, required = true)]
    time_unit: Option<String>,
    /// The length of a period, in time units.
    #[serde(default)]
    #[schema(value_type = schemas::Count, required = true)]
    time_interval: Option<i64>,
    /// The start of a period, in UTC, such as `2020-09-20 00:00:00`; all other periods follow from it. Without it, a
    /// period starts with the first call after the end of the previous period.
    #[serde(default)]
    #[schema(value_type = Option<String>, required = false, pattern = "^([0-9]{4}-[01][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9])?$")]
    reset_time: Option<String>,
    /// The description: at most 255 characters.
    #[serde(default)]
    #[schema(value_type = Option<schemas::Remark>, required = false)]
    remark: Option<String>,
}

/// The validated members of a [`QuotaBody`].
pub(super) struct QuotaFields {
    name: String,
    limit: NonZeroU32,
    period: Period,
    reset_at: Option<Timestamp>,
    remark: Option<String>,
}

impl QuotaFields {
    pub(super) fn read(content: &[u8]) -> Result<Self, ApigError> {
        let body: QuotaBody = parse_object(content)?;
        let name = body.name.filter(|name| !name.is_empty()).ok_or(ApigError::Missing("name"))?;
        ensure(is_quota_name(&name), "name")?;
        let limit = count(body.call_limits.ok_or(ApigError::Missing("call_limits"))?, "call_limits")?;
        let period = period(body.time_unit.as_deref(), body.time_interval)?;
        let reset_time = body.reset_time.filter(|text| !text.is_empty());
        let reset_at =
            reset_time.map(|text| moment(&text).ok_or(ApigError::Invalid("reset_time"))).transpose()?;
        let remark = body.remark.filter(|remark| !remark.is_empty());
        ensure(remark.as_deref().is_none_or(is_app_remark), "remark")?;
        Ok(Self { name, limit, period, reset_at, remark })
    }

    /// Returns a new quota.
    pub(super) fn quota(&self, tenant: &TenantId, now: Timestamp) -> Quota {
        Quota {
            id: QuotaId::random(),
            tenant: tenant.clone(),
            name: self.name.clone(),
            remark: self.remark.clone().unwrap_or_default(),
            limit: self.limit,
            period: self.period,
            reset_at: self.reset_at,
            revision: 1,
            created_at: now,
        }
    }

    /// Applies the members to a quota. Absent optional members stay unchanged.
    pub(super) fn edit(&self, quota: &mut Quota) {
        quota.name.clone_from(&self.name);
        (quota.limit, quota.period) = (self.limit, self.period);
        quota.reset_at = self.reset_at.or(quota.reset_at);
        if let Some(remark) = &self.remark {
            quota.remark.clone_from(remark);
        }
    }
}

/// Parses a time in the contract's format or in that of RFC 3339.
fn moment(text: &str) -> Option<Timestamp> {
    let civil = DateTime::strptime(MOMENT, text).ok();
    let moment = civil.and_then(|civil| civil.to_zoned(TimeZone::UTC).ok()).map(|zoned| zoned.timestamp());
    moment.or_else(|| text.parse().ok())
}
