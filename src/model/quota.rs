//! Quotas: limits on the calls of apps to all APIs of a gateway.

use std::num::NonZeroU32;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Period, QuotaId, TenantId};

/// A limit on the calls of each bound app to a gateway's APIs, all together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Unique in the registry.
    pub id: QuotaId,
    /// The tenant whose apps may be bound to it.
    pub tenant: TenantId,
    /// Unique in the tenant.
    pub name: String,
    /// At most 255 characters.
    pub remark: String,
    /// Calls in each period.
    pub limit: NonZeroU32,
    /// The length of a period.
    pub period: Period,
    /// The start of a period, from which all periods are counted. `None` means that each period starts with the
    /// first call after the previous one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset_at: Option<Timestamp>,
    /// Revision number, incremented by every change.
    pub revision: u64,
    /// Creation time.
    pub created_at: Timestamp,
}

/// The quota of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundQuota {
    /// The id of the quota.
    pub id: QuotaId,
    /// The time at which the app was bound.
    pub bound_at: Timestamp,
}
