//! The roles that operations require.

use axum::extract::Request;

use super::call_context::CallContext;
use portcullis::model::{ADMIN_TENANT, CallerKind, Role};

/// Returns the role that managing callers requires, as far as the tenant in the path determines it.
pub(super) fn managing(request: &Request) -> Role {
    let reserved = CallContext::tenant_of(request.uri()).is_ok_and(|tenant| tenant.as_str() == ADMIN_TENANT);
    if reserved { Role::Owner } else { Role::Operator }
}

/// Returns the role that managing callers of a kind requires.
pub(super) fn manages(kind: &CallerKind) -> Role {
    if matches!(kind, CallerKind::Administrator(_)) { Role::Owner } else { Role::Operator }
}
