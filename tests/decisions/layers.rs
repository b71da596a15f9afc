//! Layers: the order of their policies, their setters, and the clock that they share.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request},
    routing::get,
};
use portcullis::{
    Denial, Policy,
    keys::Keys,
    model::Limit,
    policy::{ApiKey, Lockout, Misplaced, RateLimit, RequireScope, RequireUnlocked},
    problem::RenderedDenial,
    tower::{PolicyLayer, PortcullisLayer},
};
use tower::{ServiceBuilder, ServiceExt};
use tower_http::cors::CorsLayer;

use super::{send, status};
use portcullis_test::directory::DirectoryFixture;

fn app() -> Router {
    Router::new().route("/", get(async || "served"))
}

#[tokio::test]
async fn layer_with_a_limit_before_authentication_is_rejected() {
    let world = DirectoryFixture::new();
    let key = || ApiKey::new(world.directory.clone());
    let refused =
        |policy: Box<dyn Policy>| catch_unwind(AssertUnwindSafe(|| PortcullisLayer::new(policy))).is_err();
    assert!(refused(Box::new(RateLimit::new())));
    assert!(refused(Box::new((RateLimit::new(), key()))));
    assert!(refused(Box::new((RequireScope::new("orders"), key()))));
    assert!(refused(Box::new((RequireUnlocked::new(world.directory.clone()), key()))));
    assert!(refused(Box::new(vec![Box::new(RateLimit::new()) as Box<dyn Policy>, Box::new(key())])));
    assert!(!refused(Box::new((key(), RequireScope::new("orders"), RateLimit::new()))));
    let misplaced = PortcullisLayer::try_new((RateLimit::new(), key())).err();
    assert_eq!(misplaced, Some(Misplaced { policy: "RateLimit" }));
}

#[tokio::test]
async fn inner_layer_uses_the_caller_of_the_outer_layer() {
    let world = DirectoryFixture::new();
    let key = world.key_on(&world.plan("small", &[("minute", 1, 60)]));
    let clock = || world.clock.clone();
    let inner = app().layer(PortcullisLayer::inner(RateLimit::new()).clock(clock()));
    let outer = PortcullisLayer::new(ApiKey::new(world.directory.clone())).clock(clock());
    let both = inner.clone().layer(outer);
    assert_eq!(status(&both, "GET", "/", &key).await, 200);
    assert_eq!(status(&both, "GET", "/", &key).await, 429);
    let alone = send(&inner, "GET", "/", &key).await;
    assert_eq!(alone.status(), 401);
    assert!(alone.headers().contains_key("www-authenticate"));
}

/// The outermost layer comes first in a `ServiceBuilder`, and last in a router.
#[tokio::test]
async fn layers_of_single_policies_run_from_the_outside() {
    let key = "shop-key-0123456789";
    let api_key = || {
        let keys = Keys::new().limit(Limit::per_day(1)).add("shop", key).unwrap();
        ApiKey::new(keys).into_layer()
    };
    let rate_limit = || RateLimit::new().into_layer();
    let built = app().layer(ServiceBuilder::new().layer(api_key()).layer(rate_limit()));
    let routed = app().layer(rate_limit()).layer(api_key());
    for app in [built, routed] {
        assert_eq!(status(&app, "GET", "/", key).await, 200);
        assert_eq!(status(&app, "GET", "/", key).await, 429);
        assert_eq!(status(&app, "GET", "/", "").await, 401);
    }
    let reversed = app().layer(api_key()).layer(rate_limit());
    assert_eq!(status(&reversed, "GET", "/", key).await, 401);
}

#[tokio::test]
async fn setters_do_not_change_a_cloned_layer() {
    let world = DirectoryFixture::new();
    let first = PortcullisLayer::new(ApiKey::new(world.directory.clone())).clock(world.clock.clone());
    let made = app().layer(first.clone());
    let text = |_: &Denial| RenderedDenial::new(HeaderValue::from_static("text/plain"), "denied");
    let second = first.clone().denial_renderer(text).clock(Arc::new(portcullis::clock::SystemClock::new()));
    let problem = send(&app().layer(first.clone()), "GET", "/", "").await;
    let other = send(&app().layer(second), "GET", "/", "").await;
    let earlier = send(&made, "GET", "/", "").await;
    assert_eq!(problem.headers()["content-type"], "application/problem+json");
    assert_eq!(earlier.headers()["content-type"], "application/problem+json");
    assert_ne!(other.headers()["content-type"], "application/problem+json");

    // The expiry of a key is compared with the clock of the layer.
    let ends = world.now();
    let expired = world.key_of(&world.caller(|_| {}), |key| key.not_after = Some(ends));
    let before = "2020-01-01T00:00:00Z".parse().unwrap();
    let earlier = first.clone().clock(Arc::new(portcullis::clock::ManualClock::at(before)));
    assert_eq!(status(&app().layer(earlier), "GET", "/", &expired).await, 200);
    assert_eq!(status(&app().layer(first), "GET", "/", &expired).await, 401);
}

#[tokio::test]
async fn peer_setter_works_on_a_cloned_layer() {
    let world = DirectoryFixture::new();
    let second = std::time::Duration::from_secs(1);
    let policy = ApiKey::new(world.directory.clone()).lockout(Lockout::new(1, second, second));
    let layer = PortcullisLayer::new(policy).clock(world.clock.clone());
    let (original, layer) = (layer.clone(), layer.peer_from(|_| Some([192, 0, 2, 1].into())));
    assert_eq!(status(&app().layer(layer.clone()), "GET", "/", "bad").await, 401);
    assert_eq!(status(&app().layer(layer), "GET", "/", "bad").await, 403);
    assert_eq!(status(&app().layer(original), "GET", "/", "bad").await, 401);
}

#[tokio::test]
async fn layers_over_one_directory_share_a_clock() {
    let world = DirectoryFixture::new();
    let key = world.key_on(&world.plan("small", &[("hour", 2, 3600)]));
    let layer = || PortcullisLayer::new((ApiKey::new(world.directory.clone()), RateLimit::new()));
    let first = app().layer(layer());
    assert_eq!(status(&first, "GET", "/", &key).await, 200);
    assert_eq!(status(&first, "GET", "/", &key).await, 200);
    let second = app().layer(layer());
    for app in [&first, &second] {
        let answer = send(app, "GET", "/", &key).await;
        assert_eq!(answer.status(), 429);
        let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!(wait <= 1800, "nothing is pending beyond one request: {wait}");
    }
}

/// `CorsLayer` responds itself, with a default body.
#[tokio::test]
async fn cors_layer_fits_around_the_layer_in_a_service_builder() {
    let layer = PortcullisLayer::new(ApiKey::new(Keys::new()));
    let app = app().layer(ServiceBuilder::new().layer(CorsLayer::permissive()).layer(layer));
    let preflight = Request::options("/")
        .header("origin", "https://shop.example")
        .header("access-control-request-method", "GET");
    let preflight = app.clone().oneshot(preflight.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(preflight.status(), 200);
    let denied = Request::get("/").header("origin", "https://shop.example").body(Body::empty()).unwrap();
    let denied = app.oneshot(denied).await.unwrap();
    let allowed = &denied.headers()["access-control-allow-origin"];
    assert_eq!((denied.status().as_u16(), allowed), (401, &HeaderValue::from_static("*")));
}
