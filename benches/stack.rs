//! Compares the cost of the Tower layer with the cost of other layers for similar work.
//!
//! The inner service responds immediately, so only the layers are measured. `bare` is that service alone. Ours is
//! `ApiKey` and `RateLimit`; theirs is a usual stack: tower-http's `ValidateRequestHeaderLayer` with a lookup of the
//! key's SHA-256 in a set behind a lock, and `tower_governor` with a limiter for each key. Theirs deny with a body of
//! a few words, ours with a problem. `hit`: a known caller within its limits; `miss`: an unknown key (401); `refuse`:
//! a caller whose limit is used up (429). The requests alternate between callers in an order that no prefetcher
//! predicts, and are created beforehand. As behind axum's server, they carry the client's address among their
//! extensions, and the service responds with a content type.
//!
//! With two threads, both send requests of all callers; the time is that of one request on the slower thread.
//!
//! Does not measure: servers, sockets, bodies, waiting. Ours works without its checks for ambiguous HTTP and for bodies,
//! without `RateLimit` and `RateLimit-Policy`, and leaves the key in the request, as theirs do; it puts an admission into
//! the extensions of the request, and adds `Cache-Control: private`, and theirs do neither. `defaults` is ours with all
//! of that. `layer` is ours without policies. `cargo bench` fills a million keys twice, which takes a minute.

use std::{
    collections::HashSet,
    convert::Infallible,
    future::{Future, Ready, ready},
    net::SocketAddr,
    pin::pin,
    sync::{Arc, RwLock},
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use axum::{body::Body, extract::ConnectInfo};
use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use governor::middleware::NoOpMiddleware;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Empty;
use portcullis::{
    policy::{ApiKey, RateLimit, RateLimitFields},
    tower::PortcullisLayer,
};
use portcullis_test::directory::DirectoryFixture;
use sha2::{Digest, Sha256};
use tower::{Layer, Service};
use tower_governor::{
    GovernorLayer,
    errors::GovernorError,
    governor::{GovernorConfig, GovernorConfigBuilder},
    key_extractor::KeyExtractor,
};
use tower_http::validate_request::{ValidateRequest, ValidateRequestHeaderLayer};

type BenchRequest = Request<Empty<Bytes>>;

/// A service that responds immediately.
#[derive(Clone)]
struct Inner;

impl<B> Service<Request<B>> for Inner {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        let mut response = Response::new(Body::empty());
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        ready(Ok(response))
    }
}

/// The known keys, as a service with `tower-http` would store them.
#[derive(Clone)]
struct KnownKeys(Arc<RwLock<HashSet<[u8; 32]>>>);

impl<B> ValidateRequest<B> for KnownKeys {
    type ResponseBody = Body;

    fn validate(&mut self, request: &mut Request<B>) -> Result<(), Response<Body>> {
        let key = request.headers().get("x-api-key").map(|key| Sha256::digest(key.as_bytes()).into());
        let known = key.is_some_and(|key: [u8; 32]| self.0.read().is_ok_and(|known| known.contains(&key)));
        if known { Ok(()) } else { Err(refusal(StatusCode::UNAUTHORIZED)) }
    }
}

fn refusal(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::from("refused"));
    *response.status_mut() = status;
    response
}

/// A limiter for each key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ByKey;

impl KeyExtractor for ByKey {
    type Key = String;

    fn extract<B>(&self, request: &Request<B>) -> Result<String, GovernorError> {
        let key = request.headers().get("x-api-key").and_then(|key| key.to_str().ok());
        key.map(str::to_owned).ok_or(GovernorError::UnableToExtractKey)
    }
}

/// Allows a million requests at once, or one a day for callers whose limit is to be used up.
fn governed(period: Duration, burst: u32) -> GovernorConfig<ByKey, NoOpMiddleware> {
    let mut config = GovernorConfigBuilder::default().key_extractor(ByKey);
    config.period(period).burst_size(burst).finish().expect("a valid limiter")
}

/// Keys of known callers within their limits, of unknown callers, and of callers whose limit is used up.
struct Keys {
    known: Vec<String>,
    unknown: Vec<String>,
    spent: Vec<String>,
}

fn keys(world: &DirectoryFixture, size: usize) -> Keys {
    let ample = world.plan("ample", &[("second", u32::MAX, 1)]);
    let tiny = world.plan("tiny", &[("day", 1, 86_400)]);
    let elsewhere = DirectoryFixture::new();
    Keys {
        known: (0..size).map(|_| world.key_on(&ample)).collect(),
        unknown: (0..size.min(4_096)).map(|_| elsewhere.key()).collect(),
        spent: (0..size.min(4_096)).map(|_| world.key_on(&tiny)).collect(),
    }
}

fn request(key: &str) -> BenchRequest {
    let request = Request::put("/orders/7/lines?page=2")
        .header("host", "api.example.com")
        .header("user-agent", "client/1.0")
        .header("accept", "application/json")
        .header("content-type", "application/json")
        .header("x-request-id", "0f3d6a52-7c1e-4d55-9a30-3c1f7d1f6f11")
        .header("x-api-key", key)
        .extension(ConnectInfo(SocketAddr::from(([192, 0, 2, 7], 50_000))));
    request.body(Empty::new()).expect("a valid request")
}

fn answer<S: Service<BenchRequest>>(service: &mut S, request: BenchRequest) -> bool {
    let answered = pin!(service.call(request)).poll(&mut Context::from_waker(Waker::noop()));
    matches!(answered, Poll::Ready(Ok(_)))
}

/// Returns the time of `rounds` requests on the slowest thread; requests are created beforehand.
fn timed<S: Service<BenchRequest> + Clone + Send + Sync>(
    service: &S,
    keys: &[String],
    threads: usize,
    rounds: u64,
) -> Duration {
    const BATCH: usize = 64;
    let one = |thread: usize| {
        let mut service = service.clone();
        let (mut at, mut left, mut spent) = (thread * 7_919, rounds, Duration::ZERO);
        while left > 0 {
            let size = BATCH.min(usize::try_from(left).unwrap_or(BATCH));
            let requests: Vec<_> = (0..size)
                .map(|_| {
                    // A prime step visits all keys in an order that no prefetcher predicts.
                    at = (at + 611_953) % keys.len();
                    request(&keys[at])
                })
                .collect();
            let start = Instant::now();
            for request in requests {
                assert!(answer(&mut service, request), "an answer at once");
            }
            spent += start.elapsed();
            left -= size as u64;
        }
        spent
    };
    thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|thread| scope.spawn(move || one(thread))).collect();
        all.into_iter().map(|thread| thread.join().expect("no panic")).max().unwrap_or_default()
    })
}

fn compare(criterion: &mut Criterion) {
    let benching = std::env::args().any(|argument| argument == "--bench");
    let sizes: &[usize] = if benching { &[1, 10_000, 1_000_000] } else { &[2] };
    for size in sizes {
        let world = DirectoryFixture::new();
        let Keys { known, unknown, spent } = keys(&world, *size);
        let without = RateLimitFields { ietf_draft_10: false, x_ratelimit: false };
        let key = || ApiKey::new(world.directory.clone());
        let plain = PortcullisLayer::new((key().forward_credential(), RateLimit::new().fields(without)));
        let ours = plain.without_strict_http().pass_through().layer(Inner);
        let defaults = PortcullisLayer::new((key(), RateLimit::new())).layer(Inner);
        let layer = PortcullisLayer::new(()).without_strict_http().pass_through().layer(Inner);
        let digests = known.iter().chain(&spent).map(|key| Sha256::digest(key.as_bytes()).into()).collect();
        let auth = ValidateRequestHeaderLayer::custom(KnownKeys(Arc::new(RwLock::new(digests))));
        let limited = |config| auth.layer(GovernorLayer::new(config).layer(Inner));
        let theirs = limited(governed(Duration::from_nanos(1), u32::MAX));
        let theirs_spent = limited(governed(Duration::from_secs(86_400), 1));
        for key in &spent {
            answer(&mut ours.clone(), request(key));
            answer(&mut theirs_spent.clone(), request(key));
        }
        for threads in [1, 2] {
            let mut group = criterion.benchmark_group(format!("stack/{size} callers/{threads} threads"));
            let mut case = |name: &str, run: &dyn Fn(u64) -> Duration| {
                group.bench_function(name, |bencher| bencher.iter_custom(run));
            };
            case("bare", &|rounds| timed(&Inner, &known, threads, rounds));
            case("hit: ours", &|rounds| timed(&ours, &known, threads, rounds));
            case("hit: defaults", &|rounds| timed(&defaults, &known, threads, rounds));
            case("layer", &|rounds| timed(&layer, &known, threads, rounds));
            case("hit: theirs", &|rounds| timed(&theirs, &known, threads, rounds));
            case("miss: ours", &|rounds| timed(&ours, &unknown, threads, rounds));
            case("miss: theirs", &|rounds| timed(&theirs, &unknown, threads, rounds));
            case("refuse: ours", &|rounds| timed(&ours, &spent, threads, rounds));
            case("refuse: theirs", &|rounds| timed(&theirs_spent, &spent, threads, rounds));
        }
    }
}

criterion_group!(benches, compare);
criterion_main!(benches);
