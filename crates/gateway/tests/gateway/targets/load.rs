//! Bounds on the load of an upstream.

use crate::{
    process::client,
    targets::{Holding, installation, logged, text},
};

#[tokio::test(flavor = "multi_thread")]
async fn requests_beyond_the_limit_are_503_with_retry_after() {
    let mut service = Holding::start("a").await;
    let installation = installation(&[service.service.address], "limits.requests = 2", "");
    let gateway = installation.start();
    let held: Vec<_> = (0..2).map(|_| tokio::spawn(text(gateway.get("/hold")))).collect();
    for _ in 0..2 {
        service.held.recv().await.unwrap();
    }
    let denied = gateway.get("/").send().await.unwrap();
    assert_eq!((denied.status().as_u16(), &denied.headers()["retry-after"]), (503, &"1".parse().unwrap()));
    logged(&gateway, "limits.requests is reached").await;
    service.release.notify_waiters();
    for held in held {
        assert_eq!(held.await.unwrap(), "a");
    }
    assert_eq!(text(gateway.get("/")).await, "a");
}

/// A request is in progress until its response is complete or the client is gone.
#[tokio::test(flavor = "multi_thread")]
async fn request_of_a_client_that_is_gone_is_no_longer_counted() {
    let mut service = Holding::start("a").await;
    let installation = installation(&[service.service.address], "limits.requests = 1", "");
    let gateway = installation.start();
    let held = tokio::spawn(text(gateway.get("/hold")));
    service.held.recv().await.unwrap();
    assert_eq!(gateway.get("/").send().await.unwrap().status(), 503);
    held.abort();
    let client = client();
    while client.get(gateway.url("/")).send().await.unwrap().status() != 200 {}
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_wait_for_a_connection_in_a_bounded_queue() {
    let mut service = Holding::start("a").await;
    let settings = "limits = { connections = 1, pending = 1 }\nconnect_timeout = \"30s\"";
    let installation = installation(&[service.service.address], settings, "");
    let gateway = installation.start();
    let held = tokio::spawn(text(gateway.get("/hold")));
    service.held.recv().await.unwrap();
    // One of two further requests waits, and the other one is denied at once.
    let mut others = tokio::task::JoinSet::new();
    for _ in 0..2 {
        others.spawn(gateway.get("/").send());
    }
    let denied = others.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!((denied.status().as_u16(), &denied.headers()["retry-after"]), (503, &"1".parse().unwrap()));
    logged(&gateway, "limits.connections and limits.pending are reached").await;
    service.release.notify_waiters();
    assert_eq!(held.await.unwrap(), "a");
    let waited = others.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(waited.status(), 200);
    assert_eq!(text(gateway.get("/")).await, "a");
    assert!(service.service.connections() <= 3, "{}", service.service.connections());
}

#[tokio::test(flavor = "multi_thread")]
async fn request_waits_for_a_connection_no_longer_than_the_connect_timeout() {
    let mut service = Holding::start("a").await;
    let settings = "limits.connections = 1\nconnect_timeout = \"200ms\"";
    let installation = installation(&[service.service.address], settings, "");
    let gateway = installation.start();
    let held = tokio::spawn(text(gateway.get("/hold")));
    service.held.recv().await.unwrap();
    assert_eq!(gateway.get("/").send().await.unwrap().status(), 503);
    logged(&gateway, "no connection became free within connect_timeout").await;
    service.release.notify_waiters();
    assert_eq!(held.await.unwrap(), "a");
    assert_eq!(text(gateway.get("/")).await, "a");
}

/// The connections of one target are idle while the requests go to another one.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_make_room_for_those_to_another_target() {
    let (a, b) = (Holding::start("a").await, Holding::start("b").await);
    let settings = "limits.connections = 1\nconnect_timeout = \"30s\"";
    let installation = installation(&[a.service.address, b.service.address], settings, "");
    let gateway = installation.start();
    let first = text(gateway.get("/")).await;
    let second = text(gateway.get("/")).await;
    assert_ne!(first, second);
}
