//! The client address of a request: the peer of the connection, or the address that a trusted proxy reports.

mod trusted_proxies;

pub(super) use trusted_proxies::{TrustedProxies, canonical};

use std::net::IpAddr;

use http::{Extensions, HeaderValue};

/// The client address of a request, for policies, the log and upstreams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientAddr {
    /// The address of the client. `None` if a trusted proxy did not report it, or not in a readable form.
    pub(super) peer: Option<IpAddr>,
    pub(super) secure: bool,
    /// The address as a header value, formatted once for each connection instead of for each request.
    forwarded_for: HeaderValue,
}

impl ClientAddr {
    pub(super) fn new(peer: IpAddr, secure: bool) -> Self {
        let peer = peer.to_canonical();
        let written = HeaderValue::try_from(peer.to_string());
        Self { peer: Some(peer), secure, forwarded_for: written.expect("an address is printable ASCII") }
    }

    /// Returns the address of an unknown client.
    pub(super) fn unknown(secure: bool) -> Self {
        Self { peer: None, secure, forwarded_for: HeaderValue::from_static("unknown") }
    }

    /// Returns the client's address, for layers that look it up in the extensions of a request.
    pub(super) fn peer_of(extensions: &Extensions) -> Option<IpAddr> {
        extensions.get::<Self>().and_then(|origin| origin.peer)
    }

    /// Returns the value of `X-Forwarded-For`.
    pub(super) fn written(&self) -> HeaderValue {
        self.forwarded_for.clone()
    }
}
