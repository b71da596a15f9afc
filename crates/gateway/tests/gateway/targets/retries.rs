//! Retries on other targets.

use axum::Router;
use serde_json::Value;

use crate::{
    process::{Gateway, Service, client, free_address},
    scripted::{Reaction, Scripted, ok},
    targets::installation,
};

/// Starts targets that close each connection after a request, without a response.
fn closing(count: usize) -> Vec<Scripted> {
    (0..count).map(|_| Scripted::start(|_| Reaction::Close)).collect()
}

fn arrived(targets: &[Scripted]) -> usize {
    targets.iter().map(|target| target.arrived().len()).sum()
}

/// Returns the settings without ejection, which would change the order of targets.
fn settings(retries: &str) -> String {
    format!("ejection.enabled = false\nretries = {{ {retries} }}")
}

fn addresses(targets: &[Scripted]) -> Vec<std::net::SocketAddr> {
    targets.iter().map(|target| target.address).collect()
}

async fn status(gateway: &Gateway, method: &str, content: Option<&'static str>) -> u16 {
    let request = client().request(method.parse().unwrap(), gateway.url("/"));
    let request = if let Some(content) = content { request.body(content) } else { request };
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn request_is_retried_as_often_as_configured() {
    for (attempts, expected) in [("attempts = 0", 1), ("attempts = 1", 2), ("", 3), ("attempts = 9", 4)] {
        let targets = closing(4);
        let installation = installation(&addresses(&targets), &settings(attempts), "");
        let gateway = installation.start();
        assert_eq!(status(&gateway, "GET", None).await, 502);
        assert_eq!(arrived(&targets), expected, "{attempts}");
        let tried = targets.iter().filter(|target| target.arrived().len() == 1).count();
        assert_eq!(tried, expected, "each target is tried once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_stay_within_the_budget() {
    let targets = closing(2);
    let budget = settings("budget_burst = 3, budget_percent = 0");
    let installation = installation(&addresses(&targets), &budget, "");
    let gateway = installation.start();
    for _ in 0..10 {
        assert_eq!(status(&gateway, "GET", None).await, 502);
    }
    assert_eq!(arrived(&targets), 10 + 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn budget_grows_with_the_requests() {
    let targets = closing(2);
    let budget = settings("budget_burst = 1, budget_percent = 50");
    let installation = installation(&addresses(&targets), &budget, "");
    let gateway = installation.start();
    for _ in 0..11 {
        status(&gateway, "GET", None).await;
    }
    // The first request uses what was saved up, and then each second one has a retry.
    assert_eq!(arrived(&targets), 11 + 1 + 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn request_that_is_not_repeatable_is_not_retried() {
    for (method, content) in
        [("POST", None), ("POST", Some("hi")), ("PATCH", None), ("PUT", Some("hi")), ("LINK", None)]
    {
        let targets = closing(2);
        let installation = installation(&addresses(&targets), &settings(""), "");
        let gateway = installation.start();
        assert_eq!(status(&gateway, method, content).await, 502, "{method} {content:?}");
        assert_eq!(arrived(&targets), 1, "{method} {content:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idempotent_request_is_retried_on_another_target() {
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "PUT"] {
        let closes = Scripted::start(|_| Reaction::Close);
        let serves = Scripted::start(|_| Reaction::Send(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()));
        let installation = installation(&[closes.address, serves.address], &settings(""), "");
        let gateway = installation.start();
        for _ in 0..4 {
            assert_eq!(status(&gateway, method, None).await, 204, "{method}");
        }
        let (first, second) = (closes.arrived(), serves.arrived());
        assert_eq!((first.len(), second.len()), (2, 4), "{method}");
        let target =
            |request: &crate::scripted::Arrived| (request.method().to_owned(), request.path().to_owned());
        assert!(first.iter().chain(&second).all(|request| target(request) == (method.into(), "/".into())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn request_with_a_started_response_is_not_retried() {
    for begun in ["H", "HTTP/1.1 2", "HTTP/1.1 200 OK\r\nContent-", "HTTP/1.1 103 Early Hints\r\n\r\n"] {
        let targets: Vec<_> =
            (0..2).map(|_| Scripted::start(move |_| Reaction::SendAndClose(begun.into()))).collect();
        let installation = installation(&addresses(&targets), &settings(""), "");
        let gateway = installation.start();
        assert_eq!(status(&gateway, "GET", None).await, 502, "{begun:?}");
        assert_eq!(arrived(&targets), 1, "{begun:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_request_is_sent_to_another_target_if_a_connection_is_refused() {
    const LENGTH: usize = 1 << 20;
    let service = Service::echo().await;
    let installation = installation(&[free_address(), service.address], &settings(""), "");
    let gateway = installation.start();
    let client = client();
    for method in ["POST", "PATCH", "PUT", "GET", "DELETE"] {
        // Both targets are the first one in turn.
        for _ in 0..2 {
            let request = client.request(method.parse().unwrap(), gateway.url("/"));
            let response = request.body(vec![7; LENGTH]).send().await.unwrap();
            assert_eq!(response.status(), 200, "{method}");
            let echo: Value = response.json().await.unwrap();
            assert_eq!((&echo["method"], &echo["bytes"]), (&method.into(), &LENGTH.into()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_idle_connection_costs_no_retry() {
    // Each connection serves one request, and is closed when the second one arrives.
    let serves = |name: &'static str| {
        Scripted::start(
            move |request| {
                if request.request == 0 { Reaction::Send(ok(name)) } else { Reaction::Close }
            },
        )
    };
    let targets = vec![serves("a"), serves("b")];
    let installation = installation(&addresses(&targets), &settings("attempts = 0"), "");
    let gateway = installation.start();
    for _ in 0..20 {
        assert_eq!(status(&gateway, "GET", None).await, 200);
    }
    // Each request after the first one of its target was sent to an idle connection, and again on a new one.
    assert_eq!(arrived(&targets), 20 + 18);
}

/// A 500 is a response like any other.
#[tokio::test(flavor = "multi_thread")]
async fn response_with_an_error_status_is_not_retried() {
    let fails = || Router::new().fallback(async || (http::StatusCode::SERVICE_UNAVAILABLE, "busy"));
    let (a, b) = (Service::start(fails()).await, Service::start(fails()).await);
    let installation = installation(&[a.address, b.address], &settings(""), "");
    let gateway = installation.start();
    assert_eq!(status(&gateway, "GET", None).await, 503);
    assert_eq!(a.connections() + b.connections(), 1);
}
