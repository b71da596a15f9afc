//! Upgrades to WebSocket, and informational responses.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Instant,
};

use axum::{
    Router,
    extract::{FromRequestParts, Request, WebSocketUpgrade, ws},
    response::{IntoResponse, Response},
    routing::any,
};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, Message, client::IntoClientRequest},
};

use crate::{
    process::{Gateway, Installation, Service, TIMEOUT, client},
    reload::reload,
    scripted::{Reaction, Scripted, ok},
};

type Client = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

/// Starts a service that echoes the messages of each `WebSocket`, and sends the request's headers first.
async fn echo() -> Service {
    let upgrade = async |request: Request| -> Response {
        let headers = format!("{:?}", request.headers());
        let Ok(upgrade) = WebSocketUpgrade::from_request_parts(&mut request.into_parts().0, &()).await else {
            return headers.into_response();
        };
        upgrade.on_upgrade(|mut socket| async move {
            let _ = socket.send(ws::Message::text(headers)).await;
            while let Some(Ok(message)) = socket.next().await {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
        })
    };
    Service::start(Router::new().route("/{*path}", any(upgrade))).await
}

/// Starts a gateway whose route has these settings.
fn gateway(
    service: &Service,
    route: &str,
    policies: &str,
    of_upstream: &str,
    of_file: &str,
) -> (Installation, Gateway) {
    let mut installation = Installation::with(service.address, policies, of_upstream, of_file);
    let settings = format!("upstream = \"up\"\n{route}\n[routes.policies]");
    installation.rewrite(|text| text.replacen("upstream = \"up\"\n[routes.policies]", &settings, 1));
    let gateway = installation.start();
    (installation, gateway)
}

/// Opens a WebSocket. An error is the status of the response.
async fn open(gateway: &Gateway, key: Option<&str>) -> Result<Client, u16> {
    let mut request = format!("ws://{}/ws", gateway.address).into_client_request().unwrap();
    if let Some(key) = key {
        request.headers_mut().insert("x-api-key", key.parse().unwrap());
    }
    match connect_async(request).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

/// Receives a text. `None` means that the connection has ended.
async fn receive(socket: &mut Client) -> Option<String> {
    let message = tokio::time::timeout(TIMEOUT, socket.next()).await.expect("no message in time");
    message?.ok().filter(Message::is_text).map(|message| message.into_text().unwrap().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn websocket_is_opened_after_the_policies_have_admitted() {
    let service = echo().await;
    let (installation, gateway) =
        gateway(&service, "upgrades = true", "api_key = true\nrate_limit = true", "", "");
    assert_eq!(open(&gateway, None).await.unwrap_err(), 401);
    assert_eq!(open(&gateway, Some("wrong-key")).await.unwrap_err(), 401);
    let mut socket = open(&gateway, Some(&installation.api_key)).await.unwrap();
    let headers = receive(&mut socket).await.unwrap();
    assert!(headers.contains("x-caller-id") && !headers.contains(&installation.api_key), "{headers}");
    for text in ["a", &"b".repeat(1 << 20)] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(receive(&mut socket).await.as_deref(), Some(text));
    }
    socket.close(None).await.unwrap();
    while socket.next().await.is_some() {}
    drop(socket);
    assert_eq!(gateway.access("/ws")["status"], 101);
    let ends = |line: &String| line.contains("upgraded connection ended") && line.contains("\"closed\"");
    let deadline = Instant::now() + TIMEOUT;
    while !gateway.log().iter().any(ends) {
        assert!(Instant::now() < deadline, "{:?}", gateway.log());
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrade_is_ignored_where_it_is_not_allowed() {
    let service = echo().await;
    let (_installation, gateway) = gateway(&service, "", "", "", "");
    // The service serves the request without an upgrade.
    assert_eq!(open(&gateway, None).await.unwrap_err(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrade_is_denied_where_it_is_not_allowed_if_configured() {
    let service = echo().await;
    let (_installation, gateway) = gateway(&service, "", "", "", "server.disallowed_upgrades = \"deny\"");
    assert_eq!(open(&gateway, None).await.unwrap_err(), 501);
    // curl --http2 offers h2c with every request.
    let head = "GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n";
    let answer = gateway.raw(head.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn upgraded_connections_are_counted_and_freed() {
    let service = echo().await;
    let (_installation, gateway) = gateway(&service, "upgrades = { connections = 1 }", "", "", "");
    let mut first = open(&gateway, None).await.unwrap();
    assert_eq!(open(&gateway, None).await.unwrap_err(), 503);
    assert_eq!(
        client().get(gateway.url("/x")).send().await.unwrap().status(),
        200,
        "only upgrades are counted"
    );
    first.close(None).await.unwrap();
    while first.next().await.is_some() {}
    drop(first);
    // The gateway may not have freed the place yet.
    let deadline = Instant::now() + TIMEOUT;
    while open(&gateway, None).await.is_err() {
        assert!(Instant::now() < deadline, "the place is not freed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_stay_open_and_are_counted_across_a_reload() {
    let service = echo().await;
    let (_installation, gateway) = gateway(&service, "upgrades = { connections = 1 }", "", "", "");
    let mut first = open(&gateway, None).await.unwrap();
    receive(&mut first).await.unwrap();
    reload(&gateway, 1).await;
    assert_eq!(open(&gateway, None).await.unwrap_err(), 503);
    first.send(Message::text("still here")).await.unwrap();
    assert_eq!(receive(&mut first).await.as_deref(), Some("still here"));
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_websocket_ends_after_the_idle_timeout() {
    let service = echo().await;
    let (_installation, gateway) = gateway(
        &service,
        "upgrades = true",
        "",
        "stream_idle_timeout = \"300ms\"\nread_timeout = \"100ms\"",
        "",
    );
    let mut socket = open(&gateway, None).await.unwrap();
    receive(&mut socket).await.unwrap();
    assert_eq!(receive(&mut socket).await, None);
    let log = gateway.end();
    assert!(log.iter().any(|line| line.contains("idle timeout")), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn websocket_ends_at_its_maximum_age() {
    let service = echo().await;
    let (_installation, gateway) = gateway(&service, "upgrades = { max_age = \"300ms\" }", "", "", "");
    let mut socket = open(&gateway, None).await.unwrap();
    let deadline = Instant::now() + TIMEOUT;
    while receive(&mut socket).await.is_some() {
        assert!(Instant::now() < deadline, "the connection stays open");
        let _ = socket.send(Message::text("on")).await;
    }
    let log = gateway.end();
    assert!(log.iter().any(|line| line.contains("maximum age")), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_end_at_shutdown() {
    let service = echo().await;
    let (_installation, mut gateway) =
        gateway(&service, "upgrades = true", "", "", "server.shutdown_grace = \"60s\"");
    let mut sockets = Vec::new();
    for _ in 0..3 {
        let mut socket = open(&gateway, None).await.unwrap();
        receive(&mut socket).await.unwrap();
        sockets.push(socket);
    }
    gateway.signal("-TERM");
    for socket in &mut sockets {
        assert_eq!(receive(socket).await, None);
    }
    assert!(gateway.wait().success());
}

/// Opens a raw upgrade to a scripted service, and returns everything that the client receives.
fn raw_upgrade(gateway: &Gateway, after: &[u8]) -> String {
    let head = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    gateway.raw(&[head.as_bytes(), after].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_beside_the_handshake_are_kept() {
    let service = Scripted::start(|_| {
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\nX-Own: 1\r\n\r\n";
        Reaction::SendAndClose(format!("{head}server first").into_bytes())
    });
    let address = service.address;
    let service = Service { address, connections: std::sync::Arc::default() };
    let (_installation, gateway) = gateway(&service, "upgrades = true", "", "", "");
    let answer = raw_upgrade(&gateway, b"client first");
    let (head, rest) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 101") && head.contains("x-own: 1"), "{head}");
    assert!(head.contains("upgrade: websocket") && !head.contains("via"), "{head}");
    assert_eq!(rest, "server first");
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrade_request_with_content_is_served_without_the_upgrade() {
    let service = echo().await;
    let (_installation, gateway) = gateway(&service, "upgrades = true", "", "", "");
    let answer = gateway.raw(
        b"POST /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n\
          Content-Length: 5\r\n\r\nhello",
    );
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("websocket"), "{answer}");
    assert!(answer.contains("\"content-length\": \"5\""), "the service has received: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn response_that_was_not_asked_for_is_502() {
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n",
    ] {
        let service = Scripted::answering(answer.as_bytes());
        let service = Service { address: service.address, connections: std::sync::Arc::default() };
        let (_installation, gateway) = gateway(&service, "upgrades = true", "", "", "");
        let head = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n\r\n";
        let answer = gateway.raw(head.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    }
}

fn early_hints() -> Scripted {
    Scripted::start(|request| {
        let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n";
        let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
        let answer = ok(request.path());
        Reaction::Send([interim.as_bytes(), hints.as_bytes(), &answer].concat())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn early_hints_are_forwarded_where_configured() {
    let scripted = early_hints();
    let service = Service { address: scripted.address, connections: std::sync::Arc::default() };
    let (_installation, forwarding) = gateway(&service, "informational_responses = true", "", "", "");
    let request =
        b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = forwarding.raw(request);
    let statuses: Vec<_> = answer.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")).collect();
    // The second request may arrive while the first response is written. Its hints are then dropped.
    let first = ["102 Processing", "103 Early Hints", "200 OK"];
    assert!(statuses.starts_with(&first) && statuses.ends_with(&["200 OK"]), "{statuses:?}");
    assert!(answer.contains("link: </a.css>; rel=preload\r\n") && !answer.contains("x-hop"), "{answer}");
    // HTTP/1.0 has no informational responses, and hyper cannot send them on HTTP/2.
    let answer = forwarding.raw(b"GET /a HTTP/1.0\r\nHost: a\r\n\r\n");
    assert!(!answer.contains("103 Early"), "{answer}");
    assert_eq!(client().get(forwarding.url("/c")).send().await.unwrap().text().await.unwrap(), "/c");

    let (_installation, plain) = gateway(&service, "", "", "", "");
    let answer = plain.raw(request);
    assert!(!answer.contains("103 Early") && answer.ends_with("/b"), "{answer}");
}

/// The client reads slowly, so that the informational response meets a message that is only partly written.
#[tokio::test(flavor = "multi_thread")]
async fn early_hints_never_split_a_message() {
    const LARGE: usize = 4 << 20;
    let scripted = Scripted::start(|request| {
        if request.path() == "/large" {
            return Reaction::Send(ok(&"x".repeat(LARGE)));
        }
        let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
        Reaction::Send([&hints[..], &ok("small")].concat())
    });
    let service = Service { address: scripted.address, connections: std::sync::Arc::default() };
    let (_installation, gateway) = gateway(&service, "informational_responses = true", "", "", "");
    let mut stream = TcpStream::connect(gateway.address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let two =
        b"GET /large HTTP/1.1\r\nHost: a\r\n\r\nGET /small HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(two).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, rest) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let (content, rest) = rest.split_at(LARGE);
    assert!(content.bytes().all(|byte| byte == b'x'));
    assert!(rest.starts_with("HTTP/1.1 ") && rest.ends_with("small"), "{rest}");
}
