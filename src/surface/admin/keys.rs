//! Keys: what proves a caller.

mod body;
mod generated;
mod revocation;
mod rotation;

pub(super) use body::{Key, KeyRecord, CreatedKey};
pub(super) use rotation::{__path_rotate, Rotated, rotate};

use std::{sync::Arc, time::Duration};

use axum::extract::{Request, State};
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Surface,
    response::{ApiResponse, ErrorResponse},
    call_context::CallContext,
    callers::{manages, managing},
    done,
    etag::ETag,
    json::{self, FieldErrors},
    page::{Page, split_page},
    openapi,
};
use crate::{
    Denial,
    model::{self, Access, CallerKind, Credential, CredentialEdit, CredentialId, Role, Seq, Status},
    directory::{Directory, Following},
    registry::{Command, CredentialFilter},
};
use body::{KeyPatch, NewKey};

/// The most keys that a caller may have.
const MAX_SCOPES: u32 = 100;

/// What is wrong with the end of a key that has passed.
const IN_THE_PAST: &str = "it is in the past: the key would not be accepted";

/// How long a deletion may be waited for, in seconds.
const MAX_WAIT: u64 = 60;

fn tag(key: &Credential) -> ETag {
    ETag::revision(key.revision)
}

fn location(key: &Credential) -> String {
    format!("/admin/v1/tenants/{}/keys/{}", key.tenant, key.id)
}

/// The end of a key of a caller: an administrator's is not later than that of the key which asks for it.
fn end(
    call: &CallContext,
    caller: &model::Caller,
    wanted: Option<Timestamp>,
    checks: &mut FieldErrors,
) -> Option<Timestamp> {
    let bound = call.key_expiry().filter(|_| matches!(caller.kind, CallerKind::Administrator(_)));
    let (Some(bound), Some(wanted)) = (bound, wanted) else { return wanted.or(bound) };
    checks.ensure(wanted <= bound, "#/not_after", "it ends later than the key that asks for it");
    Some(wanted)
}

/// Lists the keys of a caller.
#[utoipa::path(
    get,
    path = "/tenants/{tenant}/callers/{caller}/keys",
    tag = "keys",
    operation_id = "list_keys",
    params(openapi::Paging),
    responses(openapi::OkPage<Key>, openapi::CommonErrors, openapi::NotFound),
)]
pub(super) async fn list(State(surface): State<Arc<Surface>>, request: Request) -> Result<ApiResponse, ErrorResponse> {
    let call = CallContext::extract(request, Role::ReadOnly).await?;
    let query = call.query(&["limit", "after"])?;
    let (limit, after) = (query.limit()?, query.after()?);
    let caller = surface.caller(&call.tenant()?, &call.child_id()?).await?;
    let which = CredentialFilter { tenant: Some(caller.tenant), caller: Some(caller.id), after, limit: limit + 1 };
    let found = surface.admin.registry.credentials(&which).await.map_err(|fault| surface.refuse(fault))?;
    let (keys, next) = split_page(found, limit, |last| last.id.to_string());
    let (page, link) = Page::of(&query, surface.shown(keys).await?, next);
    Ok(ApiResponse::ok(&page).with_link(link))
}

/// Makes a key. It is in this answer only. For an operator; an administrator's, for an owner.
#[utoipa::path(
    post,
    path = "/tenants/{tenant}/callers/{caller}/keys",
    tag = "keys",
    operation_id = "create_key",
    params(openapi::IdempotencyKey, openapi::LockToken),
    request_body(content = NewKey, content_type = "application/json", description = "Without content, nothing is said"),
    responses(openapi::Created<CreatedKey>, openapi::CommonErrors, openapi::NotFound, openapi::CreateErrors),
)]
pub(super) async fn create(State(surface): State<Arc<Surface>>, request: Request) -> Result<ApiResponse, ErrorResponse> {
    let needed = managing(&request);
    let call = CallContext::extract(request, needed).await?;
    call.query(&[])?;
    // First: the answer is the same when what it was about is gone.
    let ticket = surface.ticket(&call)?;
    if let Some(answer) = surface.earlier(&call, ticket.as_ref()).await? {
        return Ok(answer);
    }
    let caller = surface.caller(&call.tenant()?, &call.child_id()?).await?;
    call.require_role(manages(&caller.kind))?;
    // Nothing has to be said about a key.
    let body: NewKey = if call.content.is_empty() { NewKey::default() } else { json::read(&call.content)? };
    let (fresh, now) = (body.fresh(&caller.kind)?, surface.admin.clock.now().time);
    let mut checks = FieldErrors::default();
    let not_after = end(&call, &caller, body.not_after(), &mut checks);
    checks.ensure(not_after.is_none_or(|end| now < end), "#/not_after", IN_THE_PAST);
    let peppers = surface.admin.directory.peppers();
    let stored =
        |id: &CredentialId| fresh.stored(&caller.tenant, id, peppers.current(), &surface.admin.sealer);
    let (id, pepper) = (CredentialId::random(), peppers.current().version());
    let credential = body.checked(checks, &caller, (stored(&id), id, pepper), now)?;
    let credential = Credential { not_after, ..credential };
    let commands = vec![Command::CreateCredential { credential, most: Some(MAX_SCOPES) }];
    let made = surface.execute(&call, ticket.as_ref(), commands, |done| {
        let made = done!(Credential, done)?;
        let document = CreatedKey::of(&fresh, Key::of(made.clone(), None, now));
        Ok(ApiResponse::created(location(made), &document).with_etag(&tag(made)).secret())
    });
    made.await.map_err(|fault| surface.refuse(fault))
}

/// Shows a key.
#[utoipa::path(
    get,
    path = "/tenants/{tenant}/keys/{key}",
    tag = "keys",
    operation_id = "read_key",
    params(openapi::IfNoneMatch),
    responses(openapi::OkResource<Key>, openapi::CommonErrors, openapi::NotFound),
)]
pub(super) async fn read(State(surface): State<Arc<Surface>>, request: Request) -> Result<ApiResponse, ErrorResponse> {
    let call = CallContext::extract(request, Role::ReadOnly).await?;
    call.query(&[])?;
    let key = surface.key(&call).await?;
    let tag = tag(&key);
    if tag.matches_if_none_match(&call.headers) {
        return Ok(ApiResponse::not_modified(&tag));
    }
    surface.show(key).await
}

/// Changes a key. For an operator; an administrator's, for an owner.
#[utoipa::path(
    patch,
    path = "/tenants/{tenant}/keys/{key}",
    tag = "keys",
    operation_id = "modify_key",
    params(openapi::IfMatch, openapi::LockToken),
    request_body(content((KeyPatch = "application/merge-patch+json"), (KeyPatch = "application/json"))),
    responses(openapi::Updated<Key>, openapi::CommonErrors, openapi::NotFound, openapi::UpdateErrors),
)]
pub(super) async fn modify(State(surface): State<Arc<Surface>>, request: Request) -> Result<ApiResponse, ErrorResponse> {
    let needed = managing(&request);
    let call = CallContext::extract(request, needed).await?;
    call.query(&[])?;
    let (before, caller) = surface.managed(&call).await?;
    surface.check_precondition(&call, &tag(&before), &caller.id).await?;
    let patch: KeyPatch = json::read(&call.content)?;
    let now = surface.admin.clock.now().time;
    let edit = patch.checked(|wanted, checks| {
        // At this very moment is how a key is ended; earlier would say that it was not accepted when it was.
        let fits = wanted.is_none_or(|end| now <= end) || wanted == before.not_after;
        checks.ensure(fits, "#/not_after", IN_THE_PAST);
        end(&call, &caller, wanted, checks)
    })?;
    let ends = edit.not_after.flatten().is_some_and(|end| end <= now);
    let narrowed = edit.scopes.as_ref().is_some_and(|scopes| !CallContext::scopes_allow(scopes, Access::Write));
    if before.id == *call.key() && (ends || narrowed || edit.status == Some(Status::Disabled)) {
        return Err(in_use());
    }
    let weakens = edit.not_after.flatten().is_some() || narrowed || edit.status == Some(Status::Disabled);
    let beyond = edit.not_after.flatten();
    let mut commands = vec![update(&before, edit)];
    if weakens {
        commands.extend(keep_owner(&before, &caller, beyond, now));
    }
    let done = surface.change(&call, commands).await?;
    surface.show(done!(Credential, done).map_err(|fault| surface.refuse(fault))?.clone()).await
}

fn update(before: &Credential, edit: CredentialEdit) -> Command {
    let (tenant, id) = (before.tenant.clone(), before.id.clone());
    Command::UpdateCredential { tenant, id, expected: Some(before.revision), edit }
}

/// What goes behind a change that takes away a key by which an owner is let in: that somebody is left who owns
/// everything, beyond the moment at which the key ends.
fn keep_owner(
    key: &Credential,
    caller: &model::Caller,
    beyond: Option<Timestamp>,
    now: Timestamp,
) -> Option<Command> {
    let lets_in = key.status == Status::Enabled && key.not_after.is_none_or(|end| now < end);
    (caller.owns_everything() && lets_in).then_some(Command::KeepOwner { beyond })
}

fn in_use() -> ErrorResponse {
    let detail = "The request is made with this very key: rotate it, or use another.";
    Denial::Conflict { detail: detail.into() }.into()
}

/// How far a deletion has come that was not seen to its end.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PendingDeletion {
    /// The key; the store has it no more.
    id: String,
    /// Whether this node refuses it already.
    refused_here: bool,
    /// The number of the last change that this node's decisions know of.
    #[schema(value_type = u64)]
    applied: Seq,
}

/// Deletes a key. For an operator; an administrator's, for an owner.
///
/// Gone from the store before it is answered. With `wait`, this node's decisions are waited for too: 204 says that
/// it is refused here from now on, 202 that the wait was over first. Without `wait`, 202 says that this node applies no
/// changes just now, as it cannot read the store.
#[utoipa::path(
    delete,
    path = "/tenants/{tenant}/keys/{key}",
    tag = "keys",
    operation_id = "delete_key",
    params(openapi::IfMatch, openapi::LockToken, ("wait" = Option<u64>, Query, description = "How many seconds to wait for its refusal", maximum = 60)),
    responses(openapi::NoContent, (status = 202, description = "Gone from the store, and not refused here yet", body = PendingDeletion), openapi::CommonErrors, openapi::NotFound, openapi::UpdateErrors),
)]
pub(super) async fn delete(State(surface): State<Arc<Surface>>, request: Request) -> Result<ApiResponse, ErrorResponse> {
    let needed = managing(&request);
    let call = CallContext::extract(request, needed).await?;
    let query = call.query(&["wait"])?;
    let fits = |text: &str| text.parse().ok().filter(|seconds| *seconds <= MAX_WAIT);
    let wait = query.chosen("wait", &format!("a whole number of seconds, at most {MAX_WAIT}"), fits)?;
    let (before, caller) = surface.managed(&call).await?;
    surface.check_precondition(&call, &tag(&before), &caller.id).await?;
    if before.id == *call.key() {
        return Err(in_use());
    }
    let keep_owner = keep_owner(&before, &caller, None, surface.admin.clock.now().time);
    let Credential { tenant, id, digest, revision, .. } = before;
    let command = Command::DeleteCredential { tenant, id: id.clone(), expected: Some(revision) };
    surface.change(&call, [command].into_iter().chain(keep_owner).collect()).await?;
    let directory = &surface.admin.directory;
    let seconds = match wait {
        Some(seconds) => seconds,
        // Nobody waits, and it would take for ever: this node applies no changes just now.
        None if directory.following() == Following::Stalled => 0,
        None => return Ok(ApiResponse::no_content()),
    };
    let refused = directory.wait_until(|directory: &Directory| directory.find_by_digest(digest).is_none());
    if tokio::time::timeout(Duration::from_secs(seconds), refused).await.is_ok() {
        return Ok(ApiResponse::no_content());
    }
    let underway = PendingDeletion { id: id.to_string(), refused_here: false, applied: directory.applied() };
    Ok(ApiResponse::document(StatusCode::ACCEPTED, &underway))
}

impl Surface {
    /// The key that is asked about.
    async fn key(&self, call: &CallContext) -> Result<Credential, ErrorResponse> {
        let id: CredentialId = call.child_id()?;
        let key = self.admin.registry.credential(&call.tenant()?, &id).await;
        key.map_err(|fault| self.refuse(fault))
    }

    /// The same with its caller, if who asks may manage it.
    async fn managed(&self, call: &CallContext) -> Result<(Credential, model::Caller), ErrorResponse> {
        let key = self.key(call).await?;
        let caller = self.caller(&key.tenant, &key.caller).await?;
        call.require_role(manages(&caller.kind))?;
        Ok((key, caller))
    }

    /// When keys were last used: as it is noted, or as this node knows it already.
    async fn uses(&self, keys: &[Credential]) -> Result<Vec<Option<Timestamp>>, ErrorResponse> {
        let ids: Vec<_> = keys.iter().map(|key| key.id.clone()).collect();
        let noted = self.admin.registry.last_used(&ids).await.map_err(|fault| self.refuse(fault))?;
        let known = |key: &Credential| self.admin.directory.find_by_digest(key.digest)?.used();
        Ok(keys.iter().zip(noted).map(|(key, noted)| noted.max(known(key))).collect())
    }

    async fn used(&self, key: &Credential) -> Result<Option<Timestamp>, ErrorResponse> {
        Ok(self.uses(std::slice::from_ref(key)).await?.pop().flatten())
    }

    async fn shown(&self, keys: Vec<Credential>) -> Result<Vec<Key>, ErrorResponse> {
        let (uses, now) = (self.uses(&keys).await?, self.admin.clock.now().time);
        Ok(keys.into_iter().zip(uses).map(|(key, used)| Key::of(key, used, now)).collect())
    }

    async fn show(&self, key: Credential) -> Result<ApiResponse, ErrorResponse> {
        let (tag, used) = (tag(&key), self.used(&key).await?);
        Ok(ApiResponse::ok(&Key::of(key, used, self.admin.clock.now().time)).with_etag(&tag))
    }
}
