//! Quotas: how often each of some apps may call, whatever it calls.

use std::num::NonZeroU32;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Period, QuotaId, TenantId};

/// How often each app that is bound to it may call a gateway's APIs, all together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Unique in the registry.
    pub id: QuotaId,
    /// Whose apps may be bound to it.
    pub tenant: TenantId,
    /// Unique in the tenant.
    pub name: String,
    /// At most 255 characters.
    pub remark: String,
    /// Calls in each period.
    pub limit: NonZeroU32,
    /// How long a period is.
    pub period: Period,
    /// When a period begins, from which all others are counted; without it, each begins with the first call
    /// behind the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset_at: Option<Timestamp>,
    /// Grows by one with every change.
    pub revision: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// The quota of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundQuota {
    /// Which.
    pub id: QuotaId,
    /// Since when.
    pub bound_at: Timestamp,
}
