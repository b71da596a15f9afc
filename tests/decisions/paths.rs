//! The path that policies use: that of the client, in its normal form.

use std::time::Duration;

use axum::{Router, extract::Path, routing::any};
use portcullis::{
    Admission, Head, Policy, Stop,
    model::LockedRequests,
    normalize_path::PathRules,
    policy::{ApiKey, RequireUnlocked, StrictHttp},
    tower::PortcullisLayer,
};

use super::{send, status};
use portcullis_test::directory::DirectoryFixture;

const MINUTE: Duration = Duration::from_secs(60);

/// Returns a router that responds with the id that the handler sees.
fn orders() -> Router {
    Router::new().route("/orders/{id}", any(async |Path(id): Path<String>| id))
}

fn guard(world: &DirectoryFixture) -> PortcullisLayer<(ApiKey, RequireUnlocked)> {
    let directory = || world.directory.clone();
    PortcullisLayer::new((ApiKey::new(directory()), RequireUnlocked::new(directory())))
        .clock(world.clock.clone())
}

#[tokio::test]
async fn lock_applies_to_every_spelling_of_its_path() {
    let world = DirectoryFixture::new();
    let (app, key) = (orders().layer(guard(&world)), world.key());
    world.lock_path("/orders/7", LockedRequests::Writes, MINUTE);
    for path in ["/orders/7", "/orders/%37", "/orders/7?x=1", "http://host/orders/%37"] {
        assert_eq!(status(&app, "PUT", path, &key).await, 423, "{path}");
        assert_eq!(status(&app, "GET", path, &key).await, 200, "{path}");
    }
    assert_eq!(status(&app, "PUT", "/orders/%38", &key).await, 200);
    // Clients may encode these characters in a path or not. A lock on an encoded spelling matches both, too.
    world.lock_path("/orders/a:b", LockedRequests::Writes, MINUTE);
    world.lock_path("/orders/a%2Bb", LockedRequests::Writes, MINUTE);
    for path in ["/orders/a:b", "/orders/a%3Ab", "/orders/a%3ab", "/orders/a+b", "/orders/a%2bb"] {
        assert_eq!(status(&app, "PUT", path, &key).await, 423, "{path}");
    }
}

#[tokio::test]
async fn ambiguous_path_is_400_with_or_without_a_lock() {
    let world = DirectoryFixture::new();
    let (app, key) = (orders().layer(guard(&world)), world.key());
    for held in [false, true] {
        for path in [
            "/orders/./7",
            "/orders/%2e%2e",
            "/orders/../orders/7",
            "/orders/7%",
            "/orders/7%zz",
            "/orders/%00",
            "/orders//7",
            "/orders%2f7",
            "/orders/7;x",
            "/orders/%2537",
            "/orders/%c0%b7",
        ] {
            let answer = send(&app, "PUT", path, &key).await;
            assert_eq!(answer.status(), 400, "{path}, held: {held}");
        }
        world.lock_path("/orders/7", LockedRequests::All, MINUTE);
    }
}

#[tokio::test]
async fn rule_relaxed_in_an_outer_layer_is_relaxed_for_locks() {
    let world = DirectoryFixture::new();
    let strict =
        PortcullisLayer::new(StrictHttp::new().relax(PathRules::PARAMETERS)).clock(world.clock.clone());
    let (app, key) = (orders().layer(guard(&world)).layer(strict), world.key());
    world.lock_path("/orders/7;b", LockedRequests::All, MINUTE);
    for (path, expected) in [("/orders/7;a", 200), ("/orders/7;%62", 423), ("/orders//7", 400)] {
        let request = http::Request::put(path).header("x-api-key", &key).header("host", "a.example");
        let answer =
            tower::ServiceExt::oneshot(app.clone(), request.body(axum::body::Body::empty()).unwrap());
        assert_eq!(answer.await.unwrap().status(), expected, "{path}");
    }
}

#[tokio::test]
async fn lock_in_a_nested_router_applies_to_the_full_path() {
    let world = DirectoryFixture::new();
    let nested = Router::new().nest("/v2", orders().layer(guard(&world)));
    let (twice, key) = (Router::new().nest("/api", nested.clone()), world.key());
    world.lock_path("/v2/orders/8", LockedRequests::All, MINUTE);
    world.lock_path("/orders/9", LockedRequests::All, MINUTE);
    world.lock_path("/api/v2/orders/10", LockedRequests::All, MINUTE);
    for (app, path, expected) in [
        (&nested, "/v2/orders/8", 423),
        (&nested, "/v2/orders/%38", 423),
        (&nested, "/v2/orders/9", 200),
        (&nested, "/v2/orders/10", 200),
        (&nested, "/v2/orders/%2e%2e", 400),
        (&twice, "/api/v2/orders/8", 200),
        (&twice, "/api/v2/orders/10", 423),
        (&twice, "/api/v2/orders/1%30", 423),
    ] {
        assert_eq!(status(app, "PUT", path, &key).await, expected, "{path}");
    }
}

#[tokio::test]
async fn strict_http_in_a_nested_router_normalizes_the_rest() {
    let world = DirectoryFixture::new();
    let strict = PortcullisLayer::new((StrictHttp::new(), RequireUnlocked::new(world.directory.clone())));
    let seen = async |request: axum::extract::Request| request.uri().path().to_owned();
    let inner = Router::new().route("/orders/{id}", any(seen));
    let app = Router::new().nest("/{tenant}", inner.layer(strict.clock(world.clock.clone())));
    world.lock_path("/acme/orders/8", LockedRequests::All, MINUTE);
    for (path, expected) in [
        ("/acme/orders/%37", 200),
        ("/%61cme/orders/%38", 423),
        ("/ac%2fme/orders/7", 400),
        ("/%2e%2e/orders/7", 400),
    ] {
        let request = http::Request::put(path).header("host", "a.example").body(axum::body::Body::empty());
        let answer = tower::ServiceExt::oneshot(app.clone(), request.unwrap()).await.unwrap();
        assert_eq!(answer.status(), expected, "{path}");
        if expected == 200 {
            let seen = axum::body::to_bytes(answer.into_body(), 1_000).await.unwrap();
            assert_eq!(seen, "/orders/7");
        }
    }
}

/// A user-defined policy that reads the path.
struct NotBelow(&'static str);

impl Policy for NotBelow {
    fn admit(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        if admission.path(head)?.starts_with(self.0) {
            return Err(portcullis::Denial::NotFound.into());
        }
        Ok(())
    }
}

#[tokio::test]
async fn custom_policy_gets_the_full_normalized_path() {
    let app = Router::new().nest("/v2", orders().layer(PortcullisLayer::new(NotBelow("/v2/orders/7"))));
    for (path, expected) in
        [("/v2/orders/7", 404), ("/v2/orders/%37", 404), ("/v2/orders/8", 200), ("/v2/orders/%2e%2e", 400)]
    {
        assert_eq!(status(&app, "GET", path, "").await, expected, "{path}");
    }
}

#[tokio::test]
async fn original_target_is_read_from_a_custom_extension() {
    #[derive(Clone)]
    struct Outside(http::Uri);

    let world = DirectoryFixture::new();
    let guard = guard(&world).original_from(|extensions| extensions.get().map(|Outside(uri)| uri));
    let app = orders().layer(guard).layer(axum::middleware::map_request(
        async |mut request: axum::extract::Request| {
            let uri = format!("/outside{}", request.uri().path()).parse().unwrap();
            request.extensions_mut().insert(Outside(uri));
            request
        },
    ));
    world.lock_path("/outside/orders/7", LockedRequests::All, MINUTE);
    let key = world.key();
    assert_eq!(status(&app, "PUT", "/orders/7", &key).await, 423);
    assert_eq!(status(&app, "PUT", "/orders/8", &key).await, 200);
}
