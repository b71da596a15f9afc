//! HTTP/2 to targets.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Router, extract::Request};
use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Barrier, Notify},
};
use tower::ServiceExt;

use crate::{
    process::{Gateway, Service, client},
    targets::{installation, text},
    transports::tls_service::{Authority, TlsService},
};

/// A service that accepts HTTP/2 without TLS.
struct Http2Service {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Http2Service {
    /// Starts a service with this maximum of concurrent streams. Each connection is closed gracefully after a number of
    /// requests.
    async fn start(router: Router, most: u32, requests: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, router.clone(), most, requests));
            }
        });
        Self { address, connections }
    }

    fn url(&self) -> String {
        format!("h2c://{}", self.address)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(stream: TcpStream, router: Router, most: u32, requests: usize) {
    let (served, close) = (AtomicUsize::new(0), Notify::new());
    let service = service_fn(|request| {
        if served.fetch_add(1, Ordering::SeqCst) + 1 == requests {
            close.notify_one();
        }
        router.clone().oneshot(request)
    });
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.max_concurrent_streams(most);
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = connection.as_mut() => return,
        () = close.notified() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Returns a router whose requests wait until this number of them are in progress.
fn meeting(requests: usize) -> Router {
    let barrier = Arc::new(Barrier::new(requests));
    Router::new().fallback(async move || {
        barrier.wait().await;
    })
}

/// Sends concurrent requests, each on a connection of its own, and asserts that all are served.
async fn send(gateway: &Gateway, requests: usize) {
    let client = client();
    let sent: Vec<_> = (0..requests).map(|_| tokio::spawn(client.get(gateway.url("/")).send())).collect();
    for response in sent {
        assert_eq!(response.await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h2c_target_receives_http_2() {
    let version = Router::new().fallback(async |request: Request| {
        let names: Vec<_> = request.headers().keys().map(ToString::to_string).collect();
        assert!(!names.iter().any(|name| ["host", "connection", "transfer-encoding"].contains(&&**name)));
        format!("{:?} {} {}", request.version(), request.method(), request.uri())
    });
    let service = Service::start(version).await;
    let installation = installation(&[format!("h2c://{}", service.address)], "", "");
    let gateway = installation.start();
    for _ in 0..10 {
        let get = gateway.get("/a?b=1").header("host", "orders.example");
        assert_eq!(text(get).await, "HTTP/2.0 GET http://orders.example/a?b=1");
    }
    let post = gateway
        .post("/a")
        .header("host", "orders.example")
        .body(reqwest::Body::wrap_stream(futures_util::stream::iter([Ok::<_, std::io::Error>("content")])));
    assert_eq!(text(post).await, "HTTP/2.0 POST http://orders.example/a");
    assert_eq!(service.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_share_connections() {
    const REQUESTS: usize = 200;
    let service = Service::start(meeting(REQUESTS)).await;
    let installation = installation(&[format!("h2c://{}", service.address)], "", "");
    let gateway = installation.start();
    for _ in 0..3 {
        send(&gateway, REQUESTS).await;
    }
    // There are at most 100 requests on a connection.
    assert_eq!(service.connections(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_share_connections_with_tls() {
    const REQUESTS: usize = 200;
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let service = TlsService::start(&authority.issue("localhost"), meeting(REQUESTS)).await;
    let ca = format!("tls.ca = \"{}\"", authority.write(folder.path()).display());
    let installation = installation(&[service.url("localhost")], &ca, "");
    let gateway = installation.start();
    for _ in 0..3 {
        send(&gateway, REQUESTS).await;
    }
    assert_eq!(service.handshakes().len(), 2);
}

/// The target has one limit for all streams of a connection. All requests are in progress at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn requests_beyond_the_streams_of_the_target_use_further_connections() {
    const REQUESTS: usize = 50;
    let service = Http2Service::start(meeting(REQUESTS), 10, usize::MAX).await;
    let installation = installation(&[service.url()], "read_timeout = \"20s\"", "");
    let gateway = installation.start();
    for _ in 0..3 {
        send(&gateway, REQUESTS).await;
    }
    assert!((5..=6).contains(&service.connections()), "{}", service.connections());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_beyond_the_streams_of_the_target_are_served() {
    let service = Http2Service::start(Router::new().fallback(async || ()), 10, usize::MAX).await;
    let installation = installation(&[service.url()], "", "");
    let gateway = installation.start();
    for _ in 0..10 {
        send(&gateway, 50).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_when_the_target_closes_its_connections_gracefully() {
    let served = Arc::new(AtomicUsize::new(0));
    let count = served.clone();
    let router = Router::new().fallback(async move |content: String| {
        count.fetch_add(1, Ordering::SeqCst);
        content
    });
    let service = Http2Service::start(router, 100, 20).await;
    let installation = installation(&[service.url()], "retries.attempts = 0", "");
    let gateway = installation.start();
    let clients: Vec<_> = (0..16)
        .map(|number| {
            let (client, url) = (client(), gateway.url("/"));
            tokio::spawn(async move {
                for request in 0..100 {
                    let content = format!("{number} {request}");
                    let get =
                        if request % 2 == 0 { client.get(&url) } else { client.post(&url).body(content) };
                    let response = get.send().await.unwrap();
                    assert_eq!(response.status(), 200);
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(served.load(Ordering::SeqCst), 1_600);
    assert!(service.connections() >= 10, "{}", service.connections());
}
