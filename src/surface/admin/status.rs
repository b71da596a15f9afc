//! Who asks, and how what answers is doing.

use std::sync::Arc;

use axum::extract::{Request, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Surface,
    response::{ApiResponse, ErrorResponse},
    call_context::CallContext,
    openapi,
};
use crate::{
    model::{Role, Seq},
    directory::Following,
    registry::Fault,
    surface::openapi::schemas,
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
    /// How well this node's decisions follow the store: `current`; `incomplete` when the store holds something that
    /// this version of the program cannot read, everything else being applied; `mismatched` when the store was replaced
    /// or changed, and the secrets in use are not those that it needs; `stalled` when changes are not applied at all.
    following: &'static str,
    /// Whether changes can be made here, and take effect here.
    ready: bool,
    /// How often the store was found to have gone back, or to be another one, since this node was started.
    regressions: u64,
    /// The random id of the store, where it has one.
    #[schema(required)]
    store_id: Option<String>,
    /// The epoch of the store, likewise; greater in a copy that was made to be restored.
    #[schema(required)]
    epoch: Option<u64>,
}

/// Who asks.
#[derive(Debug, Serialize, ToSchema)]
struct Who<'a> {
    /// The administrator.
    id: &'a str,
    /// Its name.
    name: &'a str,
    /// What it may do.
    #[schema(value_type = schemas::Role)]
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
    responses((status = 200, description = "How it is doing", body = Report), openapi::CommonErrors),
)]
pub(super) async fn read(State(surface): State<Arc<Surface>>, request: Request) -> Result<ApiResponse, ErrorResponse> {
    let call = CallContext::extract(request, Role::ReadOnly).await?;
    call.query(&[])?;
    let applied = surface.admin.directory.applied();
    let mark = match surface.admin.registry.mark(applied).await {
        // What has no mark is asked for something else.
        Ok(None) => surface.admin.registry.changes(applied, 1).await.map(|_| None),
        marked => marked,
    };
    if let Err(Fault::Corrupt(reason)) = mark {
        return Err(surface.refuse(Fault::Unavailable(reason)));
    }
    if let Err(fault) = &mark {
        tracing::warn!(%fault, "the store does not answer");
    }
    let (is_available, mark) = (mark.is_ok(), mark.ok().flatten());
    let following = surface.admin.directory.following();
    Ok(ApiResponse::ok(&Report {
        caller: Who {
            id: call.caller().as_str(),
            name: call.name(),
            role: call.role(),
            key: call.key().as_str(),
        },
        version: env!("CARGO_PKG_VERSION"),
        applied,
        store: if is_available { Store::Available } else { Store::Unavailable },
        following: following.as_str(),
        ready: is_available && following == Following::Current,
        regressions: surface.admin.directory.regressions(),
        epoch: mark.as_ref().map(|mark| mark.epoch),
        store_id: mark.map(|mark| mark.store),
    })
    .without_store())
}
