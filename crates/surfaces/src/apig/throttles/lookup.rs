//! Reads and changes throttling policies in the registry.

use crate::apig::{
    call_context::{CallContext, MAX_ATTEMPTS, repeated, too_many_conflicts},
    error::ApigError,
    state::Apig,
};
use portcullis::{
    model::{Actor, Tenant, Throttle, ThrottleId},
    registry::{Operation, RegistryError, RegistryExt, UpdateThrottle},
};

/// Returns the error for an unknown throttling policy.
pub(super) fn unknown(asked: &CallContext, id: &str) -> ApigError {
    ApigError::UnknownThrottle(repeated(&asked.version.shown(id)))
}

pub(super) async fn all_throttles(
    surface: &Apig,
    asked: &CallContext,
    tenant: &Tenant,
) -> Result<Vec<Throttle>, ApigError> {
    let all = surface.registry.throttles(&tenant.id).await;
    all.map_err(|fault| surface.registry_error(fault, asked.no_instance()))
}

pub(super) async fn find_throttle(
    surface: &Apig,
    asked: &CallContext,
    tenant: &Tenant,
    id: &str,
) -> Result<Throttle, ApigError> {
    let missing = || unknown(asked, id);
    let stored_id: ThrottleId = asked.parse_id(id).ok_or_else(missing)?;
    let found = surface.registry.throttle(&tenant.id, &stored_id).await;
    found.map_err(|fault| surface.registry_error(fault, missing()))
}

/// Applies an edit to the current state of a throttling policy, and returns the updated policy.
pub(super) async fn edit_throttle(
    surface: &Apig,
    asked: &CallContext,
    actor: &Actor,
    tenant: &Tenant,
    id: &str,
    edit: impl Fn(&mut Throttle) -> Result<(), ApigError>,
) -> Result<Throttle, ApigError> {
    for _ in 0..MAX_ATTEMPTS {
        let mut throttle = find_throttle(surface, asked, tenant, id).await?;
        edit(&mut throttle)?;
        let last = throttle.id.clone();
        if let Some(after) = put_throttles(surface, asked, actor, &last, UpdateThrottle(throttle)).await? {
            return Ok(after);
        }
    }
    Err(too_many_conflicts())
}

/// Stores edited throttling policies, of which `last` is one, and returns them as stored; `None` if one of them was
/// changed concurrently.
pub(super) async fn put_throttles<O: Operation>(
    surface: &Apig,
    asked: &CallContext,
    actor: &Actor,
    last: &ThrottleId,
    updates: O,
) -> Result<Option<O::Output>, ApigError> {
    match surface.registry.run(updates, actor).await {
        Ok(after) => Ok(Some(after)),
        Err(RegistryError::Conflict) => Ok(None),
        Err(RegistryError::NameTaken) => Err(ApigError::ThrottleTaken),
        Err(fault) => Err(surface.registry_error(fault, unknown(asked, last.as_str()))),
    }
}
