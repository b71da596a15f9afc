//! A demo upstream for a first gateway. Each response describes the request that reached it.

use std::net::SocketAddr;

use anyhow::Context;
use axum::{Json, Router, extract::Request};
use serde_json::{Value, json};

/// Serves on an address until the process ends. The response to each request is its method, target and headers, as
/// JSON.
///
/// # Errors
/// Fails if the address cannot be bound.
pub async fn demo(address: SocketAddr) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    axum::serve(listener, Router::new().fallback(suppressed)).await.context("failed to serve")
}

async fn suppressed(request: Request) -> Json<Value> {
    let fields: serde_json::Map<String, Value> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    let target = request.uri().path_and_query().map(ToString::to_string);
    Json(
        json!({ "service": "demo", "method": request.method().as_str(), "target": target, "fields": fields }),
    )
}
