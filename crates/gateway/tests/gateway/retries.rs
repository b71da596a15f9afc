//! Requests on connections that the upstream closes.

use crate::{
    process::{Gateway, Installation},
    scripted::{Arrived, Reaction, Scripted, ok},
};

/// Starts an upstream that closes each connection at its second request, without a response.
fn closes_upon_the_second() -> Scripted {
    Scripted::start(|request| if request.request == 0 { Reaction::Send(ok("ok")) } else { Reaction::Close })
}

fn gateway(service: &Scripted) -> (Installation, Gateway) {
    let installation = Installation::with(service.address, "", "", "server.threads = 1");
    let gateway = installation.start();
    (installation, gateway)
}

/// Returns the status of a request without a body, or with the body that the framing describes.
fn status(gateway: &Gateway, method: &str, framing: &str) -> String {
    let request =
        format!("{method} /x?y=1 HTTP/1.1\r\nHost: a\r\nX-Mine: 1\r\nConnection: close\r\n{framing}");
    gateway.raw(request.as_bytes()).get(9..12).unwrap_or_default().to_owned()
}

fn times(service: &Scripted, method: &str) -> usize {
    service.arrived().iter().filter(|request| request.method() == method).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn idempotent_request_is_retried_on_a_stale_connection() {
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "PUT"] {
        let service = closes_upon_the_second();
        let (_installation, gateway) = gateway(&service);
        for _ in 0..6 {
            assert_eq!(status(&gateway, method, "\r\n"), "200", "{method}");
        }
        let fields = |request: &Arrived| {
            let mut lines: Vec<_> = request.head.lines().map(str::to_owned).collect();
            lines.sort_unstable();
            lines
        };
        let arrived = service.arrived();
        assert!(arrived.iter().all(|request| fields(request) == fields(&arrived[0])), "{arrived:?}");
        // A HEAD request does not leave a reusable connection.
        assert_eq!(times(&service, method), if method == "HEAD" { 6 } else { 11 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn non_idempotent_request_is_not_retried() {
    for (method, framing) in [
        ("POST", "\r\n"),
        ("POST", "Content-Length: 2\r\n\r\nhi"),
        ("PATCH", "\r\n"),
        ("PUT", "Content-Length: 2\r\n\r\nhi"),
        ("PUT", "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
        ("LINK", "\r\n"),
    ] {
        let service = closes_upon_the_second();
        let (_installation, gateway) = gateway(&service);
        assert_eq!(status(&gateway, "GET", "\r\n"), "200");
        assert_eq!(status(&gateway, method, framing), "502", "{method} {framing:?}");
        assert_eq!(times(&service, method), 1, "{method} {framing:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn request_is_retried_once() {
    // Only the first connection gets a response.
    let service = Scripted::start(|request| match (request.connection, request.request) {
        (0, 0) => Reaction::Send(ok("ok")),
        _ => Reaction::Close,
    });
    let (_installation, gateway) = gateway(&service);
    assert_eq!(status(&gateway, "GET", "\r\n"), "200");
    assert_eq!(status(&gateway, "GET", "\r\n"), "502");
    assert_eq!(service.arrived().len(), 3);
    assert_eq!(status(&gateway, "GET", "\r\n"), "502", "a fresh connection is not tried twice");
    assert_eq!(service.arrived().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn request_with_a_started_response_is_not_retried() {
    for begun in ["H", "HTTP/1.1 200 OK\r\nContent-", "HTTP/1.1 103 Early Hints\r\n\r\n", "SSH-2.0-hello\r\n"]
    {
        let service = Scripted::start(move |request| {
            if request.request == 0 { Reaction::Send(ok("ok")) } else { Reaction::SendAndClose(begun.into()) }
        });
        let (_installation, gateway) = gateway(&service);
        assert_eq!(status(&gateway, "GET", "\r\n"), "200");
        assert_eq!(status(&gateway, "GET", "\r\n"), "502", "{begun:?}");
        assert_eq!(service.arrived().len(), 2, "{begun:?}");
    }
}
