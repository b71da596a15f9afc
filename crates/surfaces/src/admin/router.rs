//! The router of the API: its guard and its routes.

use std::sync::Arc;

use axum::{
    Router, middleware,
    response::IntoResponse,
    routing::{MethodRouter, get, post},
};
use http::{HeaderValue, Method};

use super::{
    callers, changes, configuration,
    description::{BASE, description},
    keys, locks, plans,
    response::ErrorResponse,
    routes,
    settings::Admin,
    state::{Surface, refused},
    status, tenants, transfers,
};
use crate::{
    author::{Author, authored},
    documentation, no_store,
};
use portcullis::{
    Admission, Denial, Head,
    policy::{Accept, ApiKey, ContentType, KeySource, Policy, RateLimit, Stop},
    tower::PortcullisLayer,
};

/// Returns the admin API as a router.
///
/// ```
/// use std::sync::Arc;
/// use portcullis::{model::{Pepper, Peppers, SealKey, Sealer}, clock::SystemClock, directory::Directory};
/// use portcullis::{registry::memory::Memory, tower::PeerAddr};
/// use portcullis_surfaces::admin::{self, Admin, DefinedPlans, ImportOptions, InProgress};
///
/// let clock = Arc::new(SystemClock::new());
/// let app: axum::Router = admin::router(Admin {
///     registry: Arc::new(Memory::new(clock.clone())),
///     directory: Arc::new(Directory::new(Peppers::new(Pepper::new(1, &[0; 32])))),
///     clock,
///     sealer: Arc::new(Sealer::new(SealKey::new(1, &[0; 32]))),
///     peer: PeerAddr::find,
///     lockout: Arc::default(),
///     local_admin: None,
///     routes: vec![],
///     defined_plans: DefinedPlans::default(),
///     imports: ImportOptions::default(),
///     in_progress: InProgress::default(),
///     configuration: None,
/// });
/// ```
///
/// # Panics
/// Never: the media types in the code are valid.
pub fn router(admin: Admin) -> Router {
    let content =
        |types: &[&str]| ContentType::new(types.iter().copied()).expect("valid media types").codings([]);
    let formats = (
        Accept::new(["application/json"]).expect("valid media type"),
        Content {
            whole: content(&["application/json"]),
            patch: content(&["application/merge-patch+json", "application/json"]),
        },
    );
    let author = Author {
        surface: "admin",
        registry: admin.registry.clone(),
        directory: admin.directory.clone(),
        clock: admin.clock.clone(),
        oneself: admin.local_admin.clone(),
        refuse: |fault, now| refused(fault, now).into_response(),
    };
    let (guard, transfers) = (guard(&admin, formats), transfer_routes(&admin, &author));
    let surface = Arc::new(Surface::new(admin));
    resources()
        .fallback(|| async { ErrorResponse::from(Denial::NotFound) })
        .with_state(surface.clone())
        .layer(middleware::from_fn_with_state(author, authored))
        .layer(guard)
        .merge(transfers.with_state(surface))
        .layer(middleware::map_response(no_store))
        .nest_service(&at("/docs"), documentation([("admin", description())]))
}

/// Returns a path of the API.
fn at(path: &str) -> String {
    format!("{BASE}{path}")
}

/// Returns the routes except those of exports and imports.
fn resources() -> Router<Arc<Surface>> {
    let reading = |reading: MethodRouter<_>| only(reading, "GET, HEAD");
    let all = |all: MethodRouter<_>| only(all, "GET, HEAD, POST");
    let one = |one: MethodRouter<_>| only(one, "GET, HEAD, PATCH, DELETE");
    Router::new()
        .route(&at("/tenants"), all(get(tenants::list).post(tenants::create)))
        .route(
            &at("/tenants/{tenant}"),
            one(get(tenants::read).patch(tenants::modify).delete(tenants::delete)),
        )
        .route(&at("/tenants/{tenant}/callers"), all(get(callers::list).post(callers::create)))
        .route(
            &at("/tenants/{tenant}/callers/{caller}"),
            one(get(callers::read).patch(callers::modify).delete(callers::delete)),
        )
        .route(&at("/tenants/{tenant}/callers/{caller}/keys"), all(get(keys::list).post(keys::create)))
        .route(
            &at("/tenants/{tenant}/keys/{key}"),
            one(get(keys::read).patch(keys::modify).delete(keys::delete)),
        )
        .route(&at("/tenants/{tenant}/keys/{key}/rotation"), only(post(keys::rotate), "POST"))
        .route(&at("/plans"), reading(get(plans::list)))
        .route(
            &at("/plans/{plan}"),
            only(get(plans::read).put(plans::put).delete(plans::delete), "GET, HEAD, PUT, DELETE"),
        )
        .route(&at("/locks"), all(get(locks::list).post(locks::acquire)))
        .route(&at("/locks/{lock}"), only(get(locks::read).delete(locks::delete), "GET, HEAD, DELETE"))
        .route(&at("/locks/{lock}/refresh"), only(post(locks::refresh), "POST"))
        .route(&at("/routes"), reading(get(routes::list)))
        .route(&at("/routes/{route}"), reading(get(routes::read)))
        .route(&at("/changes"), reading(get(changes::list)))
        .route(&at("/status"), reading(get(status::read)))
        .route(&at("/configuration/reload"), only(post(configuration::reload), "POST"))
}

/// Returns the routes of exports and imports. Each has a guard of its own, because its media types differ from those of other routes.
///
/// # Panics
/// Never: the media types in the code are valid.
fn transfer_routes(admin: &Admin, author: &Author) -> Router<Arc<Surface>> {
    let authored = || middleware::from_fn_with_state(author.clone(), authored);
    let accept = |answers| Accept::new([answers]).expect("valid media type");
    let taking = |types: &[&str]| {
        let content_types = ContentType::new(types.iter().copied()).expect("valid media types").codings([]);
        guard(admin, (accept("application/json"), content_types))
    };
    let export = Router::new().route("/admin/v1/export", only(get(transfers::export), "GET, HEAD"));
    let import = Router::new().route("/admin/v1/import", only(post(transfers::import::import), "POST"));
    let keys =
        Router::new().route("/admin/v1/keys/import", only(post(transfers::import::import_keys), "POST"));
    export
        .layer(authored())
        .layer(guard(admin, accept(transfers::LINES)))
        .merge(import.layer(authored()).layer(taking(&[transfers::LINES])))
        .merge(keys.layer(authored()).layer(taking(&[transfers::LINES, transfers::ROWS])))
}

/// Returns the policies in front of every route; `formats` checks the media types of requests and responses.
fn guard<P: Policy + 'static>(admin: &Admin, formats: P) -> PortcullisLayer<impl Policy + use<P>> {
    let key = ApiKey::new(admin.directory.clone())
        .sources([KeySource::bearer()])
        .caller_kinds(&["administrator"])
        .admit_lapsed()
        .realm("admin")
        .lockout(admin.lockout.clone());
    let guard = (formats, key, RateLimit::new());
    PortcullisLayer::new(guard)
        .without_strict_http()
        .expose_admission()
        .clock(admin.clock.clone())
        .peer_from(admin.peer)
}

/// Answers other methods with 405.
fn only(methods: MethodRouter<Arc<Surface>>, allow: &'static str) -> MethodRouter<Arc<Surface>> {
    let allow = HeaderValue::from_static(allow);
    methods.fallback(|| async { ErrorResponse::from(Denial::MethodNotAllowed { allow }) })
}

/// The media types of request bodies: a patch has its own.
struct Content {
    whole: ContentType,
    patch: ContentType,
}

impl Policy for Content {
    fn admit(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        let content_types = if head.method == Method::PATCH { &self.patch } else { &self.whole };
        content_types.admit(head, admission)
    }
}
