//! Grants: which of a gateway's APIs an app may call.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{CallerId, EnvironmentId, GrantId, RouteName, TenantId};

/// Who gave a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum GrantRole {
    /// Who offers the API.
    #[default]
    Provider,
    /// Who uses it.
    Consumer,
}

impl GrantRole {
    /// The role's name in the store, and on the APIG surface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "PROVIDER",
            Self::Consumer => "CONSUMER",
        }
    }
}

/// That a caller may use a route, where the route asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Unique in the registry.
    pub id: GrantId,
    /// Whose caller it is.
    pub tenant: TenantId,
    /// Who may.
    pub caller: CallerId,
    /// Use what.
    pub route: RouteName,
    /// In which environment. Decisions know [`EnvironmentId::RELEASE`] only.
    pub environment: EnvironmentId,
    /// Who gave it.
    pub role: GrantRole,
    /// When it was given.
    pub created_at: Timestamp,
}

impl Grant {
    /// Whether it grants the same as another: one of them is enough.
    #[must_use]
    pub fn is_same_grant(&self, other: &Self) -> bool {
        self.caller == other.caller && self.route == other.route && self.environment == other.environment
    }
}
