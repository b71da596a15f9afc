//! Locks: leases that are acquired, proven, refreshed, released and broken.

mod enforced;
mod lock_token;

pub(super) use lock_token::LockTokenHeader;

use std::{sync::Arc, time::Duration};

use axum::extract::{Request, State};
use http::{HeaderMap, header};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use utoipa::ToSchema;

use self::enforced::Stops;
use super::{
    Surface,
    response::{ApiResponse, ErrorResponse},
    call_context::CallContext,
    callers::manages,
    done,
    etag::{self, ETag},
    json::{self, FieldErrors},
    page::{Page, split_page},
    routes::Route,
    openapi,
};
use crate::{
    Denial,
    model::{
        self, CallerId, LockedRequests, Entity, Lease, LockId, LockToken, ResourcePath, Role, TenantId,
        text::is_label,
    },
    registry::{CallerFilter, Command, RegistryError, NewLock},
    surface::{non_null, openapi::schemas},
};

/// How long a lock holds, in seconds, unless it is said.
const LASTS: u32 = 60;

/// The longest reason, in characters.
const MAX_REASON_LEN: usize = 255;

/// A lock that holds.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Lock {
    /// Unique; not a secret.
    id: String,
    /// Whose requests it stops; `null` is everybody's.
    #[schema(required)]
    tenant: Option<String>,
    /// What it stands on.
    target: Target,
    /// Who holds it; shown to who is refused.
    owner: String,
    /// Why; shown to who is refused.
    reason: String,
    /// Which requests it stops.
    #[schema(value_type = schemas::Covers)]
    covers: LockedRequests,
    /// When it was acquired.
    acquired_at: Timestamp,
    /// The first moment at which it no longer holds, unless it is refreshed.
    expires_at: Timestamp,
    /// Greater than that of every lock that was granted before: whoever keeps the greatest that it has seen can
    /// tell a holder that came too late.
    fence: u64,
}

/// What a lock stands on: one of these.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(min_properties = 1, max_properties = 1)]
pub(super) struct Target {
    /// A caller: what it sends, and what others would change of it.
    #[serde(default, deserialize_with = "non_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schemas::Id, required = false)]
    caller: Option<CallerId>,
    /// A path and all below it, such as `/orders/7`, in its normal form: `/a%62` and `/a b` are kept as `/ab` and
    /// `/a%20b`.
    #[serde(default, deserialize_with = "path", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, max_length = 1024, pattern = "^(/[^/?#]+)+$")]
    resource: Option<ResourcePath>,
}

/// A path that a lock may be on. What is read from a store may be older, and is less strict.
fn path<'de, D: Deserializer<'de>>(member: D) -> Result<Option<ResourcePath>, D::Error> {
    String::deserialize(member)?.parse().map(Some).map_err(D::Error::custom)
}

/// A lock that was just acquired.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Acquired {
    /// What proves that it is held, in `Lock-Token`. It is shown this once.
    token: String,
    #[serde(flatten)]
    lock: Lock,
    /// Requests that it does not stop, for people.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<String>,
}

/// A lock to be acquired, by who asks.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LockRequest {
    /// Whose requests it is to stop; `null`, or nothing said, is everybody's.
    #[serde(default)]
    #[schema(value_type = Option<schemas::Id>)]
    tenant: Option<TenantId>,
    /// What it is to stand on.
    target: Target,
    /// Why; shown to who is refused. 1 to 255 characters, none of them invisible.
    #[schema(value_type = schemas::Name)]
    reason: String,
    /// Which requests it is to stop; those that may change something, unless it is said.
    #[serde(default)]
    #[schema(value_type = schemas::Covers)]
    covers: LockedRequests,
    /// How many seconds it is to hold, at most a day; 60, unless it is said.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = u32, required = false, minimum = 1, maximum = 86_400)]
    lasts: Option<u32>,
}

/// How long a lock is to hold from now on.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Refresh {
    /// How many seconds, at most a day; 60, unless it is said. Never does it hold shorter than it did.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = u32, required = false, minimum = 1, maximum = 86_400)]
    lasts: Option<u32>,
}

impl From<model::Lock> for Lock {
    fn from(lock: model::Lock) -> Self {
        let (caller, resource) = match lock.target {
            model::LockTarget::Caller(id) => (Some(id), None),
            model::LockTarget::Resource(path) => (None, Some(path)),
        };
        Self {
            id: lock.id.to_string(),
            tenant: lock.tenant.map(|tenant| tenant.to_string()),
            target: Target { caller, resource },
            owner: lock.owner,
            reason: lock.reason,
            covers: lock.covers,
            acquired_at: lock.acquired_at,
            expires_at: lock.expires_at,
            fence: lock.fence,
        }
    }
}

/// A time as a lease; 422 when it is none.
fn lease(lasts: Option<u32>, checks: &mut FieldErrors) -> Option<Lease> {
    let lease = Lease::try_from(Duration::from_secs(lasts.unwrap_or(LASTS).into()));
    checks.ensure(lease.is_ok(), "#/lasts", "a lock holds for 1 to 86400 seconds at a time");
    lease.ok()
}

impl LockRequest {
    /// The lock to be acquired by somebody.
    fn checked(self, (owner, holder): (&str, &CallerId), token: &LockToken) -> Result<NewLock, ErrorResponse> {
        let mut checks = FieldErrors::default();
        let fits = is_label(&self.reason, 1..=MAX_REASON_LEN);
        checks.ensure(fits, "#/reason", "a reason is 1 to 255 characters, none of them invisible");
        let lasts = lease(self.lasts, &mut checks);
        let target = match self.target {
            Target { caller: Some(id), resource: None } => Some(model::LockTarget::Caller(id)),
            Target { caller: None, resource: Some(path) } => Some(model::LockTarget::Resource(path)),
            _ => None,
        };
        checks.ensure(target.is_some(), "#/target", "it is either a caller or a resource");
        checks.finish()?;
        let checked = target.zip(lasts).ok_or_else(|| Denial::internal("what was checked is not there"));
        let (target, lasts) = checked?;
        Ok(NewLock {
            id: LockId::random(),
            tenant: self.tenant,
            target,
            owner: owner.to_owned(),
            holder: Some(holder.clone()),
            reason: self.reason,
            covers: self.covers,
            lasts,
            token: token.digest(),
        })
    }
}

/// Refuses a lock on a path where no route would look at it; otherwise returns what the lock does not stop. `kind` is
/// that of the caller that the lock is on.
fn enforcement(routes: &[Route], lock: &NewLock, kind: Option<&str>) -> Result<Vec<String>, ErrorResponse> {
    let stops = Stops { covers: lock.covers, of_tenant: lock.tenant.is_some(), kind };
    let mut checks = FieldErrors::default();
    // Without routes, something else than this gateway serves requests and enforces locks.
    let warnings = match &lock.target {
        _ if routes.is_empty() => Vec::new(),
        model::LockTarget::Resource(path) => {
            checks.ensure(
                enforced::on_path(routes, path.as_str()),
                "#/target/resource",
                "no route there looks at locks, so the lock would stop nothing: add `lock = true` to the policies of \
                 the route ensure serves this path",
            );
            stops.gaps_on_path(routes, path.as_str())
        }
        model::LockTarget::Caller(_) => stops.gaps_on_caller(routes),
    };
    checks.finish()?;
    Ok(warnings)
}

fn shown(lock: model::Lock) -> ApiResponse {
    let lock = Lock::from(lock);
    ApiResponse::ok(&lock).with_etag(&ETag::content(&lock))
}

/// Lists the locks.
///
/// Those that hold: one that has expired is none, though the store may still have it.
#[utoipa::path(
    get,
    path = "/locks",
    tag = "locks",
    operation_id = "list_locks",
    params(openapi::Paging),
    responses(openapi::OkPage<Lock>, openapi::CommonErrors),
)]
pub(super) async fn list(State(surface): State<Arc<Surface>>, request: Request) -> Result<ApiResponse, ErrorResponse> {
    let call = CallContext::extract(request, Role::ReadOnly).await?;
    let query = call.query(&["limit", "after"])?;
    let (limit, after) = (query.limit()?, query.after::<LockId>()?);
    let found = surface.admin.registry.locks(after.as_ref(), limit + 1).await;
    let (mut locks, next) =
        split_page(found.map_err(|fault| surface.refuse(fault))?, limit, |last| last.id.to_string());
    let now = surface.admin.clock.now().time;
    locks.retain(|lock| lock.is_active(now));
    let (page, link) = Page::of(&query, locks.into_iter().map(Lock::from).collect(), next);
    Ok(ApiResponse::ok(&page).with_link(link))
}

/// Acquires a lock. Its token is in this answer only. For an operator. A lock on a path is refused (422) where no route
/// has the policy `lock`.
#[utoipa::path(
    post,
    path = "/locks",
    tag = "locks",
    operation_id = "acquire_lock",
    params(openapi::IdempotencyKey, openapi::LockToken),
    request_body(content = LockRequest, content_type = "application/json"),
    responses(openapi::Created<Acquired>, openapi::CommonErrors, openapi::NotFound, openapi::CreateErrors),
)]
pub(super) async fn acquire(
    State(surface): State<Arc<Surface>>,
    request: Request,
) -> Result<ApiResponse, ErrorResponse> {
    let call = CallContext::extract(request, Role::Operator).await?;
    call.query(&[])?;
    let ticket = surface.ticket(&call)?;
    if let Some(answer) = surface.earlier(&call, ticket.as_ref()).await? {
        return Ok(answer);
    }
    let token = LockToken::generate();
    let wanted = json::read::<LockRequest>(&call.content)?.checked((call.name(), call.caller()), &token)?;
    let kind = match &wanted.target {
        model::LockTarget::Caller(id) => surface.may_hold(&call, id).await?,
        model::LockTarget::Resource(_) => None,
    };
    surface.can_concern(&wanted).await?;
    let warnings = enforcement(&surface.admin.routes, &wanted, kind)?;
    let acquired = surface.execute(&call, ticket.as_ref(), vec![Command::AcquireLock(wanted)], |done| {
        let lock = done!(Lock, done)?.clone();
        let token = LockTokenHeader::of(&lock, token).to_string();
        let location = format!("/admin/v1/locks/{}", lock.id);
        let lock = Lock::from(lock);
        let tag = ETag::content(&lock);
        Ok(ApiResponse::created(location, &Acquired { token, lock, warnings }).with_etag(&tag).secret())
    });
    acquired.await.map_err(|fault| match fault {
        RegistryError::LimitReached(most) => {
            let detail =
                format!("You hold {most} locks, as many as one owner may. Release one that is not needed.");
            Denial::Conflict { detail: detail.into() }.into()
        }
        fault => surface.refuse(fault),
    })
}

/// Shows a lock that holds.
#[utoipa::path(
    get,
    path = "/locks/{lock}",
    tag = "locks",
    operation_id = "read_lock",
    params(openapi::IfNoneMatch),
    responses(openapi::OkResource<Lock>, openapi::CommonErrors, openapi::NotFound),
)]
pub(super) async fn read(State(surface): State<Arc<Surface>>, request: Request) -> Result<ApiResponse, ErrorResponse> {
    let call = CallContext::extract(request, Role::ReadOnly).await?;
    call.query(&[])?;
    let lock = surface.lock(&call).await?;
    let tag = ETag::content(&Lock::from(lock.clone()));
    Ok(if tag.matches_if_none_match(&call.headers) { ApiResponse::not_modified(&tag) } else { shown(lock) })
}

/// Lets a lock hold longer, with its token. For an operator.
#[utoipa::path(
    post,
    path = "/locks/{lock}/refresh",
    tag = "locks",
    operation_id = "refresh_lock",
    params(openapi::IdempotencyKey, openapi::LockToken),
    request_body(content = Refresh, content_type = "application/json", description = "Without content, nothing is said"),
    responses(openapi::Updated<Lock>, openapi::CommonErrors, openapi::NotFound, openapi::CreateErrors, (status = 428, description = "`Lock-Token` is missing", body = openapi::Problem, content_type = "application/problem+json")),
)]
pub(super) async fn refresh(
    State(surface): State<Arc<Surface>>,
    request: Request,
) -> Result<ApiResponse, ErrorResponse> {
    let call = CallContext::extract(request, Role::Operator).await?;
    call.query(&[])?;
    let id: LockId = call.path_id()?;
    let ticket = surface.ticket(&call)?;
    if let Some(answer) = surface.earlier(&call, ticket.as_ref()).await? {
        return Ok(answer);
    }
    let Some(LockTokenHeader { token, .. }) = LockTokenHeader::of_lock(&call, &id)? else {
        let detail = "This needs Lock-Token, with the token of the lock.";
        return Err(Denial::PreconditionRequired { detail: detail.into() }.into());
    };
    let Refresh { lasts } =
        if call.content.is_empty() { Refresh::default() } else { json::read(&call.content)? };
    let mut checks = FieldErrors::default();
    let lease = lease(lasts, &mut checks);
    checks.finish()?;
    let commands = lease.map(|lasts| Command::RefreshLock { id, token, lasts }).into_iter().collect();
    let refreshed =
        surface.execute(&call, ticket.as_ref(), commands, |done| Ok(shown(done!(Lock, done)?.clone())));
    refreshed.await.map_err(|fault| surface.refuse(fault))
}

/// Whether a lock is to be taken from its holder: nothing proves that who asks is that.
fn is_breaking(headers: &HeaderMap) -> bool {
    headers.contains_key(header::IF_MATCH) && !headers.contains_key(&lock_token::FIELD)
}

/// Releases or breaks a lock.
///
/// With its token it is released, whether or not it still held. An owner breaks it with `If-Match`.
#[utoipa::path(
    delete,
    path = "/locks/{lock}",
    tag = "locks",
    operation_id = "delete_lock",
    params(openapi::IfMatch, openapi::LockToken),
    responses(openapi::NoContent, openapi::CommonErrors, openapi::NotFound, openapi::UpdateErrors)
)]
pub(super) async fn delete(State(surface): State<Arc<Surface>>, request: Request) -> Result<ApiResponse, ErrorResponse> {
    let breaks = is_breaking(request.headers());
    let call = CallContext::extract(request, if breaks { Role::Owner } else { Role::Operator }).await?;
    call.query(&[])?;
    let id: LockId = call.path_id()?;
    if let Some(LockTokenHeader { token, .. }) = LockTokenHeader::of_lock(&call, &id)? {
        // Not under its own proof: what does not hold any more is released all the same.
        let release = vec![Command::ReleaseLock { id, token }];
        let released = surface.admin.registry.execute(release, call.actor()).await;
        released.map_err(|fault| surface.refuse(fault))?;
        return Ok(ApiResponse::no_content());
    }
    if !breaks {
        let detail = "This needs Lock-Token; an owner breaks a lock with If-Match.";
        return Err(Denial::PreconditionRequired { detail: detail.into() }.into());
    }
    let lock = surface.lock(&call).await?;
    ETag::content(&Lock::from(lock.clone())).check_if_match(&call.headers)?;
    surface.change(&call, vec![Command::AssertUnchanged(Entity::Lock(lock)), Command::BreakLock(id)]).await?;
    Ok(ApiResponse::no_content())
}

impl Surface {
    /// The lock that is asked about, if it holds.
    async fn lock(&self, call: &CallContext) -> Result<model::Lock, ErrorResponse> {
        let lock = self.admin.registry.lock(&call.path_id()?).await.map_err(|fault| self.refuse(fault))?;
        if lock.is_active(self.admin.clock.now().time) { Ok(lock) } else { Err(Denial::NotFound.into()) }
    }

    /// Whether who asks may keep others from changing a caller: an administrator is an owner's to manage.
    async fn may_hold(&self, call: &CallContext, caller: &CallerId) -> Result<Option<&'static str>, ErrorResponse> {
        let which = CallerFilter { among: Some(vec![caller.clone()]), limit: 1, ..CallerFilter::default() };
        let found = self.admin.registry.callers(&which).await.map_err(|fault| self.refuse(fault))?;
        let mut checks = FieldErrors::default();
        // It would hold an administrator who is made later.
        checks.ensure(!found.is_empty(), "#/target/caller", "there is no such caller");
        checks.finish()?;
        found.iter().try_for_each(|caller| call.require_role(manages(&caller.kind)))?;
        Ok(found.first().map(|caller| caller.kind.name()))
    }

    /// Refuses a lock for a tenant that does not exist, or that is not the tenant of the caller to be locked: it would
    /// stop nothing.
    async fn can_concern(&self, lock: &NewLock) -> Result<(), ErrorResponse> {
        let Some(tenant) = &lock.tenant else { return Ok(()) };
        let (found, why) = match &lock.target {
            model::LockTarget::Caller(id) => (
                self.admin.registry.caller(tenant, id).await.map(drop),
                "the caller is not one of this tenant's",
            ),
            model::LockTarget::Resource(_) => {
                (self.admin.registry.tenant(tenant).await.map(drop), "there is no such tenant")
            }
        };
        let mut checks = FieldErrors::default();
        match found {
            Ok(()) => {}
            Err(RegistryError::NotFound) => checks.ensure(false, "#/tenant", why),
            Err(fault) => return Err(self.refuse(fault)),
        }
        checks.finish()?;
        Ok(())
    }

    /// Whether a change may be made that concerns a caller: `If-Match` names the present tag, or `Lock-Token`
    /// proves that who asks holds the caller.
    pub(super) async fn check_precondition(&self, call: &CallContext, tag: &ETag, caller: &CallerId) -> Result<(), ErrorResponse> {
        let Some(proof) = &call.proof else { return Ok(tag.check_if_match(&call.headers)?) };
        if tag.matches(&call.headers)? {
            return Ok(());
        }
        match self.admin.registry.lock(&proof.lock).await {
            Ok(model::Lock { target: model::LockTarget::Caller(held), .. }) if held == *caller => Ok(()),
            Ok(_) => Err(etag::precondition_required().into()),
            Err(RegistryError::NotFound) => Err(self.refuse(RegistryError::LockLost)),
            Err(fault) => Err(self.refuse(fault)),
        }
    }
}
