//! Sends the bytes of an upstream through the gateway's connection handler to a client.
//!
//! The first byte of the input selects the method, and whether the upstream closes its connection after the bytes.
//! The rest is the response to the request, with a pause for each `{WAIT}`, until no more bytes move. Then the client
//! sends another request, to which the upstream responds correctly. With `FUZZ_SHOW` set, the program prints what it
//! observed.

#![no_main]

mod response;

use std::{
    net::IpAddr,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use libfuzzer_sys::fuzz_target;
use portcullis_gateway::config::Config;
use portcullis_gateway::gateway::{self, ConnectionHandler, ConnectionInfo, GatewayState, Protocol};
use response::{Reading, Response, read};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    net::{TcpListener, TcpStream},
    runtime::{self, Runtime},
    sync::watch,
    time::timeout,
};

fuzz_target!(|input: &[u8]| FIXTURE.run(input));

const METHODS: [&str; 4] = ["GET", "HEAD", "POST", "DELETE"];
const OWN: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nits own.";
/// The number of turns of the event loop without a transfer after which the connection counts as idle.
const STILL: u32 = 12;
/// Longer than any pause of a machine, shorter than any timeout of the gateway.
const HANG: Duration = Duration::from_secs(4);

static FIXTURE: LazyLock<Fixture> = LazyLock::new(Fixture::new);

/// The response of the upstream, and a count of transfers.
#[derive(Default)]
struct Script {
    bytes: Mutex<Vec<u8>>,
    closes: Mutex<bool>,
    moves: AtomicU64,
}

impl Script {
    fn moved(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until nothing moves any more. All sides are tasks of one thread, and bytes written to a loopback socket
    /// can be read at once, so a few turns suffice.
    async fn standstill(&self) {
        let mut last = (self.moves.load(Ordering::Relaxed), 0);
        while last.1 < STILL {
            tokio::task::yield_now().await;
            let moves = self.moves.load(Ordering::Relaxed);
            last = if moves == last.0 { (moves, last.1 + 1) } else { (moves, 0) };
        }
    }
}

struct Fixture {
    runtime: Runtime,
    front: ConnectionHandler,
    script: Arc<Script>,
}

impl Fixture {
    fn new() -> Self {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let script = Arc::new(Script::default());
        let front = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("a port");
            tokio::spawn(listen(listener, script.clone()));
            // Opened files stay open, and nothing reads the files again.
            let folder = tempfile::tempdir().expect("a folder");
            let config = format!(
                r#"
                store.path = "{folder}/store.db"
                secrets.file = "{folder}/secrets.toml"
                listeners = [{{ address = "127.0.0.1:0" }}]
                access_log.enabled = false
                upstreams.model.address = "{address}"
                routes = [{{ path = "/", upstream = "model" }}]
                "#,
                folder = folder.path().display(),
            );
            let config = Config::parse(&config).expect("a configuration");
            let made = gateway::bootstrap(&config, false).await.expect("a store").expect("an empty store");
            made.store().await.expect("the store");
            ConnectionHandler::new(&config, &GatewayState::open(&config).await.expect("the store"))
                .expect("the upstreams")
        });
        Self { runtime, front, script }
    }

    fn run(&self, input: &[u8]) {
        let Some((choice, bytes)) = input.split_first() else { return };
        let method = METHODS[usize::from(choice & 3)];
        let closes = choice & 4 != 0;
        *self.script.bytes.lock().expect("no panic goes on") = bytes.to_vec();
        *self.script.closes.lock().expect("no panic goes on") = closes;
        let (first, then) =
            self.runtime.block_on(async { timeout(HANG, self.exchanges(method)).await.expect("no hang") });
        if std::env::var_os("FUZZ_SHOW").is_some() {
            eprintln!("{method}: {}\nthen: {}", first.escape_ascii(), then.escape_ascii());
        }
        assert_eq!(own(&then), OWN[OWN.len() - 8..], "another response: {}", then.escape_ascii());
        let sent = split(bytes, b"{WAIT}").collect::<Vec<_>>().concat();
        check(&first, &sent, method == "HEAD", closes);
    }

    /// Sends two requests of one client and returns both responses. The second request uses the same connection if
    /// possible, and another one otherwise.
    async fn exchanges(&self, method: &str) -> (Vec<u8>, Vec<u8>) {
        let mut client = self.connect();
        let length = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
        let request = format!("{method} /fuzzed HTTP/1.1\r\nHost: a\r\n{length}\r\n");
        let (first, ended) = self.ask(&mut client, &request).await;
        let whole = read(&first, method == "HEAD", Reading::Strict)
            .is_ok_and(|read| read.is_some_and(|(response, used)| response.whole && used == first.len()));
        if !whole || ended {
            client = self.connect();
        }
        let (then, _) = self.ask(&mut client, "GET /own HTTP/1.1\r\nHost: a\r\n\r\n").await;
        drop(client);
        self.script.standstill().await;
        (first, then)
    }

    fn connect(&self) -> DuplexStream {
        let (client, server) = tokio::io::duplex(1 << 16);
        let peer: IpAddr = "192.0.2.7".parse().expect("an address");
        let (up, down) = watch::channel(false);
        let front = self.front.clone();
        tokio::spawn(async move {
            let _up = up;
            front
                .serve(server, ConnectionInfo { peer, secure: false, protocol: Protocol::Http1 }, down)
                .await;
        });
        client
    }

    /// Sends a request, and returns the bytes received until nothing moves, and whether the connection ended.
    async fn ask(&self, client: &mut DuplexStream, request: &str) -> (Vec<u8>, bool) {
        let _ = client.write_all(request.as_bytes()).await;
        let mut bytes = Vec::new();
        let ended = loop {
            tokio::select! {
                biased;
                read = client.read_buf(&mut bytes) => {
                    self.script.moved();
                    if !matches!(read, Ok(1..)) {
                        break true;
                    }
                }
                () = self.script.standstill() => break false,
            }
        };
        (bytes, ended)
    }
}

async fn listen(listener: TcpListener, script: Arc<Script>) {
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        script.moved();
        tokio::spawn(serve(stream, script.clone()));
    }
}

async fn serve(mut stream: TcpStream, script: Arc<Script>) {
    let mut request = Vec::new();
    loop {
        while !request.ends_with(b"\r\n\r\n") {
            if !matches!(stream.read_buf(&mut request).await, Ok(1..)) {
                return;
            }
            script.moved();
        }
        if std::mem::take(&mut request).windows(7).any(|part| part == b"GET /ow") {
            if stream.write_all(OWN).await.is_err() {
                return;
            }
            script.moved();
            continue;
        }
        let bytes = script.bytes.lock().expect("no panic goes on").clone();
        for (at, part) in split(&bytes, b"{WAIT}").enumerate() {
            if at > 0 {
                tokio::task::yield_now().await;
            }
            if stream.write_all(part).await.is_err() {
                return;
            }
            script.moved();
        }
        if *script.closes.lock().expect("no panic goes on") {
            return;
        }
    }
}

/// Returns the body of the only response, which must be a 200.
fn own(bytes: &[u8]) -> Vec<u8> {
    let read = read(bytes, false, Reading::Strict)
        .unwrap_or_else(|wrong| panic!("{wrong}: {}", bytes.escape_ascii()));
    let Some((response, used)) = read else { panic!("no response: {}", bytes.escape_ascii()) };
    assert!(used == bytes.len() && response.whole && response.status == 200, "{}", bytes.escape_ascii());
    response.body
}

/// Checks the invariants of the response that a client receives, for any response of the upstream.
fn check(bytes: &[u8], sent: &[u8], to_head: bool, closes: bool) {
    let shown = bytes.escape_ascii();
    let got = match read(bytes, to_head, Reading::Strict) {
        Ok(Some((response, used))) => {
            assert_eq!(used, bytes.len(), "more than one response: {shown}");
            assert!((200..600).contains(&response.status), "the status: {shown}");
            response
        }
        Ok(None) => {
            assert!(bytes.is_empty() && !closes, "an incomplete head: {shown}");
            return;
        }
        Err(wrong) => panic!("{wrong}: {shown}"),
    };
    if got.status == 502 && got.all("content-type").any(|value| value == b"application/problem+json") {
        return;
    }
    let Some(expected) = final_response(sent, to_head) else {
        assert!(!got.whole, "complete, but the upstream's response is not: {shown}");
        return;
    };
    assert_eq!(got.status, expected.status, "{shown}");
    assert!(expected.body.starts_with(&got.body), "another body: {shown}");
    assert!(!got.whole || got.body == expected.body && expected.whole, "it looks complete: {shown}");
}

/// Returns the first final response of an upstream, if it can be parsed.
fn final_response(mut sent: &[u8], to_head: bool) -> Option<Response> {
    loop {
        let (response, used) = match read(sent, to_head, Reading::Lenient) {
            Ok(read) => read?,
            // The gateway may have forwarded a part of a body that turns out to be malformed, because its head was
            // valid.
            Err(_) => return None,
        };
        if response.status >= 200 {
            return Some(response);
        }
        sent = &sent[used..];
    }
}

fn split<'a>(mut bytes: &'a [u8], by: &'static [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut done = false;
    std::iter::from_fn(move || {
        let at = bytes.windows(by.len()).position(|window| window == by);
        let (part, rest) = match at {
            Some(at) => (&bytes[..at], &bytes[at + by.len()..]),
            None if done => return None,
            None => {
                done = true;
                (bytes, &bytes[bytes.len()..])
            }
        };
        bytes = rest;
        Some(part)
    })
}
