//! One connection from a client: hyper over a stream, requests into the routes.

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
    response_body::{self, GatewayBody},
    backend::Dispatch,
    client_body::{BodyProgress, ClientBody, Close},
    frame_budget::FrameBudget,
    access_log::{self, Logged, AccessRecord},
    metrics::{WorkerMetrics, Metrics, HeadError},
    client_addr::{ClientAddr, TrustedProxies},
    request_id::{self, RequestId},
    routes::Routes,
    client_stream::ClientStream,
    h2_streams::StreamExecutor,
    activity::ConnectionActivity,
};
use crate::{
    config::{Config, Limits},
    problem::DenialCode,
    tower::{VerifyContent, Portcullis, PortcullisLayer, ResponseBody},
};

type LoggedBody = Logged<ResponseBody<GatewayBody>>;

/// How an HTTP/2 connection begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is read beyond the largest head that is taken, to answer which part of it is too large: more than
/// the longest target that hyper tells from a large head (64 KiB).
const BEYOND: u32 = 80 * 1024;

/// The fields of a head that hyper takes if it is told nothing.
const FIELDS: u32 = 100;

/// Which protocol is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Whichever the client begins with.
    Auto,
}

/// Why a connection is not driven any more.
enum DriveEnd {
    /// It is closed.
    Closed,
    /// It has been idle for too long.
    Idle,
    /// It is to take no further requests: it is old, has had its last one, or the server goes down.
    Over,
}

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionInfo {
    /// Its address.
    pub peer: IpAddr,
    /// Whether TLS is spoken on it.
    pub secure: bool,
    /// Which protocol is.
    pub protocol: Protocol,
}

/// All that a gateway does with a connection, wherever that comes from.
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
        .clock(shared.clock.clone())
        .peer_from(ClientAddr::peer_of)
        // Nothing before this layer changes a target.
        .original_from(|_| None)
        .layer(Dispatch(routes))
}

impl ConnectionHandler {
    /// The routes of a configuration, over what [`Shared::open`] opened.
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

    /// The same for one surface instead of the routes; what is counted is counted together.
    pub(super) fn with_surface(&self, surface: Router, config: &Config, shared: &GatewayState) -> Self {
        Self { service: service(Routes::only(surface, config), shared), ..self.clone() }
    }

    /// One service instead of the routes, which is neither counted nor logged.
    pub(super) fn uncounted(&self, router: Router, config: &Config, shared: &GatewayState) -> Self {
        let metrics = Metrics::default();
        Self { logs: false, counts: metrics.worker(), metrics, ..self.with_surface(router, config, shared) }
    }

    /// What all workers have counted.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The same for a worker, which counts for itself.
    pub(super) fn for_worker(&self) -> Self {
        Self { counts: self.metrics.worker(), ..self.clone() }
    }

    pub(super) fn counts(&self) -> &WorkerMetrics {
        &self.counts
    }

    /// Serves a connection until the client ends it, or `down` becomes true and the requests on it are
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
                    // Without a sender there is no server any more either.
                    drop(ending.wait_for(|down| *down).await);
                    // What it begins with may be on its way.
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
                tracing::debug!(%peer, "a client sends too many frames that carry nothing");
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
                tracing::debug!(%error, %peer, "a client's connection ended");
            }
        }
    }

    /// Ends an HTTP/1.1 connection: who has begun a request and not come to its end in time is told.
    async fn finish(&self, mut io: impl AsyncWrite + Unpin, begun: &[u8], peer: IpAddr) {
        if begun.is_empty() {
            // After a request with `Upgrade`, hyper leaves this to us. Whether or not it can be done, the
            // connection is over.
            let _ = io.shutdown().await;
        } else {
            let id = RequestId::generate();
            self.reject_head(HeadError::Late, peer, Some(&id));
            response_body::write_request_timeout(io, begun.starts_with(b"HEAD "), id).await;
        }
    }

    /// A head was refused before there was a request.
    fn reject_head(&self, why: HeadError, peer: IpAddr, id: Option<&RequestId>) {
        self.counts.unread(why);
        access_log::unread(why, peer, id);
    }

    /// One request of a connection.
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

    /// Drives a connection until it, or its use, is over.
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
                // Without a sender there is no server any more either.
                _ = down.wait_for(|down| *down) => DriveEnd::Over,
            }
        };
        // So they are looked at when one of them has come, and not each time the connection moves.
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

    /// Takes no further requests. Those that run may finish, and their answers be taken; who has none has
    /// said its last word.
    async fn graceful_shutdown<C: Future<Output = hyper::Result<()>>>(
        &self,
        mut connection: Pin<&mut C>,
        stop: fn(Pin<&mut C>),
        usage: &ConnectionActivity,
    ) -> hyper::Result<()> {
        if usage.is_fresh() {
            // Its first request may be on its way; hyper would close the connection at once.
            tokio::select! {
                served = &mut connection => return served,
                () = sleep(usage.close_grace(&self.limits)) => {}
            }
        }
        stop(connection.as_mut());
        tokio::select! {
            // What it says last must go out, even when nothing is to be waited for.
            biased;
            served = &mut connection => served,
            () = usage.drained(usage.close_grace(&self.limits)) => Ok(()),
        }
    }

    fn http1(&self) -> http1::Builder {
        let limits = &self.limits;
        let mut http = http1::Builder::new();
        // How long a head takes is looked after with how long nothing comes: one timer for a connection.
        http.header_read_timeout(None).max_buf_size(limits.head_bytes.get().saturating_add(BEYOND) as usize);
        // Told its default, hyper would make room for the fields of each request on the heap.
        if limits.head_fields.get() != FIELDS {
            http.max_headers(limits.head_fields.get() as usize);
        }
        http
    }

    fn http2(&self) -> http2::Builder<StreamExecutor> {
        let limits = &self.limits;
        let mut http = http2::Builder::new(StreamExecutor { pace: limits.write_pace() });
        http.timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams.get())
            .max_header_list_size(limits.head_bytes.get().saturating_add(BEYOND))
            .keep_alive_interval(Some(Duration::from_secs(60)));
        http
    }
}

/// Decides about the unread rest of the request. A response that leaves much of it unread, or that refuses a request
/// which can be read in two ways, is the last one on its HTTP/1.1 connection: nothing behind that request's head is ever
/// taken for another request.
fn close_after_denial<B>(mut response: Response<B>, version: Version, progress: &BodyProgress) -> Response<B> {
    let close = match response.status() {
        _ if response.extensions().get::<DenialCode>().is_none() => Close::Unneeded,
        StatusCode::BAD_REQUEST | StatusCode::REQUEST_TIMEOUT => Close::Always,
        StatusCode::PAYLOAD_TOO_LARGE => Close::UnlessSmall,
        _ => Close::Unneeded,
    };
    // HTTP/2 frames its streams: one cannot run into another.
    if progress.respond(close) && version < Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Removes the content of a response that must not have any: one to `HEAD` (RFC 9110, section 9.3.2; hyper removes it on
/// HTTP/1.1 only), and one whose status excludes it (section 6.4.1).
fn without_content<B: Body<Data = Bytes>>(
    mut response: Response<ResponseBody<B>>,
    head: bool,
) -> Response<ResponseBody<B>> {
    let status = response.status();
    // Not even an empty one is announced (section 8.6).
    if status == StatusCode::NO_CONTENT
        || status.is_informational()
        // Unlike that of a 304, the length of a 205 describes content that does not follow.
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
    use crate::{
        model::{Pepper, Peppers, SealKey, Sealer},
        clock::SystemClock,
        directory::Directory,
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

    /// For the gateway an answer is through when it lies in a buffer; for a slow client it has just begun.
    #[tokio::test(start_paused = true)]
    async fn the_last_answer_on_a_connection_is_not_cut_while_it_is_taken() {
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
