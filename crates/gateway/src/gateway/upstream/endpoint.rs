//! An address that requests are sent to, and its health.

mod health;

pub(super) use health::{EjectionRules, Health, Monotonic};

use std::{
    fmt,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use rustls_pki_types::ServerName;

use crate::config::UpstreamProtocol;

/// The network address of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum EndpointAddress {
    Socket(SocketAddr),
    Unix(Arc<Path>),
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One address of a target: a name may have several.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) address: EndpointAddress,
    pub(super) protocol: UpstreamProtocol,
    /// The name for SNI and the verification of the certificate. `None` without TLS.
    pub(super) server_name: Option<ServerName<'static>>,
    /// The host and port, for requests that have no host.
    pub(super) authority: Arc<str>,
    /// The index of the target in the configuration.
    pub(super) target: usize,
    /// Set if this address is used only when the other addresses of the target fail.
    pub(super) is_fallback: bool,
    pub(super) weight: u16,
    pub(super) health: Health,
    in_flight: AtomicUsize,
    /// Set if the last connection used HTTP/2. With TLS, also until there is one: otherwise the first requests would
    /// each open a connection that one of them could share with all others.
    uses_http2: AtomicBool,
}

impl Endpoint {
    /// Creates an endpoint without a history.
    pub(super) fn new(address: EndpointAddress, target: &EndpointTarget, health: Health) -> Self {
        Self {
            address,
            protocol: target.protocol,
            server_name: target.server_name.clone(),
            authority: target.authority.clone(),
            target: target.index,
            is_fallback: target.is_fallback,
            weight: target.weight,
            health,
            in_flight: AtomicUsize::new(0),
            uses_http2: AtomicBool::new(target.protocol != UpstreamProtocol::Http),
        }
    }

    /// Returns `true` if the connections use HTTP/2, as far as known.
    pub(super) fn uses_http2(&self) -> bool {
        self.uses_http2.load(Ordering::Relaxed)
    }

    /// Records the protocol that a new connection uses.
    pub(super) fn set_uses_http2(&self, http2: bool) {
        self.uses_http2.store(http2, Ordering::Relaxed);
    }

    /// Returns the number of requests in progress. They are counted only if the balancing needs it.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address.to_string();
        if *self.authority == *address || matches!(self.address, EndpointAddress::Unix(_)) {
            f.write_str(&address)
        } else {
            write!(f, "{}, {address}", self.authority)
        }
    }
}

/// The properties that an endpoint has from its target.
#[derive(Debug, Clone)]
pub(super) struct EndpointTarget {
    pub(super) index: usize,
    pub(super) protocol: UpstreamProtocol,
    pub(super) server_name: Option<ServerName<'static>>,
    pub(super) authority: Arc<str>,
    pub(super) is_fallback: bool,
    pub(super) weight: u16,
}

/// A request in progress, which is counted until the guard is dropped.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Endpoint>);

impl InFlight {
    pub(super) fn new(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(endpoint.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
