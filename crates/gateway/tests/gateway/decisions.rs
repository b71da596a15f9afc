//! Decisions of a running gateway: for different callers, paths and client addresses.

use std::{net::SocketAddr, time::Instant};

use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use crate::process::{Gateway, Installation, Service, TIMEOUT, client, free_address, values};

struct Setup {
    installation: Installation,
    gateway: Gateway,
    admin: SocketAddr,
    administrator: String,
    _service: Service,
}

impl Setup {
    /// Starts a gateway with the admin API, and routes given by their paths and policies.
    async fn new(routes: &[(&str, &str)], more: &str) -> Self {
        let (service, address, admin) = (Service::echo().await, free_address(), free_address());
        let route = |(path, policies): &(&str, &str)| {
            format!("[[routes]]\npath = \"{path}\"\nupstream = \"up\"\n[routes.policies]\n{policies}\n")
        };
        let text = format!(
            "{more}\nstore.path = \"data/p.db\"\nsecrets.file = \"data/s.toml\"\nlisteners = [{{ address = \"{address}\" }}]\n\
             [admin]\naddress = \"{admin}\"\n[upstreams.up]\naddress = \"{}\"\n{}",
            service.address,
            routes.iter().map(route).collect::<String>(),
        );
        let mut installation = Installation::uninitialised(&text, address);
        let made = installation.init();
        let shown = |label: &str| {
            let line = made.lines().find(|line| line.trim_start().starts_with(label));
            line.and_then(|line| line.split_whitespace().last()).unwrap_or_default().to_owned()
        };
        (installation.api_key, installation.operator_token) = (shown("API key"), shown("Operator token"));
        let administrator = made.split_whitespace().find(|word| word.starts_with("pca_")).unwrap();
        let administrator = administrator.trim_matches('\'').to_owned();
        let gateway = installation.start();
        Self { installation, gateway, admin, administrator, _service: service }
    }

    async fn manage(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let url = format!("http://{}/admin/v1{path}", self.admin);
        let request = client().request(method, url).bearer_auth(&self.administrator).header("if-match", "*");
        let answer = request.json(&body).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    async fn call(&self, method: Method, path: &str, key: &str) -> (StatusCode, Value) {
        let request = client().request(method, self.gateway.url(path)).header("x-api-key", key);
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    /// Waits until a change has taken effect.
    async fn becomes(&self, method: Method, path: &str, status: u16) -> Value {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let (found, said) = self.call(method.clone(), path, &self.installation.api_key).await;
            if found == status {
                return said;
            }
            assert!(Instant::now() < deadline, "{path} does not become {status}, but is {found}");
        }
    }
}

#[tokio::test]
async fn management_keys_are_403_unless_the_route_names_them() {
    let named = "api_key = { caller_kinds = [\"api_client\", \"app\", \"operator\"] }";
    let setup = Setup::new(&[("/", "api_key = true"), ("/named", named)], "").await;
    let (key, operator) = (&*setup.installation.api_key, &*setup.installation.operator_token);
    for (path, key, expected) in [
        ("/", key, 200),
        ("/", operator, 403),
        ("/", &*setup.administrator, 403),
        ("/named", key, 200),
        ("/named", operator, 200),
        ("/named", &*setup.administrator, 403),
    ] {
        let (status, said) = setup.call(Method::GET, path, key).await;
        assert_eq!(status, expected, "{path}: {said}");
        if expected == 403 {
            assert_eq!(said["code"], "caller-kind-not-allowed");
        }
    }
}

#[tokio::test]
async fn lapsed_tenant_is_402_unless_the_route_admits_it() {
    let admits = "api_key = true\nlapsed_subscriptions = \"allow\"";
    let setup = Setup::new(&[("/", "api_key = true"), ("/lenient", admits)], "").await;
    setup.becomes(Method::GET, "/", 200).await;
    let (status, _) = setup.manage(Method::PATCH, "/tenants/demo", json!({ "subscription": "lapsed" })).await;
    assert_eq!(status, 200);
    assert_eq!(setup.becomes(Method::GET, "/", 402).await["code"], "payment-required");
    assert_eq!(setup.call(Method::GET, "/lenient", &setup.installation.api_key).await.0, 200);
    setup.manage(Method::PATCH, "/tenants/demo", json!({ "subscription": "active" })).await;
    setup.becomes(Method::GET, "/", 200).await;
}

#[tokio::test]
async fn lock_is_stored_in_normal_form_and_enforced() {
    let setup = Setup::new(&[("/", "api_key = true\nlock = true")], "").await;
    for (asked, normalized) in
        [("/demo/%61bc", "/demo/abc"), ("/demo/a b", "/demo/a%20b"), ("/v2/x%7ey", "/v2/x~y")]
    {
        let body = json!({ "target": { "resource": asked }, "reason": "counting" });
        let (status, lock) = setup.manage(Method::POST, "/locks", body.clone()).await;
        assert_eq!((status.as_u16(), &lock["target"]["resource"]), (201, &normalized.into()), "{lock}");
        setup.becomes(Method::PUT, normalized, 423).await;
        assert_eq!(setup.manage(Method::POST, "/locks", body).await.0, 423, "{asked} is held");
    }
    assert_eq!(setup.call(Method::PUT, "/demo/%61b%63", &setup.installation.api_key).await.0, 423);
    assert_eq!(setup.call(Method::PUT, "/demo/abd", &setup.installation.api_key).await.0, 200);
    for nothing in ["/demo/%zz", "/demo/a%", "/demo/%00", "/demo/%2e%2e/x", "/a\nb"] {
        let body = json!({ "target": { "resource": nothing }, "reason": "counting" });
        let (status, said) = setup.manage(Method::POST, "/locks", body).await;
        assert_eq!((status.as_u16(), &said["code"]), (422, &"invalid-values".into()), "{nothing:?}: {said}");
        assert_eq!(said["errors"][0]["pointer"], "#/target/resource");
    }
}

#[tokio::test]
async fn routes_share_one_lockout_that_valid_keys_pass() {
    let lockout = "api_key = { lockout = { attempts = 2, window = \"1h\", duration = \"1h\" } }";
    let setup = Setup::new(&[("/a", lockout), ("/b", lockout), ("/c", "api_key = true")], "").await;
    let key = &*setup.installation.api_key;
    for (path, presented, expected) in [
        ("/a", "bad", 401),
        ("/b", "bad", 401),
        ("/a", "bad", 403),
        ("/b", "bad", 403),
        ("/c", "bad", 401),
        ("/a", key, 200),
        ("/b", key, 200),
        ("/b", "bad", 403),
    ] {
        let (status, said) = setup.call(Method::GET, path, presented).await;
        assert_eq!(status, expected, "{path} {presented}: {said}");
    }
}

#[tokio::test]
async fn client_unnamed_by_a_trusted_proxy_is_unknown() {
    let trusting = "server.trusted_proxies = [\"127.0.0.0/8\"]";
    let setup = Setup::new(&[("/", "")], trusting).await;
    for (at, (said, seen)) in [
        (&b"\xff, 203.0.113.9"[..], "203.0.113.9"),
        (b"203.0.113.9, \xff", "unknown"),
        (b"203.0.113.9, unknown", "unknown"),
        (b"203.0.113.9, \xff, 127.0.0.7", "unknown"),
        (b"\xff, [2001:db8::9]:80, 127.0.0.7", "2001:db8::9"),
        (b"::ffff:203.0.113.9", "203.0.113.9"),
        (b"127.0.0.7", "127.0.0.7"),
        (b" , ", "127.0.0.1"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/{at}");
        let value = HeaderValue::from_bytes(said).unwrap();
        let answer = setup.gateway.get(&path).header("x-forwarded-for", value).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let echo: Value = answer.json().await.unwrap();
        assert_eq!(values(&echo, "x-forwarded-for"), [seen], "{said:?}");
        let line = setup.gateway.access(&path);
        let peer = line["peer"].as_str().unwrap_or("unknown");
        assert_eq!(peer, seen, "{line}");
    }
}
