//! Reads quotas from the registry.

use crate::apig::{
    call_context::{CallContext, repeated},
    error::ApigError,
    query,
    state::Apig,
};
use portcullis::{
    Denial,
    model::{Quota, QuotaId, Tenant},
    registry::CallerFilter,
};

/// Returns the error for an unknown quota.
pub(super) fn unknown(call: &CallContext, id: &str) -> ApigError {
    ApigError::UnknownQuota(repeated(&call.version.shown(id)))
}

pub(super) fn no_quota_came() -> ApigError {
    Denial::internal("an app that was bound to a quota has none").into()
}

pub(super) async fn find_quota(
    surface: &Apig,
    call: &CallContext,
    tenant: &Tenant,
    id: &str,
) -> Result<Quota, ApigError> {
    let missing = || unknown(call, id);
    let stored_id: QuotaId = call.parse_id(id).ok_or_else(missing)?;
    let found = surface.registry.quota(&tenant.id, &stored_id).await;
    found.map_err(|fault| surface.registry_error(fault, missing()))
}

/// Returns the number of apps that are bound to a quota.
pub(super) async fn count_bound(
    surface: &Apig,
    call: &CallContext,
    tenant: &Tenant,
    quota: &QuotaId,
) -> Result<u64, ApigError> {
    let filter = CallerFilter { quota: Some(Some(quota.clone())), ..query::apps(&tenant.id) };
    let count = surface.registry.count_callers(&filter).await;
    count.map_err(|fault| surface.registry_error(fault, call.no_instance()))
}
