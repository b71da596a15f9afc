//! Entities as JSON records.

use serde::de::DeserializeOwned;

use crate::{
    model::{Caller, Credential, Entity, EntityKind, Grant, Lock, Plan, Quota, Tenant, Throttle},
    registry::RegistryError,
};

/// A type of entity that is stored in a table.
pub(super) trait Record: DeserializeOwned {
    const KIND: EntityKind;

    fn id(&self) -> &str;
}

macro_rules! record {
    ($($type:ident: |$it:ident| $id:expr;)*) => {$(
        impl Record for $type {
            const KIND: EntityKind = EntityKind::$type;

            fn id(&self) -> &str {
                let $it = self;
                $id.as_str()
            }
        }
    )*};
}

record! {
    Tenant: |it| it.id;
    Caller: |it| it.id;
    Credential: |it| it.id;
    Plan: |it| it.id();
    Lock: |it| it.id;
    Grant: |it| it.id;
    Quota: |it| it.id;
    Throttle: |it| it.id;
}

/// Parses the entity of a row.
///
/// # Errors
/// [`RegistryError::Corrupt`] when the text is not an entity, or is the entity of another row. The message names the row and
/// quotes nothing of it, unlike the parser's own message.
pub(super) fn parse<T: Record>(id: &str, text: &[u8]) -> Result<T, RegistryError> {
    let kind = T::KIND.as_str();
    let record: T = serde_json::from_slice(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        RegistryError::Corrupt(format!(
            "the record of {kind} {id:?} does not parse: line {line}, column {column}"
        ))
    })?;
    if record.id() != id {
        return Err(RegistryError::Corrupt(format!("the record of {kind} {id:?} has another id")));
    }
    Ok(record)
}

/// Parses the entity of a row like [`parse`], for a kind that is only known at run time.
pub(super) fn parse_as(kind: EntityKind, id: &str, text: &[u8]) -> Result<Entity, RegistryError> {
    match kind {
        EntityKind::Tenant => parse(id, text).map(Entity::Tenant),
        EntityKind::Caller => parse(id, text).map(Entity::Caller),
        EntityKind::Credential => parse(id, text).map(Entity::Credential),
        EntityKind::Plan => parse(id, text).map(Entity::Plan),
        EntityKind::Lock => parse(id, text).map(Entity::Lock),
        EntityKind::Grant => parse(id, text).map(Entity::Grant),
        EntityKind::Quota => parse(id, text).map(Entity::Quota),
        EntityKind::Throttle => parse(id, text).map(Entity::Throttle),
    }
}

/// Returns an entity as JSON.
pub(super) fn text(entity: &Entity) -> Result<String, RegistryError> {
    let text = match entity {
        Entity::Tenant(it) => serde_json::to_string(it),
        Entity::Caller(it) => serde_json::to_string(it),
        Entity::Credential(it) => serde_json::to_string(it),
        Entity::Plan(it) => serde_json::to_string(it),
        Entity::Lock(it) => serde_json::to_string(it),
        Entity::Grant(it) => serde_json::to_string(it),
        Entity::Quota(it) => serde_json::to_string(it),
        Entity::Throttle(it) => serde_json::to_string(it),
    };
    text.map_err(|_| {
        RegistryError::Corrupt(format!(
            "{} {:?} cannot be written as JSON",
            entity.kind().as_str(),
            entity.id()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unparsable_member_is_named_and_not_quoted() {
        let Err(RegistryError::Corrupt(reason)) = parse::<Plan>("p", br#"{"id":"p","limits":"hunter2"}"#)
        else {
            panic!("limits are no text")
        };
        assert!(reason.starts_with(r#"the record of plan "p" does not parse"#), "{reason}");
        assert!(!reason.contains("hunter2"), "{reason}");
    }

    #[test]
    fn record_must_match_its_row() {
        let moved = parse::<Plan>("p", br#"{"id":"q","limits":[]}"#);
        assert!(matches!(moved, Err(RegistryError::Corrupt(reason)) if reason.contains("another id")));
    }
}
