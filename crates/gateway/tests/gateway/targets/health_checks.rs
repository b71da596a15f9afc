//! Active health checks.

use std::{
    future::pending,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
};

use axum::{Router, extract::Request, routing::get};
use http::StatusCode;

use crate::{
    process::{Gateway, Installation, Service, free_address},
    targets::{counts, installation, logged, map, named},
};

/// A service whose `/healthz` responds with a status that the test sets.
struct Checked {
    service: Service,
    status: Arc<AtomicU16>,
    checks: Arc<AtomicUsize>,
}

impl Checked {
    async fn start(name: &'static str, status: u16) -> Self {
        let (status, checks) = (Arc::new(AtomicU16::new(status)), Arc::new(AtomicUsize::new(0)));
        let (shown, count) = (status.clone(), checks.clone());
        let health = async move || {
            count.fetch_add(1, Ordering::SeqCst);
            StatusCode::from_u16(shown.load(Ordering::SeqCst)).unwrap()
        };
        let router = Router::new().route("/healthz", get(health)).fallback(async move || name);
        Self { service: Service::start(router).await, status, checks }
    }

    fn set(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }
}

/// Starts a gateway whose checks have these settings. Failed requests are not sent again, so that they are seen.
fn start(targets: &[SocketAddr], check: &str) -> (Installation, Gateway) {
    let settings = format!(
        "retries.attempts = 0\nejection.enabled = false\n\
         health_check = {{ interval = \"50ms\", healthy_after = 2, unhealthy_after = 2, {check} }}"
    );
    let installation = installation(targets, &settings, "");
    let gateway = installation.start();
    (installation, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn unhealthy_target_receives_no_requests_until_it_is_healthy_again() {
    let (a, b) = (Checked::start("a", 503).await, Checked::start("b", 200).await);
    let (_installation, gateway) =
        start(&[a.service.address, b.service.address], "path = \"/healthz\", timeout = \"5s\"");
    logged(&gateway, "target is unhealthy").await;
    assert!(a.checks.load(Ordering::SeqCst) >= 2);
    assert_eq!(counts(&gateway, 20).await, map(&[("b", 20)]));
    a.set(200);
    logged(&gateway, "target is healthy again").await;
    assert_eq!(counts(&gateway, 20).await, map(&[("a", 10), ("b", 10)]));
    let log = gateway.end();
    let line = log.iter().find(|line| line.contains("target is unhealthy")).unwrap();
    let address = a.service.address.to_string();
    assert!(line.contains("the status is 503") && line.contains(&address), "{line}");
    assert_eq!(log.iter().filter(|line| line.contains("target is unhealthy")).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_has_the_configured_host_and_statuses() {
    let router = |name: &'static str, host: &'static str| {
        let health = async move |request: Request| match request.headers()["host"].to_str() {
            Ok(sent) if sent == host => StatusCode::UNAUTHORIZED,
            _ => StatusCode::OK,
        };
        Router::new().route("/healthz", get(health)).fallback(async move || name)
    };
    let a = Service::start(router("a", "other.example")).await;
    let b = Service::start(router("b", "orders.example")).await;
    let check = "path = \"/healthz\", host = \"orders.example\", statuses = [401], timeout = \"5s\"";
    let (_installation, gateway) = start(&[a.address, b.address], check);
    logged(&gateway, "target is unhealthy").await;
    assert_eq!(counts(&gateway, 20).await, map(&[("b", 20)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn target_that_does_not_respond_is_unhealthy() {
    let hangs = Router::new().route("/healthz", get(async || pending::<()>().await)).fallback(async || "a");
    let (a, b) = (Service::start(hangs).await, Checked::start("b", 200).await);
    let check = "path = \"/healthz\", timeout = \"500ms\"";
    let (_installation, gateway) = start(&[a.address, b.service.address], check);
    logged(&gateway, "the check timed out").await;
    assert_eq!(counts(&gateway, 20).await, map(&[("b", 20)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn target_without_a_path_to_check_needs_only_to_accept_connections() {
    let (absent, b) = (free_address(), named("b").await);
    let (_installation, gateway) = start(&[absent, b.address], "timeout = \"5s\"");
    logged(&gateway, "target is unhealthy").await;
    assert_eq!(counts(&gateway, 20).await, map(&[("b", 20)]));
    let listener = tokio::net::TcpListener::bind(absent).await.unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(async || "a")).await.unwrap() });
    logged(&gateway, "target is healthy again").await;
    assert_eq!(counts(&gateway, 20).await, map(&[("a", 10), ("b", 10)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn unhealthy_targets_are_tried_if_no_other_is_left() {
    let (a, b) = (Checked::start("a", 503).await, Checked::start("b", 503).await);
    let (_installation, gateway) =
        start(&[a.service.address, b.service.address], "path = \"/healthz\", timeout = \"5s\"");
    while logged(&gateway, "target is unhealthy").await < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(counts(&gateway, 20).await, map(&[("a", 10), ("b", 10)]));
}
