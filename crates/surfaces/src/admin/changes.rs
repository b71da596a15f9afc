//! The change log endpoint: lists every change with its author, time and client address.

use std::sync::Arc;

use axum::extract::State;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::{
        ObjectBuilder, Ref, Schema,
        schema::{AnyOfBuilder, Type},
    },
};

use super::{
    callers::Caller,
    extract::{Authorized, Parameters},
    keys::KeyRecord,
    locks::Lock,
    openapi,
    page::Page,
    plans::Plan,
    response::{ApiResponse, ErrorResponse},
    roles::ReadOnly,
    state::Surface,
    tenants::Tenant,
};
use crate::openapi::schemas;
use portcullis::{
    model::{ChangeKind, Entity, EntityKind, Seq, hex::encode},
    registry::{ChangeFilter, ChangeWithPrevious},
};

/// An entry of the change log.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Change {
    /// The number of the change: one greater than that of the previous change.
    #[schema(value_type = u64)]
    seq: Seq,
    /// The time of the change.
    at: Timestamp,
    /// The author: a surface and a caller, such as `admin:5bc2be68-…`, or a command.
    actor: String,
    /// The client address, if the change was requested over a network.
    #[schema(required)]
    address: Option<String>,
    /// The kind of change.
    #[schema(value_type = schemas::ChangeKind)]
    verb: ChangeKind,
    /// The kind of the changed entity: `tenant`, `caller`, `credential`, `plan`, `lock`, `grant`, `quota` or
    /// `throttle`.
    #[schema(value_type = schemas::EntityKind)]
    kind: &'static str,
    /// The id of the changed entity.
    id: String,
    /// The entity before the change, without secrets; `null` if it was created.
    #[schema(schema_with = subject, required)]
    before: Option<Subject>,
    /// The entity after the change, without secrets; `null` if it was deleted.
    #[schema(schema_with = subject, required)]
    after: Option<Subject>,
    /// SHA-256 of this change and the previous hash, in hexadecimal digits, if the store chains changes.
    #[schema(required)]
    hash: Option<String>,
}

/// The entity of a change.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Subject {
    /// A tenant.
    Tenant(Tenant),
    /// A caller.
    Caller(Caller),
    /// A key.
    Credential(KeyRecord),
    /// A plan.
    Plan(Plan),
    /// A lock.
    Lock(Lock),
    /// A grant.
    Grant(portcullis::model::Grant),
    /// A quota of apps.
    Quota(portcullis::model::Quota),
    /// A throttle.
    Throttle(portcullis::model::Throttle),
}

/// Returns the schema of the entity of a change: the schema of this API, or a generic one for entities that this API
/// does not manage.
fn subject() -> Schema {
    let other =
        ObjectBuilder::new().schema_type(Type::Object).description(Some("A grant, a quota or a throttle"));
    let other = other.required("id").required("tenant");
    let shown = [Tenant::name(), Caller::name(), KeyRecord::name(), Plan::name(), Lock::name()];
    let any = shown.into_iter().fold(AnyOfBuilder::new(), |any, name| any.item(Ref::from_schema_name(name)));
    any.item(other).item(ObjectBuilder::new().schema_type(Type::Null)).into()
}

impl From<Entity> for Subject {
    fn from(entity: Entity) -> Self {
        match entity {
            Entity::Tenant(it) => Self::Tenant(it.into()),
            Entity::Caller(it) => Self::Caller(it.into()),
            Entity::Credential(it) => Self::Credential(it.into()),
            Entity::Plan(it) => Self::Plan(it.into()),
            Entity::Lock(it) => Self::Lock(it.into()),
            Entity::Grant(it) => Self::Grant(it),
            Entity::Quota(it) => Self::Quota(it),
            Entity::Throttle(it) => Self::Throttle(it),
        }
    }
}

impl From<ChangeWithPrevious> for Change {
    fn from(ChangeWithPrevious { change, before, hash }: ChangeWithPrevious) -> Self {
        Self {
            seq: change.seq,
            at: change.at,
            actor: change.actor.name().to_owned(),
            address: change.actor.address().map(str::to_owned),
            verb: change.verb,
            kind: change.entity.kind().as_str(),
            id: change.entity.id().to_owned(),
            before: before.map(Subject::from),
            after: (change.verb != ChangeKind::Deleted).then(|| change.entity.into()),
            hash: hash.map(|hash| encode(&hash)),
        }
    }
}

/// Parses the number of a change. Stores do not count further than 2^63.
fn number(text: &str) -> Option<Seq> {
    text.parse().ok().filter(|seq| i64::try_from(*seq).is_ok())
}

/// The query parameters of the list of changes.
pub(super) struct ChangeParameters;

impl Parameters for ChangeParameters {
    const KNOWN: &'static [&'static str] = &["kind", "id", "actor", "limit", "after"];
}

/// List changes
///
/// The oldest change comes first.
#[utoipa::path(
    get,
    path = "/changes",
    tag = "changes",
    operation_id = "list_changes",
    params(openapi::Limit, ("after" = Option<u64>, Query, description = "Only changes after the change with this number"), ("kind" = Option<schemas::EntityKind>, Query, description = "Only changes of entities of this kind"), ("id" = Option<String>, Query, description = "Only changes of the entity with this id"), ("actor" = Option<String>, Query, description = "Only changes by this author")),
    responses(openapi::OkPage<Change>, openapi::CommonErrors),
)]
pub(super) async fn list(
    State(surface): State<Arc<Surface>>,
    Authorized { query, .. }: Authorized<ReadOnly, ChangeParameters>,
) -> Result<ApiResponse, ErrorResponse> {
    let filter = ChangeFilter {
        kind: query.chosen(
            "kind",
            "tenant, caller, credential, plan, lock, grant, quota or throttle",
            EntityKind::named,
        )?,
        id: query.text("id").map(str::to_owned),
        actor: query.text("actor").map(str::to_owned),
        after: query.chosen("after", "the number of a change", number)?.unwrap_or(0),
        limit: query.limit()?,
    };
    let history =
        surface.admin.registry.history(&filter).await.map_err(|fault| surface.registry_error(fault))?;
    let next = history.next.map(|next| next.to_string());
    Ok(ApiResponse::page(&Page::new(&query, history.changes, next).map(Change::from)))
}
