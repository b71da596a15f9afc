//! A gateway with routes for the cases, keys of two tenants, and an upstream that records everything.

use portcullis::{
    clock::{Clock, SystemClock},
    model::{Access, Actor, CallerKind, GeneratedKey, KeyPrefix, PlanId, Scope, Scopes, SubscriptionStatus},
    registry::{NewCaller, NewCredential, NewTenant, RegistryExt, sqlite::Sqlite},
};
use portcullis_gateway::config::SecretsFile;
use serde_json::Value;
use std::sync::Arc;

use crate::{
    case::Case,
    process::{Gateway, Installation, free_address},
    raw_http::{self, Exchange, Message, latin},
    upstream::{Seen, Upstream},
};

/// The callers, each with a tenant of its own and a plan. The limits of the plans are in the configuration.
const CALLERS: [(&str, &str, Option<&str>); 3] = [
    ("alpha", "caller-a", Some("demo")),
    ("beta", FOREIGN, Some("demo")),
    ("gamma", "caller-c", Some("small")),
];

/// The id of a caller, in the format of discue's contract.
pub const FOREIGN: &str = "caller-b-of-the-test-";

/// The burst of the plan `small`.
pub const SMALL: usize = 50;

/// Hop-by-hop headers, and headers that could make an upstream read another request than the gateway.
const NEVER_BEHIND: [&str; 22] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "te",
    "upgrade",
    "http2-settings",
    "forwarded",
    "x-real-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "x-client-ip",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    "x-forwarded-prefix",
    "x-api-key",
    "authorization",
    "x-auth-token",
    "trailer",
];

pub struct Setup {
    pub installation: Installation,
    pub upstream: Upstream,
    /// The keys, in the order of the callers.
    pub keys: Vec<String>,
}

/// The result of a case.
pub struct Run {
    pub exchange: Exchange,
    pub seen: Vec<Seen>,
    pub log: Vec<String>,
}

impl Run {
    /// Returns the requests that the upstream received.
    pub fn requests(&self) -> Vec<&Message> {
        self.seen.iter().flat_map(|seen| &seen.requests).collect()
    }

    pub fn only_request(&self) -> &Message {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests[0]
    }
}

impl Setup {
    pub fn new() -> Self {
        Self::with("", "", "")
    }

    /// Creates a gateway with additional lines in `[limits]`, the listener and `[upstreams.up]`.
    pub fn with(limits: &str, listener: &str, of_upstream: &str) -> Self {
        let upstream = Upstream::start();
        let address = free_address();
        let text = format!(
            r#"
store.path = "data/portcullis.db"
secrets.file = "data/secrets.toml"
[server]
threads = 1
caller_id_header = "x-consumer-id"
[limits]
{limits}
[[listeners]]
address = "{address}"
{listener}
[[plans]]
id = "demo"
limits = [{{ name = "hour", quota = 1000000, window = 3600 }}]
[[plans]]
id = "small"
limits = [{{ name = "hour", quota = {SMALL}, window = 36000 }}]
[upstreams.up]
address = "{}"
{of_upstream}
[[routes]]
path = "/v1/echo"
upstream = "up"
policies = {{ api_key = true, lock = true, rate_limit = true }}
[[routes]]
path = "/v1/apps"
upstream = "up"
policies = {{ api_key = true, lock = true }}
[[routes]]
path = "/v1/admin"
upstream = "up"
policies = {{ api_key = true, scope = "admin" }}
[[routes]]
path = "/v1/public"
upstream = "up"
[[routes]]
path = "/v1/api_clients"
surface = "discue"
[[routes]]
path = "/v1/demo-project"
surface = "apig"
"#,
            upstream.address
        );
        let installation = Installation::from_text(&text, address);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let keys = runtime.block_on(make_callers(&installation));
        Self { installation, upstream, keys }
    }

    pub fn start(&self) -> Gateway {
        self.installation.start()
    }

    pub fn bytes(&self, case: &Case) -> Vec<u8> {
        case.bytes(&self.installation.address.to_string(), [&self.keys[0], &self.keys[1]])
    }

    /// Returns a valid request with the key of the first caller, to send after an attack.
    pub fn good(&self) -> Vec<u8> {
        format!("GET /v1/echo/good HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\n\r\n", self.keys[0]).into_bytes()
    }

    /// Returns all secrets that only their owners may see.
    pub fn secrets(&self) -> Vec<&str> {
        let own = [self.installation.api_key.as_str(), self.installation.operator_token.as_str()];
        self.keys.iter().map(String::as_str).chain(own).collect()
    }

    /// Sends the bytes of a case to a gateway that is started for them, so that its log contains only this case.
    pub fn run(&self, case: &Case) -> Run {
        self.send(&self.bytes(case))
    }

    pub fn send(&self, bytes: &[u8]) -> Run {
        let gateway = self.start();
        let exchange = raw_http::exchange(gateway.address, bytes);
        let log = gateway.end();
        Run { exchange, seen: self.upstream.take(), log }
    }

    /// Checks an invariant of all cases: every request that the upstream received was admitted in this form.
    pub fn check_admitted(&self, seen: &[Seen], log: &[String]) {
        let mut lines: Vec<Value> = access(log);
        for seen in seen {
            let bytes = latin(&seen.bytes);
            assert_eq!(seen.fault, None, "{bytes:?}");
            for request in &seen.requests {
                let head = format!("{} {:?}", request.start, request.fields);
                assert!(!head.contains("/admin") && !head.contains("evil"), "smuggled: {bytes:?}");
                let caller = request.values("x-consumer-id");
                let guarded = ["/v1/echo", "/v1/apps"].iter().any(|route| request.path().starts_with(route));
                let ours = |caller: &&str| CALLERS.iter().any(|(_, ours, _)| ours == caller);
                if guarded {
                    assert!(caller.len() == 1 && caller.iter().all(ours), "{request:?}");
                } else {
                    assert!(request.path() == "/v1/public" && caller.is_empty(), "{request:?}");
                }
                for secret in self.secrets() {
                    assert!(!head.contains(secret), "a credential travelled on: {request:?}");
                }
                for name in NEVER_BEHIND {
                    assert!(request.values(name).is_empty(), "{name}: {request:?}");
                }
                assert_eq!(request.values("x-forwarded-for"), ["127.0.0.1"], "{request:?}");
                assert_eq!(request.values("host").len(), 1, "{request:?}");
                let said = |line: &Value| {
                    line["path"] == request.path()
                        && line["method"] == request.method()
                        && line["caller"].as_str() == caller.first().copied()
                };
                let at = lines.iter().position(said);
                lines.remove(at.unwrap_or_else(|| panic!("not in the log: {request:?}, {lines:?}")));
            }
        }
        for line in log {
            assert!(
                self.secrets().iter().all(|secret| !line.contains(secret)),
                "a secret in the log: {line}"
            );
            assert!(!line.contains("panicked"), "{line}");
        }
    }
}

/// Returns the lines of the access log.
pub fn access(log: &[String]) -> Vec<Value> {
    let lines = log.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["target"] == "access").collect()
}

/// Creates the tenants and callers of the cases, and returns the keys.
async fn make_callers(installation: &Installation) -> Vec<String> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let registry = Sqlite::open(&installation.store(), clock.clone()).await.unwrap();
    let peppers = SecretsFile::load(&installation.folder.path().join("data/secrets.toml")).unwrap().peppers();
    let actor = Actor::system("test");
    let mut keys = Vec::new();
    for (tenant, id, plan) in CALLERS {
        let tenant = NewTenant {
            id: tenant.parse().unwrap(),
            name: tenant.into(),
            gateway: None,
            standing: SubscriptionStatus::Active,
            max_callers: 5,
        };
        let tenant = registry.create_tenant(tenant, &actor).await.unwrap().id;
        let plan: Option<PlanId> = plan.map(|plan| plan.parse().unwrap());
        let (caller, kind) = (id.parse().unwrap(), CallerKind::ApiClient);
        let caller =
            NewCaller { id: caller, tenant: tenant.clone(), name: "example.com/dev".into(), kind, plan };
        let caller = registry.create_caller(caller, &actor).await.unwrap().id;
        let key = GeneratedKey::generate(&KeyPrefix::default());
        let scope = Scope { resource: "echo".into(), access: Access::Write, targets: None };
        let credential = NewCredential {
            name: String::new(),
            scopes: Scopes::Listed(vec![scope]),
            ..NewCredential::key(tenant, caller, &key, peppers.current())
        };
        registry.create_credential(credential, &actor).await.unwrap();
        keys.push(key.expose().to_owned());
    }
    keys
}
