//! `portcullis export`, `import` and `import-keys`: a store as one file and back, and keys of other gateways.
//!
//! They work on the store itself, whether a gateway runs or not; one that runs follows the change log. With `--url`,
//! a gateway's admin API does the same.

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
    model::Actor,
    cli::manage::Remote,
    clock::{Clock, SystemClock},
    config::Config,
    gateway,
    registry::sqlite::Sqlite,
    transfer::{self, KeyFileFormat, Imported, KeyImport, MAX_FILE_BYTES, LineError, ImportError, KeyRows, SecretFingerprints},
};
use atomic_file::AtomicFile;

/// Where everything goes.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Export {
    /// A file that is not there yet, or - for standard output.
    #[arg(long, value_name = "FILE", default_value = "-")]
    to: TransferTarget,
    /// Of a gateway, where one is named.
    #[command(flatten)]
    served: Remote,
}

/// Where everything comes from.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(after_help = "\
All of it is imported or nothing; while it runs, nobody else can change anything in the store. The secrets file is
that of the installation that exported: without it, keys and app secrets are worth nothing.

A gateway that is asked with --url has something already: its administrators. It always adds, and leaves out those of
the file.")]
pub struct Import {
    /// What an export wrote, or - for standard input.
    #[arg(value_name = "FILE")]
    from: TransferTarget,
    /// Into a gateway, where one is named.
    #[command(flatten)]
    served: Remote,
    /// Into a store in which there is something already; what the file has must not be there.
    #[arg(long)]
    add: bool,
    /// Do everything, and take it back.
    #[arg(long)]
    dry_run: bool,
}

/// Where keys come from.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(after_help = "\
A row has tenant, caller, name, and digest (SHA-256 of the key, hexadecimal or Base64) or key; and may have hint,
status (enabled, disabled), scopes (all, or RESOURCE:read and RESOURCE:write with spaces between), not_after
(RFC 3339) and plan. All rows are imported or none, 100000 at most:

  tenant,caller,name,digest,scopes
  acme,billing,production,n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=,orders:read invoices:write")]
pub struct ImportKeys {
    /// Rows of keys, or - for standard input.
    #[arg(value_name = "FILE")]
    from: TransferTarget,
    /// Into a gateway, where one is named.
    #[command(flatten)]
    served: Remote,
    /// How they are written: ndjson or csv. Unless it is said: csv when the file is named so, else ndjson.
    #[arg(long, value_name = "FORM")]
    format: Option<KeyFileFormat>,
    /// Make the callers that are not there: api clients, named `api-client.ID`, or `api-client.id/ID` where that is no
    /// domain.
    #[arg(long)]
    make_callers: bool,
    /// Do everything, and take it back.
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

/// Where everything is written to.
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

/// Writes everything in the store of a configuration, or in that of a gateway, to one file. What it was is told.
///
/// # Errors
/// When there is no store, or something cannot be read or written; then there is no file.
pub async fn export(
    config: impl FnOnce() -> anyhow::Result<Config>,
    arguments: &Export,
) -> anyhow::Result<String> {
    let mut written = 0;
    if let Some(api) = arguments.served.api()? {
        // Who may not, or asks nobody, leaves nothing behind: the first lines come before the file.
        let mut output = None;
        remote::export(&api, |lines| {
            let output = match &mut output {
                Some(output) => output,
                None => output.insert(Output::open(&arguments.to)?),
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
    let exported = export_all(&registry, &secrets, clock.now().time, &arguments.to).await;
    registry.close().await;
    Ok(format!("{} bytes", exported?))
}

/// Writes everything in a registry; returns how many bytes that was.
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

/// Reads what an export wrote into the store of a configuration, which is made when it is not there, or into that of
/// a gateway. What was imported is told.
///
/// # Errors
/// When the file is wrong or does not fit the store, with its line; when secrets or store cannot be read. Then
/// nothing was imported.
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
        let left_out = format!("; {} lines of administrators were left out", imported["left_out"]);
        return Ok(told(*dry_run, &counts.join(", ")) + &left_out);
    }
    let config = &config()?;
    config.secrets.load().context("a file is imported with the secrets that it was exported with")?;
    let (registry, secrets) = gateway::store::open(config, Arc::new(SystemClock::new())).await?;
    let secrets = SecretFingerprints::new(&secrets.peppers(), &secrets.sealer());
    let import = transfer::Import::new(&mut *file, secrets).into_existing(*add).dry_run(*dry_run);
    let imported = import.run(&registry, &Actor::system("import")).await;
    registry.close().await;
    match imported {
        Ok(Imported { counts, .. }) => {
            let counts: Vec<_> = counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
            Ok(told(*dry_run, &counts.join(", ")))
        }
        Err(ImportError::NotEmpty) => bail!(
            "{}: there is something in it already; --add imports beside it",
            config.store.path.display()
        ),
        Err(refused) => bail!("{from}: {refused}"),
    }
}

/// Makes credentials of rows of keys, in the store of a configuration or of a gateway. What was made is told.
///
/// # Errors
/// When rows are wrong or do not fit the store, with their lines; when secrets or store cannot be read. Then
/// nothing was made.
pub async fn import_keys(
    config: impl FnOnce() -> anyhow::Result<Config>,
    arguments: &ImportKeys,
) -> anyhow::Result<String> {
    let ImportKeys { from, served, format, make_callers, dry_run } = arguments;
    let named = from.0.as_deref().and_then(Path::extension);
    let form = format.unwrap_or(if named.is_some_and(|it| it == "csv") { KeyFileFormat::Csv } else { KeyFileFormat::Ndjson });
    if let Some(api) = served.api()? {
        let given = [("dry_run", *dry_run), ("make_callers", *make_callers)];
        let media_type = if form == KeyFileFormat::Csv { remote::ROWS } else { remote::LINES };
        let made = remote::import(&api, "/keys/import", &given, media_type, from.open()?).await?;
        return Ok(told(*dry_run, &format!("{} keys, {} callers", made["keys"], made["callers"])));
    }
    let config = &config()?;
    let mut text = Vec::new();
    let longest = MAX_FILE_BYTES as u64 + 1;
    from.open()?.take(longest).read_to_end(&mut text).with_context(|| format!("{from}: cannot be read"))?;
    gateway::store::ensure_there(config)?;
    let rows = KeyRows::read(&text, form).map_err(|refused| mistakes(from, refused))?;
    let (registry, secrets) = gateway::store::open_existing(config, Arc::new(SystemClock::new())).await?;
    let peppers = secrets.peppers();
    let import = KeyImport::new(rows, &peppers).create_callers(*make_callers).dry_run(*dry_run);
    let made = import.run(&registry, &Actor::system("import-keys")).await;
    registry.close().await;
    let made = made.map_err(|refused| mistakes(from, refused))?;
    Ok(told(*dry_run, &format!("{} keys, {} callers", made.keys, made.callers)))
}

fn told(dry_run: bool, what: &str) -> String {
    if dry_run { format!("would be imported: {what}; nothing was") } else { format!("imported: {what}") }
}

/// Each mistake on a line of its own.
fn mistakes(from: &TransferTarget, refused: ImportError) -> anyhow::Error {
    match refused {
        ImportError::Mistakes(all) => {
            let lines: Vec<_> = all.iter().map(LineError::to_string).collect();
            anyhow::anyhow!("{from}: nothing was imported:\n  {}", lines.join("\n  "))
        }
        refused => anyhow::anyhow!("{from}: {refused}"),
    }
}
