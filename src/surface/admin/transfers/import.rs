//! Files into the registry.

use std::{
    fs::File,
    io::{BufReader, Read},
    sync::Arc,
};

use axum::{
    body::Body,
    extract::{Request, State},
};
use http::header;
use serde::Serialize;
use tokio::{runtime::Handle, sync::OwnedSemaphorePermit, task::spawn_blocking};

use super::{
    super::{
        ADMIN_TENANT, Surface,
        response::{ApiResponse, ErrorResponse},
        call_context::CallContext,
        idempotency::IdempotencyKey,
        page::Query,
        openapi,
    },
    ROWS, one_at_a_time,
    spool::{ImportOptions, Spool},
    schemas,
    guarded::GuardedWork,
};
use crate::{
    Denial,
    model::Role,
    denial::FieldError,
    registry::UnitOfWork,
    transfer::{self, KeyFileFormat, Import, KeyImport, MAX_FILE_BYTES, LineError, KeyRows, SecretFingerprints},
};

/// What was imported, or would have been.
#[derive(Serialize)]
struct Told<T> {
    #[serde(flatten)]
    imported: T,
    /// Whether it was taken back.
    dry_run: bool,
}

fn told(imported: impl Serialize, dry_run: bool) -> ApiResponse {
    ApiResponse::ok(&Told { imported, dry_run })
}

/// A file that is there whole, and who wants it imported.
struct Task {
    surface: Arc<Surface>,
    call: CallContext,
    ticket: Option<IdempotencyKey>,
    file: File,
    dry_run: bool,
    _only: OwnedSemaphorePermit,
}

/// Imports a file, all of it or nothing. For an owner.
///
/// What an [export](super::export) wrote, beside what is there. Of administrators the registry has its own: whoever
/// may write a file makes none.
#[utoipa::path(
    post,
    path = "/import",
    tag = "transfers",
    operation_id = "import",
    params(
        ("dry_run" = Option<bool>, Query, description = "Whether it is taken back again"),
        openapi::IdempotencyKey,
        openapi::LockToken
    ),
    request_body(content = String, content_type = "application/x-ndjson", description = "What an export wrote"),
    responses((status = 200, description = "What was put in", body = schemas::Imported), openapi::CommonErrors, openapi::CreateErrors),
)]
pub(in super::super) async fn import(
    State(surface): State<Arc<Surface>>,
    request: Request,
) -> Result<ApiResponse, ErrorResponse> {
    let (call, body) = CallContext::extract_head(request, Role::Owner)?;
    let dry_run = flag(&call.query(&["dry_run"])?, "dry_run")?;
    let most = surface.admin.imports.max_bytes;
    match Task::begin(surface, call, body, most, dry_run).await? {
        Ok(task) => aside(move |here| here.block_on(task.import())).await,
        Err(earlier) => Ok(earlier),
    }
}

/// Imports keys of another gateway, all of them or none. For an owner.
#[utoipa::path(
    post,
    path = "/keys/import",
    tag = "transfers",
    operation_id = "import_keys",
    params(
        ("dry_run" = Option<bool>, Query, description = "Whether it is taken back again"),
        ("make_callers" = Option<bool>, Query, description = "Whether callers are made that are not there"),
        openapi::IdempotencyKey,
        openapi::LockToken
    ),
    request_body(
        content((String = "application/x-ndjson"), (String = "text/csv")),
        description = "A key to a row"
    ),
    responses(
        (status = 200, description = "What was made", body = schemas::ImportedKeys),
        openapi::CommonErrors,
        openapi::NotFound,
        openapi::CreateErrors
    ),
)]
pub(in super::super) async fn import_keys(
    State(surface): State<Arc<Surface>>,
    request: Request,
) -> Result<ApiResponse, ErrorResponse> {
    let (call, body) = CallContext::extract_head(request, Role::Owner)?;
    let query = call.query(&["dry_run", "make_callers"])?;
    let (dry_run, make_callers) = (flag(&query, "dry_run")?, flag(&query, "make_callers")?);
    let most = surface.admin.imports.max_bytes.min(MAX_FILE_BYTES as u64);
    match Task::begin(surface, call, body, most, dry_run).await? {
        Ok(task) => aside(move |here| here.block_on(task.import_keys(make_callers))).await,
        Err(earlier) => Ok(earlier),
    }
}

fn flag(query: &Query, name: &str) -> Result<bool, Denial> {
    Ok(query.parsed(name, "true or false")?.unwrap_or_default())
}

/// Requests are served on the thread that asks for this: a file is read and parsed on another one. It goes on there
/// when who asks has gone.
async fn aside(
    work: impl FnOnce(Handle) -> Result<ApiResponse, ErrorResponse> + Send + 'static,
) -> Result<ApiResponse, ErrorResponse> {
    let here = Handle::current();
    let done = spawn_blocking(move || work(here)).await;
    done.unwrap_or_else(|error| Err(Denial::internal(format!("an import ended early: {error}")).into()))
}

impl Task {
    /// Takes the file in; or the first answer, when it was imported before.
    async fn begin(
        surface: Arc<Surface>,
        call: CallContext,
        body: Body,
        most: u64,
        dry_run: bool,
    ) -> Result<Result<Self, ApiResponse>, ErrorResponse> {
        let turn = surface.turn(&call)?;
        let only = one_at_a_time(&surface.importing, "An import")?;
        let imports = ImportOptions { max_bytes: most, ..surface.admin.imports.clone() };
        let Spool { file, sha256 } = Spool::receive(body, &imports).await?;
        let ticket = turn.map(|turn| turn.ticket(&call, &sha256));
        if let Some(answer) = surface.earlier(&call, ticket.as_ref()).await? {
            return Ok(Err(answer));
        }
        Ok(Ok(Self { surface, call, ticket, file, dry_run, _only: only }))
    }

    async fn import(self) -> Result<ApiResponse, ErrorResponse> {
        let admin = &self.surface.admin;
        let secrets = SecretFingerprints::new(&admin.directory.peppers(), &admin.sealer);
        let own = ADMIN_TENANT.parse().map_err(|_| Denial::internal("no id of a tenant"))?;
        let mut file = BufReader::new(&self.file);
        let import =
            Import::new(&mut file, secrets).into_existing(true).skip_tenant(own).dry_run(self.dry_run);
        let answer = |import: &Import<'_>| import.imported().map(|imported| told(imported, false));
        match self.run(import, answer).await? {
            Ok(import) => self.outcome(import.outcome()),
            Err(earlier) => Ok(earlier),
        }
    }

    async fn import_keys(self, make_callers: bool) -> Result<ApiResponse, ErrorResponse> {
        let mut text = Vec::new();
        let read = (&self.file).read_to_end(&mut text).map_err(transfer::ImportError::Read);
        let content_type = self.call.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
        let form = if essence.trim().eq_ignore_ascii_case(ROWS) { KeyFileFormat::Csv } else { KeyFileFormat::Ndjson };
        let rows = read.and_then(|_| KeyRows::read(&text, form)).map_err(|refused| self.refuse(refused))?;
        drop(text);
        let peppers = self.surface.admin.directory.peppers();
        let import = KeyImport::new(rows, &peppers).create_callers(make_callers).dry_run(self.dry_run);
        let answer = |import: &KeyImport<'_>| import.imported().map(|imported| told(imported, false));
        match self.run(import, answer).await? {
            Ok(import) => self.outcome(import.outcome()),
            Err(earlier) => Ok(earlier),
        }
    }

    /// Runs an import to its end; or the first answer, when it was done before.
    async fn run<W: UnitOfWork>(
        &self,
        work: W,
        told: fn(&W) -> Option<ApiResponse>,
    ) -> Result<Result<W, ApiResponse>, ErrorResponse> {
        let admin = &self.surface.admin;
        let hold = self.call.with_lock_proof(Vec::new());
        let mut within = GuardedWork { admin, ticket: self.ticket.as_ref(), hold, work, told, earlier: None };
        let done = admin.registry.transact_bulk(&mut within, self.call.actor()).await;
        done.map_err(|fault| self.surface.refuse(fault))?;
        Ok(match within.earlier {
            Some(earlier) => Err(earlier),
            None => Ok(within.work),
        })
    }

    fn outcome<T: Serialize>(&self, outcome: Result<T, transfer::ImportError>) -> Result<ApiResponse, ErrorResponse> {
        outcome.map(|imported| told(imported, self.dry_run)).map_err(|refused| self.refuse(refused))
    }

    fn refuse(&self, refused: transfer::ImportError) -> ErrorResponse {
        match refused {
            transfer::ImportError::Mistakes(all) => {
                Denial::InvalidValues { wrong: all.into_iter().map(wrong).collect() }.into()
            }
            transfer::ImportError::Store(fault) => self.surface.refuse(fault),
            transfer::ImportError::NotEmpty => Denial::internal("an import was to be the first thing").into(),
            transfer::ImportError::Read(error) => {
                tracing::error!("a file that is imported cannot be read: {error}");
                Denial::unavailable("The file cannot be read here just now.", super::RETRY_AFTER).into()
            }
        }
    }
}

/// A mistake as a problem tells it: the members of its path are plain names and numbers.
fn wrong(mistake: LineError) -> FieldError {
    let LineError { line, member, what } = mistake;
    let way = member.split(['.', '[', ']']).filter(|name| !name.is_empty());
    let pointer = way.fold("#".to_owned(), |way, name| way + "/" + name);
    FieldError { pointer, line: Some(line), detail: what.into() }
}
