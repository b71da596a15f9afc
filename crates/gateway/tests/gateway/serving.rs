//! Listeners, protocols, the log and the shutdown.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use axum::{Router, extract::Request};
use reqwest::{Certificate, Client, Version};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::process::{Installation, Service, TIMEOUT, certificate, client, free_address, provider};

/// Returns a configuration with one listener.
pub fn text(service: &Service, listener: &str) -> String {
    format!(
        "store.path = \"data/p.db\"\nsecrets.file = \"data/s.toml\"\nlimits.head_timeout = \"300ms\"\n\
         [upstreams.up]\naddress = \"{}\"\n[[routes]]\npath = \"/\"\nupstream = \"up\"\n[[listeners]]\n{listener}\n",
        service.address
    )
}

#[tokio::test]
async fn tls_serves_http_2_and_http_1_by_alpn() {
    let service = Service::echo().await;
    let folder = tempfile::tempdir().unwrap();
    let (chain, key, pem) = certificate(folder.path());
    let address = free_address();
    let listener = format!("address = \"{address}\"\ntls = {{ certificate = {chain:?}, key = {key:?} }}");
    let installation = Installation::from_text(&text(&service, &listener), address);
    let _gateway = installation.start();
    provider();
    let trusting = || {
        let root = Certificate::from_pem(pem.as_bytes()).unwrap();
        Client::builder().no_proxy().timeout(TIMEOUT).tls_certs_only([root]).resolve("localhost", address)
    };
    let url = format!("https://localhost:{}/x", address.port());
    for (client, version) in [
        (trusting().build().unwrap(), Version::HTTP_2),
        (trusting().http1_only().build().unwrap(), Version::HTTP_11),
    ] {
        let response = client.post(&url).body("x").send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, version));
        let echo: serde_json::Value = response.json().await.unwrap();
        assert_eq!(crate::process::values(&echo, "x-forwarded-proto"), ["https"]);
        assert_eq!(crate::process::values(&echo, "host"), [format!("localhost:{}", address.port())]);
    }
}

/// Each connection counts towards the limit, whether or not its TLS handshake is complete.
#[tokio::test]
async fn tls_handshake_needs_a_permit_and_has_a_timeout() {
    provider();
    let service = Service::echo().await;
    let folder = tempfile::tempdir().unwrap();
    let (chain, key, _) = certificate(folder.path());
    let (address, metrics_address) = (free_address(), free_address());
    let listener = format!(
        "address = \"{address}\"\ntls = {{ certificate = {chain:?}, key = {key:?} }}\n[metrics]\naddress = \"{metrics_address}\""
    );
    let text = text(&service, &listener);
    let limited = format!("limits.connections_per_address = 2\n{text}");
    let installation = Installation::from_text(&limited, address);
    let gateway = installation.start();
    // The metrics listener has the same limits: while an earlier scrape is being closed, it rejects a third connection.
    let metrics = async || {
        loop {
            if let Ok(answer) = client().get(format!("http://{metrics_address}/metrics")).send().await {
                break answer.text().await.unwrap();
            }
        }
    };
    // The harness has opened a connection to check that the gateway is up.
    while !metrics().await.contains("portcullis_open_connections 0") {}
    let mut read = [0; 1];
    let mut silent: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    let rejected = silent.pop().unwrap().read(&mut read);
    assert!(matches!(rejected, Ok(0) | Err(_)), "there is no third place");
    for mut silent in silent {
        silent.set_read_timeout(Some(TIMEOUT)).unwrap();
        assert_eq!(silent.read(&mut read).unwrap(), 0, "its time is over");
    }
    let metrics = metrics().await;
    assert!(metrics.contains("portcullis_connections_total{outcome=\"address_limit\"} 1"), "{metrics}");
    assert!(metrics.contains("portcullis_open_connections 0"), "{metrics}");
    let log = gateway.end();
    assert!(log.iter().any(|line| line.contains("\"why\":\"address_limit\"")), "{log:#?}");
}

#[tokio::test]
async fn plain_text_http_2_is_served_only_if_enabled() {
    provider();
    let service = Service::echo().await;
    for (h2c, works) in [(true, true), (false, false)] {
        let address = free_address();
        let installation = Installation::from_text(
            &text(&service, &format!("address = \"{address}\"\nh2c = {h2c}")),
            address,
        );
        let gateway = installation.start();
        let prior = Client::builder().no_proxy().timeout(TIMEOUT).http2_prior_knowledge().build().unwrap();
        let answer = prior.get(gateway.url("/")).send().await;
        assert_eq!(answer.is_ok_and(|answer| answer.version() == Version::HTTP_2), works);
        assert_eq!(client().get(gateway.url("/")).send().await.unwrap().version(), Version::HTTP_11);
    }
}

/// A client with small windows sends thousands of `WINDOW_UPDATE` frames for one response. They are not a flood.
#[tokio::test]
async fn frequent_window_updates_get_the_complete_response() {
    const LENGTH: usize = 2 << 20;
    provider();
    let service = Service::start(Router::new().fallback(async || vec![b'x'; LENGTH])).await;
    let address = free_address();
    let installation =
        Installation::from_text(&text(&service, &format!("address = \"{address}\"\nh2c = true")), address);
    let gateway = installation.start();
    let builder = Client::builder().no_proxy().timeout(TIMEOUT).http2_prior_knowledge();
    let client = builder.http2_initial_stream_window_size(1_000).build().unwrap();
    let answer = client.get(gateway.url("/")).send().await.unwrap();
    assert_eq!(answer.version(), Version::HTTP_2);
    assert_eq!(answer.bytes().await.unwrap().len(), LENGTH);
}

#[tokio::test]
async fn dripped_head_is_cut() {
    let service = Service::echo().await;
    let address = free_address();
    let installation = Installation::from_text(&text(&service, &format!("address = \"{address}\"")), address);
    let gateway = installation.start();
    let mut stream = TcpStream::connect(gateway.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut ended = false;
    for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: ".iter().chain(std::iter::repeat_n(&b'x', 200)) {
        // The read timeout is the interval between two bytes.
        ended = stream.write_all(&[*byte]).is_err() || matches!(stream.read(&mut [0; 1024]), Ok(0));
        if ended {
            break;
        }
    }
    assert!(ended, "the connection is still open after 11 seconds");
}

/// Starts an upstream that reports when a request has arrived, and answers on demand.
pub async fn slow() -> (Service, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (arrived, arrivals) = mpsc::channel(1);
    let (release, released) = mpsc::channel(1);
    let released = std::sync::Arc::new(tokio::sync::Mutex::new(released));
    let router = Router::new().fallback(async move |_: Request| {
        arrived.send(()).await.unwrap();
        released.lock().await.recv().await;
        "done"
    });
    (Service::start(router).await, arrivals, release)
}

#[tokio::test]
async fn sigterm_drains_requests_and_accepts_no_connections() {
    let (service, mut arrivals, release) = slow().await;
    let installation = Installation::new(service.address, "");
    let mut gateway = installation.start();
    let running = tokio::spawn(gateway.get("/").send());
    arrivals.recv().await.unwrap();
    gateway.signal("-TERM");
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    while TcpStream::connect(gateway.address).is_ok() {
        assert!(tokio::time::Instant::now() < deadline, "still listens");
        tokio::task::yield_now().await;
    }
    release.send(()).await.unwrap();
    let answer = running.await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.text().await.unwrap(), "done");
    assert!(gateway.wait().success());
}

#[tokio::test]
async fn sigterm_waits_no_longer_than_its_timeout() {
    let (service, mut arrivals, _release) = slow().await;
    let installation = Installation::with(service.address, "", "", "server.shutdown_grace = \"300ms\"");
    let mut gateway = installation.start();
    let running = tokio::spawn(gateway.get("/").send());
    arrivals.recv().await.unwrap();
    gateway.signal("-TERM");
    assert!(gateway.wait().success());
    assert!(running.await.unwrap().is_err(), "what was not done in time is cut, not answered wrongly");
}

#[tokio::test]
async fn idle_connection_does_not_delay_shutdown() {
    let service = Service::echo().await;
    let installation = Installation::with(service.address, "", "", "server.shutdown_grace = \"24h\"");
    let mut gateway = installation.start();
    let client = client();
    assert!(!client.get(gateway.url("/")).send().await.unwrap().bytes().await.unwrap().is_empty());
    gateway.signal("-TERM");
    assert!(gateway.wait().success());
}

/// Users type a key into the page, so it must not load anything from another site.
#[tokio::test]
async fn api_descriptions_are_shown_without_external_resources() {
    let service = Service::echo().await;
    let docs = "[[routes]]\npath = \"/manual\"\nsurface = \"docs\"\n";
    let address = free_address();
    let text = text(&service, &format!("address = \"{address}\"")).replacen(
        "[[listeners]]",
        &format!("{docs}[[listeners]]"),
        1,
    );
    let installation = Installation::from_text(&text, address);
    let gateway = installation.start();
    let moved = gateway.get("/manual").send().await.unwrap();
    assert_eq!(moved.url().path(), "/manual/");
    for (file, media_type) in
        [("", "text/html"), ("swagger-ui-bundle.js", "text/javascript"), ("swagger-ui.css", "text/css")]
    {
        let page = gateway.get(&format!("/manual/{file}")).send().await.unwrap();
        assert_eq!(
            (page.status().as_u16(), &page.headers()["content-type"]),
            (200, &media_type.parse().unwrap())
        );
        let policy = page.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'self';"), "{policy}");
    }
    let names = gateway.get("/manual/swagger-initializer.js").send().await.unwrap().text().await.unwrap();
    for file in ["discue.json", "apig-v1.json", "apig-v2.json"] {
        assert!(names.contains(&format!("\"{file}\"")), "{names}");
        let described = gateway.get(&format!("/manual/{file}")).send().await.unwrap();
        assert_eq!(described.json::<Value>().await.unwrap()["openapi"], "3.1.0");
    }
    assert!(!names.contains("admin"), "that is shown where it is served: {names}");
    assert_eq!(gateway.get("/manual/unknown.json").send().await.unwrap().status(), 404);
    assert_eq!(gateway.post("/manual/").send().await.unwrap().status(), 405);
}

/// Sends a GET request on a connection, and returns the head of the response.
fn exchange(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
    stream.read_exact(&mut vec![0; length]).unwrap();
    head
}

#[tokio::test(flavor = "multi_thread")]
async fn used_connection_may_be_idle_for_longer_than_a_head_may_take() {
    let service = Service::echo().await;
    let limits = "limits.head_timeout = \"300ms\"\nlimits.idle_timeout = \"60s\"";
    let installation = Installation::with(service.address, "", "", limits);
    let gateway = installation.start();
    let mut stream = TcpStream::connect(gateway.address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    assert!(exchange(&mut stream).starts_with("HTTP/1.1 200"));
    stream.set_read_timeout(Some(Duration::from_millis(900))).unwrap();
    let closed = stream.read(&mut [0]);
    assert!(closed.is_err(), "the connection stays open: {closed:?}");
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    assert!(exchange(&mut stream).starts_with("HTTP/1.1 200"));

    stream.write_all(b"GET / HTTP/1.1\r\nHost:").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}
