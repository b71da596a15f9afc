//! gRPC through the gateway: from tonic's client to tonic's server, both over HTTP/2.

use std::time::Duration;

use axum::{Router, body::Body, extract::Request as HttpRequest, routing::post};
use futures_util::stream;
use http::{HeaderMap, uri::PathAndQuery};
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use tonic::{Code, Request, Response, Status, client::Grpc, service::Routes, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_client::HealthClient,
    health_server::{Health, HealthServer},
};
use tonic_prost::ProstCodec;

use crate::{
    process::{Gateway, Installation, Service, TIMEOUT, free_address},
    targets::logged,
    transports::tls_service::{Authority, TlsService},
};

/// The events of a call that does not end by itself.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    Begins,
    Dropped,
}

/// Sends an event when the call is dropped.
struct Running(mpsc::UnboundedSender<Event>);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.send(Event::Dropped);
    }
}

struct Services(mpsc::UnboundedSender<Event>);

#[tonic::async_trait]
impl Health for Services {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match &*request.get_ref().service {
            "missing" => Err(Status::not_found("no such service: ä%")),
            "endless" => {
                self.0.send(Event::Begins).unwrap();
                let _running = Running(self.0.clone());
                std::future::pending().await
            }
            "timeout" => {
                let timeout =
                    request.metadata().get("grpc-timeout").map(|it| it.to_str().unwrap().to_owned());
                Err(Status::aborted(timeout.unwrap_or_default()))
            }
            _ => Ok(Response::new(serving())),
        }
    }

    type WatchStream = stream::Iter<std::vec::IntoIter<Result<HealthCheckResponse, Status>>>;

    /// Sends two messages, and then the status of an error in the trailers.
    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let parts = vec![Ok(serving()), Ok(serving()), Err(Status::data_loss("the third is lost"))];
        Ok(Response::new(stream::iter(parts)))
    }
}

fn serving() -> HealthCheckResponse {
    HealthCheckResponse { status: ServingStatus::Serving.into() }
}

/// Sends the messages of the client back.
async fn chat(request: HttpRequest) -> http::Response<Body> {
    let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), 0.into())]);
    let body = request.into_body().with_trailers(async { Some(Ok(trailers)) });
    http::Response::builder().header("content-type", "application/grpc").body(Body::new(body)).unwrap()
}

/// Returns the services, and the events of endless calls.
fn services() -> (Router, mpsc::UnboundedReceiver<Event>) {
    let (sender, events) = mpsc::unbounded_channel();
    let routes = Routes::new(HealthServer::new(Services(sender))).into_axum_router();
    (routes.route("/chat.Chat/Chat", post(chat)), events)
}

/// A gateway in front of the services, and a channel to it.
struct Setup {
    installation: Installation,
    gateway: Gateway,
    channel: Channel,
    events: mpsc::UnboundedReceiver<Event>,
}

async fn setup(policies: &str) -> Setup {
    let (router, events) = services();
    let service = Service::start(router).await;
    Setup::new(&format!("h2c://{}", service.address), "", policies, events).await
}

impl Setup {
    async fn new(
        target: &str,
        settings: &str,
        policies: &str,
        events: mpsc::UnboundedReceiver<Event>,
    ) -> Self {
        let mut installation = crate::targets::installation(&[target], settings, "");
        installation.rewrite(|text| text + policies);
        let gateway = installation.start();
        let channel = Channel::from_shared(gateway.url("")).unwrap().connect().await.unwrap();
        Self { installation, gateway, channel, events }
    }

    fn client(&self) -> HealthClient<Channel> {
        HealthClient::new(self.channel.clone())
    }

    /// Waits for the next event of an endless call.
    async fn event(&mut self) -> Event {
        tokio::time::timeout(TIMEOUT, self.events.recv()).await.expect("an event").unwrap()
    }
}

fn call(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.into() }
}

async fn assert_works(setup: &Setup) {
    let mut client = setup.client();
    assert_eq!(client.check(call("orders")).await.unwrap().into_inner(), serving());
    let missing = client.check(call("missing")).await.unwrap_err();
    assert_eq!((missing.code(), missing.message()), (Code::NotFound, "no such service: ä%"));

    let mut parts = client.watch(call("orders")).await.unwrap().into_inner();
    for _ in 0..2 {
        assert_eq!(parts.message().await.unwrap(), Some(serving()));
    }
    let lost = parts.message().await.unwrap_err();
    assert_eq!((lost.code(), lost.message()), (Code::DataLoss, "the third is lost"));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_have_the_messages_and_the_status_of_the_service() {
    assert_works(&setup("").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_work_over_tls() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let (router, events) = services();
    let service = TlsService::start(&authority.issue("localhost"), router).await;
    let ca = format!("tls.ca = \"{}\"", authority.write(folder.path()).display());
    let setup = Setup::new(&service.url("localhost"), &ca, "", events).await;
    assert_works(&setup).await;
    assert_eq!(service.handshakes().len(), 1);
}

/// Each message is sent only after the last one has come back.
#[tokio::test(flavor = "multi_thread")]
async fn messages_stream_in_both_directions() {
    let setup = setup("").await;
    let mut client = Grpc::new(setup.channel.clone());
    let (sender, messages) = mpsc::channel::<HealthCheckRequest>(1);
    let messages = stream::unfold(messages, async |mut messages| {
        messages.recv().await.map(|message| (message, messages))
    });
    sender.send(call("message 0")).await.unwrap();
    client.ready().await.unwrap();
    let codec = ProstCodec::<HealthCheckRequest, HealthCheckRequest>::default();
    let path = PathAndQuery::from_static("/chat.Chat/Chat");
    let mut answers = client.streaming(Request::new(messages), path, codec).await.unwrap().into_inner();
    for number in 0..10 {
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!(answer.service, format!("message {number}"));
        sender.send(call(&format!("message {}", number + 1))).await.unwrap();
    }
    drop(sender);
    assert_eq!(answers.message().await.unwrap().unwrap().service, "message 10");
    assert_eq!(answers.message().await.unwrap(), None);
}

/// Both sides are silent for longer than other requests and responses may be.
#[tokio::test(flavor = "multi_thread")]
async fn silent_call_stays_open() {
    let (router, _events) = services();
    let service = Service::start(router).await;
    let target = format!("h2c://{}", service.address);
    let limit = "limits.body_timeout = \"100ms\"";
    let installation = crate::targets::installation(&[&target], "read_timeout = \"100ms\"", limit);
    let gateway = installation.start();
    let channel = Channel::from_shared(gateway.url("")).unwrap().connect().await.unwrap();
    let mut client = Grpc::new(channel);
    let (sender, messages) = mpsc::channel::<HealthCheckRequest>(1);
    let messages = stream::unfold(messages, async |mut messages| {
        messages.recv().await.map(|message| (message, messages))
    });
    sender.send(call("first")).await.unwrap();
    client.ready().await.unwrap();
    let codec = ProstCodec::<HealthCheckRequest, HealthCheckRequest>::default();
    let path = PathAndQuery::from_static("/chat.Chat/Chat");
    let mut answers = client.streaming(Request::new(messages), path, codec).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().service, "first");
    // The time itself is what is tested.
    let silent = tokio::time::timeout(Duration::from_millis(600), answers.message()).await;
    assert!(silent.is_err(), "{silent:?}");
    sender.send(call("second")).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().service, "second");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_the_client_stream_to_the_service() {
    let setup = setup("").await;
    let mut client = Grpc::new(setup.channel.clone());
    client.ready().await.unwrap();
    let codec = ProstCodec::<HealthCheckRequest, HealthCheckRequest>::default();
    let path = PathAndQuery::from_static("/chat.Chat/Chat");
    let messages = stream::iter((0..1_000).map(|number| call(&number.to_string())));
    let mut answers = client.streaming(Request::new(messages), path, codec).await.unwrap().into_inner();
    for number in 0..1_000 {
        assert_eq!(answers.message().await.unwrap().unwrap().service, number.to_string());
    }
    assert_eq!(answers.message().await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn service_receives_the_timeout_of_a_call() {
    let setup = setup("").await;
    let mut request = Request::new(call("timeout"));
    request.set_timeout(Duration::from_secs(20));
    let status = setup.client().check(request).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Aborted, "20000000u"));
}

#[tokio::test(flavor = "multi_thread")]
async fn service_stops_when_the_client_cancels_the_call() {
    let mut setup = setup("").await;
    let mut client = setup.client();
    let running = tokio::spawn(async move { client.check(call("endless")).await });
    assert_eq!(setup.event().await, Event::Begins);
    running.abort();
    assert_eq!(setup.event().await, Event::Dropped);
    assert_works(&setup).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn service_stops_when_the_client_is_gone() {
    let mut setup = setup("").await;
    let channel = Channel::from_shared(setup.gateway.url("")).unwrap().connect().await.unwrap();
    let running = tokio::spawn(async move { HealthClient::new(channel).check(call("endless")).await });
    assert_eq!(setup.event().await, Event::Begins);
    // The channel is dropped together with the call.
    running.abort();
    assert_eq!(setup.event().await, Event::Dropped);
}

#[tokio::test(flavor = "multi_thread")]
async fn service_stops_at_the_deadline() {
    let mut setup = setup("").await;
    let mut request = Request::new(call("endless"));
    request.set_timeout(Duration::from_millis(300));
    let status = setup.client().check(request).await.unwrap_err();
    assert!(matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded), "{status}");
    assert_eq!((setup.event().await, setup.event().await), (Event::Begins, Event::Dropped));
}

#[tokio::test(flavor = "multi_thread")]
async fn service_that_does_not_respond_is_a_status() {
    let (router, mut events) = services();
    let service = Service::start(router).await;
    let (sender, unused) = mpsc::unbounded_channel();
    drop(sender);
    let target = format!("h2c://{}", service.address);
    let setup = Setup::new(&target, "read_timeout = \"300ms\"", "", unused).await;
    let status = setup.client().check(call("endless")).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert_eq!((events.recv().await, events.recv().await), (Some(Event::Begins), Some(Event::Dropped)));
    assert_works(&setup).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn denied_calls_have_a_status() {
    let setup = setup("api_key = true\nrate_limit = true\n").await;
    let mut client = setup.client();
    let status = client.check(call("orders")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let with_key = || {
        let mut request = Request::new(call("orders"));
        request.metadata_mut().insert("x-api-key", setup.installation.api_key.parse().unwrap());
        request
    };
    for _ in 0..2 {
        client.check(with_key()).await.unwrap();
    }
    let status = client.check(with_key()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let status = client.watch(with_key()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
}

#[tokio::test(flavor = "multi_thread")]
async fn absent_service_is_a_status() {
    let (_, events) = services();
    let setup = Setup::new(&format!("h2c://{}", free_address()), "", "", events).await;
    let status = setup.client().check(call("orders")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    logged(&setup.gateway, "connect: Connection refused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn service_without_http_2_is_a_status() {
    let service = crate::scripted::Scripted::answering(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let (_, events) = services();
    let setup = Setup::new(&format!("h2c://{}", service.address), "", "", events).await;
    let status = setup.client().check(call("orders")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
}
