//! One connection from a client: hyper over a stream, requests into the routes.

use std::{net::IpAddr, sync::Arc, time::Duration};

use futures_util::TryFutureExt;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tower_layer::Layer;
use tower_service::Service;

use super::{
    Shared,
    hop::Origin,
    log::{self, Logged, Record},
    routes::{Dispatch, Routes},
    stall::Stall,
    usage::Usage,
};
use crate::{
    config::{Config, Limits},
    policy::Strict,
    problem::Code,
    tower::{Peer, Portcullis, PortcullisLayer, Refusal},
};

/// The smallest read buffer hyper takes.
const LEAST_BUFFER: usize = 8 * 1024;

/// Which protocol is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Whichever the client begins with.
    Either,
}

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// Its address.
    pub peer: IpAddr,
    /// Whether TLS is spoken on it.
    pub secure: bool,
    /// Which protocol is.
    pub protocol: Protocol,
}

/// All that a gateway does with a connection, wherever that comes from.
#[derive(Clone)]
pub struct Front {
    service: Portcullis<Dispatch, Strict>,
    limits: Arc<Limits>,
    logs: bool,
}

impl Front {
    /// The routes of a configuration, over what [`Shared::open`] opened.
    #[must_use]
    pub fn new(config: &Config, shared: &Shared) -> Self {
        let routes = Routes::new(config, shared);
        let strict = Strict::new().relaxing(routes.relaxed());
        let layer = PortcullisLayer::new(strict).clock(shared.clock.clone());
        Self {
            service: layer.layer(Dispatch(Arc::new(routes))),
            limits: Arc::new(config.limits.clone()),
            logs: config.access_log.enabled,
        }
    }

    /// Serves a connection until the client ends it, or `down` resolves and the requests on it are
    /// answered.
    pub async fn serve<I>(&self, io: I, client: Client, down: impl Future<Output = ()>)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let peer = client.peer.to_canonical();
        let origin = Origin { peer, secure: client.secure };
        let limits = &self.limits;
        let usage = Usage::new(limits.requests_per_connection.get());
        let service = hyper::service::service_fn(|mut request: Request<Incoming>| {
            let running = usage.request();
            let record = self.logs.then(|| Record::of(&request, peer));
            let (version, unread) = (request.version(), !request.body().is_end_stream());
            request.extensions_mut().insert(Peer(peer));
            request.extensions_mut().insert(origin);
            let answer = self.service.clone().call(request);
            Logged::new(answer.map_ok(move |answer| last(answer, version, unread)), record, running)
        });
        let io = TokioIo::new(Stall::new(io, limits.write_timeout.duration()));
        let http = self.http(client.protocol);
        let connection = http.serve_connection(io, service);
        tokio::pin!(connection, down);
        let served = tokio::select! {
            biased;
            served = &mut connection => served,
            () = usage.is_over(limits, down) => {
                connection.as_mut().graceful_shutdown();
                // Requests may finish, and their answers be taken; who has none has said its last word.
                tokio::select! {
                    served = &mut connection => served,
                    () = usage.is_unused(usage.last_word(limits)) => Ok(()),
                }
            }
        };
        if let Err(error) = served {
            log::engine(&*error, peer);
        }
    }

    fn http(&self, protocol: Protocol) -> auto::Builder<TokioExecutor> {
        let limits = &self.limits;
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout.duration())
            .max_headers(limits.head_fields.get() as usize)
            .max_buf_size((limits.head_bytes.get() as usize).max(LEAST_BUFFER));
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams.get())
            .max_header_list_size(limits.head_bytes.get())
            .keep_alive_interval(Some(Duration::from_secs(60)));
        match protocol {
            Protocol::Http1 => http.http1_only(),
            Protocol::Http2 => http.http2_only(),
            Protocol::Either => http,
        }
    }
}

/// A refusal over content that nobody read, or of a request that can be read in two ways, is the last answer
/// on its connection: nothing that came behind the head is ever taken for another request.
fn last<B>(mut answer: Response<B>, version: Version, unread: bool) -> Response<B> {
    let extensions = answer.extensions();
    let broken = [StatusCode::BAD_REQUEST, StatusCode::REQUEST_TIMEOUT, StatusCode::PAYLOAD_TOO_LARGE];
    let refused = extensions.get::<Refusal>().is_some() && unread
        || extensions.get::<Code>().is_some() && broken.contains(&answer.status());
    // HTTP/2 frames its streams: there is nothing to run into each other.
    if refused && version < Version::HTTP_2 {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::{
        app::{Pepper, Peppers, SealKey, Sealer},
        clock::SystemClock,
        directory::Directory,
        registry::memory::Memory,
    };

    fn front(text: &str) -> Front {
        let clock = Arc::new(SystemClock::new());
        let shared = Shared {
            registry: Arc::new(Memory::new(clock.clone())),
            directory: Arc::new(Directory::new(Peppers::new(Pepper::new(1, &[1; 32])))),
            sealer: Arc::new(Sealer::new(SealKey::new(1, &[1; 32]))),
            clock,
        };
        let head = "store.path = \"x\"\nsecrets.file = \"x\"\nlisteners = [{ address = \"127.0.0.1:0\" }]\n";
        Front::new(&Config::parse(&format!("{head}{text}")).unwrap(), &shared)
    }

    /// For the gateway an answer is through when it lies in a buffer; for a slow client it has just begun.
    #[tokio::test(start_paused = true)]
    async fn the_last_answer_on_a_connection_is_not_cut_while_it_is_taken() {
        let (near, mut far) = tokio::io::duplex(64);
        let front = front("limits.requests_per_connection = 1");
        let client = Client { peer: [127, 0, 0, 1].into(), secure: false, protocol: Protocol::Http1 };
        tokio::spawn(async move { front.serve(near, client, std::future::pending()).await });
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
