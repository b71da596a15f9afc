//! Who asks, and how what answers is doing.

use std::sync::Arc;

use axum::extract::{Request, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Surface,
    answer::{Answer, Refused},
    call::Call,
    spec,
};
use crate::{
    app::{Role, Seq},
    surface::spec::words,
};

/// How what answers is doing, and for whom.
#[derive(Debug, Serialize, ToSchema)]
struct Report<'a> {
    /// Who asks.
    caller: Who<'a>,
    /// The version of the program.
    version: &'static str,
    /// The number of the last change that this node's decisions know of.
    #[schema(value_type = u64)]
    applied: Seq,
    /// Whether the store answers just now.
    store: Store,
}

/// Who asks.
#[derive(Debug, Serialize, ToSchema)]
struct Who<'a> {
    /// The administrator.
    id: &'a str,
    /// Its name.
    name: &'a str,
    /// What it may do.
    #[schema(value_type = words::Role)]
    role: Role,
    /// The id of the key that it asks with.
    key: &'a str,
}

/// Whether the store answers. Who is known is decided without it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Store {
    /// It does.
    Available,
    /// It does not: nothing can be changed, and all that is known is still served.
    Unavailable,
}

/// Says who asks, and how what answers is doing.
#[utoipa::path(
    get,
    path = "/status",
    tag = "status",
    operation_id = "read_status",
    responses((status = 200, description = "How it is doing", body = Report), spec::Any),
)]
pub(super) async fn read(State(surface): State<Arc<Surface>>, request: Request) -> Result<Answer, Refused> {
    let call = Call::of(request, Role::ReadOnly).await?;
    call.query(&[])?;
    let applied = surface.admin.directory.applied();
    let asked = surface.admin.registry.changes(applied, 1).await;
    if let Err(fault) = &asked {
        tracing::warn!(%fault, "the store does not answer");
    }
    Ok(Answer::ok(&Report {
        caller: Who {
            id: call.caller().as_str(),
            name: call.name(),
            role: call.role(),
            key: call.key().as_str(),
        },
        version: env!("CARGO_PKG_VERSION"),
        applied,
        store: if asked.is_ok() { Store::Available } else { Store::Unavailable },
    }))
}
