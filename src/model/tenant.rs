//! Tenants: the wall between customers.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::TenantId;

/// Whether a tenant's subscription holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionStatus {
    /// Paid, or free of charge.
    #[default]
    Active,
    /// Lapsed: the tenant may look, not change (402 where the surface knows it).
    Lapsed,
}

impl SubscriptionStatus {
    /// The standing's name in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Lapsed => "lapsed",
        }
    }
}

/// The tenant whose callers are the administrators, and which has no others.
pub const ADMIN_TENANT: &str = "administration";

/// Which APIG gateway a tenant is: a project and one of its instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApigInstance {
    /// The project, as it stands in the path and in the operators' tokens.
    pub project_id: String,
    /// The dedicated gateway within the project.
    pub instance_id: String,
    /// Whether callers' keys and secrets may be chosen by the operator.
    pub custom_keys: bool,
}

/// A customer. Nothing of one tenant is visible to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Unique in the registry.
    pub id: TenantId,
    /// For people.
    pub name: String,
    /// Set when the tenant is an APIG gateway; a discue organization has none.
    pub gateway: Option<ApigInstance>,
    /// Whether the subscription holds.
    pub standing: SubscriptionStatus,
    /// How many callers of each kind the tenant may have.
    pub max_callers: u32,
    /// Grows by one with every change.
    pub revision: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Tenant {
    /// The tenant as it is after an edit, or `None` when the edit changes nothing.
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

/// What to change of a tenant; what is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct TenantEdit {
    /// A new name.
    pub name: Option<String>,
    /// A new standing.
    pub standing: Option<SubscriptionStatus>,
    /// How many callers of each kind it may have; those that it has stay.
    pub max_callers: Option<u32>,
    /// Whether callers' keys and secrets may be chosen by the operator; means nothing for what is no gateway.
    pub custom_keys: Option<bool>,
}
