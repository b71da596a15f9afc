//! What can be read in two ways is not read at all (400).

use http::header;

use super::{Policy, Stop};
use crate::{Admission, Denial, Head};

/// Refuses requests that two readers could understand differently; it stands before everything else.
///
/// A path with `.` or `..` segments, empty segments, a backslash, a NUL, or any of `.` `/` `\` NUL
/// percent-encoded; `Transfer-Encoding` other than exactly `chunked`, or beside `Content-Length`; a
/// second `Host`, `Content-Length`, `Content-Type` or `Authorization`; a `Host` that differs from the
/// target's authority; a `Connection` that names a field of the message rather than of the connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Strict;

impl Policy for Strict {
    fn admit(&self, head: Head<'_>, _: &mut Admission) -> Result<(), Stop> {
        for name in [header::HOST, header::CONTENT_LENGTH, header::CONTENT_TYPE, header::AUTHORIZATION] {
            if head.only(&name).is_err() {
                return Err(refuse(format!("The field {name} stands more than once.")));
            }
        }
        path(head.uri.path())?;
        framing(head)?;
        host(head)?;
        connection(head)
    }
}

fn refuse(detail: impl Into<std::borrow::Cow<'static, str>>) -> Stop {
    Denial::bad_request(detail).into()
}

fn path(path: &str) -> Result<(), Stop> {
    let plain = path.bytes().all(|b| !matches!(b, b'%' | b'\\' | b'.' | 0)) && !path.contains("//");
    if plain {
        return Ok(());
    }
    if path.contains("//") || path.contains(['\\', '\0']) {
        return Err(refuse("The path has an empty segment or a backslash."));
    }
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(refuse("The path has a dot segment."));
    }
    for (at, _) in path.match_indices('%') {
        let digits = path.as_bytes().get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            None => return Err(refuse("The path has a percent sign without two hexadecimal digits.")),
            Some(b'/' | b'\\' | b'.' | 0) => return Err(refuse("The path hides a separator or a dot.")),
            Some(_) => {}
        }
    }
    Ok(())
}

fn framing(head: Head<'_>) -> Result<(), Stop> {
    let Ok(coding) = head.only(&header::TRANSFER_ENCODING) else {
        return Err(refuse("The field transfer-encoding stands more than once."));
    };
    match coding {
        None => Ok(()),
        Some(_) if head.headers.contains_key(header::CONTENT_LENGTH) => {
            Err(refuse("The content's length is given in two ways."))
        }
        Some(coding) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        Some(_) => Err(refuse("The transfer-encoding is not chunked.")),
    }
}

fn host(head: Head<'_>) -> Result<(), Stop> {
    let host = head.headers.get(header::HOST);
    let (Some(authority), Some(host)) = (head.uri.authority(), host) else { return Ok(()) };
    if host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) {
        Ok(())
    } else {
        Err(refuse("The field host is not the target's."))
    }
}

/// A client that names a field in `Connection` asks the next hop to remove it: ours are not its to remove.
fn connection(head: Head<'_>) -> Result<(), Stop> {
    for value in head.headers.get_all(header::CONNECTION) {
        let names = value.to_str().map_err(|_| refuse("The field connection is not readable."))?;
        for name in names.split(',').map(str::trim) {
            let ends_here =
                ["", "close", "keep-alive", "te", "upgrade", "http2-settings", "proxy-connection"];
            if !ends_here.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                return Err(refuse("The field connection names a field that is not the connection's."));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{World, code, request};

    #[test]
    fn paths_that_can_be_read_in_two_ways() {
        let world = World::new();
        for path in ["/", "/a/b", "/a%20b", "/a.b/c..d", "/caf%C3%A9", "/a?b=../c&d=//", "/a/..."] {
            assert_eq!(code(world.ask(&Strict, &request("GET", path, &[]))), "admitted", "{path}");
        }
        for path in
            ["//a", "/a//b", "/a/../b", "/a/.", "/a%2fb", "/%2e%2e/a", "/a%5Cb", "/a%00", "/a%2", "/a%zz"]
        {
            assert_eq!(code(world.ask(&Strict, &request("GET", path, &[]))), "bad-request", "{path}");
        }
    }

    #[test]
    fn fields_that_can_be_read_in_two_ways() {
        let world = World::new();
        let rows: [(&[(&str, &str)], &str); 10] = [
            (&[("host", "a"), ("host", "b")], "bad-request"),
            (&[("host", "a"), ("transfer-encoding", "Chunked")], "admitted"),
            (&[("transfer-encoding", "chunked, chunked")], "bad-request"),
            (&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], "bad-request"),
            (&[("transfer-encoding", "chunked"), ("content-length", "1")], "bad-request"),
            (&[("content-length", "1"), ("content-length", "1")], "bad-request"),
            (&[("content-type", "a/b"), ("content-type", "a/b")], "bad-request"),
            (&[("connection", "keep-alive, Upgrade")], "admitted"),
            (&[("connection", "close, X-Caller-Id")], "bad-request"),
            (&[("connection", "x-api-key")], "bad-request"),
        ];
        for (fields, expected) in rows {
            assert_eq!(code(world.ask(&Strict, &request("GET", "/", fields))), expected, "{fields:?}");
        }
    }

    #[test]
    fn the_host_is_the_targets() {
        let world = World::new();
        for (host, expected) in [("A.example", "admitted"), ("b.example", "bad-request")] {
            let request = request("GET", "http://a.example/x", &[("host", host)]);
            assert_eq!(code(world.ask(&Strict, &request)), expected);
        }
    }
}
