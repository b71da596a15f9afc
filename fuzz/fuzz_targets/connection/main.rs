//! Sends a byte stream to the gateway's connection handler, and checks the requests at a model of an upstream.
//!
//! In the input, `{KEY}` is replaced by the API key, so that the fuzzer passes the policies, and `{WAIT}` is a pause
//! until no more bytes move: the rest arrives later. With `FUZZ_SHOW` set, the program prints what it observed.

#![no_main]

mod answers;
mod message;
mod upstream;

use std::{
    cell::RefCell,
    net::IpAddr,
    sync::{Arc, LazyLock, atomic::Ordering},
    time::Duration,
};

use libfuzzer_sys::fuzz_target;
use message::{Head, Reading, Request};
use portcullis::normalize_path::normalize;
use portcullis_gateway::config::Config;
use portcullis_gateway::gateway::{self, ConnectionHandler, ConnectionInfo, GatewayState, Protocol};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    runtime::{self, Runtime},
    sync::watch,
    time::timeout,
};
use upstream::Log;

fuzz_target!(|input: &[u8]| FIXTURE.run(input));

/// The owner of the key: the api client that the first start creates.
const CALLER: &[u8] = b"5bc2be68-7498-4853-aa64-4be0ca62934e";
const PEER: &str = "192.0.2.7";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The number of turns of the event loop without a transfer after which the connection counts as idle.
const STILL: u32 = 12;
/// Longer than any pause of a machine, shorter than any timeout of the gateway.
const HANG: Duration = Duration::from_secs(4);

static FIXTURE: LazyLock<Fixture> = LazyLock::new(Fixture::new);

struct Fixture {
    runtime: Runtime,
    front: ConnectionHandler,
    key: String,
    log: Arc<Log>,
}

impl Fixture {
    fn new() -> Self {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let log = Arc::new(Log::default());
        let (front, key) = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("a port");
            tokio::spawn(upstream::listen(listener, log.clone()));

            // Opened files stay open, and nothing reads the files again.
            let folder = tempfile::tempdir().expect("a folder");
            let config = format!(
                r#"
                store.path = "{folder}/store.db"
                secrets.file = "{folder}/secrets.toml"
                listeners = [{{ address = "127.0.0.1:0" }}]
                access_log.enabled = false

                [upstreams.model]
                address = "{address}"
                idle_connections = 8

                [[routes]]
                path = "/open"
                upstream = "model"

                [[routes]]
                path = "/loose"
                upstream = "model"
                relax_path_rules = ["empty_segments", "encoded_slashes", "parameters", "not_utf8", "double_encoding"]

                [[routes]]
                path = "/guarded"
                upstream = "model"
                policies.api_key = true
                "#,
                folder = folder.path().display(),
            );
            let config = Config::parse(&config).expect("a configuration");
            let made = gateway::bootstrap(&config, false).await.expect("a store").expect("an empty store");
            let key = made.api_key.clone().expect("a key").expose().to_owned();
            made.store().await.expect("the store");
            let shared = GatewayState::open(&config).await.expect("the store");
            (ConnectionHandler::new(&config, &shared).expect("the upstreams"), key)
        });
        let world = Self { runtime, front, key, log };
        world.passes_the_guard();
        world
    }

    /// Checks that the key passes the policies; otherwise fuzzing would find nothing behind them.
    fn passes_the_guard(&self) {
        let request = format!("GET /guarded HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\n\r\n", self.key);
        let answers = self.runtime.block_on(self.exchange(&[request.into_bytes()]));
        assert!(answers.starts_with(b"HTTP/1.1 200 "), "{}", answers.escape_ascii());
        assert_eq!(self.log.seen.lock().expect("no panic goes on").len(), 1);
    }

    fn run(&self, input: &[u8]) {
        self.log.seen.lock().expect("no panic goes on").clear();
        let parts: Vec<Vec<u8>> = split(input, b"{WAIT}")
            .map(|part| split(part, b"{KEY}").collect::<Vec<_>>().join(self.key.as_bytes()))
            .collect();
        let answers =
            self.runtime.block_on(async { timeout(HANG, self.exchange(&parts)).await.expect("no hang") });

        let seen = std::mem::take(&mut *self.log.seen.lock().expect("no panic goes on"));
        for request in &seen {
            self.admitted(request);
        }
        if std::env::var_os("FUZZ_SHOW").is_some() {
            eprintln!("{} requests behind; to the client: {}", seen.len(), answers.escape_ascii());
        }
        let sent = parts.concat();
        if !sent.starts_with(PREFACE) {
            let answered = answers::count(&answers);
            assert!(seen.len() <= answered + 1, "{} requests, {answered} answers", seen.len());
            sent_so(&sent, &seen);
        }
    }

    /// Sends the parts, ends the stream, and returns the response bytes.
    async fn exchange(&self, parts: &[Vec<u8>]) -> Vec<u8> {
        let (client, server) = tokio::io::duplex(1 << 16);
        let peer: IpAddr = PEER.parse().expect("an address");
        let client_is = ConnectionInfo { peer, secure: false, protocol: Protocol::Auto };
        let (mut reader, mut writer) = tokio::io::split(client);
        let answers = RefCell::new(Vec::new());
        let write = async {
            for part in parts {
                // The gateway may have closed the connection.
                if writer.write_all(part).await.is_err() {
                    break;
                }
                self.standstill().await;
            }
            let _ = writer.shutdown().await;
        };
        let read = async {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = reader.read(&mut buffer).await {
                answers.borrow_mut().extend_from_slice(&buffer[..len]);
                self.log.moved();
            }
        };
        let (_up, down) = watch::channel(false);
        tokio::join!(self.front.serve(server, client_is, down), write, read);
        self.standstill().await;
        answers.take()
    }

    /// Waits until nothing moves any more. All sides are tasks of one thread, and bytes written to a loopback socket
    /// can be read at once, so a few turns suffice.
    async fn standstill(&self) {
        let mut last = (self.log.moves.load(Ordering::Relaxed), 0);
        while last.1 < STILL {
            tokio::task::yield_now().await;
            let moves = self.log.moves.load(Ordering::Relaxed);
            last = if moves == last.0 { (moves, last.1 + 1) } else { (moves, 0) };
        }
    }

    /// Checks the invariants of every request that the upstream receives.
    fn admitted(&self, request: &Request) {
        let Head { target, .. } = &request.head;
        let head = &request.head;
        let path = target.split('?').next().expect("the first part");
        let below =
            |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let normal = normalize(path).unwrap_or_else(|why| panic!("{why}: {path}"));
        assert_eq!(normal.path, path, "the upstream receives the normalized path");
        assert!(normal.breaks.is_empty() || below("/loose"), "rules that are relaxed elsewhere: {path}");
        if below("/guarded") {
            assert_eq!(head.one("x-caller-id"), Some(CALLER), "{request:?}");
            assert_eq!(head.all("x-api-key").count(), 0, "the key was forwarded: {request:?}");
            for value in head.all("authorization") {
                let value = value.to_ascii_lowercase();
                assert!(!value.starts_with(b"bearer ") && !value.starts_with(b"apikey "), "{request:?}");
            }
        } else {
            assert!(below("/open") || below("/loose"), "no route: {path}");
            assert_eq!(head.all("x-caller-id").count(), 0, "an identity from the client: {request:?}");
            // A policy that expects a key removes the header with that key; the client may send a copy in another
            // header.
            let key = self.key.as_bytes();
            let holds = |value: &[u8]| value.split(u8::is_ascii_whitespace).any(|word| word == key);
            assert!(!head.fields.iter().any(|(_, value)| holds(value)), "a key was forwarded: {request:?}");
        }

        let host = head.one("host").filter(|host| !host.is_empty()).expect("one host");
        // A client of HTTP/1.0 may have sent no host; then the gateway adds the upstream's.
        assert!(
            head.all("x-forwarded-host").count() <= 1
                && head.all("x-forwarded-host").all(|said| said == host)
        );
        assert_eq!(head.one("x-forwarded-for"), Some(PEER.as_bytes()));
        assert_eq!(head.one("x-forwarded-proto"), Some(&b"http"[..]));
        for gone in [
            "connection",
            "forwarded",
            "keep-alive",
            "proxy-authenticate",
            "proxy-authorization",
            "proxy-connection",
            "te",
            "upgrade",
        ] {
            assert_eq!(head.all(gone).count(), 0, "{gone} was forwarded: {request:?}");
        }
        for once in ["authorization", "content-type", "cookie", "idempotency-key"] {
            assert!(head.all(once).count() <= 1, "{once} is repeated: {request:?}");
        }
        // Some servers treat trailers as headers.
        for (name, _) in &request.trailers {
            let ours =
                ["x-caller-id", "x-api-key", "authorization", "host", "content-length", "transfer-encoding"];
            assert!(!ours.contains(&&**name) && !name.starts_with("x-forwarded-"), "{request:?}");
        }
    }
}

/// Checks that every received request was sent, in the same order: none was smuggled in another's body.
fn sent_so(mut bytes: &[u8], seen: &[Request]) {
    let mut seen = seen.iter().peekable();
    while let Some(next) = seen.peek() {
        let sent = message::head(bytes, Reading::Lenient);
        let Ok(Some((head, start))) = sent else { panic!("never sent, but {sent:?}: {next:?}") };
        let (sent, used) = match message::body(head, &bytes[start..], Reading::Lenient) {
            Ok((request, used)) if !request.last => (request, used),
            // The following bytes have no defined meaning.
            Ok((request, _)) | Err((request, _)) => (request, bytes.len() - start),
        };
        bytes = &bytes[start + used..];
        if same(&sent, next) {
            seen.next();
        }
    }
}

fn same(sent: &Request, seen: &Request) -> bool {
    let Ok(target) = sent.head.target.parse::<http::Uri>() else { return false };
    let Ok(path) = normalize(target.path()) else { return false };
    let path = match target.query() {
        Some(query) => format!("{}?{query}", path.path),
        None => path.path.into_owned(),
    };
    let body =
        if seen.whole { sent.whole && sent.body == seen.body } else { sent.body.starts_with(&seen.body) };
    sent.head.method == seen.head.method && path == seen.head.target && body
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
