//! The parameters of a new tenant.

use jiff::Timestamp;

use crate::model::{ApigInstance, SubscriptionStatus, Tenant, TenantId};

/// A tenant to be created.
#[derive(Debug, Clone)]
pub struct NewTenant {
    /// The id of the tenant. A taken id fails with [`RegistryError::Conflict`](super::RegistryError::Conflict).
    pub id: TenantId,
    /// A name for people.
    pub name: String,
    /// The APIG gateway of the tenant; `None` for a discue organization.
    pub gateway: Option<ApigInstance>,
    /// The state of the subscription.
    pub standing: SubscriptionStatus,
    /// The maximum number of callers of each kind.
    pub max_callers: u32,
}

impl NewTenant {
    /// Returns the tenant in its initial state.
    #[must_use]
    pub fn into_tenant(self, now: Timestamp) -> Tenant {
        Tenant {
            id: self.id,
            name: self.name,
            gateway: self.gateway,
            standing: self.standing,
            max_callers: self.max_callers,
            revision: 1,
            created_at: now,
            updated_at: now,
        }
    }
}

/// Returns the parameters that create an equal tenant.
impl From<Tenant> for NewTenant {
    fn from(tenant: Tenant) -> Self {
        Self {
            id: tenant.id,
            name: tenant.name,
            gateway: tenant.gateway,
            standing: tenant.standing,
            max_callers: tenant.max_callers,
        }
    }
}
