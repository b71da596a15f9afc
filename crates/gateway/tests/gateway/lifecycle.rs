//! The process: its log, its signals, its replacement and its file descriptors.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::process::CommandExt,
    process::Command,
    time::{Duration, Instant},
};

use reqwest::Client;
use rlimit::{Resource, prlimit};
use tokio::net::TcpSocket;

use crate::{
    process::{Gateway, Installation, Service, TIMEOUT, client, free_address, listens},
    serving::slow,
};

/// A gateway with all three kinds of listeners.
struct Listeners {
    installation: Installation,
    admin: SocketAddr,
    metrics: SocketAddr,
}

impl Listeners {
    fn new(service: &Service, of_file: &str) -> Self {
        let (public, admin, metrics) = (free_address(), free_address(), free_address());
        let text = format!(
            r#"
{of_file}
store.path = "data/p.db"
secrets.file = "data/s.toml"
[[listeners]]
address = "{public}"
[admin]
address = "{admin}"
[metrics]
address = "{metrics}"
[upstreams.up]
address = "{}"
[[routes]]
path = "/up"
upstream = "up"
"#,
            service.address
        );
        Self { installation: Installation::from_text(&text, public), admin, metrics }
    }

    /// Returns the response of the metrics listener, requested with the given client.
    async fn metrics(&self, client: &Client) -> String {
        client.get(format!("http://{}/metrics", self.metrics)).send().await.unwrap().text().await.unwrap()
    }

    /// Returns the status of an unauthenticated request to the admin API.
    async fn admin(&self) -> u16 {
        let url = format!("http://{}/admin/v1/status", self.admin);
        client().get(url).send().await.unwrap().status().as_u16()
    }
}

fn value(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}: {metrics}")).parse().unwrap()
}

/// Waits for a log line that contains the given text.
fn wait_for_line(gateway: &Gateway, part: &str) {
    let deadline = Instant::now() + TIMEOUT;
    while !gateway.log().iter().any(|line| line.contains(part)) {
        assert!(Instant::now() < deadline, "no line with {part}: {:#?}", gateway.log());
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn unread_log_blocks_neither_requests_nor_shutdown() {
    let service = Service::echo().await;
    let listeners = Listeners::new(&service, "limits.requests_per_connection = 1000000");
    let (mut gateway, unread) = listeners.installation.start_unread();
    let (client, scraper) = (client(), crate::process::client());
    // Each line is as long as its path. Together, the lines are larger than the pipe and the queue.
    let path = gateway.url(&format!("/{}", "x".repeat(7_000)));
    let mut dropped = 0;
    for round in 0.. {
        for _ in 0..100 {
            assert_eq!(client.get(&path).send().await.unwrap().status(), 404);
        }
        dropped = value(&listeners.metrics(&scraper).await, "portcullis_log_lines_dropped_total");
        if dropped > 0 {
            break;
        }
        assert!(round < 50, "every line found a place");
    }
    assert!(dropped > 0);
    assert_eq!(listeners.admin().await, 401);
    gateway.signal("-TERM");
    assert!(gateway.wait().success());
    drop(unread);
}

#[tokio::test]
async fn other_signals_do_not_end_the_gateway() {
    let service = Service::echo().await;
    let installation = Installation::new(service.address, "");
    let gateway = installation.start();
    for signal in ["USR1", "USR2", "USR1"] {
        gateway.signal(&format!("-{signal}"));
        wait_for_line(&gateway, &format!("\"SIG{signal}\""));
    }
    gateway.signal("-PIPE");
    assert_eq!(gateway.get("/").send().await.unwrap().status(), 200);
    let lines = gateway.end();
    assert_eq!(lines.iter().filter(|line| line.contains("\"SIGUSR1\"")).count(), 2, "{lines:#?}");
}

#[tokio::test]
async fn sigquit_lets_requests_finish() {
    let (service, mut arrivals, release) = slow().await;
    let installation = Installation::new(service.address, "");
    let mut gateway = installation.start();
    let running = tokio::spawn(gateway.get("/").send());
    arrivals.recv().await.unwrap();
    gateway.signal("-QUIT");
    wait_for_line(&gateway, "SIGQUIT");
    release.send(()).await.unwrap();
    assert_eq!(running.await.unwrap().unwrap().status(), 200);
    assert!(gateway.wait().success());
}

#[tokio::test]
async fn sigint_ends_at_once_while_requests_finish() {
    let (service, mut arrivals, _release) = slow().await;
    let installation = Installation::with(service.address, "", "", "server.shutdown_grace = \"24h\"");
    let mut gateway = installation.start();
    let running = tokio::spawn(gateway.get("/").send());
    arrivals.recv().await.unwrap();
    gateway.signal("-TERM");
    wait_for_line(&gateway, "SIGTERM");
    gateway.signal("-INT");
    assert!(gateway.wait().success());
    assert!(running.await.unwrap().is_err());
}

#[tokio::test]
async fn replacement_takes_over_listeners_while_requests_finish() {
    let (service, mut arrivals, release) = slow().await;
    let listeners = Listeners::new(&service, "server.shutdown_grace = \"24h\"");
    let mut old = listeners.installation.start();
    let running = tokio::spawn(old.get("/up").send());
    arrivals.recv().await.unwrap();
    old.signal("-TERM");
    let new = listeners.installation.start();
    wait_for_line(&new, "\"ready\"");
    let deadline = Instant::now() + TIMEOUT;
    while !listens(listeners.metrics) || !listens(listeners.admin) {
        assert!(Instant::now() < deadline, "not every listener was taken over: {:#?}", new.log());
        tokio::task::yield_now().await;
    }
    assert_eq!(new.get("/").send().await.unwrap().status(), 404);
    assert_eq!(listeners.admin().await, 401);
    assert!(listeners.metrics(&client()).await.contains("portcullis_open_connections"));
    assert_eq!(new.access("/")["status"], 404, "the new process answered");
    release.send(()).await.unwrap();
    assert_eq!(running.await.unwrap().unwrap().text().await.unwrap(), "done");
    assert!(old.wait().success());
}

/// Opens connections without a request, from a loopback address.
async fn idle(count: usize, from: &str, to: SocketAddr) -> Vec<tokio::net::TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
        streams.push(socket.connect(to).await.unwrap());
    }
    streams
}

#[tokio::test]
async fn admin_api_answers_while_the_public_listener_is_full() {
    let service = Service::echo().await;
    let listeners = Listeners::new(&service, "limits.head_timeout = \"60s\"\nserver.threads = 2");
    let plain = listeners.installation.command("serve");
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 300; exec \"$0\" \"$@\""]).arg(plain.get_program()).args(plain.get_args());
    limited.current_dir(listeners.installation.folder.path()).env_remove("RUST_LOG").process_group(0);
    let gateway = listeners.installation.start_by(limited);
    wait_for_line(&gateway, "limits.connections lowered");
    let mut clients = idle(240, "127.0.0.1", gateway.address).await;
    clients.extend(idle(240, "127.0.0.2", gateway.address).await);
    // The last connection of each address is over the limit: it is closed at once.
    for last in [239, 479] {
        let mut byte = [0];
        let read = tokio::io::AsyncReadExt::read(&mut clients[last], &mut byte);
        assert!(matches!(tokio::time::timeout(TIMEOUT, read).await.unwrap(), Ok(0) | Err(_)));
    }
    assert_eq!(listeners.admin().await, 401);
    let metrics = listeners.metrics(&client()).await;
    assert!(value(&metrics, "portcullis_open_connections") > 60, "{metrics}");
    let open = fs::read_dir(format!("/proc/{}/fd", gateway.pid())).unwrap().count();
    assert!(open < 300, "{open} descriptors are open");
    drop(clients);
    let log = gateway.end();
    assert!(!log.iter().any(|line| line.contains("accepting connections failed")), "{log:#?}");
}

/// Waits for the last step of the gateway's start.
fn wait_until_sigterm_is_handled(gateway: &Gateway) {
    const SIGTERM: u64 = 1 << (15 - 1);
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        if u64::from_str_radix(caught.trim(), 16).unwrap() & SIGTERM != 0 {
            return;
        }
        assert!(Instant::now() < deadline, "SIGTERM is not handled");
        std::thread::yield_now();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn unacceptable_connections_are_logged_rarely_and_served_later() {
    let service = Service::echo().await;
    let installation = Installation::with(service.address, "", "", "server.threads = 1");
    let gateway = installation.start();
    let pid = i32::try_from(gateway.pid()).unwrap();
    let soft = |soft: u64| {
        let hard = Resource::NOFILE.get_hard().unwrap();
        prlimit(pid, Resource::NOFILE, Some((soft, hard)), None).unwrap();
    };
    // The only worker is running: it needs no further descriptors for itself.
    assert_eq!(gateway.get("/").send().await.unwrap().status(), 200);
    wait_until_sigterm_is_handled(&gateway);
    let start = Instant::now();
    // All open descriptors are over this limit: none can be added.
    soft(1);
    let mut waiting = TcpStream::connect(gateway.address).unwrap();
    wait_for_line(&gateway, "accepting connections failed");
    // In the meantime, the gateway retries ten times a second.
    waiting.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    assert!(waiting.read(&mut [0]).is_err(), "nothing comes");
    soft(1_024);
    waiting.set_read_timeout(Some(TIMEOUT)).unwrap();
    waiting.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let lines = gateway.log().iter().filter(|line| line.contains("connections failed")).count() as u64;
    assert!(lines <= 1 + start.elapsed().as_secs() / 10, "{:#?}", gateway.log());
}

#[tokio::test]
async fn metrics_listener_has_the_limits_of_every_listener() {
    let service = Service::echo().await;
    let limits = "limits.connections_per_address = 2\nlimits.head_timeout = \"300ms\"";
    let listeners = Listeners::new(&service, limits);
    let _gateway = listeners.installation.start();
    let mut half_heads: Vec<_> = (0..3)
        .map(|_| {
            let mut stream = TcpStream::connect(listeners.metrics).unwrap();
            stream.set_read_timeout(Some(TIMEOUT)).unwrap();
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost");
            stream
        })
        .collect();
    let mut third = half_heads.pop().unwrap();
    let mut answer = Vec::new();
    let closed = third.read_to_end(&mut answer);
    assert!(answer.is_empty() && !closed.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    for mut half in half_heads {
        let mut answer = String::new();
        half.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    let answer = client().get(format!("http://{}/other", listeners.metrics)).send().await.unwrap();
    assert_eq!(answer.status(), 404);
}
