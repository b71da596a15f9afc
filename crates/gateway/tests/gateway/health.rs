//! The state of the gateway, for health checks and for the service manager.

use std::{fs, net::SocketAddr, os::unix::net::UnixDatagram, time::Instant};

use portcullis_test::dns::{DnsRecord, DnsServer};
use serde_json::Value;

use crate::{
    process::{Gateway, Installation, Service, TIMEOUT, client, free_address},
    targets,
};

async fn get(listener: SocketAddr, path: &str) -> (u16, String) {
    let response = client().get(format!("http://{listener}{path}")).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

/// Waits until `/readyz` has a status, and returns the reasons.
async fn ready(listener: SocketAddr, status: u16) -> Vec<String> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let (found, body) = get(listener, "/readyz").await;
        if found == status {
            let body: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body["ready"], status == 200);
            let reasons = body["reasons"].as_array().unwrap().iter();
            return reasons.map(|reason| reason.as_str().unwrap().to_owned()).collect();
        }
        assert!(Instant::now() < deadline, "{found}: {body}");
        tokio::task::yield_now().await;
    }
}

/// Runs `portcullis health`. Returns the exit status, and the output or the error.
fn health(installation: &Installation) -> (Option<i32>, String) {
    let output = installation.command("health").output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

async fn with_metrics() -> (Installation, SocketAddr) {
    let (service, listener) = (Service::echo().await, free_address());
    let file = format!("metrics = {{ address = \"{listener}\" }}");
    (Installation::with(service.address, "api_key = true", "", &file), listener)
}

/// Creates an installation whose upstream has a name that the name server does not know.
async fn with_unknown_name(timeout: &str) -> (Installation, SocketAddr, DnsServer) {
    let (dns, listener) = (DnsServer::start().await, free_address());
    let file = format!(
        "metrics = {{ address = \"{listener}\" }}\ndns = {{ servers = [\"{}\"], timeout = \"{timeout}\" }}",
        dns.address()
    );
    (targets::installation(&["http://orders.test.:9"], "", &file), listener, dns)
}

#[tokio::test(flavor = "multi_thread")]
async fn running_gateway_is_healthy_and_ready() {
    let (mut installation, listener) = with_metrics().await;
    let (status, error) = health(&installation);
    assert_eq!(status, Some(1));
    assert!(error.contains(&format!("cannot reach http://{listener}/readyz")), "{error}");
    let gateway = installation.start();
    assert_eq!(get(listener, "/healthz").await, (200, "ok\n".into()));
    assert!(ready(listener, 200).await.is_empty());
    assert_eq!(health(&installation), (Some(0), "{\"ready\":true,\"reasons\":[]}\n".into()));
    assert_eq!(get(gateway.address, "/readyz").await.0, 401, "only on the listener of the metrics");

    installation.rewrite(|text| text.replacen("metrics =", "# metrics =", 1));
    let (status, error) = health(&installation);
    assert!(status == Some(1) && error.contains("[metrics]"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_is_ready_once_its_upstreams_have_addresses() {
    // The timeout is longer than the test.
    let (installation, listener, dns) = with_unknown_name("60s").await;
    let _gateway = installation.start();
    assert_eq!(ready(listener, 503).await, ["upstream up has no address yet"]);
    let (status, error) = health(&installation);
    assert!(status == Some(1) && error.contains("has no address yet"), "{error}");
    dns.set("orders.test.", [DnsRecord::ip(1, "127.0.0.1")]);
    assert!(ready(listener, 200).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn name_that_stays_unknown_does_not_keep_the_gateway_from_being_ready() {
    let (installation, listener, _dns) = with_unknown_name("1s").await;
    let _gateway = installation.start();
    assert!(ready(listener, 200).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_that_cannot_follow_its_store_is_not_ready() {
    let (installation, listener) = with_metrics().await;
    let _gateway = installation.start();
    ready(listener, 200).await;
    let (store, away) = (installation.store(), installation.folder.path().join("away"));
    fs::rename(&store, &away).unwrap();
    assert_eq!(ready(listener, 503).await, ["changes in the store are not applied: stalled"]);
    assert_eq!(get(listener, "/healthz").await.0, 200, "a restart would not help");
    fs::rename(&away, &store).unwrap();
    ready(listener, 200).await;
}

/// Receives messages to the service manager up to a line, and returns their lines.
fn told(socket: &UnixDatagram, last: &str) -> Vec<String> {
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line| line != last) {
        let mut message = [0; 1024];
        let length = socket.recv(&mut message).unwrap();
        let text = str::from_utf8(&message[..length]).unwrap();
        lines.extend(text.lines().map(str::to_owned));
    }
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn service_manager_is_told_the_state() {
    let service = Service::echo().await;
    let installation = Installation::new(service.address, "");
    let path = installation.folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut command = installation.command("serve");
    command.env("NOTIFY_SOCKET", &path);
    let mut gateway: Gateway = installation.start_by(command);
    assert_eq!(told(&socket, "READY=1"), ["READY=1"]);
    gateway.signal("-HUP");
    let lines = told(&socket, "READY=1");
    assert_eq!(lines[0], "RELOADING=1");
    assert!(lines[1].starts_with("MONOTONIC_USEC="), "{lines:?}");
    gateway.signal("-TERM");
    assert_eq!(told(&socket, "STOPPING=1"), ["STOPPING=1"]);
    assert!(gateway.wait().success());
}
