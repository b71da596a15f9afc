//! Keys: what proves a caller.

mod body;
mod fresh;
mod revocation;
mod rotation;

pub(super) use body::{Key, KeyRecord, MadeKey};
pub(super) use rotation::{__path_rotate, Rotated, rotate};

use std::{sync::Arc, time::Duration};

use axum::extract::{Request, State};
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Surface,
    answer::{Answer, Refused},
    call::Call,
    callers::{manages, managing},
    done,
    etag::Tag,
    json::{self, Checks},
    page::{Page, cut},
    spec,
};
use crate::{
    Denial,
    app::{self, Access, CallerKind, Credential, CredentialEdit, CredentialId, Role, Seq, Status},
    directory::{Directory, Following},
    registry::{Command, Credentials},
};
use body::{KeyPatch, NewKey};

/// The most keys that a caller may have.
const MOST: u32 = 100;

/// What is wrong with the end of a key that has passed.
const IN_THE_PAST: &str = "it is in the past: the key would not be accepted";

/// How long a deletion may be waited for, in seconds.
const LONGEST_WAIT: u64 = 60;

fn tag(key: &Credential) -> Tag {
    Tag::revision(key.revision)
}

fn location(key: &Credential) -> String {
    format!("/admin/v1/tenants/{}/keys/{}", key.tenant, key.id)
}

/// The end of a key of a caller: an administrator's is not later than that of the key which asks for it.
fn end(
    call: &Call,
    caller: &app::Caller,
    wanted: Option<Timestamp>,
    checks: &mut Checks,
) -> Option<Timestamp> {
    let bound = call.ends().filter(|_| matches!(caller.kind, CallerKind::Administrator(_)));
    let (Some(bound), Some(wanted)) = (bound, wanted) else { return wanted.or(bound) };
    checks.that(wanted <= bound, "#/not_after", "it ends later than the key that asks for it");
    Some(wanted)
}

/// Lists the keys of a caller.
#[utoipa::path(
    get,
    path = "/tenants/{tenant}/callers/{caller}/keys",
    tag = "keys",
    operation_id = "list_keys",
    params(spec::Paging),
    responses(spec::Many<Key>, spec::Any, spec::Missing),
)]
pub(super) async fn list(State(surface): State<Arc<Surface>>, request: Request) -> Result<Answer, Refused> {
    let call = Call::of(request, Role::ReadOnly).await?;
    let query = call.query(&["limit", "after"])?;
    let (limit, after) = (query.limit()?, query.after()?);
    let caller = surface.caller(&call.tenant()?, &call.within()?).await?;
    let which = Credentials { tenant: Some(caller.tenant), caller: Some(caller.id), after, limit: limit + 1 };
    let found = surface.admin.registry.credentials(&which).await.map_err(|fault| surface.refuse(fault))?;
    let (keys, next) = cut(found, limit, |last| last.id.to_string());
    let (page, link) = Page::of(&query, surface.shown(keys).await?, next);
    Ok(Answer::ok(&page).linked(link))
}

/// Makes a key. It is in this answer only. For an operator; an administrator's, for an owner.
#[utoipa::path(
    post,
    path = "/tenants/{tenant}/callers/{caller}/keys",
    tag = "keys",
    operation_id = "create_key",
    params(spec::IdempotencyKey, spec::LockToken),
    request_body(content = NewKey, content_type = "application/json", description = "Without content, nothing is said"),
    responses(spec::Made<MadeKey>, spec::Any, spec::Missing, spec::Unmade),
)]
pub(super) async fn create(State(surface): State<Arc<Surface>>, request: Request) -> Result<Answer, Refused> {
    let needed = managing(&request);
    let call = Call::of(request, needed).await?;
    call.query(&[])?;
    // First: the answer is the same when what it was about is gone.
    let ticket = surface.ticket(&call)?;
    if let Some(answer) = surface.earlier(&call, ticket.as_ref()).await? {
        return Ok(answer);
    }
    let caller = surface.caller(&call.tenant()?, &call.within()?).await?;
    call.needs(manages(&caller.kind))?;
    // Nothing has to be said about a key.
    let body: NewKey = if call.content.is_empty() { NewKey::default() } else { json::read(&call.content)? };
    let (fresh, now) = (body.fresh(&caller.kind)?, surface.admin.clock.now().time);
    let mut checks = Checks::default();
    let not_after = end(&call, &caller, body.not_after(), &mut checks);
    checks.that(not_after.is_none_or(|end| now < end), "#/not_after", IN_THE_PAST);
    let peppers = surface.admin.directory.peppers();
    let stored =
        |id: &CredentialId| fresh.stored(&caller.tenant, id, peppers.current(), &surface.admin.sealer);
    let (id, pepper) = (CredentialId::random(), peppers.current().version());
    let credential = body.checked(checks, &caller, (stored(&id), id, pepper), now)?;
    let credential = Credential { not_after, ..credential };
    let commands = vec![Command::CreateCredential { credential, most: Some(MOST) }];
    let made = surface.execute(&call, ticket.as_ref(), commands, |done| {
        let made = done!(Credential, done)?;
        let document = MadeKey::of(&fresh, Key::of(made.clone(), None, now));
        Ok(Answer::made(location(made), &document).tagged(&tag(made)).secret())
    });
    made.await.map_err(|fault| surface.refuse(fault))
}

/// Shows a key.
#[utoipa::path(
    get,
    path = "/tenants/{tenant}/keys/{key}",
    tag = "keys",
    operation_id = "read_key",
    params(spec::IfNoneMatch),
    responses(spec::One<Key>, spec::Any, spec::Missing),
)]
pub(super) async fn read(State(surface): State<Arc<Surface>>, request: Request) -> Result<Answer, Refused> {
    let call = Call::of(request, Role::ReadOnly).await?;
    call.query(&[])?;
    let key = surface.key(&call).await?;
    let tag = tag(&key);
    if tag.is_known(&call.headers) {
        return Ok(Answer::unmodified(&tag));
    }
    surface.show(key).await
}

/// Changes a key. For an operator; an administrator's, for an owner.
#[utoipa::path(
    patch,
    path = "/tenants/{tenant}/keys/{key}",
    tag = "keys",
    operation_id = "modify_key",
    params(spec::IfMatch, spec::LockToken),
    request_body(content((KeyPatch = "application/merge-patch+json"), (KeyPatch = "application/json"))),
    responses(spec::Modified<Key>, spec::Any, spec::Missing, spec::Unchanged),
)]
pub(super) async fn modify(State(surface): State<Arc<Surface>>, request: Request) -> Result<Answer, Refused> {
    let needed = managing(&request);
    let call = Call::of(request, needed).await?;
    call.query(&[])?;
    let (before, caller) = surface.managed(&call).await?;
    surface.expects(&call, &tag(&before), &caller.id).await?;
    let patch: KeyPatch = json::read(&call.content)?;
    let now = surface.admin.clock.now().time;
    let edit = patch.checked(|wanted, checks| {
        // At this very moment is how a key is ended; earlier would say that it was not accepted when it was.
        let fits = wanted.is_none_or(|end| now <= end) || wanted == before.not_after;
        checks.that(fits, "#/not_after", IN_THE_PAST);
        end(&call, &caller, wanted, checks)
    })?;
    let ends = edit.not_after.flatten().is_some_and(|end| end <= now);
    let narrowed = edit.scopes.as_ref().is_some_and(|scopes| !Call::suffice(scopes, Access::Write));
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
    caller: &app::Caller,
    beyond: Option<Timestamp>,
    now: Timestamp,
) -> Option<Command> {
    let lets_in = key.status == Status::Enabled && key.not_after.is_none_or(|end| now < end);
    (caller.owns_everything() && lets_in).then_some(Command::KeepOwner { beyond })
}

fn in_use() -> Refused {
    let detail = "The request is made with this very key: rotate it, or use another.";
    Denial::Conflict { detail: detail.into() }.into()
}

/// How far a deletion has come that was not seen to its end.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Underway {
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
    params(spec::IfMatch, spec::LockToken, ("wait" = Option<u64>, Query, description = "How many seconds to wait for its refusal", maximum = 60)),
    responses(spec::Removed, (status = 202, description = "Gone from the store, and not refused here yet", body = Underway), spec::Any, spec::Missing, spec::Unchanged),
)]
pub(super) async fn delete(State(surface): State<Arc<Surface>>, request: Request) -> Result<Answer, Refused> {
    let needed = managing(&request);
    let call = Call::of(request, needed).await?;
    let query = call.query(&["wait"])?;
    let fits = |text: &str| text.parse().ok().filter(|seconds| *seconds <= LONGEST_WAIT);
    let wait = query.chosen("wait", &format!("a whole number of seconds, at most {LONGEST_WAIT}"), fits)?;
    let (before, caller) = surface.managed(&call).await?;
    surface.expects(&call, &tag(&before), &caller.id).await?;
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
        None => return Ok(Answer::nothing()),
    };
    let refused = directory.until(|directory: &Directory| directory.with_digest(digest).is_none());
    if tokio::time::timeout(Duration::from_secs(seconds), refused).await.is_ok() {
        return Ok(Answer::nothing());
    }
    let underway = Underway { id: id.to_string(), refused_here: false, applied: directory.applied() };
    Ok(Answer::document(StatusCode::ACCEPTED, &underway))
}

impl Surface {
    /// The key that is asked about.
    async fn key(&self, call: &Call) -> Result<Credential, Refused> {
        let id: CredentialId = call.within()?;
        let key = self.admin.registry.credential(&call.tenant()?, &id).await;
        key.map_err(|fault| self.refuse(fault))
    }

    /// The same with its caller, if who asks may manage it.
    async fn managed(&self, call: &Call) -> Result<(Credential, app::Caller), Refused> {
        let key = self.key(call).await?;
        let caller = self.caller(&key.tenant, &key.caller).await?;
        call.needs(manages(&caller.kind))?;
        Ok((key, caller))
    }

    /// When keys were last used: as it is noted, or as this node knows it already.
    async fn uses(&self, keys: &[Credential]) -> Result<Vec<Option<Timestamp>>, Refused> {
        let ids: Vec<_> = keys.iter().map(|key| key.id.clone()).collect();
        let noted = self.admin.registry.last_uses(&ids).await.map_err(|fault| self.refuse(fault))?;
        let known = |key: &Credential| self.admin.directory.with_digest(key.digest)?.used();
        Ok(keys.iter().zip(noted).map(|(key, noted)| noted.max(known(key))).collect())
    }

    async fn used(&self, key: &Credential) -> Result<Option<Timestamp>, Refused> {
        Ok(self.uses(std::slice::from_ref(key)).await?.pop().flatten())
    }

    async fn shown(&self, keys: Vec<Credential>) -> Result<Vec<Key>, Refused> {
        let (uses, now) = (self.uses(&keys).await?, self.admin.clock.now().time);
        Ok(keys.into_iter().zip(uses).map(|(key, used)| Key::of(key, used, now)).collect())
    }

    async fn show(&self, key: Credential) -> Result<Answer, Refused> {
        let (tag, used) = (tag(&key), self.used(&key).await?);
        Ok(Answer::ok(&Key::of(key, used, self.admin.clock.now().time)).tagged(&tag))
    }
}
