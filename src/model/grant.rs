//! Grants: the permission of an app to call one of a gateway's APIs.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{CallerId, EnvironmentId, GrantId, RouteName, TenantId};

/// The party that created a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum GrantRole {
    /// The party that offers the API.
    #[default]
    Provider,
    /// The party that uses the API.
    Consumer,
}

impl GrantRole {
    /// Returns the role's name in the store and on the APIG surface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "PROVIDER",
            Self::Consumer => "CONSUMER",
        }
    }
}

/// The permission of a caller to use a route that requires a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Unique in the registry.
    pub id: GrantId,
    /// The tenant of the caller.
    pub tenant: TenantId,
    /// The caller that may use the route.
    pub caller: CallerId,
    /// The route.
    pub route: RouteName,
    /// The environment. Decisions know only [`EnvironmentId::RELEASE`].
    pub environment: EnvironmentId,
    /// The party that created it.
    pub role: GrantRole,
    /// Creation time.
    pub created_at: Timestamp,
}

impl Grant {
    /// Returns `true` if both grants have the same caller, route and environment. One of them is enough.
    #[must_use]
    pub fn is_same_grant(&self, other: &Self) -> bool {
        self.caller == other.caller && self.route == other.route && self.environment == other.environment
    }
}
