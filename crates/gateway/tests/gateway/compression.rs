//! Compression of responses.

use std::sync::Arc;

use async_compression::tokio::write::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::AppendHeaders,
    routing,
};
use futures_util::stream;
use reqwest::{Client, Method, RequestBuilder, Response};
use tokio::{io::AsyncWriteExt, sync::Semaphore};

use crate::{
    process::{Gateway, Installation, Service, client, free_address, http2_client},
    scripted::{Reaction, Scripted},
};

const JSON: (HeaderName, &str) = (header::CONTENT_TYPE, "application/json; charset=utf-8");

/// Returns a text that is longer than the minimum size and shorter after compression.
fn text() -> String {
    "{\"name\":\"portcullis\"},".repeat(500)
}

/// Starts a gateway that compresses responses, with HTTP/1.1 and HTTP/2 on its listener.
fn gateway(upstream: std::net::SocketAddr) -> (Installation, Gateway) {
    let address = free_address();
    let text = format!(
        "store.path = \"data/p.db\"\nsecrets.file = \"data/s.toml\"\n\
         listeners = [{{ address = \"{address}\", h2c = true }}]\n[upstreams.up]\naddress = \"{upstream}\"\n\
         [[routes]]\npath = \"/\"\nupstream = \"up\"\ncompression = true\n\
         [[routes]]\npath = \"/plain\"\nupstream = \"up\"\n\
         [[routes]]\npath = \"/keyed\"\nupstream = \"up\"\ncompression = true\npolicies.api_key = true\n\
         [[routes]]\npath = \"/docs\"\nsurface = \"docs\"\ncompression = true\n\
         [[routes]]\npath = \"/gzip\"\nupstream = \"up\"\n\
         compression = {{ algorithms = [\"gzip\"], min_bytes = 1, content_types = [\"text/csv\"] }}\n"
    );
    let installation = Installation::from_text(&text, address);
    let gateway = installation.start();
    (installation, gateway)
}

/// Starts a service whose responses have the headers of the path.
async fn service() -> Service {
    let tagged = || async {
        let headers =
            [JSON, (header::ETAG, "\"1\""), (header::ACCEPT_RANGES, "bytes"), (header::VARY, "accept")];
        (AppendHeaders(headers), text())
    };
    let with = |name: HeaderName, value: &'static str| {
        routing::get(move || async move { (AppendHeaders([JSON, (name, value)]), text()) })
    };
    let typed =
        |value: &'static str| routing::get(move || async move { ([(header::CONTENT_TYPE, value)], text()) });
    let status = |status: StatusCode| routing::get(move || async move { (status, [JSON], text()) });
    let asked = |headers: HeaderMap| async move {
        let accepted = headers.get(header::ACCEPT_ENCODING).map(|value| value.to_str().unwrap().to_owned());
        accepted.unwrap_or_default()
    };
    let router = Router::new()
        .route("/asked", routing::get(asked))
        .route("/weak", with(header::ETAG, "W/\"2\""))
        .route("/encoded", with(header::CONTENT_ENCODING, "br"))
        .route("/fixed", with(header::CACHE_CONTROL, "public, No-Transform"))
        .route("/digest", with(HeaderName::from_static("content-digest"), "sha-256=:AAAA:"))
        .route("/image", typed("image/png"))
        .route("/events", typed("text/event-stream"))
        .route("/grpc", typed("application/grpc+proto"))
        .route("/partial", status(StatusCode::PARTIAL_CONTENT))
        .route("/error", status(StatusCode::INTERNAL_SERVER_ERROR))
        .route("/unmodified", routing::get(|| async { (StatusCode::NOT_MODIFIED, [JSON]) }))
        .route("/empty", routing::get(|| async { StatusCode::NO_CONTENT }))
        .route("/small", routing::get(|| async { ([JSON], "x".repeat(1023)) }))
        .route("/gzip/csv", typed("text/csv"))
        .route("/gzip/json", typed("application/json"))
        .fallback(tagged);
    Service::start(router).await
}

fn get(client: &Client, gateway: &Gateway, path: &str, accept: &str) -> RequestBuilder {
    client.get(gateway.url(path)).header("accept-encoding", accept)
}

fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// Returns the values of `Vary`, separated by `|`.
fn vary(response: &Response) -> String {
    let values = response.headers().get_all("vary").iter();
    values.map(|value| value.to_str().unwrap()).collect::<Vec<_>>().join("|")
}

/// Decodes the pieces of a body as they arrive.
enum Decoder {
    Br(BrotliDecoder<Vec<u8>>),
    Gzip(GzipDecoder<Vec<u8>>),
    Zstd(ZstdDecoder<Vec<u8>>),
}

impl Decoder {
    fn new(coding: &str) -> Self {
        match coding {
            "br" => Self::Br(BrotliDecoder::new(Vec::new())),
            "gzip" => Self::Gzip(GzipDecoder::new(Vec::new())),
            "zstd" => Self::Zstd(ZstdDecoder::new(Vec::new())),
            _ => panic!("unknown coding {coding}"),
        }
    }

    /// Decodes another piece. Returns everything so far.
    async fn push(&mut self, piece: &[u8]) -> &[u8] {
        match self {
            Self::Br(decoder) => {
                decoder.write_all(piece).await.unwrap();
                decoder.flush().await.unwrap();
                decoder.get_ref()
            }
            Self::Gzip(decoder) => {
                decoder.write_all(piece).await.unwrap();
                decoder.flush().await.unwrap();
                decoder.get_ref()
            }
            Self::Zstd(decoder) => {
                decoder.write_all(piece).await.unwrap();
                decoder.flush().await.unwrap();
                decoder.get_ref()
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn response_is_compressed_as_the_client_prefers() {
    let service = service().await;
    let (_installation, gateway) = gateway(service.address);
    for client in [client(), http2_client()] {
        for (accept, coding) in [
            ("gzip", "gzip"),
            ("br", "br"),
            ("zstd", "zstd"),
            ("gzip, deflate, br, zstd", "zstd"),
            ("gzip;q=1.0, br;q=0.5, zstd;q=0", "gzip"),
        ] {
            let response = get(&client, &gateway, "/", accept).send().await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(header(&response, "content-encoding"), coding, "{accept}");
            assert_eq!(vary(&response), "accept|accept-encoding");
            assert_eq!(header(&response, "etag"), "W/\"1\"");
            assert_eq!(header(&response, "accept-ranges"), "");
            assert_eq!(header(&response, "content-length"), "");
            let body = response.bytes().await.unwrap();
            assert!(body.len() < text().len() / 4, "{} bytes", body.len());
            assert!(Decoder::new(coding).push(&body).await == text().as_bytes(), "{coding}");
        }
        for accept in ["", "deflate", "gzip;q=0", "identity, gzip;q=0.5", "identity;q=0"] {
            let response = get(&client, &gateway, "/", accept).send().await.unwrap();
            assert_eq!(
                (response.status().as_u16(), header(&response, "content-encoding")),
                (200, ""),
                "{accept}"
            );
            assert_eq!(vary(&response), "accept|accept-encoding");
            assert_eq!((header(&response, "etag"), header(&response, "accept-ranges")), ("\"1\"", "bytes"));
            assert_eq!(response.text().await.unwrap(), text());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unsuitable_response_is_not_compressed() {
    let service = service().await;
    let (installation, gateway) = gateway(service.address);
    for (path, status, coding) in [
        ("/weak", 200, "gzip"),
        ("/error", 500, "gzip"),
        ("/docs/discue.json", 200, "gzip"),
        ("/gzip/csv", 200, "gzip"),
        ("/gzip/json", 200, ""),
        ("/encoded", 200, "br"),
        ("/fixed", 200, ""),
        ("/digest", 200, ""),
        ("/image", 200, ""),
        ("/events", 200, ""),
        ("/grpc", 200, ""),
        ("/partial", 206, ""),
        ("/unmodified", 304, ""),
        ("/empty", 204, ""),
        ("/small", 200, ""),
        ("/plain", 200, ""),
        ("/keyed", 401, ""),
    ] {
        for client in [client(), http2_client()] {
            let response = get(&client, &gateway, path, "gzip").send().await.unwrap();
            assert_eq!(response.status(), status, "{path}");
            assert_eq!(header(&response, "content-encoding"), coding, "{path}");
            let varies = vary(&response).contains("accept-encoding");
            assert_eq!(varies, coding == "gzip", "{path}");
        }
    }
    let weak = get(&client(), &gateway, "/weak", "gzip").send().await.unwrap();
    assert_eq!(header(&weak, "etag"), "W/\"2\"");
    let keyed = get(&client(), &gateway, "/keyed", "gzip").header("x-api-key", &installation.api_key);
    assert_eq!(header(&keyed.send().await.unwrap(), "content-encoding"), "gzip");
}

#[tokio::test(flavor = "multi_thread")]
async fn head_has_the_headers_of_get() {
    let service = service().await;
    let (_installation, gateway) = gateway(service.address);
    for client in [client(), http2_client()] {
        for (path, accept) in [("/", "gzip"), ("/", ""), ("/small", "gzip"), ("/image", "gzip")] {
            let url = gateway.url(path);
            let request = |method| client.request(method, &url).header("accept-encoding", accept).send();
            let (get, head) = (request(Method::GET).await.unwrap(), request(Method::HEAD).await.unwrap());
            let without_date = |response: &Response| {
                let mut headers = response.headers().clone();
                headers.remove("date");
                // Describes this message only.
                headers.remove("transfer-encoding");
                headers
            };
            assert_eq!(without_date(&head), without_date(&get), "{path} {accept}");
            assert_eq!(head.bytes().await.unwrap(), "");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accept_encoding_is_forwarded() {
    let service = service().await;
    let (_installation, gateway) = gateway(service.address);
    let response = get(&client(), &gateway, "/asked", "br;q=0.5, gzip").send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), "br;q=0.5, gzip");
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_bytes_are_sent_when_the_upstream_pauses() {
    let released = Arc::new(Semaphore::new(0));
    let waiting = released.clone();
    // Sends the second part after the test has received the first one.
    let streamed = move || {
        let waiting = waiting.clone();
        let parts = stream::unfold(0, move |at| {
            let waiting = waiting.clone();
            async move {
                if at == 1 {
                    waiting.acquire().await.unwrap().forget();
                }
                let part = ["first\n", "second\n"].get(at)?;
                Some((Ok::<_, std::convert::Infallible>(Bytes::from(*part)), at + 1))
            }
        });
        async move { ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(parts)) }
    };
    let service = Service::start(Router::new().route("/", routing::get(streamed))).await;
    let (_installation, gateway) = gateway(service.address);
    for client in [client(), http2_client()] {
        for coding in ["br", "gzip", "zstd"] {
            let mut response = get(&client, &gateway, "/", coding).send().await.unwrap();
            assert_eq!(header(&response, "content-encoding"), coding);
            let mut decoder = Decoder::new(coding);
            while decoder.push(&[]).await != b"first\n" {
                let piece = response.chunk().await.unwrap().expect("the first part arrives");
                decoder.push(&piece).await;
            }
            released.add_permits(1);
            while let Some(piece) = response.chunk().await.unwrap() {
                decoder.push(&piece).await;
            }
            assert_eq!(decoder.push(&[]).await, b"first\nsecond\n", "{coding}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_response_is_not_completed_by_compression() {
    let service = Scripted::start(|_| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 20000\r\n\r\n";
        Reaction::SendAndClose(format!("{head}{}", text()).into_bytes())
    });
    let (_installation, gateway) = gateway(service.address);
    for client in [client(), http2_client()] {
        let response = get(&client, &gateway, "/", "gzip").send().await;
        let Ok(response) = response else { continue };
        assert!(response.bytes().await.is_err(), "a truncated response looks whole");
    }
}
