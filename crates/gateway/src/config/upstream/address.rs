//! The address of a target of an upstream.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use http::uri::Scheme;
use serde::Deserialize;

/// The protocol of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UpstreamProtocol {
    /// `http`: HTTP/1.1 without TLS.
    Http,
    /// `h2c`: HTTP/2 without TLS, by prior knowledge.
    H2c,
    /// `https`: TLS; ALPN selects HTTP/2 or HTTP/1.1.
    Https,
}

impl UpstreamProtocol {
    /// Returns the scheme of request targets.
    #[must_use]
    pub fn scheme(self) -> Scheme {
        if self == Self::Https { Scheme::HTTPS } else { Scheme::HTTP }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::H2c => "h2c",
            Self::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        if self == Self::Https { 443 } else { 80 }
    }
}

impl FromStr for UpstreamProtocol {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Http, Self::H2c, Self::Https]
            .into_iter()
            .find(|one| one.name().eq_ignore_ascii_case(text))
            .ok_or(())
    }
}

/// The place where a target listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UpstreamPlace {
    /// An IP address and port, such as `127.0.0.1:9000` or `[::1]:9000`.
    Socket(SocketAddr),
    /// A name and port, such as `orders:9000`.
    Name {
        /// The name: at most 253 letters, digits, hyphens, underscores and dots.
        host: Arc<str>,
        /// The port.
        port: u16,
    },
    /// The name of SRV records, such as `_http._tcp.orders.example` (RFC 2782).
    Srv(Arc<str>),
    /// The path of a Unix socket.
    Unix(Arc<Path>),
}

/// The address of a target: protocol and place. A host and port without a scheme, such as `orders:9000`, means HTTP/1.1.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct UpstreamAddress {
    /// The protocol.
    pub protocol: UpstreamProtocol,
    /// The place.
    pub place: UpstreamPlace,
}

/// An error for a text that is not the address of a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUpstreamAddress {
    /// The scheme is unknown.
    #[error(
        "the scheme {0:?} is not supported: use http, https, h2c, or one of them with +srv; or \"unix:\" and a path"
    )]
    Scheme(String),
    /// The URL has a path, a query or user information.
    #[error("the URL of an upstream has only a scheme, a host and a port: write {0:?}{hint}", hint = .1)]
    Url(String, &'static str),
    /// The path of a Unix socket is not absolute.
    #[error("{0:?} is not the absolute path of a Unix socket, such as \"unix:/run/orders.sock\"")]
    Socket(String),
    /// The name of SRV records has a port, or is not a name.
    #[error("{0:?} is not the name of SRV records, such as \"http+srv://_http._tcp.orders.example\"")]
    Srv(String),
    /// The text has no host or no port.
    #[error(
        "{0:?} is not a URL or a host and a port, such as \"http://orders:9000\", \"127.0.0.1:9000\" or \"[::1]:9000\""
    )]
    Other(String),
}

impl UpstreamPlace {
    /// Returns the port, if the place has one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Socket(address) => Some(address.port()),
            Self::Name { port, .. } => Some(*port),
            Self::Srv(_) | Self::Unix(_) => None,
        }
    }

    /// Returns the IP addresses that are known without a resolver.
    #[must_use]
    pub fn known_ips(&self) -> Vec<IpAddr> {
        match self {
            Self::Socket(address) => vec![address.ip()],
            Self::Name { host, .. } if host.eq_ignore_ascii_case("localhost") => {
                vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
            }
            Self::Name { .. } | Self::Srv(_) | Self::Unix(_) => Vec::new(),
        }
    }

    /// Returns the host, without a port: for SNI and the verification of certificates.
    #[must_use]
    pub fn host(&self) -> String {
        match self {
            Self::Socket(address) => address.ip().to_string(),
            Self::Name { host, .. } | Self::Srv(host) => host.trim_end_matches('.').to_owned(),
            Self::Unix(_) => "localhost".into(),
        }
    }
}

impl UpstreamAddress {
    /// Returns the host and the port, unless it is the default of the protocol: the value of `Host` for requests that
    /// have none.
    #[must_use]
    pub fn authority(&self) -> String {
        match &self.place {
            UpstreamPlace::Socket(address) => address.to_string(),
            UpstreamPlace::Name { port, .. } if *port == self.protocol.default_port() => self.place.host(),
            UpstreamPlace::Name { port, .. } => format!("{}:{port}", self.place.host()),
            UpstreamPlace::Srv(_) | UpstreamPlace::Unix(_) => self.place.host(),
        }
    }
}

impl fmt::Display for UpstreamAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, plain) = (self.protocol.name(), self.protocol == UpstreamProtocol::Http);
        match &self.place {
            UpstreamPlace::Socket(address) if plain => address.fmt(f),
            UpstreamPlace::Socket(address) => write!(f, "{scheme}://{address}"),
            UpstreamPlace::Name { host, port } if plain => write!(f, "{host}:{port}"),
            UpstreamPlace::Name { host, port } => write!(f, "{scheme}://{host}:{port}"),
            UpstreamPlace::Srv(name) => write!(f, "{scheme}+srv://{name}"),
            UpstreamPlace::Unix(path) if plain => write!(f, "unix:{}", path.display()),
            UpstreamPlace::Unix(path) => write!(f, "{scheme}+unix:{}", path.display()),
        }
    }
}

impl FromStr for UpstreamAddress {
    type Err = InvalidUpstreamAddress;

    fn from_str(text: &str) -> Result<Self, InvalidUpstreamAddress> {
        if let Some(found) = unix(text) {
            return found;
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return url(scheme, rest);
        }
        let place = place(text, None).ok_or_else(|| InvalidUpstreamAddress::Other(text.to_owned()))?;
        Ok(Self { protocol: UpstreamProtocol::Http, place })
    }
}

impl TryFrom<String> for UpstreamAddress {
    type Error = InvalidUpstreamAddress;

    fn try_from(text: String) -> Result<Self, InvalidUpstreamAddress> {
        text.parse()
    }
}

/// Parses `unix:/path` and `h2c+unix:/path`. Returns `None` for other texts.
fn unix(text: &str) -> Option<Result<UpstreamAddress, InvalidUpstreamAddress>> {
    let (protocol, path) = if let Some(path) = text.strip_prefix("unix:") {
        (UpstreamProtocol::Http, path)
    } else if let Some(path) = text.strip_prefix("h2c+unix:") {
        (UpstreamProtocol::H2c, path)
    } else {
        return None;
    };
    // Also accepts the URL form `unix:///path`.
    let path = path.strip_prefix("//").unwrap_or(path);
    if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
        return Some(Err(InvalidUpstreamAddress::Socket(text.to_owned())));
    }
    Some(Ok(UpstreamAddress { protocol, place: UpstreamPlace::Unix(PathBuf::from(path).into()) }))
}

fn url(scheme: &str, rest: &str) -> Result<UpstreamAddress, InvalidUpstreamAddress> {
    let (name, srv) = scheme.strip_suffix("+srv").map_or((scheme, false), |name| (name, true));
    let unknown = |()| InvalidUpstreamAddress::Scheme(scheme.to_owned());
    let protocol: UpstreamProtocol = name.parse().map_err(unknown)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let path = &rest[authority.len()..];
    if !matches!(path, "" | "/") || host != authority {
        let hint = if path.is_empty() { "" } else { "; routes.rewrite changes the path of requests" };
        return Err(InvalidUpstreamAddress::Url(format!("{scheme}://{host}"), hint));
    }
    let text = || format!("{scheme}://{rest}");
    let place = if srv {
        if !is_name(host) {
            return Err(InvalidUpstreamAddress::Srv(text()));
        }
        UpstreamPlace::Srv(host.into())
    } else {
        place(host, Some(protocol.default_port())).ok_or_else(|| InvalidUpstreamAddress::Other(text()))?
    };
    Ok(UpstreamAddress { protocol, place })
}

/// Parses a host and a port. Without a default, the port is required.
fn place(text: &str, default: Option<u16>) -> Option<UpstreamPlace> {
    if let Ok(address) = text.parse() {
        return Some(UpstreamPlace::Socket(address));
    }
    if let Some(port) = default {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let ip = bare.map_or_else(
            || text.parse::<Ipv4Addr>().ok().map(IpAddr::from),
            |bare| bare.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        );
        if let Some(ip) = ip {
            return Some(UpstreamPlace::Socket(SocketAddr::new(ip, port)));
        }
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, digits(port)?),
        None => (text, default?),
    };
    is_name(host).then(|| UpstreamPlace::Name { host: host.into(), port })
}

/// Parses a port. `u16::from_str` also accepts a sign.
fn digits(port: &str) -> Option<u16> {
    port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse().ok())?
}

/// Returns `true` for a host name, and `false` for an IP address, also an incomplete one such as `127.1`, which systems
/// interpret differently.
fn is_name(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A trailing dot marks a name that is not relative to a search domain.
    let relative = host.strip_suffix('.').unwrap_or(host);
    let last = relative.rsplit('.').next().unwrap_or_default();
    relative.len() <= 253
        && relative.split('.').all(is_label)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_with_a_port_are_upstreams() {
        for text in ["127.0.0.1:9000", "[::1]:9000"] {
            let address: UpstreamAddress = text.parse().unwrap();
            assert_eq!(address.protocol, UpstreamProtocol::Http);
            assert_eq!(address.place, UpstreamPlace::Socket(text.parse().unwrap()));
            assert_eq!((address.to_string(), address.place.port()), (text.to_owned(), Some(9000)));
        }
        for text in
            ["localhost:9000", "orders:9000", "orders_v2.shop.svc.cluster.local.:9000", "1a.example:9000"]
        {
            let address: UpstreamAddress = text.parse().unwrap();
            assert!(matches!(address.place, UpstreamPlace::Name { .. }), "{text}");
            assert_eq!((address.to_string(), address.place.port()), (text.to_owned(), Some(9000)));
        }
    }

    #[test]
    fn urls_are_upstreams() {
        for (text, written, authority) in [
            ("http://orders", "orders:80", "orders"),
            ("HTTP://orders:9000/", "orders:9000", "orders:9000"),
            ("http://127.0.0.1", "127.0.0.1:80", "127.0.0.1:80"),
            ("http://[::1]", "[::1]:80", "[::1]:80"),
            ("https://orders.example", "https://orders.example:443", "orders.example"),
            ("https://[::1]:8443", "https://[::1]:8443", "[::1]:8443"),
            ("h2c://orders.:50051", "h2c://orders.:50051", "orders:50051"),
            ("http+srv://_http._tcp.orders", "http+srv://_http._tcp.orders", "_http._tcp.orders"),
            ("unix:/run/orders.sock", "unix:/run/orders.sock", "localhost"),
            ("unix:///run/orders.sock", "unix:/run/orders.sock", "localhost"),
            ("h2c+unix:/run/orders.sock", "h2c+unix:/run/orders.sock", "localhost"),
        ] {
            let address: UpstreamAddress = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((address.to_string().as_str(), address.authority().as_str()), (written, authority));
        }
    }

    #[test]
    fn other_texts_are_no_upstreams() {
        let long = format!("{}:1", "a".repeat(64));
        let longer = format!("{}a:1", "a.".repeat(127));
        for text in [
            "",
            ":9000",
            "orders",
            "orders:",
            "orders:+1",
            "orders:65536",
            "orders:1:2",
            "::1:9000",
            "127.1:9000",
            "256.0.0.1:1",
            "-a:1",
            "a-:1",
            "a..b:1",
            ".:1",
            "a b:1",
            "ä:1",
            "user@orders:1",
            &long,
            &longer,
        ] {
            let error = text.parse::<UpstreamAddress>().unwrap_err();
            assert_eq!(error, InvalidUpstreamAddress::Other(text.to_owned()), "{text}");
        }
    }

    #[test]
    fn other_urls_are_no_upstreams() {
        for (text, why) in [
            ("http://orders:9000/v1", "write \"http://orders:9000\"; routes.rewrite changes the path"),
            ("http://orders?x", "write \"http://orders\""),
            ("http://user:secret@orders", "write \"http://orders\""),
            ("ftp://orders", "the scheme \"ftp\" is not supported"),
            ("http://", "is not a URL or a host and a port"),
            ("http://:80", "is not a URL or a host and a port"),
            ("http://127.1", "is not a URL or a host and a port"),
            ("http+srv://orders:80", "is not the name of SRV records"),
            ("http+srv://127.0.0.1", "is not the name of SRV records"),
            ("unix:orders.sock", "is not the absolute path of a Unix socket"),
            ("unix:/run/", "is not the absolute path of a Unix socket"),
        ] {
            let error = text.parse::<UpstreamAddress>().unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("secret"), "{text}: {error}");
        }
    }
}
