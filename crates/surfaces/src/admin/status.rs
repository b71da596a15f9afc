//! The status endpoint: the client's identity and the state of this node.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    extract::Authorized,
    openapi,
    response::{ApiResponse, ErrorResponse},
    roles::ReadOnly,
    state::Surface,
};
use crate::openapi::schemas;
use portcullis::{
    directory::Following,
    model::{Role, Seq},
    registry::RegistryError,
};

/// The state of this node and the identity of the client.
#[derive(Debug, Serialize, ToSchema)]
struct NodeStatus<'a> {
    /// The caller that makes the request.
    caller: CurrentCaller<'a>,
    /// The version of Portcullis.
    version: &'static str,
    /// The number of the last change that this node has applied.
    #[schema(value_type = u64)]
    applied_change: Seq,
    /// The state of the store.
    store: Store,
    /// The state of replication from the store into this node's decisions: `current`; `incomplete` if this version of
    /// the program cannot read an entity of the store and applies everything else; `mismatched` if the store was
    /// replaced or changed and needs other secrets than those in use; `stalled` if changes are not applied at all.
    replication: &'static str,
    /// Whether changes can be made through this node and are applied by it.
    ready: bool,
    /// The number of times that the store was rolled back or replaced since this node was started.
    regressions: u64,
    /// The random id of the store, if it has one.
    #[schema(required)]
    store_id: Option<String>,
    /// The epoch of the store, if it has one. A copy that was made to be restored has a greater epoch.
    #[schema(required)]
    epoch: Option<u64>,
}

/// The caller that makes the request.
#[derive(Debug, Serialize, ToSchema)]
struct CurrentCaller<'a> {
    /// The id of the administrator.
    id: &'a str,
    /// The name of the administrator.
    name: &'a str,
    /// The role of the administrator.
    #[schema(value_type = schemas::Role)]
    role: Role,
    /// The id of the key in the request.
    key: &'a str,
}

/// The state of the store. Requests are authenticated without the store.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Store {
    /// The store answers.
    Available,
    /// The store does not answer. Nothing can be changed, but known callers are still served.
    Unavailable,
}

/// Get the status of the node
///
/// The response also names the caller and the key of the request.
#[utoipa::path(
    get,
    path = "/status",
    tag = "status",
    operation_id = "read_status",
    responses((status = 200, description = "The status", body = NodeStatus), openapi::CommonErrors),
)]
pub(super) async fn read(
    State(surface): State<Arc<Surface>>,
    Authorized { call, .. }: Authorized<ReadOnly>,
) -> Result<ApiResponse, ErrorResponse> {
    let applied = surface.admin.directory.applied();
    let mark = match surface.admin.registry.mark(applied).await {
        // A store without a mark is asked for changes instead, to see whether it answers.
        Ok(None) => surface.admin.registry.changes(applied, 1).await.map(|_| None),
        marked => marked,
    };
    if let Err(RegistryError::Corrupt(reason)) = mark {
        return Err(surface.registry_error(RegistryError::Unavailable(reason)));
    }
    if let Err(fault) = &mark {
        tracing::warn!(%fault, "store unavailable");
    }
    let (is_available, mark) = (mark.is_ok(), mark.ok().flatten());
    let replication = surface.admin.directory.following();
    Ok(ApiResponse::ok(&NodeStatus {
        caller: CurrentCaller {
            id: call.caller().as_str(),
            name: call.name(),
            role: call.role(),
            key: call.key().as_str(),
        },
        version: env!("CARGO_PKG_VERSION"),
        applied_change: applied,
        store: if is_available { Store::Available } else { Store::Unavailable },
        replication: replication.as_str(),
        ready: is_available && replication == Following::Current,
        regressions: surface.admin.directory.regressions(),
        epoch: mark.as_ref().map(|mark| mark.epoch),
        store_id: mark.map(|mark| mark.store),
    })
    .without_store())
}
