//! Throttling policies: how often a gateway's APIs may be called, by all together and by each.

use std::num::NonZeroU32;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{BindingId, CallerId, Period, RouteName, SpecialId, TenantId, ThrottleId};

/// How many calls a [`Throttle`] lets pass in each period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallLimits {
    /// Of an API, by all of the tenant's callers together.
    pub api: NonZeroU32,
    /// By one user: the tenant, with all its callers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<NonZeroU32>,
    /// By one app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<NonZeroU32>,
    /// From one address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<NonZeroU32>,
}

/// Whose limit of a [`Throttle`] is another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum OverrideSubject {
    /// An app's.
    App(CallerId),
    /// A user's, by the id of its project.
    User(String),
}

/// A limit that takes the place of the one for all apps, or for all users; what an API may be called in all
/// still holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThrottleOverride {
    /// Unique in its throttle.
    pub id: SpecialId,
    /// Whose limit it is.
    pub of: OverrideSubject,
    /// Calls in each period.
    pub limit: NonZeroU32,
    /// When it was made.
    pub created_at: Timestamp,
}

/// That a throttle holds for a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Unique in the tenant.
    pub id: BindingId,
    /// The route.
    pub route: RouteName,
    /// When it was made.
    pub created_at: Timestamp,
}

/// How often routes may be called by a tenant's callers. A route has at most one of each tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttle {
    /// Unique in the registry.
    pub id: ThrottleId,
    /// Whose callers it is about.
    pub tenant: TenantId,
    /// Unique in the tenant.
    pub name: String,
    /// At most 255 characters.
    pub remark: String,
    /// In which period calls are counted: from the first one on.
    pub period: Period,
    /// How many may be made in it.
    pub limits: CallLimits,
    /// Whether all routes that it is bound to share its counts; otherwise each has its own.
    pub shared: bool,
    /// Whose limits are others.
    pub specials: Vec<ThrottleOverride>,
    /// The routes that it holds for.
    pub bindings: Vec<Binding>,
    /// Grows by one with every change.
    pub revision: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Throttle {
    /// How often an app may call in each period, if there is a limit.
    #[must_use]
    pub fn limit_of_app(&self, app: &CallerId) -> Option<NonZeroU32> {
        self.special(|of| matches!(of, OverrideSubject::App(id) if id == app)).or(self.limits.app)
    }

    /// How often a user may call in each period, if there is a limit.
    #[must_use]
    pub fn limit_of_user(&self, project: &str) -> Option<NonZeroU32> {
        self.special(|of| matches!(of, OverrideSubject::User(id) if id == project)).or(self.limits.user)
    }

    fn special(&self, is: impl Fn(&OverrideSubject) -> bool) -> Option<NonZeroU32> {
        self.specials.iter().find(|special| is(&special.of)).map(|special| special.limit)
    }
}
