//! Limits whose values change while they are in use.

use axum::{Router, routing::get};
use portcullis::{
    policy::{ApiKey, RateLimit},
    tower::PortcullisLayer,
};

use super::send;
use portcullis_test::directory::DirectoryFixture;

/// Sends a request, and returns the status and the remaining requests of the limit.
async fn ask(app: &Router, key: &str) -> (u16, String) {
    let answer = send(app, "GET", "/", key).await;
    let left = answer.headers()["ratelimit"].to_str().unwrap();
    let left = left.split(";r=").nth(1).unwrap().split(';').next().unwrap();
    (answer.status().as_u16(), left.to_owned())
}

fn app(world: &DirectoryFixture) -> Router {
    let policies = (ApiKey::new(world.directory.clone()), RateLimit::new());
    let layer = PortcullisLayer::new(policies).clock(world.clock.clone());
    Router::new().route("/", get(async || "served")).layer(layer)
}

#[tokio::test]
async fn earlier_requests_count_after_a_plan_change() {
    for (before, after, left) in [
        ((10, 86_400), (1_000, 86_400), Some("989")),
        ((1, 86_400), (100, 1), Some("98")),
        ((10, 86_400), (20, 60), Some("9")),
        ((10, 60), (5, 86_400), None),
        ((10, 86_400), (10, 1), None),
    ] {
        let world = DirectoryFixture::new();
        let key = world.key_on(&world.plan("day", &[("day", before.0, before.1)]));
        let app = app(&world);
        for _ in 0..before.0 {
            assert_eq!(ask(&app, &key).await.0, 200);
        }
        assert_eq!(ask(&app, &key).await, (429, "0".to_owned()));
        world.plan("day", &[("day", after.0, after.1)]);
        if let Some(left) = left {
            assert_eq!(ask(&app, &key).await, (200, left.to_owned()));
            continue;
        }
        let refused = send(&app, "GET", "/", &key).await;
        assert_eq!(refused.status(), 429);
        let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert_eq!(wait, u64::from(after.1).div_ceil(u64::from(after.0)), "no debt beyond the burst");
        world.clock.advance(std::time::Duration::from_secs(wait));
        assert_eq!(ask(&app, &key).await.0, 200);
    }
}

#[tokio::test]
async fn plan_without_limits_is_not_reported() {
    let world = DirectoryFixture::new();
    let key = world.key_on(&world.plan("unlimited", &[]));
    let served = send(&app(&world), "GET", "/", &key).await;
    assert_eq!(served.status(), 200);
    assert!(
        !served.headers().contains_key("ratelimit") && !served.headers().contains_key("ratelimit-policy")
    );
}
