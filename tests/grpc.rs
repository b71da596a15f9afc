//! Denials of gRPC calls, as tonic's client receives them over HTTP/2.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{Router, body::Body, routing::post};
use futures_util::{Stream, stream};
use http::{HeaderValue, uri::PathAndQuery};
use http_body_util::BodyExt;
use portcullis::{
    Admission, Denial, Head, Policy, Stop,
    clock::ManualClock,
    keys::Keys,
    model::Limit,
    policy::{ApiKey, BodyLimit, RateLimit},
    problem::{DenialCode, RenderedDenial},
    tower::{Denied, PolicyLayer, PortcullisLayer},
};
use tokio::{net::TcpListener, sync::mpsc};
use tonic::{
    Code, Request, Response, Status,
    client::Grpc,
    service::Routes,
    transport::{Channel, Server, server::TcpIncoming},
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_client::HealthClient,
    health_server::{Health, HealthServer},
};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;
use tower::{Layer, ServiceExt, util::MapResponseLayer};

const KEY: &str = "shop-example-0123456789";

/// A health service that knows every service except `missing`.
struct Services;

#[tonic::async_trait]
impl Health for Services {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match &*request.get_ref().service {
            "missing" => Err(Denial::NotFound.into()),
            _ => Ok(Response::new(serving())),
        }
    }

    type WatchStream = stream::Iter<std::array::IntoIter<Result<HealthCheckResponse, Status>, 2>>;

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(stream::iter([Ok(serving()), Ok(serving())])))
    }
}

fn serving() -> HealthCheckResponse {
    HealthCheckResponse { status: ServingStatus::Serving.into() }
}

fn keys() -> Keys {
    Keys::new().limit(Limit::per_minute(2)).add("shop", KEY).unwrap()
}

fn call(service: &str) -> Request<HealthCheckRequest> {
    let mut request = Request::new(HealthCheckRequest { service: service.into() });
    request.metadata_mut().insert("x-api-key", KEY.parse().unwrap());
    request
}

fn without_key() -> Request<HealthCheckRequest> {
    Request::new(HealthCheckRequest::default())
}

/// Starts a server with this layer, and returns a channel to it with the denials of its responses.
async fn serve<P: Policy + 'static>(
    layer: PortcullisLayer<P>,
) -> (Channel, mpsc::UnboundedReceiver<(Denied, bool)>) {
    let (sender, denials) = mpsc::unbounded_channel();
    let record = MapResponseLayer::new(move |response: http::Response<_>| {
        let extensions = response.extensions();
        if let Some(denied) = extensions.get::<Denied>() {
            assert_eq!(extensions.get(), Some(&DenialCode(denied.denial().code())));
            sender.send((denied.clone(), extensions.get::<Admission>().is_some())).unwrap();
        }
        response
    });
    let clock = Arc::new(ManualClock::at(jiff::Timestamp::UNIX_EPOCH));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder()
        .layer(record)
        .layer(layer.clock(clock).expose_admission())
        .add_service(HealthServer::new(Services))
        .serve_with_incoming(TcpIncoming::from(listener));
    tokio::spawn(server);
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    (channel, denials)
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap().reason
}

#[tokio::test]
async fn admitted_call_reaches_its_method() {
    let (channel, mut denials) = serve(PortcullisLayer::new((ApiKey::new(keys()), RateLimit::new()))).await;
    let response = HealthClient::new(channel).check(call("orders")).await.unwrap();
    assert_eq!(response.get_ref().status(), ServingStatus::Serving);
    assert_eq!(response.metadata().get("ratelimit").unwrap(), "\"minute\";r=1;t=30");
    assert!(denials.try_recv().is_err());
}

#[tokio::test]
async fn call_without_key_is_unauthenticated_with_details_and_metadata() {
    let (channel, mut denials) = serve(PortcullisLayer::new(ApiKey::new(keys()))).await;
    let denied = HealthClient::new(channel).check(without_key()).await.unwrap_err();
    assert_eq!((denied.code(), &*reason(&denied)), (Code::Unauthenticated, "CREDENTIAL_MISSING"));
    assert!(denied.message().starts_with("The request has no credential."), "{denied}");
    assert!(denied.metadata().contains_key("www-authenticate"));
    let (denied, has_admission) = denials.try_recv().unwrap();
    assert!(has_admission && !denied.is_by_handler());
}

#[tokio::test]
async fn call_beyond_the_limit_has_retry_delay_and_limits() {
    let (channel, _denials) = serve(PortcullisLayer::new((ApiKey::new(keys()), RateLimit::new()))).await;
    let mut client = HealthClient::new(channel);
    for _ in 0..2 {
        client.check(call("orders")).await.unwrap();
    }
    let denied = client.check(call("orders")).await.unwrap_err();
    assert_eq!((denied.code(), &*reason(&denied)), (Code::ResourceExhausted, "RATE_LIMITED"));
    let delay = denied.get_details_retry_info().unwrap().retry_delay.unwrap().as_secs();
    assert_eq!((delay, denied.metadata().get("retry-after").unwrap().to_str().unwrap()), (30, "30"));
    let violations = denied.get_details_quota_failure().unwrap().violations;
    assert_eq!(violations.iter().map(|it| &*it.subject).collect::<Vec<_>>(), ["minute"]);
    assert!(denied.metadata().contains_key("ratelimit"));
}

#[tokio::test]
async fn streaming_calls_are_denied_like_unary_ones() {
    let (channel, _denials) = serve(PortcullisLayer::new(ApiKey::new(keys()))).await;
    let mut client = HealthClient::new(channel.clone());
    let watched = client.watch(call("orders")).await.unwrap().into_inner().message().await.unwrap();
    assert_eq!(watched, Some(serving()));
    let denied = client.watch(without_key()).await.unwrap_err();
    assert_eq!((denied.code(), &*reason(&denied)), (Code::Unauthenticated, "CREDENTIAL_MISSING"));

    let mut client = Grpc::new(channel);
    let path = PathAndQuery::from_static("/orders.Orders/Upload");
    // The stream of the client never ends.
    let calls = Request::new(endless());
    client.ready().await.unwrap();
    let codec = ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
    let denied = client.client_streaming(calls, path, codec).await.unwrap_err();
    assert_eq!((denied.code(), &*reason(&denied)), (Code::Unauthenticated, "CREDENTIAL_MISSING"));
}

fn endless() -> impl Stream<Item = HealthCheckRequest> + Send + 'static {
    use futures_util::StreamExt;
    stream::iter([HealthCheckRequest::default()]).chain(stream::pending())
}

#[tokio::test]
async fn denial_of_a_method_is_marked_and_counts() {
    let (channel, mut denials) = serve(PortcullisLayer::new((ApiKey::new(keys()), RateLimit::new()))).await;
    let mut client = HealthClient::new(channel);
    let denied = client.check(call("missing")).await.unwrap_err();
    assert_eq!((denied.code(), &*reason(&denied)), (Code::NotFound, "NOT_FOUND"));
    assert_eq!(denied.metadata().get("ratelimit").unwrap(), "\"minute\";r=1;t=30");
    let (denied, has_admission) = denials.try_recv().unwrap();
    assert!(has_admission && denied.is_by_handler());
    assert_eq!(denied.denial(), &Denial::NotFound);
}

/// No gRPC call announces the length of its body.
#[tokio::test]
async fn body_over_the_limit_is_resource_exhausted() {
    let (channel, mut denials) = serve(PortcullisLayer::new(BodyLimit::new(100))).await;
    let mut client = HealthClient::new(channel);
    client.check(call("orders")).await.unwrap();
    let denied = client.check(call(&"o".repeat(200))).await.unwrap_err();
    assert_eq!((denied.code(), &*reason(&denied)), (Code::ResourceExhausted, "CONTENT_TOO_LARGE"));
    assert_eq!(denials.try_recv().unwrap().0.denial(), &Denial::ContentTooLarge { limit: 100 });
}

/// Waits once for an external answer, and denies then.
#[derive(Default)]
struct DeniesLater(AtomicBool);

impl Policy for DeniesLater {
    fn admit(&self, _: &Head<'_>, _: &mut Admission) -> Result<(), Stop> {
        if self.0.swap(true, Ordering::SeqCst) {
            return Err(Stop::Deny(Denial::unavailable("Later.", 9)));
        }
        Err(Stop::Wait(Box::pin(tokio::task::yield_now())))
    }
}

#[tokio::test]
async fn denial_after_a_wait_is_a_status() {
    let (channel, _denials) = serve(PortcullisLayer::new(DeniesLater::default())).await;
    let denied = HealthClient::new(channel).check(call("orders")).await.unwrap_err();
    assert_eq!((denied.code(), denied.message()), (Code::Unavailable, "Later."));
    assert_eq!(denied.get_details_retry_info().unwrap().retry_delay.unwrap().as_secs(), 9);
}

fn json(denial: &Denial) -> RenderedDenial {
    RenderedDenial::new(HeaderValue::from_static("application/json"), format!("{:?}", denial.code()))
}

#[tokio::test]
async fn renderer_has_no_effect_on_calls() {
    let layer = PortcullisLayer::new(ApiKey::new(keys())).denial_renderer(json);
    let (channel, _denials) = serve(layer).await;
    let denied = HealthClient::new(channel).check(without_key()).await.unwrap_err();
    assert_eq!((denied.code(), &*reason(&denied)), (Code::Unauthenticated, "CREDENTIAL_MISSING"));
}

#[tokio::test]
async fn other_requests_are_denied_in_the_format_of_the_renderer() {
    let service = PortcullisLayer::new(ApiKey::new(keys())).denial_renderer(json).layer(Routes::default());
    for (method, media_type) in [
        ("POST", Some("application/json")),
        ("POST", Some("application/grpc-web")),
        ("POST", None),
        ("GET", Some("application/grpc")),
    ] {
        let mut request = http::Request::builder().method(method).uri("/").header("host", "a.example");
        if let Some(media_type) = media_type {
            request = request.header("content-type", media_type);
        }
        let request = request.body(tonic::body::Body::empty()).unwrap();
        let denied = service.clone().oneshot(request).await.unwrap();
        assert_eq!(denied.status(), 401, "{method} {media_type:?}");
        assert!(!denied.headers().contains_key("grpc-status"));
        let body = denied.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "\"credential-missing\"");
    }
}

#[tokio::test]
async fn denial_of_an_axum_handler_is_a_status() {
    let app: Router = Router::new()
        .route("/", post(async || Err::<(), _>(Denial::unavailable("Closed.", 5))))
        .layer(ApiKey::new(keys()).into_layer());
    let request = http::Request::post("/").header("host", "a.example").header("x-api-key", KEY);
    let request = request.header("content-type", "application/grpc").body(Body::empty()).unwrap();
    let denied = app.oneshot(request).await.unwrap();
    assert_eq!((denied.status().as_u16(), &denied.headers()["grpc-status"]), (200, &"14".parse().unwrap()));
    assert!(denied.extensions().get::<Denied>().unwrap().is_by_handler());
}
