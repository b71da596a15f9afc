//! An axum service with a WebSocket, server-sent events and large uploads behind one layer.
//!
//! ```text
//! cargo run --example streaming --features axum
//! curl -N -H 'X-API-KEY: shop-example-0123456789' http://127.0.0.1:3000/events &
//! head -c 5000000 /dev/zero |
//!     curl -T - -H 'X-API-KEY: shop-example-0123456789' http://127.0.0.1:3000/upload
//! ```
//!
//! The layer decides when the head of a request arrives, and then passes bodies on as they arrive: a WebSocket without
//! a key is 401 before the upgrade, events are sent when they occur, and an upload is counted chunk by chunk against
//! the limit. One request counts towards the rate limit, however long its stream is.
//!
//! # Browsers
//!
//! The layer reads keys from headers, and pages cannot set headers of a WebSocket or an `EventSource`. Events can be
//! read with `fetch`, which sets headers. The handshake of a WebSocket has cookies: [`key_from_cookie`] copies the
//! cookie `api_key` into the header, outside of the layer. A browser also sends the cookie if a page of another site
//! opens the WebSocket, so the function requires the `Origin` of this service. A key in `Sec-WebSocket-Protocol` does
//! not work: a browser requires that the response repeats it.

use std::error::Error;

use axum::{
    Router,
    body::Body,
    extract::{
        Request, State, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::map_request,
    response::{Response, Sse, sse::Event},
    routing::{any, get, put},
};
use futures_util::{Stream, TryStreamExt, stream};
use portcullis::{
    keys::{KeyError, Keys},
    model::Limit,
    policy::{ApiKey, BodyLimit, RateLimit},
    tower::PortcullisLayer,
};
use tokio::sync::watch;

/// The maximum size of an upload, in bytes.
const MAX_UPLOAD: u64 = 8 * 1024 * 1024;

/// The origin of the pages that may open a WebSocket with a cookie.
const ORIGIN: &str = "https://shop.example";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("curl -N -H 'X-API-KEY: shop-example-0123456789' http://127.0.0.1:3000/events");
    axum::serve(listener, app(keys()?, watch::Sender::default())).await?;
    Ok(())
}

/// Keys of a service come from its environment (`Keys::from_env`), not from its source.
fn keys() -> Result<Keys, KeyError> {
    Keys::new().limit(Limit::per_minute(60)).add("shop", "shop-example-0123456789")
}

/// Creates the service. `progress` is the number of bytes of the current upload that have arrived.
fn app(keys: Keys, progress: watch::Sender<u64>) -> Router {
    let policies = (BodyLimit::new(MAX_UPLOAD), ApiKey::new(keys), RateLimit::new());
    Router::new()
        .route("/echo", any(echo)) // GET over HTTP/1.1, CONNECT over HTTP/2
        .route("/events", get(events))
        .route("/upload", put(upload))
        .layer(PortcullisLayer::new(policies))
        .layer(map_request(key_from_cookie))
        .with_state(progress)
}

async fn echo(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(send_back)
}

async fn send_back(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let is_content = matches!(message, Message::Text(_) | Message::Binary(_));
        if is_content && socket.send(message).await.is_err() {
            return;
        }
    }
}

/// Sends an event for each change of the progress. A slow client misses changes, but not the last one.
async fn events(
    State(progress): State<watch::Sender<u64>>,
) -> Sse<impl Stream<Item = Result<Event, axum::Error>>> {
    let changes = stream::unfold(progress.subscribe(), async |mut progress| {
        progress.changed().await.ok()?;
        let bytes = *progress.borrow_and_update();
        Some((Event::default().json_data(bytes), progress))
    });
    Sse::new(changes)
}

/// Counts the bytes of a body without keeping them. If the body exceeds the limit, the layer responds with 413,
/// whatever this handler returns.
async fn upload(State(progress): State<watch::Sender<u64>>, body: Body) -> Result<String, StatusCode> {
    let mut total = 0;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.try_next().await.map_err(|_| StatusCode::BAD_REQUEST)? {
        total += chunk.len() as u64;
        progress.send_replace(total);
    }
    Ok(format!("{total} bytes\n"))
}

/// Copies the key from the cookie into the header that the layer reads, for pages of this service.
async fn key_from_cookie(mut request: Request) -> Request {
    let headers = request.headers();
    let is_own_page = headers.get(header::ORIGIN).is_some_and(|origin| origin == ORIGIN);
    if is_own_page && let Some(key) = cookie(headers, "api_key") {
        request.headers_mut().insert("x-api-key", key);
    }
    request
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<HeaderValue> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split("; ")).filter_map(|pair| pair.split_once('='));
    pairs.find(|(found, _)| *found == name).and_then(|(_, value)| value.parse().ok())
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, net::SocketAddr};

    use axum::http::HeaderName;
    use bytes::Bytes;
    use futures_util::{SinkExt, StreamExt};
    use tokio::{net::TcpListener, sync::mpsc};
    use tokio_tungstenite::{
        connect_async,
        tungstenite::{self, client::IntoClientRequest},
    };

    use super::*;

    const KEY: &str = "shop-example-0123456789";
    const MEBIBYTE: usize = 1024 * 1024;

    async fn start(progress: watch::Sender<u64>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = app(keys().unwrap(), progress);
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        address
    }

    fn client() -> reqwest::Client {
        // rustls needs a crypto provider; another test of this process may have installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let headers =
            HeaderMap::from_iter([(HeaderName::from_static("x-api-key"), HeaderValue::from_static(KEY))]);
        reqwest::Client::builder().no_proxy().default_headers(headers).build().unwrap()
    }

    /// Returns the response to a message, or the status that refuses the upgrade.
    async fn echoed(address: SocketAddr, headers: &[(&'static str, &'static str)]) -> Result<String, u16> {
        let mut request = format!("ws://{address}/echo").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        let (mut socket, _) = connect_async(request).await.map_err(|error| match error {
            tungstenite::Error::Http(response) => response.status().as_u16(),
            other => panic!("{other}"),
        })?;
        socket.send("hello".into()).await.unwrap();
        Ok(socket.next().await.unwrap().unwrap().into_text().unwrap().to_string())
    }

    /// Starts an upload without an announced length, whose chunks are sent through the channel.
    fn start_upload(
        address: SocketAddr,
    ) -> (mpsc::UnboundedSender<Bytes>, tokio::task::JoinHandle<reqwest::Response>) {
        let (chunks, receiver) = mpsc::unbounded_channel();
        let body = stream::unfold(receiver, async |mut receiver| {
            let chunk = receiver.recv().await?;
            Some((Ok::<_, Infallible>(chunk), receiver))
        });
        let request = client().put(format!("http://{address}/upload")).body(reqwest::Body::wrap_stream(body));
        (chunks, tokio::spawn(async { request.send().await.unwrap() }))
    }

    #[tokio::test]
    async fn websocket_with_a_key_echoes_and_without_one_is_401() {
        let address = start(watch::Sender::default()).await;
        assert_eq!(echoed(address, &[("x-api-key", KEY)]).await.as_deref(), Ok("hello"));
        assert_eq!(echoed(address, &[]).await, Err(401));
    }

    #[tokio::test]
    async fn cookie_opens_a_websocket_only_for_pages_of_the_service() {
        let address = start(watch::Sender::default()).await;
        let cookie = ("cookie", "theme=dark; api_key=shop-example-0123456789");
        assert_eq!(echoed(address, &[cookie, ("origin", ORIGIN)]).await.as_deref(), Ok("hello"));
        assert_eq!(echoed(address, &[cookie, ("origin", "https://other.example")]).await, Err(401));
        assert_eq!(echoed(address, &[cookie]).await, Err(401));
    }

    #[tokio::test]
    async fn events_arrive_one_by_one_while_the_stream_is_open() {
        let progress = watch::Sender::default();
        let address = start(progress.clone()).await;
        let events = client().get(format!("http://{address}/events"));
        let mut events = events.send().await.unwrap();
        assert_eq!(events.headers()["content-type"], "text/event-stream");
        for (bytes, event) in [(1, "data: 1\n\n"), (2, "data: 2\n\n")] {
            progress.send_replace(bytes);
            assert_eq!(events.chunk().await.unwrap().unwrap(), event);
        }
    }

    #[tokio::test]
    async fn handler_receives_the_first_chunk_before_the_last_is_sent() {
        let progress = watch::Sender::default();
        let address = start(progress.clone()).await;
        let (chunks, response) = start_upload(address);
        let mut arrived = progress.subscribe();
        for count in 1..=8 {
            chunks.send(vec![0; MEBIBYTE].into()).unwrap();
            arrived.wait_for(|bytes| *bytes == count * MEBIBYTE as u64).await.unwrap();
        }
        drop(chunks);
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.text().await.unwrap(), "8388608 bytes\n");
    }

    #[tokio::test]
    async fn upload_of_one_byte_too_many_is_413() {
        let address = start(watch::Sender::default()).await;
        let (chunks, response) = start_upload(address);
        for _ in 0..8 {
            chunks.send(vec![0; MEBIBYTE].into()).unwrap();
        }
        chunks.send(Bytes::from_static(&[0])).unwrap();
        // The upload is still open: the response does not wait for its end.
        let response = response.await.unwrap();
        assert_eq!(response.status(), 413);
        drop(chunks);
    }
}
