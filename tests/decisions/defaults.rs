//! The defaults of a layer: checks for ambiguous HTTP, bodies that are counted, and requests that are exempt.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use axum::{
    Router,
    body::Body,
    routing::{any, post},
};
use http::{Request, Response};
use portcullis::{
    model::{SealKey, Sealer},
    normalize_path::PathRules,
    policy::{ApiKey, BodyLimit, Signature, StrictHttp},
    tower::{Denied, PortcullisLayer},
};
use portcullis_test::directory::DirectoryFixture;
use tower::ServiceExt;

use super::status;

fn app() -> Router {
    Router::new().fallback(any(async || "served"))
}

fn code(response: &Response<Body>) -> Option<&'static str> {
    response.extensions().get::<Denied>().map(|denied| denied.denial().code())
}

#[tokio::test]
async fn layer_rejects_ambiguous_requests_by_default() {
    let world = DirectoryFixture::new();
    let key = world.key();
    let layer = || PortcullisLayer::new(ApiKey::new(world.directory.clone())).clock(world.clock.clone());
    let relaxed =
        (StrictHttp::new().allow_missing_host().relax(PathRules::EMPTY_SEGMENTS), layer_policy(&world));
    let relaxed = app().layer(PortcullisLayer::new(relaxed).clock(world.clock.clone()));
    let (strict, without) = (app().layer(layer()), app().layer(layer().without_strict_http()));
    for (path, expected) in [
        ("/orders", [200, 200, 200]),
        ("/orders//7", [400, 200, 200]),
        ("/orders/%2e%2e/7", [400, 400, 200]),
        ("/orders/7;x", [400, 400, 200]),
    ] {
        let mut statuses = [0; 3];
        for (app, status_of) in [&strict, &relaxed, &without].into_iter().zip(&mut statuses) {
            *status_of = status(app, "GET", path, &key).await;
        }
        assert_eq!(statuses, expected, "{path}");
    }
    let twice = Request::get("/").header("content-type", "a/b").header("content-type", "c/d");
    let response = strict.oneshot(twice.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!((response.status().as_u16(), code(&response)), (400, Some("bad-request")));
}

fn layer_policy(world: &DirectoryFixture) -> ApiKey {
    ApiKey::new(world.directory.clone())
}

/// Nested layers check a request once: the rules that the outermost layer relaxes stay relaxed.
#[tokio::test]
async fn nested_layer_does_not_check_again() {
    let outer = PortcullisLayer::new(StrictHttp::new().allow_missing_host().relax(PathRules::EMPTY_SEGMENTS));
    let app = app().layer(PortcullisLayer::new(BodyLimit::new(9))).layer(outer);
    assert_eq!(status(&app, "GET", "/a//b", "").await, 200);
    assert_eq!(status(&app, "GET", "/a;b", "").await, 400);
}

#[tokio::test]
async fn exempt_requests_need_no_key_but_unambiguous_http() {
    let world = DirectoryFixture::new();
    let layer = PortcullisLayer::new(ApiKey::new(world.directory.clone()))
        .clock(world.clock.clone())
        .exempt_path("/healthz")
        .exempt_preflights()
        .exempt(|head| head.uri.path().starts_with("/public/"));
    let app = app().layer(layer);
    for (path, expected) in
        [("/healthz", 200), ("/healthz/x", 401), ("/public/a", 200), ("/public//a", 400), ("/orders", 401)]
    {
        assert_eq!(status(&app, "GET", path, "").await, expected, "{path}");
    }
    let options = |fields: &[&str]| {
        let request =
            fields.iter().fold(Request::options("/orders"), |request, name| request.header(*name, "x"));
        app.clone().oneshot(request.body(Body::empty()).unwrap())
    };
    assert_eq!(options(&["origin", "access-control-request-method"]).await.unwrap().status(), 200);
    assert_eq!(options(&["origin"]).await.unwrap().status(), 401);
    assert_eq!(options(&["access-control-request-method"]).await.unwrap().status(), 401);
}

#[tokio::test]
async fn body_of_unknown_length_is_counted_by_default() {
    let length = async |body: axum::body::Bytes| body.len().to_string();
    let app = Router::new().route("/", post(length)).layer(PortcullisLayer::new(BodyLimit::new(5)));
    for (content, expected) in [("12345", 200), ("123456", 413)] {
        let pieces = content.bytes().map(|byte| Ok::<_, std::io::Error>(axum::body::Bytes::from(vec![byte])));
        let body = Body::from_stream(futures_util::stream::iter(pieces.collect::<Vec<_>>()));
        let response = app.clone().oneshot(Request::post("/").body(body).unwrap()).await.unwrap();
        assert_eq!(response.status(), expected, "{content}");
    }
}

#[test]
fn pass_through_layer_rejects_policies_that_need_the_body() {
    let world = DirectoryFixture::new();
    let signature = || {
        let sealer = Sealer::new(SealKey::new(1, &[1; 32]));
        Signature::new(world.directory.clone(), Arc::new(sealer))
    };
    let is_rejected = |layer: PortcullisLayer<Box<dyn portcullis::Policy>>| {
        catch_unwind(AssertUnwindSafe(|| layer.pass_through())).is_err()
    };
    assert!(is_rejected(PortcullisLayer::new(Box::new(signature()))));
    assert!(is_rejected(PortcullisLayer::new(Box::new(signature().or(layer_policy(&world))))));
    assert!(!is_rejected(PortcullisLayer::new(Box::new(layer_policy(&world)))));
}
