//! Rules of whole entities of any kind.

use super::{Rules, ensure_not, import};
use crate::{model::Entity, registry::RegistryError};

/// Requires that an entity is exactly in the given state, and returns it. Otherwise the transaction fails with
/// [`RegistryError::Conflict`].
#[derive(Debug, Clone)]
pub struct AssertUnchanged(
    /// The state that the entity must have.
    pub Entity,
);

/// Inserts an entity that was exported from a registry, with its id, times and revision. The maximum number of callers
/// of a tenant does not apply. An identical plan that exists already is left unchanged.
///
/// Fails with [`RegistryError::NotFound`] when an entity that it refers to does not exist, with
/// [`RegistryError::NameTaken`] and [`RegistryError::KeyTaken`], and with [`RegistryError::Conflict`] when another
/// unique value is taken. [`find_conflict()`](super::find_conflict) returns the conflicting member.
#[derive(Debug, Clone)]
pub struct ImportEntity(
    /// The entity to insert.
    pub Entity,
);

impl Rules<'_> {
    pub(in crate::registry) async fn assert_unchanged(
        &mut self,
        AssertUnchanged(entity): AssertUnchanged,
    ) -> Result<Entity, RegistryError> {
        let is_unchanged = self.current(&entity).await?.as_ref() == Some(&entity);
        ensure_not(!is_unchanged, RegistryError::Conflict)?;
        Ok(entity)
    }

    pub(in crate::registry) async fn import_entity(
        &mut self,
        ImportEntity(entity): ImportEntity,
    ) -> Result<Entity, RegistryError> {
        import::import(self.tx, entity).await
    }

    /// Returns the current state of an entity.
    async fn current(&mut self, like: &Entity) -> Result<Option<Entity>, RegistryError> {
        Ok(match like {
            Entity::Tenant(it) => self.tx.tenant(&it.id).await?.map(Entity::Tenant),
            Entity::Caller(it) => self.tx.caller(&it.tenant, &it.id).await?.map(Entity::Caller),
            Entity::Credential(it) => self.tx.credential(&it.tenant, &it.id).await?.map(Entity::Credential),
            Entity::Plan(it) => self.tx.plan(it.id()).await?.map(Entity::Plan),
            Entity::Lock(it) => self.tx.lock(&it.id).await?.map(Entity::Lock),
            Entity::Grant(it) => self.tx.grant(&it.tenant, &it.id).await?.map(Entity::Grant),
            Entity::Quota(it) => self.tx.quota(&it.tenant, &it.id).await?.map(Entity::Quota),
            Entity::Throttle(it) => self.tx.throttle(&it.tenant, &it.id).await?.map(Entity::Throttle),
        })
    }
}
