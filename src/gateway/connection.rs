//! One connection from a client: hyper over Pingora's stream, requests into the routes.

use std::{net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::Request;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use pingora::{
    apps::ServerApp,
    protocols::{ALPN, Stream},
    server::ShutdownWatch,
};
use tower_layer::Layer;
use tower_service::Service;

use super::{
    hop::Origin,
    log::{Logged, Record},
    routes::Dispatch,
    shutdown::Drain,
};
use crate::{
    clock::Clock,
    policy::Strict,
    tower::{Peer, Portcullis, PortcullisLayer},
};

/// The most fields a head may have.
const MAX_FIELDS: usize = 100;
/// The most bytes a head may have.
const MAX_HEAD: u32 = 64 * 1024;
/// The most streams a client may have open on one HTTP/2 connection.
const MAX_STREAMS: u32 = 128;

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
    service: Portcullis<Dispatch, Strict>,
    speaks: Speaks,
    head_timeout: Duration,
    logs: bool,
    drain: Arc<Drain>,
}

impl Connections {
    pub(super) fn new(
        dispatch: Dispatch,
        clock: Arc<dyn Clock>,
        speaks: Speaks,
        head_timeout: Duration,
        logs: bool,
        drain: Arc<Drain>,
    ) -> Self {
        let strict = Strict::new().relaxing(dispatch.0.relaxed());
        let service = PortcullisLayer::new(strict).clock(clock).layer(dispatch);
        Self { service, speaks, head_timeout, logs, drain }
    }

    fn http(&self, io: &Stream) -> auto::Builder<TokioExecutor> {
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head_timeout)
            .max_headers(MAX_FIELDS)
            .max_buf_size(MAX_HEAD as usize);
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEAD)
            .keep_alive_interval(Some(Duration::from_secs(60)));
        match self.speaks {
            Speaks::Tls if io.selected_alpn_proto() == Some(ALPN::H2) => http.http2_only(),
            Speaks::Tls | Speaks::Http1 => http.http1_only(),
            Speaks::Http1OrH2c => http,
        }
    }
}

/// The address a stream comes from.
fn peer(io: &Stream) -> Option<IpAddr> {
    let digest = io.get_socket_digest()?;
    digest.peer_addr()?.as_inet().map(|address| address.ip().to_canonical())
}

/// Returns when the process is to end.
async fn down(mut shutdown: ShutdownWatch) {
    // Without a sender there is no server any more either.
    let _ = shutdown.wait_for(|down| *down).await;
}

#[async_trait]
impl ServerApp for Connections {
    async fn process_new(self: &Arc<Self>, io: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let _open = self.drain.open();
        let Some(peer) = peer(&io) else {
            tracing::warn!("a connection without an address was turned away");
            return None;
        };
        let origin = Origin { peer, secure: self.speaks == Speaks::Tls };
        let http = self.http(&io);
        let service = hyper::service::service_fn(|mut request: Request<Incoming>| {
            let record = self.logs.then(|| Record::of(&request, peer));
            request.extensions_mut().insert(Peer(peer));
            request.extensions_mut().insert(origin);
            Logged::new(self.service.clone().call(request), record)
        });
        let connection = http.serve_connection(TokioIo::new(io), service);
        tokio::pin!(connection);
        let served = tokio::select! {
            served = &mut connection => served,
            () = down(shutdown.clone()) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, %peer, "a client's connection ended");
        }
        None
    }
}
