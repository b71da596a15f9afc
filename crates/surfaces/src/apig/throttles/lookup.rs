//! Reads and changes throttling policies in the registry.

use crate::apig::{
    call_context::{CallContext, MAX_ATTEMPTS, repeated, too_many_conflicts},
    error::ApigError,
    state::Apig,
};
use portcullis::{
    Denial,
    model::{Actor, Entity, Tenant, Throttle, ThrottleId},
    registry::{Command, RegistryError},
};

/// Returns the error for an unknown throttling policy.
pub(super) fn unknown(asked: &CallContext, id: &str) -> ApigError {
    ApigError::UnknownThrottle(repeated(&asked.version.shown(id)))
}

pub(super) fn no_throttle_came() -> ApigError {
    Denial::internal("the registry returned an unexpected entity instead of a throttling policy").into()
}

pub(super) async fn all_throttles(
    surface: &Apig,
    asked: &CallContext,
    tenant: &Tenant,
) -> Result<Vec<Throttle>, ApigError> {
    let all = surface.registry.throttles(&tenant.id).await;
    all.map_err(|fault| surface.refuse(fault, asked.no_instance()))
}

pub(super) async fn find_throttle(
    surface: &Apig,
    asked: &CallContext,
    tenant: &Tenant,
    id: &str,
) -> Result<Throttle, ApigError> {
    let missing = || unknown(asked, id);
    let kept: ThrottleId = asked.parse_id(id).ok_or_else(missing)?;
    let found = surface.registry.throttle(&tenant.id, &kept).await;
    found.map_err(|fault| surface.refuse(fault, missing()))
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
        if let Some(mut after) = put_throttles(surface, asked, actor, vec![throttle]).await? {
            return after.pop().ok_or_else(no_throttle_came);
        }
    }
    Err(too_many_conflicts())
}

/// Stores edited throttling policies and returns them as stored; `None` if one of them was changed concurrently.
pub(super) async fn put_throttles(
    surface: &Apig,
    asked: &CallContext,
    actor: &Actor,
    throttles: Vec<Throttle>,
) -> Result<Option<Vec<Throttle>>, ApigError> {
    let missing = throttles.last().map_or_else(no_throttle_came, |it| unknown(asked, it.id.as_str()));
    let commands = throttles.into_iter().map(Command::UpdateThrottle).collect();
    let entities = match surface.registry.execute(commands, actor).await {
        Ok(entities) => entities,
        Err(RegistryError::Conflict) => return Ok(None),
        Err(RegistryError::NameTaken) => return Err(ApigError::ThrottleTaken),
        Err(fault) => return Err(surface.refuse(fault, missing)),
    };
    let throttles = entities.into_iter().map(|entity| match entity {
        Entity::Throttle(throttle) => Ok(throttle),
        _ => Err(no_throttle_came()),
    });
    throttles.collect::<Result<_, _>>().map(Some)
}
