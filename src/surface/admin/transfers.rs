//! Everything as one file and back, and keys of other gateways.

pub(super) mod import;
mod spool;
pub(super) mod schemas;
mod guarded;

pub use spool::ImportOptions;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware,
    response::Response,
    routing::{get, post},
};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Admin, Surface, response::ErrorResponse, call_context::CallContext, guard, only, openapi};
use crate::{
    Denial,
    model::Role,
    policy::{Accept, ContentType},
    registry::RegistryError,
    surface::author::{Author, authored},
    transfer::{Export, SecretFingerprints},
};

/// A JSON object to a line.
const LINES: &str = "application/x-ndjson";
/// CSV (RFC 4180).
const ROWS: &str = "text/csv";
/// When to come back, in seconds, where a file cannot be kept.
const RETRY_AFTER: u64 = 5;

/// The routes, each behind a guard of its own: what they take or answer is no JSON.
///
/// # Panics
/// Never: the media types it names are media types.
pub(super) fn routes(admin: &Admin, author: &Author) -> Router<Arc<Surface>> {
    let authored = || middleware::from_fn_with_state(author.clone(), authored);
    let accept = |answers| Accept::new([answers]).expect("it is a media type");
    let taking = |types: &[&str]| {
        let taken = ContentType::new(types.iter().copied()).expect("they are media types").codings([]);
        guard(admin, (accept("application/json"), taken))
    };
    let export = Router::new().route("/admin/v1/export", only(get(export), "GET, HEAD"));
    let import = Router::new().route("/admin/v1/import", only(post(import::import), "POST"));
    let keys = Router::new().route("/admin/v1/keys/import", only(post(import::import_keys), "POST"));
    export
        .layer(authored())
        .layer(guard(admin, accept(LINES)))
        .merge(import.layer(authored()).layer(taking(&[LINES])))
        .merge(keys.layer(authored()).layer(taking(&[LINES, ROWS])))
}

/// The place of the only one of its kind.
///
/// # Errors
/// 409 while it is taken.
fn one_at_a_time(places: &Arc<Semaphore>, what: &str) -> Result<OwnedSemaphorePermit, Denial> {
    let detail = || format!("{what} is under way, and there is one at a time.").into();
    places.clone().try_acquire_owned().map_err(|_| Denial::Conflict { detail: detail() })
}

/// An export that is being written, and its place as the only one.
struct Writing {
    export: Export,
    /// The next lines, when they are there already.
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
                .inspect_err(|fault| tracing::error!("an export broke off: {fault}"))?,
        };
        Ok(lines.map(|lines| (lines.into(), self)))
    }
}

/// Exports everything, as one file. For an owner.
///
/// All there is, line by line as it is read: no more than a page of it is held. A file that breaks off lacks its
/// last line, and no import takes it.
#[utoipa::path(
    get,
    path = "/export",
    tag = "transfers",
    operation_id = "export",
    responses(
        (status = 200, description = "A JSON object to a line", body = String, content_type = "application/x-ndjson"),
        openapi::CommonErrors,
        openapi::Busy
    ),
)]
pub(super) async fn export(
    State(surface): State<Arc<Surface>>,
    request: Request,
) -> Result<Response, ErrorResponse> {
    let (call, _) = CallContext::extract_head(request, Role::Owner)?;
    call.query(&[])?;
    let only = one_at_a_time(&surface.exporting, "An export")?;
    let admin = &surface.admin;
    let secrets = SecretFingerprints::new(&admin.directory.peppers(), &admin.sealer);
    let begun = Export::begin(&*admin.registry, &secrets, admin.clock.now().time).await;
    let mut export = begun.map_err(|fault| surface.refuse(fault))?;
    // A store that cannot be read is told as such.
    let next = export.next().await.map_err(|fault| surface.refuse(fault))?;
    tracing::info!(caller = %call.caller(), "everything is exported");
    let writing = Writing { export, next, _only: only };
    let mut response = Response::new(Body::from_stream(stream::try_unfold(writing, Writing::lines)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(LINES));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
