//! The ejection of targets that fail.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::Router;
use http::StatusCode;

use crate::{
    process::{Service, TIMEOUT, client, free_address},
    scripted::{Reaction, Scripted, ok},
    targets::{counts, installation, logged, map, named},
};

/// Starts a target that closes its connections without a response while `fails` is set.
fn failing(fails: &Arc<AtomicBool>) -> Scripted {
    let fails = fails.clone();
    Scripted::start(
        move |_| {
            if fails.load(Ordering::SeqCst) { Reaction::Close } else { Reaction::Send(ok("a")) }
        },
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn ejected_target_receives_no_requests() {
    let a = failing(&Arc::new(AtomicBool::new(true)));
    let b = named("b").await;
    let settings = "ejection = { failures = 3, duration = \"1h\" }";
    let installation = installation(&[a.address, b.address], settings, "");
    let gateway = installation.start();
    assert_eq!(counts(&gateway, 60).await, map(&[("b", 60)]));
    assert_eq!(a.arrived().len(), 3);
    assert_eq!(logged(&gateway, "target ejected").await, 1);
    let log = gateway.end();
    let line = log.iter().find(|line| line.contains("target ejected")).unwrap();
    for part in [&*a.address.to_string(), "\"upstream\":\"up\"", "connection closed before message completed"]
    {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ejected_target_returns_after_the_duration() {
    const DURATION: Duration = Duration::from_millis(300);
    let fails = Arc::new(AtomicBool::new(true));
    let (a, b) = (failing(&fails), named("b").await);
    let settings = "ejection = { failures = 2, duration = \"300ms\" }";
    let installation = installation(&[a.address, b.address], settings, "");
    let gateway = installation.start();
    let begun = Instant::now();
    counts(&gateway, 4).await;
    assert_eq!(a.arrived().len(), 2);
    fails.store(false, Ordering::SeqCst);
    while a.arrived().len() == 2 {
        assert!(begun.elapsed() < TIMEOUT, "the ejection does not end");
        counts(&gateway, 1).await;
    }
    assert!(begun.elapsed() >= DURATION, "{:?}", begun.elapsed());
    assert_eq!(counts(&gateway, 20).await, map(&[("a", 10), ("b", 10)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_failures_in_succession_count() {
    let a = Scripted::start(|request| {
        // Each connection serves two requests, and the third fails: it is new when the gateway tries again.
        if request.request == 2 { Reaction::Close } else { Reaction::Send(ok("a")) }
    });
    let b = named("b").await;
    let settings = "ejection = { failures = 2, duration = \"1h\" }";
    let installation = installation(&[a.address, b.address], settings, "");
    let gateway = installation.start();
    assert_eq!(counts(&gateway, 40).await, map(&[("a", 20), ("b", 20)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn request_fails_with_the_cause_if_all_targets_are_down() {
    let targets = [free_address(), free_address()];
    let installation = installation(&targets, "ejection = { failures = 1, duration = \"1h\" }", "");
    let gateway = installation.start();
    for _ in 0..10 {
        assert_eq!(gateway.get("/").send().await.unwrap().status(), 502);
    }
    logged(&gateway, &format!("upstream up ({}): connect: Connection refused", targets[0])).await;
    logged(&gateway, &format!("upstream up ({}): connect: Connection refused", targets[1])).await;
    assert_eq!(logged(&gateway, "target ejected").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn single_target_is_tried_although_it_fails() {
    let fails = Arc::new(AtomicBool::new(true));
    let a = failing(&fails);
    let installation = installation(&[a.address], "ejection = { failures = 1, duration = \"1h\" }", "");
    let gateway = installation.start();
    for _ in 0..5 {
        assert_eq!(gateway.get("/").send().await.unwrap().status(), 502);
    }
    assert_eq!(a.arrived().len(), 5);
    fails.store(false, Ordering::SeqCst);
    assert_eq!(counts(&gateway, 5).await, map(&[("a", 5)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_are_not_ejected_if_ejection_is_disabled() {
    let a = failing(&Arc::new(AtomicBool::new(true)));
    let b = named("b").await;
    let installation = installation(&[a.address, b.address], "ejection.enabled = false", "");
    let gateway = installation.start();
    assert_eq!(counts(&gateway, 40).await, map(&[("b", 40)]));
    assert_eq!(a.arrived().len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn error_statuses_count_only_if_configured() {
    for (count_5xx, failed) in [(true, 2), (false, 20)] {
        let fails = Router::new().fallback(async || (StatusCode::INTERNAL_SERVER_ERROR, "a"));
        let (a, b) = (Service::start(fails).await, named("b").await);
        let settings = format!("ejection = {{ failures = 2, duration = \"1h\", count_5xx = {count_5xx} }}");
        let installation = installation(&[a.address, b.address], &settings, "");
        let gateway = installation.start();
        let client = client();
        let mut found = 0;
        for _ in 0..40 {
            let status = client.get(gateway.url("/")).send().await.unwrap().status();
            found += usize::from(status == StatusCode::INTERNAL_SERVER_ERROR);
        }
        assert_eq!(found, failed, "count_5xx = {count_5xx}");
    }
}
