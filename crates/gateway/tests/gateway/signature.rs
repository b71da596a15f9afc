//! Signed requests, through the gateway.

use std::{io::Write, process::Command, time::Instant};

use jiff::{SignedDuration, Timestamp};
use portcullis::signature::{Parts, Signer, format_date, hash};
use reqwest::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::process::{Gateway, Installation, Service, TIMEOUT, client, values};

const APP: &str = "/v2/demo-project/apigw/instances/demo-instance/apps/14b399ac967f4115bb62c0346b4537e9";
/// The path of the app in version 1 of the API.
const FIRST: &str =
    "/v1/demo-project/apigw/instances/demo-instance/apps/14b399ac-967f-4115-bb62-c0346b4537e9";
const DATE: HeaderName = HeaderName::from_static("x-sdk-date");
const HASH: HeaderName = HeaderName::from_static("x-sdk-content-sha256");

/// Returns the key and the secret of the app that `init` created.
async fn app(installation: &Installation, gateway: &Gateway) -> (String, String) {
    let app = gateway.get(APP).header("x-auth-token", &installation.operator_token).send().await.unwrap();
    let app: Value = app.json().await.unwrap();
    let text = |name: &str| app[name].as_str().unwrap().to_owned();
    (text("app_key"), text("app_secret"))
}

/// A request to sign, and the way to sign it.
pub struct Sign<'a> {
    pub key: &'a str,
    pub secret: &'a str,
    pub method: &'a str,
    pub target: &'a str,
    pub content: &'a str,
    pub at: Timestamp,
    /// Whether the body's hash is in a header, so that the body can be verified while it is streamed.
    pub hash_header: bool,
}

impl Sign<'_> {
    /// Returns the headers of the signature.
    pub fn fields(&self, gateway: &Gateway) -> HeaderMap {
        let (path, query) = self.target.split_once('?').unwrap_or((self.target, ""));
        let payload = hash(self.content.as_bytes());
        let mut fields = HeaderMap::new();
        fields.insert(DATE, HeaderValue::try_from(format_date(self.at)).unwrap());
        fields.insert(HOST, HeaderValue::try_from(gateway.address.to_string()).unwrap());
        let mut names = "host;x-sdk-date";
        if self.hash_header {
            fields.insert(HASH, HeaderValue::try_from(payload.as_str()).unwrap());
            names = "host;x-sdk-content-sha256;x-sdk-date";
        }
        let parts = Parts { method: self.method, path, query, authority: None, headers: &fields };
        let signer = Signer::new(self.key, self.secret.as_bytes());
        let signed = signer.sign(parts, names, payload.as_str()).unwrap().authorization();
        fields.insert(AUTHORIZATION, HeaderValue::try_from(signed).unwrap());
        fields
    }
}

pub async fn send(
    gateway: &Gateway,
    method: &str,
    target: &str,
    fields: HeaderMap,
    content: &str,
) -> (u16, Value) {
    let request = client().request(method.parse().unwrap(), gateway.url(target)).headers(fields);
    let answer = request.body(content.to_owned()).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

#[tokio::test]
async fn signed_request_is_admitted_and_altered_one_denied() {
    let service = Service::echo().await;
    let installation = Installation::new(service.address, "signature = true");
    let gateway = installation.start();
    let (key, secret) = app(&installation, &gateway).await;
    let (target, now) = ("/orders?b=2&a=1", Timestamp::now());
    let get =
        Sign { key: &key, secret: &secret, method: "GET", target, content: "", at: now, hash_header: false };
    let (status, echo) = send(&gateway, "GET", target, get.fields(&gateway), "").await;
    assert_eq!(status, 200, "{echo}");
    assert_eq!(values(&echo, "x-caller-id"), ["14b399ac-967f-4115-bb62-c0346b4537e9"]);
    assert!(values(&echo, "authorization").is_empty(), "it does not travel on");

    let quarter = SignedDuration::from_mins(15) + SignedDuration::from_secs(30);
    for (what, signed, asked) in [
        ("another query", get.fields(&gateway), "/orders?b=2&a=2"),
        ("another path", get.fields(&gateway), "/order?b=2&a=1"),
        ("another secret", Sign { secret: "guessed", ..get }.fields(&gateway), target),
        ("another key", Sign { key: "nobody", ..get }.fields(&gateway), target),
        ("too old", Sign { at: now - quarter, ..get }.fields(&gateway), target),
        ("too new", Sign { at: now + quarter, ..get }.fields(&gateway), target),
        ("nothing", HeaderMap::new(), target),
    ] {
        let (status, problem) = send(&gateway, "GET", asked, signed, "").await;
        assert_eq!(status, 401, "{what}: {problem}");
        assert!(!problem.to_string().contains(&secret), "{what}");
    }
    let (status, _) = send(&gateway, "POST", target, get.fields(&gateway), "").await;
    assert_eq!(status, 401, "another method");
}

#[tokio::test]
async fn content_other_than_signed_reaches_no_upstream() {
    let service = Service::echo().await;
    let installation = Installation::new(service.address, "signature = true");
    let gateway = installation.start();
    let (key, secret) = app(&installation, &gateway).await;
    for hash_header in [false, true] {
        for content in ["", "{\"a\":1}", &"x".repeat(300_000)] {
            let post = Sign {
                key: &key,
                secret: &secret,
                method: "POST",
                target: "/orders",
                content,
                at: Timestamp::now(),
                hash_header,
            };
            let (status, echo) = send(&gateway, "POST", "/orders", post.fields(&gateway), content).await;
            assert_eq!(status, 200, "{hash_header} {}: {echo}", content.len());
            let altered = format!("{content} ");
            let (status, problem) = send(&gateway, "POST", "/orders", post.fields(&gateway), &altered).await;
            assert_eq!(status, 401, "{hash_header} {}: {problem}", content.len());
        }
    }
}

/// The signature does not distinguish `+` and `%2B`, but an upstream does.
#[tokio::test]
async fn forwarded_query_is_the_signed_one() {
    let service = Service::echo().await;
    let installation = Installation::new(service.address, "signature = true");
    let gateway = installation.start();
    let (key, secret) = app(&installation, &gateway).await;
    let (target, now) = ("/orders?a=1%2B2", Timestamp::now());
    let get =
        Sign { key: &key, secret: &secret, method: "GET", target, content: "", at: now, hash_header: false };
    for sent in [target, "/orders?a=1+2", "/orders?&a=%31%2b2"] {
        let (status, echo) = send(&gateway, "GET", sent, get.fields(&gateway), "").await;
        assert_eq!((status, echo["target"].as_str()), (200, Some(target)), "{sent}");
    }
}

/// The access key is not secret: any client can claim it, and send a body whose signature is never verified.
#[tokio::test]
async fn signed_request_is_served_while_stalled_content_fills_memory() {
    let service = Service::echo().await;
    let installation = Installation::new(service.address, "signature = true");
    let gateway = installation.start();
    let (key, secret) = app(&installation, &gateway).await;
    let forged = Sign {
        key: &key,
        secret: "guessed",
        method: "POST",
        target: "/orders",
        content: "",
        at: Timestamp::now(),
        hash_header: false,
    };
    let mut head = String::from("POST /orders HTTP/1.1\r\nContent-Length: 7000000\r\n");
    for (name, value) in &forged.fields(&gateway) {
        head.extend([name.as_str(), ": ", value.to_str().unwrap(), "\r\n"]);
    }
    head.push_str("\r\n");
    let address = gateway.address;
    let held = tokio::task::spawn_blocking(move || {
        let attack = |_| {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            // The gateway may close the connection.
            let _ = stream.write_all(&vec![b'x'; 6_900_000]);
            stream
        };
        (0..10).map(attack).collect::<Vec<_>>()
    });
    let held = held.await.unwrap();
    for content in ["{\"a\":1}", &"x".repeat(1_000_000)] {
        let good = Sign { secret: &secret, content, ..forged };
        let (status, echo) = send(&gateway, "POST", "/orders", good.fields(&gateway), content).await;
        assert_eq!(status, 200, "{echo}");
    }
    drop(held);
}

#[tokio::test]
async fn unsigned_request_needs_a_key_where_both_are_accepted() {
    let service = Service::echo().await;
    let installation = Installation::new(service.address, "signature = true\napi_key = true");
    let gateway = installation.start();
    let (key, secret) = app(&installation, &gateway).await;
    let get = Sign {
        key: &key,
        secret: &secret,
        method: "GET",
        target: "/",
        content: "",
        at: Timestamp::now(),
        hash_header: false,
    };
    let by_key = || {
        let mut fields = HeaderMap::new();
        fields.insert("x-api-key", installation.api_key.parse().unwrap());
        fields
    };
    let mut both = get.fields(&gateway);
    both.extend(by_key());
    for (fields, status) in
        [(get.fields(&gateway), 200), (by_key(), 200), (both, 400), (HeaderMap::new(), 401)]
    {
        assert_eq!(send(&gateway, "GET", "/", fields, "").await.0, status);
    }
}

/// Signs a request with `portcullis sign`, with the current time. Returns its headers.
fn signed(gateway: &Gateway, key: &Value, method: &str, target: &str, content: &str) -> HeaderMap {
    let text = |name: &str| key[name].as_str().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["sign", "--json", "--key", text("access_key"), "-H", "Content-Type: application/json"])
        .args(["--data", content, method, &gateway.url(target)])
        .env("PORTCULLIS_SECRET", text("secret"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut fields = HeaderMap::new();
    fields.insert("content-type", HeaderValue::from_static("application/json"));
    for pair in document["headers"].as_array().unwrap() {
        let [name, value] = [&pair[0], &pair[1]].map(|text| text.as_str().unwrap());
        fields.insert(name.to_lowercase().parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    fields
}

#[tokio::test]
async fn operator_manages_apps_with_signatures_of_the_cli() {
    let service = Service::echo().await;
    let mut installation = Installation::new(service.address, "api_key = true");
    // Requests that are repeated until the key is known look like guesses.
    let patient = "[surfaces.apig]\nlockout = { attempts = 1000000, window = \"1s\", duration = \"1s\" }";
    installation.rewrite(|text| format!("{text}\n{patient}\n"));
    let gateway = installation.start();
    let made = installation
        .command("key create --tenant demo-gateway demo-operator --signing --json")
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut key: Value = serde_json::from_slice(&made.stdout).unwrap();

    // The gateway follows the store with a delay.
    let deadline = Instant::now() + TIMEOUT;
    while send(&gateway, "GET", APP, signed(&gateway, &key, "GET", APP, ""), "").await.0 == 401 {
        assert!(Instant::now() < deadline, "the access key is not known");
    }
    let (body, first) = (r#"{"name":"app_001"}"#, FIRST);
    for target in [APP, first] {
        let (status, app) =
            send(&gateway, "PUT", target, signed(&gateway, &key, "PUT", target, body), body).await;
        assert_eq!((status, app["name"].as_str()), (200, Some("app_001")), "{app}");
        let altered = r#"{"name":"app_666"}"#;
        let fields = signed(&gateway, &key, "PUT", target, body);
        let (status, error) = send(&gateway, "PUT", target, fields, altered).await;
        assert_eq!((status, error["error_code"].as_str()), (401, Some("APIG.0301")), "{error}");
    }
    key["secret"] = "guessed".into();
    let (status, error) = send(&gateway, "GET", APP, signed(&gateway, &key, "GET", APP, ""), "").await;
    assert_eq!((status, error["error_code"].as_str()), (401, Some("APIG.0301")), "{error}");
}
