//! The `portcullis` binary: arguments and start-up, nothing else.

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
    model::text::{escaped, escaped_json},
    cli::{
        client::ApiError,
        backup, check, introduction,
        manage::{self, Manage},
        secrets, sign, transfer,
    },
    clock::{Clock, SystemClock},
    config::{Config, ConfigError},
    gateway::{self, LogWriter, audit},
};
use tracing_subscriber::{EnvFilter, prelude::*};

/// A request is some twenty pieces of memory, each soon given back: the system's allocator spends a fifth of
/// a request's instructions on putting them together again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A gateway that stands in front of an API: who is calling, how much may they, is it locked just now, do
/// we speak the same format.
#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "\
Start here:
  portcullis init  --config config/gateway.toml     first tenant, app and key; shows the key once
  portcullis serve --config config/gateway.toml     until SIGTERM or SIGQUIT (requests finish) or SIGINT (at once)

SIGHUP, SIGUSR1 and SIGUSR2 are ignored, with a log line.

What it logs goes to standard output as JSON lines; RUST_LOG chooses what (default: info, of the libraries
warnings or errors; RUST_LOG=debug for more, RUST_LOG=info,access=off to leave out the access log). A reader
that is too slow misses lines, which are counted; nothing waits for it. Exit status: 0 done, 1 failed, 2 usage,
3 refused by the admin API."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway that a configuration describes.
    Serve(ConfigFile),
    /// Check a configuration and report everything that is wrong with it, each with line and column: syntax, names,
    /// routes that no request can reach, settings without effect, files. Opens no listener and no store.
    Check {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        arguments: check::Arguments,
    },
    /// Make secrets and store, and in an empty store a first tenant, app and key, which is shown once.
    Init {
        #[command(flatten)]
        file: ConfigFile,
        /// Make new keys in the place of those that an earlier run showed, which are then refused: for when what
        /// it showed was lost.
        #[arg(long)]
        new_keys: bool,
    },
    /// Copy the store to a file, consistently and whether or not a gateway runs. It holds every digest and every
    /// sealed secret; the secrets file is not in it.
    Backup {
        #[command(flatten)]
        file: ConfigFile,
        /// A file that is not there yet.
        #[arg(value_name = "FILE")]
        to: PathBuf,
    },
    /// Account for changes: who made which, when, and whether the record of them is whole.
    #[command(subcommand)]
    Audit(Audit),
    /// Manage tenants: customers, each with its callers.
    Tenant {
        #[command(flatten)]
        place: AdminTarget,
        #[command(subcommand)]
        command: manage::Tenants,
    },
    /// Manage the callers of a tenant: api clients, apps, operators, administrators.
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
    /// Lock callers and paths while they are worked on.
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
    /// Write a script that completes these commands, for a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Write everything in the store to one file: tenants, plans, callers, credentials, locks. Keys as their
    /// digests, app secrets sealed.
    Export {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        arguments: transfer::Export,
    },
    /// Read what an export wrote into the store.
    Import {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        arguments: transfer::Import,
    },
    /// Make credentials of another gateway's keys, or of their SHA-256.
    ImportKeys {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        arguments: transfer::ImportKeys,
    },
    /// Sign a request (SDK-HMAC-SHA256) and show every step of it, or say why a signature does not hold.
    Sign(Box<sign::Arguments>),
    /// Rotate what keys the digests of credentials and what seals secrets.
    Secrets {
        #[command(flatten)]
        file: ConfigFile,
        #[command(subcommand)]
        command: secrets::Secrets,
    },
    /// Run a service to put behind a first gateway: it answers every request with what reached it.
    Demo {
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:9000")]
        listen: SocketAddr,
    },
}

#[derive(Subcommand)]
enum Audit {
    /// Prove that the store holds what was written through the program and nothing else. Prints a number and
    /// a hash: keep it elsewhere, and give it to a later run, which proves that nothing before it was altered.
    Verify {
        #[command(flatten)]
        file: ConfigFile,
        /// What an earlier run printed, as NUMBER:HASH.
        #[arg(long, value_name = "NUMBER:HASH")]
        head: Option<audit::ChainHead>,
    },
    /// List the changes, oldest first, without digests and secrets.
    List {
        #[command(flatten)]
        file: ConfigFile,
        /// Only those after this number.
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// At most so many.
        #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
        limit: u64,
        /// As JSON lines, with all that was before and is after.
        #[arg(long)]
        json: bool,
    },
}

/// Where the admin API is, or the store.
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
    /// The configuration, TOML; `config/gateway.toml` shows all there is. Relative paths in it are relative to it.
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
    /// Returns `true` if the output has a secret that is shown once.
    fn shows_secret(&self) -> bool {
        matches!(
            self,
            Self::Key { command: manage::Keys::Create { .. } | manage::Keys::Rotate { .. }, .. }
                | Self::App { command: manage::Apps::Create { .. }, .. }
                | Self::Lock { command: manage::Locks::Acquire { .. }, .. }
        )
    }
}

/// The exit status of a command that the admin API has refused.
const REFUSED: u8 = 3;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let shows_secret = arguments.command.shows_secret();
    match run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) && shows_secret => {
            let _ = writeln!(
                io::stderr(),
                "portcullis: the output was closed before it was read. What the command made is in the store, and its \
                 secret is shown only once: remove it, and make another one"
            );
            ExitCode::FAILURE
        }
        // Whoever reads the output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Each mistake in a configuration has its own line, which begins with file, line and column. Nobody may be
            // reading this either.
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
                "{}: verified: no change in the log was altered, and the tables match it\nhead {anchor}",
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
            // Into memory: the library panics when it cannot write.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "portcullis", &mut script);
            Ok(io::stdout().lock().write_all(&script)?)
        }
        Command::Export { file, arguments } => {
            let done = transfer::export(|| Ok(Config::load(&file.config)?), &arguments);
            let exported = runtime()?.block_on(done)?;
            // The file is whole, whether or not anybody reads this.
            let _ = writeln!(io::stderr(), "exported: {exported}");
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

/// A change for people: who did what to which, and what is different since.
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

/// Logs to standard output from here on.
fn init_logging() -> anyhow::Result<LogWriter> {
    // What h2 and rustls warn of, a client can cause as often as it likes.
    const DEFAULT: &str = "info,pingora_core=warn,pingora=warn,sqlx=warn,h2=error,rustls=error";

    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let writer = LogWriter::stdout().context("starting the log")?;
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_current_span(false);
    tracing_subscriber::registry().with(filter).with(lines.with_writer(writer.clone())).init();
    Ok(writer)
}

/// Logs errors of a command to standard error: an answer says that the store failed, the log says why.
fn log_errors() {
    let lines = tracing_subscriber::fmt().with_max_level(tracing::Level::ERROR).with_writer(io::stderr);
    lines.without_time().with_target(false).log_internal_errors(false).init();
}

fn init(config: &Config, new_keys: bool) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let Some(start) = runtime.block_on(gateway::bootstrap(config, new_keys))? else {
        return say(format_args!(
            "The store {} has its tenants already; nothing was made. Were the keys lost that the first run showed? \
             `portcullis init --new-keys` makes others in their place.",
            config.store.path.display()
        ));
    };
    // All of it at once, and before any key is stored: what could not be shown proves nobody.
    let shown = {
        let mut out = io::stdout().lock();
        introduction::introduction(config, &start)
            .map_err(io::Error::other)
            .and_then(|text| out.write_all(text.as_bytes()))
            .and_then(|()| out.flush())
    };
    if let Err(error) = shown {
        runtime.block_on(start.abandon());
        // Not as its cause: for other commands, a closed pipe is no failure.
        anyhow::bail!("standard output: {error}; no key was stored: run `portcullis init` again");
    }
    runtime.block_on(start.store()).context("what is shown above could not be stored and is worth nothing")
}
