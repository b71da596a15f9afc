//! An axum service with API keys, limits for each plan, scopes, error bodies of its own, CORS and logs.
//!
//! ```text
//! cargo run --example axum --features axum
//! curl -i -H 'X-API-KEY: shop-example-0123456789' http://127.0.0.1:3000/orders
//! ```
//!
//! The shop may send 5 requests a minute: the sixth is answered with 429 and the time of the next admission. Without a
//! key the response is 401. The key `report-example-0123456789` is on another plan, and may only read: its `POST` is
//! 403. `/healthz` needs no key.

use std::{error::Error, sync::Arc};

use axum::{
    Json, Router,
    extract::Request,
    http::{HeaderName, HeaderValue, header},
    routing::get,
};
use portcullis::{
    Caller, Denial,
    clock::{Clock, SystemClock},
    keys::{Key, KeyError, Keys},
    model::{Access, Limit},
    policy::{ApiKey, BodyLimit, ContentType, RateLimit},
    problem::RenderedDenial,
    tower::{PortcullisLayer, RequiredScope, Scoped},
};
use serde_json::{Value, json};
use tower_http::{
    cors::{Any, CorsLayer},
    trace::TraceLayer,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let app = app(keys()?, Arc::new(SystemClock::new()))?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("curl -i -H 'X-API-KEY: shop-example-0123456789' http://127.0.0.1:3000/orders");
    axum::serve(listener, app).await?;
    Ok(())
}

/// Keys of a service come from its environment (`Keys::from_env`), not from its source.
fn keys() -> Result<Keys, KeyError> {
    let shop = Key::new("shop").plan("free", [Limit::per_minute(5)]);
    let report = Key::new("report")
        .scopes(["orders:read"])
        .plan("gold", [Limit::per_second(50), Limit::per_day(100_000)]);
    Keys::new().add_key(shop, "shop-example-0123456789")?.add_key(report, "report-example-0123456789")
}

fn app(keys: Keys, clock: Arc<dyn Clock>) -> Result<Router, Box<dyn Error>> {
    let policies = (
        BodyLimit::new(64 * 1024),
        ContentType::new(["application/json"])?,
        ApiKey::new(keys),
        RateLimit::new(),
    );
    let layer = PortcullisLayer::new(policies).denial_renderer(render).exempt_path("/healthz").clock(clock);
    let cors = CorsLayer::new().allow_origin(Any).allow_headers(Any).expose_headers([
        header::RETRY_AFTER,
        HeaderName::from_static("ratelimit"),
        HeaderName::from_static("ratelimit-policy"),
    ]);
    let app =
        Router::new()
            .route("/orders", get(orders).post(create))
            .route("/healthz", get(async || "ok"))
            .layer(layer)
            // Outside of the policies: it answers preflight requests, and lets web pages read denials.
            .layer(cors)
            // The outermost layer, so that it sees every response.
            .layer(TraceLayer::new_for_http().make_span_with(|request: &Request| {
                tracing::info_span!("request", path = request.uri().path())
            }));
    Ok(app)
}

/// Renders denials as this company's error bodies. The status and headers such as `Retry-After` stay.
fn render(denial: &Denial) -> RenderedDenial {
    let body = json!({ "error": denial.code(), "message": denial.detail() });
    RenderedDenial::new(HeaderValue::from_static("application/json"), body.to_string())
}

async fn orders(caller: Caller) -> Json<Value> {
    Json(json!({ "orders": [], "caller": caller.id(), "plan": caller.plan() }))
}

struct WriteOrders;

impl RequiredScope for WriteOrders {
    const RESOURCE: &str = "orders";
    const ACCESS: Access = Access::Write;
}

async fn create(caller: Scoped<WriteOrders>, Json(order): Json<Value>) -> Json<Value> {
    Json(json!({ "order": order, "caller": caller.id() }))
}

/// A test sets the clock, so it need not wait.
#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::{body::Body, http::Request};
    use portcullis::clock::ManualClock;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn shop_is_admitted_again_after_retry_after() {
        let clock = Arc::new(ManualClock::at(jiff::Timestamp::UNIX_EPOCH));
        let app = app(keys().unwrap(), clock.clone()).unwrap();
        let get = || {
            let request = Request::get("/orders").header("x-api-key", "shop-example-0123456789");
            app.clone().oneshot(request.body(Body::empty()).unwrap())
        };
        for _ in 0..5 {
            assert_eq!(get().await.unwrap().status(), 200);
        }
        let denied = get().await.unwrap();
        assert_eq!((denied.status().as_u16(), &denied.headers()["retry-after"]), (429, &12.into()));
        assert_eq!(denied.headers()["content-type"], "application/json");
        clock.advance(Duration::from_secs(12));
        assert_eq!(get().await.unwrap().status(), 200);
    }

    #[tokio::test]
    async fn preflight_health_check_and_scope_are_decided_by_their_layers() {
        let app = app(keys().unwrap(), Arc::new(SystemClock::new())).unwrap();
        let send = |request: Request<Body>| app.clone().oneshot(request);
        let preflight = Request::options("/orders")
            .header("origin", "https://shop.example")
            .header("access-control-request-method", "POST");
        let preflight = send(preflight.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(
            (preflight.status().as_u16(), &preflight.headers()["access-control-allow-origin"]),
            (200, &HeaderValue::from_static("*"))
        );
        let health = Request::get("/healthz").body(Body::empty()).unwrap();
        assert_eq!(send(health).await.unwrap().status(), 200);
        let denied = send(
            Request::get("/orders").header("origin", "https://shop.example").body(Body::empty()).unwrap(),
        );
        let denied = denied.await.unwrap();
        assert_eq!(
            (denied.status().as_u16(), &denied.headers()["access-control-allow-origin"]),
            (401, &HeaderValue::from_static("*"))
        );
        let post = Request::post("/orders")
            .header("x-api-key", "report-example-0123456789")
            .header("content-type", "application/json");
        assert_eq!(send(post.body("{}".into()).unwrap()).await.unwrap().status(), 403);
    }
}
