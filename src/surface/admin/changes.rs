//! The change log: who changed what, when and from where.

use std::sync::Arc;

use axum::extract::{Request, State};
use jiff::Timestamp;
use serde::Serialize;

use super::{
    Surface,
    answer::{Answer, Refused},
    call::Call,
    callers::Caller,
    keys::KeyRecord,
    locks::Lock,
    page::Page,
    plans::Plan,
    tenants::Tenant,
};
use crate::{
    app::{Entity, Kind, Role, Seq, Verb, hex::hex},
    registry::{Changes, Past},
};

/// A change.
#[derive(Debug, Serialize)]
struct Change {
    /// Its number: one greater than that of the change before.
    seq: Seq,
    /// When it was made.
    at: Timestamp,
    /// Who made it: a surface and a caller, such as `admin:5bc2be68-…`, or a command.
    actor: String,
    /// The address that it was asked for from, when it was over a network.
    address: Option<String>,
    /// What was done.
    verb: Verb,
    /// To what kind of thing: `tenant`, `caller`, `credential`, `plan` or `lock`.
    kind: &'static str,
    /// To which.
    id: String,
    /// What it was, without secrets; `null` when it was not there.
    before: Option<Subject>,
    /// What it is since, likewise; `null` when it is gone.
    after: Option<Subject>,
    /// SHA-256 over this change and the hash before it, in hexadecimal digits, when the store chains them.
    hash: Option<String>,
}

/// What a change is about.
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
    Grant(crate::app::Grant),
    /// A quota of apps.
    Quota(crate::app::Quota),
    /// A throttle.
    Throttle(crate::app::Throttle),
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

impl From<Past> for Change {
    fn from(Past { change, before, hash }: Past) -> Self {
        Self {
            seq: change.seq,
            at: change.at,
            actor: change.actor.who().to_owned(),
            address: change.actor.address().map(str::to_owned),
            verb: change.verb,
            kind: change.entity.kind().as_str(),
            id: change.entity.id().to_owned(),
            before: before.map(Subject::from),
            after: (change.verb != Verb::Deleted).then(|| change.entity.into()),
            hash: hash.map(|hash| hex(&hash)),
        }
    }
}

pub(super) async fn list(State(surface): State<Arc<Surface>>, request: Request) -> Result<Answer, Refused> {
    let call = Call::of(request, Role::ReadOnly).await?;
    let query = call.query(&["kind", "id", "actor", "limit", "after"])?;
    let which = Changes {
        kind: query.chosen(
            "kind",
            "tenant, caller, credential, plan, lock, grant, quota or throttle",
            Kind::named,
        )?,
        id: query.text("id").map(str::to_owned),
        actor: query.text("actor").map(str::to_owned),
        after: query.parsed("after", "the number of a change")?.unwrap_or(0),
        limit: query.limit()?,
    };
    let history = surface.admin.registry.history(&which).await.map_err(|fault| surface.refuse(fault))?;
    let next = history.next.map(|next| next.to_string());
    let (page, link) = Page::of(&query, history.changes.into_iter().map(Change::from).collect(), next);
    Ok(Answer::ok(&page).linked(link))
}
