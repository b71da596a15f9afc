//! Rewrites messages between two hops (RFC 9110, section 7.6).

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header, request, uri::PathAndQuery};

use smallvec::SmallVec;

use super::field_filter::FieldFilter;
use crate::gateway::client_addr::ClientAddr;
use portcullis::model::GeneratedKey;

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A list of headers to remove. It is usually empty.
type Names = SmallVec<[HeaderName; 4]>;

/// Returns `true` if a header is a hop-by-hop header. The compiler turns the comparisons with constants into a jump.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    *name == header::CONNECTION
        || *name == header::TE
        || *name == header::TRANSFER_ENCODING
        || *name == header::UPGRADE
        || *name == header::PROXY_AUTHENTICATE
        || *name == header::PROXY_AUTHORIZATION
        || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

/// Returns the names that the `Connection` header lists.
fn connection_tokens(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    // Each item is parsed separately, so that an invalid name does not hide the others.
    let values = headers.get_all(header::CONNECTION).iter();
    let items = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    items.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
}

fn remove(headers: &mut HeaderMap, names: Names) {
    for name in names {
        headers.remove(name);
    }
}

/// Removes hop-by-hop headers from a response, including those that `Connection` lists.
pub(super) fn strip_response(headers: &mut HeaderMap) {
    let mut gone: Names = headers.keys().filter(|name| is_hop_by_hop(name)).cloned().collect();
    if gone.contains(&header::CONNECTION) {
        gone.extend(connection_tokens(headers));
    }
    remove(headers, gone);
}

/// Sets the headers that upgrade a connection, which are hop-by-hop headers.
pub(super) fn set_upgrade(headers: &mut HeaderMap, protocol: &HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol.clone());
}

/// The treatment of the gateway's keys in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnclaimedKeys {
    /// A policy has checked the key, and removed it unless the route forwards it.
    Keep,
    /// No policy has checked the key: it is removed.
    Drop,
}

fn is_a_key(value: &HeaderValue) -> bool {
    // Most values are too short.
    if value.len() < GeneratedKey::MIN_LENGTH {
        return false;
    }
    // Each word is checked separately, because the words beside a key may be invalid text.
    let mut words = value.as_bytes().split(u8::is_ascii_whitespace);
    words.any(|word| str::from_utf8(word).is_ok_and(|word| GeneratedKey::parse(word).is_ok()))
}

/// Rewrites the head of a request for an upstream: origin form, HTTP/1.1, one `Host`, one `Cookie`, and `X-Forwarded-*`
/// with the values that the gateway has observed. The values that the client has sent are removed. A request without a
/// host gets the default one. Returns `true` if the request had the header `Upgrade`.
pub(super) fn rewrite_request(
    head: &mut request::Parts,
    origin: &ClientAddr,
    filter: &FieldFilter,
    keys: UnclaimedKeys,
    default_host: &HeaderValue,
) -> bool {
    let mut gone = Names::new();
    let mut cookies = 0;
    for (name, value) in &head.headers {
        if is_hop_by_hop(name) || filter.removes(name) || keys == UnclaimedKeys::Drop && is_a_key(value) {
            gone.push(name.clone());
        }
        cookies += u32::from(name == header::COOKIE);
    }
    if gone.contains(&header::CONNECTION) {
        gone.extend(connection_tokens(&head.headers));
    }
    let has_upgrade = gone.contains(&header::UPGRADE);
    remove(&mut head.headers, gone);
    if cookies > 1 {
        join_cookies(&mut head.headers);
    }
    head.headers.insert(&FORWARDED_FOR, origin.written());
    head.headers
        .insert(&FORWARDED_PROTO, HeaderValue::from_static(if origin.secure { "https" } else { "http" }));
    if let Some(host) = head.headers.get(header::HOST).cloned() {
        head.headers.insert(&FORWARDED_HOST, host);
    } else {
        // HTTP/2 requests may have only `:authority`, and HTTP/1.0 requests no host at all. The request is forwarded as
        // HTTP/1.1, which requires it.
        let authority = head.uri.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
        match &authority {
            Some(host) => head.headers.insert(&FORWARDED_HOST, host.clone()),
            None => head.headers.remove(&FORWARDED_HOST),
        };
        head.headers.insert(header::HOST, authority.unwrap_or_else(|| default_host.clone()));
    }
    let via = match head.version {
        http::Version::HTTP_2 => "2 portcullis",
        http::Version::HTTP_10 => "1.0 portcullis",
        _ => "1.1 portcullis",
    };
    head.headers.append(header::VIA, HeaderValue::from_static(via));
    head.version = http::Version::HTTP_11;
    if head.uri.authority().is_some() {
        let path = head.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        head.uri = Uri::from(path);
    }
    has_upgrade
}

/// Joins `Cookie` headers, which HTTP/2 may split, to the single one of HTTP/1.1 (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Server;

    static DEFAULT_HOST: HeaderValue = HeaderValue::from_static("default.example");

    fn rewritten(request: http::request::Builder, keys: UnclaimedKeys) -> (request::Parts, bool) {
        let mut head = request.body(()).unwrap().into_parts().0;
        let origin = ClientAddr::new("192.0.2.7".parse().unwrap(), true);
        let filter = FieldFilter::new(&Server::default());
        let has_upgrade = rewrite_request(&mut head, &origin, &filter, keys, &DEFAULT_HOST);
        (head, has_upgrade)
    }

    fn sent(uri: &str, fields: &[(&'static str, &str)]) -> request::Parts {
        let request = http::Request::get(uri);
        let add = |request: http::request::Builder, (name, value): &(_, _)| request.header(*name, *value);
        rewritten(fields.iter().fold(request, add), UnclaimedKeys::Keep).0
    }

    #[test]
    fn hop_by_hop_headers_are_removed() {
        let head = sent(
            "/x",
            &[
                ("host", "a"),
                ("connection", "close, x-mine"),
                ("x-mine", "1"),
                ("keep-alive", "5"),
                ("te", "trailers"),
                ("trailer", "x-caller-id"),
                ("upgrade", "h2c"),
                ("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA"),
                ("proxy-authorization", "x"),
                ("x-other", "2"),
            ],
        );
        let mut names: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["host", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-other"]
        );
    }

    #[test]
    fn client_forwarding_headers_are_removed() {
        let fields = [
            ("host", "a"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-proto", "http"),
            ("forwarded", "for=1.1.1.1"),
        ];
        let head = sent("/x", &fields);
        assert_eq!(head.headers["x-forwarded-for"], "192.0.2.7");
        assert_eq!(head.headers["x-forwarded-proto"], "https");
        assert!(!head.headers.contains_key("forwarded"));
    }

    #[test]
    fn method_target_and_address_overrides_are_removed() {
        let names = [
            "x-http-method-override",
            "x-http-method",
            "x-method-override",
            "x-original-url",
            "x-rewrite-url",
            "x-forwarded-prefix",
            "x-real-ip",
            "true-client-ip",
            "cf-connecting-ip",
            "x-client-ip",
        ];
        let mut fields = vec![("host", "a"), ("x-other", "1")];
        fields.extend(names.map(|name| (name, "/admin")));
        let head = sent("/x", &fields);
        assert!(names.iter().all(|name| !head.headers.contains_key(*name)), "{:?}", head.headers);
        assert!(head.headers.contains_key("x-other"));
    }

    #[test]
    fn unclaimed_api_key_is_removed() {
        let key = GeneratedKey::generate(&portcullis::model::KeyPrefix::default());
        let bearer = format!("Bearer {}", key.expose());
        let request = http::Request::get("/").header("host", "a").header("x-mine", "1");
        let beside = [key.expose().as_bytes(), b" \xff"].concat();
        let request = request.header("authorization", bearer).header("x-other", &*beside);
        let (head, _) = rewritten(request, UnclaimedKeys::Drop);
        assert!(!head.headers.contains_key("authorization") && !head.headers.contains_key("x-other"));
        assert!(head.headers.contains_key("x-mine"));
    }

    #[test]
    fn absolute_target_becomes_path_and_host() {
        let head = sent("http://a.example:8080/x?y=1", &[("cookie", "a=1"), ("cookie", "b=2")]);
        assert_eq!(
            (head.uri.to_string().as_str(), &head.headers["host"]),
            ("/x?y=1", &"a.example:8080".parse().unwrap())
        );
        assert_eq!(head.headers["cookie"], "a=1; b=2");
    }

    #[test]
    fn request_without_a_host_gets_the_default_one() {
        let head = sent("/x", &[("x-forwarded-host", "b.example")]);
        assert_eq!(head.headers["host"], DEFAULT_HOST);
        assert!(!head.headers.contains_key("x-forwarded-host"));
    }

    #[test]
    fn upgrade_is_removed_and_reported() {
        for (field, expected) in [("upgrade", true), ("x-other", false)] {
            let request = http::Request::get("/x").header("host", "a").header(field, "websocket");
            let (head, has_upgrade) = rewritten(request, UnclaimedKeys::Keep);
            assert_eq!((has_upgrade, head.headers.contains_key("upgrade")), (expected, false));
        }
    }
}
