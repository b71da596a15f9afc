//! Request headers on their way to the upstream.

use serde_json::Value;

use crate::{
    process::{Gateway, Installation, Service, http2_client, values},
    scripted::Scripted,
};

/// Sends a GET with additional headers. Returns the request as the upstream received it.
fn echo(gateway: &Gateway, fields: &str) -> Value {
    let answer =
        gateway.raw(format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n").as_bytes());
    let content = answer.find("{\"").unwrap_or_else(|| panic!("{answer}"));
    serde_json::from_str(&answer[content..]).unwrap()
}

/// Returns the names of the headers of an echo, without those that the gateway sets.
fn names(echo: &Value) -> Vec<&str> {
    let fields = echo["fields"].as_array().unwrap().iter().map(|pair| pair[0].as_str().unwrap());
    let mut names: Vec<_> = fields
        .filter(|name| {
            !["host", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"].contains(name)
        })
        .collect();
    names.sort_unstable();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_headers_are_removed_in_every_spelling() {
    for (settings, field) in [
        ("", "x-caller-id"),
        ("server.caller_id_header = \"x_caller_id\"", "x_caller_id"),
        ("server.caller_id_header = \"X.Caller-Id\"", "x.caller-id"),
    ] {
        let service = Service::echo().await;
        let installation = Installation::with(service.address, "api_key = true", "", settings);
        let gateway = installation.start();
        let fields = format!(
            "X-API-Key: {}\r\nX-Caller-Id: admin\r\nX_Caller_Id: admin\r\nX.Caller.Id: admin\r\nX-Caller_Id: admin\r\n\
             x~caller~id: admin\r\nX'Caller-Id: admin\r\nX_Forwarded_For: 1.1.1.1\r\nX.Forwarded.Proto: https\r\n\
             X-Forwarded_Host: evil\r\nX-Other: 1\r\n",
            installation.api_key
        );
        let echo = echo(&gateway, &fields);
        assert_eq!(names(&echo).len(), 2, "{settings}: {echo}");
        assert_eq!(values(&echo, "x-other"), ["1"]);
        assert_eq!(values(&echo, field), ["5bc2be68-7498-4853-aa64-4be0ca62934e"]);
        assert_eq!(values(&echo, "x-forwarded-for"), ["127.0.0.1"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_only_a_proxy_may_set_are_removed() {
    const CLAIMS: &str = "Proxy: http://evil\r\nX-Forwarded-User: a\r\nX-Forwarded-Client-Cert: a\r\n\
        X-Original-Method: DELETE\r\nX-Envoy-Original-Path: /admin\r\nX-Remote-User: a\r\nRemote-User: a\r\n\
        X-Auth-Request-Email: a\r\nX-SSL-Client-Verify: SUCCESS\r\nClient-Cert: :a:\r\nX-Real-IP: 1.1.1.1\r\n\
        X-Tenant: a\r\nTraceparent: 00\r\n";
    for (settings, left) in [
        ("", &["traceparent", "x-tenant"][..]),
        ("server.removed_headers = [\"default\", \"x-ten*\", \"!x-real-ip\"]", &["traceparent", "x-real-ip"]),
        ("server.removed_headers = [\"default\", \"X-Tenant\"]", &["traceparent"]),
    ] {
        let service = Service::echo().await;
        let installation = Installation::with(service.address, "", "", settings);
        let gateway = installation.start();
        assert_eq!(names(&echo(&gateway, CLAIMS)), left, "{settings}");
    }
    let service = Service::echo().await;
    let installation = Installation::with(service.address, "", "", "server.removed_headers = [\"x-tenant\"]");
    let gateway = installation.start();
    let names_left = echo(&gateway, CLAIMS);
    assert!(
        names(&names_left).contains(&"x-real-ip") && !names(&names_left).contains(&"x-tenant"),
        "{names_left}"
    );
    assert_eq!(values(&names_left, "x-forwarded-for"), ["127.0.0.1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn chosen_media_type_is_forwarded_if_configured() {
    let accept = "accept = [\"application/json\", \"text/csv\"]";
    for (settings, sent) in [("server.media_type_header = \"X-Media-Type\"", true), ("", false)] {
        let service = Service::echo().await;
        let installation = Installation::with(service.address, accept, "", settings);
        let gateway = installation.start();
        for (fields, chosen) in [
            ("Accept: text/csv\r\nX_Media_Type: text/html\r\nX-Media-Type: text/html\r\n", "text/csv"),
            ("Accept: application/json, text/csv;q=0.5\r\n", "application/json"),
            ("", "application/json"),
        ] {
            let echo = echo(&gateway, fields);
            let expected: &[&str] = match (sent, fields.contains("X-Media-Type")) {
                (true, _) => &[chosen],
                (false, true) => &["text/html"],
                (false, false) => &[],
            };
            assert_eq!(values(&echo, "x-media-type"), expected, "{settings} {fields}");
            assert!(values(&echo, "x_media_type").is_empty());
        }
    }
    // A route without content negotiation has no media type, and the client's header is not used instead.
    let service = Service::echo().await;
    let installation =
        Installation::with(service.address, "", "", "server.media_type_header = \"x-media-type\"");
    let gateway = installation.start();
    assert!(values(&echo(&gateway, "X-Media-Type: text/html\r\n"), "x-media-type").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn content_length_with_a_leading_zero_is_400() {
    let service = Service::echo().await;
    let installation = Installation::new(service.address, "");
    let gateway = installation.start();
    for length in ["010", "00", "+10", "-10", "10, 10", "0xa", " "] {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n0123456789");
        let answer = gateway.raw(head.as_bytes());
        assert_eq!(answer.get(9..12), Some("400"), "{length}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn post_without_content_is_forwarded_with_a_length() {
    let service = Scripted::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let mut installation = Installation::new(service.address, "");
    let listener = format!("address = \"{}\"", installation.address);
    installation.rewrite(|text| text.replacen(&listener, &format!("{listener}\nh2c = true"), 1));
    let gateway = installation.start();
    let http2 = http2_client();
    for (method, length) in [
        ("POST", Some("0")),
        ("PUT", Some("0")),
        ("PATCH", Some("0")),
        ("QUERY", Some("0")),
        ("PROPFIND", Some("0")),
        ("GET", None),
        ("HEAD", None),
        ("DELETE", None),
    ] {
        let expected: Vec<&str> = length.into_iter().collect();
        http2.request(method.parse().unwrap(), gateway.url("/")).send().await.unwrap();
        gateway.raw(format!("{method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes());
        gateway.raw(format!("{method} / HTTP/1.0\r\nHost: a\r\n\r\n").as_bytes());
        let arrived = service.arrived();
        let last = &arrived[arrived.len() - 3..];
        for request in last {
            assert_eq!(request.values("content-length"), expected, "{}", request.head);
            assert!(request.values("transfer-encoding").is_empty() && request.method() == method);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trace_is_rejected_and_options_obeys_max_forwards() {
    let service = Service::echo().await;
    let mut installation = Installation::new(service.address, "");
    installation.rewrite(|text| {
        format!("{text}\n[[routes]]\npath = \"/read\"\nupstream = \"up\"\nmethods = [\"GET\", \"OPTIONS\"]\n")
    });
    let gateway = installation.start();
    let ask = |method: &str, path: &str, fields: &str| {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n");
        gateway.raw(head.as_bytes()).to_ascii_lowercase()
    };
    for fields in ["", "Max-Forwards: 0\r\n", "Max-Forwards: 5\r\n"] {
        let answer = ask("TRACE", "/x", fields);
        assert!(
            answer.starts_with("http/1.1 405") && answer.contains("\r\nallow: delete, get, head"),
            "{answer}"
        );
        let answer = ask("TRACE", "/read", fields);
        assert!(
            answer.starts_with("http/1.1 405") && answer.contains("\r\nallow: get, options\r\n"),
            "{answer}"
        );
    }
    let answer = ask("OPTIONS", "/read", "Max-Forwards: 0\r\n");
    assert!(answer.starts_with("http/1.1 204") && answer.contains("\r\nallow: get, options\r\n"), "{answer}");
    let answer = ask("OPTIONS", "/x", "Max-Forwards: 0\r\n");
    assert!(
        answer.starts_with("http/1.1 204") && answer.contains("\r\nallow: delete, get, head"),
        "{answer}"
    );
    for (sent, forwarded) in [("1", "0"), ("10", "9")] {
        let answer = ask("OPTIONS", "/x", &format!("Max-Forwards: {sent}\r\n"));
        assert!(answer.contains(&format!("[\"max-forwards\",\"{forwarded}\"]")), "{answer}");
    }
    for wrong in ["010", "-1", "1, 1", "1\r\nMax-Forwards: 1"] {
        let answer = ask("OPTIONS", "/x", &format!("Max-Forwards: {wrong}\r\n"));
        assert!(answer.starts_with("http/1.1 400"), "{wrong}: {answer}");
    }
    // Other methods may ignore the header (RFC 9110, section 7.6.2).
    assert!(ask("GET", "/x", "Max-Forwards: 0\r\n").starts_with("http/1.1 200"));
}
