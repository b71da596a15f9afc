//! The server name that a TLS client sends (RFC 6066, section 3), in handshakes on a raw socket.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use crate::{
    process::{Installation, Service, TIMEOUT, certificate, free_address},
    serving::text,
};

/// The first byte of a TLS record.
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
/// The descriptions of alerts.
const ILLEGAL_PARAMETER: u8 = 47;
const DECODE_ERROR: u8 = 50;

/// Returns bytes after their length in two bytes.
fn vector(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes(), bytes].concat()
}

/// Returns a record with the `ClientHello` of a TLS 1.2 client.
fn hello(server_name: Option<&[u8]>) -> Vec<u8> {
    let extension = |kind: u16, content: &[u8]| [&kind.to_be_bytes(), &*vector(content)].concat();
    let groups = extension(10, &vector(&[0, 29, 0, 23]));
    let formats = extension(11, &[1, 0]);
    let signatures = extension(13, &vector(&[4, 3, 8, 4]));
    let name = server_name.map(|name| extension(0, &vector(&[&[0], &*vector(name)].concat())));
    let extensions = [name.unwrap_or_default(), groups, formats, signatures].concat();
    let suites = vector(&[0xc0, 0x2b, 0xc0, 0x2f]);
    let body = [&[3, 3][..], &[7; 32], &[0], &suites, &[1, 0], &vector(&extensions)].concat();
    let handshake = [&[1, 0][..], &vector(&body)].concat();
    [&[HANDSHAKE, 3, 1][..], &vector(&handshake)].concat()
}

/// Returns the first two fields that tell the response to a `ClientHello`: the type of the record, and the type of the
/// message or the description of the alert.
fn response(address: SocketAddr, server_name: Option<&[u8]>) -> (u8, u8) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.write_all(&hello(server_name)).unwrap();
    let mut start = [0; 7];
    stream.read_exact(&mut start).unwrap();
    (start[0], start[if start[0] == ALERT { 6 } else { 5 }])
}

/// rustls 0.23 rejects a name that is no DNS name before it asks for a certificate, and no setting changes that. nginx
/// serves such a client with the default certificate. rustls 0.24 will have `InvalidSniPolicy`.
#[tokio::test]
async fn address_as_server_name_is_ignored_and_other_errors_denied() {
    let service = Service::echo().await;
    let folder = tempfile::tempdir().unwrap();
    let (chain, key, _) = certificate(folder.path());
    let address = free_address();
    let listener = format!("address = \"{address}\"\ntls = {{ certificate = {chain:?}, key = {key:?} }}");
    let installation = Installation::from_text(&text(&service, &listener), address);
    let _gateway = installation.start();
    let (served, denied) = ((HANDSHAKE, 2), (ALERT, ILLEGAL_PARAMETER));
    for (name, expected) in [
        (None, served),
        (Some("localhost"), served),
        (Some("other.example"), served),
        (Some("a_b.example"), served),
        (Some("127.0.0.1"), served),
        (Some("::1"), served),
        (Some("localhost:8443"), denied),
        (Some("[::1]"), denied),
        (Some("a_b..c"), denied),
        (Some("é.example"), denied),
        (Some(&*"a".repeat(300)), denied),
        (Some(""), (ALERT, DECODE_ERROR)),
    ] {
        assert_eq!(response(address, name.map(str::as_bytes)), expected, "{name:?}");
    }
}
