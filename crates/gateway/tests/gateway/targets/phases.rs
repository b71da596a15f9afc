//! The phases of an exchange, their timeouts, and what the log says about a failure.

use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::{
    process::{Gateway, free_address},
    scripted::{Reaction, Scripted},
    targets::{installation, logged},
};

async fn status(gateway: &Gateway) -> u16 {
    gateway.get("/").send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_connection_is_502() {
    let target = free_address();
    let installation = installation(&[target], "", "");
    let gateway = installation.start();
    assert_eq!(status(&gateway).await, 502);
    logged(&gateway, &format!("upstream up ({target}): connect: Connection refused")).await;
}

/// A listener whose queue of connections is full: the system drops further attempts.
#[cfg(target_os = "linux")]
fn full_listener() -> (TcpListener, Vec<TcpStream>) {
    use std::time::Duration;

    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(1).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let waiting = Duration::from_millis(300);
    let queued = std::iter::from_fn(|| TcpStream::connect_timeout(&address, waiting).ok()).collect();
    (listener, queued)
}

#[cfg(target_os = "linux")] // Other systems refuse the connection.
#[tokio::test(flavor = "multi_thread")]
async fn connection_that_is_not_accepted_in_time_is_504() {
    let (listener, _queued) = full_listener();
    let target = listener.local_addr().unwrap();
    let installation = installation(&[target], "connect_timeout = \"200ms\"", "");
    let gateway = installation.start();
    assert_eq!(status(&gateway).await, 504);
    logged(&gateway, &format!("upstream up ({target}): connect timed out")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_handshake_that_is_not_answered_in_time_is_504() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let settings = "connect_timeout = \"200ms\"\ntls.verify = false";
    let installation = installation(&[format!("https://{target}")], settings, "");
    let gateway = installation.start();
    assert_eq!(status(&gateway).await, 504);
    logged(&gateway, &format!("upstream up ({target}): connect timed out")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn response_that_does_not_begin_in_time_is_504() {
    // A timeout is not retried, because the target may still be working.
    let targets: Vec<_> = (0..2).map(|_| Scripted::start(|_| Reaction::Send(Vec::new()))).collect();
    let addresses: Vec<_> = targets.iter().map(|target| target.address).collect();
    let installation = installation(&addresses, "read_timeout = \"200ms\"", "");
    let gateway = installation.start();
    assert_eq!(status(&gateway).await, 504);
    let tried = targets.iter().position(|target| target.arrived().len() == 1).unwrap();
    assert!(targets[1 - tried].arrived().is_empty());
    logged(&gateway, &format!("upstream up ({}): response timed out", addresses[tried])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn response_body_that_stalls_is_cut() {
    let target =
        Scripted::start(|_| Reaction::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart".to_vec()));
    let installation = installation(&[target.address], "read_timeout = \"200ms\"", "");
    let gateway = installation.start();
    let mut response = gateway.get("/").send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.chunk().await.unwrap().unwrap(), "part");
    assert!(!response.chunk().await.unwrap_err().is_timeout(), "the client has waited longer");
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_connection_is_502() {
    let target = Scripted::start(|_| Reaction::Close);
    let installation = installation(&[target.address], "", "");
    let gateway = installation.start();
    assert_eq!(status(&gateway).await, 502);
    logged(&gateway, &format!("upstream up ({}): ", target.address)).await;
}

/// Returns the head of a response with this number of headers, and about this size.
fn head(count: usize, bytes: usize) -> Vec<u8> {
    let value = "x".repeat(bytes / (count - 1));
    let fields: Vec<_> = (1..count).map(|number| format!("X-{number}: {value}\r\n")).collect();
    format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{}\r\n", fields.concat()).into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn response_head_beyond_a_limit_is_502() {
    for (settings, count, bytes, expected) in [
        ("", 100, 50_000, "200"),
        ("", 101, 1_000, "502"),
        ("", 50, 70_000, "502"),
        ("response_header_count = 200", 200, 1_000, "200"),
        ("response_header_count = 200", 201, 1_000, "502"),
        ("response_header_count = 10", 11, 100, "502"),
        ("response_head_bytes = 16384", 20, 15_000, "200"),
        ("response_head_bytes = 16384", 20, 17_000, "502"),
        ("response_head_bytes = 1000000", 50, 900_000, "200"),
    ] {
        let target = Scripted::start(move |_| Reaction::Send(head(count, bytes)));
        let installation = installation(&[target.address], settings, "");
        let gateway = installation.start();
        // Some clients have lower limits.
        let response = gateway.raw(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert_eq!(response.get(9..12), Some(expected), "{settings} {count} {bytes}");
    }
}
