//! Opens connections to endpoints.

use std::{
    error::Error,
    fmt,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use hyper::{
    client::conn::{http1, http2},
    rt::Executor,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpStream, UnixStream},
    sync::OwnedSemaphorePermit,
};

use super::{
    endpoint::{Endpoint, EndpointAddress},
    http1_connection::Http1Connection,
    http2_connection::{ConnectionState, Http2Connection},
    request_body::RequestBody,
    stream::UpstreamStream,
    tls::UpstreamTls,
    transport::Transport,
};
use crate::{
    config::{self, UpstreamProtocol},
    gateway::tls::H2,
};

/// The idle time after which the system checks that the peer is still there, and the interval of the checks. A service
/// that vanished without closing its connections is found, even if nobody expects data from it.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// The window of an HTTP/2 stream and of a connection, in bytes.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

/// The defaults of hyper.
const DEFAULT_HEADERS: usize = 100;
const DEFAULT_BUFFER: usize = 400 * 1024;

/// The settings of new connections.
#[derive(Clone)]
pub(super) struct Connector {
    tls: Option<UpstreamTls>,
    head_bytes: u32,
    header_count: usize,
    /// Set if the first request of a connection may be sent again to another endpoint.
    records_first: bool,
}

/// The HTTP versions that a request can be sent with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HttpVersions {
    All,
    /// Only HTTP/1.1, which has upgrades to other protocols.
    Http1,
}

type Http2Driver = http2::Connection<TokioIo<Transport>, RequestBody, ConnectionExecutor>;

/// A new connection.
pub(super) enum Connection {
    Http1(Box<Http1Connection>),
    Http2(Http2Connection),
}

/// The phase of a new connection that failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("connect: {0}")]
    Connect(io::Error),
    #[error("TLS handshake: {0}")]
    Tls(io::Error),
    #[error("HTTP/2 handshake: {}", WithCauses(.0))]
    Http(hyper::Error),
    #[error("HTTP/2 handshake: the connection was closed")]
    Closed,
    #[error("connect timed out")]
    Timeout,
    #[error("a target with HTTP/2 by prior knowledge does not support upgrades")]
    Upgrade,
}

/// The text of an error and of its causes.
pub(super) struct WithCauses<'a>(pub(super) &'a dyn Error);

impl fmt::Display for WithCauses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl Connector {
    pub(super) fn new(upstream: &config::Upstream, tls: Option<UpstreamTls>, records_first: bool) -> Self {
        Self {
            tls,
            head_bytes: upstream.response_head_bytes.get(),
            header_count: upstream.response_header_count.get().into(),
            records_first,
        }
    }

    /// Opens a connection. The permit counts it until it is closed.
    pub(super) async fn connect(
        &self,
        endpoint: &Arc<Endpoint>,
        permit: Option<OwnedSemaphorePermit>,
        http: HttpVersions,
    ) -> Result<Connection, ConnectError> {
        let (transport, http2) = self.open(endpoint, http).await?;
        if http2 {
            self.http2(transport, endpoint.clone(), permit).await.map(Connection::Http2)
        } else {
            self.http1(transport, endpoint.clone(), permit).await.map(Box::new).map(Connection::Http1)
        }
    }

    /// Opens a stream. Returns `true`, too, if it is for HTTP/2.
    async fn open(&self, endpoint: &Endpoint, http: HttpVersions) -> Result<(Transport, bool), ConnectError> {
        let prior_knowledge = endpoint.protocol == UpstreamProtocol::H2c;
        if prior_knowledge && http == HttpVersions::Http1 {
            return Err(ConnectError::Upgrade);
        }
        let socket = match &endpoint.address {
            EndpointAddress::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(ConnectError::Connect)?;
                return Ok((Transport::Unix(stream), prior_knowledge));
            }
            EndpointAddress::Socket(address) => TcpStream::connect(address).await,
        };
        let stream = socket.and_then(configure).map_err(ConnectError::Connect)?;
        let (Some(tls), Some(name)) = (&self.tls, &endpoint.server_name) else {
            return Ok((Transport::Tcp(stream), prior_knowledge));
        };
        let tls = if http == HttpVersions::Http1 { &tls.http1 } else { &tls.all };
        let stream = tls.connect(name.clone(), stream).await.map_err(ConnectError::Tls)?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(H2);
        Ok((Transport::Tls(Box::new(stream)), http2))
    }

    async fn http1(
        &self,
        transport: Transport,
        endpoint: Arc<Endpoint>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Http1Connection, ConnectError> {
        let (stream, exchange) = UpstreamStream::new(transport, self.records_first);
        let mut http = http1::Builder::new();
        let head_bytes = self.head_bytes as usize;
        http.max_header_size(head_bytes);
        if head_bytes > DEFAULT_BUFFER {
            http.max_buf_size(head_bytes);
        }
        // hyper allocates the header table on the heap when `max_headers` is set, even to its default.
        if self.header_count != DEFAULT_HEADERS {
            http.max_headers(self.header_count);
        }
        let (sender, connection) = http.handshake(TokioIo::new(stream)).await.map_err(ConnectError::Http)?;
        Ok(Http1Connection::new(sender, connection, exchange, endpoint, permit))
    }

    async fn http2(
        &self,
        transport: Transport,
        endpoint: Arc<Endpoint>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Http2Connection, ConnectError> {
        let executor = ConnectionExecutor::default();
        let progress = executor.progress.clone();
        let mut http = http2::Builder::new(executor);
        http.timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(self.head_bytes)
            // No request is sent before the settings of the server are known.
            .initial_max_send_streams(0)
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE);
        let (sender, mut connection) =
            http.handshake(TokioIo::new(transport)).await.map_err(ConnectError::Http)?;
        poll_fn(|cx| {
            progress.register(cx.waker());
            poll_settings(&mut connection, cx)
        })
        .await?;
        let state = ConnectionState::new(permit);
        state.set_peer_streams(connection.current_max_send_streams());
        let task_state = state.clone();
        tokio::spawn(poll_fn(move |cx| {
            let end = Pin::new(&mut connection).poll(cx);
            task_state.set_peer_streams(connection.current_max_send_streams());
            if let Poll::Ready(Err(error)) = &end {
                tracing::debug!(%error, "upstream connection failed");
            }
            end.map(drop)
        }));
        Ok(Http2Connection::new(sender, state, endpoint))
    }
}

/// Runs the tasks of an HTTP/2 connection, which read the settings of the server, and wakes the code that waits for them.
#[derive(Debug, Clone, Default)]
struct ConnectionExecutor {
    progress: Arc<AtomicWaker>,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for ConnectionExecutor {
    fn execute(&self, task: F) {
        let progress = self.progress.clone();
        tokio::spawn(async move {
            let mut task = pin!(task);
            poll_fn(|cx| {
                let end = task.as_mut().poll(cx);
                progress.wake();
                end
            })
            .await;
        });
    }
}

/// Waits for the settings of the server, which end the handshake. Until then, it is unknown how many requests the server
/// accepts at a time: it would refuse some of those that arrive together. A server that rejects the client's certificate
/// closes the connection now, because a TLS 1.3 handshake ends before the server has received the certificate.
fn poll_settings(connection: &mut Http2Driver, cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
    match Pin::new(&mut *connection).poll(cx) {
        Poll::Ready(Ok(())) => Poll::Ready(Err(ConnectError::Closed)),
        Poll::Ready(Err(error)) => Poll::Ready(Err(ConnectError::Http(error))),
        Poll::Pending if connection.current_max_send_streams() > 0 => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    }
}

fn configure(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    let keep_alive = TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE);
    SockRef::from(&stream).set_tcp_keepalive(&keep_alive)?;
    Ok(stream)
}
