//! Tests how the gateway determines the host of a request.

use crate::process::{Gateway, Installation, Service, free_address, raw};

/// Creates an installation with a route for one host and a route for any host. A host that the gateway cannot parse must
/// not fall back from the first to the second.
async fn installation(service: &Service) -> Installation {
    let address = free_address();
    let text = format!(
        r#"
store.path = "data/p.db"
secrets.file = "data/s.toml"
[[listeners]]
address = "{address}"
h2c = true
[upstreams.up]
address = "{}"
[[routes]]
host = "a.example"
path = "/"
upstream = "up"
policies = {{ api_key = true }}
[[routes]]
path = "/"
upstream = "up"
"#,
        service.address
    );
    Installation::from_text(&text, address)
}

fn status(gateway: &Gateway, host: &str) -> u16 {
    let answer =
        gateway.raw(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes());
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn invalid_host_is_rejected_and_never_another_route() {
    let service = Service::echo().await;
    let installation = installation(&service).await;
    let gateway = installation.start();
    for host in ["a.example", "A.EXAMPLE", "a.example.", "a.example:80", "a.example.:8080", "a.example:"] {
        assert_eq!(status(&gateway, host), 401, "{host}: the route of its host");
    }
    for host in
        ["b.example", "[::1]", "[::1]:80", "192.0.2.1:80", "xn--bcher-kva.example", "a_b.example", "b."]
    {
        assert_eq!(status(&gateway, host), 200, "{host}: the route of any host");
    }
    let long = format!("{}.example", "a".repeat(64));
    for host in [
        "a.example..",
        "a..",
        ".",
        "..a.example",
        ".a.example",
        "a..example",
        "[",
        "]",
        "::",
        "[::1",
        "[]",
        ":80",
        "",
        "a.example:x",
        "a.example:0",
        "a.example:65536",
        "a.example:-1",
        "a.example:80:80",
        "user@a.example",
        "a.example@b",
        "a.example/",
        "a.example,b",
        "a%2eexample",
        "[fe80::1%25a]",
        "[192.0.2.1]",
        &long,
    ] {
        assert_eq!(status(&gateway, host), 400, "{host:?}");
    }
    // The same rules apply to the authority of the target.
    let target = "GET http://a.example../ HTTP/1.1\r\nHost: a.example..\r\nConnection: close\r\n\r\n";
    assert!(raw(gateway.address, target.as_bytes()).starts_with("HTTP/1.1 400"));
}
