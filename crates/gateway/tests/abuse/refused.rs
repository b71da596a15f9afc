//! Denials of requests whose body is not read, and responses to `HEAD`, which have no body.

use std::{io::Write, process::Command};

use portcullis::model::{GeneratedKey, KeyPrefix};

use crate::{
    h2::{self, ACK, Connection, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PING, RST_STREAM},
    process::{Gateway, Installation, free_address},
    raw_http::{TIMEOUT, Wire, exchange, latin},
    upstream::Upstream,
};

/// A gateway with a route for each kind of denial.
struct Routes {
    installation: Installation,
    _upstream: Upstream,
}

impl Routes {
    fn new() -> Self {
        let (upstream, address, dead) = (Upstream::start(), free_address(), free_address());
        let text = format!(
            r#"
store.path = "data/portcullis.db"
secrets.file = "data/secrets.toml"
[limits]
target_bytes = 200
head_bytes = 1000
[[listeners]]
address = "{address}"
h2c = true
[[plans]]
id = "demo"
limits = [{{ name = "hour", quota = 1000000, window = 3600 }}]
[upstreams.up]
address = "{}"
[upstreams.dead]
address = "{dead}"
[[routes]]
path = "/patch"
methods = ["PATCH"]
upstream = "up"
[[routes]]
path = "/typed"
upstream = "up"
policies = {{ content_type = ["application/json"], accept = ["application/json"] }}
[[routes]]
path = "/key"
upstream = "up"
policies = {{ api_key = true }}
[[routes]]
path = "/small"
upstream = "up"
body_bytes = 0
[[routes]]
path = "/dead"
upstream = "dead"
[[routes]]
path = "/docs"
surface = "docs"
[[routes]]
path = "/v1/api_clients"
surface = "discue"
[[routes]]
path = "/v1"
surface = "apig"
"#,
            upstream.address
        );
        Self { installation: Installation::from_text(&text, address), _upstream: upstream }
    }

    fn start(&self) -> Gateway {
        self.installation.start()
    }
}

type Fields = Vec<(&'static str, String)>;

/// Returns the denied requests: path, additional headers and status.
fn refused() -> Vec<(String, Fields, u16)> {
    let unknown = GeneratedKey::generate(&KeyPrefix::default()).expose().to_owned();
    let json = ("content-type", "application/json".to_owned());
    let plain = |path: &str, status| (path.to_owned(), vec![], status);
    vec![
        plain("/nothing", 404),
        plain("/key", 401),
        ("/key".into(), vec![("x-api-key", unknown)], 401),
        ("/typed".into(), vec![json.clone(), ("accept", "text/html".into())], 406),
        plain("/patch", 405),
        plain("/dead", 502),
        plain("/key/%zz", 400),
        plain(&format!("/{}", "a".repeat(300)), 414),
        ("/key".into(), vec![("x-a", "a".repeat(2000))], 431),
        ("/v1/api_clients".into(), vec![json], 401),
        plain("/v1/p/apigw/instances/i/apps", 401),
    ]
}

fn h2_fields<'a>(method: &'a str, path: &'a str, more: &'a Fields) -> Vec<h2::Field<'a>> {
    let start = [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", path)];
    start.into_iter().chain(more.iter().map(|(name, value)| (*name, value.as_str()))).collect()
}

/// Reads the frames of a response up to its end.
fn response(connection: &mut Connection, stream: u32) -> Vec<Frame> {
    let mut frames = Vec::new();
    loop {
        let frame = connection.read(TIMEOUT).expect("the connection goes on").expect("a frame in time");
        if frame.stream != stream {
            continue;
        }
        let last = frame.kind == RST_STREAM || frame.flags & END_STREAM != 0;
        frames.push(frame);
        if last {
            return frames;
        }
    }
}

fn status(frames: &[Frame]) -> u16 {
    frames.iter().find_map(Connection::answered).map_or(0, |(_, status)| status)
}

/// Reads the frames of a stream that arrive before the server acknowledges a PING.
fn until_ping(connection: &mut Connection, stream: u32) -> Vec<Frame> {
    assert!(connection.send(&h2::frame(PING, 0, 0, &[7; 8])));
    let mut frames = Vec::new();
    loop {
        let frame = connection.read(TIMEOUT).expect("the connection goes on").expect("a frame in time");
        match frame.kind {
            PING if frame.flags & ACK != 0 => return frames,
            _ if frame.stream == stream => frames.push(frame),
            _ => {}
        }
    }
}

fn http1(method: &str, path: &str, more: &Fields, content: &str) -> String {
    let fields: Vec<String> = more.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let fields = fields.concat();
    format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{fields}{content}")
}

#[test]
fn head_responses_have_no_content_on_http_2_and_http_1() {
    let routes = Routes::new();
    let gateway = routes.start();
    let mut connection = Connection::new(gateway.address);
    let shown = ["/docs/", "/docs/discue.json"].map(|path| (path.to_owned(), vec![], 200));
    for (at, (path, more, expected)) in (0..).zip(refused().into_iter().chain(shown)) {
        let stream = 2 * at + 1;
        connection.request(stream, &h2_fields("HEAD", &path, &more), None);
        let frames = response(&mut connection, stream);
        assert_eq!(status(&frames), expected, "{path}: {frames:?}");
        assert_eq!(frames.len(), 1, "{path}: {frames:?}");

        let mut wire = Wire::new(gateway.address);
        let request = http1("HEAD", &path, &more, "Connection: close\r\n\r\n");
        wire.stream.write_all(request.as_bytes()).unwrap();
        while wire.read(TIMEOUT) == Some(true) {}
        let answer = latin(&wire.take());
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{path}: {answer}");
        assert!(answer.ends_with("\r\n\r\n") && answer.matches("\r\n\r\n").count() == 1, "{path}: {answer}");
        let length = answer
            .lines()
            .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        assert!(
            length.is_some_and(|length: u64| length > 0),
            "the length of what GET gets, {path}: {answer}"
        );
    }
}

#[test]
fn timed_out_head_request_is_answered_without_content() {
    let mut routes = Routes::new();
    routes
        .installation
        .rewrite(|text| text.replace("target_bytes", "head_timeout = \"300ms\"\ntarget_bytes"));
    let gateway = routes.start();
    let mut wire = Wire::new(gateway.address);
    wire.stream.write_all(b"HEAD /key HTTP/1.1\r\nHost: a\r\nX-A: ").unwrap();
    while wire.read(TIMEOUT) == Some(true) {}
    let answer = latin(&wire.take());
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.ends_with("\r\n\r\n"), "{answer}");
}

/// Returns requests with a body that are denied before the body is read.
fn refused_with_content() -> Vec<(String, Fields, u16)> {
    let more =
        [("/typed".into(), vec![("content-type", "text/plain".into())], 415), ("/small".into(), vec![], 413)];
    refused().into_iter().chain(more).collect()
}

#[test]
fn denied_h2_stream_with_small_content_is_not_reset() {
    let routes = Routes::new();
    let gateway = routes.start();
    let mut connection = Connection::new(gateway.address);
    let mut stream = 1;
    for (path, more, expected) in refused_with_content() {
        // Sends the body together with the head, and after the response.
        for early in [true, false] {
            // A body of unknown length is denied as too large only after it has arrived.
            if !early && expected == 413 {
                continue;
            }
            let mut bytes =
                h2::frame(HEADERS, END_HEADERS, stream, &h2::block(&h2_fields("POST", &path, &more)));
            let content = h2::frame(DATA, END_STREAM, stream, b"x=1");
            if early {
                bytes.extend(&content);
            }
            assert!(connection.send(&bytes));
            let frames = response(&mut connection, stream);
            assert_eq!(status(&frames), expected, "{path}: {frames:?}");
            assert!(frames.iter().all(|frame| frame.kind != RST_STREAM), "{path}: {frames:?}");
            if !early {
                assert!(connection.send(&content));
            }
            let rest = until_ping(&mut connection, stream);
            assert!(rest.is_empty(), "{path} {early}: {rest:?}");
            stream += 2;
        }
    }
}

#[test]
fn denied_h2_stream_with_endless_content_is_reset() {
    let routes = Routes::new();
    let gateway = routes.start();
    let mut connection = Connection::new(gateway.address);
    let fields = vec![];
    let head = h2::block(&h2_fields("POST", "/key", &fields));
    assert!(connection.send(&h2::frame(HEADERS, END_HEADERS, 1, &head)));
    let frames = response(&mut connection, 1);
    assert_eq!(status(&frames), 401, "{frames:?}");
    let reset = connection.read(TIMEOUT).expect("the connection goes on").expect("a frame in time");
    assert_eq!((reset.kind, reset.stream, reset.code()), (RST_STREAM, 1, 0));
}

#[test]
fn http_1_connection_survives_denial_with_small_content() {
    let routes = Routes::new();
    let gateway = routes.start();
    for (path, more, expected) in refused_with_content() {
        // These requests are ambiguous, or have no known end.
        let closes = expected == 400 || expected == 431;
        let length = "Content-Length: 1\r\n\r\nx";
        let chunked = "Transfer-Encoding: chunked\r\n\r\n3\r\nx=1\r\n0\r\n\r\n";
        for content in [length, chunked] {
            if closes || (expected == 413 && content == chunked) {
                continue;
            }
            let mut wire = Wire::new(gateway.address);
            let request = http1("POST", &path, &more, content);
            for _ in 0..5 {
                let answer = wire.ask(request.as_bytes());
                assert_eq!(answer.status(), expected, "{path}: {answer:?}");
                assert!(answer.values("connection").is_empty(), "{path}: {answer:?}");
            }
            // The end of the body arrives after the response.
            let (head, rest) = request.split_at(request.len() - 1);
            assert_eq!(wire.ask(head.as_bytes()).status(), expected, "{path}");
            wire.stream.write_all(rest.as_bytes()).unwrap();
            assert_eq!(wire.ask(request.as_bytes()).status(), expected, "{path}");
        }
    }
}

#[test]
fn http_1_connection_ends_on_denial_with_large_or_late_content() {
    let routes = Routes::new();
    let gateway = routes.start();
    let json = vec![("content-type", "application/json".to_owned())];
    for (path, expected) in [("/key", 401), ("/small", 413), ("/v1/api_clients", 401), ("/dead", 502)] {
        for (content, says) in [
            ("Content-Length: 10000000\r\n\r\nx", true),
            ("Content-Length: 10\r\n\r\nx", false),
            ("Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", expected == 413),
        ] {
            let exchange = exchange(gateway.address, http1("POST", path, &json, content).as_bytes());
            assert_eq!(exchange.status(), expected, "{path} {content}: {exchange:?}");
            let close = exchange.first().values("connection") == ["close"];
            assert_eq!(close, says, "{path} {content}: {exchange:?}");
            let mut wire = Wire::new(gateway.address);
            wire.stream.write_all(http1("POST", path, &json, content).as_bytes()).unwrap();
            while wire.read(TIMEOUT).expect("the connection ends in time") {}
        }
    }
}

/// A client that waits for `100 (Continue)` gets the denial instead, and the gateway does not wait for the body.
#[test]
fn denied_expectation_ends_the_connection() {
    let routes = Routes::new();
    let gateway = routes.start();
    for (path, more, expected) in refused_with_content() {
        let content = "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n";
        let exchange = exchange(gateway.address, http1("POST", &path, &more, content).as_bytes());
        assert_eq!((exchange.status(), exchange.interim.len()), (expected, 0), "{path}: {exchange:?}");
        assert_eq!(exchange.first().values("connection"), ["close"], "{path}: {exchange:?}");
        assert!(exchange.closed, "{path}");
    }
}

/// curl 7.88 loses a response if the stream is reset before curl has read it.
#[test]
fn curl_receives_every_denial_of_a_post_over_http_2() {
    let routes = Routes::new();
    let gateway = routes.start();
    let large = routes.installation.folder.path().join("large");
    std::fs::write(&large, vec![b'x'; 300_000]).unwrap();
    let large = format!("@{}", large.display());
    for content in ["x", &large] {
        for (path, expected) in [("/key", "401"), ("/patch", "405"), ("/dead", "502")] {
            for _ in 0..20 {
                let output = Command::new("curl")
                    .args(["--silent", "--show-error", "--noproxy", "*", "--http2-prior-knowledge"])
                    .args(["--data-binary", content, "--output", "/dev/null", "--write-out", "%{http_code}"])
                    .arg(gateway.url(path))
                    .output()
                    .expect("curl is installed");
                let (code, error) = (latin(&output.stdout), latin(&output.stderr));
                assert!(output.status.success() && code == expected, "{path}: {code} {error}");
            }
        }
    }
}
