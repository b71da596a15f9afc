//! The roles that operations require.

use axum::extract::Request;

use super::call_context::CallContext;
use portcullis::model::{ADMIN_TENANT, CallerKind, Role};

/// The role that an operation requires.
pub(super) trait RequiredRole: Send {
    /// Returns the role, which may depend on the request.
    fn needed(request: &Request) -> Role;
}

/// The role `read_only`.
pub(super) struct ReadOnly;

impl RequiredRole for ReadOnly {
    fn needed(_: &Request) -> Role {
        Role::ReadOnly
    }
}

/// The role `operator`.
pub(super) struct Operator;

impl RequiredRole for Operator {
    fn needed(_: &Request) -> Role {
        Role::Operator
    }
}

/// The role `owner`.
pub(super) struct Owner;

impl RequiredRole for Owner {
    fn needed(_: &Request) -> Role {
        Role::Owner
    }
}

/// The role that managing callers requires, as far as the tenant in the path determines it.
pub(super) struct Manager;

impl RequiredRole for Manager {
    fn needed(request: &Request) -> Role {
        let tenant = CallContext::tenant_of(request.uri());
        let reserved = tenant.is_ok_and(|tenant| tenant.as_str() == ADMIN_TENANT);
        if reserved { Role::Owner } else { Role::Operator }
    }
}

/// Returns the role that managing callers of a kind requires.
pub(super) fn manages(kind: &CallerKind) -> Role {
    if matches!(kind, CallerKind::Administrator(_)) { Role::Owner } else { Role::Operator }
}
