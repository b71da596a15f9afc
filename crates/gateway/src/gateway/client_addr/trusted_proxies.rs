//! The trusted proxies: `X-Forwarded-For` and `X-Forwarded-Proto` of other peers are ignored.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{HeaderMap, HeaderName};
use ipnet::{IpNet, Ipv4Net};

use super::ClientAddr;

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The proxies that are trusted to report the client address.
#[derive(Debug, Clone)]
pub(in crate::gateway) struct TrustedProxies(Arc<[IpNet]>);

impl TrustedProxies {
    pub(in crate::gateway) fn new(trusted: &[IpNet]) -> Self {
        Self(trusted.iter().map(|network| canonical(*network)).collect())
    }

    pub(in crate::gateway) fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Returns the client address of a request that arrived on a connection.
    ///
    /// Each proxy appends the address of its own peer to `X-Forwarded-For`. So the list is read from its end, as bytes,
    /// as long as the author of an entry is trusted. The first address that is not a trusted proxy is the client; all
    /// entries before it are unverified claims of the client. Empty entries are ignored (RFC 9110, section 5.6.1). If a
    /// trusted proxy wrote an entry that is not an address, such as `unknown`, the client is unknown. The proxy's own
    /// address is not used instead, because a proxy may be allowed where the client is not.
    pub(in crate::gateway) fn client_addr(&self, connection: &ClientAddr, headers: &HeaderMap) -> ClientAddr {
        let Some(proxy) = connection.peer.filter(|peer| self.trusts(*peer)) else {
            return connection.clone();
        };
        let lines = headers.get_all(&FORWARDED_FOR).iter().rev();
        let entries = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        let mut peer = Some(proxy);
        for entry in entries.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty()) {
            peer = address(entry);
            if !peer.is_some_and(|address| self.trusts(address)) {
                break;
            }
        }
        // Only the entry of the last proxy counts. That proxy was responsible for checking earlier entries.
        let schemes = headers.get_all(&FORWARDED_PROTO).iter().rev();
        let schemes = schemes.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        let secure = schemes
            .map(<[u8]>::trim_ascii)
            .find(|scheme| !scheme.is_empty())
            .map_or(connection.secure, |scheme| scheme.eq_ignore_ascii_case(b"https"));
        peer.map_or_else(|| ClientAddr::unknown(secure), |peer| ClientAddr::new(peer, secure))
    }
}

/// Returns the canonical form of a network: IPv4 for an IPv4-mapped IPv6 network, because addresses are compared in
/// that form.
pub(in crate::gateway) fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else { return network };
    let (address, prefix) = (mapped.network().to_ipv4_mapped(), mapped.prefix_len().checked_sub(96));
    let of_v4 = address.zip(prefix).and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok());
    of_v4.map_or(network, IpNet::V4)
}

/// Parses an address in the forms that proxies write: bare, with a port, or an IPv6 address in brackets.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let entry = std::str::from_utf8(entry).ok()?;
    let bare = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']')).unwrap_or(entry);
    let address = bare.parse().ok().or_else(|| entry.parse().ok().map(|address: SocketAddr| address.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn origin(peer: &str, fields: &[(&'static str, &str)]) -> (String, bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(
                *name,
                HeaderValue::from_bytes(&value.chars().map(|c| c as u8).collect::<Vec<_>>()).unwrap(),
            );
        }
        let trusted = ["10.0.0.0/8", "2001:db8::/32", "::ffff:172.16.0.0/108"];
        let proxies = TrustedProxies::new(&trusted.map(|network| network.parse().unwrap()));
        let origin = proxies.client_addr(&ClientAddr::new(peer.parse().unwrap(), false), &headers);
        let peer = origin.peer.map_or("unknown".to_owned(), |peer| peer.to_string());
        assert_eq!(origin.written(), peer);
        (peer, origin.secure)
    }

    #[test]
    fn last_untrusted_address_is_the_client() {
        for (peer, said, client) in [
            ("192.0.2.1", "1.1.1.1", "192.0.2.1"),
            ("10.0.0.1", "1.1.1.1", "1.1.1.1"),
            ("10.0.0.1", "6.6.6.6, 1.1.1.1", "1.1.1.1"),
            ("10.0.0.1", "6.6.6.6, 1.1.1.1,10.9.9.9", "1.1.1.1"),
            ("10.0.0.1", "10.1.1.1", "10.1.1.1"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("10.0.0.1", ", ,", "10.0.0.1"),
            ("10.0.0.1", "1.1.1.1, ,", "1.1.1.1"),
            ("10.0.0.1", "1.1.1.1, unknown", "unknown"),
            ("10.0.0.1", "unknown, 10.2.2.2", "unknown"),
            ("10.0.0.1", "unknown, 1.1.1.1", "1.1.1.1"),
            ("10.0.0.1", "\u{ff}, 203.0.113.9", "203.0.113.9"),
            ("10.0.0.1", "203.0.113.9, \u{ff}", "unknown"),
            ("10.0.0.1", "203.0.113.9, \u{ff}, 10.2.2.2", "unknown"),
            ("10.0.0.1", "6.6.6.6\u{ff}", "unknown"),
            ("10.0.0.1", "1.1.1.1, _hidden", "unknown"),
            ("10.0.0.1", "1.1.1.1, 010.0.0.1", "unknown"),
            ("10.0.0.1", "1.1.1.1, 10.1", "unknown"),
            ("10.0.0.1", "1.1.1.1, fe80::1%eth0", "unknown"),
            ("10.0.0.1", "1.1.1.1, \"10.2.2.2\"", "unknown"),
            ("10.0.0.1", "1.1.1.1:http", "unknown"),
            ("10.0.0.1", "1.1.1.1\t,\t10.2.2.2\t", "1.1.1.1"),
            ("::ffff:10.0.0.1", "1.1.1.1, ::ffff:10.2.2.2, [::ffff:172.16.0.9]:80", "1.1.1.1"),
            ("192.0.2.1", "\u{ff}", "192.0.2.1"),
            ("10.0.0.1", "1.1.1.1:4711", "1.1.1.1"),
            ("10.0.0.1", "[2a00::1]:4711", "2a00::1"),
            ("10.0.0.1", "[2a00::1]", "2a00::1"),
            ("10.0.0.1", "2a00::1, 2001:db8::7", "2a00::1"),
            ("10.0.0.1", "::ffff:1.1.1.1", "1.1.1.1"),
        ] {
            assert_eq!(origin(peer, &[("x-forwarded-for", said)]).0, client, "{peer}: {said}");
        }
        let lines =
            [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "10.2.2.2")];
        assert_eq!(origin("10.0.0.1", &lines).0, "1.1.1.1", "repeated headers are one list");
    }

    #[test]
    fn last_proxy_determines_the_scheme() {
        for (peer, said, secure) in [
            ("192.0.2.1", "https", false),
            ("10.0.0.1", "https", true),
            ("10.0.0.1", "HTTPS", true),
            ("10.0.0.1", "https, http", false),
            ("10.0.0.1", "https, ,", true),
            ("10.0.0.1", "ws", false),
        ] {
            assert_eq!(origin(peer, &[("x-forwarded-proto", said)]).1, secure, "{peer}: {said}");
        }
    }
}
