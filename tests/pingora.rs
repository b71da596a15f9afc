//! Request bodies in the `ProxyHttp` face: counted and verified while they arrive, over HTTP/1.1.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

mod pingora_server;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::Router;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use pingora::{
    http::RequestHeader,
    prelude::HttpPeer,
    proxy::{ProxyHttp, Session},
};
use pingora_server::serve_pingora;
use portcullis::{
    Admission, Policy,
    model::{SealKey, Sealer},
    pingora::PingoraGate,
    policy::{BodyLimit, Signature},
    signature::{Parts, Signer, format_date, hash},
};
use portcullis_test::directory::DirectoryFixture;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};

/// Timeout of every single step.
const DEADLINE: Duration = Duration::from_secs(30);

/// An upstream that responds with the body, and reports every body that it received: `None` if it was incomplete.
async fn upstream() -> (SocketAddr, mpsc::UnboundedReceiver<Option<Bytes>>) {
    let (sender, received) = mpsc::unbounded_channel();
    let app = Router::new().fallback(async move |body: axum::body::Body| {
        let content = body.collect().await.ok().map(http_body_util::Collected::to_bytes);
        sender.send(content.clone()).unwrap();
        content.unwrap_or_default()
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (address, received)
}

struct Proxy {
    gate: PingoraGate<Arc<dyn Policy>>,
    upstream: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Admission;

    fn new_ctx(&self) -> Admission {
        Admission::default()
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Admission) -> pingora::Result<bool> {
        self.gate.request_filter(session, ctx).await
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut Admission) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Admission,
    ) -> pingora::Result<()> {
        self.gate.upstream_request_filter(request, ctx)
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Admission,
    ) -> pingora::Result<()> {
        self.gate.request_body_filter(body, end_of_stream, ctx)
    }
}

/// Sends a chunked POST with these headers, and its pieces one by one. The body of a request that is not ended stays
/// open until the response has arrived. Returns the status and the body of the response.
async fn post(address: SocketAddr, headers: &str, pieces: &[&str], ended: bool) -> (u16, String) {
    let response = exchange(address, headers, pieces, ended).await;
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

/// Sends a POST like [`post`], and returns the whole response.
async fn exchange(address: SocketAddr, headers: &str, pieces: &[&str], ended: bool) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("POST /orders HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n{headers}");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(b"transfer-encoding: chunked\r\n\r\n").await.unwrap();
    // The proxy may respond and close the connection before it has read the body: then writes fail, and reading ends
    // with a reset after the response.
    for piece in pieces {
        let chunk = format!("{:x}\r\n{piece}\r\n", piece.len());
        let _ = stream.write_all(chunk.as_bytes()).await;
    }
    if ended {
        let _ = stream.write_all(b"0\r\n\r\n").await;
    }
    let mut response = Vec::new();
    let _ = timeout(DEADLINE, stream.read_to_end(&mut response)).await.expect("a response arrives");
    String::from_utf8(response).unwrap()
}

#[tokio::test]
async fn chunked_content_is_counted_as_it_arrives() {
    let (upstream, mut received) = upstream().await;
    let policy: Arc<dyn Policy> = Arc::new(BodyLimit::new(5));
    let gate = PingoraGate::new(policy).verify_content();
    let address = serve_pingora(vec![Proxy { gate, upstream }]).await[0];
    for (pieces, ended, status) in [
        (&["12345"][..], true, 200),
        (&["1", "2", "3", "4", "5"], true, 200),
        (&["123456"], false, 413),
        (&["123", "45", "6"], false, 413),
        (&["123", "45", "6"], true, 413),
    ] {
        let (found, body) = post(address, "", pieces, ended).await;
        assert_eq!(found, status, "{pieces:?} {ended}: {body}");
        if status == 200 {
            assert!(body.contains("12345"), "{pieces:?}: {body}");
        }
        let arrived = timeout(DEADLINE, received.recv()).await.expect("the body ends").unwrap();
        let content = pieces.concat();
        assert_eq!(arrived.as_deref(), (status == 200).then_some(content.as_bytes()), "{pieces:?}");
    }
}

/// Such a gate could not count the bytes.
#[tokio::test]
async fn gate_without_content_checks_rejects_chunked_content() {
    let (upstream, mut received) = upstream().await;
    let policy: Arc<dyn Policy> = Arc::new(BodyLimit::new(5));
    let address = serve_pingora(vec![Proxy { gate: PingoraGate::new(policy), upstream }]).await[0];
    let (status, problem) = post(address, "", &[], false).await;
    assert_eq!(status, 413, "{problem}");
    assert!(problem.contains("content-too-large"), "{problem}");
    assert!(received.try_recv().is_err());
}

#[cfg(feature = "grpc")]
#[tokio::test]
async fn denied_grpc_call_receives_a_status_in_headers() {
    let (upstream, mut received) = upstream().await;
    let policy: Arc<dyn Policy> = Arc::new(BodyLimit::new(5));
    let address = serve_pingora(vec![Proxy { gate: PingoraGate::new(policy), upstream }]).await[0];
    let response = exchange(address, "content-type: application/grpc+proto\r\n", &[], false).await;
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    for line in ["content-type: application/grpc", "content-length: 0", "grpc-status: 8"] {
        assert!(head.lines().any(|it| it == line), "{line}: {head}");
    }
    assert_eq!(body, "");
    assert!(received.try_recv().is_err());
}

#[tokio::test]
async fn content_other_than_signed_does_not_reach_the_upstream() {
    let world = DirectoryFixture::new();
    let sealer = Arc::new(Sealer::new(SealKey::new(1, &[7; 32])));
    let access = world.signing_key(&sealer, "secret");
    let (upstream, mut received) = upstream().await;
    let policy: Arc<dyn Policy> = Arc::new(Signature::new(world.directory.clone(), sealer));
    let gate = PingoraGate::new(policy).clock(world.clock.clone()).verify_content();
    let address = serve_pingora(vec![Proxy { gate, upstream }]).await[0];

    let (payload, date) = (hash(b"0123456789"), format_date(world.now()));
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("a.example"));
    headers.insert("x-sdk-date", HeaderValue::try_from(&date).unwrap());
    let parts = Parts { method: "POST", path: "/orders", query: "", authority: None, headers: &headers };
    let signer = Signer::new(&access, b"secret");
    let signed = signer.sign(parts, "host;x-sdk-date", payload.as_str()).unwrap().authorization();
    let sent = format!(
        "x-sdk-date: {date}\r\nx-sdk-content-sha256: {}\r\nauthorization: {signed}\r\n",
        payload.as_str()
    );
    for (pieces, status) in [(["01234", "56789"], 200), (["01234", "56780"], 401), (["01234", "567890"], 401)]
    {
        let (found, body) = post(address, &sent, &pieces, true).await;
        assert_eq!(found, status, "{pieces:?}: {body}");
        if status == 200 {
            assert!(body.contains("0123456789"), "{body}");
        }
        let arrived = timeout(DEADLINE, received.recv()).await.expect("the body ends").unwrap();
        let content = pieces.concat();
        assert_eq!(arrived.as_deref(), (status == 200).then_some(content.as_bytes()), "{pieces:?}");
    }
}
