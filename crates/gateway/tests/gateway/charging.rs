//! Tests which requests count towards a caller's limits, and how shared caches may use a caller's responses.

use std::net::SocketAddr;

use axum::{Router, routing::get};
use serde_json::Value;

use crate::{
    process::{Gateway, Installation, Service, free_address},
    scripted::{Reaction, Scripted, ok},
};

/// Starts a gateway whose caller may send three requests per hour to an upstream.
fn gateway(service: SocketAddr) -> (Installation, Gateway) {
    with(service, "")
}

/// Starts a gateway like [`gateway`], with additional settings of the upstream.
fn with(service: SocketAddr, of_upstream: &str) -> (Installation, Gateway) {
    let address = free_address();
    let text = format!(
        r#"
store.path = "p.db"
secrets.file = "s.toml"
limits = {{ body_bytes = 1000, body_timeout = "200ms" }}
[[listeners]]
address = "{address}"
[[plans]]
id = "demo"
limits = [{{ name = "hour", quota = 3, window = 3600 }}]
[upstreams.up]
address = "{service}"
{of_upstream}
[[routes]]
path = "/"
upstream = "up"
policies = {{ api_key = true, rate_limit = true }}
"#
    );
    let installation = Installation::from_text(&text, address);
    let gateway = installation.start();
    (installation, gateway)
}

/// Sends a request with the caller's key. Returns the status and the response.
fn ask(
    installation: &Installation,
    gateway: &Gateway,
    method: &str,
    path: &str,
    content: &str,
) -> (u16, String) {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-API-Key: {}\r\n",
        installation.api_key
    );
    let answer = gateway.raw(format!("{head}{content}").as_bytes());
    (answer.get(9..12).unwrap_or_default().parse().unwrap_or(0), answer)
}

/// Sends successful requests until the limit denies one. Returns their number: the budget that was left.
fn room(installation: &Installation, gateway: &Gateway) -> usize {
    (0..10).take_while(|_| ask(installation, gateway, "GET", "/ok", "\r\n").0 == 200).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn content_over_its_limit_is_not_charged() {
    let service = Scripted::start(|_| Reaction::Send(ok("ok")));
    let (installation, gateway) = gateway(service.address);
    let piece = format!("1f4\r\n{}\r\n", "x".repeat(500));
    let chunked = format!("Transfer-Encoding: chunked\r\n\r\n{piece}{piece}{piece}0\r\n\r\n");
    for _ in 0..4 {
        assert_eq!(ask(&installation, &gateway, "POST", "/", &chunked).0, 413);
        assert_eq!(ask(&installation, &gateway, "POST", "/", "Content-Length: 1001\r\n\r\n").0, 413);
    }
    assert_eq!(room(&installation, &gateway), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_upstream_request_is_not_charged() {
    let service = Scripted::start(|request| match request.path() {
        "/ok" => Reaction::SendAndClose(ok("ok")),
        "/garbage" => Reaction::SendAndClose(b"SSH-2.0-hello\r\n".to_vec()),
        "/framing" => {
            Reaction::SendAndClose(b"HTTP/1.1 200 OK\r\nContent-Length: 010\r\n\r\n0123456789".to_vec())
        }
        _ => Reaction::Close,
    });
    let (installation, gateway) = gateway(service.address);
    for (path, status) in [("/garbage", 502), ("/framing", 502), ("/closes", 502)] {
        for content in ["\r\n", "Content-Length: 1\r\n\r\nx"] {
            let (answered, answer) = ask(&installation, &gateway, "POST", path, content);
            assert_eq!(answered, status, "{path}: {answer}");
            assert!(!answer.to_ascii_lowercase().contains("\r\nratelimit"), "nothing was spent: {answer}");
        }
    }
    assert_eq!(room(&installation, &gateway), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn upstream_timeout_is_not_charged() {
    let service = Scripted::start(|_| Reaction::Send(Vec::new()));
    let (installation, gateway) = with(service.address, "read_timeout = \"100ms\"");
    for content in ["\r\n", "Content-Length: 1\r\n\r\nx"].repeat(3) {
        assert_eq!(ask(&installation, &gateway, "POST", "/", content).0, 504);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_upstream_is_not_charged() {
    let (installation, gateway) = gateway(free_address());
    for _ in 0..5 {
        assert_eq!(ask(&installation, &gateway, "GET", "/", "\r\n").0, 502);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn served_or_client_aborted_request_is_charged() {
    let service = Scripted::start(|request| match request.path() {
        "/fails" => {
            Reaction::Send(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n".to_vec())
        }
        _ => Reaction::Send(ok("ok")),
    });
    let (installation, gateway) = gateway(service.address);
    assert_eq!(ask(&installation, &gateway, "GET", "/fails", "\r\n").0, 500);
    // The upstream has begun to read the body.
    assert_eq!(ask(&installation, &gateway, "POST", "/", "Content-Length: 10\r\n\r\nab").0, 408);
    assert_eq!(room(&installation, &gateway), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn authenticated_response_is_private_by_default() {
    let service = Service::start(Router::new().route(
        "/{*rest}",
        get(async |request: axum::extract::Request| {
            let query = request.uri().query().unwrap_or_default().to_owned();
            let fields = query.split('&').filter_map(|pair| pair.split_once('='));
            let mut response = axum::response::Response::builder();
            for (name, value) in fields {
                response = response.header(name, value.replace('+', " "));
            }
            response.body(axum::body::Body::from("ok")).unwrap()
        }),
    ))
    .await;
    let mut installation = Installation::new(service.address, "api_key = true");
    installation.rewrite(|text| format!("{text}\n[[routes]]\npath = \"/open\"\nupstream = \"up\"\n"));
    let gateway = installation.start();
    for (sent, caching, vary) in [
        ("/x", &["private"][..], &[][..]),
        ("/x?cache-control=no-store", &["no-store"], &[]),
        ("/x?cache-control=private,+max-age=9", &["private, max-age=9"], &[]),
        ("/x?cache-control=max-age=9", &["max-age=9"], &["x-api-key"]),
        ("/x?cache-control=public&vary=X-API-Key", &["public"], &["X-API-Key"]),
        ("/x?expires=0", &[], &["x-api-key"]),
    ] {
        let response = gateway.get(sent).header("x-api-key", &installation.api_key).send().await.unwrap();
        let values = |name: &str| {
            let values = response.headers().get_all(name).iter();
            values.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!((values("cache-control"), values("vary")), (strings(caching), strings(vary)), "{sent}");
    }
    // Shared caches know this header (RFC 9111, section 3.5).
    let bearer = format!("Bearer {}", installation.api_key);
    let response =
        gateway.get("/x?cache-control=max-age=9").header("authorization", bearer).send().await.unwrap();
    assert!(!response.headers().contains_key("vary"));
    let open = gateway.get("/open/x").send().await.unwrap();
    assert!(!open.headers().contains_key("cache-control"), "nobody was recognised");
    let refused: Value = gateway.get("/x").send().await.unwrap().json().await.unwrap();
    assert_eq!(refused["code"], "credential-missing");
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}
