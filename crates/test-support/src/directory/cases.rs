//! Decisions for benchmarks: every policy, and the whole chain, admitting and denying.

use std::time::Duration;

use http::{Request, request::Parts};
use portcullis::{
    Admission, Denial, Head, Policy, Stop,
    clock::Moment,
    model::{Access, CallerId, LockedRequests, PlanId, Scope, Scopes},
    policy::{self, Accept, ApiKey, ContentType, RateLimit, RequireUnlocked, StrictHttp},
};

use super::DirectoryFixture;

/// The chain of policies to measure, in the documented order.
pub type Chain = (ContentType, Accept, ApiKey, policy::RequireScope, RequireUnlocked, RateLimit);

pub fn chain(world: &DirectoryFixture) -> Chain {
    let directory = || world.directory.clone();
    (
        ContentType::new(["application/json"]).expect("a media type"),
        Accept::new(["application/json", "text/csv"]).expect("media types"),
        ApiKey::new(directory()),
        policy::RequireScope::new("orders"),
        RequireUnlocked::new(directory()),
        RateLimit::new(),
    )
}

/// Stores a plan of two limits that no benchmark exhausts.
pub fn ample(world: &DirectoryFixture) -> PlanId {
    world.plan("ample", &[("second", u32::MAX, 1), ("minute", u32::MAX, 60)])
}

/// Creates a key of a caller with write access to orders and read access to bills.
pub fn key_on(world: &DirectoryFixture, plan: &PlanId) -> String {
    let caller = world.caller(|caller| caller.plan = Some(plan.clone()));
    scoped_key(world, &caller)
}

pub fn scoped_key(world: &DirectoryFixture, caller: &CallerId) -> String {
    let scope = |resource: &str, access| Scope { resource: resource.into(), access, targets: None };
    let scopes = vec![scope("bills", Access::Read), scope("orders", Access::Write)];
    world.key_of(caller, |key| key.scopes = Scopes::Listed(scopes))
}

/// Returns a typical request of an API client: a dozen headers, including the key.
pub fn request(method: &str, key: &str, fields: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri("/orders/7/lines?page=2");
    let usual = [
        ("host", "api.example.com"),
        ("user-agent", "client/1.0"),
        ("accept-encoding", "gzip"),
        ("accept-language", "en"),
        ("cache-control", "no-cache"),
        ("x-request-id", "0f3d6a52-7c1e-4d55-9a30-3c1f7d1f6f11"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ];
    let own = (!key.is_empty()).then_some(("x-api-key", key));
    for (name, value) in usual.into_iter().chain(fields.iter().copied()).chain(own) {
        request = request.header(name, value);
    }
    request.body(()).expect("a valid request").into_parts().0
}

/// A decision to measure.
pub struct Case {
    pub name: &'static str,
    pub admits: bool,
    content: bool,
    policy: Box<dyn Policy>,
    request: Parts,
    recognised: Admission,
}

impl Case {
    /// Returns an admission to decide with: empty, or with a caller for policies that need one.
    pub fn admission(&self) -> Admission {
        self.recognised.clone()
    }

    pub fn request(&self) -> &Parts {
        &self.request
    }

    /// Decides and commits the permits, like a face.
    pub fn decide(&self, admission: &mut Admission, now: Moment) -> Result<(), Denial> {
        decide(&*self.policy, &self.request, self.content, admission, now)
    }
}

pub fn decide(
    policy: &(impl Policy + ?Sized),
    request: &Parts,
    content: bool,
    admission: &mut Admission,
    now: Moment,
) -> Result<(), Denial> {
    let outcome = admission.evaluate(policy, &Head::from_parts(request, None, content, now));
    drop(admission.take_permits().commit());
    outcome.map_err(|stop| match stop {
        Stop::Deny(denial) => denial,
        Stop::Wait(_) | Stop::NeedsBody(_) => unreachable!("no policy here waits"),
    })
}

const JSON: (&str, &str) = ("accept", "application/json");
const SENT: (&str, &str) = ("content-type", "application/json");
const BROWSER: (&str, &str) =
    ("accept", "text/html, application/xhtml+xml, application/xml;q=0.9, image/avif, */*;q=0.8");
const IMAGE: (&str, &str) = ("accept", "image/png");

/// Returns all cases. `quiet` has no lock; `busy` has a thousand on other paths and one on `/orders/7`.
pub fn cases(quiet: &DirectoryFixture, busy: &DirectoryFixture, now: Moment) -> Vec<Case> {
    for other in 0..1_000 {
        busy.lock_path(&format!("/bills/{other}"), LockedRequests::All, Duration::from_secs(3_600));
    }
    busy.lock_path("/orders/7", LockedRequests::Writes, Duration::from_secs(3_600));
    let tiny = quiet.plan("tiny", &[("second", u32::MAX, 1), ("day", 1, 86_400)]);
    let key = key_on(quiet, &ample(quiet));
    let spent = key_on(quiet, &tiny);
    let unknown = key_on(busy, &ample(busy));
    let junk = "x".repeat(key.len());

    let recognise = |world: &DirectoryFixture, key: &str| {
        let mut admission = Admission::default();
        let policy = ApiKey::new(world.directory.clone());
        decide(&policy, &request("GET", key, &[]), false, &mut admission, now).expect("a known key");
        admission
    };
    let case = |name, admits, policy: &dyn Fn() -> Box<dyn Policy>, request| Case {
        name,
        admits,
        content: false,
        policy: policy(),
        request,
        recognised: Admission::default(),
    };
    let with_content = |case: Case| Case { content: true, ..case };
    let known_to = |world, key: &str, case: Case| Case { recognised: recognise(world, key), ..case };

    let nothing = || Box::new(()) as Box<dyn Policy>;
    let strict = || Box::new(StrictHttp::new()) as Box<dyn Policy>;
    let content_type =
        || Box::new(ContentType::new(["application/json"]).expect("a media type")) as Box<dyn Policy>;
    let accept =
        || Box::new(Accept::new(["application/json", "text/csv"]).expect("media types")) as Box<dyn Policy>;
    let api_key = || Box::new(ApiKey::new(quiet.directory.clone())) as Box<dyn Policy>;
    let scope = || Box::new(policy::RequireScope::new("orders")) as Box<dyn Policy>;
    let other_scope = || Box::new(policy::RequireScope::new("bills")) as Box<dyn Policy>;
    let no_lock = || Box::new(RequireUnlocked::new(quiet.directory.clone())) as Box<dyn Policy>;
    let locks = || Box::new(RequireUnlocked::new(busy.directory.clone())) as Box<dyn Policy>;
    let rate_limit = || Box::new(RateLimit::new()) as Box<dyn Policy>;
    let whole = || Box::new(chain(quiet)) as Box<dyn Policy>;

    let cases = vec![
        case("no policy", true, &nothing, request("GET", &key, &[])),
        case("strict: admitted", true, &strict, request("GET", &key, &[])),
        case("strict: repeated field", false, &strict, request("GET", &key, &[("host", "other")])),
        with_content(case("content type: taken", true, &content_type, request("PUT", &key, &[SENT]))),
        case("content type: no content", true, &content_type, request("GET", &key, &[])),
        with_content(case("content type: 415", false, &content_type, request("PUT", &key, &[]))),
        case("accept: exact", true, &accept, request("GET", &key, &[JSON])),
        case("accept: a browser's", true, &accept, request("GET", &key, &[BROWSER])),
        case("accept: 406", false, &accept, request("GET", &key, &[IMAGE])),
        case("api key: known", true, &api_key, request("GET", &key, &[])),
        case("api key: unknown", false, &api_key, request("GET", &unknown, &[])),
        case("api key: malformed", false, &api_key, request("GET", &junk, &[])),
        case("api key: missing", false, &api_key, request("GET", "", &[])),
        known_to(quiet, &key, case("scope: covered", true, &scope, request("PUT", &key, &[]))),
        known_to(quiet, &key, case("scope: 403", false, &other_scope, request("PUT", &key, &[]))),
        known_to(quiet, &key, case("lock: none held", true, &no_lock, request("PUT", &key, &[]))),
        known_to(
            busy,
            &unknown,
            case("lock: read under a lock", true, &locks, request("GET", &unknown, &[])),
        ),
        known_to(busy, &unknown, case("lock: 423", false, &locks, request("PUT", &unknown, &[]))),
        known_to(quiet, &key, case("rate limit: two limits", true, &rate_limit, request("GET", &key, &[]))),
        known_to(quiet, &spent, case("rate limit: 429", false, &rate_limit, request("GET", &spent, &[]))),
        with_content(case("whole chain: admitted", true, &whole, request("PUT", &key, &[SENT, JSON]))),
        case("whole chain: 406", false, &whole, request("GET", &key, &[IMAGE])),
        case("whole chain: 401", false, &whole, request("GET", &unknown, &[JSON])),
        case("whole chain: 429", false, &whole, request("GET", &spent, &[JSON])),
    ];
    // The first request of a day is admitted; afterwards the plan is exhausted.
    let mut first = recognise(quiet, &spent);
    let parts = request("GET", &spent, &[]);
    decide(&RateLimit::new(), &parts, false, &mut first, now).expect("the first request of a plan");
    for case in &cases {
        let outcome = case.decide(&mut case.admission(), now);
        assert_eq!(outcome.is_ok(), case.admits, "{}: {outcome:?}", case.name);
    }
    cases
}
