//! The endpoints for health checks of the gateway itself, without authentication.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::{Json, Router, response::IntoResponse, routing::get};
use http::StatusCode;
use serde::Serialize;

use super::upstreams::Upstreams;
use portcullis::directory::{Directory, Following};

/// The state that readiness depends on.
#[derive(Clone)]
pub(super) struct Health {
    pub(super) directory: Arc<Directory>,
    pub(super) upstreams: Arc<ArcSwap<Upstreams>>,
}

/// The response of `/readyz`.
#[derive(Debug, Serialize)]
struct Readiness {
    ready: bool,
    /// The reasons that the gateway is not ready.
    reasons: Vec<String>,
}

impl Health {
    /// Creates a router for `GET /healthz` (200 for as long as the process serves) and `GET /readyz` (200, or 503 with
    /// the reasons that it should get no requests).
    pub(super) fn router(self) -> Router {
        let ready = move || {
            let reasons = self.reasons();
            let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            let response = (status, Json(Readiness { ready: reasons.is_empty(), reasons })).into_response();
            std::future::ready(response)
        };
        Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready))
    }

    fn reasons(&self) -> Vec<String> {
        let following = self.directory.following();
        let store = match following {
            // Everything that can be read is applied.
            Following::Current | Following::Incomplete => None,
            Following::Mismatched | Following::Stalled => {
                Some(format!("changes in the store are not applied: {}", following.as_str()))
            }
        };
        let upstreams = self.upstreams.load();
        let unknown = upstreams.unresolved();
        store.into_iter().chain(unknown.map(|name| format!("upstream {name} has no address yet"))).collect()
    }
}
