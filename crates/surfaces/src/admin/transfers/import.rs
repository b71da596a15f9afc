//! Imports of files into the registry.

use std::{
    fs::File,
    io::{BufReader, Read},
    sync::Arc,
};

use axum::{body::Body, extract::State};
use http::header;
use serde::Serialize;
use tokio::{runtime::Handle, sync::OwnedSemaphorePermit, task::spawn_blocking};

use super::{ROWS, guarded::GuardedWork, one_at_a_time, schemas, spool::Spool};
use crate::admin::{
    call_context::CallContext,
    extract::{Parameters, Upload},
    idempotency::IdempotencyKey,
    openapi,
    page::Query,
    response::{ApiResponse, ErrorResponse},
    roles::Owner,
    settings::ImportOptions,
    state::Surface,
};
use crate::transfer::{
    self, Import, ImportJob, KeyFileFormat, KeyImport, KeyRows, LineError, MAX_FILE_BYTES, SecretFingerprints,
};
use portcullis::{Denial, denial::FieldError, model::ADMIN_TENANT};

/// The result of an import, or of a dry run.
#[derive(Serialize)]
struct ImportSummary<T> {
    #[serde(flatten)]
    imported: T,
    /// Whether the import was rolled back.
    dry_run: bool,
}

fn import_response(imported: impl Serialize, dry_run: bool) -> ApiResponse {
    ApiResponse::ok(&ImportSummary { imported, dry_run })
}

/// A complete uploaded file, with the request that imports it.
struct Task {
    surface: Arc<Surface>,
    call: CallContext,
    idempotency_key: Option<IdempotencyKey>,
    file: File,
    dry_run: bool,
    _only: OwnedSemaphorePermit,
}

/// The query parameter of an import.
pub(in crate::admin) struct ImportParameters;

impl Parameters for ImportParameters {
    const KNOWN: &'static [&'static str] = &["dry_run"];
}

/// Import an export
///
/// Adds the data of an export to the existing data, all of it or nothing. Administrators in the file are left out,
/// because this gateway has its own: access to the file must not make anyone an administrator. Requires the role
/// `owner`.
#[utoipa::path(
    post,
    path = "/import",
    tag = "transfers",
    operation_id = "import",
    params(
        ("dry_run" = Option<bool>, Query, description = "Whether the import is rolled back in the end"),
        openapi::IdempotencyKey,
        openapi::LockToken
    ),
    request_body(content = String, content_type = "application/x-ndjson", description = "The file of an export"),
    responses((status = 200, description = "The result of the import", body = schemas::ImportResult), openapi::CommonErrors, openapi::CreateErrors),
)]
pub(in crate::admin) async fn import(
    State(surface): State<Arc<Surface>>,
    Upload { call, query, body, .. }: Upload<Owner, ImportParameters>,
) -> Result<ApiResponse, ErrorResponse> {
    let dry_run = flag(&query, "dry_run")?;
    let most = surface.admin.imports.max_bytes;
    match Task::begin(surface, call, body, most, dry_run).await? {
        Ok(task) => on_blocking_thread(move |runtime| runtime.block_on(task.import())).await,
        Err(replay) => Ok(replay),
    }
}

/// The query parameters of an import of keys.
pub(in crate::admin) struct KeyImportParameters;

impl Parameters for KeyImportParameters {
    const KNOWN: &'static [&'static str] = &["dry_run", "create_callers"];
}

/// Import keys of another gateway
///
/// Imports all keys or none. Requires the role `owner`.
#[utoipa::path(
    post,
    path = "/keys/import",
    tag = "transfers",
    operation_id = "import_keys",
    params(
        ("dry_run" = Option<bool>, Query, description = "Whether the import is rolled back in the end"),
        ("create_callers" = Option<bool>, Query, description = "Whether missing callers are created"),
        openapi::IdempotencyKey,
        openapi::LockToken
    ),
    request_body(
        content((String = "application/x-ndjson"), (String = "text/csv")),
        description = "One key per row"
    ),
    responses(
        (status = 200, description = "The result of the import", body = schemas::KeyImportResult),
        openapi::CommonErrors,
        openapi::NotFound,
        openapi::CreateErrors
    ),
)]
pub(in crate::admin) async fn import_keys(
    State(surface): State<Arc<Surface>>,
    Upload { call, query, body, .. }: Upload<Owner, KeyImportParameters>,
) -> Result<ApiResponse, ErrorResponse> {
    let (dry_run, create_callers) = (flag(&query, "dry_run")?, flag(&query, "create_callers")?);
    let most = surface.admin.imports.max_bytes.min(MAX_FILE_BYTES as u64);
    match Task::begin(surface, call, body, most, dry_run).await? {
        Ok(task) => {
            on_blocking_thread(move |runtime| runtime.block_on(task.import_keys(create_callers))).await
        }
        Err(replay) => Ok(replay),
    }
}

fn flag(query: &Query, name: &str) -> Result<bool, Denial> {
    Ok(query.parsed(name, "true or false")?.unwrap_or_default())
}

/// Reads and parses a file on a blocking thread, because the calling thread serves requests. The work continues even
/// if the client disconnects.
async fn on_blocking_thread(
    work: impl FnOnce(Handle) -> Result<ApiResponse, ErrorResponse> + Send + 'static,
) -> Result<ApiResponse, ErrorResponse> {
    let runtime = Handle::current();
    let done = spawn_blocking(move || work(runtime)).await;
    done.unwrap_or_else(|error| Err(Denial::internal(format!("an import was aborted: {error}")).into()))
}

impl Task {
    /// Stores the uploaded file. Returns the stored response instead if the request took effect before.
    async fn begin(
        surface: Arc<Surface>,
        call: CallContext,
        body: Body,
        most: u64,
        dry_run: bool,
    ) -> Result<Result<Self, ApiResponse>, ErrorResponse> {
        let guard = surface.in_flight(&call)?;
        let only = one_at_a_time(&surface.admin.in_progress.importing, "An import")?;
        let imports = ImportOptions { max_bytes: most, ..surface.admin.imports.clone() };
        let Spool { file, sha256 } = Spool::receive(body, &imports).await?;
        let idempotency_key = guard.map(|guard| IdempotencyKey::new(guard, &call, &sha256));
        if let Some(answer) = surface.find_replay(&call, idempotency_key.as_ref()).await? {
            return Ok(Err(answer));
        }
        Ok(Ok(Self { surface, call, idempotency_key, file, dry_run, _only: only }))
    }

    async fn import(self) -> Result<ApiResponse, ErrorResponse> {
        let admin = &self.surface.admin;
        let secrets = SecretFingerprints::new(&admin.directory.peppers(), &admin.sealer);
        let own = ADMIN_TENANT.parse().map_err(|_| Denial::internal("invalid tenant id"))?;
        let mut file = BufReader::new(&self.file);
        let import =
            Import::new(&mut file, secrets).into_existing(true).skip_tenant(own).dry_run(self.dry_run);
        self.transact(import).await
    }

    async fn import_keys(self, create_callers: bool) -> Result<ApiResponse, ErrorResponse> {
        let mut text = Vec::new();
        let read = (&self.file).read_to_end(&mut text).map_err(transfer::ImportError::Read);
        let content_type = self.call.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
        let form = if essence.trim().eq_ignore_ascii_case(ROWS) {
            KeyFileFormat::Csv
        } else {
            KeyFileFormat::Ndjson
        };
        let rows =
            read.and_then(|_| KeyRows::read(&text, form)).map_err(|refused| self.import_error(refused))?;
        drop(text);
        let peppers = self.surface.admin.directory.peppers();
        let import = KeyImport::new(rows, &peppers).create_callers(create_callers).dry_run(self.dry_run);
        self.transact(import).await
    }

    /// Performs an import in one transaction. Returns the stored response instead if the request took effect before.
    async fn transact<J: ImportJob<Report: Serialize>>(&self, work: J) -> Result<ApiResponse, ErrorResponse> {
        let admin = &self.surface.admin;
        let lock_proof = self.call.lock_proof();
        let response: fn(&J) -> Option<ApiResponse> =
            |work| work.imported().map(|imported| import_response(imported, false));
        let idempotency_key = self.idempotency_key.as_ref();
        let mut guarded = GuardedWork { admin, idempotency_key, lock_proof, work, response, replay: None };
        let done = admin.registry.transact_bulk(&mut guarded, self.call.actor()).await;
        done.map_err(|fault| self.surface.registry_error(fault))?;
        if let Some(replay) = guarded.replay {
            return Ok(replay);
        }
        let outcome = guarded.work.outcome();
        outcome
            .map(|imported| import_response(imported, self.dry_run))
            .map_err(|refused| self.import_error(refused))
    }

    fn import_error(&self, refused: transfer::ImportError) -> ErrorResponse {
        match refused {
            transfer::ImportError::Mistakes(all) => {
                Denial::InvalidValues { wrong: all.into_iter().map(wrong).collect() }.into()
            }
            transfer::ImportError::Store(fault) => self.surface.registry_error(fault),
            transfer::ImportError::NotEmpty => {
                Denial::internal("an import required an empty registry").into()
            }
            transfer::ImportError::Read(error) => {
                tracing::error!("failed to read an uploaded file: {error}");
                Denial::unavailable("The gateway could not read the file.", super::RETRY_AFTER).into()
            }
        }
    }
}

/// Converts an error of an import into an error of a problem. The members of its path are plain names and numbers.
fn wrong(mistake: LineError) -> FieldError {
    let LineError { line, member, what } = mistake;
    let way = member.split(['.', '[', ']']).filter(|name| !name.is_empty());
    let pointer = way.fold("#".to_owned(), |way, name| way + "/" + name);
    FieldError { pointer, line: Some(line), detail: what.into() }
}
