//! Rejection of ambiguous HTTP (400).

mod host;

use std::borrow::Cow;

use http::{
    HeaderName, HeaderValue, Method, Uri, Version, header,
    uri::{Authority, PathAndQuery},
};

use self::host::is_host;
use super::{ChainOrder, Policy, Stop};
use crate::{
    Admission, Denial, Head, header_value,
    normalize_path::{self, PathRules},
};

/// Denies requests that two servers could interpret differently. It must be the first policy of a chain.
///
/// * **Target**: normalised by the rules of [`normalize_path`]; a target without a normal form is denied. All later steps
///   see the normal form, including the upstream. Policies that decide by path, such as [`RequireUnlocked`](super::RequireUnlocked), use
///   the normal form without this policy, too.
/// * **Framing**: `Transfer-Encoding` with a value other than `chunked`, together with `Content-Length`, or on
///   HTTP/1.0; `Content-Length` that is not a plain number, or has a leading zero.
/// * **Headers that may occur only once**: a second `Host`, `Content-Length`, `Content-Type`, `Authorization` or
///   `Idempotency-Key`.
/// * **Host**: missing, except on HTTP/1.0; not a DNS name, an IPv4 address or a bracketed IPv6 address, with an
///   optional port; different from the target's authority.
/// * **`Connection`** that names an end-to-end header: it would make the next hop remove a header that others rely
///   on.
/// * **CONNECT**, which would make the gateway a tunnel. The extended CONNECT, which opens a WebSocket over HTTP/2, can
///   be [admitted](Self::allow_extended_connect).
///
/// `Upgrade` alone is not denied: it is an offer, which any response other than 101 declines (RFC 9110, section
/// 7.8). The gateway declines it: it removes the header, and turns a 101 of an upstream into a 502.
///
/// A server that parses heads itself may have resolved some of these cases before: hyper drops a `Content-Length`
/// next to `Transfer-Encoding`. The gateway frames forwarded requests anew, so that no upstream reads both headers.
#[derive(Debug, Clone, Copy, Default)]
pub struct StrictHttp {
    relaxed: PathRules,
    allows_missing_host: bool,
    allows_extended_connect: bool,
}

/// Headers that different servers interpret differently when they are repeated.
const ONCE: [HeaderName; 5] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::AUTHORIZATION,
    HeaderName::from_static("idempotency-key"),
];

impl StrictHttp {
    /// Creates a policy that relaxes no rule.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Admits paths that violate these rules. `Admission::path_violations` returns the rules that a path violates, so that
    /// a later step can still deny it.
    #[must_use]
    pub fn relax(mut self, rules: PathRules) -> Self {
        self.relaxed = rules;
        self
    }

    /// Admits HTTP/1.1 requests without a host, for services that do not distinguish hosts.
    #[must_use]
    pub fn allow_missing_host(mut self) -> Self {
        self.allows_missing_host = true;
        self
    }

    /// Admits the extended CONNECT of HTTP/2 and HTTP/3, which opens a WebSocket (RFC 8441, RFC 9220). A layer without
    /// a `StrictHttp` of its own admits it, because the layer's service answers it and forwards nothing.
    ///
    /// Policies that distinguish reads from writes treat it as a write, but a WebSocket over HTTP/1.1 is a GET.
    #[must_use]
    pub fn allow_extended_connect(mut self) -> Self {
        self.allows_extended_connect = true;
        self
    }

    /// Returns the denial of a path that violates these rules, for a later step that relaxes them only for some
    /// requests.
    #[must_use]
    pub fn violation(rules: PathRules) -> Denial {
        Denial::path_violation(rules)
    }

    fn target(self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Denial> {
        admission.path_violations = admission.normalize_relaxing(head, self.relaxed)?;
        if head.uri.path() == head.original.path() && admission.path.is_none() {
            return Ok(());
        }
        // The upstream gets the normal form of its own target, which may differ from the compared form: below a
        // nested router it is only a part of the path.
        let normal = normalize_path::normalize(head.uri.path()).map_err(Denial::ambiguous)?;
        let broken = normal.breaks.difference(self.relaxed);
        if !broken.is_empty() {
            return Err(Denial::path_violation(broken));
        }
        if let Cow::Owned(path) = normal.path {
            admission.target = Some(Box::new(with_path(head.uri, &path)?));
        }
        Ok(())
    }
}

fn with_path(uri: &Uri, path: &str) -> Result<Uri, Denial> {
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(target).ok();
    Uri::from_parts(parts).map_err(|_| deny("The request target has no normal form."))
}

impl Policy for StrictHttp {
    fn admit(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        if head.method == Method::CONNECT && !(self.allows_extended_connect && is_extended_connect(head)) {
            return Err(deny("CONNECT is not supported.").into());
        }
        if is_misspelled(head.method) {
            return Err(deny("HTTP methods are case-sensitive, but this method is in the wrong case.").into());
        }
        // HTTP/1.1 trims values. On HTTP/2 such a request is malformed (RFC 9113, section 8.2.1).
        if head.version == Version::HTTP_2 && head.headers.values().any(is_padded) {
            return Err(deny("A header value begins or ends with white space.").into());
        }
        for name in &ONCE {
            once(head, name)?;
        }
        framing(head)?;
        host(head, self.allows_missing_host)?;
        connection(head)?;
        self.target(head, admission)?;
        admission.is_strict = true;
        Ok(())
    }

    fn check_order(&self, order: &mut ChainOrder) {
        order.checks_ambiguity();
    }
}

fn deny(detail: impl Into<Cow<'static, str>>) -> Denial {
    Denial::bad_request(detail)
}

/// Returns `true` for an extended CONNECT. Its target has a scheme and a path, which the target of CONNECT must not
/// have.
fn is_extended_connect(head: &Head<'_>) -> bool {
    let is_multiplexed = matches!(head.version, Version::HTTP_2 | Version::HTTP_3);
    is_multiplexed && head.original.scheme().is_some() && head.original.path().starts_with('/')
}

/// Returns `true` for `get` and the like: some services treat it as an extension method, others ignore case and
/// treat it as GET.
fn is_misspelled(method: &Method) -> bool {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];
    let name = method.as_str();
    !KNOWN.contains(&name) && KNOWN.iter().any(|known| known.eq_ignore_ascii_case(name))
}

fn is_padded(value: &HeaderValue) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_space(value.as_bytes().first()) || is_space(value.as_bytes().last())
}

/// Returns the value of a header, and denies the request if the header is repeated.
fn once<'a>(head: &Head<'a>, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Denial> {
    head.single(name).map_err(|_| deny(format!("Header {name} is repeated. Send it once.")))
}

fn framing(head: &Head<'_>) -> Result<(), Denial> {
    let length = once(head, &header::CONTENT_LENGTH)?;
    // Leading zeros are denied, because some parsers read `010` as eight.
    if length.is_some_and(|length| header_value::parse_u64(length.as_bytes()).is_none()) {
        return Err(deny("Header content-length is not a plain number."));
    }
    match once(head, &header::TRANSFER_ENCODING)? {
        None => Ok(()),
        Some(_) if length.is_some() => Err(deny("The request has content-length and transfer-encoding.")),
        Some(_) if head.version != Version::HTTP_11 => {
            Err(deny("Header transfer-encoding is only allowed in HTTP/1.1."))
        }
        Some(coding) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        Some(_) => Err(deny("The transfer-encoding is not chunked, the only supported one.")),
    }
}

fn host(head: &Head<'_>, may_be_missing: bool) -> Result<(), Denial> {
    let authority = head.uri.authority().map(Authority::as_str);
    if authority.is_some_and(|authority| !is_host(authority.as_bytes())) {
        return Err(deny("The authority of the target is not a host with an optional port."));
    }
    match (once(head, &header::HOST)?, authority) {
        // HTTP/1.0 has no such header. In later versions `:authority` may replace it.
        (None, None) if head.version > Version::HTTP_10 && !may_be_missing => {
            Err(deny("Header host is missing."))
        }
        (Some(host), _) if !is_host(host.as_bytes()) => {
            Err(deny("Header host is not a host with an optional port."))
        }
        (Some(host), Some(authority)) if !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) => {
            Err(deny("Header host differs from the authority of the target."))
        }
        _ => Ok(()),
    }
}

/// Checks `Connection`. The next hop removes the headers that it names, which must not be those of the gateway.
fn connection(head: &Head<'_>) -> Result<(), Denial> {
    if head.single(&header::CONNECTION) == Ok(None) {
        return Ok(());
    }
    for value in head.headers.get_all(header::CONNECTION) {
        let names = value.to_str().map_err(|_| deny("Header connection has invalid characters."))?;
        for name in names.split(',').map(str::trim) {
            let ends_here =
                ["", "close", "keep-alive", "te", "upgrade", "http2-settings", "proxy-connection"];
            if !ends_here.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                return Err(deny("Header connection names a header that is not hop-by-hop."));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{Fixture, code, request};

    const HOST: (&str, &str) = ("host", "a.example");

    #[test]
    fn ambiguous_headers_are_rejected() {
        let world = Fixture::new();
        let rows: [(&[(&str, &str)], &str); 23] = [
            (&[HOST], "admitted"),
            (&[], "bad-request"),
            (&[("host", "")], "bad-request"),
            (&[("host", "u@a.example")], "bad-request"),
            (&[("host", "a.example:80")], "admitted"),
            (&[("host", "[::1]:80")], "admitted"),
            (&[HOST, ("host", "b")], "bad-request"),
            (&[HOST, ("transfer-encoding", "Chunked")], "admitted"),
            (&[HOST, ("transfer-encoding", "chunked, chunked")], "bad-request"),
            (&[HOST, ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], "bad-request"),
            (&[HOST, ("transfer-encoding", "chunked"), ("content-length", "1")], "bad-request"),
            (&[HOST, ("content-length", "+1")], "bad-request"),
            (&[HOST, ("content-length", "0")], "admitted"),
            (&[HOST, ("content-length", "010")], "bad-request"),
            (&[HOST, ("content-length", "00")], "bad-request"),
            (&[HOST, ("content-length", "")], "bad-request"),
            (&[HOST, ("content-length", "18446744073709551616")], "bad-request"),
            (&[HOST, ("content-length", "1"), ("content-length", "1")], "bad-request"),
            (&[HOST, ("content-type", "a/b"), ("content-type", "a/b")], "bad-request"),
            (&[HOST, ("idempotency-key", "a"), ("idempotency-key", "b")], "bad-request"),
            (&[HOST, ("connection", "keep-alive, Upgrade")], "admitted"),
            (&[HOST, ("connection", "close, X-Caller-Id")], "bad-request"),
            (&[HOST, ("connection", "x-api-key")], "bad-request"),
        ];
        for (fields, expected) in rows {
            assert_eq!(
                code(world.ask(&StrictHttp::new(), &request("GET", "/", fields))),
                expected,
                "{fields:?}"
            );
        }
    }

    #[test]
    fn only_the_extended_connect_is_admitted_on_request() {
        let world = Fixture::new();
        let strict = StrictHttp::new().allow_extended_connect();
        for (target, version, expected) in [
            ("https://a.example/echo", Version::HTTP_2, "admitted"),
            ("https://a.example/echo", Version::HTTP_3, "admitted"),
            ("https://a.example/echo", Version::HTTP_11, "bad-request"),
            ("a.example:443", Version::HTTP_2, "bad-request"),
            ("a.example:443", Version::HTTP_11, "bad-request"),
        ] {
            let mut request = request("CONNECT", target, &[]);
            *request.version_mut() = version;
            assert_eq!(code(world.ask(&strict, &request)), expected, "{target} {version:?}");
            assert_eq!(code(world.ask(&StrictHttp::new(), &request)), "bad-request", "{target} {version:?}");
        }
    }

    #[test]
    fn http_1_0_needs_no_host_and_has_no_transfer_encoding() {
        let world = Fixture::new();
        for (field, expected) in [(None, "admitted"), (Some(("transfer-encoding", "chunked")), "bad-request")]
        {
            let mut request = request("GET", "/", field.as_slice());
            *request.version_mut() = Version::HTTP_10;
            assert_eq!(code(world.ask(&StrictHttp::new(), &request)), expected);
        }
    }

    #[test]
    fn standard_method_in_another_case_is_rejected() {
        let world = Fixture::new();
        for (method, expected) in [
            ("get", "bad-request"),
            ("Trace", "bad-request"),
            ("PROPFIND", "admitted"),
            ("propfind", "admitted"),
        ] {
            assert_eq!(
                code(world.ask(&StrictHttp::new(), &request(method, "/", &[HOST]))),
                expected,
                "{method}"
            );
        }
    }

    #[test]
    fn value_with_outer_white_space_is_rejected_over_http_2() {
        let world = Fixture::new();
        for (value, expected) in
            [("a b", "admitted"), (" a", "bad-request"), ("a\t", "bad-request"), ("", "admitted")]
        {
            let mut request = request("GET", "/", &[HOST, ("x-a", value)]);
            *request.version_mut() = Version::HTTP_2;
            assert_eq!(code(world.ask(&StrictHttp::new(), &request)), expected, "{value:?}");
        }
    }

    #[test]
    fn host_must_equal_the_target_authority() {
        let world = Fixture::new();
        for (host, expected) in [("A.example", "admitted"), ("b.example", "bad-request")] {
            let request = request("GET", "http://a.example/x", &[("host", host)]);
            assert_eq!(code(world.ask(&StrictHttp::new(), &request)), expected);
        }
    }

    #[test]
    fn later_policies_see_the_normal_form() {
        let world = Fixture::new();
        let mut request = request("GET", "/%61%2f?q=%61", &[HOST]);
        let strict = StrictHttp::new().relax(PathRules::ENCODED_SLASHES.union(PathRules::PARAMETERS));
        let mut admission = world.ask(&strict, &request).unwrap();
        assert_eq!(admission.path(&crate::test_support::head(&request)).unwrap(), "/a%2F");
        assert_eq!(admission.path_violations(), PathRules::ENCODED_SLASHES);
        admission.prepare_upstream(&mut request);
        assert_eq!(request.uri(), "/a%2F?q=%61");
        assert_eq!(admission.path(&crate::test_support::head(&request)).unwrap(), "/a%2F");
    }

    #[test]
    fn other_spelling_does_not_evade_a_lock() {
        let world = Fixture::new();
        let target = crate::model::LockTarget::Resource("/orders/7".parse().unwrap());
        world.lock(target, crate::model::LockedRequests::All, std::time::Duration::from_secs(60));
        let chain = (StrictHttp::new(), crate::policy::RequireUnlocked::new(world.directory.clone()));
        for path in ["/orders/7", "/%6frders/%37", "/orders/%37/lines"] {
            assert_eq!(code(world.ask(&chain, &request("PUT", path, &[HOST]))), "locked", "{path}");
        }
        for path in ["/orders//7", "/orders/./7", "/orders%2f7", "/orders/7;x"] {
            assert_eq!(code(world.ask(&chain, &request("PUT", path, &[HOST]))), "bad-request", "{path}");
        }
    }
}
