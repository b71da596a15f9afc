//! The `portcullis` binary: command-line arguments and start-up.

use std::{
    fmt,
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use portcullis::{
    clock::{Clock, SystemClock},
    model::text::{escaped, escaped_json},
};
use portcullis_gateway::cli::{
    backup, check,
    client::ApiError,
    introduction,
    manage::{self, Manage},
    secrets, sign, transfer,
};
use portcullis_gateway::config::{Config, ConfigError};
use portcullis_gateway::gateway::{self, LogWriter, audit};
use tracing_subscriber::{EnvFilter, prelude::*};

/// The global allocator. A request makes about twenty short-lived allocations, and the system allocator spends a fifth
/// of the request's instructions on merging freed blocks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An API gateway: it authenticates callers, enforces their limits and locks, and negotiates media types.
#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "\
Start here:
  portcullis init  --config config/gateway.toml     creates the first tenants, callers and keys; shows the keys once
  portcullis serve --config config/gateway.toml     runs until SIGTERM or SIGQUIT (graceful) or SIGINT (immediate)

`serve` logs and ignores SIGHUP, SIGUSR1 and SIGUSR2.

`serve` logs JSON lines to standard output. RUST_LOG selects them (default: info, and warnings or errors of
libraries; RUST_LOG=debug logs more, RUST_LOG=info,access=off omits the access log). If the reader of the log is
too slow, lines are dropped and counted; requests never wait for it.

Exit status: 0 success, 1 failure, 2 wrong usage, 3 denied by the admin API."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway with a configuration.
    Serve(ConfigFile),
    /// Check a configuration and report every error and warning with line and column: syntax, unknown names, routes
    /// that no request can reach, settings without effect, missing files. Opens no listener and no store.
    Check {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        arguments: check::Arguments,
    },
    /// Create the secrets file and the store and, in an empty store, the first tenants, callers and keys. The keys are
    /// shown only once.
    Init {
        #[command(flatten)]
        file: ConfigFile,
        /// Replace the keys that an earlier run showed, for example because they were lost. The old keys are no longer
        /// accepted.
        #[arg(long)]
        new_keys: bool,
    },
    /// Copy the store to a file, consistently, even while a gateway runs. The copy contains every digest and every
    /// sealed secret, but not the secrets file.
    Backup {
        #[command(flatten)]
        file: ConfigFile,
        /// The file to create; it must not exist.
        #[arg(value_name = "FILE")]
        to: PathBuf,
    },
    /// List and verify the changes: each with its author and time.
    #[command(subcommand)]
    Audit(Audit),
    /// Manage tenants: customers with their callers.
    Tenant {
        #[command(flatten)]
        place: AdminTarget,
        #[command(subcommand)]
        command: manage::Tenants,
    },
    /// Manage the callers of a tenant: API clients, apps, operators, administrators.
    App {
        #[command(flatten)]
        place: AdminTarget,
        #[command(subcommand)]
        command: manage::Apps,
    },
    /// Manage the keys of callers: create, rotate, revoke.
    Key {
        #[command(flatten)]
        place: AdminTarget,
        #[command(subcommand)]
        command: manage::Keys,
    },
    /// Manage plans: the limits of callers.
    Plan {
        #[command(flatten)]
        place: AdminTarget,
        #[command(subcommand)]
        command: manage::Plans,
    },
    /// Manage locks on callers and paths.
    Lock {
        #[command(flatten)]
        place: AdminTarget,
        #[command(subcommand)]
        command: manage::Locks,
    },
    /// Show the routes of the configuration.
    Route {
        #[command(flatten)]
        place: AdminTarget,
        #[command(subcommand)]
        command: manage::Routes,
    },
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Export the store to one file: tenants, plans, callers, credentials, locks. The file contains keys as digests and
    /// app secrets in sealed form.
    Export {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        arguments: transfer::Export,
    },
    /// Import a file that `export` wrote.
    Import {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        arguments: transfer::Import,
    },
    /// Import the keys of another gateway, or their SHA-256 digests.
    ImportKeys {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        arguments: transfer::ImportKeys,
    },
    /// Sign a request (SDK-HMAC-SHA256) and show every step, or explain why a signature is invalid.
    Sign(Box<sign::Arguments>),
    /// Manage the peppers (keys of the credential digests) and the seal keys (encryption keys of stored secrets).
    Secrets {
        #[command(flatten)]
        file: ConfigFile,
        #[command(subcommand)]
        command: secrets::Secrets,
    },
    /// Run a demo upstream that responds to every request with a description of that request.
    Demo {
        /// The address and port to listen on.
        #[arg(long, default_value = "127.0.0.1:9000")]
        listen: SocketAddr,
    },
}

#[derive(Subcommand)]
enum Audit {
    /// Verify that nothing but this program has changed the store. Prints a head (the number and hash of the last
    /// change): keep it elsewhere and pass it to a later run, which then proves that no earlier change was altered.
    Verify {
        #[command(flatten)]
        file: ConfigFile,
        /// The head that an earlier run printed.
        #[arg(long, value_name = "NUMBER:HASH")]
        head: Option<audit::ChainHead>,
    },
    /// List the changes, oldest first. Digests and secrets are omitted.
    List {
        #[command(flatten)]
        file: ConfigFile,
        /// Only changes after this number.
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// The maximum number of changes.
        #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
        limit: u64,
        /// Print JSON lines that contain the complete state before and after each change.
        #[arg(long)]
        json: bool,
    },
}

/// The configuration and the admin API to use.
#[derive(clap::Args)]
struct AdminTarget {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    place: manage::Target,
}

impl AdminTarget {
    fn run(&self, what: Manage) -> anyhow::Result<()> {
        let config = || Ok(Config::load(&self.file.config)?);
        runtime()?.block_on(manage::run(what, &self.place, config, &mut io::stdout().lock()))
    }
}

#[derive(clap::Args)]
struct ConfigFile {
    /// The configuration file (TOML); `config/gateway.toml` documents every setting. Relative paths in the file are
    /// relative to its folder.
    #[arg(
        long,
        short,
        value_name = "FILE",
        global = true,
        default_value = "config/gateway.toml",
        env = "PORTCULLIS_CONFIG"
    )]
    config: PathBuf,
}

impl Command {
    /// Returns `true` if the output contains a secret that is shown only once.
    fn shows_secret(&self) -> bool {
        matches!(
            self,
            Self::Key { command: manage::Keys::Create { .. } | manage::Keys::Rotate { .. }, .. }
                | Self::App { command: manage::Apps::Create { .. }, .. }
                | Self::Lock { command: manage::Locks::Acquire { .. }, .. }
        )
    }
}

/// The exit status of a command that the admin API denied.
const REFUSED: u8 = 3;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let shows_secret = arguments.command.shows_secret();
    match run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) && shows_secret => {
            let _ = writeln!(
                io::stderr(),
                "portcullis: standard output was closed before the result was written. The new entry is in the store, but \
                 its secret is shown only once: delete the entry and create another one"
            );
            ExitCode::FAILURE
        }
        // The reader closed the pipe because it needs no more output.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Each error of a configuration is a line that begins with file, line and column. Standard error may be
            // closed, too.
            let _ = match error.downcast_ref::<ConfigError>() {
                Some(mistakes) => writeln!(io::stderr(), "{mistakes}"),
                None => writeln!(io::stderr(), "portcullis: {error:#}"),
            };
            match error.downcast_ref::<ApiError>() {
                Some(refused) if refused.status < 500 => ExitCode::from(REFUSED),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    if !matches!(command, Command::Serve(_)) {
        log_errors();
    }
    match command {
        Command::Serve(file) => {
            let (config, warnings) = check::reviewed(&file.config)?.finish()?;
            let log = init_logging()?;
            for warning in warnings {
                tracing::warn!(finding = %warning, "configuration");
            }
            gateway::serve(&config, &log)
        }
        Command::Check { file, arguments } => check::run(&file.config, &arguments),
        Command::Init { file, new_keys } => init(&Config::load(&file.config)?, new_keys),
        Command::Backup { file, to } => {
            let config = Config::load(&file.config)?;
            let copied = runtime()?.block_on(backup::run(&config, &to))?;
            say(format_args!("{}: {copied}", to.display()))
        }
        Command::Audit(Audit::Verify { file, head }) => {
            let config = Config::load(&file.config)?;
            let anchor = runtime()?.block_on(audit::verify(&config, head))?;
            say(format_args!(
                "{}: verified: no change in the log was altered, and the tables match the log\nhead {anchor}",
                config.store.path.display()
            ))
        }
        Command::Audit(Audit::List { file, after, limit, json }) => {
            let (config, mut out) = (Config::load(&file.config)?, io::stdout().lock());
            runtime()?.block_on(audit::list(&config, after, limit, |change| {
                if json {
                    return writeln!(out, "{}", escaped_json(&serde_json::to_string(change)?));
                }
                print_change(&mut out, change)
            }))
        }
        Command::Tenant { place, command } => place.run(Manage::Tenants(command)),
        Command::App { place, command } => place.run(Manage::Apps(command)),
        Command::Key { place, command } => place.run(Manage::Keys(command)),
        Command::Plan { place, command } => place.run(Manage::Plans(command)),
        Command::Lock { place, command } => place.run(Manage::Locks(command)),
        Command::Route { place, command } => place.run(Manage::Routes(command)),
        Command::Completions { shell } => {
            // The script is generated in memory because the library panics on write errors.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "portcullis", &mut script);
            Ok(io::stdout().lock().write_all(&script)?)
        }
        Command::Export { file, arguments } => {
            let done = transfer::export(|| Ok(Config::load(&file.config)?), &arguments);
            let exported = runtime()?.block_on(done)?;
            // The file is complete even if this message cannot be written.
            let _ = writeln!(io::stderr(), "exported {exported}");
            Ok(())
        }
        Command::Import { file, arguments } => {
            let done = transfer::import(|| Ok(Config::load(&file.config)?), &arguments);
            let imported = runtime()?.block_on(done)?;
            say(format_args!("{imported}"))
        }
        Command::ImportKeys { file, arguments } => {
            let done = transfer::import_keys(|| Ok(Config::load(&file.config)?), &arguments);
            let imported = runtime()?.block_on(done)?;
            say(format_args!("{imported}"))
        }
        Command::Sign(arguments) => {
            let now = SystemClock::new().now().time;
            sign::run(&arguments, now, io::stdin().lock(), &mut io::stdout().lock())
        }
        Command::Secrets { file, command } => {
            let config = Config::load(&file.config)?;
            runtime()?.block_on(secrets::run(&config, &command, &mut io::stdout().lock()))
        }
        Command::Demo { listen } => runtime()?.block_on(gateway::demo(listen)),
    }
}

/// Writes a change as one line of text: its author, the action, the entity and the changed members.
fn print_change(out: &mut impl Write, change: &audit::ChangeRecord) -> io::Result<()> {
    let audit::ChangeRecord { seq, at, actor, verb, kind, id, .. } = change;
    write!(out, "{seq:>6}  {at:.3}  {}  {} {kind} {}", escaped(actor), verb.as_str(), escaped(id))?;
    for (name, before, after) in change.differences() {
        let [before, after] = [before, after].map(|value| escaped_json(&value.to_string()).into_owned());
        write!(out, "  {}: {before} → {after}", escaped(name))?;
    }
    writeln!(out)
}

/// Writes a line to standard output.
fn say(line: fmt::Arguments<'_>) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Starts logging to standard output.
fn init_logging() -> anyhow::Result<LogWriter> {
    // Clients can provoke the warnings of h2 and rustls at will.
    const DEFAULT: &str = "info,pingora_core=warn,pingora=warn,sqlx=warn,h2=error,rustls=error";

    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let writer = LogWriter::stdout().context("cannot start the log")?;
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_current_span(false);
    tracing_subscriber::registry().with(filter).with(lines.with_writer(writer.clone())).init();
    Ok(writer)
}

/// Logs errors of a command to standard error. A response only says that the store failed; the log contains the cause.
fn log_errors() {
    let lines = tracing_subscriber::fmt().with_max_level(tracing::Level::ERROR).with_writer(io::stderr);
    lines.without_time().with_target(false).log_internal_errors(false).init();
}

fn init(config: &Config, new_keys: bool) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let Some(start) = runtime.block_on(gateway::bootstrap(config, new_keys))? else {
        return say(format_args!(
            "The store {} already has tenants; nothing was created. If the keys of the first run are lost, replace \
             them with `portcullis init --new-keys`.",
            config.store.path.display()
        ));
    };
    // The keys are shown at once and before any of them is stored, so that a key that was not shown is never accepted.
    let shown = {
        let mut out = io::stdout().lock();
        introduction::introduction(config, &start)
            .map_err(io::Error::other)
            .and_then(|text| out.write_all(text.as_bytes()))
            .and_then(|()| out.flush())
    };
    if let Err(error) = shown {
        runtime.block_on(start.abandon());
        // The I/O error is not attached as the cause: a closed pipe would then count as success, as it does for other
        // commands.
        anyhow::bail!("standard output failed: {error}; no key was stored. Run `portcullis init` again");
    }
    runtime.block_on(start.store()).context("cannot store the keys above; they are not valid")
}
