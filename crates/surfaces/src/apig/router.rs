//! The router of the API: its guard, and the routes of each version.

use std::sync::Arc;

use axum::{
    Extension, Router, middleware,
    response::IntoResponse,
    routing::{self, MethodRouter},
};
use http::{HeaderName, HeaderValue};

use super::{
    acl, apps, auths,
    call_context::RESOURCE,
    codes,
    error::ApigError,
    lock_paths::lock_paths,
    quotas,
    render::ErrorFormat,
    state::Apig,
    throttles,
    version::{V1PathSpelling, Version},
};
use crate::{
    MAX_BODY_BYTES,
    author::{Author, authored},
    lock_paths::RequirePathsUnlocked,
    no_store,
};
use portcullis::{
    Denial,
    limit::MinDataRate,
    policy::{
        ApiKey, BodyBuffering, KeySource, RateLimit, RateLimitFields, RequireScope, RequireUnlocked,
        Signature,
    },
    tower::PortcullisLayer,
};

/// The most bytes of request bodies that are buffered for verification, over all requests.
const SIGNED_AT_ONCE: u64 = 16 * 1024 * 1024;

/// Returns the APIG management API as a router.
///
/// ```
/// use std::sync::Arc;
/// use portcullis::{model::{Pepper, Peppers, SealKey, Sealer}, clock::SystemClock, directory::Directory};
/// use portcullis::{registry::memory::Memory, tower::PeerAddr};
/// use portcullis_surfaces::apig::{self, Apig};
///
/// let clock = Arc::new(SystemClock::new());
/// let app: axum::Router = apig::router(Apig {
///     registry: Arc::new(Memory::new(clock.clone())),
///     directory: Arc::new(Directory::new(Peppers::new(Pepper::new(1, &[0; 32])))),
///     clock,
///     sealer: Arc::new(Sealer::new(SealKey::new(1, &[0; 32]))),
///     app_codes: 5,
///     throttles: 300,
///     quotas: 300,
///     lockout: Arc::default(),
///     apis: ["orders".parse().unwrap()].into(),
///     peer: PeerAddr::find,
/// });
/// ```
pub fn router(surface: Apig) -> Router {
    let token = ApiKey::new(surface.directory.clone())
        .sources([KeySource::Field(HeaderName::from_static("x-auth-token"))])
        .caller_kinds(&["operator"])
        .admit_lapsed()
        .realm("apig");
    let signature = Signature::new(surface.directory.clone(), surface.sealer.clone())
        .caller_kinds(&["operator"])
        .admit_lapsed()
        .realm("apig")
        .lockout(surface.lockout.clone())
        .only_signed_content()
        .buffering(BodyBuffering::new(MAX_BODY_BYTES as u64, MinDataRate::default(), SIGNED_AT_ONCE));
    let guard = (
        signature.or(token),
        // The handlers check the scope for the app itself.
        RequireScope::new(RESOURCE).any_target(),
        RequirePathsUnlocked::new(RequireUnlocked::new(surface.directory.clone()), lock_paths),
        V1PathSpelling,
        RateLimit::new().fields(RateLimitFields { ietf_draft_10: false, x_ratelimit: false }),
    );
    let guard = PortcullisLayer::new(guard)
        .without_strict_http()
        .expose_admission()
        .denial_renderer(ErrorFormat::Operators)
        .clock(surface.clock.clone())
        .peer_from(surface.peer);
    let author = Author {
        surface: "apig",
        registry: surface.registry.clone(),
        directory: surface.directory.clone(),
        clock: surface.clock.clone(),
        oneself: None,
        refuse: |fault, now| ApigError::new(fault, Denial::NotFound.into(), now).into_response(),
    };
    Router::new()
        .merge(routes(Version::One))
        .merge(routes(Version::Two))
        .fallback(|| async { ApigError::from(Denial::NotFound) })
        .with_state(Arc::new(surface))
        .layer(middleware::from_fn_with_state(author, authored))
        .layer(guard)
        .layer(middleware::map_response(no_store))
}

/// Returns the routes of a version of the contract.
fn routes(version: Version) -> Router<Arc<Apig>> {
    let at = |path: &str| format!("{}{path}", version.base());
    let at = &at;
    let apps =
        routing::get(apps::list).post(apps::create).fallback(|| async { not_allowed("GET, HEAD, POST") });
    let app = routing::get(apps::read)
        .put(apps::modify)
        .delete(apps::delete)
        .fallback(|| async { not_allowed("GET, HEAD, PUT, DELETE") });
    let secret = routing::put(apps::reset_secret).fallback(|| async { not_allowed("PUT") });
    let validation = routing::get(apps::verify).fallback(|| async { not_allowed("GET, HEAD") });
    let counts = routing::get(apps::counts).fallback(|| async { not_allowed("GET, HEAD") });
    let both = Router::new()
        .route(&at("/apps"), apps)
        .route(&at("/apps/{id}"), app)
        .route(&at("/apps/secret/{id}"), secret)
        .route(&at("/apps/validation/{id}"), validation)
        .route(&at("/resources/outline/apps"), counts)
        .merge(routes_of_auths(at))
        .merge(routes_of_throttles(at));
    let all = match version {
        Version::One => both.merge(routes_of_the_first(at)),
        Version::Two => both.merge(routes_of_the_second(at)).merge(routes_of_limits(at)),
    };
    all.layer(Extension(version))
}

/// Returns the routes of authorizations.
fn routes_of_auths(at: impl Fn(&str) -> String + Copy) -> Router<Arc<Apig>> {
    let auths = routing::post(auths::authorize).fallback(|| async { not_allowed("POST") });
    let auth = routing::delete(auths::cancel).fallback(|| async { not_allowed("DELETE") });
    let list = |handler: MethodRouter<Arc<Apig>>| handler.fallback(|| async { not_allowed("GET, HEAD") });
    Router::new()
        .route(&at("/app-auths"), auths)
        .route(&at("/app-auths/{id}"), auth)
        .route(&at("/app-auths/binded-apis"), list(routing::get(auths::apis_of_app)))
        .route(&at("/app-auths/unbinded-apis"), list(routing::get(auths::other_apis)))
        .route(&at("/app-auths/binded-apps"), list(routing::get(auths::apps_of_api)))
}

/// Returns the routes of throttling policies and their bindings to APIs.
fn routes_of_throttles(at: impl Fn(&str) -> String + Copy) -> Router<Arc<Apig>> {
    let all = routing::get(throttles::list)
        .post(throttles::create)
        .fallback(|| async { not_allowed("GET, HEAD, POST") });
    let one = routing::get(throttles::read)
        .put(throttles::modify)
        .delete(throttles::delete)
        .fallback(|| async { not_allowed("GET, HEAD, PUT, DELETE") });
    let bindings = routing::post(throttles::bind)
        .put(throttles::unbind_all)
        .fallback(|| async { not_allowed("POST, PUT") });
    let binding = routing::delete(throttles::unbind).fallback(|| async { not_allowed("DELETE") });
    let list = |handler: MethodRouter<Arc<Apig>>| handler.fallback(|| async { not_allowed("GET, HEAD") });
    Router::new()
        .route(&at("/throttles"), all)
        .route(&at("/throttles/{id}"), one)
        .route(&at("/throttle-bindings"), bindings)
        .route(&at("/throttle-bindings/{id}"), binding)
        .route(&at("/throttle-bindings/binded-apis"), list(routing::get(throttles::apis_of_throttle)))
        .route(&at("/throttle-bindings/unbinded-apis"), list(routing::get(throttles::other_apis)))
        .route(&at("/throttle-bindings/binded-throttles"), list(routing::get(throttles::throttles_of_api)))
}

/// Returns the routes that only V1 has: its paths of excluded configurations.
fn routes_of_the_first(at: impl Fn(&str) -> String + Copy) -> Router<Arc<Apig>> {
    let specials = routing::post(throttles::create_special).fallback(|| async { not_allowed("POST") });
    let of_one = routing::get(throttles::list_specials).fallback(|| async { not_allowed("GET, HEAD") });
    Router::new()
        .route(&at("/throttle-specials"), specials)
        .route(&at("/throttle-specials/{strategy_id}"), of_one)
}

/// Returns the V2 routes of quotas and excluded configurations.
fn routes_of_limits(at: impl Fn(&str) -> String + Copy) -> Router<Arc<Apig>> {
    let list = |handler: MethodRouter<Arc<Apig>>| handler.fallback(|| async { not_allowed("GET, HEAD") });
    let specials = routing::get(throttles::list_specials)
        .post(throttles::create_special)
        .fallback(|| async { not_allowed("GET, HEAD, POST") });
    let special = routing::put(throttles::modify_special)
        .delete(throttles::delete_special)
        .fallback(|| async { not_allowed("PUT, DELETE") });
    let quotas =
        routing::get(quotas::list).post(quotas::create).fallback(|| async { not_allowed("GET, HEAD, POST") });
    let quota = routing::get(quotas::read)
        .put(quotas::modify)
        .delete(quotas::delete)
        .fallback(|| async { not_allowed("GET, HEAD, PUT, DELETE") });
    let bind = routing::post(quotas::bind_quota).fallback(|| async { not_allowed("POST") });
    let unbind = routing::delete(quotas::unbind_quota).fallback(|| async { not_allowed("DELETE") });
    Router::new()
        .route(&at("/throttles/{id}/throttle-specials"), specials)
        .route(&at("/throttles/{id}/throttle-specials/{part}"), special)
        .route(&at("/app-quotas"), quotas)
        .route(&at("/app-quotas/{id}"), quota)
        .route(&at("/app-quotas/{id}/binding-apps"), bind)
        .route(&at("/app-quotas/{id}/bound-apps"), list(routing::get(quotas::bound_apps)))
        .route(&at("/app-quotas/{id}/bindable-apps"), list(routing::get(quotas::bindable_apps)))
        .route(&at("/app-quotas/{id}/bound-apps/{part}"), unbind)
        .route(&at("/apps/{id}/bound-quota"), list(routing::get(quotas::quota_of_app)))
}

/// Returns the V2 routes of AppCodes and address lists.
fn routes_of_the_second(at: impl Fn(&str) -> String + Copy) -> Router<Arc<Apig>> {
    let codes = routing::get(codes::list)
        .post(codes::create)
        .put(codes::generate)
        .fallback(|| async { not_allowed("GET, HEAD, POST, PUT") });
    let code = routing::get(codes::read)
        .delete(codes::delete)
        .fallback(|| async { not_allowed("GET, HEAD, DELETE") });
    let acl = routing::get(acl::read)
        .put(acl::set)
        .delete(acl::delete)
        .fallback(|| async { not_allowed("GET, HEAD, PUT, DELETE") });
    Router::new()
        .route(&at("/apps/{id}/app-codes"), codes)
        .route(&at("/apps/{id}/app-codes/{part}"), code)
        .route(&at("/apps/{id}/app-acl"), acl)
}

fn not_allowed(methods: &'static str) -> ApigError {
    Denial::MethodNotAllowed { allow: HeaderValue::from_static(methods) }.into()
}
