//! The api clients of discue.io: create, read, update.
//!
//! ```text
//! POST /api_clients        {"name"?, "id"?}     200
//! GET  /api_clients/{id}                        200
//! PUT  /api_clients/{id}   {"name"?, "id"?}     200
//! ```
//!
//! All of them under `/v1` too; links are without. `?pretty` prints a success for people. Success is
//! `{"api_client":{"id","name"},"_links":{"self":{"href"}}}` with an `ETag`; every error is exactly
//! `{"title","status"}`. The organization comes from the key in `X-API-KEY`, never from the path.
//!
//! Where the contract is silent:
//!
//! * A body of nothing but blanks is no body. `null`, unknown and repeated members are 400, as is a body
//!   beyond 64 KiB.
//! * 409 is a lost update: somebody else changed the api client while it was being changed, or `If-Match`
//!   names another revision than the present one. It is also a body's `id` that is not the path's, and a
//!   new api client's `id` that is taken.
//! * 422 is a name that is taken or is none, and an `id` that is none. A name that stays as it is passes.
//! * 402 is a lapsed subscription, or one that holds no more api clients.
//! * Locks on resources name paths without `/v1`; they hold for both.
//! * An id has one spelling: percent-encoded, it is not found.

mod answer;
mod call;
mod rules;

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    middleware,
    response::Response,
    routing,
};
use http::{HeaderValue, Uri, uri::PathAndQuery};
use serde::Deserialize;

use super::{content, denial};
use crate::{
    Denial,
    app::{Access, Caller, CallerEdit, CallerId, CallerKind, Standing, TenantId},
    clock::Clock,
    directory::Directory,
    policy::{Accept, ApiKey, ContentType, Lock, RateLimit, RateLimitFields, Scope, Source},
    problem::Form,
    registry::{Fault, NewCaller, Registry},
    tower::PortcullisLayer,
};
use answer::{Refused, etag, show};
use call::{Call, ClientRef, RESOURCE, matches, target};

/// UTF-8 is the only charset JSON has: asking for it asks for nothing else.
const MEDIA_TYPES: [&str; 2] = ["application/json", "application/json;charset=utf-8"];

/// An operation of the surface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// `POST /api_clients`.
    Create,
    /// `GET /api_clients/{id}`.
    Get,
    /// `PUT /api_clients/{id}`.
    Update,
}

/// What the surface stands on.
#[derive(Clone)]
pub struct Discue {
    /// Where the api clients live.
    pub registry: Arc<dyn Registry>,
    /// Where keys and locks are looked up; it follows the registry.
    pub directory: Arc<Directory>,
    /// What limits and locks count on.
    pub clock: Arc<dyn Clock>,
    /// What links start with, such as `https://api.discue.io`.
    pub base_url: String,
    /// What is answered with 501.
    pub switched_off: Vec<Operation>,
}

/// The surface as a router.
///
/// ```
/// use std::sync::Arc;
/// use portcullis::{app::{Pepper, Peppers}, clock::SystemClock, directory::Directory};
/// use portcullis::{registry::memory::Memory, surface::discue::{self, Discue}};
///
/// let clock = Arc::new(SystemClock::new());
/// let app: axum::Router = discue::router(Discue {
///     registry: Arc::new(Memory::new(clock.clone())),
///     directory: Arc::new(Directory::new(Peppers::new(Pepper::new(1, &[0; 32])))),
///     clock,
///     base_url: "https://api.discue.io".into(),
///     switched_off: vec![],
/// });
/// ```
///
/// # Panics
/// Never: the media types it names are media types.
pub fn router(surface: Discue) -> Router {
    let fields = RateLimitFields { draft_10: false, x_ratelimit: true };
    let guard = (
        Accept::new(MEDIA_TYPES).expect("they are media types"),
        ContentType::new(["application/json"]).expect("it is a media range").codings([]),
        ApiKey::new(surface.directory.clone())
            .sources([Source::x_api_key()])
            .kinds(&["api_client"])
            .realm("discue"),
        Scope::new(RESOURCE),
        Lock::new(surface.directory.clone()),
        RateLimit::new().fields(fields),
    );
    let guard = PortcullisLayer::new(guard).form(Form::Discue).clock(surface.clock.clone());
    let all = routing::post(create).fallback(|| async { not_allowed("POST") });
    let one = routing::get(read).put(update).fallback(|| async { not_allowed("GET, HEAD, PUT") });
    Router::new()
        .route("/api_clients", all.clone())
        .route("/v1/api_clients", all)
        .route("/api_clients/{id}", one.clone())
        .route("/v1/api_clients/{id}", one)
        .fallback(|| async { Refused::from(Denial::NotFound) })
        .with_state(Arc::new(surface))
        .layer(guard)
        .layer(middleware::map_request(unversioned))
}

/// So that whatever looks at the path, such as a lock, sees one path for one resource.
async fn unversioned(mut request: Request) -> Request {
    let target = request.uri().path_and_query().map_or("", PathAndQuery::as_str);
    let rest = target.strip_prefix("/v1").filter(|rest| rest.starts_with('/'));
    if let Some(rest) = rest.and_then(|rest| rest.parse().ok()) {
        let mut parts = request.uri().clone().into_parts();
        parts.path_and_query = Some(rest);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

fn not_allowed(methods: &'static str) -> Refused {
    Denial::MethodNotAllowed { allow: HeaderValue::from_static(methods) }.into()
}

async fn create(State(surface): State<Arc<Discue>>, request: Request) -> Result<Response, Refused> {
    surface.offers(Operation::Create)?;
    let call = Call::of(&request)?;
    let body = read_body(request).await?;
    let id = body.id()?.unwrap_or_else(CallerId::random);
    call.may(Access::Write, &id)?;
    surface.in_good_standing(&call.tenant).await?;
    let name = body.name(None)?.unwrap_or_else(|| format!("api-client.{id}"));
    // Who is held to a plan cannot make a caller that is not.
    let plan = call.identity.caller().budgets.as_ref().map(|budgets| budgets.plan().id().clone());
    let caller = NewCaller { id, tenant: call.tenant.clone(), name, kind: CallerKind::ApiClient, plan };
    let made = surface.registry.create_caller(caller, &call.actor()).await;
    show(&made.map_err(|fault| surface.refuse(fault))?, &surface.base_url, call.pretty)
}

async fn read(State(surface): State<Arc<Discue>>, request: Request) -> Result<Response, Refused> {
    surface.offers(Operation::Get)?;
    let (call, id) = (Call::of(&request)?, target(request.uri())?);
    call.may(Access::Read, &id)?;
    show(&surface.find(&call.tenant, &id).await?, &surface.base_url, call.pretty)
}

async fn update(State(surface): State<Arc<Discue>>, request: Request) -> Result<Response, Refused> {
    surface.offers(Operation::Update)?;
    let (call, id) = (Call::of(&request)?, target(request.uri())?);
    call.may(Access::Write, &id)?;
    let headers = request.headers().clone();
    let body = read_body(request).await?;
    surface.in_good_standing(&call.tenant).await?;
    let before = surface.find(&call.tenant, &id).await?;
    if body.id()?.is_some_and(|other| other != id) {
        return Err(Denial::Conflict { detail: "The id of the body is not that of the path.".into() }.into());
    }
    if !matches(&headers, &etag(&before)) {
        return Err(Denial::Conflict { detail: "If-Match names another revision.".into() }.into());
    }
    let edit = CallerEdit { name: body.name(Some(&before.name))?, ..CallerEdit::default() };
    let expected = Some(before.revision);
    let after = surface.registry.update_caller(&call.tenant, &id, expected, edit, &call.actor()).await;
    show(&after.map_err(|fault| surface.refuse(fault))?, &surface.base_url, call.pretty)
}

async fn read_body(request: Request) -> Result<ClientRef, Refused> {
    let content = content(request.into_body()).await;
    ClientRef::read(&content.map_err(|error| Denial::bad_request(error.to_string()))?)
}

impl Discue {
    fn offers(&self, operation: Operation) -> Result<(), Refused> {
        if !self.switched_off.contains(&operation) {
            return Ok(());
        }
        Err(Denial::NotImplemented { detail: "This operation is switched off here.".into() }.into())
    }

    /// An api client of the tenant; callers of other kinds do not exist here.
    async fn find(&self, tenant: &TenantId, id: &CallerId) -> Result<Caller, Refused> {
        let caller = self.registry.caller(tenant, id).await.map_err(|fault| self.refuse(fault))?;
        if caller.kind == CallerKind::ApiClient { Ok(caller) } else { Err(Denial::NotFound.into()) }
    }

    /// Whether the tenant may change anything.
    async fn in_good_standing(&self, tenant: &TenantId) -> Result<(), Refused> {
        match self.registry.tenant(tenant).await.map_err(|fault| self.refuse(fault))?.standing {
            Standing::Active => Ok(()),
            Standing::Lapsed => {
                Err(Denial::PaymentRequired { detail: "The subscription has lapsed.".into() }.into())
            }
        }
    }

    fn refuse(&self, fault: Fault) -> Refused {
        denial(fault, self.clock.now().time).into()
    }
}
