//! The head of a request in the form that the protocol of the upstream's connection needs.

use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, header, request, uri::Scheme};
use http_body::Body;

/// Frames the body of a request for HTTP/1.1, independently of its framing by the client.
pub(super) fn frame(head: &mut request::Parts, body: &impl Body) {
    if !body.is_end_stream() {
        // By default, hyper sends a GET of unknown length as a request without a body.
        if body.size_hint().exact().is_none() {
            head.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    } else if expects_content(&head.method) && !head.headers.contains_key(header::CONTENT_LENGTH) {
        // Some upstreams return 411 otherwise (RFC 9110, section 8.6).
        head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
}

/// Returns `true` if a method anticipates a body: POST, PUT, PATCH, and methods that HTTP itself does not define.
fn expects_content(method: &Method) -> bool {
    ![Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS, Method::TRACE, Method::CONNECT]
        .contains(method)
}

/// Returns `true` if the client accepts trailers. gRPC services require that `TE` says so.
pub(super) fn accepts_trailers(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::TE).iter();
    let mut codings = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// Converts a head from HTTP/1.1 to HTTP/2 (RFC 9113, section 8.3.1): the target has a scheme and an authority instead
/// of `Host`. Returns `None` if the host is not an authority.
pub(super) fn to_http2(mut head: request::Parts, scheme: &Scheme, trailers: bool) -> Option<request::Parts> {
    let host = head.headers.remove(header::HOST)?;
    let mut uri = head.uri.into_parts();
    uri.scheme = Some(scheme.clone());
    uri.authority = Some(host.as_bytes().try_into().ok()?);
    head.uri = Uri::from_parts(uri).ok()?;
    head.version = Version::HTTP_2;
    head.headers.remove(header::TRANSFER_ENCODING);
    if trailers {
        head.headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    Some(head)
}

/// Converts a request whose head [`to_http2`] returned back to HTTP/1.1.
pub(super) fn restore_http1<B: Body>(request: Request<B>) -> Request<B> {
    let (mut head, body) = request.into_parts();
    if let Some(host) =
        head.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok())
    {
        head.headers.insert(header::HOST, host);
    }
    head.headers.remove(header::TE);
    head.uri = head.uri.path_and_query().cloned().map(Uri::from).unwrap_or_default();
    head.version = Version::HTTP_11;
    frame(&mut head, &body);
    Request::from_parts(head, body)
}

/// Copies a head without its extensions.
pub(super) fn copy(head: &request::Parts) -> request::Parts {
    let (mut copy, ()) = Request::new(()).into_parts();
    copy.method = head.method.clone();
    copy.uri = head.uri.clone();
    copy.version = head.version;
    copy.headers = head.headers.clone();
    copy
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    fn head(uri: &str, fields: &[(&str, &str)]) -> request::Parts {
        let mut request = Request::get(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn host_becomes_the_authority() {
        let fields = [("host", "orders.example:8443"), ("transfer-encoding", "chunked"), ("x-a", "1")];
        let sent = to_http2(head("/a?b=1", &fields), &Scheme::HTTPS, false).unwrap();
        assert_eq!(sent.uri, "https://orders.example:8443/a?b=1");
        let names: Vec<_> = sent.headers.keys().map(http::HeaderName::as_str).collect();
        assert_eq!((names, sent.version), (vec!["x-a"], Version::HTTP_2));
        assert_eq!(
            to_http2(head("/", &[("host", "a")]), &Scheme::HTTP, true).unwrap().headers["te"],
            "trailers"
        );
        let content = StreamBody::new(futures_util::stream::empty::<Result<Frame<Bytes>, Infallible>>());
        let back = restore_http1(Request::from_parts(sent, content));
        assert_eq!(back.headers()["transfer-encoding"], "chunked", "the length is unknown");
        assert_eq!(
            (back.uri().to_string().as_str(), &back.headers()["host"]),
            ("/a?b=1", &"orders.example:8443".parse().unwrap())
        );
        assert!(to_http2(head("/", &[]), &Scheme::HTTP, false).is_none());
        assert!(to_http2(head("/", &[("host", "a b")]), &Scheme::HTTP, false).is_none());
    }

    #[test]
    fn trailers_are_accepted_if_te_says_so() {
        for (value, expected) in
            [("trailers", true), ("deflate, Trailers ", true), ("deflate", false), ("", false)]
        {
            assert_eq!(accepts_trailers(&head("/", &[("te", value)]).headers), expected, "{value}");
        }
    }
}
