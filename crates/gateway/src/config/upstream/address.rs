//! The address of an upstream.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
    sync::Arc,
};

use serde::Deserialize;
use tokio::net::TcpStream;

/// The host and port of an upstream. The host is an IP address or a name, such as `localhost` or that of a service of
/// Docker Compose or Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum UpstreamAddress {
    /// An IP address and port, such as `127.0.0.1:9000` or `[::1]:9000`.
    Socket(SocketAddr),
    /// A name and port, such as `orders:9000`.
    Name {
        /// The name: at most 253 letters, digits, hyphens, underscores and dots.
        host: Arc<str>,
        /// The port.
        port: u16,
    },
}

/// An error for a text that is not the address of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUpstreamAddress {
    /// The text is a URL.
    #[error("an upstream has no scheme or path: write {0:?}")]
    Url(String),
    /// The text has no host or no port.
    #[error("{0:?} is not a host and a port, such as \"127.0.0.1:9000\", \"[::1]:9000\" or \"orders:9000\"")]
    Other(String),
}

impl UpstreamAddress {
    /// Returns the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        match self {
            Self::Socket(address) => address.port(),
            Self::Name { port, .. } => *port,
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
            Self::Name { .. } => Vec::new(),
        }
    }

    /// Opens a connection. A name is resolved for each connection, by the resolver of the system, and its addresses are
    /// tried in the order in which the resolver returns them.
    ///
    /// # Errors
    /// If the name cannot be resolved, or no address accepts the connection.
    pub async fn connect(&self) -> io::Result<TcpStream> {
        match self {
            Self::Socket(address) => TcpStream::connect(address).await,
            Self::Name { host, port } => TcpStream::connect((&**host, *port)).await,
        }
    }
}

impl fmt::Display for UpstreamAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl FromStr for UpstreamAddress {
    type Err = InvalidUpstreamAddress;

    fn from_str(text: &str) -> Result<Self, InvalidUpstreamAddress> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Socket(address));
        }
        if let Some((_, rest)) = text.split_once("://") {
            let host = rest.split('/').next().unwrap_or_default();
            return Err(InvalidUpstreamAddress::Url(host.to_owned()));
        }
        let name = text.rsplit_once(':').filter(|(host, _)| is_name(host));
        let parsed =
            name.and_then(|(host, port)| Some(Self::Name { host: host.into(), port: digits(port)? }));
        parsed.ok_or_else(|| InvalidUpstreamAddress::Other(text.to_owned()))
    }
}

impl TryFrom<String> for UpstreamAddress {
    type Error = InvalidUpstreamAddress;

    fn try_from(text: String) -> Result<Self, InvalidUpstreamAddress> {
        text.parse()
    }
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
            assert_eq!(address, UpstreamAddress::Socket(text.parse().unwrap()));
            assert_eq!((address.to_string(), address.port()), (text.to_owned(), 9000));
        }
        for text in
            ["localhost:9000", "orders:9000", "orders_v2.shop.svc.cluster.local.:9000", "1a.example:9000"]
        {
            let address: UpstreamAddress = text.parse().unwrap();
            assert!(matches!(address, UpstreamAddress::Name { .. }), "{text}");
            assert_eq!((address.to_string(), address.port()), (text.to_owned(), 9000));
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
        let error = "http://orders:9000/v1".parse::<UpstreamAddress>().unwrap_err();
        assert_eq!(error.to_string(), "an upstream has no scheme or path: write \"orders:9000\"");
    }
}
