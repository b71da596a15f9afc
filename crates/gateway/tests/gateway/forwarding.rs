//! Forwarding to the upstream.

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    routing::{get, post},
};
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::process::{Installation, Service, client, free_address, values};

/// Both directions stream at once: each side sends its next part only after the other side's last part has arrived.
#[tokio::test]
async fn bodies_stream_in_both_directions() {
    let service = Service::start(Router::new().route(
        "/",
        post(async |request: Request| Body::from_stream(request.into_body().into_data_stream())),
    ))
    .await;
    let installation = Installation::new(service.address, "");
    let gateway = installation.start();
    let (parts, body) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let body = reqwest::Body::wrap_stream(futures_util::stream::unfold(body, async |mut body| {
        body.recv().await.map(|part| (part, body))
    }));
    parts.send(Ok("part 0".into())).await.unwrap();
    let mut answer = gateway.post("/").body(body).send().await.unwrap();
    for part in 0..5 {
        assert_eq!(answer.chunk().await.unwrap().unwrap(), format!("part {part}"));
        parts.send(Ok(format!("part {}", part + 1).into())).await.unwrap();
    }
    drop(parts);
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "part 5");
    assert_eq!(answer.chunk().await.unwrap(), None);
}

/// The upstream listens on IPv4 only, and the name may also have an IPv6 address.
#[tokio::test]
async fn upstream_is_found_by_its_name() {
    let service = Service::start(Router::new().route("/", get(async || "served"))).await;
    let mut installation = Installation::new(service.address, "");
    let named = format!("\"localhost:{}\"", service.address.port());
    installation.rewrite(|text| text.replace(&format!("\"{}\"", service.address), &named));
    let gateway = installation.start();
    let answer = gateway.get("/").send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "served");
}

/// An upstream may respond before it has read the request, and a client may send its whole request before it reads.
#[tokio::test(flavor = "multi_thread")]
async fn upload_continues_while_the_response_is_unread() {
    const LARGE: usize = 16 << 20;
    let service = Service::start(Router::new().route(
        "/",
        post(async |request: Request| {
            tokio::spawn(request.into_body().collect());
            vec![b'x'; LARGE]
        }),
    ))
    .await;
    let installation = Installation::with(service.address, "", "", "limits.body_bytes = 20971520");
    let gateway = installation.start();
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {LARGE}\r\n\r\n");
    let answer = gateway.raw(&[head.as_bytes(), &vec![7; LARGE]].concat());
    assert!(answer.starts_with("HTTP/1.1 200"));
    assert!(answer.len() > LARGE, "{}", answer.len());
}

#[tokio::test]
async fn large_body_arrives_complete() {
    let service = Service::echo().await;
    let installation = Installation::with(service.address, "", "", "limits.body_bytes = 20971520");
    let gateway = installation.start();
    let echo: Value = gateway.put("/").body(vec![7_u8; 20 << 20]).send().await.unwrap().json().await.unwrap();
    assert_eq!((&echo["bytes"], values(&echo, "content-length")), (&(20 << 20).into(), vec!["20971520"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn hop_by_hop_headers_are_not_forwarded() {
    let service = Service::echo().await;
    let installation = Installation::new(service.address, "");
    let gateway = installation.start();
    let answer = gateway.raw(
        b"GET /x HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\nTE: trailers\r\nKeep-Alive: 5\r\n\
          Forwarded: for=1.1.1.1\r\nX-Forwarded-For: 1.1.1.1\r\nProxy-Authorization: x\r\n\r\n",
    );
    let echo: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    for name in ["connection", "te", "keep-alive", "forwarded", "proxy-authorization"] {
        assert!(values(&echo, name).is_empty(), "{name}: {echo}");
    }
    assert_eq!(values(&echo, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(values(&echo, "host"), ["a.example"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_host_is_replaced_by_that_of_the_upstream() {
    let service = Service::echo().await;
    let installation = Installation::new(service.address, "");
    let gateway = installation.start();
    let answer = gateway.raw(b"GET /x HTTP/1.0\r\n\r\n");
    let echo: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(values(&echo, "host"), [service.address.to_string()]);
    assert!(values(&echo, "x-forwarded-host").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn request_trailers_are_not_forwarded() {
    let service = Service::echo().await;
    let installation = Installation::new(service.address, "");
    let gateway = installation.start();
    let answer = gateway.raw(
        b"POST /x HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\nTrailer: x-caller-id\r\n\
          Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Caller-Id: root\r\n\r\n",
    );
    let echo: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(echo["bytes"], 5);
    assert!(values(&echo, "trailer").is_empty() && values(&echo, "x-caller-id").is_empty());
}

#[tokio::test]
async fn upstream_connections_are_reused() {
    let service = Service::echo().await;
    let installation = Installation::with(service.address, "", "", "server.threads = 1");
    let gateway = installation.start();
    for _ in 0..20 {
        // Opens a new connection to the gateway each time.
        assert_eq!(client().get(gateway.url("/")).send().await.unwrap().status(), 200);
    }
    assert_eq!(service.connections(), 1);
}

#[tokio::test]
async fn upstream_connection_closed_while_idle_costs_no_request() {
    // Answers one request on each connection, and closes it without having announced that.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut read = [0; 4096];
            if stream.read(&mut read).unwrap() > 0 {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
            }
        }
    });
    let installation = Installation::with(address, "", "", "server.threads = 1");
    let gateway = installation.start();
    let client = client();
    for at in 0..50 {
        let response = client.post(gateway.url("/")).body("x").send().await.unwrap();
        assert_eq!(response.status(), 200, "request {at}");
        assert_eq!(response.text().await.unwrap(), "ok");
    }
}

#[tokio::test]
async fn unreachable_upstream_is_502() {
    let installation = Installation::new(free_address(), "");
    let gateway = installation.start();
    let response = gateway.get("/x").send().await.unwrap();
    assert_eq!(response.status(), 502);
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["code"], "bad-gateway");
    assert!(!problem.to_string().contains("127.0.0.1"), "the inside stays inside: {problem}");
    assert_eq!(gateway.access("/x")["code"], "bad-gateway");
}

#[tokio::test]
async fn unreachable_upstream_is_a_status_for_a_grpc_call() {
    let installation = Installation::new(free_address(), "");
    let gateway = installation.start();
    let call = client().post(gateway.url("/x")).header("content-type", "application/grpc").body("x");
    let response = call.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/grpc");
    assert_eq!(response.headers()["grpc-status"], "14");
    assert!(response.bytes().await.unwrap().is_empty());
    assert_eq!(gateway.access("/x")["code"], "bad-gateway");
}

#[tokio::test]
async fn upstream_without_http_is_502() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(b"SSH-2.0-hello\r\n");
        }
    });
    let installation = Installation::new(address, "");
    assert_eq!(installation.start().get("/").send().await.unwrap().status(), 502);
}

#[tokio::test]
async fn unresponsive_upstream_is_504() {
    // Accepts connections and sends nothing.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let installation = Installation::with(listener.local_addr().unwrap(), "", "read_timeout = \"200ms\"", "");
    let gateway = installation.start();
    let response = gateway.post("/").body("x").send().await.unwrap();
    assert_eq!(response.status(), 504);
    assert_eq!(response.json::<Value>().await.unwrap()["code"], "gateway-timeout");
}

#[tokio::test]
async fn long_upload_does_not_time_out_the_upstream() {
    let service = Service::echo().await;
    let installation = Installation::with(service.address, "", "read_timeout = \"300ms\"", "");
    let gateway = installation.start();
    // The whole upload takes longer than the read timeout, but each part takes less.
    let part = async |_| {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok::<_, std::io::Error>(Bytes::from_static(b"x"))
    };
    let parts = futures_util::stream::iter(0..10).then(part);
    let response = gateway.post("/").body(reqwest::Body::wrap_stream(parts)).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.json::<Value>().await.unwrap()["bytes"], 10);
}

#[tokio::test]
async fn aborted_upstream_response_is_cut() {
    let service = Service::start(Router::new().fallback(async || {
        let first =
            futures_util::stream::once(async { Ok::<_, std::io::Error>(Bytes::from_static(b"first")) });
        Body::from_stream(first.chain(futures_util::stream::pending()))
    }))
    .await;
    let installation = Installation::with(service.address, "", "read_timeout = \"200ms\"", "");
    let gateway = installation.start();
    let mut answer = gateway.get("/x").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "first");
    assert!(answer.chunk().await.is_err(), "a cut answer must not look whole");
    assert_eq!(gateway.access("/x")["complete"], false);
}

#[tokio::test]
async fn response_loses_headers_named_by_connection() {
    let service = Service::start(Router::new().fallback(async || {
        http::Response::builder()
            .status(418)
            .header("x-own", "1")
            .header("connection", "x-own")
            .body(Body::from("short"))
            .unwrap()
    }))
    .await;
    let installation = Installation::new(service.address, "");
    let gateway = installation.start();
    let response = gateway.get("/").send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers().contains_key("x-own")), (418, false));
    assert_eq!(http::Response::from(response).into_body().collect().await.unwrap().to_bytes(), "short");
}

/// Answers every request on a connection with the given bytes, and closes the connection.
fn answers(bytes: &'static [u8]) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(bytes);
        }
    });
    address
}

#[tokio::test]
async fn http_1_0_upstream_is_answered_in_the_client_version() {
    let installation = Installation::new(answers(b"HTTP/1.0 200 OK\r\n\r\nold"), "");
    let gateway = installation.start();
    let response = gateway.get("/").send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, reqwest::Version::HTTP_11));
    assert_eq!(response.text().await.unwrap(), "old");
}

#[tokio::test]
async fn unrequested_protocol_switch_is_502() {
    let installation = Installation::new(
        answers(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
        "",
    );
    assert_eq!(installation.start().get("/").send().await.unwrap().status(), 502);
}

#[tokio::test]
async fn body_over_its_limit_is_413_announced_or_not() {
    let service = Service::echo().await;
    let installation = Installation::with(service.address, "", "", "limits.body_bytes = 1000");
    let gateway = installation.start();
    for (bytes, status) in [(1_000, 200), (1_001, 413), (5 << 20, 413)] {
        let announced = gateway.put("/").body(vec![7_u8; bytes]).send().await.unwrap();
        assert_eq!(announced.status(), status, "{bytes} announced");
        let part = Ok::<_, std::io::Error>(Bytes::from(vec![7_u8; bytes]));
        let chunked = reqwest::Body::wrap_stream(futures_util::stream::iter([part]));
        match gateway.put("/").body(chunked).send().await {
            Ok(answer) => assert_eq!(answer.status(), status, "{bytes} chunked"),
            // The connection was closed while the client was still sending, so the response may be lost.
            Err(error) => assert!(status == 413 && bytes > 1 << 20, "{bytes} chunked: {error}"),
        }
    }
}

#[tokio::test]
async fn stalled_upload_is_408_and_no_upstream_failure() {
    let service = Service::echo().await;
    let installation = Installation::with(
        service.address,
        "",
        "read_timeout = \"100ms\"",
        "limits.body_timeout = \"400ms\"",
    );
    let gateway = installation.start();
    let answer = tokio::task::spawn_blocking({
        let address = gateway.address;
        move || crate::process::raw(address, b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nab")
    });
    let answer = answer.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn spoofed_gateway_headers_are_not_forwarded() {
    let service = Service::echo().await;
    let installation = Installation::new(service.address, "");
    let gateway = installation.start();
    let head = format!(
        "PUT /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX_Caller_Id: admin\r\nX-Caller-Id: admin\r\n\
         X-API-KEY: {}\r\nTrailer: x-caller-id\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n\
         1\r\na\r\n0\r\nX-Caller-Id: admin\r\n\r\n",
        installation.api_key
    );
    let answer = tokio::task::spawn_blocking({
        let address = gateway.address;
        move || crate::process::raw(address, head.as_bytes())
    });
    let answer = answer.await.unwrap();
    let echo: Value = serde_json::from_str(&answer[answer.find("{\"").unwrap()..]).unwrap();
    for name in ["x-caller-id", "x_caller_id", "x-api-key", "trailer", "expect"] {
        assert!(values(&echo, name).is_empty(), "{name}: {echo}");
    }
    assert_eq!((values(&echo, "via"), &echo["bytes"]), (vec!["1.1 portcullis"], &1.into()));
}

#[tokio::test]
async fn content_is_forwarded_for_every_method_and_framing() {
    let service = Service::echo().await;
    let installation = Installation::new(service.address, "");
    let gateway = installation.start();
    for method in ["GET", "DELETE", "POST", "OPTIONS"] {
        for body in
            ["Content-Length: 3\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"]
        {
            let head = format!("{method} /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{body}");
            let address = gateway.address;
            let answer = tokio::task::spawn_blocking(move || crate::process::raw(address, head.as_bytes()));
            let answer = answer.await.unwrap();
            let echo: Value = serde_json::from_str(&answer[answer.find("{\"").unwrap()..]).unwrap();
            assert_eq!((&echo["method"], &echo["bytes"]), (&method.into(), &3.into()), "{body}");
        }
    }
}
