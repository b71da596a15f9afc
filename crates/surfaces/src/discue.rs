//! Manages the api clients and api keys of discue.io.
//!
//! ```text
//! POST   /api_clients         {"name"?, "id"?}               a new api client
//! GET    /api_clients                                        all api clients of the organization
//! GET    /api_clients/{id}
//! PUT    /api_clients/{id}    {"name"?, "id"?}
//! DELETE /api_clients/{id}                                   with its keys
//! POST   /api_keys            {"name"?, "status"?, "scopes"?} a new key, shown only in this response
//! GET    /api_keys                                           all keys of the calling api client
//! GET    /api_keys/{id}
//! PUT    /api_keys/{id}       {"name"?, "status"?, "scopes"?}
//! DELETE /api_keys/{id}
//! ```
//!
//! Every path exists under `/v1`, too; links have no `/v1`. `?pretty` indents the response, errors included. Every
//! success is 200: the entity or the list under its name, beside `_links`. The response for one entity has an `ETag`;
//! the response to a deletion has only `_links`. Every error body is exactly `{"title","status"}`. The key in
//! `X-API-KEY` determines the organization; the path does not name it.
//!
//! Where the contract is silent:
//!
//! * A blank body counts as absent. Members that the contract does not define are ignored, and `null` is an absent
//!   member. A repeated member is 400, and so are a member of the wrong type and a body beyond 64 KiB.
//! * No response may be stored by a cache (`Cache-Control: no-store`).
//! * 409 is a lost update: the entity was changed by another request in the meantime, or `If-Match` names a revision
//!   other than the current one. An `id` in the body that differs from the path is also 409, and so is a new api client
//!   with an `id` that exists in the organization.
//! * An `id` is unique within the organization. Two organizations may use one `id`: each sees its own api client under
//!   this `id`. The upstreams behind the gateway and the admin API know the later one by its `id`, a dot and a hash of
//!   its organization.
//! * 422 is a name that is taken or invalid, an invalid `id`, and scopes that cannot be granted.
//! * 402 is a lapsed subscription, under which keys may still read and delete; a subscription that allows no more api
//!   clients; and the key after the hundredth of an api client.
//! * 403 is a scope that does not cover the request. An address that sent ten invalid keys within a minute gets 403 for
//!   every request without a valid key, for a minute.
//! * A key has 64 characters. Reads show its first characters as `key`. `last_used_at` is `null` for a key that was
//!   never used; it may be some seconds old.
//! * An api client sees only its own keys. The scopes that it grants must be within those of the calling key, and a key
//!   with an expiry creates only keys with this expiry. Without `scopes`, a new key has all scopes of the calling key
//!   except the protected ones (`api_clients`, `api_keys`, `subscriptions`), which cannot be granted through the API.
//! * Lists contain everything that the scopes of the calling key cover, in the order of the ids.
//! * A change is committed only if the key is still accepted, and the subscription active, when the body has arrived
//!   (otherwise 401 or 402). The response is sent once this node applies the change; if that takes longer than two
//!   seconds, the response has `X-Portcullis-Pending`.
//! * Locks on resources name paths without `/v1` and apply to both paths.
//! * Ids have one spelling: a percent-encoded id is not found, unless a gateway in front has normalized the path.

mod call_context;
mod clients;
mod keys;
mod openapi;
mod render;
mod response;
mod scopes;
mod validation;

pub use call_context::is_pretty;
pub use openapi::description;
pub use render::ErrorFormat;

use std::{net::IpAddr, sync::Arc};

use axum::{Router, extract::Request, middleware, response::IntoResponse, routing};
use http::{Extensions, HeaderValue, Uri, uri::PathAndQuery};
use jiff::Timestamp;
use serde::Deserialize;

use super::{
    author::{Author, authored},
    denial, no_store,
};
use portcullis::{
    Admission, Denial, Head,
    clock::Clock,
    directory::Directory,
    model::{SubscriptionStatus, TenantId},
    normalize_path,
    policy::{
        Accept, ApiKey, ChainOrder, ContentType, KeySource, Lockout, Policy, RateLimit, RateLimitFields,
        RequireScope, RequireUnlocked, Stop,
    },
    registry::{Registry, RegistryError},
    tower::PortcullisLayer,
};
use response::{ErrorResponse, Links};

/// The challenge for a key that is no longer accepted. Equal to the guard's challenge.
static CHALLENGE: HeaderValue = HeaderValue::from_static("ApiKey realm=\"discue\", header=\"x-api-key\"");

/// The media types of responses. JSON is always UTF-8, so the charset parameter changes nothing.
const MEDIA_TYPES: [&str; 2] = ["application/json", "application/json;charset=utf-8"];

/// An operation of the API.
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

/// Dependencies and settings of the discue management API.
#[derive(Clone)]
pub struct Discue {
    /// The registry that stores the api clients.
    pub registry: Arc<dyn Registry>,
    /// The directory for lookups of keys and locks; it follows the registry.
    pub directory: Arc<Directory>,
    /// The clock of limits and locks.
    pub clock: Arc<dyn Clock>,
    /// The base URL of links, such as `https://api.discue.io`.
    pub base_url: String,
    /// Finds the peer's address in the extensions of a request, as
    /// [`PortcullisLayer::peer_from`](portcullis::tower::PortcullisLayer::peer_from) does. The lockout denies clients that
    /// guess keys by this address. [`PeerAddr::find`](portcullis::tower::PeerAddr::find) is the layer's own function.
    pub peer: fn(&Extensions) -> Option<IpAddr>,
    /// The lockout of addresses that send invalid keys.
    pub lockout: Arc<Lockout>,
    /// Disabled operations; requests to them are answered with 501.
    pub disabled_operations: Vec<Operation>,
}

/// Returns the discue management API as a router.
///
/// ```
/// use std::sync::Arc;
/// use portcullis::{model::{Pepper, Peppers}, clock::SystemClock, directory::Directory};
/// use portcullis::{registry::memory::Memory, tower::PeerAddr};
/// use portcullis_surfaces::discue::{self, Discue};
///
/// let clock = Arc::new(SystemClock::new());
/// let app: axum::Router = discue::router(Discue {
///     registry: Arc::new(Memory::new(clock.clone())),
///     directory: Arc::new(Directory::new(Peppers::new(Pepper::new(1, &[0; 32])))),
///     clock,
///     base_url: "https://api.discue.io".into(),
///     peer: PeerAddr::find,
///     lockout: Arc::default(),
///     disabled_operations: vec![],
/// });
/// ```
///
/// # Panics
/// Never: the media types are constants, and all of them are valid.
pub fn router(surface: Discue) -> Router {
    let fields = RateLimitFields { ietf_draft_10: false, x_ratelimit: true };
    let guard = (
        Accept::new(MEDIA_TYPES).expect("valid media types"),
        ContentType::new(["application/json"]).expect("a valid media range").codings([]),
        ApiKey::new(surface.directory.clone())
            .sources([KeySource::x_api_key()])
            .caller_kinds(&["api_client"])
            .admit_lapsed()
            .realm("discue")
            .lockout(surface.lockout.clone()),
        Scoped {
            // The handlers check the scope for the api client or key itself.
            clients: RequireScope::new(clients::RESOURCE).any_target(),
            keys: RequireScope::new(keys::RESOURCE).any_target(),
        },
        BothSpellings(RequireUnlocked::new(surface.directory.clone())),
        RateLimit::new().fields(fields),
    );
    let guard = PortcullisLayer::new(guard)
        .denial_renderer(ErrorFormat::Compact)
        .clock(surface.clock.clone())
        .peer_from(surface.peer);
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

/// Checks the scopes of a key for the resource in the path.
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

/// Denies a request if either path of its resource is locked: the path with the version or the one without.
struct BothSpellings(RequireUnlocked);

impl Policy for BothSpellings {
    fn admit(&self, head: Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        // The handlers do not percent-decode paths, so no resource has an ambiguous path.
        let path = admission.path(head).map_err(|_| Denial::NotFound)?.to_owned();
        // If the surface is nested below another path, locks name the whole path.
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

/// Removes `/v1` from the path, so that handlers see one path for each resource.
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

/// Converts a registry error to an error response.
fn refused(fault: RegistryError, now: Timestamp) -> ErrorResponse {
    denial(fault, now, &CHALLENGE).into()
}

impl Discue {
    fn ensure_enabled(&self, operation: Operation) -> Result<(), ErrorResponse> {
        if !self.disabled_operations.contains(&operation) {
            return Ok(());
        }
        Err(Denial::NotImplemented { detail: "This operation is disabled.".into() }.into())
    }

    fn links(&self, path: &str) -> Links {
        Links::to(&self.base_url, path)
    }

    /// Checks that the subscription of the tenant is active, as every change but a deletion requires.
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
