//! A listener of Pingora's server, whose connections go to the front.

use std::{net::IpAddr, sync::Arc};

use async_trait::async_trait;
use pingora::{
    apps::ServerApp,
    protocols::{ALPN, Stream},
    server::ShutdownWatch,
};

use super::{
    connection::{Client, Front, Protocol},
    doors::Doors,
};

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    /// TLS, and then what ALPN agreed on.
    Tls,
    /// HTTP/1.1 in the clear.
    Http1,
    /// HTTP/1.1 or, by prior knowledge, HTTP/2 in the clear.
    Http1OrH2c,
}

/// Serves the connections of one listener.
pub(super) struct Connections {
    pub(super) front: Front,
    pub(super) speaks: Speaks,
    pub(super) doors: Arc<Doors>,
}

impl Connections {
    fn protocol(&self, io: &Stream) -> Protocol {
        match self.speaks {
            Speaks::Tls if io.selected_alpn_proto() == Some(ALPN::H2) => Protocol::Http2,
            Speaks::Tls | Speaks::Http1 => Protocol::Http1,
            Speaks::Http1OrH2c => Protocol::Either,
        }
    }
}

/// The address a stream comes from.
fn peer(io: &Stream) -> Option<IpAddr> {
    let digest = io.get_socket_digest()?;
    digest.peer_addr()?.as_inet().map(std::net::SocketAddr::ip)
}

/// Returns when the process is to end.
async fn down(mut shutdown: ShutdownWatch) {
    // Without a sender there is no server any more either.
    let _ = shutdown.wait_for(|down| *down).await;
}

#[async_trait]
impl ServerApp for Connections {
    async fn process_new(self: &Arc<Self>, io: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let Some(peer) = peer(&io) else {
            tracing::warn!("a connection without an address was turned away");
            return None;
        };
        let Some(_seat) = self.doors.enter(peer) else {
            tracing::warn!(%peer, open = self.doors.open(), "a connection beyond the limits was turned away");
            return None;
        };
        let client = Client { peer, secure: self.speaks == Speaks::Tls, protocol: self.protocol(&io) };
        self.front.serve(io, client, down(shutdown.clone())).await;
        None
    }
}
