//! Origins as browsers send them in the `Origin` header (RFC 6454, section 6.2).

use std::{net::Ipv6Addr, str::FromStr};

use crate::config::HostName;

/// The default ports, which browsers omit from origins.
const DEFAULT_PORTS: [(&str, u16); 2] = [("http", 80), ("https", 443)];

/// An origin, or a set of origins, whose scripts may call a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigin {
    /// Every origin.
    Any,
    /// One origin, as browsers write it.
    Exact(Box<str>),
    /// The origins of all subdomains of a domain, such as `https://*.example.com`; not that of the domain itself.
    Subdomains {
        /// The scheme and `://`.
        start: Box<str>,
        /// The dot, the domain, and the port if there is one.
        end: Box<str>,
    },
}

impl AllowedOrigin {
    /// Returns `true` if the value of an `Origin` header is one of these origins.
    #[must_use]
    pub fn matches(&self, origin: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(allowed) => origin == allowed.as_bytes(),
            Self::Subdomains { start, end } => origin
                .strip_prefix(start.as_bytes())
                .and_then(|rest| rest.strip_suffix(end.as_bytes()))
                .is_some_and(is_subdomain),
        }
    }
}

/// Returns `true` for one or more labels of a host name. Other characters could end the host.
fn is_subdomain(labels: &[u8]) -> bool {
    let is_plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    labels.split(|b| *b == b'.').all(|label| !label.is_empty() && label.iter().all(is_plain))
}

impl FromStr for AllowedOrigin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "such as \"https://app.example.com\", \"https://*.example.com\" or \"*\"";
        if text == "*" {
            return Ok(Self::Any);
        }
        if text.eq_ignore_ascii_case("null") {
            return Err(
                "the origin null cannot be allowed, because any page can send it from a sandboxed frame"
                    .into(),
            );
        }
        let Some((scheme, authority)) = text.split_once("://") else {
            return Err(format!("\"{text}\" is not an origin, {FORM}"));
        };
        let scheme = scheme.to_ascii_lowercase();
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
        if !is_scheme || authority.is_empty() {
            return Err(format!("\"{text}\" is not an origin, {FORM}"));
        }
        if let Some(origin) = text.strip_suffix('/').filter(|_| authority.matches('/').count() == 1) {
            return Err(format!("an origin has no slash at the end: write \"{origin}\""));
        }
        if authority.contains(['/', '?', '#', '@']) {
            return Err(format!("\"{text}\" is not an origin: it has a scheme, a host and a port, {FORM}"));
        }
        let (host, port) = split_port(authority).ok_or_else(|| format!("\"{text}\" has no valid port"))?;
        if let Some((_, default)) =
            DEFAULT_PORTS.iter().find(|known| (known.0, Some(known.1)) == (&*scheme, port))
        {
            return Err(format!("browsers omit the default port: remove \":{default}\" from \"{text}\""));
        }
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let Some(domain) = host.strip_prefix("*.") else {
            return Ok(Self::Exact(format!("{scheme}://{}{port}", host_name(host)?).into()));
        };
        let domain = host_name(domain)?;
        if !domain.contains('.') && domain != "localhost" {
            return Err(format!("\"{text}\" would allow a whole top-level domain"));
        }
        Ok(Self::Subdomains { start: format!("{scheme}://").into(), end: format!(".{domain}{port}").into() })
    }
}

/// Splits an authority into the host and the port, if there is one.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    match authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
        None => Some((authority, None)),
        Some((host, port)) => {
            let is_number = !port.starts_with('0') && port.bytes().all(|b| b.is_ascii_digit());
            port.parse().ok().filter(|_| is_number).map(|port| (host, Some(port)))
        }
    }
}

/// Returns a host as browsers write it.
fn host_name(host: &str) -> Result<String, String> {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => {
            let address: Ipv6Addr = address.parse().map_err(|_| format!("{host} is not an IPv6 address"))?;
            Ok(format!("[{address}]"))
        }
        None if host.contains('*') => {
            Err("a * in an origin stands for whole subdomains, as in https://*.example.com".into())
        }
        None => host.parse::<HostName>().map(|host| host.as_str().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_is_stored_as_browsers_send_it() {
        for (text, sent) in [
            ("https://app.example.com", "https://app.example.com"),
            ("HTTPS://App.Example.com", "https://app.example.com"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("http://[0:0:0:0:0:0:0:1]", "http://[::1]"),
            ("https://b\u{fc}cher.example", "https://xn--bcher-kva.example"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("http://a.example:443", "http://a.example:443"),
        ] {
            assert_eq!(text.parse(), Ok(AllowedOrigin::Exact(sent.into())), "{text}");
        }
    }

    #[test]
    fn value_that_no_browser_sends_is_rejected() {
        for (text, why) in [
            ("https://app.example.com/", "no slash at the end: write \"https://app.example.com\""),
            ("null", "sandboxed frame"),
            ("app.example.com", "is not an origin"),
            ("://a", "is not an origin"),
            ("https://", "is not an origin"),
            ("https://a/b", "is not an origin"),
            ("https://a/b/", "is not an origin"),
            ("https://user@a", "is not an origin"),
            ("https://a?b", "is not an origin"),
            ("https://a:443", "remove \":443\""),
            ("http://a:80", "remove \":80\""),
            ("https://a:0443", "no valid port"),
            ("https://a:", "no valid port"),
            ("https://a:99999", "no valid port"),
            ("https://[::g]", "not an IPv6 address"),
            ("https://*", "whole subdomains"),
            ("https://a*.example.com", "whole subdomains"),
            ("https://*.*.example.com", "whole subdomains"),
            ("https://*.com", "a whole top-level domain"),
            ("*.example.com", "is not an origin"),
            ("https://a b", "a host must be a name"),
        ] {
            let error = text.parse::<AllowedOrigin>().expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn wildcard_matches_subdomains_only() {
        let allowed: AllowedOrigin = "https://*.example.com:8443".parse().unwrap();
        for origin in ["https://a.example.com:8443", "https://a.b-c.example.com:8443"] {
            assert!(allowed.matches(origin.as_bytes()), "{origin}");
        }
        for origin in [
            "https://example.com:8443",
            "https://.example.com:8443",
            "https://a..example.com:8443",
            "http://a.example.com:8443",
            "https://a.example.com",
            "https://aexample.com:8443",
            "https://evil.com/.example.com:8443",
            "https://evil.com#.example.com:8443",
            "https://a.example.com:8443.evil.com",
            "null",
            "",
        ] {
            assert!(!allowed.matches(origin.as_bytes()), "{origin}");
        }
    }
}
