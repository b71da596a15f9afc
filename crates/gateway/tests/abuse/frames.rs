//! HTTP/2 frames without content: a flood closes the connection, normal use does not.

use std::time::Instant;

use crate::{
    h2::{
        self, ACK, Connection, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, GOAWAY, HEADERS, Outcome,
        PING, PRIORITY, SETTINGS, WINDOW_UPDATE,
    },
    raw_http::TIMEOUT,
    setup::Setup,
};

/// The number of frames in a flood: far more than any budget allows, and few enough to be sent in seconds.
const FLOOD: usize = 200_000;

fn fields(setup: &Setup) -> Vec<(&str, &str)> {
    vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/v1/echo"),
        ("x-api-key", &*setup.keys[0]),
    ]
}

/// Returns the code of the GOAWAY frame that ends a connection.
fn end(connection: &mut Connection) -> Option<u32> {
    let deadline = Instant::now() + TIMEOUT;
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        match connection.read(left) {
            Ok(Some(frame)) if frame.kind == GOAWAY => return Some(frame.code()),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return None,
        }
    }
    None
}

#[test]
fn flood_of_empty_frames_ends_its_connection() {
    let setup = Setup::with("", "h2c = true", "");
    let gateway = setup.start();
    let one = 1_u32.to_be_bytes();
    for (kind, flags, stream, payload) in [
        (PRIORITY, 0, 3, &[0, 0, 0, 0, 16][..]),
        (WINDOW_UPDATE, 0, 0, &one),
        (PING, 0, 0, &[0; 8]),
        (PING, ACK, 0, &[0; 8]),
        (SETTINGS, 0, 0, &[]),
        // GREASE, and other unknown frame types (RFC 9113, section 5.5).
        (0x0b, 0, 0, b"x"),
    ] {
        let mut connection = Connection::new(gateway.address);
        let frame = h2::frame(kind, flags, stream, payload);
        for flood in frame.repeat(1_000).chunks(frame.len() * 1_000).cycle().take(FLOOD / 1_000) {
            if !connection.send(flood) {
                break;
            }
        }
        assert_eq!(end(&mut connection), Some(ENHANCE_YOUR_CALM), "{kind}");
    }
    // Other connections are still served.
    let mut connection = Connection::new(gateway.address);
    connection.request(1, &fields(&setup), None);
    assert_eq!(connection.outcome(1), Outcome::Status(200));
    drop(gateway);
    setup.upstream.take();
}

#[test]
fn upload_in_small_frames_is_served() {
    let setup = Setup::with("", "h2c = true", "");
    let gateway = setup.start();
    let mut connection = Connection::new(gateway.address);
    let block = h2::block(&fields(&setup));
    assert!(connection.send(&h2::frame(HEADERS, END_HEADERS, 1, &block)));
    // A stream of small messages, as gRPC may send. The test waits for the reply to a PING now and then: h2 limits the
    // small frames that wait to be read.
    for _ in 0..50 {
        assert!(connection.send(&h2::frame(DATA, 0, 1, b"0123456789").repeat(100)));
        assert!(connection.send(&h2::frame(PING, 0, 0, &[0; 8])));
        loop {
            let frame = connection.read(TIMEOUT).unwrap().expect("PING is answered");
            assert_ne!(frame.kind, GOAWAY, "{frame:?}");
            if frame.kind == PING && frame.flags & ACK != 0 {
                break;
            }
        }
    }
    assert!(connection.send(&h2::frame(DATA, END_STREAM, 1, b"")));
    assert_eq!(connection.outcome(1), Outcome::Status(200));
    drop(connection);
    drop(gateway);
    let seen = setup.upstream.take();
    assert_eq!(seen[0].requests[0].body.len(), 50_000);
}

/// Such a request has no host, neither in `:authority` nor in `Host`.
#[test]
fn request_without_a_host_is_rejected() {
    let setup = Setup::with("", "h2c = true", "");
    let gateway = setup.start();
    let mut connection = Connection::new(gateway.address);
    let mut fields = fields(&setup);
    fields.retain(|(name, _)| *name != ":authority");
    connection.request(1, &fields, None);
    assert_eq!(connection.outcome(1), Outcome::Status(400));
    fields.push(("host", "a"));
    connection.request(3, &fields, None);
    assert_eq!(connection.outcome(3), Outcome::Status(200));
    fields.push((":authority", ""));
    fields.rotate_right(1);
    connection.request(5, &fields, None);
    assert!(!matches!(connection.outcome(5), Outcome::Status(200)), "an empty one is none");
}
