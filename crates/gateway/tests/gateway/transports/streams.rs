//! Long and large bodies.

use std::{
    convert::Infallible,
    fs,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    routing::{MethodRouter, get},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;

use crate::{
    process::{Service, client},
    targets::installation,
};

/// Returns a handler that sends the items of the channel as parts of its body.
fn parts(media_type: &'static str, items: mpsc::UnboundedReceiver<&'static str>) -> MethodRouter {
    let items = Arc::new(Mutex::new(Some(items)));
    get(async move || {
        let items = items.lock().unwrap().take().unwrap();
        let body = Body::from_stream(stream::unfold(items, async |mut items| {
            items.recv().await.map(|item| (Ok::<_, Infallible>(item), items))
        }));
        http::Response::builder().header("content-type", media_type).body(body).unwrap()
    })
}

/// The pause of the event stream is longer than that after which another response was cut off.
#[tokio::test(flavor = "multi_thread")]
async fn event_stream_may_pause_for_longer_than_the_read_timeout() {
    for scheme in ["http", "h2c"] {
        let (event, events) = mpsc::unbounded_channel();
        let (part, other) = mpsc::unbounded_channel();
        let router = Router::new()
            .route("/events", parts("text/event-stream; charset=utf-8", events))
            .route("/other", parts("text/plain", other));
        let service = Service::start(router).await;
        let target = format!("{scheme}://{}", service.address);
        let installation = installation(&[target], "read_timeout = \"300ms\"", "");
        let gateway = installation.start();
        event.send("data: 1\n\n").unwrap();
        let mut events = gateway.get("/events").send().await.unwrap();
        assert_eq!(events.chunk().await.unwrap().unwrap(), "data: 1\n\n");
        part.send("1").unwrap();
        let mut other = gateway.get("/other").send().await.unwrap();
        assert_eq!(other.chunk().await.unwrap().unwrap(), "1");
        assert!(!other.chunk().await.unwrap_err().is_timeout(), "{scheme}");
        event.send("data: 2\n\n").unwrap();
        assert_eq!(events.chunk().await.unwrap().unwrap(), "data: 2\n\n");
        drop(event);
        assert_eq!(events.chunk().await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn event_stream_is_cut_after_its_own_timeout() {
    let (event, events) = mpsc::unbounded_channel();
    let service = Service::start(Router::new().route("/", parts("text/event-stream", events))).await;
    let installation = installation(&[service.address], "stream_idle_timeout = \"300ms\"", "");
    let gateway = installation.start();
    event.send("data: 1\n\n").unwrap();
    let mut events = gateway.get("/").send().await.unwrap();
    assert_eq!(events.chunk().await.unwrap().unwrap(), "data: 1\n\n");
    assert!(!events.chunk().await.unwrap_err().is_timeout(), "the client has waited longer");
}

/// The service notices that the client of an event stream is gone.
#[tokio::test(flavor = "multi_thread")]
async fn event_stream_ends_when_the_client_is_gone() {
    for scheme in ["http", "h2c"] {
        let (event, events) = mpsc::unbounded_channel();
        let service = Service::start(Router::new().route("/", parts("text/event-stream", events))).await;
        let target = format!("{scheme}://{}", service.address);
        let installation = installation(&[target], "", "");
        let gateway = installation.start();
        event.send("data: 1\n\n").unwrap();
        let mut events = gateway.get("/").send().await.unwrap();
        assert_eq!(events.chunk().await.unwrap().unwrap(), "data: 1\n\n");
        drop(events);
        event.closed().await;
    }
}

const PART: usize = 64 << 10;
const PARTS: usize = (64 << 20) / PART;

/// Returns the peak of a process's memory in bytes.
fn peak_memory(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

fn large_parts() -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> {
    stream::iter(std::iter::repeat_n(Ok(Bytes::from(vec![7; PART])), PARTS))
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_stream_in_bounded_memory() {
    let upload = async |request: Request| {
        let mut body = request.into_body().into_data_stream();
        let mut received = 0;
        while let Some(part) = body.next().await {
            received += part.unwrap().len();
        }
        received.to_string()
    };
    let router = Router::new()
        .route("/", get(async || Body::from_stream(large_parts())).post(upload))
        .layer(axum::extract::DefaultBodyLimit::disable());
    let service = Service::start(router).await;
    for scheme in ["http", "h2c"] {
        let target = format!("{scheme}://{}", service.address);
        let installation = installation(&[target], "", "limits.body_bytes = 10000000000");
        let gateway = installation.start();
        client().get(gateway.url("/none")).send().await.unwrap();
        let before = peak_memory(gateway.pid());
        let mut download = gateway.get("/").send().await.unwrap();
        let mut received = 0;
        while let Some(part) = download.chunk().await.unwrap() {
            received += part.len();
        }
        assert_eq!(received, PART * PARTS);
        let upload = gateway.post("/").body(reqwest::Body::wrap_stream(large_parts()));
        assert_eq!(upload.send().await.unwrap().text().await.unwrap(), (PART * PARTS).to_string());
        let grown = peak_memory(gateway.pid()) - before;
        println!("{scheme}: {before} bytes before, {grown} bytes more after {} bytes", PART * PARTS);
        assert!(grown < 24 << 20, "{scheme}: {grown} bytes");
    }
}
