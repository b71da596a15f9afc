//! Extractors of axum handlers, and denials by handlers.

use axum::{
    Router,
    http::HeaderValue,
    response::{IntoResponse, Response},
    routing::get,
};
use http_body_util::BodyExt;
use portcullis::{
    Caller, Denial,
    keys::{Key, Keys},
    model::{Access, Limit},
    policy::{Accept, ApiKey, RateLimit},
    problem::RenderedDenial,
    tower::{Denied, Negotiated, PortcullisLayer, RequiredScope, Scoped},
};

use super::send;

const SHOP: &str = "shop-key-0123456789";
const READER: &str = "reader-key-0123456789";

struct WriteOrders;

impl RequiredScope for WriteOrders {
    const RESOURCE: &str = "orders";
    const ACCESS: Access = Access::Write;
}

#[derive(Debug, PartialEq)]
struct Region(&'static str);

fn keys() -> Keys {
    let shop = Key::new("shop")
        .name("The shop")
        .tenant("acme")
        .id("k1")
        .plan("gold", [Limit::per_day(9)])
        .metadata(Region("eu"));
    let reader = Key::new("reader").scopes(["orders:read"]).limit(Limit::per_day(2));
    Keys::new().add_key(shop, SHOP).unwrap().add_key(reader, READER).unwrap()
}

async fn describe(caller: Caller) -> String {
    let region = caller.metadata::<Region>().map(|region| region.0);
    assert_eq!(caller.metadata::<String>(), None);
    format!(
        "{} {} {} {} {:?} {:?} {}",
        caller.id(),
        caller.name(),
        caller.tenant(),
        caller.key_id(),
        caller.plan(),
        region,
        caller.allows("orders", Access::Write)
    )
}

async fn maybe(caller: Option<Caller>) -> String {
    caller.map_or("nobody".into(), |caller| caller.id().to_owned())
}

async fn write(caller: Scoped<WriteOrders>) -> String {
    format!("written by {}", caller.id())
}

async fn missing(_: Caller) -> Result<String, Denial> {
    Err(Denial::NotFound)
}

async fn negotiated(Negotiated(media_type): Negotiated) -> Response {
    media_type.map_or("none".into(), |media_type| media_type.as_str().to_owned()).into_response()
}

fn routes() -> Router {
    Router::new()
        .route("/describe", get(describe))
        .route("/maybe", get(maybe))
        .route("/write", get(write))
        .route("/missing", get(missing))
        .route("/negotiated", get(negotiated))
}

fn guarded() -> Router {
    let policies = (Accept::new(["text/csv", "text/plain"]).unwrap(), ApiKey::new(keys()), RateLimit::new());
    routes().layer(PortcullisLayer::new(policies))
}

async fn text(response: Response) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn handler_receives_the_caller() {
    let app = guarded();
    assert_eq!(
        text(send(&app, "GET", "/describe", SHOP).await).await,
        "shop The shop acme k1 Some(\"gold\") Some(\"eu\") true"
    );
    assert_eq!(text(send(&app, "GET", "/maybe", SHOP).await).await, "shop");
    assert_eq!(text(send(&app, "GET", "/negotiated", SHOP).await).await, "text/csv");
    let reader = text(send(&app, "GET", "/describe", READER).await).await;
    assert!(reader.starts_with("reader reader default "), "{reader}");
    assert!(reader.ends_with(" Some(\"reader\") None false"), "{reader}");
}

#[tokio::test]
async fn handler_without_a_recognised_caller_denies() {
    let app = routes().layer(PortcullisLayer::new(()));
    assert_eq!(text(send(&app, "GET", "/maybe", "").await).await, "nobody");
    assert_eq!(text(send(&app, "GET", "/negotiated", "").await).await, "none");
    let denied = send(&app, "GET", "/describe", "").await;
    assert_eq!(denied.status(), 401);
    assert!(denied.headers().contains_key("www-authenticate"));
}

#[tokio::test]
async fn handler_without_a_layer_is_500() {
    for path in ["/describe", "/maybe", "/write"] {
        let response = send(&routes(), "GET", path, SHOP).await;
        assert_eq!(response.status(), 500, "{path}");
        assert!(text(response).await.contains("\"code\":\"internal\""), "{path}");
    }
}

/// A denial by a handler looks like one by a policy, but counts towards the limits, also those of an outer layer.
#[tokio::test]
async fn denial_by_a_handler_is_rendered_and_counts() {
    let render = |denial: &Denial| {
        RenderedDenial::new(HeaderValue::from_static("text/plain"), format!("denied: {}", denial.code()))
    };
    let policies = (ApiKey::new(keys()), RateLimit::new());
    let inner = PortcullisLayer::new(()).denial_renderer(render);
    let app = routes().layer(inner).layer(PortcullisLayer::new(policies).denial_renderer(render));
    let response = send(&app, "GET", "/write", READER).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (403, &HeaderValue::from_static("text/plain"))
    );
    assert_eq!(response.headers()["ratelimit"], "\"day\";r=1;t=43200");
    let denied = response.extensions().get::<Denied>().unwrap().clone();
    assert!(matches!(denied.denial(), Denial::Forbidden(_)) && denied.is_by_handler(), "{denied:?}");
    assert_eq!(text(response).await, "denied: insufficient-scope");
    let missing = send(&app, "HEAD", "/missing", READER).await;
    assert_eq!(missing.status(), 404);
    assert_eq!(text(missing).await, "");
    let limited = send(&app, "GET", "/missing", READER).await;
    assert_eq!(limited.status(), 429);
    assert!(!limited.extensions().get::<Denied>().unwrap().is_by_handler());
    assert_eq!(text(send(&app, "GET", "/write", SHOP).await).await, "written by shop");
}
