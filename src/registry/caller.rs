//! The parameters of a new caller.

use jiff::Timestamp;

use crate::model::{Caller, CallerId, CallerKind, PlanId, Status, TenantId};

/// A caller to be created.
#[derive(Debug, Clone)]
pub struct NewCaller {
    /// The id of the caller. A taken id fails with [`RegistryError::Conflict`](super::RegistryError::Conflict).
    pub id: CallerId,
    /// The tenant of the caller.
    pub tenant: TenantId,
    /// The name of the caller.
    pub name: String,
    /// The kind of caller.
    pub kind: CallerKind,
    /// The plan of the caller.
    pub plan: Option<PlanId>,
}

impl NewCaller {
    /// Returns the caller in its initial state.
    #[must_use]
    pub fn into_caller(self, now: Timestamp) -> Caller {
        Caller {
            id: self.id,
            tenant: self.tenant,
            name: self.name,
            kind: self.kind,
            status: Status::Enabled,
            plan: self.plan,
            revision: 1,
            created_at: now,
            updated_at: now,
        }
    }
}
