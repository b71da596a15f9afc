//! Decisions of layers that a service stacks into axum: paths, order of layers, clocks and callers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

mod callers;
mod defaults;
mod extractors;
mod key_cache;
mod key_lists;
mod layers;
mod limits;
mod paths;
mod renderers;
mod websocket;

use axum::{Router, body::Body};
use http::{Request, Response};
use tower::ServiceExt;

async fn send(app: &Router, method: &str, path: &str, key: &str) -> Response<Body> {
    let request = Request::builder().method(method).uri(path).header("x-api-key", key);
    app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn status(app: &Router, method: &str, path: &str, key: &str) -> u16 {
    send(app, method, path, key).await.status().as_u16()
}
