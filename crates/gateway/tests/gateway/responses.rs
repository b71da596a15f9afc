//! The framing of upstream responses on their way to the client.

use std::fmt::Write;

use serde_json::Value;

use crate::{
    process::{Gateway, Installation, client, http2_client},
    scripted::{Reaction, Scripted, ok},
};

/// Starts a gateway with one worker, with HTTP/1.1 and HTTP/2 on its listener, in front of an upstream.
fn gateway(service: &Scripted) -> (Installation, Gateway) {
    let mut installation = Installation::with(service.address, "", "", "server.threads = 1");
    let listener = format!("address = \"{}\"", installation.address);
    installation.rewrite(|text| text.replacen(&listener, &format!("{listener}\nh2c = true"), 1));
    let gateway = installation.start();
    (installation, gateway)
}

/// Sends a GET with `Connection: close`. Returns the response as text.
fn get(gateway: &Gateway, path: &str) -> String {
    gateway.raw(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes())
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or_default()
}

/// Returns the header lines of a response, in lower case.
fn head(answer: &str) -> String {
    answer.split("\r\n\r\n").next().unwrap_or_default().to_ascii_lowercase()
}

#[tokio::test(flavor = "multi_thread")]
async fn ambiguously_framed_response_is_502() {
    let heads = [
        "200 OK\r\nTransfer-Encoding: gzip, chunked",
        "200 OK\r\nTransfer-Encoding: chunked, chunked",
        "200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        "200 OK\r\nTransfer-Encoding: identity",
        "200 OK\r\nTransfer-Encoding: ,chunked",
        "200 OK\r\nTransfer-Encoding: xchunked",
        "200 OK\r\nContent-Length: 010",
        "200 OK\r\nContent-Length: +5",
        "200 OK\r\nContent-Length: -5",
        "200 OK\r\nContent-Length: 5, 5",
        "200 OK\r\nContent-Length: 5,6",
        "200 OK\r\nContent-Length: 5\r\nContent-Length: 5",
        "200 OK\r\nContent-Length: 5\r\nContent-Length: 6",
        "200 OK\r\nContent-Length: 0x5",
        "200 OK\r\nContent-Length:",
        "200 OK\r\nContent-Length: 99999999999999999999",
        "200 OK\r\nContent-Length: 5\r\nX-A: b\r\n folded",
        "200 OK\r\nContent-Length: 5\r\nX-A: b\0c",
        "200 OK\r\nContent-Length: 5\r\nX-A: b\rc",
        "200 OK\r\nContent-Length : 5",
        "200 OK\r\nX A: 5",
        "099 Low\r\nContent-Length: 5",
        "600 High\r\nContent-Length: 5",
        "999 High\r\nContent-Length: 5",
        "1000 Long\r\nContent-Length: 5",
        "101 Switching Protocols\r\nUpgrade: x",
        "204 No Content\r\nContent-Length: 05",
        "205 Reset Content\r\nContent-Length: 5",
        "304 Not Modified\r\nTransfer-Encoding: gzip",
    ];
    let service = Scripted::start(move |request| {
        let at: usize = request.path()[1..].parse().unwrap();
        Reaction::Send(format!("HTTP/1.1 {}\r\n\r\nhello", heads[at]).into_bytes())
    });
    let (_installation, gateway) = gateway(&service);
    let http2 = http2_client();
    for (at, sent) in heads.iter().enumerate() {
        let answer = get(&gateway, &format!("/{at}"));
        assert_eq!(status(&answer), "502", "{sent:?}: {answer}");
        let response = http2.get(gateway.url(&format!("/{at}"))).send().await.unwrap();
        assert_eq!(response.status(), 502, "{sent:?}");
        assert_eq!(response.json::<Value>().await.unwrap()["code"], "bad-gateway");
        let head = format!("HEAD /{at} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = gateway.raw(head.as_bytes());
        assert_eq!(status(&answer), "502", "HEAD {sent:?}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chunked_response_with_a_length_is_chunked() {
    // The content is longer than the length says, and has more than one chunk.
    let content = "0123456789".repeat(3_490);
    let mut chunked = String::new();
    for piece in content.as_bytes().chunks(1_000) {
        let _ = write!(chunked, "{:x}\r\n{}\r\n", piece.len(), str::from_utf8(piece).unwrap());
    }
    let sent = chunked.clone();
    let service = Scripted::start(move |request| {
        let length = &request.path()[1..];
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n");
        Reaction::Send(format!("{head}{sent}0\r\n\r\n").into_bytes())
    });
    let (_installation, gateway) = gateway(&service);
    let http2 = http2_client();
    for length in ["10000", "1000000", "34900", "0"] {
        let answer = get(&gateway, &format!("/{length}"));
        assert!(!head(&answer).contains("content-length"), "{}", head(&answer));
        assert!(head(&answer).contains("transfer-encoding: chunked") && answer.ends_with("\r\n0\r\n\r\n"));
        for client in [&http2, &client()] {
            let response = client.get(gateway.url(&format!("/{length}"))).send().await.unwrap();
            assert!(!response.headers().contains_key("content-length"));
            assert_eq!(response.text().await.unwrap(), content, "{length}");
        }
    }
    let connections: Vec<_> = service.arrived().iter().map(|request| request.connection).collect();
    assert_eq!(connections, (0..12).collect::<Vec<_>>(), "such a connection is not used again");
}

/// RFC 9110, section 15.3.6. Clients would read such content, or parse it as the next response.
#[tokio::test(flavor = "multi_thread")]
async fn reset_content_response_has_no_content() {
    let bodies = [
        "\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "Content-Length: 0\r\n\r\n",
    ];
    let service = Scripted::start(move |request| {
        let at: usize = request.path()[1..].parse().unwrap();
        Reaction::SendAndClose(format!("HTTP/1.1 205 Reset Content\r\n{}", bodies[at]).into_bytes())
    });
    let (_installation, gateway) = gateway(&service);
    let http2 = http2_client();
    for (at, sent) in bodies.iter().enumerate() {
        let answer = get(&gateway, &format!("/{at}"));
        assert_eq!(status(&answer), "205", "{sent:?}: {answer}");
        assert!(
            head(&answer).contains("content-length: 0") && answer.ends_with("\r\n\r\n"),
            "{sent:?}: {answer}"
        );
        assert!(!head(&answer).contains("transfer-encoding"), "{sent:?}: {answer}");
        let response = http2.get(gateway.url(&format!("/{at}"))).send().await.unwrap();
        assert_eq!(response.status(), 205, "{sent:?}");
        assert_eq!(response.bytes().await.unwrap(), "", "{sent:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_response_is_not_completed() {
    let heads = [
        "Content-Length: 10\r\n\r\nhello",
        "Content-Length: 18446744073709551000\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "Transfer-Encoding: chunked\r\n\r\na\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n-5\r\nhello\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nfffffffffffffffff\r\nx",
    ];
    let service = Scripted::start(move |request| {
        let at: usize = request.path()[1..].parse().unwrap();
        Reaction::SendAndClose(format!("HTTP/1.1 200 OK\r\n{}", heads[at]).into_bytes())
    });
    let (_installation, gateway) = gateway(&service);
    let http2 = http2_client();
    for (at, sent) in heads.iter().enumerate() {
        for client in [&http2, &client()] {
            let response = client.get(gateway.url(&format!("/{at}"))).send().await;
            let Ok(response) = response else { continue };
            let status = response.status();
            assert!(status == 502 || response.bytes().await.is_err(), "{sent:?} looks whole");
        }
        let answer = get(&gateway, &format!("/{at}"));
        assert!(["200", "502"].contains(&status(&answer)), "{sent:?}: no response, but {answer:?}");
        assert!(status(&answer) == "502" || !answer.ends_with("0\r\n\r\n"), "{sent:?}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn extra_response_bytes_never_answer_another_request() {
    const FORGED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
    let heads = [
        "200 OK\r\nContent-Length: 0\r\n\r\n",
        "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "204 No Content\r\n\r\n",
        "204 No Content\r\nContent-Length: 43\r\n\r\n",
        "304 Not Modified\r\nContent-Length: 43\r\n\r\n",
        "205 Reset Content\r\nContent-Length: 0\r\n\r\n",
        "103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ];
    let service = Scripted::start(move |request| match request.path()[1..].parse::<usize>() {
        Ok(at) => Reaction::Send(format!("HTTP/1.1 {}{FORGED}", heads[at]).into_bytes()),
        Err(_) => Reaction::Send(ok("own")),
    });
    let (_installation, gateway) = gateway(&service);
    let reused = client();
    for (at, head) in heads.iter().enumerate() {
        for method in [reqwest::Method::GET, reqwest::Method::HEAD] {
            let first = reused.request(method, gateway.url(&format!("/{at}"))).send().await.unwrap();
            assert!(!first.text().await.unwrap().contains("forged"));
            let second = reused.get(gateway.url("/own")).send().await.unwrap();
            assert_eq!(second.text().await.unwrap(), "own", "{head:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_without_content_have_one_framing() {
    for (sent, method, expected) in [
        ("204 No Content\r\nContent-Length: 5", "GET", None),
        ("204 No Content\r\nTransfer-Encoding: chunked", "GET", None),
        ("200 OK\r\nContent-Length: 5", "HEAD", Some("content-length: 5")),
        ("200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", "HEAD", None),
    ] {
        let bytes = format!("HTTP/1.1 {sent}\r\n\r\n").into_bytes().leak();
        let service = Scripted::answering(bytes);
        let (_installation, gateway) = gateway(&service);
        let answer =
            gateway.raw(format!("{method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes());
        let length = head(&answer).lines().find(|line| line.starts_with("content-length")).map(str::to_owned);
        assert_eq!(length.as_deref(), expected, "{sent:?}: {answer}");
        assert!(answer.ends_with("\r\n\r\n") && status(&answer) == &sent[..3], "{answer}");
        let method = method.parse().unwrap();
        let response = http2_client().request(method, gateway.url("/")).send().await.unwrap();
        let length = response.headers().get("content-length").map(|length| length.to_str().unwrap());
        assert_eq!(length, expected.map(|_| "5"), "{sent:?}");
        assert!(response.text().await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn response_trailers_are_not_merged_into_the_head() {
    let service = Scripted::answering(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum, set-cookie, content-length\r\n\r\n\
          2\r\nok\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\nContent-Length: 7\r\n\r\n",
    );
    let (_installation, gateway) = gateway(&service);
    let answer = gateway
        .raw(b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close, te\r\n\r\n")
        .to_ascii_lowercase();
    assert!(answer.ends_with("0\r\nx-sum: 1\r\n\r\n"), "{answer}");
}

/// hyper uses HTTP/1.0 on a connection on which an upstream has once used it, and sends no chunked content on it.
#[tokio::test(flavor = "multi_thread")]
async fn content_arrives_at_an_http_1_0_upstream() {
    let service = Scripted::start(|_| {
        Reaction::Send(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok".to_vec())
    });
    let (_installation, gateway) = gateway(&service);
    for _ in 0..3 {
        let answer = gateway.raw(
            b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
              5\r\nhello\r\n0\r\n\r\n",
        );
        assert!(status(&answer) == "200" && answer.ends_with("ok"), "{answer}");
    }
    let arrived = service.arrived();
    assert!(arrived.iter().all(|request| request.content == b"5\r\nhello\r\n0\r\n\r\n"), "{arrived:?}");
    assert_eq!(arrived.len(), 3);
}
