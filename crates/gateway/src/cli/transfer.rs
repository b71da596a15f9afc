//! `portcullis export`, `import` and `import-keys`: transfer of a store by a file, and of keys of other gateways.
//!
//! The commands work on the store directly, whether or not a gateway runs; a running gateway follows the change log.
//! With `--url`, they use the admin API of a gateway.

pub(crate) mod atomic_file;
mod remote;

use std::{
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};

use crate::{
    cli::{count::counted, manage::Remote},
    config::Config,
    gateway,
};
use atomic_file::AtomicFile;
use portcullis::{
    clock::{Clock, SystemClock},
    model::Actor,
    registry::sqlite::Sqlite,
};
use portcullis_surfaces::transfer::{
    self, ImportError, ImportJob, Imported, KeyFileFormat, KeyImport, KeyRows, LineError, MAX_FILE_BYTES,
    SecretFingerprints,
};

/// The options of `export`.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Export {
    /// The file to create, which must not exist, or - for standard output.
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: TransferTarget,
    /// The gateway to export, if any.
    #[command(flatten)]
    served: Remote,
}

/// The options of `import`.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(after_help = "\
An import is atomic. Other changes are possible while it runs; it fails if one of them conflicts with the file. It needs
the secrets file of the installation that exported: without that file, the keys and app secrets are unusable.

With --url, the gateway already has administrators. The import always adds to its store and skips the administrators of
the file.")]
pub struct Import {
    /// The file that `export` wrote, or - for standard input.
    #[arg(value_name = "FILE")]
    from: TransferTarget,
    /// The gateway to import into, if any.
    #[command(flatten)]
    served: Remote,
    /// Add to a store that is not empty. None of the entries in the file may exist there.
    #[arg(long)]
    add: bool,
    /// Run the import, then roll it back.
    #[arg(long)]
    dry_run: bool,
}

/// The options of `import-keys`.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(after_help = "\
A row has tenant, caller, name, and digest (SHA-256 of the key, hexadecimal or Base64) or key. It may have hint,
status (enabled, disabled), scopes (all, or RESOURCE:read and RESOURCE:write, separated by spaces), not_after
(RFC 3339) and plan. At most 100000 rows, and either all are imported or none:

  tenant,caller,name,digest,scopes
  acme,billing,production,n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=,orders:read invoices:write")]
pub struct ImportKeys {
    /// The file with the rows, or - for standard input.
    #[arg(value_name = "FILE")]
    from: TransferTarget,
    /// The gateway to import into, if any.
    #[command(flatten)]
    served: Remote,
    /// The format: ndjson or csv. Default: csv if the file name ends in .csv, otherwise ndjson.
    #[arg(long, value_name = "FORMAT")]
    format: Option<KeyFileFormat>,
    /// Create missing callers, as API clients that are named `api-client.ID`, or `api-client.id/ID` if that is not a
    /// domain name.
    #[arg(long)]
    create_callers: bool,
    /// Run the import, then roll it back.
    #[arg(long)]
    dry_run: bool,
}

/// A file, or one of the standard streams.
#[derive(Debug, Clone)]
struct TransferTarget(Option<PathBuf>);

impl From<&str> for TransferTarget {
    fn from(name: &str) -> Self {
        Self((name != "-").then(|| name.into()))
    }
}

impl fmt::Display for TransferTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(path) => path.display().fmt(f),
            None => f.write_str("standard input"),
        }
    }
}

impl TransferTarget {
    fn open(&self) -> anyhow::Result<Box<dyn BufRead + Send + Sync>> {
        let Some(path) = &self.0 else { return Ok(Box::new(BufReader::new(io::stdin()))) };
        let file = File::open(path).with_context(|| format!("{self}: cannot be read"))?;
        Ok(Box::new(BufReader::new(file)))
    }
}

/// The output of an export.
enum Output<'a> {
    File(AtomicFile, &'a Path),
    Standard(io::StdoutLock<'static>),
}

impl<'a> Output<'a> {
    fn open(place: &'a TransferTarget) -> anyhow::Result<Self> {
        let Some(path) = &place.0 else { return Ok(Self::Standard(io::stdout().lock())) };
        Ok(Self::File(AtomicFile::create(path).with_context(|| path.display().to_string())?, path))
    }

    fn write(&mut self, lines: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::File(draft, path) => draft.write(lines).with_context(|| path.display().to_string()),
            Self::Standard(out) => Ok(out.write_all(lines)?),
        }
    }

    fn end(self) -> anyhow::Result<()> {
        match self {
            Self::File(draft, path) => draft.persist().with_context(|| path.display().to_string()),
            Self::Standard(mut out) => Ok(out.flush()?),
        }
    }
}

/// Writes the contents of the store of a configuration or of a gateway to one file. Returns a description of the
/// export.
///
/// # Errors
/// If the store does not exist or cannot be read, or the file cannot be written. No file is left behind.
pub async fn export(
    config: impl FnOnce() -> anyhow::Result<Config>,
    arguments: &Export,
) -> anyhow::Result<String> {
    let mut written = 0;
    if let Some(api) = arguments.served.api()? {
        // The file is created after the first lines have arrived, so that a denied or failed request leaves no file
        // behind.
        let mut output = None;
        remote::export(&api, |lines| {
            let output = match &mut output {
                Some(output) => output,
                None => output.insert(Output::open(&arguments.output)?),
            };
            written += lines.len();
            output.write(lines)
        })
        .await?;
        output.map_or(Ok(()), Output::end)?;
        return Ok(format!("{written} bytes"));
    }
    let config = &config()?;
    let clock = Arc::new(SystemClock::new());
    let (registry, secrets) = gateway::store::open_existing(config, clock.clone()).await?;
    let secrets = SecretFingerprints::new(&secrets.peppers(), &secrets.sealer());
    let exported = export_all(&registry, &secrets, clock.now().time, &arguments.output).await;
    registry.close().await;
    Ok(format!("{} bytes", exported?))
}

/// Writes the contents of a registry. Returns the number of bytes.
async fn export_all(
    registry: &Sqlite,
    secrets: &SecretFingerprints,
    now: jiff::Timestamp,
    to: &TransferTarget,
) -> anyhow::Result<usize> {
    let mut written = 0;
    let mut export = transfer::Export::begin(registry, secrets, now).await?;
    let mut output = Output::open(to)?;
    while let Some(lines) = export.next().await? {
        output.write(&lines)?;
        written += lines.len();
    }
    output.end()?;
    Ok(written)
}

/// Imports an export into the store of a configuration, which is created if it does not exist, or into that of a
/// gateway. Returns a description of the import.
///
/// # Errors
/// If the file is invalid or conflicts with the store (with the line), or the secrets or the store cannot be read.
/// Nothing is imported.
pub async fn import(
    config: impl FnOnce() -> anyhow::Result<Config>,
    arguments: &Import,
) -> anyhow::Result<String> {
    let Import { from, served, add, dry_run } = arguments;
    let mut file = from.open()?;
    if let Some(api) = served.api()? {
        let given = [("dry_run", *dry_run)];
        let imported = remote::import(&api, "/import", &given, remote::LINES, file).await?;
        let counts = imported["counts"].as_object().into_iter().flatten();
        let counts: Vec<_> = counts.map(|(kind, count)| format!("{kind} {count}")).collect();
        let skipped = counted(imported["skipped"].as_u64().unwrap_or_default(), "line", "lines");
        let skipped = format!("; skipped {skipped} about administrators");
        return Ok(describe_result(*dry_run, &counts.join(", ")) + &skipped);
    }
    let config = &config()?;
    config.secrets.load().context("an import needs the secrets file of the installation that exported")?;
    let (registry, secrets) = gateway::store::open(config, Arc::new(SystemClock::new())).await?;
    let secrets = SecretFingerprints::new(&secrets.peppers(), &secrets.sealer());
    let import = transfer::Import::new(&mut *file, secrets).into_existing(*add).dry_run(*dry_run);
    let imported = import.import_into(&registry, &Actor::system("import")).await;
    registry.close().await;
    match imported {
        Ok(Imported { counts, .. }) => {
            let counts: Vec<_> = counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
            Ok(describe_result(*dry_run, &counts.join(", ")))
        }
        Err(ImportError::NotEmpty) => bail!(
            "{}: the store is not empty; to add the entries of the file, pass --add",
            config.store.path.display()
        ),
        Err(refused) => bail!("{from}: {refused}"),
    }
}

/// Creates credentials from rows of keys, in the store of a configuration or of a gateway. Returns a description of the
/// import.
///
/// # Errors
/// If rows are invalid or conflict with the store (with their lines), or the secrets or the store cannot be read.
/// Nothing is created.
pub async fn import_keys(
    config: impl FnOnce() -> anyhow::Result<Config>,
    arguments: &ImportKeys,
) -> anyhow::Result<String> {
    let ImportKeys { from, served, format, create_callers, dry_run } = arguments;
    let named = from.0.as_deref().and_then(Path::extension);
    let form = format.unwrap_or(if named.is_some_and(|it| it == "csv") {
        KeyFileFormat::Csv
    } else {
        KeyFileFormat::Ndjson
    });
    if let Some(api) = served.api()? {
        let given = [("dry_run", *dry_run), ("create_callers", *create_callers)];
        let media_type = if form == KeyFileFormat::Csv { remote::ROWS } else { remote::LINES };
        let made = remote::import(&api, "/keys/import", &given, media_type, from.open()?).await?;
        return Ok(describe_result(*dry_run, &format!("keys {}, callers {}", made["keys"], made["callers"])));
    }
    let config = &config()?;
    let mut text = Vec::new();
    let longest = MAX_FILE_BYTES as u64 + 1;
    from.open()?.take(longest).read_to_end(&mut text).with_context(|| format!("{from}: cannot be read"))?;
    gateway::store::ensure_there(config)?;
    let rows = KeyRows::read(&text, form).map_err(|refused| mistakes(from, refused))?;
    let (registry, secrets) = gateway::store::open_existing(config, Arc::new(SystemClock::new())).await?;
    let peppers = secrets.peppers();
    let import = KeyImport::new(rows, &peppers).create_callers(*create_callers).dry_run(*dry_run);
    let made = import.import_into(&registry, &Actor::system("import-keys")).await;
    registry.close().await;
    let made = made.map_err(|refused| mistakes(from, refused))?;
    Ok(describe_result(*dry_run, &format!("keys {}, callers {}", made.keys, made.callers)))
}

fn describe_result(dry_run: bool, what: &str) -> String {
    if dry_run { format!("would import: {what}; nothing was changed") } else { format!("imported: {what}") }
}

/// Formats each mistake on its own line.
fn mistakes(from: &TransferTarget, refused: ImportError) -> anyhow::Error {
    match refused {
        ImportError::Mistakes(all) => {
            let lines: Vec<_> = all.iter().map(LineError::to_string).collect();
            anyhow::anyhow!("{from}: nothing was imported:\n  {}", lines.join("\n  "))
        }
        refused => anyhow::anyhow!("{from}: {refused}"),
    }
}
