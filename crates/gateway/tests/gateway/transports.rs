//! Upstreams over other transports than IPv4 and HTTP/1.1.

mod grpc;
mod http2;
mod streams;
mod tls;
mod tls_service;

use std::net::{SocketAddr, ToSocketAddrs};

use axum::Router;
use tokio::net::{TcpListener, UnixListener};

use crate::targets::{counts, installation, text};

/// Starts a service that responds with its name.
async fn named_at(name: &'static str, address: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(async move || name)).await });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn unix_socket_is_an_upstream() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("orders.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let host = async |headers: http::HeaderMap| headers["host"].to_str().unwrap().to_owned();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(host)).await });
    let installation = installation(&[format!("unix:{}", socket.display())], "", "");
    let gateway = installation.start();
    let get = || gateway.get("/").header("host", "orders.example");
    for _ in 0..10 {
        assert_eq!(text(get()).await, "orders.example");
    }
    // The path is not known to HTTP/1.0 clients without `Host`.
    let response = gateway.raw(b"GET / HTTP/1.0\r\n\r\n");
    assert!(response.ends_with("\r\n\r\nlocalhost"), "{response}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unix_sockets_are_targets_like_others() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("a.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(async || "a")).await });
    let b = named_at("b", ([127, 0, 0, 1], 0).into()).await;
    let absent = folder.path().join("absent.sock");
    let unix = |path: &std::path::Path| format!("unix:{}", path.display());
    let targets = [unix(&socket), b.to_string(), unix(&absent)];
    let installation = installation(&targets, "ejection = { failures = 1, duration = \"1h\" }", "");
    let gateway = installation.start();
    counts(&gateway, 3).await;
    let found = counts(&gateway, 20).await;
    assert_eq!((found["a"], found["b"]), (10, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_address_is_an_upstream() {
    let address = named_at("six", "[::1]:0".parse().unwrap()).await;
    for target in [address.to_string(), format!("http://{address}/")] {
        let installation = installation(&[target], "", "");
        assert_eq!(text(installation.start().get("/")).await, "six");
    }
}

/// Many machines have both addresses of `localhost`, and some have only one of them.
#[tokio::test(flavor = "multi_thread")]
async fn name_is_found_at_any_of_its_addresses() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let address = named_at("found", address.parse().unwrap()).await;
        let name = format!("localhost:{}", address.port());
        if !name.to_socket_addrs().unwrap().any(|known| known == address) {
            println!("skipped: {address} is not an address of localhost here");
            continue;
        }
        // Other addresses of a name are a part of connecting to it, and no retries.
        let installation = installation(&[name], "retries.attempts = 0", "");
        let gateway = installation.start();
        assert_eq!(counts(&gateway, 30).await.get("found"), Some(&30), "{address}");
    }
}
