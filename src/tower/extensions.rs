//! The extensions of requests and responses that layers and servers exchange.

use std::net::IpAddr;

use http::Extensions;

use crate::Denial;

/// Request extension with the client's address, which the acceptor of the connection sets. See
/// [`PortcullisLayer::peer_from`](super::PortcullisLayer::peer_from) for servers that set an extension of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddr(pub IpAddr);

impl PeerAddr {
    /// Returns the address among a request's extensions, if it was set.
    #[must_use]
    pub fn find(extensions: &Extensions) -> Option<IpAddr> {
        extensions.get::<Self>().map(|peer| peer.0)
    }
}

/// Response extension of denials, for logs and metrics in outer layers. Outer layers of policies refund their permits,
/// unless a handler denied the request: the service has worked for it.
///
/// ```
/// use http::Response;
/// use portcullis::tower::Denied;
///
/// fn log<B>(response: &Response<B>) {
///     if let Some(denied) = response.extensions().get::<Denied>() {
///         println!("{}: {}", denied.denial().code(), denied.denial().detail());
///     }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Denied {
    denial: Denial,
    by_handler: bool,
}

impl Denied {
    pub(super) fn new(denial: Denial) -> Self {
        Self { denial, by_handler: false }
    }

    pub(super) fn set_by_handler(&mut self) {
        self.by_handler = true;
    }

    /// Returns `true` if a handler denied the request, and not a policy. Such a request counts towards the limits.
    #[must_use]
    pub fn is_by_handler(&self) -> bool {
        self.by_handler
    }

    /// Returns the denial.
    #[must_use]
    pub fn denial(&self) -> &Denial {
        &self.denial
    }
}

/// Response extension of a denial by a handler, which the innermost layer renders.
#[derive(Debug, Clone)]
pub(super) struct Unrendered(pub(super) Denial);

/// Response extension for responses that no service produced, such as a proxy's 502. The layers that admitted the
/// request refund their permits, so that the request counts towards no limit.
///
/// ```
/// use http::{Response, StatusCode};
/// use portcullis::tower::Unserved;
///
/// fn unavailable() -> Response<String> {
///     let mut response = Response::new(String::new());
///     *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
///     response.extensions_mut().insert(Unserved);
///     response
/// }
/// # assert!(unavailable().extensions().get::<Unserved>().is_some());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unserved;
