//! The router of the API: its guard and its routes.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    handler::Handler,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing,
};
use http::{HeaderValue, Uri, uri::PathAndQuery};

use super::{
    clients, keys,
    lock_paths::lock_paths,
    render::ErrorFormat,
    response::{ErrorResponse, prettify_refusals},
    state::{Discue, Operation, refused},
};
use crate::{
    author::{Author, authored},
    lock_paths::RequirePathsUnlocked,
    no_store,
};
use portcullis::{
    Admission, Denial, Head,
    policy::{
        Accept, ApiKey, ChainOrder, ContentType, KeySource, Policy, RateLimit, RateLimitFields, RequireScope,
        RequireUnlocked, Stop,
    },
    tower::PortcullisLayer,
};

/// The media types of responses. JSON is always UTF-8, so the charset parameter changes nothing.
const MEDIA_TYPES: [&str; 2] = ["application/json", "application/json;charset=utf-8"];

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
        RequirePathsUnlocked::new(RequireUnlocked::new(surface.directory.clone()), lock_paths),
        RateLimit::new().fields(fields),
    );
    let guard = PortcullisLayer::new(guard)
        .without_strict_http()
        .expose_admission()
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
    let surface = Arc::new(surface);
    routes(&surface)
        .fallback(|| async { ErrorResponse::from(Denial::NotFound) })
        .with_state(surface)
        .layer(middleware::from_fn_with_state(author, authored))
        .layer(guard)
        .layer(middleware::map_request(unversioned))
        .layer(middleware::from_fn(prettify_refusals))
        .layer(middleware::map_response(no_store))
}

/// Returns the routes. A disabled operation is 501 whatever else is wrong with the request, so this is checked first.
fn routes(surface: &Arc<Discue>) -> Router<Arc<Discue>> {
    let enabled = |operation| middleware::from_fn_with_state((surface.clone(), operation), ensure_enabled);
    let all_clients = routing::get(clients::list.layer(enabled(Operation::List)))
        .post(clients::create.layer(enabled(Operation::Create)))
        .fallback(|| async { not_allowed("GET, HEAD, POST") });
    let client = routing::get(clients::read.layer(enabled(Operation::Get)))
        .put(clients::update.layer(enabled(Operation::Update)))
        .delete(clients::delete.layer(enabled(Operation::Delete)))
        .fallback(|| async { not_allowed("GET, HEAD, PUT, DELETE") });
    let all_keys = routing::get(keys::list.layer(enabled(Operation::ListKeys)))
        .post(keys::create.layer(enabled(Operation::CreateKey)))
        .fallback(|| async { not_allowed("GET, HEAD, POST") });
    let key = routing::get(keys::read.layer(enabled(Operation::GetKey)))
        .put(keys::update.layer(enabled(Operation::UpdateKey)))
        .delete(keys::delete.layer(enabled(Operation::DeleteKey)))
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
}

/// Denies requests to a disabled operation.
async fn ensure_enabled(
    State((surface, operation)): State<(Arc<Discue>, Operation)>,
    request: Request,
    next: Next,
) -> Result<Response, ErrorResponse> {
    surface.ensure_enabled(operation)?;
    Ok(next.run(request).await)
}

/// Checks the scopes of a key for the resource in the path.
struct Scoped {
    clients: RequireScope,
    keys: RequireScope,
}

impl Policy for Scoped {
    fn admit(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        let first = head.uri.path().split('/').nth(1);
        let scope = if first == Some(keys::RESOURCE) { &self.keys } else { &self.clients };
        scope.admit(head, admission)
    }

    fn check_order(&self, order: &mut ChainOrder) {
        self.keys.check_order(order);
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
