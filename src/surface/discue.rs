//! The api clients and api keys of discue.io.
//!
//! ```text
//! POST   /api_clients         {"name"?, "id"?}               a new api client
//! GET    /api_clients                                        all of the organization
//! GET    /api_clients/{id}
//! PUT    /api_clients/{id}    {"name"?, "id"?}
//! DELETE /api_clients/{id}                                   with its keys
//! POST   /api_keys            {"name"?, "status"?, "scopes"?} a new key, shown this once
//! GET    /api_keys                                           all of the api client that asks
//! GET    /api_keys/{id}
//! PUT    /api_keys/{id}       {"name"?, "status"?, "scopes"?}
//! DELETE /api_keys/{id}
//! ```
//!
//! All of them under `/v1` too; links are without. `?pretty` writes an answer for people, an error too. Success is always
//! 200: the entity or the list under its name beside `_links`, with an `ETag` for one entity; what was deleted
//! leaves `_links` alone. Every error is exactly `{"title","status"}`. The organization comes from the key in
//! `X-API-KEY`, never from the path.
//!
//! Where the contract is silent:
//!
//! * A body of nothing but blanks is no body. Members that the contract does not know are ignored, and `null` is an absent
//!   member. A repeated member is 400, as is one of another type, and a body beyond 64 KiB.
//! * No answer may be stored (`Cache-Control: no-store`).
//! * 409 is a lost update: somebody else changed the entity while it was being changed, or `If-Match` names
//!   another revision than the present one. It is also a body's `id` that is not the path's, and a new api
//!   client's `id` that the organization has already.
//! * An `id` is unique within the organization. Where another one has it, too, the two api clients look the same here,
//!   each to its own organization; the services behind the gateway, and the admin API, know the later one by its `id`,
//!   a dot and a hash of its organization.
//! * 422 is a name that is taken or is none, an `id` that is none, and scopes that cannot be given.
//! * 402 is a lapsed subscription, which may still look and revoke; one that holds no more api clients; and the
//!   key after an api client's hundredth.
//! * 403 is a scope that does not cover the request, and for a minute everything without a valid key from an address
//!   that sent ten bad keys within one.
//! * A key is 64 characters. Reads show its first ones as `key`. `last_used_at` is `null` for one that was never
//!   used; it may be some seconds old.
//! * An api client has its own keys and sees no other's. Scopes that a key gives must be within its own, and a key
//!   that ends at some time makes only keys that end with it. Without
//!   `scopes`, a new key may do all that its maker may, but for what is protected (`api_clients`, `api_keys`,
//!   `subscriptions`), which nobody gives through the API.
//! * Lists hold everything that the asking key's scopes cover, in the order of the ids.
//! * A change is made only if the key is still accepted, and the subscription active, when its body has arrived (401,
//!   402). Once it is answered, this node decides by it; if that takes longer than two seconds, the answer has
//!   `X-Portcullis-Pending`.
//! * Locks on resources name paths without `/v1`; they hold for both.
//! * An id has one spelling: percent-encoded, it is not found, unless a gateway in front has brought the path into its
//!   normal form.

mod response;
mod call_context;
mod clients;
mod keys;
mod validation;
mod scopes;
mod openapi;

pub use call_context::is_pretty;
pub use openapi::description;

use std::{net::IpAddr, sync::Arc};

use axum::{Router, extract::Request, middleware, response::IntoResponse, routing};
use http::{Extensions, HeaderValue, Uri, uri::PathAndQuery};
use jiff::Timestamp;
use serde::Deserialize;

use super::{
    author::{Author, authored},
    denial, no_store,
};
use crate::{
    Admission, Denial, Head,
    model::{SubscriptionStatus, TenantId},
    clock::Clock,
    directory::Directory,
    policy::{
        Accept, ApiKey, ChainOrder, ContentType, RequireUnlocked, Lockout, Policy, RateLimit, RateLimitFields, RequireScope,
        KeySource, Stop,
    },
    problem::ErrorFormat,
    registry::{RegistryError, Registry},
    normalize_path,
    tower::PortcullisLayer,
};
use response::{Links, ErrorResponse};

/// The challenge of a key that is not accepted any more; that of the guard.
static CHALLENGE: HeaderValue = HeaderValue::from_static("ApiKey realm=\"discue\", header=\"x-api-key\"");

/// UTF-8 is the only charset JSON has: asking for it asks for nothing else.
const MEDIA_TYPES: [&str; 2] = ["application/json", "application/json;charset=utf-8"];

/// An operation of the surface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// `POST /api_clients`.
    Create,
    /// `GET /api_clients`.
    List,
    /// `GET /api_clients/{id}`.
    Get,
    /// `PUT /api_clients/{id}`.
    Update,
    /// `DELETE /api_clients/{id}`.
    Delete,
    /// `POST /api_keys`.
    CreateKey,
    /// `GET /api_keys`.
    ListKeys,
    /// `GET /api_keys/{id}`.
    GetKey,
    /// `PUT /api_keys/{id}`.
    UpdateKey,
    /// `DELETE /api_keys/{id}`.
    DeleteKey,
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
    /// Finds a request's address among its extensions, as
    /// [`PortcullisLayer::peer_from`](crate::tower::PortcullisLayer::peer_from) does: who guesses at keys is
    /// refused by it. [`Peer::find`](crate::tower::Peer::find) is the layer's own.
    pub peer: fn(&Extensions) -> Option<IpAddr>,
    /// When an address that sends bad keys is refused for a while.
    pub lockout: Arc<Lockout>,
    /// What is answered with 501.
    pub switched_off: Vec<Operation>,
}

/// The surface as a router.
///
/// ```
/// use std::sync::Arc;
/// use portcullis::{app::{Pepper, Peppers}, clock::SystemClock, directory::Directory};
/// use portcullis::{registry::memory::Memory, surface::discue::{self, Discue}, tower::Peer};
///
/// let clock = Arc::new(SystemClock::new());
/// let app: axum::Router = discue::router(Discue {
///     registry: Arc::new(Memory::new(clock.clone())),
///     directory: Arc::new(Directory::new(Peppers::new(Pepper::new(1, &[0; 32])))),
///     clock,
///     base_url: "https://api.discue.io".into(),
///     peer: Peer::find,
///     lockout: Arc::default(),
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
            .sources([KeySource::x_api_key()])
            .caller_kinds(&["api_client"])
            .admit_lapsed()
            .realm("discue")
            .lockout(surface.lockout.clone()),
        Scoped {
            // The handlers know which one is asked for.
            clients: RequireScope::new(clients::RESOURCE).any_target(),
            keys: RequireScope::new(keys::RESOURCE).any_target(),
        },
        BothSpellings(RequireUnlocked::new(surface.directory.clone())),
        RateLimit::new().fields(fields),
    );
    let guard =
        PortcullisLayer::new(guard).error_format(ErrorFormat::Discue).clock(surface.clock.clone()).peer_from(surface.peer);
    let author = Author {
        surface: "discue",
        registry: surface.registry.clone(),
        directory: surface.directory.clone(),
        clock: surface.clock.clone(),
        oneself: None,
        refuse: |fault, now| refused(fault, now).into_response(),
    };
    let all_clients = routing::get(clients::list)
        .post(clients::create)
        .fallback(|| async { not_allowed("GET, HEAD, POST") });
    let client = routing::get(clients::read)
        .put(clients::update)
        .delete(clients::delete)
        .fallback(|| async { not_allowed("GET, HEAD, PUT, DELETE") });
    let all_keys =
        routing::get(keys::list).post(keys::create).fallback(|| async { not_allowed("GET, HEAD, POST") });
    let key = routing::get(keys::read)
        .put(keys::update)
        .delete(keys::delete)
        .fallback(|| async { not_allowed("GET, HEAD, PUT, DELETE") });
    Router::new()
        .route("/api_clients", all_clients.clone())
        .route("/v1/api_clients", all_clients)
        .route("/api_clients/{id}", client.clone())
        .route("/v1/api_clients/{id}", client)
        .route("/api_keys", all_keys.clone())
        .route("/v1/api_keys", all_keys)
        .route("/api_keys/{id}", key.clone())
        .route("/v1/api_keys/{id}", key)
        .fallback(|| async { ErrorResponse::from(Denial::NotFound) })
        .with_state(Arc::new(surface))
        .layer(middleware::from_fn_with_state(author, authored))
        .layer(guard)
        .layer(middleware::map_request(unversioned))
        .layer(middleware::from_fn(response::prettify_refusals))
        .layer(middleware::map_response(no_store))
}

/// Holds a key to the kind of resource that a path is about.
struct Scoped {
    clients: RequireScope,
    keys: RequireScope,
}

impl Policy for Scoped {
    fn admit(&self, head: Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        let first = head.uri.path().split('/').nth(1);
        let scope = if first == Some(keys::RESOURCE) { &self.keys } else { &self.clients };
        scope.admit(head, admission)
    }

    fn check_order(&self, order: &mut ChainOrder) {
        self.keys.check_order(order);
    }
}

/// Locks, on either of the two paths that a resource has: with and without the version.
struct BothSpellings(RequireUnlocked);

impl Policy for BothSpellings {
    fn admit(&self, head: Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        // The handlers decode nothing: there is no resource on a path that can be read in two ways.
        let path = admission.path(head).map_err(|_| Denial::NotFound)?.to_owned();
        // Where the surface is nested below another path, locks are on the whole of it.
        let own = normalize_path::normalize(head.uri.path()).map_err(|_| Denial::NotFound)?.comparable();
        let base = path.strip_suffix(&*own).unwrap_or_default();
        let base = base.strip_suffix("/v1").unwrap_or(base);
        let spellings = [format!("{base}{own}"), format!("{base}/v1{own}")];
        self.0.admit_on(head, admission.caller(), spellings.iter().map(String::as_str))
    }

    fn check_order(&self, order: &mut ChainOrder) {
        self.0.check_order(order);
    }
}

/// So that a resource has one path for the handlers.
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

fn not_allowed(methods: &'static str) -> ErrorResponse {
    Denial::MethodNotAllowed { allow: HeaderValue::from_static(methods) }.into()
}

/// A fault as this surface refuses.
fn refused(fault: RegistryError, now: Timestamp) -> ErrorResponse {
    denial(fault, now, &CHALLENGE).into()
}

impl Discue {
    fn ensure_enabled(&self, operation: Operation) -> Result<(), ErrorResponse> {
        if !self.switched_off.contains(&operation) {
            return Ok(());
        }
        Err(Denial::NotImplemented { detail: "This operation is switched off here.".into() }.into())
    }

    fn links(&self, path: &str) -> Links {
        Links::to(&self.base_url, path)
    }

    /// Whether the tenant may change anything.
    async fn require_active(&self, tenant: &TenantId) -> Result<(), ErrorResponse> {
        match self.registry.tenant(tenant).await.map_err(|fault| self.refuse(fault))?.standing {
            SubscriptionStatus::Active => Ok(()),
            SubscriptionStatus::Lapsed => {
                Err(Denial::PaymentRequired { detail: "The subscription has lapsed.".into() }.into())
            }
        }
    }

    fn refuse(&self, fault: RegistryError) -> ErrorResponse {
        refused(fault, self.clock.now().time)
    }
}
