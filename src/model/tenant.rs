//! Tenants: the isolation between customers.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::TenantId;

/// The state of a tenant's subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionStatus {
    /// Paid, or free of charge.
    #[default]
    Active,
    /// Lapsed: the tenant may read, but not change (402 where the surface has that status).
    Lapsed,
}

impl SubscriptionStatus {
    /// Returns the standing's name in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Lapsed => "lapsed",
        }
    }
}

/// The tenant of all administrators. It has no other callers.
pub const ADMIN_TENANT: &str = "administration";

/// The APIG gateway of a tenant: a project and one of its instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApigInstance {
    /// The project, as in request paths and in the operators' tokens.
    pub project_id: String,
    /// The dedicated gateway within the project.
    pub instance_id: String,
    /// Allows the operator to choose callers' keys and secrets.
    pub custom_keys: bool,
}

/// A customer. Data of a tenant is invisible to other tenants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Unique in the registry.
    pub id: TenantId,
    /// A name for people.
    pub name: String,
    /// The gateway, if the tenant is one; `None` for a discue organization.
    pub gateway: Option<ApigInstance>,
    /// The state of the subscription.
    pub standing: SubscriptionStatus,
    /// Maximum number of callers of each kind.
    pub max_callers: u32,
    /// Revision number, incremented by every change.
    pub revision: u64,
    /// Creation time.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
}

impl Tenant {
    /// Returns the tenant after an edit, or `None` if the edit changes nothing.
    #[must_use]
    pub fn apply(&self, edit: TenantEdit, now: Timestamp) -> Option<Self> {
        let mut after = self.clone();
        if let Some(name) = edit.name {
            after.name = name;
        }
        if let Some(standing) = edit.standing {
            after.standing = standing;
        }
        if let Some(most) = edit.max_callers {
            after.max_callers = most;
        }
        if let Some((gateway, custom_keys)) = after.gateway.as_mut().zip(edit.custom_keys) {
            gateway.custom_keys = custom_keys;
        }
        (after != *self).then(|| Self { revision: self.revision + 1, updated_at: now, ..after })
    }
}

/// Changes to a tenant. A field that is `None` stays unchanged.
#[derive(Debug, Clone, Default)]
pub struct TenantEdit {
    /// A new name.
    pub name: Option<String>,
    /// A new state of the subscription.
    pub standing: Option<SubscriptionStatus>,
    /// A new maximum number of callers of each kind. Callers above it are not removed.
    pub max_callers: Option<u32>,
    /// Allows the operator to choose callers' keys and secrets; ignored for a tenant that is no gateway.
    pub custom_keys: Option<bool>,
}
