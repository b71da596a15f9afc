//! Cases of HTTP/2.

use std::{fs, time::Instant};

use crate::{
    case,
    h2::{
        self, ACK, CONTINUATION, Connection, DATA, END_HEADERS, ENHANCE_YOUR_CALM, Field, GOAWAY, HEADERS,
        Outcome, PING, RST_STREAM, SETTINGS,
    },
    process::Gateway,
    raw_http::{Exchange, TIMEOUT, Wire},
    setup::{Run, SMALL, Setup},
};

/// The number of frames or streams in a flood.
const FLOOD: u32 = 20_000;
/// The maximum growth of the gateway's memory during a flood, in KiB.
pub const HELD: u64 = 32 * 1024;

fn setup() -> Setup {
    Setup::with("", "h2c = true", "")
}

/// Returns the headers of a request with the key of a caller.
fn fields<'a>(setup: &'a Setup, more: &[Field<'a>]) -> Vec<Field<'a>> {
    let mut fields = vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/v1/echo"),
        ("x-api-key", &*setup.keys[0]),
    ];
    fields.extend(more);
    fields
}

/// Sends each request on a connection of its own and returns the outcomes. Checks that the upstream received only
/// admitted requests.
fn each(id: &str, requests: &[(Vec<Field<'_>>, Option<&[u8]>)], setup: &Setup) -> Vec<Outcome> {
    let case = case::case(id);
    let mut outcomes = Vec::new();
    for (fields, content) in requests {
        let gateway = setup.start();
        let mut connection = Connection::new(gateway.address);
        connection.request(1, fields, *content);
        let outcome = connection.outcome(1);
        drop(connection);
        let log = gateway.end();
        let run = Run { exchange: Exchange::default(), seen: setup.upstream.take(), log };
        setup.check_admitted(&run.seen, &run.log);
        case.check_status(outcome.status());
        if let Some(count) = case.checked().upstream_requests {
            assert!(run.requests().len() <= count, "{id}: {fields:?}: {:?}", run.requests());
        }
        assert_ne!(outcome, Outcome::Nothing, "{id}: {fields:?} has no end");
        outcomes.push(outcome);
    }
    outcomes
}

#[test]
fn http_2_fields_ambiguous_in_http_1_are_rejected() {
    let setup = setup();
    // SMG-33: values that would be another line in HTTP/1.1, and an invalid name. Spaces around a value have a separate
    // test.
    let odd = [("x-a", "x\r\nX-Consumer-Id: evil"), ("x-a", "x\0"), ("", "x")];
    each("SMG-33", &odd.map(|field| (fields(&setup, &[field]), None)), &setup);

    // SMG-34: a body of another length than announced. The upstream receives at most an aborted request.
    for content in [&[b'x'; 20][..], b"x"] {
        each("SMG-34", &[(fields(&setup, &[("content-length", "5")]), Some(content))], &setup);
    }

    let of_connection = [
        ("transfer-encoding", "chunked"),
        ("connection", "x"),
        ("upgrade", "h2c"),
        ("keep-alive", "1"),
        ("te", "gzip"),
    ];
    each("SMG-35", &of_connection.map(|field| (fields(&setup, &[field]), None)), &setup);
}

/// SMG-33: spaces around a value are not a part of it for the upstream, either.
#[test]
fn white_space_around_a_value_is_not_forwarded() {
    let setup = setup();
    let gateway = setup.start();
    let mut connection = Connection::new(gateway.address);
    connection.request(1, &fields(&setup, &[("x-a", "\tx ")]), None);
    let outcome = connection.outcome(1);
    drop(connection);
    let log = gateway.end();
    let seen = setup.upstream.take();
    setup.check_admitted(&seen, &log);
    match outcome {
        Outcome::Status(200) => assert_eq!(seen[0].requests[0].values("x-a"), ["x"]),
        refused => assert!(refused.status() == 400 || matches!(refused, Outcome::Reset(_)), "{refused:?}"),
    }
}

/// RFC 9110, section 8.6: HTTP/2 does not need a length, but some HTTP/1.1 servers return 411 without one.
#[test]
fn post_without_content_is_forwarded_with_a_length() {
    let setup = setup();
    for (method, length) in [("POST", &["0"][..]), ("PATCH", &["0"]), ("GET", &[]), ("OPTIONS", &[])] {
        let gateway = setup.start();
        let mut connection = Connection::new(gateway.address);
        let mut fields = fields(&setup, &[]);
        fields[0] = (":method", method);
        connection.request(1, &fields, None);
        assert_eq!(connection.outcome(1).status(), 200, "{method}");
        drop(connection);
        gateway.end();
        let seen = setup.upstream.take();
        assert_eq!(seen[0].requests[0].values("content-length"), length, "{method}");
        assert!(seen[0].requests[0].values("transfer-encoding").is_empty(), "{method}");
    }
}

#[test]
fn contradicting_pseudo_headers_are_rejected() {
    let setup = setup();
    each("H2X-08", &[(fields(&setup, &[("host", "b")]), None)], &setup);
    let key = setup.keys[0].as_str();
    let twice = fields(&setup, &[(":path", "/v1/public")]);
    let mut late = fields(&setup, &[]);
    late.swap(3, 4);
    let mut upper = fields(&setup, &[]);
    upper[4] = ("X-Api-Key", key);
    each("H2X-09", &[(twice, None), (late, None), (upper, None)], &setup);
}

pub fn memory(gateway: &Gateway) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Sends a flood until the gateway closes the connection. Returns the number of frames that were sent, and the code of
/// the GOAWAY frame.
fn flood(connection: &mut Connection, next: impl Fn(u32) -> Vec<u8>) -> (u32, Option<u32>) {
    let deadline = Instant::now() + 4 * TIMEOUT;
    for number in 0..FLOOD {
        assert!(Instant::now() < deadline, "a flood has its time");
        if !connection.send(&next(number)) {
            return (number, goaway(connection));
        }
    }
    (FLOOD, goaway(connection))
}

/// Returns the code of a GOAWAY frame, if one arrives soon.
fn goaway(connection: &mut Connection) -> Option<u32> {
    let deadline = Instant::now() + TIMEOUT / 4;
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        match connection.read(left) {
            Ok(Some(frame)) if frame.kind == GOAWAY => return Some(frame.code()),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return None,
        }
    }
    None
}

/// Checks that a flood does not affect the gateway: other connections are served, and it uses no more memory than
/// before.
fn unharmed(id: &str, setup: &Setup, attack: impl FnOnce(&Gateway)) {
    let gateway = setup.start();
    let mut good = Wire::new(gateway.address);
    assert_eq!(good.ask(&setup.good()).status(), 200, "{id}");
    let before = memory(&gateway);
    attack(&gateway);
    let held = memory(&gateway).saturating_sub(before);
    assert!(held < HELD, "{id}: {held} KiB more");
    let mut good = Wire::new(gateway.address);
    assert_eq!(good.ask(&setup.good()).status(), 200, "{id}: others are served");
    drop(good);
    drop(gateway);
    setup.upstream.take();
}

#[test]
fn rapid_reset_ends_its_connection() {
    let setup = setup();
    unharmed("H2X-01", &setup, |gateway| {
        let mut connection = Connection::new(gateway.address);
        let block = h2::block(&fields(&setup, &[]));
        let (accepted, code) = flood(&mut connection, |number| {
            let stream = 2 * number + 1;
            let mut bytes = h2::frame(HEADERS, END_HEADERS, stream, &block);
            bytes.extend(h2::frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
            bytes
        });
        assert!(accepted < FLOOD || code == Some(ENHANCE_YOUR_CALM), "{accepted} taken, {code:?}");
        assert!(code.is_none_or(|code| code == ENHANCE_YOUR_CALM), "{code:?}");
        assert!(setup.upstream.connections() <= 128 + 1, "no more than streams at once, and the good one's");
    });
}

/// Otherwise, each stream would cost an upstream connection. The first one of a connection does.
#[test]
fn rapidly_cancelled_streams_do_not_reach_the_upstream() {
    let setup = setup();
    let gateway = setup.start();
    let mut connection = Connection::new(gateway.address);
    let block = h2::block(&fields(&setup, &[]));
    for (taken_back, good) in [(&[1][..], 3), (&[5, 7, 9], 11)] {
        let mut bytes = Vec::new();
        for stream in taken_back {
            bytes.extend(h2::frame(HEADERS, END_HEADERS, *stream, &block));
            bytes.extend(h2::frame(RST_STREAM, 0, *stream, &[0, 0, 0, 8]));
        }
        assert!(connection.send(&bytes));
        connection.request(good, &fields(&setup, &[]), None);
        assert_eq!(connection.outcome(good), Outcome::Status(200));
    }
    drop(connection);
    drop(gateway);
    let seen = setup.upstream.take();
    assert_eq!(seen.len(), 1, "the second good one went the first one's way: {seen:?}");
    assert_eq!(seen[0].requests.len(), 2);
}

#[test]
fn empty_frames_use_no_memory() {
    let setup = setup();
    unharmed("H2X-05", &setup, |gateway| {
        let mut connection = Connection::new(gateway.address);
        connection.send(&h2::frame(HEADERS, END_HEADERS, 1, &h2::block(&fields(&setup, &[]))));
        flood(&mut connection, |_| h2::frame(DATA, 0, 1, b""));
    });
    // A head that never ends (CVE-2024-27316).
    unharmed("H2X-05 as CONTINUATION", &setup, |gateway| {
        let mut connection = Connection::new(gateway.address);
        connection.send(&h2::frame(HEADERS, 0, 1, &h2::block(&fields(&setup, &[]))));
        let block = h2::block(&[("x-a", &"a".repeat(100))]);
        let (accepted, code) = flood(&mut connection, |_| h2::frame(CONTINUATION, 0, 1, &block));
        assert!(accepted < FLOOD || code.is_some(), "a head has its bound: {accepted}, {code:?}");
    });
}

#[test]
fn control_frames_use_no_memory() {
    let setup = setup();
    for (kind, payload) in [(PING, &[0_u8; 8][..]), (SETTINGS, &[])] {
        unharmed("H2X-06", &setup, |gateway| {
            let mut connection = Connection::new(gateway.address);
            // The client reads nothing in the meantime, so the gateway cannot send its replies.
            let (_, code) = flood(&mut connection, |_| h2::frame(kind, 0, 0, payload));
            assert!(code.is_none_or(|code| code == ENHANCE_YOUR_CALM), "{code:?}");
        });
    }
    // The gateway accepts an ACK of settings that it has not sent.
    unharmed("H2X-06 as ACK", &setup, |gateway| {
        flood(&mut Connection::new(gateway.address), |_| h2::frame(SETTINGS, ACK, 0, &[]));
    });
}

/// Sends a thousand streams on one connection, a hundred at once. Each of them is counted.
#[test]
fn limits_count_streams_not_connections() {
    let setup = setup();
    let case = case::case("H2X-10");
    let gateway = setup.start();
    let mut connection = Connection::new(gateway.address);
    let mut fields = fields(&setup, &[]);
    fields[4].1 = &setup.keys[2];
    let (mut sent, mut admitted, mut refused) = (0_u32, 0, 0);
    while admitted + refused < 1000 {
        while sent < 1000 && sent - (admitted + refused) < 100 {
            assert!(connection.request(2 * sent + 1, &fields, None));
            sent += 1;
        }
        let frame = connection.read(TIMEOUT).unwrap().expect("answers come");
        assert_ne!(frame.kind, RST_STREAM, "{frame:?}");
        if let Some((_, status)) = Connection::answered(&frame) {
            case.check_status(status);
            *(if status == 200 { &mut admitted } else { &mut refused }) += 1;
        }
    }
    assert_eq!(usize::try_from(admitted).unwrap(), SMALL);
    drop(connection);
    let log = gateway.end();
    let seen = setup.upstream.take();
    assert_eq!(seen.iter().map(|seen| seen.requests.len()).sum::<usize>(), SMALL);
    setup.check_admitted(&seen, &log);
}

/// A stream without a window for its response would occupy the stream and an upstream connection.
#[test]
fn unread_response_is_aborted() {
    let setup = Setup::with("write_timeout = \"300ms\"", "h2c = true", "");
    let gateway = setup.start();
    let mut connection = Connection::new(gateway.address);
    let no_window = h2::frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    assert!(connection.send(&no_window));
    let request = fields(&setup, &[]);
    connection.request(1, &request, None);
    assert_eq!(connection.outcome(1), Outcome::Status(200));
    assert!(matches!(connection.outcome(1), Outcome::Reset(_)), "its time is over");
    // The connection stays open: a stream with a window gets a response.
    let window = h2::frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]);
    assert!(connection.send(&window));
    connection.request(3, &request, None);
    assert_eq!(connection.outcome(3), Outcome::Status(200));
}
