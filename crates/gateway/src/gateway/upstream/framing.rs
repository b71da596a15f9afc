//! Checks the framing of upstream responses (RFC 9112, section 6).
//!
//! Responses follow the same rules as requests: a response that two recipients could frame differently is not
//! forwarded. The body is framed again for the client, so that the response has exactly one framing.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header, response};

use super::hop_headers;
use portcullis::header_value;

/// Headers that a response may have only once, and that recipients interpret differently if they are repeated. The
/// first value is kept, as in nginx.
const ONCE: [HeaderName; 12] = [
    header::AGE,
    header::CONTENT_DISPOSITION,
    header::CONTENT_LOCATION,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::DATE,
    header::ETAG,
    header::EXPIRES,
    header::LAST_MODIFIED,
    header::LOCATION,
    header::RETRY_AFTER,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
];

/// Fields that a recipient may not accept from trailers (RFC 9110, section 6.5.1): framing, routing, authentication,
/// control data, and the format of the content.
const NO_TRAILERS: [HeaderName; 24] = [
    header::AGE,
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::DATE,
    header::EXPIRES,
    header::HOST,
    header::LOCATION,
    header::MAX_FORWARDS,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::RETRY_AFTER,
    header::SET_COOKIE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::VARY,
    header::WARNING,
    header::WWW_AUTHENTICATE,
];

/// The permission to use a connection for another exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reuse {
    Allowed,
    /// The beginning or the HTTP version of the next response on the connection is uncertain.
    Denied,
}

/// The reason not to forward a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidResponse {
    #[error("status {0} is not a final HTTP status")]
    Status(StatusCode),
    #[error("Transfer-Encoding is not exactly `chunked`")]
    TransferCoding,
    #[error("Content-Length is not a single decimal number")]
    Length,
    #[error("a response with the status 205 has content")]
    Content,
    #[error("the response switches to another protocol than the request asks for")]
    Upgrade,
}

/// Checks the framing of a response, and removes the headers that must not be forwarded.
///
/// # Errors
/// Fails if the response cannot be framed in exactly one way (502).
pub(super) fn check(request: &Method, head: &mut response::Parts) -> Result<Reuse, InvalidResponse> {
    if head.status.is_informational() || head.status.as_u16() > 599 {
        return Err(InvalidResponse::Status(head.status));
    }
    let http2 = head.version == Version::HTTP_2;
    // In HTTP/2, the frames are the framing, and the connection is shared (RFC 9113, section 8.1).
    if http2 && head.headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(InvalidResponse::TransferCoding);
    }
    let chunked = is_chunked(&head.headers)?;
    let length = length(&head.headers)?;
    // If an upstream has used HTTP/1.0 on a connection, hyper continues with HTTP/1.0, in which a body of unknown
    // length cannot be sent.
    let mut reuse = if head.version == Version::HTTP_11 { Reuse::Allowed } else { Reuse::Denied };
    if chunked && head.version != Version::HTTP_11 {
        return Err(InvalidResponse::TransferCoding);
    }
    if chunked && length.is_some() {
        // RFC 9112, section 6.3: chunked takes precedence, and an intermediary removes the length. Because this may be
        // an attack, no other response is read from the connection.
        head.headers.remove(header::CONTENT_LENGTH);
        reuse = Reuse::Denied;
    }
    let has_no_content = head.status == StatusCode::NO_CONTENT;
    if has_no_content && (chunked || length.is_some()) {
        // RFC 9110, section 8.6: a server must not send `Content-Length` with a 204. An upstream that does may send a
        // body, too.
        head.headers.remove(header::CONTENT_LENGTH);
        if length != Some(0) {
            reuse = Reuse::Denied;
        }
    }
    if head.status == StatusCode::RESET_CONTENT {
        // RFC 9110, section 15.3.6: a server must not generate content in a 205, but it may use any framing for that.
        // Some recipients read content nevertheless, and others parse it as the next response.
        if length.is_some_and(|length| length > 0) {
            return Err(InvalidResponse::Content);
        }
        head.headers.remove(header::TRANSFER_ENCODING);
        if length.is_none() {
            reuse = Reuse::Denied;
        }
    }
    // A response to HEAD describes a body that it does not have, and some upstreams send the body nevertheless. hyper
    // detects a body that arrives at once. A body that arrives later could be parsed as the response to another
    // request.
    let describes_content = chunked || *request == Method::HEAD && length != Some(0);
    if describes_content && (*request == Method::HEAD || head.status == StatusCode::NOT_MODIFIED) {
        reuse = Reuse::Denied;
    }
    if head.headers.len() != head.headers.keys_len() {
        keep_first(&mut head.headers);
    }
    Ok(reuse)
}

/// Removes from the trailers of a response the fields that recipients may not accept there, and hop-by-hop fields:
/// clients reset an HTTP/2 stream over such a field.
pub(super) fn clean_trailers(trailers: &mut HeaderMap) {
    hop_headers::strip_response(trailers);
    for name in &NO_TRAILERS {
        trailers.remove(name);
    }
}

/// Returns `true` if the body is chunked. Requests are forwarded without `TE`, so no other coding is expected.
fn is_chunked(headers: &HeaderMap) -> Result<bool, InvalidResponse> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(false),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(true),
        _ => Err(InvalidResponse::TransferCoding),
    }
}

fn length(headers: &HeaderMap) -> Result<Option<u64>, InvalidResponse> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (None, _) => Ok(None),
        (Some(length), None) => plain_number(length).map(Some).ok_or(InvalidResponse::Length),
        _ => Err(InvalidResponse::Length),
    }
}

/// Parses a number in the only spelling that all recipients agree on: digits, without a sign or leading zeros.
pub(in crate::gateway) fn plain_number(value: &HeaderValue) -> Option<u64> {
    header_value::parse_u64(value.as_bytes())
}

/// Keeps only the first value of headers that may occur once.
#[cold]
fn keep_first(headers: &mut HeaderMap) {
    for name in &ONCE {
        if headers.get_all(name).iter().nth(1).is_some()
            && let Some(first) = headers.get(name).cloned()
        {
            headers.insert(name, first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, fields: &[(&str, &str)]) -> response::Parts {
        let mut response = http::Response::builder().status(status);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        response.body(()).unwrap().into_parts().0
    }

    #[test]
    fn response_has_one_framing() {
        use InvalidResponse::{Content, Length, TransferCoding};
        use Reuse::{Allowed, Denied};

        let coding = "transfer-encoding";
        let length = "content-length";
        for (status, fields, expected) in [
            (200, &[(length, "10")][..], Ok(Allowed)),
            (200, &[(length, "0")], Ok(Allowed)),
            (200, &[(coding, "Chunked")], Ok(Allowed)),
            (200, &[], Ok(Allowed)),
            (200, &[(coding, "chunked"), (length, "10")], Ok(Denied)),
            (200, &[(coding, "gzip, chunked")], Err(TransferCoding)),
            (200, &[(coding, "chunked, chunked")], Err(TransferCoding)),
            (200, &[(coding, "chunked"), (coding, "chunked")], Err(TransferCoding)),
            (200, &[(coding, "gzip"), (coding, "chunked")], Err(TransferCoding)),
            (200, &[(coding, "identity")], Err(TransferCoding)),
            (200, &[(coding, "")], Err(TransferCoding)),
            (200, &[(coding, "chunked;x=1")], Err(TransferCoding)),
            (200, &[(length, "010")], Err(Length)),
            (200, &[(length, "00")], Err(Length)),
            (200, &[(length, "+5")], Err(Length)),
            (200, &[(length, "-5")], Err(Length)),
            (200, &[(length, "5, 5")], Err(Length)),
            (200, &[(length, "5"), (length, "5")], Err(Length)),
            (200, &[(length, "5"), (length, "6")], Err(Length)),
            (200, &[(length, "")], Err(Length)),
            (200, &[(length, "0x5")], Err(Length)),
            (200, &[(length, "18446744073709551616")], Err(Length)),
            (204, &[(length, "0")], Ok(Allowed)),
            (204, &[(length, "5")], Ok(Denied)),
            (204, &[(length, "05")], Err(Length)),
            (204, &[(coding, "chunked")], Ok(Denied)),
            (205, &[(length, "0")], Ok(Allowed)),
            (205, &[(length, "5")], Err(Content)),
            (205, &[(coding, "chunked")], Ok(Denied)),
            (205, &[], Ok(Denied)),
            (304, &[(length, "5")], Ok(Allowed)),
            (304, &[(coding, "gzip")], Err(TransferCoding)),
            (599, &[], Ok(Allowed)),
            (600, &[], Err(InvalidResponse::Status(StatusCode::from_u16(600).unwrap()))),
            (101, &[], Err(InvalidResponse::Status(StatusCode::SWITCHING_PROTOCOLS))),
        ] {
            let mut head = response(status, fields);
            assert_eq!(check(&Method::GET, &mut head), expected, "{status} {fields:?}");
            let chunked = head.headers.contains_key(coding);
            assert!(
                expected.is_err() || !chunked || !head.headers.contains_key(length),
                "{status} {fields:?}"
            );
            assert!(expected.is_err() || status != 204 || !head.headers.contains_key(length));
        }
    }

    #[test]
    fn connection_closes_after_response_describing_absent_content() {
        for (method, field, expected) in [
            (Method::HEAD, ("transfer-encoding", "chunked"), Reuse::Denied),
            (Method::HEAD, ("content-length", "5"), Reuse::Denied),
            (Method::HEAD, ("x-other", "1"), Reuse::Denied),
            (Method::HEAD, ("content-length", "0"), Reuse::Allowed),
            (Method::GET, ("content-length", "5"), Reuse::Allowed),
        ] {
            let mut head = response(200, &[field]);
            assert_eq!(check(&method, &mut head), Ok(expected), "{method} {field:?}");
            assert_eq!(head.headers[field.0], field.1);
        }
    }

    #[test]
    fn http_1_0_connection_is_not_reused() {
        let mut head = response(200, &[("content-length", "5")]);
        head.version = Version::HTTP_10;
        assert_eq!(check(&Method::GET, &mut head), Ok(Reuse::Denied));
        let mut head = response(200, &[("transfer-encoding", "chunked")]);
        head.version = Version::HTTP_10;
        assert_eq!(check(&Method::HEAD, &mut head), Err(InvalidResponse::TransferCoding));
    }

    #[test]
    fn first_of_two_values_is_kept() {
        let fields = [("content-type", "a/b"), ("content-type", "c/d"), ("vary", "a"), ("vary", "b")];
        let mut head = response(200, &fields);
        check(&Method::GET, &mut head).unwrap();
        let values: Vec<_> = head.headers.get_all("content-type").iter().collect();
        assert_eq!(values, ["a/b"]);
        assert_eq!(head.headers.get_all("vary").iter().count(), 2);
    }

    #[test]
    fn trailers_contain_no_head_fields() {
        let mut trailers =
            response(200, &[("set-cookie", "a"), ("content-length", "5"), ("x-sum", "1")]).headers;
        clean_trailers(&mut trailers);
        assert_eq!(trailers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-sum"]);
    }
}
