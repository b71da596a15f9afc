//! What a listing asks for: a page of entities in the order of their ids.

use crate::app::{CallerId, CredentialId, Status, TenantId};

/// A page of callers.
#[derive(Debug, Clone, Default)]
pub struct Callers {
    /// Only those of this tenant.
    pub tenant: Option<TenantId>,
    /// Only those of this kind, by its [name](crate::app::Caller::kind_name).
    pub kind: Option<&'static str>,
    /// Only those with exactly this name.
    pub name: Option<String>,
    /// Only those in this state.
    pub status: Option<Status>,
    /// Only those behind this one.
    pub after: Option<CallerId>,
    /// At most so many.
    pub limit: u32,
}

/// A page of credentials.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// Only those of this tenant.
    pub tenant: Option<TenantId>,
    /// Only those of this caller.
    pub caller: Option<CallerId>,
    /// Only those behind this one.
    pub after: Option<CredentialId>,
    /// At most so many.
    pub limit: u32,
}
