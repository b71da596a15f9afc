//! Throttling policies: limits on the calls of a gateway's APIs, in total and for each client.

use std::num::NonZeroU32;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{BindingId, CallerId, Period, RouteName, SpecialId, TenantId, ThrottleId};

/// The numbers of calls that a [`Throttle`] allows in each period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallLimits {
    /// Calls of an API by all of the tenant's callers together.
    pub api: NonZeroU32,
    /// Calls by one user: the tenant with all its callers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<NonZeroU32>,
    /// Calls by one app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<NonZeroU32>,
    /// Calls from one address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<NonZeroU32>,
}

/// The app or user that a [`ThrottleOverride`] limit applies to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum OverrideSubject {
    /// An app.
    App(CallerId),
    /// A user, by the id of its project.
    User(String),
}

/// A limit that replaces the common one of all apps, or of all users, for one of them. The limit on all calls of an
/// API still applies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThrottleOverride {
    /// Unique in its throttle.
    pub id: SpecialId,
    /// The app or user that the limit applies to.
    pub of: OverrideSubject,
    /// Calls in each period.
    pub limit: NonZeroU32,
    /// Creation time.
    pub created_at: Timestamp,
}

/// The binding of a throttle to a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Unique in the tenant.
    pub id: BindingId,
    /// The route.
    pub route: RouteName,
    /// Creation time.
    pub created_at: Timestamp,
}

/// A limit on the calls of routes by a tenant's callers. A route has at most one throttle of each tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttle {
    /// Unique in the registry.
    pub id: ThrottleId,
    /// The tenant whose callers are limited.
    pub tenant: TenantId,
    /// Unique in the tenant.
    pub name: String,
    /// At most 255 characters.
    pub remark: String,
    /// The period in which calls are counted; it starts with the first call.
    pub period: Period,
    /// The numbers of calls that are allowed in a period.
    pub limits: CallLimits,
    /// If `true`, all bound routes share the counts; otherwise each route has its own.
    pub shared: bool,
    /// The limits of single apps and users.
    pub specials: Vec<ThrottleOverride>,
    /// The routes that the throttle applies to.
    pub bindings: Vec<Binding>,
    /// Revision number, incremented by every change.
    pub revision: u64,
    /// Creation time.
    pub created_at: Timestamp,
}

impl Throttle {
    /// Returns the number of calls that an app may make in each period; `None` means no limit.
    #[must_use]
    pub fn limit_of_app(&self, app: &CallerId) -> Option<NonZeroU32> {
        self.special(|of| matches!(of, OverrideSubject::App(id) if id == app)).or(self.limits.app)
    }

    /// Returns the number of calls that a user may make in each period; `None` means no limit.
    #[must_use]
    pub fn limit_of_user(&self, project: &str) -> Option<NonZeroU32> {
        self.special(|of| matches!(of, OverrideSubject::User(id) if id == project)).or(self.limits.user)
    }

    fn special(&self, is: impl Fn(&OverrideSubject) -> bool) -> Option<NonZeroU32> {
        self.specials.iter().find(|special| is(&special.of)).map(|special| special.limit)
    }
}
