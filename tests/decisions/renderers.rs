//! Denials in an error format of the service's own.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, Response, StatusCode},
    routing::get,
};
use http_body_util::BodyExt;
use portcullis::{
    Admission, Denial, Head, Policy, Stop,
    policy::{ApiKey, RateLimit},
    problem::{self, DenialCode, Problem, RenderDenial, RenderedDenial},
    tower::PortcullisLayer,
};
use tower::ServiceExt;

use super::send;
use portcullis_test::directory::DirectoryFixture;

fn text(body: impl Into<String>) -> RenderedDenial {
    RenderedDenial::new(HeaderValue::from_static("text/plain"), body.into())
}

fn app(layer: PortcullisLayer<impl Policy + 'static>) -> Router {
    Router::new().route("/", get(async || "served")).layer(layer)
}

async fn body(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().into()).unwrap()
}

#[tokio::test]
async fn closure_renders_denials_and_status_and_required_headers_stay() {
    let world = DirectoryFixture::new();
    let key = world.key_on(&world.plan("small", &[("minute", 1, 60)]));
    let layer = PortcullisLayer::new((ApiKey::new(world.directory.clone()), RateLimit::new()))
        .denial_renderer(|denial: &Denial| text(format!("denied: {}", denial.code())))
        .clock(world.clock.clone());
    let app = app(layer);
    let refused = send(&app, "GET", "/", "").await;
    assert_eq!(refused.status(), 401);
    assert_eq!(refused.headers()["content-type"], "text/plain");
    assert_eq!(refused.headers()["content-length"], "28");
    assert!(refused.headers().contains_key("www-authenticate"));
    assert_eq!(refused.extensions().get(), Some(&DenialCode("credential-malformed")));
    assert_eq!(body(refused).await, "denied: credential-malformed");

    assert_eq!(send(&app, "GET", "/", &key).await.status(), 200);
    let limited = send(&app, "HEAD", "/", &key).await;
    assert_eq!(limited.status(), 429);
    assert_eq!(limited.headers()["retry-after"], "60");
    assert_eq!(limited.headers()["content-length"], "20");
    assert!(limited.headers().contains_key("ratelimit"));
    assert_eq!(limited.headers()["cache-control"], "private");
    assert_eq!(body(limited).await, "", "the response to HEAD");
}

#[tokio::test]
async fn contract_sets_its_own_error_status_but_never_a_success() {
    let world = DirectoryFixture::new();
    for (status, expected) in [(403, 403), (503, 503), (200, 401), (302, 401), (600, 401)] {
        let status = StatusCode::from_u16(status).unwrap();
        let layer = PortcullisLayer::new(ApiKey::new(world.directory.clone()))
            .denial_renderer(move |_: &Denial| text("").with_status(status).no_store());
        let denied = send(&app(layer), "GET", "/", "").await;
        assert_eq!(denied.status(), expected, "{status}");
        assert_eq!(denied.headers()["cache-control"], "no-store");
        assert!(denied.headers().contains_key("www-authenticate"));
    }
}

/// Text for clients that ask for it, and problems for all others.
struct Negotiated;

impl RenderDenial for Negotiated {
    fn render(&self, denial: &Denial) -> RenderedDenial {
        Problem.render(denial)
    }

    fn for_request(&self, head: &Head<'_>, _: &Admission) -> Option<&dyn RenderDenial> {
        let is_text = head.headers.get("accept").is_some_and(|value| value == "text/plain");
        is_text.then_some(&Text)
    }
}

struct Text;

impl RenderDenial for Text {
    fn render(&self, denial: &Denial) -> RenderedDenial {
        text(denial.detail())
    }
}

#[tokio::test]
async fn renderer_selects_the_format_by_the_request() {
    let world = DirectoryFixture::new();
    let shared: Arc<dyn RenderDenial> = Arc::new(Negotiated);
    let layer = PortcullisLayer::new(ApiKey::new(world.directory.clone())).denial_renderer(shared);
    let app = app(layer);
    for (accept, media_type) in [("text/plain", "text/plain"), ("*/*", "application/problem+json")] {
        let request = Request::get("/").header("accept", accept).body(Body::empty()).unwrap();
        let denied = app.clone().oneshot(request).await.unwrap();
        assert_eq!(
            (denied.status().as_u16(), denied.headers()["content-type"].to_str().unwrap()),
            (401, media_type)
        );
    }
}

/// Denies with an internal error.
struct Fails;

impl Policy for Fails {
    fn admit(&self, _: &Head<'_>, _: &mut Admission) -> Result<(), Stop> {
        Err(Denial::internal("the reason").into())
    }
}

/// Counts events.
struct CountsEvents(Arc<AtomicU32>);

impl tracing::Subscriber for CountsEvents {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let metadata = event.metadata();
        if *metadata.level() == tracing::Level::ERROR && metadata.fields().field("code").is_some() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn denial_is_logged_once_by_the_layer_and_never_by_rendering() {
    let world = DirectoryFixture::new();
    let logged = Arc::new(AtomicU32::new(0));
    let _guard = tracing::subscriber::set_default(CountsEvents(logged.clone()));
    let denial = Denial::internal("the reason");
    assert_eq!(problem::render(&denial, &Problem, &Admission::default()).status(), 500);
    assert_eq!(logged.load(Ordering::Relaxed), 0);
    let key = world.key();
    let outer = PortcullisLayer::new(ApiKey::new(world.directory.clone()));
    let app = app(PortcullisLayer::new(Fails)).layer(outer);
    assert_eq!(send(&app, "GET", "/", &key).await.status(), 500);
    assert_eq!(logged.load(Ordering::Relaxed), 1);
}
