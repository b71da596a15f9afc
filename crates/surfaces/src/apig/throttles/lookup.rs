//! Reads and changes throttling policies in the registry.

use crate::apig::{
    call_context::{CallContext, repeated, retry_conflicts},
    error::ApigError,
    state::Apig,
};
use portcullis::{
    model::{Actor, Tenant, Throttle, ThrottleId},
    registry::{Operation, RegistryError, RegistryExt, UpdateThrottle},
};

/// Returns the error for an unknown throttling policy.
pub(super) fn unknown(call: &CallContext, id: &str) -> ApigError {
    ApigError::UnknownThrottle(repeated(&call.version.shown(id)))
}

pub(super) async fn all_throttles(
    surface: &Apig,
    call: &CallContext,
    tenant: &Tenant,
) -> Result<Vec<Throttle>, ApigError> {
    let all = surface.registry.throttles(&tenant.id).await;
    all.map_err(|fault| surface.registry_error(fault, call.no_instance()))
}

pub(super) async fn find_throttle(
    surface: &Apig,
    call: &CallContext,
    tenant: &Tenant,
    id: &str,
) -> Result<Throttle, ApigError> {
    let missing = || unknown(call, id);
    let stored_id: ThrottleId = call.parse_id(id).ok_or_else(missing)?;
    let found = surface.registry.throttle(&tenant.id, &stored_id).await;
    found.map_err(|fault| surface.registry_error(fault, missing()))
}

/// Applies an edit to the current state of a throttling policy, and returns the updated policy.
pub(super) async fn edit_throttle(
    surface: &Apig,
    call: &CallContext,
    actor: &Actor,
    tenant: &Tenant,
    id: &str,
    edit: impl Fn(&mut Throttle) -> Result<(), ApigError>,
) -> Result<Throttle, ApigError> {
    let update = || async {
        let mut throttle = find_throttle(surface, call, tenant, id).await?;
        edit(&mut throttle)?;
        let last = throttle.id.clone();
        put_throttles(surface, call, actor, &last, UpdateThrottle(throttle)).await
    };
    retry_conflicts(update).await
}

/// Stores edited throttling policies, of which `last` is one, and returns them as stored; `None` if one of them was
/// changed concurrently.
pub(super) async fn put_throttles<O: Operation>(
    surface: &Apig,
    call: &CallContext,
    actor: &Actor,
    last: &ThrottleId,
    updates: O,
) -> Result<Option<O::Output>, ApigError> {
    match surface.registry.run(updates, actor).await {
        Ok(after) => Ok(Some(after)),
        Err(RegistryError::Conflict) => Ok(None),
        Err(RegistryError::NameTaken) => Err(ApigError::ThrottleTaken),
        Err(fault) => Err(surface.registry_error(fault, unknown(call, last.as_str()))),
    }
}
