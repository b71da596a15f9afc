//! The WebSocket over HTTP/2, which a client opens with an extended CONNECT (RFC 8441).

use axum::{
    Router,
    extract::{WebSocketUpgrade, ws},
    routing::any,
};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Request, Response, request};
use http_body_util::Empty;
use hyper::{body::Incoming, client::conn::http2::SendRequest, ext::Protocol};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis::{
    keys::Keys,
    policy::{ApiKey, StrictHttp},
    tower::PortcullisLayer,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{WebSocketStream, tungstenite::protocol::Role};

const KEY: &str = "shop-key-0123456789";

fn keys() -> Keys {
    Keys::new().add("shop", KEY).unwrap()
}

/// Returns a service that answers each message of a WebSocket with the message.
fn echo() -> Router {
    let echo = async |mut socket: ws::WebSocket| {
        while let Some(Ok(message)) = socket.recv().await {
            socket.send(message).await.unwrap();
        }
    };
    Router::new().route("/echo", any(async move |upgrade: WebSocketUpgrade| upgrade.on_upgrade(echo)))
}

/// Serves a router and returns a client that is connected with HTTP/2.
async fn connect(app: Router) -> SendRequest<Empty<Bytes>> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap();
    client
}

fn websocket() -> request::Builder {
    Request::connect("http://a.example/echo")
        .extension(Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13")
}

async fn send(client: &mut SendRequest<Empty<Bytes>>, request: request::Builder) -> Response<Incoming> {
    client.send_request(request.body(Empty::new()).unwrap()).await.unwrap()
}

#[tokio::test]
async fn websocket_over_http_2_needs_a_key() {
    let mut client = connect(echo().layer(PortcullisLayer::new(ApiKey::new(keys())))).await;
    assert_eq!(send(&mut client, websocket()).await.status(), 401);
    let response = send(&mut client, websocket().header("x-api-key", KEY)).await;
    assert_eq!(response.status(), 200);
    let upgraded = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await;
    socket.send("hello".into()).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), "hello".into());
}

#[tokio::test]
async fn strict_http_in_a_chain_admits_websockets_over_http_2_only_on_request() {
    for (strict, status) in [(StrictHttp::new(), 400), (StrictHttp::new().allow_extended_connect(), 200)] {
        let mut client = connect(echo().layer(PortcullisLayer::new((strict, ApiKey::new(keys()))))).await;
        assert_eq!(send(&mut client, websocket().header("x-api-key", KEY)).await.status(), status);
    }
}
