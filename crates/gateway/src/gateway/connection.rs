//! Serves a client connection: runs hyper on the stream and passes the requests to the routes.

use std::{
    convert::Infallible, future::poll_fn, net::IpAddr, pin::Pin, sync::Arc, task::Poll, time::Duration,
};

use axum::Router;
use bytes::Bytes;
use futures_util::{StreamExt, TryFutureExt, stream::FuturesUnordered};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::watch,
    time::sleep,
};
use tower_layer::Layer;
use tower_service::Service;

use super::{
    GatewayState,
    access_log::{self, AccessRecord, Logged},
    activity::ConnectionActivity,
    backend::Dispatch,
    client_addr::{ClientAddr, TrustedProxies},
    client_body::{BodyProgress, ClientBody, Close},
    client_stream::ClientStream,
    frame_budget::FrameBudget,
    h2_streams::StreamExecutor,
    metrics::{HeadError, Metrics, WorkerMetrics},
    request_id::{self, RequestId},
    response_body::{self, GatewayBody},
    route_renderer::RouteRenderer,
    routes::Routes,
};
use crate::config::{Config, Limits};
use portcullis::{
    problem::DenialCode,
    tower::{Portcullis, PortcullisLayer, ResponseBody, VerifyContent},
};

type LoggedBody = Logged<ResponseBody<GatewayBody>>;

/// The HTTP/2 connection preface (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The number of bytes that are read beyond the largest allowed head, so that the response can tell which part of the
/// head is too large. More than the longest target (64 KiB) for which hyper reports a long target instead of a large
/// head.
const BEYOND: u32 = 80 * 1024;

/// The maximum number of headers that hyper accepts by default.
const FIELDS: u32 = 100;

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

/// Reasons to stop driving a connection.
enum DriveEnd {
    /// The connection is closed.
    Closed,
    /// The connection has been idle for too long.
    Idle,
    /// The connection accepts no further requests: it is too old, has had its last request, or the server shuts down.
    Over,
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
    service: Portcullis<Dispatch, Arc<Routes>, VerifyContent>,
    proxies: TrustedProxies,
    limits: Arc<Limits>,
    logs: bool,
    metrics: Metrics,
    counts: Arc<WorkerMetrics>,
}

fn service(routes: Routes, shared: &GatewayState) -> Portcullis<Dispatch, Arc<Routes>, VerifyContent> {
    let routes = Arc::new(routes);
    let layer = PortcullisLayer::new(routes.clone()).verify_content();
    layer
        .denial_renderer(RouteRenderer(routes.clone()))
        .clock(shared.clock.clone())
        .peer_from(ClientAddr::peer_of)
        // No layer before this one changes the target.
        .original_from(|_| None)
        .layer(Dispatch(routes))
}

impl ConnectionHandler {
    /// Creates a handler for the routes of a configuration, with the state that [`GatewayState::open`] opened.
    #[must_use]
    pub fn new(config: &Config, shared: &GatewayState) -> Self {
        let metrics = Metrics::default();
        Self {
            service: service(Routes::new(config, shared), shared),
            proxies: TrustedProxies::new(&config.server.trusted_proxies),
            limits: Arc::new(config.limits.clone()),
            logs: config.access_log.enabled,
            counts: metrics.worker(),
            metrics,
        }
    }

    /// Creates a handler for one surface instead of the routes. It shares the metrics of this handler.
    pub(super) fn with_surface(&self, surface: Router, config: &Config, shared: &GatewayState) -> Self {
        Self { service: service(Routes::only(surface, config), shared), ..self.clone() }
    }

    /// Creates a handler for one service instead of the routes. Its requests are neither counted nor logged.
    pub(super) fn uncounted(&self, router: Router, config: &Config, shared: &GatewayState) -> Self {
        let metrics = Metrics::default();
        Self { logs: false, counts: metrics.worker(), metrics, ..self.with_surface(router, config, shared) }
    }

    /// Returns the metrics of all workers.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
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
        let connection = ClientAddr::new(peer, client.secure);
        let usage = ConnectionActivity::new(self.limits.requests_per_connection.get());
        let mut io = ClientStream::new(io, usage.clone(), self.limits.write_pace());
        let protocol = match client.protocol {
            Protocol::Auto => {
                let mut ending = down.clone();
                let ends = async {
                    // If the sender is dropped, the server has stopped, too.
                    drop(ending.wait_for(|down| *down).await);
                    // The first bytes may be on their way.
                    sleep(usage.close_grace(&self.limits)).await;
                };
                tokio::select! {
                    begun = io.peek_preface(PREFACE) => match begun {
                        Ok(true) => Protocol::Http2,
                        Ok(false) => Protocol::Http1,
                        Err(_) => return,
                    },
                    () = ends => return,
                    () = sleep(self.limits.head_timeout.duration()) => return,
                }
            }
            protocol => protocol,
        };
        let service = service_fn(|request| self.handle_request(request, &connection, &usage));
        let served = if protocol == Protocol::Http2 {
            let io = FrameBudget::new(io, || {
                self.counts.flood();
                tracing::debug!(%peer, "HTTP/2 frame budget exhausted, closing connection");
            });
            let http = self.http2().serve_connection(TokioIo::new(io), service);
            tokio::pin!(http);
            let idle = self.limits.idle_timeout.duration();
            match self.drive(http.as_mut(), &usage, idle, down).await {
                Ok(DriveEnd::Idle | DriveEnd::Over) => {
                    self.graceful_shutdown(http, http2::Connection::graceful_shutdown, &usage).await
                }
                served => served.map(drop),
            }
        } else {
            let mut http = self.http1().serve_connection(TokioIo::new(io), service);
            let idle = self.limits.head_timeout.duration();
            let served = match self.drive(Pin::new(&mut http), &usage, idle, down).await {
                Ok(DriveEnd::Over) => {
                    let http = Pin::new(&mut http);
                    self.graceful_shutdown(http, http1::Connection::graceful_shutdown, &usage)
                        .await
                        .map(|()| DriveEnd::Over)
                }
                served => served,
            };
            let http1::Parts { io, read_buf, .. } = http.into_parts();
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
        usage: &ConnectionActivity,
    ) -> impl Future<Output = Result<Response<LoggedBody>, Infallible>> + Send + use<> {
        let running = usage.request();
        let origin = self.proxies.client_addr(connection, request.headers());
        let record = self.logs.then(|| AccessRecord::new(&request, origin.peer));
        let (version, head) = (request.version(), request.method() == Method::HEAD);
        let proxied = connection.peer.is_some_and(|peer| self.proxies.trusts(peer));
        let id = if proxied { RequestId::of_proxy(request.headers()) } else { None };
        let (mut request, progress) = ClientBody::wrap(request);
        request.extensions_mut().insert(origin);
        let counts = self.counts.clone();
        let answer = self.service.clone().call(request).map_ok(move |mut answer| {
            counts.answer(answer.status(), answer.extensions().get::<DenialCode>());
            if request_id::is_own(&answer) {
                id.unwrap_or_else(RequestId::generate).put(&mut answer);
            }
            without_content(close_after_denial(answer, version, &progress), head)
        });
        Logged::new(answer, record, running).in_frames(version)
    }

    /// Drives a connection until it is closed, idle or exhausted, or the server shuts down.
    async fn drive<C: Future<Output = hyper::Result<()>>>(
        &self,
        mut connection: Pin<&mut C>,
        usage: &ConnectionActivity,
        idle: Duration,
        mut down: watch::Receiver<bool>,
    ) -> hyper::Result<DriveEnd> {
        let ends = async {
            tokio::select! {
                () = sleep(self.limits.connection_age.duration()) => DriveEnd::Over,
                () = usage.idle(self.limits.head_timeout.duration(), idle) => DriveEnd::Idle,
                // If the sender is dropped, the server has stopped, too.
                _ = down.wait_for(|down| *down) => DriveEnd::Over,
            }
        };
        // The future is polled only when one of its events has occurred, and not each time the connection makes
        // progress.
        let mut ends: FuturesUnordered<_> = [ends].into_iter().collect();
        poll_fn(|cx| {
            if let Poll::Ready(served) = connection.as_mut().poll(cx) {
                return Poll::Ready(served.map(|()| DriveEnd::Closed));
            }
            if usage.requests_exhausted() {
                return Poll::Ready(Ok(DriveEnd::Over));
            }
            ends.poll_next_unpin(cx).map(|end| Ok(end.unwrap_or(DriveEnd::Over)))
        })
        .await
    }

    /// Shuts a connection down gracefully: open requests may finish and their responses may be read, but no further
    /// requests are accepted.
    async fn graceful_shutdown<C: Future<Output = hyper::Result<()>>>(
        &self,
        mut connection: Pin<&mut C>,
        stop: fn(Pin<&mut C>),
        usage: &ConnectionActivity,
    ) -> hyper::Result<()> {
        if usage.is_fresh() {
            // The first request may be on its way. hyper would close the connection at once.
            tokio::select! {
                served = &mut connection => return served,
                () = sleep(usage.close_grace(&self.limits)) => {}
            }
        }
        stop(connection.as_mut());
        tokio::select! {
            // The last frames must be sent, even if there is nothing to wait for.
            biased;
            served = &mut connection => served,
            () = usage.drained(usage.close_grace(&self.limits)) => Ok(()),
        }
    }

    fn http1(&self) -> http1::Builder {
        let limits = &self.limits;
        let mut http = http1::Builder::new();
        // The timeout of a head is checked together with the idle timeout, to use one timer for each connection.
        http.header_read_timeout(None).max_buf_size(limits.head_bytes.get().saturating_add(BEYOND) as usize);
        // hyper heap-allocates the header table when `max_headers` is set, even to its default.
        if limits.header_count.get() != FIELDS {
            http.max_headers(limits.header_count.get() as usize);
        }
        http
    }

    fn http2(&self) -> http2::Builder<StreamExecutor> {
        let limits = &self.limits;
        let mut http = http2::Builder::new(StreamExecutor { pace: limits.write_pace() });
        http.timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams_per_connection.get())
            .max_header_list_size(limits.head_bytes.get().saturating_add(BEYOND))
            .keep_alive_interval(Some(Duration::from_secs(60)));
        http
    }
}

/// Decides what happens to the unread rest of the request. An HTTP/1.1 connection is closed after a response that
/// leaves much of the request unread, or that denies an ambiguous request: no bytes after the head of such a request
/// are parsed as another request.
fn close_after_denial<B>(
    mut response: Response<B>,
    version: Version,
    progress: &BodyProgress,
) -> Response<B> {
    let close = match response.status() {
        _ if response.extensions().get::<DenialCode>().is_none() => Close::Unneeded,
        StatusCode::BAD_REQUEST | StatusCode::REQUEST_TIMEOUT => Close::Always,
        StatusCode::PAYLOAD_TOO_LARGE => Close::UnlessSmall,
        _ => Close::Unneeded,
    };
    // HTTP/2 frames each stream separately, so unread data cannot be parsed as another request.
    if progress.respond(close) && version < Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Removes the body of a response that must not have one: a response to `HEAD` (RFC 9110, section 9.3.2; hyper removes
/// it on HTTP/1.1 only), or a response whose status forbids it (section 6.4.1).
fn without_content<B: Body<Data = Bytes>>(
    mut response: Response<ResponseBody<B>>,
    head: bool,
) -> Response<ResponseBody<B>> {
    let status = response.status();
    // Such responses must not have a `Content-Length`, not even 0 (section 8.6).
    if status == StatusCode::NO_CONTENT
        || status.is_informational()
        // The `Content-Length` of a 205 describes a body that does not follow, unlike that of a 304.
        || status == StatusCode::RESET_CONTENT && !head
    {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    let excluded =
        matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED);
    if !(head || excluded) || response.body().is_end_stream() {
        return response;
    }
    if head
        && !response.headers().contains_key(header::CONTENT_LENGTH)
        && let Some(length) = response.body().size_hint().exact()
    {
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    response.map(|_| ResponseBody::refusal(Bytes::new()))
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use portcullis::{
        clock::SystemClock,
        directory::Directory,
        model::{Pepper, Peppers, SealKey, Sealer},
        registry::memory::Memory,
    };

    pub(in crate::gateway) fn front(text: &str) -> ConnectionHandler {
        let clock = Arc::new(SystemClock::new());
        let shared = GatewayState {
            registry: Arc::new(Memory::new(clock.clone())),
            directory: Arc::new(Directory::new(Peppers::new(Pepper::new(1, &[1; 32])))),
            sealer: Arc::new(Sealer::new(SealKey::new(1, &[1; 32]))),
            clock,
        };
        let head = "store.path = \"x\"\nsecrets.file = \"x\"\nlisteners = [{ address = \"127.0.0.1:0\" }]\n";
        ConnectionHandler::new(&Config::parse(&format!("{head}{text}")).unwrap(), &shared)
    }

    /// For the gateway, a response is finished when it is buffered. A slow client has only begun to read it then.
    #[tokio::test(start_paused = true)]
    async fn last_response_is_not_cut_while_it_is_read() {
        let (near, mut far) = tokio::io::duplex(64);
        let front = front("limits.requests_per_connection = 1");
        let (_up, down) = watch::channel(false);
        let client = ConnectionInfo { peer: [127, 0, 0, 1].into(), secure: false, protocol: Protocol::Http1 };
        tokio::spawn(async move { front.serve(near, client, down).await });
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
