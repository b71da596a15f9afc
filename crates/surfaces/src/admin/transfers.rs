//! The endpoints for exports and imports of all data, and for imports of keys of other gateways.

mod guarded;
pub(super) mod import;
pub(super) mod schemas;
mod spool;

use std::sync::Arc;

use axum::{body::Body, extract::State, response::Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{extract::Upload, openapi, response::ErrorResponse, roles::Owner, state::Surface};
use crate::transfer::{Export, SecretFingerprints};
use portcullis::{Denial, registry::RegistryError};

/// The media type of files with one JSON object per line.
pub(super) const LINES: &str = "application/x-ndjson";
/// The media type of CSV (RFC 4180).
pub(super) const ROWS: &str = "text/csv";
/// `Retry-After`, in seconds, if a file cannot be stored.
const RETRY_AFTER: u64 = 5;

/// Acquires the permit of an operation that runs once at a time.
///
/// # Errors
/// 409 while another request has the permit.
fn one_at_a_time(places: &Arc<Semaphore>, what: &str) -> Result<OwnedSemaphorePermit, Denial> {
    let detail = || format!("{what} is in progress, and only one can run at a time.").into();
    places.clone().try_acquire_owned().map_err(|_| Denial::Conflict { detail: detail() })
}

/// An export in progress, with its permit.
struct Writing {
    export: Export,
    /// The next lines, if they were read already.
    next: Option<Vec<u8>>,
    _only: OwnedSemaphorePermit,
}

impl Writing {
    async fn lines(mut self) -> Result<Option<(Bytes, Self)>, RegistryError> {
        let lines = match self.next.take() {
            Some(lines) => Some(lines),
            None => self
                .export
                .next()
                .await
                .inspect_err(|fault| tracing::error!("export of all data failed: {fault}"))?,
        };
        Ok(lines.map(|lines| (lines.into(), self)))
    }
}

/// Export all data
///
/// The file is streamed line by line as it is read; the gateway buffers no more than a page. An incomplete file lacks
/// its last line, and no import accepts it. Requires the role `owner`.
#[utoipa::path(
    get,
    path = "/export",
    tag = "transfers",
    operation_id = "export",
    responses(
        (status = 200, description = "One JSON object per line", body = String, content_type = "application/x-ndjson"),
        openapi::CommonErrors,
        openapi::Busy
    ),
)]
pub(super) async fn export(
    State(surface): State<Arc<Surface>>,
    Upload { call, .. }: Upload<Owner>,
) -> Result<Response, ErrorResponse> {
    let only = one_at_a_time(&surface.admin.in_progress.exporting, "An export")?;
    let admin = &surface.admin;
    let secrets = SecretFingerprints::new(&admin.directory.peppers(), &admin.sealer);
    let begun = Export::begin(&*admin.registry, &secrets, admin.clock.now().time).await;
    let mut export = begun.map_err(|fault| surface.registry_error(fault))?;
    // The first page is read here, so that an unavailable store is reported with an error status.
    let next = export.next().await.map_err(|fault| surface.registry_error(fault))?;
    tracing::info!(caller = %call.caller(), "export of all data started");
    let writing = Writing { export, next, _only: only };
    let mut response = Response::new(Body::from_stream(stream::try_unfold(writing, Writing::lines)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(LINES));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
