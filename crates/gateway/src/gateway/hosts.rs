//! Checks the host names of requests to a private listener. Requests that a browser sends on behalf of another site are
//! denied.
//!
//! A page of another site can make a browser send requests to an address that only this machine can reach, either by
//! the address or, with DNS rebinding, by a name of that site. Such a request names a host that does not belong to the
//! listener, or has an origin other than the listener. It is denied before anything counts it, so that it cannot lock
//! out a user.

use std::{net::IpAddr, sync::Arc};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, HeaderName, Method, Uri, header, uri::Authority};

use crate::config;
use portcullis::{
    Admission, Denial,
    denial::Forbidden,
    problem::{self, Problem, ResponseForm},
};

static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
static SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// The hosts that a listener accepts.
#[derive(Debug)]
pub(super) struct Hosts {
    listen: IpAddr,
    names: Vec<String>,
}

impl Hosts {
    /// Creates the hosts of the admin listener: the names of this machine, the address that it listens on, and the
    /// configured names.
    pub(super) fn new(admin: &config::Admin) -> Self {
        Self { listen: admin.address.ip(), names: admin.hosts.clone() }
    }

    fn contains(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        if let Ok(ip) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            // No site owns an IP address, so DNS rebinding cannot use one. The address must match if the listener is
            // bound to one address.
            let ip = ip.to_canonical();
            return self.listen.is_unspecified()
                || ip == self.listen.to_canonical()
                || ip.is_loopback() && self.listen.is_loopback()
                || self.is_named(host);
        }
        host.eq_ignore_ascii_case("localhost") || self.is_named(host)
    }

    fn is_named(&self, host: &str) -> bool {
        self.names.iter().any(|name| name.eq_ignore_ascii_case(host))
    }

    /// Checks the host of a request, and the site that it was sent for.
    ///
    /// # Errors
    /// Returns 421 for another host, and 403 for another site.
    fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Denial> {
        let misdirected = || Denial::Misdirected {
            detail: "This listener does not serve this host. Operators can add it to admin.hosts.".into(),
        };
        let host = authority(uri, headers).ok_or_else(misdirected)?;
        if !self.contains(host.host()) {
            return Err(misdirected());
        }
        if is_of_another_site(method, headers, &host) {
            return Err(Denial::Forbidden(Forbidden::Origin));
        }
        Ok(())
    }
}

/// Returns the authority that a request is sent to, if there is exactly one.
fn authority(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    let mut fields = headers.get_all(header::HOST).iter();
    let field = fields.next().map(|value| Authority::try_from(value.as_bytes()));
    let authority = match (uri.authority(), field, fields.next()) {
        (Some(authority), None, None) => Some(authority.clone()),
        (None, Some(Ok(field)), None) => Some(field),
        (Some(authority), Some(Ok(field)), None) if *authority == field => Some(field),
        _ => None,
    };
    // Userinfo is not a part of a host, and recipients parse it differently.
    authority.filter(|authority| !authority.as_str().contains('@'))
}

/// Returns `true` if a browser sends the request for a page of another site.
fn is_of_another_site(method: &Method, headers: &HeaderMap, host: &Authority) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let ours = |origin: &[u8]| {
        let origin = std::str::from_utf8(origin).ok().and_then(|origin| origin.parse::<Uri>().ok());
        origin.is_some_and(|origin| {
            let default = if origin.scheme_str() == Some("https") { 443 } else { 80 };
            origin.authority().is_some_and(|authority| {
                authority.host().eq_ignore_ascii_case(host.host())
                    && authority.port_u16().unwrap_or(default) == host.port_u16().unwrap_or(default)
            })
        })
    };
    if !origins.all(|origin| ours(origin.as_bytes())) {
        return true;
    }
    let says = |name: &HeaderName, words: &[&[u8]]| {
        headers.get_all(name).iter().all(|value| words.contains(&value.as_bytes()))
    };
    // Any site may link to the documentation. A link cannot carry a key.
    let is_a_link = method.is_safe() && headers.get(&SEC_FETCH_MODE).is_some_and(|mode| mode == "navigate");
    !says(&SEC_FETCH_SITE, &[b"same-origin", b"none"]) && !is_a_link
}

/// Applies [`Hosts`] as a middleware.
pub(super) async fn checked(State(hosts): State<Arc<Hosts>>, request: Request, next: Next) -> Response {
    match hosts.check(request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(denial) => {
            problem::log(&denial);
            let form = ResponseForm::from_headers(request.method(), request.headers());
            problem::render_for(&denial, &Problem, &Admission::default(), form).map(Body::from)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(listen: &str, names: &[&str]) -> Hosts {
        Hosts { listen: listen.parse().unwrap(), names: names.iter().map(ToString::to_string).collect() }
    }

    fn status(hosts: &Hosts, method: &str, uri: &str, fields: &[(&str, &str)]) -> u16 {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let (method, uri) = (method.parse().unwrap(), uri.parse().unwrap());
        hosts.check(&method, &uri, &headers).map_or_else(|denial| denial.status().as_u16(), |()| 200)
    }

    #[test]
    fn listener_accepts_its_own_names_only() {
        let own = hosts("127.0.0.1", &["admin.example.com"]);
        let wide = hosts("0.0.0.0", &[]);
        let private = hosts("10.1.2.3", &[]);
        for (host, on_loopback, on_all, on_one) in [
            ("localhost", 200, 200, 200),
            ("LOCALHOST:9001", 200, 200, 200),
            ("localhost.", 200, 200, 200),
            ("127.0.0.1:9001", 200, 200, 421),
            ("127.0.0.2", 200, 200, 421),
            ("[::1]:9001", 200, 200, 421),
            ("[::ffff:127.0.0.1]", 200, 200, 421),
            ("10.1.2.3:9001", 421, 200, 200),
            ("admin.example.com:443", 200, 421, 421),
            ("Admin.Example.com.", 200, 421, 421),
            ("evil.example", 421, 421, 421),
            ("localhost.evil.example", 421, 421, 421),
            ("127.0.0.1.evil.example", 421, 421, 421),
            ("evil.example:9001", 421, 421, 421),
            ("evil.example@localhost", 421, 421, 421),
            ("localhost@evil.example", 421, 421, 421),
            ("", 421, 421, 421),
        ] {
            let found = [&own, &wide, &private].map(|hosts| status(hosts, "GET", "/", &[("host", host)]));
            assert_eq!(found, [on_loopback, on_all, on_one], "{host}");
        }
        assert_eq!(status(&own, "GET", "/", &[]), 421);
        assert_eq!(status(&own, "GET", "/", &[("host", "localhost"), ("host", "localhost")]), 421);
        assert_eq!(status(&own, "GET", "https://localhost/", &[]), 200, "HTTP/2");
        assert_eq!(status(&own, "GET", "https://evil.example/", &[("host", "localhost")]), 421);
    }

    #[test]
    fn cross_origin_browser_requests_are_rejected() {
        let hosts = hosts("127.0.0.1", &[]);
        let here = ("host", "localhost:9001");
        for (method, fields, expected) in [
            ("POST", &[("origin", "http://localhost:9001")][..], 200),
            ("POST", &[("origin", "http://localhost:3000")], 403),
            ("POST", &[("origin", "http://localhost")], 403),
            ("POST", &[("origin", "http://evil.example")], 403),
            ("POST", &[("origin", "null")], 403),
            ("POST", &[("origin", "")], 403),
            ("GET", &[("origin", "http://localhost:9001"), ("origin", "http://evil.example")], 403),
            ("OPTIONS", &[("origin", "http://evil.example")], 403),
            ("GET", &[("sec-fetch-site", "same-origin")], 200),
            ("GET", &[("sec-fetch-site", "none")], 200),
            ("GET", &[("sec-fetch-site", "cross-site")], 403),
            ("GET", &[("sec-fetch-site", "same-site")], 403),
            ("GET", &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], 200),
            ("POST", &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], 403),
        ] {
            let fields = [&[here][..], fields].concat();
            assert_eq!(status(&hosts, method, "/", &fields), expected, "{method} {fields:?}");
        }
        let plain = [("host", "localhost"), ("origin", "https://localhost")];
        assert_eq!(status(&hosts, "POST", "/", &plain), 200, "the default port");
    }
}
