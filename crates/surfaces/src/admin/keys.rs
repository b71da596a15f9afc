//! The key endpoints. A key authenticates a caller.

mod body;
mod generated;
mod revocation;
mod rotation;
mod rules;

pub(super) use body::{CreatedKey, Key, KeyRecord};
pub(super) use rotation::{__path_rotate, RotatedKey, rotate};

use std::{sync::Arc, time::Duration};

use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    call_context::CallContext,
    extract::{Authorized, PageParameters, Parameters},
    openapi,
    page::Page,
    response::{ApiResponse, ErrorResponse},
    roles::{Manager, ReadOnly, manages},
    state::Surface,
};
use crate::json::{self, FieldErrors};
use body::{KeyPatch, NewKey};
use portcullis::{
    Denial,
    directory::{Directory, Following},
    model::{Access, Credential, CredentialId, Seq, Status},
    registry::{CreateCredential, CredentialFilter, DeleteCredential, NewCredential},
};
use rules::{MAX_KEYS, end, find_key, keep_owner, location, managed, tag, update, used, uses};

/// The error for an end of a key that has passed.
const IN_THE_PAST: &str = "must not be in the past: the key would not be accepted";

/// Maximum time to wait for a deletion to take effect, in seconds.
const MAX_WAIT: u64 = 60;

/// List keys of a caller
#[utoipa::path(
    get,
    path = "/tenants/{tenant}/callers/{caller}/keys",
    tag = "keys",
    operation_id = "list_keys",
    params(openapi::Paging),
    responses(openapi::OkPage<Key>, openapi::CommonErrors, openapi::NotFound),
)]
pub(super) async fn list(
    State(surface): State<Arc<Surface>>,
    Authorized { call, query, .. }: Authorized<ReadOnly, PageParameters>,
) -> Result<ApiResponse, ErrorResponse> {
    let (limit, after) = (query.limit()?, query.after()?);
    let caller = surface.caller(&call.tenant()?, &call.child_id()?).await?;
    let filter =
        CredentialFilter { tenant: Some(caller.tenant), caller: Some(caller.id), after, limit: limit + 1 };
    let found =
        surface.admin.registry.credentials(&filter).await.map_err(|fault| surface.registry_error(fault))?;
    let page = Page::from_parts(&query, limit, found, |last| last.id.to_string());
    let (mut uses, now) = (uses(&surface, page.items()).await?.into_iter(), surface.admin.clock.now().time);
    Ok(ApiResponse::page(&page.map(|key| Key::new(key, uses.next().flatten(), now))))
}

/// Create a key
///
/// Only this response shows the key. Requires the role `operator`, or `owner` for a key of an administrator.
#[utoipa::path(
    post,
    path = "/tenants/{tenant}/callers/{caller}/keys",
    tag = "keys",
    operation_id = "create_key",
    params(openapi::IdempotencyKey, openapi::LockToken),
    request_body(content = NewKey, content_type = "application/json", description = "An empty body stands for the defaults"),
    responses(openapi::Created<CreatedKey>, openapi::CommonErrors, openapi::NotFound, openapi::CreateErrors),
)]
pub(super) async fn create(
    State(surface): State<Arc<Surface>>,
    Authorized { call, .. }: Authorized<Manager>,
) -> Result<ApiResponse, ErrorResponse> {
    // Replays come first: the response is the same even if the resource has been deleted since.
    let idempotency_key = surface.idempotency_key(&call)?;
    if let Some(answer) = surface.find_replay(&call, idempotency_key.as_ref()).await? {
        return Ok(answer);
    }
    let caller = surface.caller(&call.tenant()?, &call.child_id()?).await?;
    call.require_role(manages(&caller.kind))?;
    // The body is optional.
    let body: NewKey = if call.content.is_empty() { NewKey::default() } else { json::read(&call.content)? };
    let (fresh, now) = (body.fresh(&caller.kind)?, surface.admin.clock.now().time);
    let mut checks = FieldErrors::default();
    let not_after = end(&call, &caller, body.not_after(), &mut checks);
    checks.ensure(not_after.is_none_or(|end| now < end), "#/not_after", IN_THE_PAST);
    let peppers = surface.admin.directory.peppers();
    let stored =
        |id: &CredentialId| fresh.stored(&caller.tenant, id, peppers.current(), &surface.admin.sealer);
    let (id, pepper) = (CredentialId::random(), peppers.current().version());
    let credential = body.checked(checks, &caller, (stored(&id), id, pepper))?;
    let credential = NewCredential { not_after, ..credential };
    let create = CreateCredential { credential, most: Some(MAX_KEYS) };
    let made = surface.execute(&call, idempotency_key.as_ref(), create, |made| {
        let (location, tag) = (location(&made), tag(&made));
        let document = CreatedKey::new(&fresh, Key::new(made, None, now));
        ApiResponse::created(location, &document).with_etag(&tag).secret()
    });
    made.await.map_err(|fault| surface.registry_error(fault))
}

/// Get a key
#[utoipa::path(
    get,
    path = "/tenants/{tenant}/keys/{key}",
    tag = "keys",
    operation_id = "read_key",
    params(openapi::IfNoneMatch),
    responses(openapi::OkResource<Key>, openapi::CommonErrors, openapi::NotFound),
)]
pub(super) async fn read(
    State(surface): State<Arc<Surface>>,
    Authorized { call, .. }: Authorized<ReadOnly>,
) -> Result<ApiResponse, ErrorResponse> {
    let key = find_key(&surface, &call).await?;
    let tag = tag(&key);
    if tag.matches_if_none_match(&call.headers) {
        return Ok(ApiResponse::not_modified(&tag));
    }
    show(&surface, key).await
}

/// Update a key
///
/// Requires the role `operator`, or `owner` for a key of an administrator.
#[utoipa::path(
    patch,
    path = "/tenants/{tenant}/keys/{key}",
    tag = "keys",
    operation_id = "modify_key",
    params(openapi::IfMatch, openapi::LockToken),
    request_body(content((KeyPatch = "application/merge-patch+json"), (KeyPatch = "application/json"))),
    responses(openapi::Updated<Key>, openapi::CommonErrors, openapi::NotFound, openapi::UpdateErrors),
)]
pub(super) async fn modify(
    State(surface): State<Arc<Surface>>,
    Authorized { call, .. }: Authorized<Manager>,
) -> Result<ApiResponse, ErrorResponse> {
    let (before, caller) = managed(&surface, &call).await?;
    surface.check_precondition(&call, &tag(&before), &caller.id).await?;
    let patch: KeyPatch = json::read(&call.content)?;
    let now = surface.admin.clock.now().time;
    let edit = patch.checked(|wanted, checks| {
        // An end at this very moment ends the key now. An earlier end would claim that the key was not accepted when
        // it was.
        let fits = wanted.is_none_or(|end| now <= end) || wanted == before.not_after;
        checks.ensure(fits, "#/not_after", IN_THE_PAST);
        end(&call, &caller, wanted, checks)
    })?;
    let ends = edit.not_after.flatten().is_some_and(|end| end <= now);
    let narrowed =
        edit.scopes.as_ref().is_some_and(|scopes| !CallContext::scopes_allow(scopes, Access::Write));
    if before.id == *call.key() && (ends || narrowed || edit.status == Some(Status::Disabled)) {
        return Err(in_use());
    }
    let weakens = edit.not_after.flatten().is_some() || narrowed || edit.status == Some(Status::Disabled);
    let beyond = edit.not_after.flatten();
    let keep_owner = if weakens { keep_owner(&before, &caller, beyond, now) } else { None };
    let (key, _) = surface.change(&call, (update(&before, edit), keep_owner)).await?;
    show(&surface, key).await
}

fn in_use() -> ErrorResponse {
    let detail = "The request uses this key itself. Rotate the key, or use another key.";
    Denial::Conflict { detail: detail.into() }.into()
}

/// The progress of a deletion that this node has not applied yet.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PendingDeletion {
    /// The id of the key, which is deleted from the store.
    id: String,
    /// Whether this node denies the key already.
    denied_here: bool,
    /// The number of the last change that this node has applied.
    #[schema(value_type = u64)]
    applied_change: Seq,
}

/// The query parameter of the deletion of a key.
pub(super) struct WaitParameter;

impl Parameters for WaitParameter {
    const KNOWN: &'static [&'static str] = &["wait"];
}

/// Delete a key
///
/// The key is deleted from the store before the response. With `wait`, the response also waits until this node denies
/// the key: 204 means that it does, 202 that the time was over first. Without `wait`, 202 means that this node
/// applies no changes at the moment, because it cannot read the store. Requires the role `operator`, or `owner` for a
/// key of an administrator.
#[utoipa::path(
    delete,
    path = "/tenants/{tenant}/keys/{key}",
    tag = "keys",
    operation_id = "delete_key",
    params(openapi::IfMatch, openapi::LockToken, ("wait" = Option<u64>, Query, description = "The maximum number of seconds to wait until this node denies the key", maximum = 60)),
    responses(openapi::NoContent, (status = 202, description = "Deleted from the store, but not denied by this node yet", body = PendingDeletion), openapi::CommonErrors, openapi::NotFound, openapi::UpdateErrors),
)]
pub(super) async fn delete(
    State(surface): State<Arc<Surface>>,
    Authorized { call, query, .. }: Authorized<Manager, WaitParameter>,
) -> Result<ApiResponse, ErrorResponse> {
    let fits = |text: &str| text.parse().ok().filter(|seconds| *seconds <= MAX_WAIT);
    let wait = query.chosen("wait", &format!("a whole number of seconds, at most {MAX_WAIT}"), fits)?;
    let (before, caller) = managed(&surface, &call).await?;
    surface.check_precondition(&call, &tag(&before), &caller.id).await?;
    if before.id == *call.key() {
        return Err(in_use());
    }
    let keep_owner = keep_owner(&before, &caller, None, surface.admin.clock.now().time);
    let Credential { tenant, id, digest, revision, .. } = before;
    let delete = DeleteCredential { tenant, id: id.clone(), expected: Some(revision) };
    surface.change(&call, (delete, keep_owner)).await?;
    let directory = &surface.admin.directory;
    let seconds = match wait {
        Some(seconds) => seconds,
        // This node applies no changes at the moment, so waiting would take too long for a request without `wait`.
        None if directory.following() == Following::Stalled => 0,
        None => return Ok(ApiResponse::no_content()),
    };
    let refused = directory.wait_until(|directory: &Directory| directory.find_by_digest(digest).is_none());
    if tokio::time::timeout(Duration::from_secs(seconds), refused).await.is_ok() {
        return Ok(ApiResponse::no_content());
    }
    let pending =
        PendingDeletion { id: id.to_string(), denied_here: false, applied_change: directory.applied() };
    Ok(ApiResponse::document(StatusCode::ACCEPTED, &pending))
}

async fn show(surface: &Surface, key: Credential) -> Result<ApiResponse, ErrorResponse> {
    let (tag, used) = (tag(&key), used(surface, &key).await?);
    Ok(ApiResponse::ok(&Key::new(key, used, surface.admin.clock.now().time)).with_etag(&tag))
}
