//! Equality of the Tower face and the `ProxyHttp` face: every denial and every kind of admission is sent through
//! both over HTTP/1.1, and status, headers and bodies are compared.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

mod pingora_server;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    net::SocketAddr,
    num::NonZeroU32,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    task::Poll,
    time::Duration,
};

use async_trait::async_trait;
use axum::{Router, response::IntoResponse};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use pingora::{
    http::{RequestHeader, ResponseHeader},
    prelude::HttpPeer,
    proxy::{ProxyHttp, Session},
};
use pingora_server::serve_pingora;
use portcullis::{
    Admission, Denial, Head, Policy, Stop,
    denial::{FieldError, Forbidden, Unauthenticated},
    limit::{LimitExceeded, LimitedBy},
    model::{
        Access, CallerKind, LockTarget, LockedRequests, Period, PlanId, Scope, Scopes, SealKey, Sealer,
        Status, TimeUnit,
    },
    pingora::PingoraGate,
    policy::{self, Accept, ApiKey, ContentType, RateLimit, RateLimitFields, Signature, StrictHttp},
    problem::{Problem, RenderDenial, RenderedDenial},
    tower::PortcullisLayer,
};
use portcullis_test::directory::DirectoryFixture;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Timeout of every single step.
const DEADLINE: Duration = Duration::from_secs(30);
const FORMATS: [Format; 3] = [Format::Problem, Format::Text, Format::PerRequest];

/// Headers in which the two servers differ: `date` is the time of the response; Pingora writes `connection` in
/// every response, hyper only if it is not the default. All other headers are equal.
const HOP_FIELDS: [HeaderName; 2] = [header::DATE, header::CONNECTION];

// ------------------------------------------------------------------------------------- error formats

/// An error format in which the faces deny.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Problem,
    /// Text that no cache stores.
    Text,
    /// Text for requests with a key in `Authorization`, and otherwise a contract that has no 423 and no 429.
    PerRequest,
}

impl RenderDenial for Format {
    fn render(&self, denial: &Denial) -> RenderedDenial {
        let text = |body: String| RenderedDenial::new(HeaderValue::from_static("text/plain"), body);
        match self {
            Self::Problem => Problem.render(denial),
            Self::Text => text(denial.detail().into_owned()).no_store(),
            Self::PerRequest => {
                let status = match denial {
                    Denial::Locked { .. } => StatusCode::FORBIDDEN,
                    Denial::RateLimited { .. } => StatusCode::INTERNAL_SERVER_ERROR,
                    _ => denial.status(),
                };
                text(denial.code().to_owned()).with_status(status)
            }
        }
    }

    fn for_request(&self, head: &Head<'_>, _: &Admission) -> Option<&dyn RenderDenial> {
        let is_text = *self == Self::PerRequest && head.headers.contains_key(header::AUTHORIZATION);
        is_text.then_some(&Self::Text)
    }
}

// ------------------------------------------------------------------------------------------ policies

/// Selects a chain by the first segment of the path, like a gateway's routes.
struct Routes(BTreeMap<&'static str, Box<dyn Policy>>);

impl Policy for Routes {
    fn admit(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        let route = head.uri.path().split('/').nth(1).unwrap_or_default();
        self.0.get(route).unwrap_or_else(|| panic!("no route {route}")).admit(head, admission)
    }

    fn steps(&self) -> u32 {
        self.0.values().map(Policy::steps).max().unwrap_or_default()
    }
}

/// Denies with the denial of [`every_denial`] whose index is the last segment of the path.
struct Denies(Vec<Denial>);

impl Policy for Denies {
    fn admit(&self, head: &Head<'_>, _: &mut Admission) -> Result<(), Stop> {
        let at: usize = head.uri.path().rsplit('/').next().unwrap().parse().unwrap();
        Err(self.0[at].clone().into())
    }
}

/// Counts its evaluations.
#[derive(Default)]
struct Counts(AtomicU32);

impl Policy for Counts {
    fn admit(&self, _: &Head<'_>, _: &mut Admission) -> Result<(), Stop> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// Waits at its first two evaluations.
#[derive(Default)]
struct WaitsTwice(Counts);

impl Policy for WaitsTwice {
    fn admit(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        self.0.admit(head, admission)?;
        if self.0.0.load(Ordering::SeqCst) > 2 { Ok(()) } else { Err(Stop::Wait(Box::pin(one_turn()))) }
    }
}

/// A future that is ready at the second poll.
async fn one_turn() {
    let mut polled = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut polled, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Returns one denial of each variant. The match ensures that a new variant is not forgotten.
fn every_denial() -> Vec<Denial> {
    let world = DirectoryFixture::new();
    let lock = world.lock_path("/x", LockedRequests::All, Duration::from_millis(1_500));
    let text = "a reason with \"quotes\" and é";
    let list = HeaderValue::from_static("text/csv, text/html");
    let wrong = Box::new([FieldError { pointer: "#/a~1b/0".into(), line: None, detail: text.into() }]);
    let denials = vec![
        Denial::bad_request(text),
        Denial::Unauthenticated { cause: Unauthenticated::Unknown, challenge: list.clone() },
        Denial::PaymentRequired { detail: text.into() },
        Denial::Forbidden(Forbidden::WrongCallerKind),
        Denial::NotFound,
        Denial::MethodNotAllowed { allow: HeaderValue::from_static("GET, PUT") },
        Denial::NotAcceptable { available: ["text/csv", "text/html"].map(|it| it.parse().unwrap()).into() },
        Denial::Conflict { detail: text.into() },
        Denial::ContentTooLarge { limit: 9 },
        Denial::UnsupportedMediaType { taken: list.clone(), method: http::Method::POST },
        Denial::UnsupportedCoding { taken: list },
        Denial::Unprocessable { detail: text.into() },
        Denial::Locked { lock: lock.into(), now: world.now() },
        Denial::RateLimited { violated: ["a".into(), "b".into()].into_iter().collect(), retry_after: 7 },
        Denial::internal("for the log"),
        Denial::NotImplemented { detail: text.into() },
        Denial::BadGateway { inside: "for the log".into() },
        Denial::unavailable(text, 3),
        Denial::GatewayTimeout { inside: "for the log".into() },
        Denial::RequestTimeout,
        Denial::TargetTooLong { limit: 8_192 },
        Denial::HeadTooLarge { limit: 32_768 },
        Denial::InvalidShape { wrong: wrong.clone() },
        Denial::InvalidValues { wrong },
        Denial::PreconditionFailed { detail: text.into() },
        Denial::PreconditionRequired { detail: text.into() },
        Denial::Exhausted(LimitExceeded {
            by: LimitedBy::Quota,
            limit: 5,
            period: Period { interval: NonZeroU32::MIN, unit: TimeUnit::Minute },
            retry_after: 7,
        }),
        Denial::Misdirected { detail: text.into() },
        Denial::Maintenance { is_locked: true, detail: text.into(), retry_after: 7 },
    ];
    let place = |denial: &Denial| match denial {
        Denial::BadRequest { .. } => 0,
        Denial::Unauthenticated { .. } => 1,
        Denial::PaymentRequired { .. } => 2,
        Denial::Forbidden(_) => 3,
        Denial::NotFound => 4,
        Denial::MethodNotAllowed { .. } => 5,
        Denial::NotAcceptable { .. } => 6,
        Denial::Conflict { .. } => 7,
        Denial::ContentTooLarge { .. } => 8,
        Denial::UnsupportedMediaType { .. } => 9,
        Denial::UnsupportedCoding { .. } => 10,
        Denial::Unprocessable { .. } => 11,
        Denial::Locked { .. } => 12,
        Denial::RateLimited { .. } => 13,
        Denial::Internal { .. } => 14,
        Denial::NotImplemented { .. } => 15,
        Denial::BadGateway { .. } => 16,
        Denial::Unavailable { .. } => 17,
        Denial::GatewayTimeout { .. } => 18,
        Denial::RequestTimeout => 19,
        Denial::TargetTooLong { .. } => 20,
        Denial::HeadTooLarge { .. } => 21,
        Denial::InvalidShape { .. } => 22,
        Denial::InvalidValues { .. } => 23,
        Denial::PreconditionFailed { .. } => 24,
        Denial::PreconditionRequired { .. } => 25,
        Denial::Exhausted(_) => 26,
        Denial::Misdirected { .. } => 27,
        Denial::Maintenance { .. } => 28,
    };
    assert!(denials.iter().map(place).eq(0..29));
    denials
}

/// The policies of one face in one format that count. The directory and the clock are those of the fixture.
#[derive(Default)]
struct Counted {
    before: Arc<Counts>,
    waits: Arc<WaitsTwice>,
}

fn routes(world: &DirectoryFixture, counted: &Counted) -> Arc<Routes> {
    let directory = &world.directory;
    let api_key = || ApiKey::new(directory.clone()).realm("orders");
    let json = || ContentType::new(["application/json", "application/*+json"]).unwrap();
    let accept = Accept::new(["application/json", "text/csv"]).unwrap();
    let lock = || policy::RequireUnlocked::new(directory.clone());
    let all_fields = RateLimitFields { ietf_draft_10: true, x_ratelimit: true };
    let sealer = Arc::new(Sealer::new(SealKey::new(1, &[7; 32])));
    let signature = || Signature::new(directory.clone(), sealer.clone()).realm("orders");
    let routes: [(_, Box<dyn Policy>); 11] = [
        ("signed", Box::new(signature())),
        ("either", Box::new(signature().or(api_key()))),
        ("open", Box::new((StrictHttp::new(), api_key()))),
        ("strict", Box::new(StrictHttp::new())),
        ("operators", Box::new(api_key().caller_kinds(&["operator"]))),
        ("orders", Box::new((api_key(), policy::RequireScope::new("orders")))),
        ("formats", Box::new((json().codings(["gzip"]), accept, api_key()))),
        ("locked", Box::new((api_key(), lock()))),
        ("limited", Box::new((api_key(), RateLimit::new().fields(all_fields)))),
        ("denied", Box::new((api_key(), RateLimit::new(), Denies(every_denial())))),
        (
            "waits",
            Box::new((counted.before.clone(), (api_key(), RateLimit::new()), counted.waits.clone(), lock())),
        ),
    ];
    Arc::new(Routes(routes.into_iter().collect()))
}

// ------------------------------------------------------------------------------------------- servers

/// An upstream that responds with the request line, sets `vary` itself, and records every head.
#[derive(Clone, Default)]
struct Origin(Arc<Mutex<Vec<HeaderMap>>>);

impl Origin {
    fn app(&self) -> Router {
        let seen = self.0.clone();
        Router::new().fallback(async move |request: axum::extract::Request| {
            let (parts, body) = request.into_parts();
            let content = body.collect().await.unwrap().to_bytes();
            let says = format!("{} {} {} bytes", parts.method, parts.uri.path(), content.len());
            seen.lock().unwrap().push(parts.headers);
            let fields = [("vary", "Accept-Encoding"), ("x-origin", "1"), ("x-origin", "2")];
            (StatusCode::CREATED, axum::response::AppendHeaders(fields), says).into_response()
        })
    }

    fn seen(&self) -> Vec<HeaderMap> {
        self.0.lock().unwrap().clone()
    }
}

async fn serve(app: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

struct Proxy {
    gate: PingoraGate<Arc<Routes>>,
    origin: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Admission;

    fn new_ctx(&self) -> Admission {
        Admission::default()
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Admission) -> pingora::Result<bool> {
        self.gate.request_filter(session, ctx).await
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut Admission) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.origin, false, String::new())))
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Admission,
    ) -> pingora::Result<()> {
        self.gate.upstream_request_filter(request, ctx)
    }

    async fn response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Admission,
    ) -> pingora::Result<()> {
        self.gate.response_filter(response, ctx)
    }
}

/// A face with one error format.
struct Face {
    name: &'static str,
    address: SocketAddr,
    origin: Origin,
    counted: Counted,
}

/// Both faces in every error format, over one fixture.
struct Faces {
    world: DirectoryFixture,
    pairs: Vec<(Format, [Face; 2])>,
}

impl Faces {
    async fn start() -> Self {
        let world = DirectoryFixture::new();
        let mut towers = Vec::new();
        let mut proxies = Vec::new();
        let mut behind = Vec::new();
        for form in FORMATS {
            let (origin, counted) = (Origin::default(), Counted::default());
            let layer = PortcullisLayer::new(routes(&world, &counted))
                .denial_renderer(form)
                .clock(world.clock.clone());
            let address = serve(origin.app().layer(layer)).await;
            towers.push(Face { name: "tower", address, origin, counted });

            let (origin, counted) = (Origin::default(), Counted::default());
            let gate =
                PingoraGate::new(routes(&world, &counted)).denial_renderer(form).clock(world.clock.clone());
            proxies.push(Proxy { gate, origin: serve(origin.app()).await });
            behind.push((origin, counted));
        }
        let addresses = serve_pingora(proxies).await;
        let pingoras = addresses.into_iter().zip(behind).map(|(address, (origin, counted))| Face {
            name: "pingora",
            address,
            origin,
            counted,
        });
        let pairs = FORMATS.into_iter().zip(towers.into_iter().zip(pingoras));
        Self { world, pairs: pairs.map(|(form, (tower, pingora))| (form, [tower, pingora])).collect() }
    }

    fn all(&self) -> impl Iterator<Item = (Format, &Face)> {
        self.pairs.iter().flat_map(|(form, pair)| pair.iter().map(|face| (*form, face)))
    }
}

// -------------------------------------------------------------------------------------------- client

async fn connect(address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (sender, connection) = handshake(io).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: StatusCode,
    fields: BTreeMap<String, Vec<HeaderValue>>,
    body: Bytes,
}

async fn send(connection: &mut SendRequest<Full<Bytes>>, request: Request<Full<Bytes>>) -> Answer {
    let response = timeout(DEADLINE, connection.send_request(request)).await.expect("answered in time");
    let (parts, body) = response.unwrap().into_parts();
    let mut fields: BTreeMap<String, Vec<HeaderValue>> = BTreeMap::new();
    for (name, value) in &parts.headers {
        if !HOP_FIELDS.contains(name) {
            fields.entry(name.to_string()).or_default().push(value.clone());
        }
    }
    Answer { status: parts.status, fields, body: body.collect().await.unwrap().to_bytes() }
}

// ------------------------------------------------------------------------------------------ the table

/// The caller whose key replaces `{key}` in a row. Each run of a row has its own caller.
#[derive(Debug, Clone, Copy)]
enum Sender {
    Client,
    Operator,
    /// A caller on a plan of two requests per minute and a hundred per day.
    Limited,
    ReadsOrders,
    Expired,
    KeyDisabled,
    CallerDisabled,
    LockedForWrites,
    Locked,
}

impl Sender {
    fn key(self, world: &DirectoryFixture, plan: &PlanId) -> String {
        let caller = world.caller(|caller| match self {
            Self::Limited => caller.plan = Some(plan.clone()),
            Self::Operator => caller.kind = CallerKind::Operator,
            Self::CallerDisabled => caller.status = Status::Disabled,
            _ => {}
        });
        let covers = match self {
            Self::LockedForWrites => Some(LockedRequests::Writes),
            Self::Locked => Some(LockedRequests::All),
            _ => None,
        };
        if let Some(covers) = covers {
            world.lock(LockTarget::Caller(caller.clone()), covers, Duration::from_millis(59_001));
        }
        world.key_of(&caller, |key| match self {
            Self::Expired => key.not_after = Some(world.now()),
            Self::KeyDisabled => key.status = Status::Disabled,
            Self::ReadsOrders => {
                let scope = Scope { resource: "orders".into(), access: Access::Read, targets: None };
                key.scopes = Scopes::Listed(vec![scope]);
            }
            _ => {}
        })
    }
}

struct Row {
    sender: Sender,
    method: &'static str,
    path: String,
    fields: Vec<(&'static str, &'static str)>,
    content: &'static str,
    /// The number of times that one caller sends the request, each time on a new connection.
    times: u32,
    /// The status in the problem format, with the problem's code, or `""` for an admission.
    last: (u16, &'static str),
}

fn row(
    (method, path): (&'static str, &str),
    fields: &[(&'static str, &'static str)],
    last: (u16, &'static str),
) -> Row {
    let (path, fields) = (path.to_owned(), fields.to_vec());
    Row { sender: Sender::Client, method, path, fields, content: "", times: 1, last }
}

impl Row {
    fn by(self, sender: Sender) -> Self {
        Self { sender, ..self }
    }

    fn with(self, content: &'static str) -> Self {
        Self { content, ..self }
    }

    fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }

    fn request(&self, key: &str) -> Request<Full<Bytes>> {
        let mut request = Request::builder().method(self.method).uri(&self.path).header("host", "a.example");
        for (name, value) in &self.fields {
            request = request.header(*name, value.replace("{key}", key));
        }
        request.body(Full::from(self.content)).unwrap()
    }
}

const KEY: (&str, &str) = ("x-api-key", "{key}");
const BEARER: (&str, &str) = ("authorization", "Bearer {key}");
const JSON: (&str, &str) = ("content-type", "application/json");
const CSV: (&str, &str) = ("content-type", "text/csv");
const BROTLI: (&str, &str) = ("content-encoding", "br");
/// A well-formed key, including its checksum, that no caller has.
const NOBODYS: (&str, &str) = ("x-api-key", "pcl_0000000000000000000000000000000000000NOBODY0BfPJm");

/// A well-formed signature with an access key that no caller has.
const SIGNED: (&str, &str) = (
    "authorization",
    "SDK-HMAC-SHA256 Access=nobody, SignedHeaders=host;x-sdk-date, \
     Signature=b25362e603ee30f4f25e7858e8a7160fd36e803bb2dfe206278659d71a9bcd7a",
);
const JUST_NOW: (&str, &str) = ("x-sdk-date", "20260101T000000Z");
const LONG_AGO: (&str, &str) = ("x-sdk-date", "20251231T000000Z");

fn rows() -> Vec<Row> {
    let admitted = (201, "");
    let mut rows = vec![
        // API keys
        row(("GET", "/open/a?b=c"), &[KEY], admitted),
        row(("GET", "/open"), &[BEARER], admitted),
        row(("POST", "/open"), &[KEY], admitted).with("content"),
        row(("HEAD", "/open"), &[KEY], admitted),
        row(("GET", "/open"), &[("authorization", "Basic dTpw"), KEY], admitted),
        row(("GET", "/open"), &[], (401, "credential-missing")),
        row(("HEAD", "/open"), &[], (401, "credential-missing")),
        row(("POST", "/open"), &[], (401, "credential-missing")).with("content"),
        row(("GET", "/open"), &[("x-api-key", "junk")], (401, "credential-malformed")),
        row(("GET", "/open"), &[NOBODYS], (401, "credential-unknown")),
        row(("GET", "/open"), &[KEY], (401, "credential-expired")).by(Sender::Expired),
        row(("GET", "/open"), &[KEY, KEY], (400, "bad-request")),
        row(("GET", "/open"), &[KEY, BEARER], (400, "bad-request")),
        row(("GET", "/open"), &[BEARER, BEARER], (400, "bad-request")),
        row(("GET", "/open"), &[KEY], (403, "credential-disabled")).by(Sender::KeyDisabled),
        row(("GET", "/open"), &[KEY], (403, "caller-disabled")).by(Sender::CallerDisabled),
        row(("GET", "/operators"), &[KEY], (403, "caller-kind-not-allowed")),
        row(("GET", "/operators"), &[KEY], admitted).by(Sender::Operator),
        row(("GET", "/orders"), &[KEY], admitted).by(Sender::ReadsOrders),
        row(("DELETE", "/orders"), &[KEY], (403, "insufficient-scope")).by(Sender::ReadsOrders),
        // ambiguous requests
        row(("GET", "/strict/a%2fb"), &[], (400, "bad-request")),
        row(("GET", "/strict//b"), &[], (400, "bad-request")),
        row(("GET", "/strict"), &[("connection", "x-api-key")], (400, "bad-request")),
        row(("GET", "/strict"), &[CSV, JSON], (400, "bad-request")),
        // media types
        row(("GET", "/formats"), &[KEY], admitted),
        row(("GET", "/formats"), &[KEY, ("accept", "text/*;q=.2")], admitted),
        row(("GET", "/formats"), &[KEY, CSV], admitted),
        row(("GET", "/formats"), &[KEY, ("accept", "image/png")], (406, "not-acceptable")),
        row(("GET", "/formats"), &[], (401, "credential-missing")),
        row(("PUT", "/formats"), &[KEY, JSON], admitted).with("{}"),
        row(("PUT", "/formats"), &[KEY, CSV], (415, "unsupported-media-type")).with("a,b"),
        row(("POST", "/formats"), &[KEY, CSV], (415, "unsupported-media-type")).with("a,b"),
        row(("PATCH", "/formats"), &[KEY, CSV], (415, "unsupported-media-type")).with("a,b"),
        row(("PUT", "/formats"), &[KEY], (415, "unsupported-media-type")).with("{}"),
        row(("PUT", "/formats"), &[KEY, JSON, BROTLI], (415, "unsupported-coding")).with("{}"),
        row(("PUT", "/formats"), &[KEY, JSON, CSV], (400, "bad-request")).with("{}"),
        // signatures
        row(("GET", "/signed"), &[], (401, "credential-missing")),
        row(("HEAD", "/signed"), &[], (401, "credential-missing")),
        row(
            ("GET", "/signed"),
            &[("authorization", "SDK-HMAC-SHA256 Access=a")],
            (401, "signature-malformed"),
        ),
        row(("GET", "/signed"), &[SIGNED, LONG_AGO], (401, "signature-expired")),
        row(("GET", "/signed"), &[SIGNED, JUST_NOW], (401, "credential-unknown")),
        row(("GET", "/signed"), &[SIGNED, SIGNED, JUST_NOW], (400, "bad-request")),
        row(("GET", "/either"), &[KEY], admitted),
        row(("GET", "/either"), &[KEY, SIGNED, JUST_NOW], (400, "bad-request")),
        row(("GET", "/either"), &[SIGNED, JUST_NOW], (401, "credential-unknown")),
        // locks
        row(("GET", "/locked"), &[KEY], admitted).by(Sender::LockedForWrites),
        row(("PUT", "/locked"), &[KEY], (423, "locked")).by(Sender::LockedForWrites),
        row(("GET", "/locked"), &[KEY], (423, "locked")).by(Sender::Locked),
        row(("HEAD", "/locked"), &[KEY], (423, "locked")).by(Sender::Locked),
        row(("GET", "/locked/writes/1"), &[KEY], admitted),
        row(("PUT", "/locked/writes/1"), &[KEY], (423, "locked")),
        row(("GET", "/locked/all"), &[KEY], (423, "locked")),
        // rate limits
        row(("GET", "/limited"), &[KEY], admitted),
        row(("GET", "/limited"), &[KEY], admitted).by(Sender::Limited).times(2),
        row(("GET", "/limited"), &[KEY], (429, "rate-limited")).by(Sender::Limited).times(3),
        row(("HEAD", "/limited"), &[KEY], (429, "rate-limited")).by(Sender::Limited).times(3),
    ];
    for (at, denial) in every_denial().into_iter().enumerate() {
        let path = format!("/denied/{at}");
        rows.push(row(("GET", &path), &[KEY], (denial.status().as_u16(), denial.code())).by(Sender::Limited));
    }
    rows
}

#[tokio::test]
async fn both_faces_answer_every_row_alike() {
    let faces = Faces::start().await;
    let world = &faces.world;
    let plan = world.plan("small", &[("minute", 2, 60), ("day", 100, 86_400)]);
    world.lock_path("/locked/writes", LockedRequests::Writes, Duration::from_secs(60));
    world.lock_path("/locked/all", LockedRequests::All, Duration::from_secs(90));
    let mut codes = BTreeSet::new();
    for (form, pair) in &faces.pairs {
        for row in rows() {
            let mut answers = Vec::new();
            for face in pair {
                let key = row.sender.key(world, &plan);
                let mut answered = Vec::new();
                for _ in 0..row.times {
                    let mut connection = connect(face.address).await;
                    answered.push(send(&mut connection, row.request(&key)).await);
                }
                answers.push(answered);
            }
            let what = format!("{form:?}: {} {} {:?} by {:?}", row.method, row.path, row.fields, row.sender);
            assert_eq!(answers[0], answers[1], "{what}");
            let answer = answers[0].last().unwrap();
            let (status, code) = row.last;
            if *form != Format::PerRequest {
                assert_eq!(answer.status, status, "{what}");
            }
            if *form == Format::Problem && status >= 400 && row.method != "HEAD" {
                let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
                assert_eq!(problem["code"], code, "{what}");
                codes.insert(code);
            }
        }
    }
    assert_eq!(codes.len(), 37, "every code there is: {codes:?}");
}

/// The table shows that both faces respond equally; this test shows that they respond correctly.
#[tokio::test]
async fn admission_adds_response_headers_and_removes_none() {
    let faces = Faces::start().await;
    let plan = faces.world.plan("small", &[("minute", 2, 60), ("day", 100, 86_400)]);
    for (form, face) in faces.all() {
        let mut answers = Vec::new();
        for path in ["/formats", "/limited"] {
            let request = row(("GET", path), &[KEY], (201, "")).request(&faces.world.key_on(&plan));
            answers.push(send(&mut connect(face.address).await, request).await);
        }
        let what = format!("{} {form:?}: {answers:?}", face.name);
        let field = |at: usize, name: &str| answers[at].fields.get(name).cloned().unwrap_or_default();
        assert_eq!(field(0, "vary"), ["Accept-Encoding", "accept"], "{what}");
        assert_eq!(field(1, "vary"), ["Accept-Encoding"], "{what}");
        assert_eq!(field(1, "x-origin"), ["1", "2"], "{what}");
        assert_eq!(field(1, "ratelimit"), ["\"minute\";r=1;t=30, \"day\";r=99;t=864"], "{what}");
        assert_eq!(field(1, "x-ratelimit-remaining"), ["1"], "{what}");
        assert_eq!(answers[1].body, "GET /limited 0 bytes", "{what}");
    }
}

#[tokio::test]
async fn credential_is_not_forwarded() {
    let faces = Faces::start().await;
    let key = faces.world.key();
    for (form, face) in faces.all() {
        for field in [KEY, BEARER] {
            let request = row(("GET", "/open"), &[field, ("x-other", "stays")], (201, "")).request(&key);
            send(&mut connect(face.address).await, request).await;
        }
        let seen = face.origin.seen();
        assert_eq!(seen.len(), 2);
        for fields in seen {
            assert_eq!(fields["x-other"], "stays");
            let leaks = fields.values().any(|value| value.as_bytes().ends_with(key.as_bytes()));
            assert!(!leaks, "{} {form:?}: {fields:?}", face.name);
        }
    }
}

#[tokio::test]
async fn denied_request_does_not_reach_the_upstream() {
    let faces = Faces::start().await;
    for (_, face) in faces.all() {
        let request = row(("POST", "/open"), &[], (401, "")).with("content").request("");
        assert_eq!(send(&mut connect(face.address).await, request).await.status, 401);
        assert_eq!(face.origin.seen().len(), 0, "{}", face.name);
    }
}

/// Denials and an admission alternate on one connection. This client never opens another one.
#[tokio::test]
async fn connection_survives_a_denial() {
    let faces = Faces::start().await;
    let key = faces.world.key();
    for (form, face) in faces.all() {
        let mut connection = connect(face.address).await;
        for (method, fields, admitted) in [
            ("GET", &[][..], false),
            ("HEAD", &[], false),
            ("GET", &[KEY], true),
            ("DELETE", &[], false),
            ("POST", &[KEY], true),
        ] {
            let what = format!("{method} through {} in {form:?}", face.name);
            timeout(DEADLINE, connection.ready()).await.expect(&what).expect(&what);
            let answer = send(&mut connection, row((method, "/open"), fields, (0, "")).request(&key)).await;
            assert_eq!(answer.status.is_success(), admitted, "{what}");
        }
    }
}

#[tokio::test]
async fn waiting_chain_resumes_and_charges_once() {
    let faces = Faces::start().await;
    let plan = faces.world.plan("small", &[("minute", 10, 60)]);
    for (form, face) in faces.all() {
        let key = faces.world.key_on(&plan);
        let mut connection = connect(face.address).await;
        let answer = send(&mut connection, row(("GET", "/waits"), &[KEY], (201, "")).request(&key)).await;
        let what = format!("{} {form:?}", face.name);
        assert_eq!(answer.status, 201, "{what}");
        assert_eq!(face.counted.before.0.load(Ordering::SeqCst), 1, "asked once, before the wait: {what}");
        assert_eq!(face.counted.waits.0.0.load(Ordering::SeqCst), 3, "asked after each wait: {what}");
        assert_eq!(answer.fields["ratelimit"], ["\"minute\";r=9;t=6"], "{what}");
    }
}

#[tokio::test]
async fn denial_of_head_is_that_of_get_without_content() {
    let faces = Faces::start().await;
    for (form, face) in faces.all() {
        let mut answers = Vec::new();
        for method in ["GET", "HEAD"] {
            let mut stream = TcpStream::connect(face.address).await.unwrap();
            let request = format!("{method} /open HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            timeout(DEADLINE, stream.read_to_string(&mut answer)).await.expect("it ends").unwrap();
            let (head, content) = answer.split_once("\r\n\r\n").unwrap();
            let lines = head.lines().map(str::to_ascii_lowercase).filter(|line| !line.starts_with("date:"));
            let mut lines: Vec<_> = lines.collect();
            lines.sort_unstable();
            answers.push((lines, content.to_owned()));
        }
        let what = format!("{} {form:?}: {answers:?}", face.name);
        assert_eq!(answers[0].0, answers[1].0, "{what}");
        assert!(answers[0].0.contains(&format!("content-length: {}", answers[0].1.len())), "{what}");
        assert_eq!((answers[0].1.is_empty(), answers[1].1.is_empty()), (false, true), "{what}");
    }
}
