//! What can be read in two ways is not read at all (400).

mod host;

use std::borrow::Cow;

use http::{
    HeaderName, HeaderValue, Method, Uri, Version, header,
    uri::{Authority, PathAndQuery},
};

use self::host::is_host;
use super::{Policy, Stop};
use crate::{
    Admission, Denial, Head, header_value,
    normalize_path::{self, PathRules},
};

/// Refuses requests that two readers could understand differently. It stands before everything else.
///
/// * **Target**: brought into its normal form, by the rules of [`target`]; what has none
///   is refused. From here on everything sees the normal form, the service behind too. Policies that decide on the path,
///   such as [`Lock`](super::Lock), do so on its normal form without this one, too.
/// * **Framing**: `Transfer-Encoding` other than exactly `chunked`, beside `Content-Length`, or on
///   HTTP/1.0; `Content-Length` that is no plain number, or has a leading zero.
/// * **Fields that stand once**: a second `Host`, `Content-Length`, `Content-Type`, `Authorization`,
///   `Idempotency-Key`.
/// * **Host**: missing, unless on HTTP/1.0; no DNS name, IPv4 address or bracketed IPv6 address, perhaps with a
///   port; another than the target's authority.
/// * **`Connection`** that names a field of the message rather than of the connection: it asks the next
///   hop to remove what others rely on.
/// * **CONNECT**, which makes a gateway a tunnel.
///
/// `Upgrade` alone is no refusal: it offers, and who answers with anything but 101 has declined (RFC 9110,
/// section 7.8). The gateway declines: it removes the field, and a 101 of a service behind is a 502.
///
/// A server that takes heads apart itself may have settled some of this before: hyper drops a
/// `Content-Length` that stands beside `Transfer-Encoding`, and the gateway frames what it sends on anew, so
/// that nobody behind it reads the two.
#[derive(Debug, Clone, Copy, Default)]
pub struct StrictHttp {
    relaxed: PathRules,
}

/// Fields that say different things to different readers when there are two of them.
const ONCE: [HeaderName; 5] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::AUTHORIZATION,
    HeaderName::from_static("idempotency-key"),
];

impl StrictHttp {
    /// Relaxes nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Admits paths that break these rules too. [`Admission::breaks`] says which of them one does, so that
    /// a later step can refuse it after all.
    #[must_use]
    pub fn relax(mut self, rules: PathRules) -> Self {
        self.relaxed = rules;
        self
    }

    /// The refusal of a path that breaks these rules, for who relaxes them for some requests only.
    #[must_use]
    pub fn violation(rules: PathRules) -> Denial {
        Denial::path_violation(rules)
    }

    fn target(self, head: Head<'_>, admission: &mut Admission) -> Result<(), Denial> {
        admission.path_violations = admission.normalize_relaxing(head, self.relaxed)?;
        if head.uri.path() == head.original.path() && admission.path.is_none() {
            return Ok(());
        }
        // The service behind is given the normal form, which is not always the one that is compared, and below a nested
        // router only a part of the path.
        let normal = normalize_path::normalize(head.uri.path()).map_err(Denial::ambiguous)?;
        let broken = normal.breaks.difference(self.relaxed);
        if !broken.is_empty() {
            return Err(Denial::path_violation(broken));
        }
        if let Cow::Owned(path) = normal.path {
            admission.target = Some(with_path(head.uri, &path)?);
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
    Uri::from_parts(parts).map_err(|_| deny("The target has no normal form."))
}

impl Policy for StrictHttp {
    fn admit(&self, head: Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        if head.method == Method::CONNECT {
            return Err(deny("CONNECT is not served here.").into());
        }
        if is_misspelled(head.method) {
            return Err(
                deny("The method is one of HTTP in another case: methods are case-sensitive.").into()
            );
        }
        // HTTP/1.1 trims values; on HTTP/2 such a request is malformed (RFC 9113, section 8.2.1).
        if head.version == Version::HTTP_2 && head.headers.values().any(is_padded) {
            return Err(deny("A field's value begins or ends with white space.").into());
        }
        for name in &ONCE {
            once(head, name)?;
        }
        framing(head)?;
        host(head)?;
        connection(head)?;
        Ok(self.target(head, admission)?)
    }
}

fn deny(detail: impl Into<Cow<'static, str>>) -> Denial {
    Denial::bad_request(detail)
}

/// Returns `true` for `get` and its like: an extension method to some, and GET to services that fold the case.
fn is_misspelled(method: &Method) -> bool {
    const KNOWN: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];
    let name = method.as_str();
    !KNOWN.contains(&name) && KNOWN.iter().chain(&["CONNECT"]).any(|known| known.eq_ignore_ascii_case(name))
}

fn is_padded(value: &HeaderValue) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_space(value.as_bytes().first()) || is_space(value.as_bytes().last())
}

/// The one value of a field, a second one of which is a second meaning.
fn once<'a>(head: Head<'a>, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Denial> {
    head.single(name).map_err(|_| deny(format!("The field {name} stands more than once.")))
}

fn framing(head: Head<'_>) -> Result<(), Denial> {
    let length = once(head, &header::CONTENT_LENGTH)?;
    // A leading zero, too: some readers take `010` for eight.
    if length.is_some_and(|length| header_value::parse_u64(length.as_bytes()).is_none()) {
        return Err(deny("The content-length is no plain number."));
    }
    match once(head, &header::TRANSFER_ENCODING)? {
        None => Ok(()),
        Some(_) if length.is_some() => Err(deny("The content's length is given in two ways.")),
        Some(_) if head.version != Version::HTTP_11 => {
            Err(deny("A transfer-encoding is of HTTP/1.1 only."))
        }
        Some(coding) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        Some(_) => Err(deny("The transfer-encoding is not chunked.")),
    }
}

fn host(head: Head<'_>) -> Result<(), Denial> {
    let authority = head.uri.authority().map(Authority::as_str);
    if authority.is_some_and(|authority| !is_host(authority.as_bytes())) {
        return Err(deny("The target's authority is not a host and a port."));
    }
    match (once(head, &header::HOST)?, authority) {
        // Older versions have no such field; on later ones `:authority` may stand for it.
        (None, None) if head.version > Version::HTTP_10 => Err(deny("The field host is missing.")),
        (Some(host), _) if !is_host(host.as_bytes()) => {
            Err(deny("The field host is not a host and a port."))
        }
        (Some(host), Some(authority)) if !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) => {
            Err(deny("The field host is not the target's."))
        }
        _ => Ok(()),
    }
}

/// A client that names a field in `Connection` asks the next hop to remove it: ours are not its to remove.
fn connection(head: Head<'_>) -> Result<(), Denial> {
    if head.single(&header::CONNECTION) == Ok(None) {
        return Ok(());
    }
    for value in head.headers.get_all(header::CONNECTION) {
        let names = value.to_str().map_err(|_| deny("The field connection is not readable."))?;
        for name in names.split(',').map(str::trim) {
            let ends_here =
                ["", "close", "keep-alive", "te", "upgrade", "http2-settings", "proxy-connection"];
            if !ends_here.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                return Err(deny("The field connection names a field that is not the connection's."));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{World, code, request};

    const HOST: (&str, &str) = ("host", "a.example");

    #[test]
    fn fields_that_can_be_read_in_two_ways() {
        let world = World::new();
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
            assert_eq!(code(world.ask(&StrictHttp::new(), &request("GET", "/", fields))), expected, "{fields:?}");
        }
    }

    #[test]
    fn the_older_version_has_no_host_and_no_transfer_encoding() {
        let world = World::new();
        for (field, expected) in [(None, "admitted"), (Some(("transfer-encoding", "chunked")), "bad-request")]
        {
            let mut request = request("GET", "/", field.as_slice());
            *request.version_mut() = Version::HTTP_10;
            assert_eq!(code(world.ask(&StrictHttp::new(), &request)), expected);
        }
    }

    #[test]
    fn a_method_of_http_in_another_case_is_refused() {
        let world = World::new();
        for (method, expected) in [
            ("get", "bad-request"),
            ("Trace", "bad-request"),
            ("PROPFIND", "admitted"),
            ("propfind", "admitted"),
        ] {
            assert_eq!(code(world.ask(&StrictHttp::new(), &request(method, "/", &[HOST]))), expected, "{method}");
        }
    }

    #[test]
    fn a_value_with_white_space_around_it_is_refused_over_http_2() {
        let world = World::new();
        for (value, expected) in
            [("a b", "admitted"), (" a", "bad-request"), ("a\t", "bad-request"), ("", "admitted")]
        {
            let mut request = request("GET", "/", &[HOST, ("x-a", value)]);
            *request.version_mut() = Version::HTTP_2;
            assert_eq!(code(world.ask(&StrictHttp::new(), &request)), expected, "{value:?}");
        }
    }

    #[test]
    fn the_host_is_the_targets() {
        let world = World::new();
        for (host, expected) in [("A.example", "admitted"), ("b.example", "bad-request")] {
            let request = request("GET", "http://a.example/x", &[("host", host)]);
            assert_eq!(code(world.ask(&StrictHttp::new(), &request)), expected);
        }
    }

    #[test]
    fn everything_behind_sees_the_normal_form() {
        let world = World::new();
        let mut request = request("GET", "/%61%2f?q=%61", &[HOST]);
        let strict = StrictHttp::new().relax(PathRules::ENCODED_SLASHES.union(PathRules::PARAMETERS));
        let mut admission = world.ask(&strict, &request).unwrap();
        assert_eq!(admission.path(crate::testing::head(&request)).unwrap(), "/a%2F");
        assert_eq!(admission.breaks(), PathRules::ENCODED_SLASHES);
        admission.prepare_upstream(&mut request);
        assert_eq!(request.uri(), "/a%2F?q=%61");
        assert_eq!(admission.path(crate::testing::head(&request)).unwrap(), "/a%2F");
    }

    #[test]
    fn a_lock_is_not_passed_by_another_spelling() {
        let world = World::new();
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
