//! What a message loses and gains between two hops (RFC 9110, section 7.6).

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header, request, uri::PathAndQuery};

use super::origin::Origin;
use crate::app::ApiKey;

static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
static HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Removes what belongs to the connection it came by, and what its `Connection` names.
pub(super) fn leave(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let listed: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .collect();
        for name in listed {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    for name in [
        &KEEP_ALIVE,
        &PROXY_CONNECTION,
        &HTTP2_SETTINGS,
        &header::PROXY_AUTHENTICATE,
        &header::PROXY_AUTHORIZATION,
        &header::TE,
        &header::TRANSFER_ENCODING,
        &header::UPGRADE,
    ] {
        headers.remove(name);
    }
}

/// Whether a field claims, in the client's words, what only the way here can tell (where the request came
/// from, by which name), or asks a service behind for another method or target than the policies saw.
fn misleads(name: &HeaderName) -> bool {
    // CGI and its kin read `X_Caller_Id` as `X-Caller-Id`.
    name.as_str().contains('_')
        || matches!(
            name.as_str(),
            // hyper has asked the client to go on by itself.
            "expect"
                | "forwarded"
                | "x-forwarded-by"
                | "x-forwarded-path"
                | "x-forwarded-port"
                | "x-forwarded-prefix"
                | "x-forwarded-scheme"
                | "x-forwarded-server"
                | "x-forwarded-ssl"
                | "x-forwarded-uri"
                | "x-real-ip"
                | "x-client-ip"
                | "x-cluster-client-ip"
                | "x-original-forwarded-for"
                | "true-client-ip"
                | "client-ip"
                | "cf-connecting-ip"
                | "fastly-client-ip"
                | "x-http-method"
                | "x-http-method-override"
                | "x-method-override"
                | "x-original-host"
                | "x-original-uri"
                | "x-original-url"
                | "x-rewrite-url"
        )
}

/// Removes keys of ours, which a client sent where nobody asks for one.
pub(super) fn drop_keys(headers: &mut HeaderMap) {
    let ours = |value: &HeaderValue| {
        let words = value.to_str().unwrap_or_default().split_ascii_whitespace();
        words.into_iter().any(|word| ApiKey::parse(word).is_ok())
    };
    let names = headers.iter().filter(|(_, value)| ours(value)).map(|(name, _)| name.clone());
    for name in names.collect::<Vec<_>>() {
        headers.remove(name);
    }
}

/// Makes a request's head one that is sent to the service behind: origin form, HTTP/1.1, one `Host`, one
/// `Cookie`, and `X-Forwarded-*` that say what we saw. What the client says of its own way is removed.
pub(super) fn send_on(head: &mut request::Parts, origin: Origin) {
    leave(&mut head.headers);
    if !head.headers.contains_key(header::HOST)
        && let Some(authority) = head.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        head.headers.insert(header::HOST, host);
    }
    join_cookies(&mut head.headers);
    // Unannounced, a request's trailers are not sent on: no policy saw them, and a service that reads them as
    // fields of the head would take an identity from them.
    head.headers.remove(header::TRAILER);
    // Most requests have none of them: then nothing is allocated.
    let misleading: Vec<HeaderName> = head.headers.keys().filter(|name| misleads(name)).cloned().collect();
    for name in misleading {
        head.headers.remove(name);
    }
    if let Ok(peer) = HeaderValue::try_from(origin.peer.to_canonical().to_string()) {
        head.headers.insert(&FORWARDED_FOR, peer);
    }
    head.headers
        .insert(&FORWARDED_PROTO, HeaderValue::from_static(if origin.secure { "https" } else { "http" }));
    match head.headers.get(header::HOST).cloned() {
        Some(host) => head.headers.insert(&FORWARDED_HOST, host),
        None => head.headers.remove(&FORWARDED_HOST),
    };
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
}

/// HTTP/2 splits `Cookie` into several fields; HTTP/1.1 has one (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(uri: &str, fields: &[(&'static str, &str)]) -> request::Parts {
        let mut request = http::Request::get(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let mut head = request.body(()).unwrap().into_parts().0;
        send_on(&mut head, Origin { peer: "192.0.2.7".parse().unwrap(), secure: true });
        head
    }

    #[test]
    fn nothing_of_the_connection_travels_on() {
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
    fn the_clients_own_word_on_its_way_is_removed() {
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
    fn nobody_behind_is_asked_for_another_method_target_or_address() {
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
    fn an_absolute_target_becomes_path_and_host() {
        let head = sent("http://a.example:8080/x?y=1", &[("cookie", "a=1"), ("cookie", "b=2")]);
        assert_eq!(
            (head.uri.to_string().as_str(), &head.headers["host"]),
            ("/x?y=1", &"a.example:8080".parse().unwrap())
        );
        assert_eq!(head.headers["cookie"], "a=1; b=2");
    }
}
