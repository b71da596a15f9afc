//! Names of upstreams: a gateway follows DNS while it runs.

use std::{net::SocketAddr, time::Instant};

use axum::{Router, routing::get};
use portcullis_test::dns::{DnsRecord, DnsReply, DnsServer};
use tokio::net::TcpListener;

use crate::{
    process::{Gateway, Installation, TIMEOUT, client},
    targets,
};

/// Starts two services on the same port of two addresses, and returns the port. Their responses are their names.
async fn twins() -> u16 {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = first.local_addr().unwrap().port();
        // Another process may use the port of the second address.
        if let Ok(second) = TcpListener::bind(("127.0.0.2", port)).await {
            for (listener, name) in [(first, "one"), (second, "two")] {
                let router = Router::new().route("/", get(async move || name));
                tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
            }
            return port;
        }
    }
}

fn gateway(target: &str, dns: SocketAddr) -> (Installation, Gateway) {
    let settings = format!("dns.servers = [\"{dns}\"]");
    let installation = targets::installation(&[target], "connect_timeout = \"300ms\"", &settings);
    let gateway = installation.start();
    (installation, gateway)
}

async fn answer(gateway: &Gateway) -> String {
    let response = client().get(gateway.url("/")).send().await.unwrap();
    let status = response.status();
    if status == 200 { response.text().await.unwrap() } else { status.as_u16().to_string() }
}

/// Sends requests until the answer is as expected. Returns the other answers.
async fn until(gateway: &Gateway, expected: &str) -> Vec<String> {
    let (start, mut others) = (Instant::now(), Vec::new());
    loop {
        let found = answer(gateway).await;
        if found == expected {
            return others;
        }
        others.push(found);
        assert!(start.elapsed() < TIMEOUT, "{:?}", others.last());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_record_is_followed_without_a_failed_request() {
    let (port, dns) = (twins().await, DnsServer::start().await);
    dns.set("orders.test.", [DnsRecord::ip(1, "127.0.0.1")]);
    let (_installation, gateway) = gateway(&format!("http://orders.test.:{port}"), dns.address());
    until(&gateway, "one").await;
    dns.set("orders.test.", [DnsRecord::ip(1, "127.0.0.2")]);
    let before = until(&gateway, "two").await;
    assert!(before.iter().all(|answer| answer == "one"), "{before:?}");
    for _ in 0..20 {
        assert_eq!(answer(&gateway).await, "two", "connections to the first address are not used any more");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_name_is_503_until_it_is_known() {
    let (port, dns) = (twins().await, DnsServer::start().await);
    let (_installation, gateway) = gateway(&format!("http://orders.test.:{port}"), dns.address());
    assert_eq!(answer(&gateway).await, "503");
    let log = gateway.log();
    assert!(log.iter().any(|line| line.contains("orders.test.")), "{log:?}");
    dns.set("orders.test.", [DnsRecord::ip(60, "127.0.0.1")]);
    let before = until(&gateway, "one").await;
    assert!(before.iter().all(|answer| answer == "503"), "{before:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_name_server_does_not_stop_the_upstream() {
    let (port, dns) = (twins().await, DnsServer::start().await);
    dns.set("orders.test.", [DnsRecord::ip(1, "127.0.0.1")]);
    let (_installation, gateway) = gateway(&format!("http://orders.test.:{port}"), dns.address());
    until(&gateway, "one").await;
    for reply in [DnsReply::ServerFailure, DnsReply::NoSuchName] {
        let queries = dns.queries("orders.test.");
        dns.reply("orders.test.", reply);
        dns.wait_for_queries("orders.test.", queries + 2).await;
        assert_eq!(answer(&gateway).await, "one");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn service_records_name_host_and_port() {
    let (port, dns) = (twins().await, DnsServer::start().await);
    dns.set(
        "_http._tcp.orders.test.",
        [
            DnsRecord::service(60, (1, 1), port, "two.test."),
            DnsRecord::service(60, (2, 1), port, "one.test."),
        ],
    );
    dns.set("one.test.", [DnsRecord::ip(60, "127.0.0.1")]);
    dns.set("two.test.", [DnsRecord::ip(60, "127.0.0.2")]);
    let (_installation, gateway) = gateway("http+srv://_http._tcp.orders.test.", dns.address());
    for _ in 0..10 {
        assert_eq!(answer(&gateway).await, "two", "the lower number comes first");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_a_name_share_the_requests() {
    let (port, dns) = (twins().await, DnsServer::start().await);
    dns.set("orders.test.", [DnsRecord::ip(60, "127.0.0.1"), DnsRecord::ip(60, "127.0.0.2")]);
    let (_installation, gateway) = gateway(&format!("http://orders.test.:{port}"), dns.address());
    let counts = targets::counts(&gateway, 20).await;
    assert_eq!(counts.values().collect::<Vec<_>>(), [&10, &10], "{counts:?}");
}
