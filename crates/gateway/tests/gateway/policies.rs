//! Routes and their policies, through the gateway.

use serde_json::Value;

use crate::process::{Installation, Service, client, values};

const ALL: &str = r#"
content_type = ["application/json"]
accept = ["application/json"]
api_key = true
lock = true
rate_limit = true
"#;

#[tokio::test]
async fn admitted_request_is_forwarded_with_id_and_without_key() {
    let service = Service::echo().await;
    let installation = Installation::new(service.address, ALL);
    let gateway = installation.start();
    for (field, value) in [
        ("x-api-key", installation.api_key.clone()),
        ("authorization", format!("Bearer {}", installation.api_key)),
    ] {
        let request = gateway.get("/orders?x=1").header(field, value).header("x-caller-id", "somebody-else");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["vary"], "accept");
        assert_eq!(response.headers()["ratelimit-policy"], "\"hour\";q=20000;w=3600");
        let echo: Value = response.json().await.unwrap();
        assert_eq!(echo["target"], "/orders?x=1");
        assert_eq!(values(&echo, "x-caller-id"), ["5bc2be68-7498-4853-aa64-4be0ca62934e"]);
        assert!(values(&echo, "x-api-key").is_empty() && values(&echo, "authorization").is_empty());
        assert_eq!(values(&echo, "x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(values(&echo, "x-forwarded-proto"), ["http"]);
        assert_eq!(values(&echo, "x-forwarded-host"), [gateway.address.to_string()]);
    }
    assert!(!gateway.log().concat().contains(&installation.api_key));
}

#[tokio::test]
async fn each_policy_denies_with_problem_details() {
    let service = Service::echo().await;
    let installation = Installation::new(service.address, ALL);
    let gateway = installation.start();
    let key = &installation.api_key;
    for (request, status, code) in [
        (gateway.get("/"), 401, "credential-missing"),
        (gateway.get("/").header("x-api-key", "junk"), 401, "credential-malformed"),
        (
            gateway.get("/").header("x-api-key", key).header("authorization", format!("Bearer {key}")),
            400,
            "bad-request",
        ),
        (gateway.get("/").header("x-api-key", key).header("accept", "text/html"), 406, "not-acceptable"),
        (gateway.post("/").header("x-api-key", key).body("x"), 415, "unsupported-media-type"),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{code}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let problem: Value = response.json().await.unwrap();
        assert_eq!((&problem["status"], &problem["code"]), (&status.into(), &code.into()));
    }
    assert_eq!(service.connections(), 0, "nothing refused reached the service");
}

#[tokio::test]
async fn denial_before_a_surface_has_its_format() {
    let service = Service::echo().await;
    let installation = Installation::new(service.address, "api_key = true");
    let gateway = installation.start();
    let (apps, long) = ("/v2/demo-project/apigw/instances/demo-instance/apps", "x".repeat(9_000));
    let discue = |status: u16, title: &str| serde_json::json!({ "title": title, "status": status });
    for (target, status, body) in [
        ("/v1/api_keys/a%2Fb".to_owned(), 400, Some(discue(400, "Bad Request"))),
        (format!("/v1/api_keys?x={long}"), 414, Some(discue(414, "URI Too Long"))),
        (format!("{apps}/a%2Fb"), 400, None),
        (format!("{apps}/%C0"), 400, None),
        (format!("{apps}?x={long}"), 400, None),
    ] {
        let response = gateway.get(&target).send().await.unwrap();
        assert_eq!(response.status(), status, "{target:.60}");
        let media_type = response.headers()["content-type"].to_str().unwrap().to_owned();
        assert!(media_type.starts_with("application/json"), "{target:.60}: {media_type}");
        assert_eq!(response.headers()["cache-control"], "no-store", "{target:.60}");
        let said: Value = response.json().await.unwrap();
        match body {
            Some(body) => assert_eq!(said, body),
            None => {
                assert_eq!((&said["error_code"], said.as_object().unwrap().len()), (&"APIG.2000".into(), 2));
            }
        }
    }
    for (target, pretty) in
        [("/v1/api_keys/a%2Fb?pretty=true", true), ("/v1/api_keys/a%2Fb?pretty=false", false)]
    {
        let response = gateway.get(target).send().await.unwrap();
        let length = response.headers()["content-length"].to_str().unwrap().to_owned();
        let said = response.text().await.unwrap();
        let value = discue(400, "Bad Request");
        assert_eq!(serde_json::from_str::<Value>(&said).unwrap(), value);
        assert_eq!((said.lines().count(), length), (if pretty { 4 } else { 1 }, said.len().to_string()));
    }
    let response = gateway.get("/a%2Fb").send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.headers()["content-type"].to_str().unwrap()),
        (400, "application/problem+json")
    );
}

#[tokio::test]
async fn guessing_client_is_locked_out_if_configured() {
    let service = Service::echo().await;
    let lockout = r#"api_key = { lockout = { attempts = 2, window = "1h", duration = "1h" } }"#;
    let installation = Installation::new(service.address, lockout);
    let gateway = installation.start();
    for (key, status) in [
        ("junk", 401),
        (&*installation.api_key, 200),
        ("junk", 401),
        ("junk", 403),
        (&*installation.api_key, 200),
    ] {
        let response = gateway.get("/").header("x-api-key", key).send().await.unwrap();
        assert_eq!(response.status(), status, "{key}");
        if status == 403 {
            let wait: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((3590..=3600).contains(&wait), "{wait}");
            let problem: Value = response.json().await.unwrap();
            assert_eq!(problem["code"], "lockout");
        }
    }
}

/// End to end: a new key is accepted, and is denied soon after it was deleted.
#[tokio::test]
async fn key_created_on_a_surface_works_until_deleted() {
    let service = Service::echo().await;
    let installation = Installation::new(service.address, ALL);
    let gateway = installation.start();
    let keys = "/v1/api_keys";
    let made = gateway.post(keys).header("x-api-key", &installation.api_key).send().await.unwrap();
    assert_eq!(made.status(), 200);
    let made: Value = made.json().await.unwrap();
    let key = made["api_key"].as_str().unwrap();
    let id = made["_links"]["self"]["href"].as_str().unwrap().rsplit('/').next().unwrap();
    let becomes = async |status: u16| {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while gateway.get("/").header("x-api-key", key).send().await.unwrap().status() != status {
            assert!(std::time::Instant::now() < deadline, "it does not become {status}");
        }
    };
    becomes(200).await;
    let one = format!("{keys}/{id}");
    let gone =
        client().delete(gateway.url(&one)).header("x-api-key", &installation.api_key).send().await.unwrap();
    assert_eq!(gone.status(), 200);
    becomes(401).await;
}

/// End to end: a new app code is accepted, and is denied soon after it was deleted.
#[tokio::test]
async fn app_code_created_on_a_surface_works_until_deleted() {
    let service = Service::echo().await;
    let installation = Installation::new(service.address, r#"api_key = { sources = ["X-Apig-AppCode"] }"#);
    let gateway = installation.start();
    let app = "14b399ac967f4115bb62c0346b4537e9";
    let codes = format!("/v2/demo-project/apigw/instances/demo-instance/apps/{app}/app-codes");
    let made = gateway.put(&codes).header("x-auth-token", &installation.operator_token).send().await.unwrap();
    assert_eq!(made.status(), 201);
    let made: Value = made.json().await.unwrap();
    let (code, id) = (made["app_code"].as_str().unwrap(), made["id"].as_str().unwrap());
    let becomes = async |status: u16| {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            let answer = gateway.get("/").header("x-apig-appcode", code).send().await.unwrap();
            if answer.status() == status {
                return answer;
            }
            assert!(std::time::Instant::now() < deadline, "it does not become {status}");
        }
    };
    let echo: Value = becomes(200).await.json().await.unwrap();
    assert_eq!(values(&echo, "x-caller-id"), ["14b399ac-967f-4115-bb62-c0346b4537e9"]);
    assert!(values(&echo, "x-apig-appcode").is_empty(), "it does not travel on");
    assert_eq!(gateway.get("/").header("x-api-key", code).send().await.unwrap().status(), 401);

    let one = gateway.url(&format!("{codes}/{id}"));
    let gone =
        client().delete(one).header("x-auth-token", &installation.operator_token).send().await.unwrap();
    assert_eq!(gone.status(), 204);
    becomes(401).await;
    assert!(!gateway.log().concat().contains(code));
}

#[tokio::test]
async fn app_uses_a_route_while_authorized() {
    let service = Service::echo().await;
    let installation = Installation::with_granted_routes(service.address, &["orders", "bills"]);
    let gateway = installation.start();
    let base = "/v2/demo-project/apigw/instances/demo-instance";
    let app = "14b399ac967f4115bb62c0346b4537e9";
    let token = &installation.operator_token;
    let made = gateway.put(&format!("{base}/apps/{app}/app-codes")).header("x-auth-token", token);
    let made: Value = made.send().await.unwrap().json().await.unwrap();
    let code = made["app_code"].as_str().unwrap();
    let status = async |path: &str| {
        let answer = gateway.get(path).header("x-apig-appcode", code).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let becomes = async |path: &str, expected: u16| {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while status(path).await.0 != expected {
            assert!(std::time::Instant::now() < deadline, "{path} does not become {expected}");
        }
    };
    becomes("/orders", 403).await;
    assert!(status("/orders").await.1.contains("\"code\":\"not-granted\""));
    let body =
        format!(r#"{{"env_id":"DEFAULT_ENVIRONMENT_RELEASE_ID","app_ids":["{app}"],"api_ids":["orders"]}}"#);
    let auths = format!("{base}/app-auths");
    let given = gateway.post(&auths).header("x-auth-token", token).body(body).send().await.unwrap();
    assert_eq!(given.status(), 201);
    let given: Value = given.json().await.unwrap();
    becomes("/orders", 200).await;
    assert_eq!(status("/bills").await.0, 403);
    let id = given["auths"][0]["id"].as_str().unwrap();
    let one = gateway.url(&format!("{auths}/{id}"));
    let gone = client().delete(one).header("x-auth-token", token).send().await.unwrap();
    assert_eq!(gone.status(), 204);
    becomes("/orders", 403).await;
}

#[tokio::test]
async fn app_calls_from_its_allowed_addresses_only() {
    let service = Service::echo().await;
    let trusting = "server.trusted_proxies = [\"127.0.0.1/32\"]";
    let installation =
        Installation::with(service.address, r#"api_key = { sources = ["X-Apig-AppCode"] }"#, "", trusting);
    let gateway = installation.start();
    let app = "/v2/demo-project/apigw/instances/demo-instance/apps/14b399ac967f4115bb62c0346b4537e9";
    let token = &installation.operator_token;
    let made = gateway.put(&format!("{app}/app-codes")).header("x-auth-token", token).send().await.unwrap();
    let made: Value = made.json().await.unwrap();
    let code = made["app_code"].as_str().unwrap();
    let body = r#"{"app_acl_type":"PERMIT","app_acl_values":["192.0.2.0/24","2001:db8::1"]}"#;
    let set = gateway.put(&format!("{app}/app-acl")).header("x-auth-token", token).body(body);
    assert_eq!(set.send().await.unwrap().status(), 201);
    let from = async |address: &str| {
        let asked = gateway.get("/").header("x-apig-appcode", code).header("x-forwarded-for", address);
        let answer = asked.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while from("198.51.100.1").await.0 != 403 {
        assert!(std::time::Instant::now() < deadline, "the addresses do not hold");
    }
    assert!(from("198.51.100.1").await.1.contains("\"code\":\"address-not-allowed\""));
    for (address, status) in
        [("192.0.2.200", 200), ("2001:db8::1", 200), ("192.0.3.1", 403), ("2001:db8::2", 403)]
    {
        assert_eq!(from(address).await.0, status, "{address}");
    }
    // Without `X-Forwarded-For`, the client address is that of the connection.
    let itself = gateway.get("/").header("x-apig-appcode", code).send().await.unwrap();
    assert_eq!(itself.status(), 403);
}

#[tokio::test]
async fn plan_is_enforced_with_an_exact_retry_after() {
    let service = Service::echo().await;
    let address = crate::process::free_address();
    let text = format!(
        r#"
store.path = "data/portcullis.db"
secrets.file = "data/secrets.toml"
listeners = [{{ address = "{address}" }}]
[[plans]]
id = "demo"
limits = [{{ name = "hour", quota = 3, window = 3600 }}]
[upstreams.up]
address = "{}"
[[routes]]
path = "/"
upstream = "up"
policies = {{ api_key = true, rate_limit = {{ x_ratelimit = true }} }}
"#,
        service.address
    );
    let installation = Installation::from_text(&text, address);
    let gateway = installation.start();
    for remaining in ["2", "1", "0"] {
        let response = gateway.get("/").header("x-api-key", &installation.api_key).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["x-ratelimit-remaining"]),
            (200, &remaining.parse().unwrap())
        );
    }
    let response = gateway.get("/").header("x-api-key", &installation.api_key).send().await.unwrap();
    assert_eq!(response.status(), 429);
    let wait: u32 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1_190..=1_200).contains(&wait), "{wait}");
    assert_eq!(response.headers()["ratelimit"], *format!("\"hour\";r=0;t={wait}"));
}

#[tokio::test]
async fn route_is_found_by_host_path_and_method() {
    let service = Service::echo().await;
    let address = crate::process::free_address();
    let route = |rest: &str| format!("[[routes]]\nupstream = \"up\"\n{rest}\n");
    let text = format!(
        "store.path = \"data/p.db\"\nsecrets.file = \"data/s.toml\"\nlisteners = [{{ address = \"{address}\" }}]\n\
         [upstreams.up]\naddress = \"{}\"\n{}{}{}",
        service.address,
        route("path = \"/a\"\nmethods = [\"GET\", \"PUT\"]"),
        route("path = \"/a/b\"\npolicies.api_key = true")
            + &route("path = \"/c\"")
            + &route("path = \"/c\"\nmethods = [\"POST\"]\npolicies.api_key = true"),
        route("path = \"/\"\nhost = \"one.example\"\nunguarded = true"),
    );
    let installation = Installation::from_text(&text, address);
    let gateway = installation.start();
    let status = async |request: reqwest::RequestBuilder| request.send().await.unwrap().status().as_u16();
    assert_eq!(status(gateway.get("/a")).await, 200);
    assert_eq!(status(gateway.get("/a/c")).await, 200);
    assert_eq!(status(gateway.get("/ab")).await, 404, "a path stands for whole segments");
    assert_eq!(status(gateway.get("/a/b/c")).await, 401, "the longest path is taken");
    assert_eq!(status(gateway.get("/c")).await, 200);
    assert_eq!(status(gateway.post("/c")).await, 401, "a route without methods takes only what others leave");
    assert_eq!(status(client().head(gateway.url("/a"))).await, 200, "GET includes HEAD");
    assert_eq!(status(gateway.get("/ab").header("host", "ONE.example.:8080")).await, 200);
    assert_eq!(status(gateway.get("/ab").header("host", "two.example")).await, 404);
    let response = gateway.post("/a").send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["allow"]),
        (405, &"GET, PUT".parse().unwrap())
    );
}

#[tokio::test]
async fn upstream_receives_the_matched_path() {
    let service = Service::echo().await;
    let address = crate::process::free_address();
    let text = format!(
        "store.path = \"data/p.db\"\nsecrets.file = \"data/s.toml\"\nlisteners = [{{ address = \"{address}\" }}]\n\
         [upstreams.up]\naddress = \"{}\"\n\
         [[routes]]\npath = \"/files\"\nupstream = \"up\"\nrelax_path_rules = [\"encoded_slashes\", \"empty_segments\"]\n\
         [[routes]]\npath = \"/a/b\"\nupstream = \"up\"\n",
        service.address
    );
    let installation = Installation::from_text(&text, address);
    let gateway = installation.start();
    for (path, seen) in [
        ("/a/b?x=%61", Some("/a/b?x=%61")),
        ("/%61/%62/%3a", Some("/a/b/%3A")),
        ("/a/b%2fc", None),
        ("/files/a%2fb//c", Some("/files/a%2Fb//c")),
        ("/files/a;b", None),
    ] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = tokio::task::spawn_blocking({
            let raw = gateway.address;
            move || crate::process::raw(raw, head.as_bytes())
        });
        let answer = answer.await.unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        let echo: Value = serde_json::from_str(body).unwrap();
        assert_eq!(echo["target"].as_str(), seen, "{path}: {answer}");
    }
}

#[tokio::test]
async fn ambiguous_requests_reach_no_upstream() {
    let service = Service::echo().await;
    let installation = Installation::new(service.address, "");
    let gateway = installation.start();
    for head in [
        "GET /a/../b HTTP/1.1\r\nHost: a\r\n",
        "GET /a%2fb HTTP/1.1\r\nHost: a\r\n",
        "GET //a HTTP/1.1\r\nHost: a\r\n",
        "GET /a;b HTTP/1.1\r\nHost: a\r\n",
        "GET /a%252e HTTP/1.1\r\nHost: a\r\n",
        "GET / HTTP/1.1\r\n",
        "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: b\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: x-caller-id\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: a\r\nAuthorization: b\r\n",
    ] {
        let answer = gateway.raw(format!("{head}Connection: close\r\n\r\n").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400"), "{head}: {answer}");
    }
    assert_eq!(service.connections(), 0);
}
