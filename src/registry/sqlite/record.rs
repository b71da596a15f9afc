//! Entities as the text they are kept as.

use serde::de::DeserializeOwned;

use crate::{
    app::{Caller, Credential, Entity, Grant, Kind, Lock, Plan, Quota, Tenant, Throttle},
    registry::Fault,
};

/// What a table holds.
pub(super) trait Record: DeserializeOwned {
    const KIND: Kind;

    fn id(&self) -> &str;
}

macro_rules! record {
    ($($type:ident: |$it:ident| $id:expr;)*) => {$(
        impl Record for $type {
            const KIND: Kind = Kind::$type;

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

/// The entity of a row.
///
/// # Errors
/// [`Fault::Corrupt`] when the text is not that of an entity, or another's. Names the row and quotes
/// nothing of it: the parser's own message would.
pub(super) fn parse<T: Record>(id: &str, text: &[u8]) -> Result<T, Fault> {
    let kind = T::KIND.as_str();
    let record: T = serde_json::from_slice(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Fault::Corrupt(format!("the record of {kind} {id:?} does not parse: line {line}, column {column}"))
    })?;
    if record.id() != id {
        return Err(Fault::Corrupt(format!("the record of {kind} {id:?} is another's")));
    }
    Ok(record)
}

/// As [`parse`], of a kind known only at run time.
pub(super) fn parse_as(kind: Kind, id: &str, text: &[u8]) -> Result<Entity, Fault> {
    match kind {
        Kind::Tenant => parse(id, text).map(Entity::Tenant),
        Kind::Caller => parse(id, text).map(Entity::Caller),
        Kind::Credential => parse(id, text).map(Entity::Credential),
        Kind::Plan => parse(id, text).map(Entity::Plan),
        Kind::Lock => parse(id, text).map(Entity::Lock),
        Kind::Grant => parse(id, text).map(Entity::Grant),
        Kind::Quota => parse(id, text).map(Entity::Quota),
        Kind::Throttle => parse(id, text).map(Entity::Throttle),
    }
}

/// The text of an entity.
pub(super) fn text(entity: &Entity) -> Result<String, Fault> {
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
        Fault::Corrupt(format!("{} {:?} cannot be written as JSON", entity.kind().as_str(), entity.id()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_parse_is_named_and_not_quoted() {
        let Err(Fault::Corrupt(reason)) = parse::<Plan>("p", br#"{"id":"p","limits":"hunter2"}"#) else {
            panic!("limits are no text")
        };
        assert!(reason.starts_with(r#"the record of plan "p" does not parse"#), "{reason}");
        assert!(!reason.contains("hunter2"), "{reason}");
    }

    #[test]
    fn a_record_belongs_to_its_row() {
        let moved = parse::<Plan>("p", br#"{"id":"q","limits":[]}"#);
        assert!(matches!(moved, Err(Fault::Corrupt(reason)) if reason.contains("another's")));
    }
}
