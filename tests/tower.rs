//! The Tower face from the user's view: layers that stack, policies that wait, bodies that stream.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

use std::{
    convert::Infallible,
    future::{Future, Ready, pending, ready},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::{Extension, Router, body::Body, routing::get};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use portcullis::{
    Admission, Head, Policy, Stop,
    model::{LockedRequests, PlanId},
    policy::{Accept, ApiKey, BodyLimit, RateLimit, RequireUnlocked},
    problem::DenialCode,
    tower::{Denied, PassThrough, PolicyLayer, PortcullisLayer, Unserved},
};
use portcullis_test::directory::DirectoryFixture;
use tokio::sync::mpsc;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

fn request(method: &str, key: &str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri("/x").header("x-api-key", key);
    request.body(Full::default()).unwrap()
}

fn layer<P: Policy>(world: &DirectoryFixture, policy: P) -> PortcullisLayer<P, PassThrough> {
    PortcullisLayer::new(policy).clock(world.clock.clone()).pass_through().expose_admission()
}

/// Returns a layer inside another one that identifies the caller.
fn inner<P: Policy>(world: &DirectoryFixture, policy: P) -> PortcullisLayer<P, PassThrough> {
    policy.into_layer().clock(world.clock.clone()).pass_through().expose_admission()
}

/// Responds with what the policies stored in the admission.
async fn tells(request: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let admission = request.extensions().get::<Admission>().expect("the admission is there");
    let left: Vec<_> = admission.remaining().map(|(limit, spent)| (limit, spent.remaining)).collect();
    let media_type = admission.media_type().map(ToString::to_string);
    let key = request.headers().contains_key("x-api-key");
    let says = format!("{} {media_type:?} {left:?} {key}", admission.caller().is_some());
    Ok(Response::new(Full::from(says)))
}

async fn text<B: http_body::Body<Data = Bytes>>(response: Response<B>) -> String
where
    B::Error: std::fmt::Debug,
{
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Polls a future once, without waking it later.
fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Waits for a future at its first evaluation, and admits afterwards.
struct Waits<F> {
    on: F,
    asked: AtomicU32,
}

impl<F> Waits<F> {
    fn on(on: F) -> Self {
        Self { on, asked: AtomicU32::new(0) }
    }
}

impl<F, T> Policy for Waits<F>
where
    F: Fn() -> T + Send + Sync,
    T: Future<Output = ()> + Send + 'static,
{
    fn admit(&self, _: &Head<'_>, _: &mut Admission) -> Result<(), Stop> {
        match self.asked.fetch_add(1, Ordering::SeqCst) {
            0 => Err(Stop::Wait(Box::pin((self.on)()))),
            _ => Ok(()),
        }
    }
}

/// Creates a caller on a plan of two requests per minute.
fn two_a_minute(world: &DirectoryFixture) -> (PlanId, String) {
    let plan = world.plan("small", &[("minute", 2, 60)]);
    let key = world.key_on(&plan);
    (plan, key)
}

// ----------------------------------------------------------------------------------------- stacking

#[tokio::test]
async fn single_policy_layers_share_the_admission() {
    let world = DirectoryFixture::new();
    let (_, key) = two_a_minute(&world);
    let service = ServiceBuilder::new()
        .layer(layer(&world, Accept::new(["application/json"]).unwrap()))
        .layer(layer(&world, ApiKey::new(world.directory.clone())))
        .layer(layer(&world, RequireUnlocked::new(world.directory.clone())))
        .layer(inner(&world, RateLimit::new()))
        .service(service_fn(tells));
    let response = service.clone().oneshot(request("GET", &key)).await.unwrap();
    assert_eq!(response.headers()["vary"], "accept");
    assert_eq!(response.headers()["ratelimit"], "\"minute\";r=1;t=30");
    assert!(response.extensions().get::<Admission>().unwrap().caller().is_some());
    assert_eq!(text(response).await, "true Some(\"application/json\") [(\"minute\", 1)] false");

    let response = service.oneshot(request("GET", "junk")).await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers().get_all("vary").iter().count(), 1);
    let denied = response.extensions().get::<Denied>().map(|denied| denied.denial().code());
    assert_eq!(denied, Some("credential-malformed"));
    assert_eq!(response.extensions().get(), Some(&DenialCode("credential-malformed")));
}

/// The lock denies a request that the rate limit had admitted: in one chain, and in two layers.
#[tokio::test]
async fn inner_denial_refunds_outer_permits() {
    let world = DirectoryFixture::new();
    let directory = || world.directory.clone();
    let chain = ServiceBuilder::new()
        .layer(layer(&world, (ApiKey::new(directory()), RateLimit::new(), RequireUnlocked::new(directory()))))
        .service(service_fn(tells));
    let stack = ServiceBuilder::new()
        .layer(layer(&world, (ApiKey::new(directory()), RateLimit::new())))
        .layer(layer(&world, RequireUnlocked::new(directory())))
        .service(service_fn(tells));
    for chained in [true, false] {
        let (_, key) = two_a_minute(&world);
        let send = async |method| {
            let request = request(method, &key);
            if chained {
                chain.clone().oneshot(request).await.unwrap().map(Body::new)
            } else {
                stack.clone().oneshot(request).await.unwrap().map(Body::new)
            }
        };
        let lock = world.lock_path("/x", LockedRequests::Writes, Duration::from_secs(60));
        for _ in 0..5 {
            let refused = send("PUT").await;
            assert_eq!(refused.status(), 423);
            assert!(!refused.headers().contains_key("ratelimit"), "what was given back is not spent");
        }
        world.unlock(lock);
        let statuses = [send("PUT").await, send("PUT").await, send("PUT").await].map(|it| it.status());
        assert_eq!(statuses, [StatusCode::OK, StatusCode::OK, StatusCode::TOO_MANY_REQUESTS]);
    }
}

/// Responses of the inner service never refund: only a denial by a policy does.
#[tokio::test]
async fn error_of_the_inner_service_is_charged() {
    let world = DirectoryFixture::new();
    let (_, key) = two_a_minute(&world);
    let service = ServiceBuilder::new()
        .layer(layer(&world, (ApiKey::new(world.directory.clone()), RateLimit::new())))
        .service(service_fn(async |_| {
            let response = Response::builder().status(423).body(Full::<Bytes>::default());
            Ok::<_, Infallible>(response.unwrap())
        }));
    let first = service.clone().oneshot(request("GET", &key)).await.unwrap();
    assert_eq!(first.headers()["ratelimit"], "\"minute\";r=1;t=30");
    let second = service.clone().oneshot(request("GET", &key)).await.unwrap();
    assert_eq!(
        (second.status().as_u16(), &second.headers()["ratelimit"]),
        (423, &"\"minute\";r=0;t=30".parse().unwrap())
    );
    assert_eq!(service.oneshot(request("GET", &key)).await.unwrap().status(), 429);
}

/// For example the 502 of a proxy: neither layer charges for a request that no service served.
#[tokio::test]
async fn unserved_request_is_not_charged() {
    let world = DirectoryFixture::new();
    let (_, key) = two_a_minute(&world);
    let service = ServiceBuilder::new()
        .layer(layer(&world, (ApiKey::new(world.directory.clone()), RateLimit::new())))
        .layer(layer(&world, Accept::new(["application/json"]).unwrap()))
        .service(service_fn(async |_| {
            let response = Response::builder().status(502).extension(Unserved).body(Full::<Bytes>::default());
            Ok::<_, Infallible>(response.unwrap())
        }));
    for _ in 0..5 {
        let response = service.clone().oneshot(request("GET", &key)).await.unwrap();
        assert_eq!(response.status(), 502);
        assert!(!response.headers().contains_key("ratelimit"), "what was given back is not spent");
    }
}

#[tokio::test]
async fn authenticated_response_is_private_by_default() {
    let world = DirectoryFixture::new();
    let (_, key) = two_a_minute(&world);
    for (field, expected, vary) in [
        (None, "private", false),
        (Some(("cache-control", "no-store")), "no-store", false),
        (Some(("cache-control", "no-cache")), "no-cache", false),
        (Some(("cache-control", "max-age=60")), "max-age=60", true),
        (Some(("expires", "0")), "", true),
        (Some(("cache-control", "no-transform")), "no-transform, private", false),
        (Some(("cdn-cache-control", "max-age=60")), "private", true),
        (Some(("surrogate-control", "max-age=60")), "private", true),
    ] {
        let service = ServiceBuilder::new()
            .layer(layer(&world, ApiKey::new(world.directory.clone())))
            .service(service_fn(move |_| {
                let mut response = Response::new(Full::<Bytes>::default());
                field.map(|(name, value)| response.headers_mut().insert(name, value.parse().unwrap()));
                std::future::ready(Ok::<_, Infallible>(response))
            }));
        let response = service.oneshot(request("GET", &key)).await.unwrap();
        let caching = response.headers().get_all("cache-control").iter().map(|value| value.to_str().unwrap());
        let caching = caching.collect::<Vec<_>>().join(", ");
        assert_eq!((&*caching, response.headers().contains_key("vary")), (expected, vary), "{field:?}");
    }
}

// ------------------------------------------------------------------------------------------ waiting

#[tokio::test]
async fn waiting_policy_is_asked_again_and_earlier_ones_are_not() {
    let world = DirectoryFixture::new();
    let (_, key) = two_a_minute(&world);
    let gate = Arc::new(tokio::sync::Notify::new());
    let opens = gate.clone();
    let waits = Arc::new(Waits::on(move || {
        let opens = opens.clone();
        async move { opens.notified().await }
    }));
    let before = Arc::new(Waits::on(|| ready(())));
    before.asked.store(1, Ordering::SeqCst); // it has waited already
    let policies = (before.clone(), ApiKey::new(world.directory.clone()), RateLimit::new(), waits.clone());
    let service = layer(&world, policies).layer(service_fn(tells));
    let mut response = pin!(service.oneshot(request("GET", &key)));
    assert!(poll_once(response.as_mut()).is_pending());
    gate.notify_one();
    let response = response.await.unwrap();
    assert_eq!(response.headers()["ratelimit"], "\"minute\";r=1;t=30");
    assert_eq!(before.asked.load(Ordering::SeqCst), 2);
    assert_eq!(waits.asked.load(Ordering::SeqCst), 2);
    assert!(text(response).await.starts_with("true"));
}

#[tokio::test]
async fn client_that_leaves_during_a_wait_is_not_charged() {
    let world = DirectoryFixture::new();
    let (_, key) = two_a_minute(&world);
    let api_key = || ApiKey::new(world.directory.clone());
    let patient = layer(&world, (api_key(), RateLimit::new(), Waits::on(pending))).layer(service_fn(tells));
    let limited = layer(&world, (api_key(), RateLimit::new())).layer(service_fn(tells));
    {
        let mut leaves = pin!(patient.oneshot(request("GET", &key)));
        assert!(poll_once(leaves.as_mut()).is_pending());
        let meanwhile = limited.clone().oneshot(request("GET", &key)).await.unwrap();
        assert_eq!(meanwhile.headers()["ratelimit"], "\"minute\";r=0;t=30", "held while it waits");
    }
    let after = limited.clone().oneshot(request("GET", &key)).await.unwrap();
    assert_eq!(after.status(), 200, "given back when it left");
    assert_eq!(limited.oneshot(request("GET", &key)).await.unwrap().status(), 429);
}

#[tokio::test]
async fn denial_after_a_wait_refunds() {
    let world = DirectoryFixture::new();
    let (_, key) = two_a_minute(&world);
    world.lock_path("/x", LockedRequests::Writes, Duration::from_secs(60));
    let api_key = || ApiKey::new(world.directory.clone());
    let waits = Waits::on(|| ready(()));
    let policies = (api_key(), RateLimit::new(), waits, RequireUnlocked::new(world.directory.clone()));
    let locked = layer(&world, policies).layer(service_fn(tells));
    assert_eq!(locked.oneshot(request("PUT", &key)).await.unwrap().status(), 423);
    let limited = layer(&world, (api_key(), RateLimit::new())).layer(service_fn(tells));
    let response = limited.oneshot(request("PUT", &key)).await.unwrap();
    assert_eq!(response.headers()["ratelimit"], "\"minute\";r=1;t=30");
}

// ---------------------------------------------------------------------------------------- readiness

/// A service that is ready when `open`, and counts its calls. A call without previous readiness is an error, and
/// readiness is not inherited by a clone.
#[derive(Default)]
struct Shy {
    open: Arc<AtomicBool>,
    calls: Arc<AtomicU32>,
    said_ready: bool,
}

impl Clone for Shy {
    fn clone(&self) -> Self {
        Self { open: self.open.clone(), calls: self.calls.clone(), said_ready: false }
    }
}

impl Service<Request<Full<Bytes>>> for Shy {
    type Response = Response<Full<Bytes>>;
    type Error = &'static str;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.said_ready = self.open.load(Ordering::SeqCst);
        if self.said_ready { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let ready_for_it = std::mem::take(&mut self.said_ready);
        ready(if ready_for_it { Ok(Response::default()) } else { Err("called before it was ready") })
    }
}

#[tokio::test]
async fn guarded_service_is_ready_with_the_inner_service() {
    let shy = Shy::default();
    let mut service = PortcullisLayer::new(()).pass_through().layer(shy.clone());
    let poll = |service: &mut _| {
        Service::<Request<Full<Bytes>>>::poll_ready(service, &mut Context::from_waker(Waker::noop()))
    };
    assert!(poll(&mut service).is_pending());
    shy.open.store(true, Ordering::SeqCst);
    assert!(poll(&mut service).is_ready());
    assert!(service.call(request("GET", "")).await.is_ok());
}

/// The instance that reported readiness is called, even if a policy waits in between.
#[tokio::test]
async fn ready_service_waits_with_the_request() {
    let shy = Shy::default();
    shy.open.store(true, Ordering::SeqCst);
    let mut service =
        PortcullisLayer::new(Waits::on(tokio::task::yield_now)).pass_through().layer(shy.clone());
    for _ in 0..2 {
        assert_eq!(service.ready().await.unwrap().call(request("GET", "")).await.unwrap().status(), 200);
    }
    assert_eq!(shy.calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn denied_request_does_not_reach_the_inner_service() {
    let world = DirectoryFixture::new();
    let shy = Shy::default();
    shy.open.store(true, Ordering::SeqCst);
    let service = layer(&world, ApiKey::new(world.directory.clone())).layer(shy.clone());
    assert_eq!(service.oneshot(request("GET", "junk")).await.unwrap().status(), 401);
    assert_eq!(shy.calls.load(Ordering::SeqCst), 0);
}

// ------------------------------------------------------------------------------------------- bodies

/// A body whose frames are sent while it is read.
struct Frames(mpsc::UnboundedReceiver<Frame<Bytes>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

/// The layer itself removes the body of a response to HEAD: an HTTP/2 server would send it.
#[tokio::test]
async fn denial_of_head_has_a_content_length_and_no_content() {
    let world = DirectoryFixture::new();
    let layer = layer(&world, ApiKey::new(world.directory.clone()));
    let service = layer.layer(service_fn(tells));
    for (method, length) in [("GET", Some(165)), ("HEAD", Some(0))] {
        let response = service.clone().oneshot(request(method, "guess")).await.unwrap();
        assert_eq!((response.status().as_u16(), &response.headers()["content-length"]), (401, &165.into()));
        assert_eq!(http_body::Body::size_hint(response.body()).exact(), length, "{method}");
        assert_eq!(http_body::Body::is_end_stream(response.body()), method == "HEAD");
    }
}

/// The inner service returns the request body, so both directions are tested.
#[tokio::test]
async fn bodies_stream_frame_by_frame_in_both_directions() {
    let service =
        PortcullisLayer::new(()).pass_through().layer(service_fn(async |request: Request<Frames>| {
            Ok::<_, Infallible>(Response::new(request.into_body()))
        }));
    let (writer, frames) = mpsc::unbounded_channel();
    let response = service.oneshot(Request::new(Frames(frames))).await.unwrap();
    let mut body = pin!(response.into_body());
    for part in ["one", "two"] {
        assert!(poll_once(pin!(body.frame())).is_pending());
        writer.send(Frame::data(Bytes::from(part))).unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), part);
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("checksum", 7.into());
    writer.send(Frame::trailers(trailers.clone())).unwrap();
    assert_eq!(body.frame().await.unwrap().unwrap().into_trailers().unwrap(), trailers);
    drop(writer);
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn body_length_is_preserved() {
    let service =
        PortcullisLayer::new(()).pass_through().layer(service_fn(async |_: Request<Full<Bytes>>| {
            Ok::<_, Infallible>(Response::new(Full::from("four")))
        }));
    let response = service.oneshot(Request::default()).await.unwrap();
    assert_eq!(http_body::Body::size_hint(response.body()).exact(), Some(4));
}

// --------------------------------------------------------------------------------------------- axum

/// Returns a request whose body has no announced length and arrives in pieces.
fn unannounced(pieces: &[&'static str]) -> Request<axum::body::Body> {
    let (writer, frames) = mpsc::unbounded_channel();
    for piece in pieces {
        writer.send(Frame::data(Bytes::from(*piece))).unwrap();
    }
    Request::post("/").body(axum::body::Body::new(Frames(frames))).unwrap()
}

#[tokio::test]
async fn content_without_a_length_is_counted_on_arrival() {
    use axum::routing::post;
    use http_body_util::Limited;

    let whole = async |body: Bytes| body;
    // A handler that reads the body itself and ignores errors.
    let started = async |body: axum::body::Body| {
        let read = Limited::new(body, 100).collect().await.is_ok();
        if read { "all" } else { "a part" }
    };
    for route in [post(whole), post(started)] {
        let limit = PortcullisLayer::new(BodyLimit::new(5));
        let app = Router::new().route("/", route).layer(limit);
        let response = app.clone().oneshot(unannounced(&["ab", "cde"])).await.unwrap();
        assert_eq!(response.status(), 200);
        let response = app.oneshot(unannounced(&["ab", "cde", "f"])).await.unwrap();
        assert_eq!(response.status(), 413);
        assert_eq!(response.extensions().get::<DenialCode>().map(|code| code.0), Some("content-too-large"));
        assert!(text(response).await.contains("content-too-large"));
    }
}

/// Such a layer could not count the bytes.
#[tokio::test]
async fn pass_through_layer_rejects_unannounced_content() {
    let app = Router::new().route("/", axum::routing::post(async || "served"));
    let app = app.layer(PortcullisLayer::new(BodyLimit::new(5)).pass_through());
    let announced = Request::post("/").body(axum::body::Body::from("abc")).unwrap();
    assert_eq!(app.clone().oneshot(announced).await.unwrap().status(), 200);
    assert_eq!(app.oneshot(unannounced(&["abc"])).await.unwrap().status(), 413);
}

/// The example of the README, on a real socket.
#[tokio::test]
async fn axum_service_is_guarded_by_one_layer() {
    async fn orders(Extension(admission): Extension<Admission>) -> String {
        format!("the orders of {}", admission.caller().map_or("nobody", |caller| &caller.name))
    }
    let world = DirectoryFixture::new();
    let (_, key) = two_a_minute(&world);
    let policies = (
        Accept::new(["text/plain"]).unwrap(),
        ApiKey::new(world.directory.clone()),
        RequireUnlocked::new(world.directory.clone()),
        RateLimit::new(),
    );
    let app = Router::new().route("/orders", get(orders)).layer(layer(&world, policies));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/orders", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });

    // rustls needs a crypto provider; another test of this process may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let get = async |fields: &[(&str, &str)]| {
        let request =
            fields.iter().fold(client.get(&url), |request, (name, value)| request.header(*name, *value));
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.headers().clone(), response.text().await.unwrap())
    };
    let (status, fields, body) = get(&[("x-api-key", &key)]).await;
    assert_eq!((status, &*body), (200, "the orders of example.com/dev"));
    assert_eq!(fields["ratelimit-policy"], "\"minute\";q=2;w=60");
    let (status, fields, _) = get(&[]).await;
    assert_eq!(status, 401);
    assert!(fields["www-authenticate"].to_str().unwrap().contains("header=\"x-api-key\""));
    assert_eq!(get(&[("x-api-key", &key), ("accept", "image/png")]).await.0, 406);
    assert_eq!(get(&[("x-api-key", &key)]).await.0, 200);
    let (status, fields, _) = get(&[("x-api-key", &key)]).await;
    assert_eq!((status, &fields["retry-after"]), (429, &30.into()));
    world.clock.advance(Duration::from_secs(30));
    assert_eq!(get(&[("x-api-key", &key)]).await.0, 200);
}
