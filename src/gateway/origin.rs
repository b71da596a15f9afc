//! Where a request comes from: the connection's other side, or who a trusted proxy says stands behind it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Where a request came from, for the policies, the log, and the service behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) peer: IpAddr,
    pub(super) secure: bool,
    /// The address as a field says it: written once for a connection, not for each request.
    written: HeaderValue,
}

impl Origin {
    pub(super) fn new(peer: IpAddr, secure: bool) -> Self {
        let peer = peer.to_canonical();
        let written = HeaderValue::try_from(peer.to_string());
        Self { peer, secure, written: written.expect("an address is printable ASCII") }
    }

    /// The peer, for layers that look for it among a request's extensions.
    pub(super) fn peer_of(extensions: &Extensions) -> Option<IpAddr> {
        extensions.get::<Self>().map(|origin| origin.peer)
    }

    /// The value of `X-Forwarded-For`.
    pub(super) fn written(&self) -> HeaderValue {
        self.written.clone()
    }
}

/// The proxies whose word on a request's way is taken.
#[derive(Debug, Clone)]
pub(super) struct Proxies(Arc<[IpNet]>);

impl Proxies {
    pub(super) fn new(trusted: &[IpNet]) -> Self {
        Self(trusted.into())
    }

    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Where a request comes from that came by this connection.
    ///
    /// Each proxy appends to `X-Forwarded-For` whom it was asked by. So the list is read from its end, for
    /// as long as who wrote an entry is trusted; the first address that is no proxy's is the client's, and
    /// whatever stands before it is only the client's own word. An entry that is no address ends the
    /// reading: the proxy that wrote it counts.
    pub(super) fn origin(&self, connection: &Origin, headers: &HeaderMap) -> Origin {
        if !self.trusts(connection.peer) {
            return connection.clone();
        }
        let lines = headers.get_all(&FORWARDED_FOR).iter().rev();
        let entries = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
        let mut peer = connection.peer;
        for entry in entries {
            let Some(address) = address(entry.trim()) else { break };
            peer = address;
            if !self.trusts(address) {
                break;
            }
        }
        // The last proxy's word: what another proxy, or the client, told that one is not ours to weigh.
        let secure =
            headers.get_all(&FORWARDED_PROTO).iter().next_back().map_or(connection.secure, |scheme| {
                let last = scheme.as_bytes().rsplit(|byte| *byte == b',').next().unwrap_or_default();
                last.trim_ascii().eq_ignore_ascii_case(b"https")
            });
        Origin::new(peer, secure)
    }
}

/// An address as proxies write it: bare, with a port, an IPv6 address in brackets.
fn address(entry: &str) -> Option<IpAddr> {
    let bare = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']')).unwrap_or(entry);
    let address = bare.parse().ok().or_else(|| entry.parse().ok().map(|address: SocketAddr| address.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(peer: &str, fields: &[(&'static str, &str)]) -> (String, bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        let proxies = Proxies::new(&["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()]);
        let origin = proxies.origin(&Origin::new(peer.parse().unwrap(), false), &headers);
        (origin.peer.to_string(), origin.secure)
    }

    #[test]
    fn the_last_address_that_is_no_proxys_is_the_clients() {
        for (peer, said, client) in [
            ("192.0.2.1", "1.1.1.1", "192.0.2.1"),
            ("10.0.0.1", "1.1.1.1", "1.1.1.1"),
            ("10.0.0.1", "6.6.6.6, 1.1.1.1", "1.1.1.1"),
            ("10.0.0.1", "6.6.6.6, 1.1.1.1,10.9.9.9", "1.1.1.1"),
            ("10.0.0.1", "10.1.1.1", "10.1.1.1"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("10.0.0.1", "1.1.1.1, unknown", "10.0.0.1"),
            ("10.0.0.1", "unknown, 10.2.2.2", "10.2.2.2"),
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
        assert_eq!(origin("10.0.0.1", &lines).0, "1.1.1.1", "several lines are one list");
    }

    #[test]
    fn the_last_proxy_says_how_it_was_asked() {
        for (peer, said, secure) in [
            ("192.0.2.1", "https", false),
            ("10.0.0.1", "https", true),
            ("10.0.0.1", "HTTPS", true),
            ("10.0.0.1", "https, http", false),
            ("10.0.0.1", "ws", false),
        ] {
            assert_eq!(origin(peer, &[("x-forwarded-proto", said)]).1, secure, "{peer}: {said}");
        }
    }
}
