//! Changes are authorized when they are made, and their authors can read them back: on every management API, over the
//! store of the gateway.

use std::{io::Read, io::Write, net::SocketAddr, net::TcpStream};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    admin::managed,
    process::{Gateway, TIMEOUT, client, provider},
    signature::{Sign, send},
};

const APPS: &str = "/v2/demo-project/apigw/instances/demo-instance/apps";
const CLIENT: &str = "5bc2be68-7498-4853-aa64-4be0ca62934e";

/// Sends a request to the admin API, as the owner.
async fn ask(admin: SocketAddr, token: &str, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let url = format!("http://{admin}/admin/v1{path}");
    let request = client().request(method.parse().unwrap(), url).bearer_auth(token).header("if-match", "*");
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

/// An admitted request of which only the head and one byte of the body were sent.
struct PendingRequest(TcpStream, String);

impl PendingRequest {
    fn begin(address: SocketAddr, target: &str, field: &str, content: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let head = format!(
            "POST {target} HTTP/1.1\r\nhost: {address}\r\n{field}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n",
            content.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut wanted = [0; 25];
        stream.read_exact(&mut wanted).unwrap();
        assert_eq!(wanted, *b"HTTP/1.1 100 Continue\r\n\r\n", "{target}");
        stream.write_all(&content.as_bytes()[..1]).unwrap();
        Self(stream, content[1..].to_owned())
    }

    fn end(mut self) -> String {
        self.0.write_all(self.1.as_bytes()).unwrap();
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).unwrap();
        answer
    }
}

/// Creates an AppCode. Returns the path for AppCodes of its app, and a request to create the same one again.
async fn taken_code(gateway: &Gateway, token: &str) -> (String, String) {
    let codes = format!("{APPS}/14b399ac967f4115bb62c0346b4537e9/app-codes");
    let taken = json!({ "app_code": "c".repeat(64) });
    let request = client().post(gateway.url(&codes)).header("x-auth-token", token).json(&taken);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
    (codes, taken.to_string())
}

#[tokio::test]
async fn credential_revoked_during_upload_changes_nothing() {
    let (installation, admin, token) = managed("").await;
    let gateway = installation.start();
    let key_of = async |tenant: &str, caller: &str| {
        let keys = format!("/tenants/{tenant}/callers/{caller}/keys");
        let (status, made) = ask(admin, &token, "POST", &keys, Some(json!({}))).await;
        assert_eq!(status, 201, "{made}");
        let id = made["id"].as_str().unwrap();
        (made["key"].as_str().unwrap().to_owned(), format!("/tenants/{tenant}/keys/{id}?wait=10"))
    };
    let last =
        async || ask(admin, &token, "GET", "/status", None).await.1["applied_change"].as_u64().unwrap();
    let (codes, taken) = taken_code(&gateway, &installation.operator_token).await;
    for (address, target, tenant, caller, field, content) in [
        (gateway.address, "/v1/api_keys", "demo", CLIENT, "x-api-key: ", "{}"),
        (gateway.address, "/v1/api_clients", "demo", CLIENT, "x-api-key: ", "{}"),
        (gateway.address, APPS, "demo-gateway", "demo-operator", "x-auth-token: ", r#"{"name":"app_late"}"#),
        // These would be errors, which tell what exists.
        (gateway.address, "/v1/api_keys", "demo", CLIENT, "x-api-key: ", r#"{"name":1}"#),
        (gateway.address, &codes, "demo-gateway", "demo-operator", "x-auth-token: ", &taken),
        (admin, "/admin/v1/tenants", "administration", "portcullis-owner", "authorization: Bearer ", "[]"),
        (
            admin,
            "/admin/v1/tenants",
            "administration",
            "portcullis-owner",
            "authorization: Bearer ",
            r#"{"id":"late","name":"Late"}"#,
        ),
    ] {
        let (key, revoked) = key_of(tenant, caller).await;
        let underway = PendingRequest::begin(address, target, &format!("{field}{key}"), content);
        assert_eq!(ask(admin, &token, "DELETE", &revoked, None).await.0, 204);
        let before = last().await;
        let answer = underway.end();
        assert!(answer.starts_with("HTTP/1.1 401 "), "{target} {answer}");
        assert_eq!(last().await, before, "{target}");
    }
}

/// Sends a signed request once. Returns its status and its body.
async fn signed(gateway: &Gateway, key: &str, secret: &str) -> (u16, Value) {
    let now = Timestamp::now();
    let get =
        Sign { key, secret, method: "GET", target: "/orders", content: "", at: now, hash_header: false };
    send(gateway, "GET", "/orders", get.fields(gateway), "").await
}

#[tokio::test]
async fn app_signs_with_the_secret_just_returned() {
    let (mut installation, _, _) = managed("").await;
    installation.rewrite(|text| text.replace("api_key = true", "signature = true"));
    let gateway = installation.start();
    let manage = async |method: &str, target: &str, body: &str| -> (u16, Value) {
        let request = client().request(method.parse().unwrap(), gateway.url(target));
        let request = request.header("x-auth-token", &installation.operator_token);
        let answer =
            request.header("content-type", "application/json").body(body.to_owned()).send().await.unwrap();
        let status = answer.status().as_u16();
        assert!(!answer.headers().contains_key("x-portcullis-pending"));
        (status, answer.json().await.unwrap_or_default())
    };
    for round in 0..30 {
        let (status, app) = manage("POST", APPS, &format!(r#"{{"name":"app_{round}"}}"#)).await;
        assert_eq!(status, 201, "{app}");
        let text = |app: &Value, name: &str| app[name].as_str().unwrap().to_owned();
        let (id, key, first) = (text(&app, "id"), text(&app, "app_key"), text(&app, "app_secret"));
        let (status, answer) = signed(&gateway, &key, &first).await;
        assert_eq!(status, 200, "made: {answer}");
        let (status, app) = manage("PUT", &format!("{APPS}/secret/{id}"), "{}").await;
        assert_eq!(status, 200, "{app}");
        let (status, answer) = signed(&gateway, &key, &text(&app, "app_secret")).await;
        assert_eq!(status, 200, "reset: {answer}");
        assert_eq!(signed(&gateway, &key, &first).await.0, 401, "its first secret");
        assert_eq!(manage("DELETE", &format!("{APPS}/{id}"), "").await.0, 204);
        assert_eq!(signed(&gateway, &key, &text(&app, "app_secret")).await.0, 401, "deleted");
    }
}

#[tokio::test]
async fn cross_site_browser_request_is_denied_without_lockout() {
    let (installation, admin, token) = managed("").await;
    let _gateway = installation.start();
    let status = async |fields: &[(&str, &str)], key: &str| {
        let url = format!("http://{admin}/admin/v1/status");
        let request =
            fields.iter().fold(client().get(url), |request, (name, value)| request.header(*name, *value));
        let answer = request.bearer_auth(key).send().await.unwrap();
        let cors = answer.headers().keys().any(|name| name.as_str().starts_with("access-control-"));
        assert!(!cors, "{:?}", answer.headers());
        answer.status().as_u16()
    };
    for _ in 0..20 {
        assert_eq!(status(&[("host", "evil.example")], "pca_guess").await, 421);
        assert_eq!(status(&[("origin", "http://evil.example")], "pca_guess").await, 403);
        assert_eq!(status(&[("sec-fetch-site", "cross-site")], "pca_guess").await, 403);
    }
    assert_eq!(status(&[("host", "evil.example")], &token).await, 421, "whatever its key");
    assert_eq!(status(&[], &token).await, 200, "nobody is locked out");
    let own = format!("localhost:{}", admin.port());
    assert_eq!(status(&[("host", &own), ("origin", &format!("http://{own}"))], &token).await, 200);
}

#[tokio::test]
async fn admin_listener_accepts_configured_names() {
    let (mut installation, admin, token) = managed("").await;
    installation.rewrite(|text| format!("{text}hosts = [\"admin.example.com\"]\n"));
    let gateway = installation.start();
    let url = format!("http://{admin}/admin/v1/status");
    for (host, expected) in
        [("admin.example.com", 200), ("Admin.Example.Com:8443", 200), ("example.com", 421)]
    {
        let answer = client().get(&url).header("host", host).bearer_auth(&token).send().await.unwrap();
        assert_eq!(answer.status(), expected, "{host}");
    }
    drop(gateway);
    installation.rewrite(|text| text.replace("admin.example.com", "admin.example.com:9001"));
    let output = installation.command("check").output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("admin.hosts"));
}

#[tokio::test]
async fn documentation_redirect_stays_on_the_host() {
    let (mut installation, admin, _) = managed("").await;
    installation.rewrite(|text| format!("{text}\n[[routes]]\npath = \"/manual\"\nsurface = \"docs\"\n"));
    let gateway = installation.start();
    provider();
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
    let client = client.unwrap();
    for base in [format!("http://{}/manual", gateway.address), format!("http://{admin}/admin/v1/docs")] {
        let answer = client.get(&base).send().await.unwrap();
        assert_eq!(answer.status(), 308);
        let own = base.rsplit('/').next().unwrap();
        assert_eq!(answer.headers()["location"], format!("{own}/"));
        for odd in [
            "http:134744072",
            "https:evil",
            "javascript:alert(1)",
            "%2f%2fevil",
            "%5cevil",
            "%5c%5cevil",
            "@evil",
            "%09",
            "evil%00",
            "data:,x",
        ] {
            let answer = client.get(format!("{base}/{odd}")).send().await.unwrap();
            let status = answer.status().as_u16();
            assert!(matches!(status, 400 | 404), "{base}/{odd} {status} {:?}", answer.headers());
            assert!(!answer.headers().contains_key("location"), "{base}/{odd}");
        }
    }
}

#[test]
fn key_expiry_in_the_past_has_its_own_exit_status() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (installation, ..) = runtime.block_on(managed(""));
    let arguments = format!("key create --tenant demo {CLIENT} --not-after 2020-01-01T00:00:00Z");
    let output = installation.command(&arguments).output().unwrap();
    let why = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(3), true), "{why}");
    assert!(why.contains("#/not_after"), "{why}");
}
