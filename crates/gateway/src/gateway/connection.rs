//! Serves a client connection: runs hyper on the stream and passes the requests to the routes.

mod builders;
mod drive;
mod response;
mod settings;

pub(super) use settings::HandlerSettings;

use std::{convert::Infallible, net::IpAddr, pin::Pin, sync::Arc};

use arc_swap::ArcSwap;
use futures_util::TryFutureExt;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::watch,
    time::{Instant, sleep},
};
use tower_service::Service;

use super::{
    GatewayState,
    access_log::{self, AccessLogged, AccessRecord},
    activity::{ConnectionActivity, IdleLimits},
    client_addr::ClientAddr,
    client_body::ClientBody,
    client_stream::ClientStream,
    frame_budget::FrameBudget,
    metrics::{HeadError, Metrics, WorkerMetrics},
    request_id::{self, RequestId},
    response_body::{self, GatewayBody},
    response_headers::ResponseHeaders,
    router::Routes,
    tracked_response::TrackedResponse,
    tunnel::{self, Prefixed, TunnelEnd},
    upstream::{AcceptedUpgrade, InformationalResponses, UpgradedConnection},
    upstreams::Upstreams,
};
use crate::config::Config;
use drive::{DriveEnd, drive, graceful_shutdown};
use portcullis::{problem::DenialCode, tower::ResponseBody};
use response::{close_after_denial, without_content};

type LoggedBody = AccessLogged<TrackedResponse<ResponseBody<GatewayBody>>>;

/// The HTTP/2 connection preface (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The HTTP version of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// HTTP/1.1 or HTTP/2, by the first bytes from the client.
    Auto,
}

/// The properties of a client connection.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionInfo {
    /// The IP address of the peer.
    pub peer: IpAddr,
    /// Whether the connection uses TLS.
    pub secure: bool,
    /// The HTTP version of the connection.
    pub protocol: Protocol,
}

/// Serves client connections with the routes of a gateway, independently of the transport.
#[derive(Clone)]
pub struct ConnectionHandler {
    /// Shared by the handlers of all workers. Connections and requests in progress keep the settings that they have.
    settings: Arc<ArcSwap<HandlerSettings>>,
    metrics: Metrics,
    counts: Arc<WorkerMetrics>,
}

impl ConnectionHandler {
    /// Creates a handler for the routes of a configuration, with the state that [`GatewayState::open`] opened. The names
    /// of upstreams are not resolved, and their health is not checked.
    ///
    /// # Errors
    /// If the certificates for an upstream cannot be used.
    pub fn new(config: &Config, shared: &GatewayState) -> anyhow::Result<Self> {
        let routes = Routes::new(config, shared, &Upstreams::new(config, None)?);
        Ok(Self::with_settings(HandlerSettings::new(config, shared, routes), Metrics::default()))
    }

    /// Creates a handler that adds its counts to these metrics.
    pub(super) fn with_settings(settings: HandlerSettings, metrics: Metrics) -> Self {
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        Self { settings, counts: metrics.worker(), metrics }
    }

    /// Replaces the settings, also for open connections.
    pub(super) fn replace(&self, settings: HandlerSettings) {
        self.settings.store(Arc::new(settings));
    }

    /// Returns the current settings.
    pub(super) fn settings(&self) -> Arc<HandlerSettings> {
        self.settings.load_full()
    }

    /// Creates a copy for a worker, which has counters of its own.
    pub(super) fn for_worker(&self) -> Self {
        Self { counts: self.metrics.worker(), ..self.clone() }
    }

    pub(super) fn counts(&self) -> &WorkerMetrics {
        &self.counts
    }

    /// Serves a connection until the client closes it, or until `down` becomes true and all requests on it are
    /// answered.
    pub async fn serve<I>(&self, io: I, client: ConnectionInfo, down: watch::Receiver<bool>)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let peer = client.peer.to_canonical();
        let settings = self.settings();
        let limits = &settings.limits;
        let connection = ClientAddr::new(peer, client.secure);
        let activity = ConnectionActivity::new(limits.requests_per_connection.get());
        let mut io = ClientStream::new(io, activity.clone(), limits.write_pace());
        let protocol = match client.protocol {
            Protocol::Auto => {
                let mut ending = down.clone();
                let ends = async {
                    // If the sender is dropped, the server has stopped, too.
                    drop(ending.wait_for(|down| *down).await);
                    // The first bytes may be on their way.
                    sleep(activity.close_grace(limits)).await;
                };
                tokio::select! {
                    begun = io.peek_preface(PREFACE) => match begun {
                        Ok(true) => Protocol::Http2,
                        Ok(false) => Protocol::Http1,
                        Err(_) => return,
                    },
                    () = ends => return,
                    () = sleep(limits.head_timeout.duration()) => return,
                }
            }
            protocol => protocol,
        };
        let informational = (settings.routes.informational && protocol == Protocol::Http1)
            .then(InformationalResponses::default);
        if let Some(responses) = &informational {
            io.set_informational(responses.clone());
        }
        let head_timeout = limits.head_timeout.duration();
        let idle = IdleLimits {
            first_head: head_timeout,
            between: limits.idle_timeout.duration(),
            later_head: (protocol == Protocol::Http1).then_some(head_timeout),
        };
        let service = service_fn(|mut request: Request<Incoming>| {
            if let Some(responses) = informational.as_ref().filter(|_| request.version() == Version::HTTP_11)
            {
                request.extensions_mut().insert(responses.clone());
            }
            self.handle_request(request, &connection, &activity)
        });
        let served = if protocol == Protocol::Http2 {
            let io = FrameBudget::new(io, || {
                self.counts.flood();
                tracing::debug!(%peer, "HTTP/2 frame budget exhausted, closing connection");
            });
            let http = builders::http2(limits).serve_connection(TokioIo::new(io), service);
            tokio::pin!(http);
            match drive(limits, http.as_mut(), &activity, idle, down).await {
                Ok(DriveEnd::Idle | DriveEnd::Over) => {
                    graceful_shutdown(limits, http, http2::Connection::graceful_shutdown, &activity).await
                }
                served => served.map(drop),
            }
        } else {
            let mut http = builders::http1(limits).serve_connection(TokioIo::new(io), service);
            let stopping = down.clone();
            let served = match drive(limits, Pin::new(&mut http), &activity, idle, down).await {
                Ok(DriveEnd::Over) => {
                    let http = Pin::new(&mut http);
                    graceful_shutdown(limits, http, http1::Connection::graceful_shutdown, &activity)
                        .await
                        .map(|()| DriveEnd::Over)
                }
                served => served,
            };
            let http1::Parts { io, read_buf, .. } = http.into_parts();
            if let Some(upgraded) = activity.take_upgraded() {
                let client = Prefixed { begin: read_buf, io: io.into_inner() };
                return self.serve_upgraded(client, upgraded, peer, stopping).await;
            }
            let begun = if matches!(served, Ok(DriveEnd::Idle)) { &*read_buf } else { &[] };
            if served.is_ok() {
                self.finish(io.into_inner(), begun, peer).await;
            }
            served.map(drop)
        };
        if let Err(error) = served {
            if let Some(why) = HeadError::from_error(&error) {
                self.reject_head(why, peer, None);
            } else {
                tracing::debug!(%error, %peer, "client connection failed");
            }
        }
    }

    /// Serves a connection that was upgraded to another protocol.
    async fn serve_upgraded(
        &self,
        Prefixed { begin, mut io }: Prefixed<impl AsyncRead + AsyncWrite + Unpin>,
        upgraded: UpgradedConnection,
        peer: IpAddr,
        down: watch::Receiver<bool>,
    ) {
        let (start, protocol) = (Instant::now(), upgraded.protocol.clone());
        let open = self.counts.upgraded();
        let client = Prefixed { begin, io: &mut io };
        let report = tunnel::run(client, upgraded.stream.io, upgraded.limits, down).await;
        drop(open);
        tracing::info!(
            %peer,
            ?protocol,
            end = report.end.name(),
            bytes_from_client = report.from_client,
            bytes_from_upstream = report.from_upstream,
            seconds = start.elapsed().as_secs(),
            "upgraded connection ended"
        );
        if report.end != TunnelEnd::Broken {
            let _ = io.shutdown().await;
        }
    }

    /// Closes an HTTP/1.1 connection. A client that has sent only a part of a request in time gets 408.
    async fn finish(&self, mut io: impl AsyncWrite + Unpin, begun: &[u8], peer: IpAddr) {
        if begun.is_empty() {
            // After a request with `Upgrade`, hyper leaves the shutdown to its caller. The connection is closed whether
            // or not the shutdown succeeds.
            let _ = io.shutdown().await;
        } else {
            let id = RequestId::generate();
            self.reject_head(HeadError::Late, peer, Some(&id));
            response_body::write_request_timeout(io, begun.starts_with(b"HEAD "), id).await;
        }
    }

    /// Counts and logs a head that was rejected before there was a request.
    fn reject_head(&self, why: HeadError, peer: IpAddr, id: Option<&RequestId>) {
        self.counts.unread(why);
        access_log::unread(why, peer, id);
    }

    /// Handles one request of a connection.
    fn handle_request(
        &self,
        request: Request<Incoming>,
        connection: &ClientAddr,
        activity: &ConnectionActivity,
    ) -> impl Future<Output = Result<Response<LoggedBody>, Infallible>> + Send + use<> {
        let running = activity.request();
        let settings = self.settings.load();
        let origin = settings.proxies.client_addr(connection, request.headers());
        let record = settings.logs.then(|| Box::new(AccessRecord::new(&request, origin.peer)));
        let (version, head) = (request.version(), request.method() == Method::HEAD);
        let proxied = connection.peer.is_some_and(|peer| settings.proxies.trusts(peer));
        let id = if proxied { RequestId::of_proxy(request.headers()) } else { None };
        let headers =
            settings.sets_headers.then(|| ResponseHeaders::new(&settings.routes, origin.secure, &request));
        let (mut request, progress) = ClientBody::wrap(request);
        request.extensions_mut().insert(origin);
        if let Some(record) = &record {
            request.extensions_mut().insert(record.exchange());
        }
        let (counts, connection) = (self.counts.clone(), activity.clone());
        let answer = settings.service.clone().call(request).map_ok(move |mut answer| {
            counts.answer(answer.status(), answer.extensions().get::<DenialCode>());
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS
                && let Some(accepted) = answer.extensions_mut().remove::<AcceptedUpgrade>()
                && let Some(upgraded) = accepted.take()
            {
                connection.upgrade(upgraded);
            }
            if request_id::is_own(&answer) {
                id.unwrap_or_else(RequestId::generate).set_header(&mut answer);
            }
            if let Some(headers) = headers {
                headers.set(&mut answer);
            }
            without_content(close_after_denial(answer, version, &progress), head)
        });
        AccessLogged::new(TrackedResponse::new(answer, running).in_frames(version), record)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::gateway::test_support::handler;

    /// For the gateway, a response is finished when it is buffered. A slow client has only begun to read it then.
    #[tokio::test(start_paused = true)]
    async fn last_response_is_not_cut_while_it_is_read() {
        let (near, mut far) = tokio::io::duplex(64);
        let handler = handler("limits.requests_per_connection = 1");
        let (_up, down) = watch::channel(false);
        let client = ConnectionInfo { peer: [127, 0, 0, 1].into(), secure: false, protocol: Protocol::Http1 };
        tokio::spawn(async move { handler.serve(near, client, down).await });
        far.write_all(b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_secs(20)).await;
        let mut answer = String::new();
        far.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 404") && answer.ends_with("\"code\":\"not-found\"}"),
            "{answer}"
        );
    }
}
