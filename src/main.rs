//! The `portcullis` binary: arguments and start-up, nothing else.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use portcullis::{
    cli::{
        api::Refused,
        manage::{self, Manage},
        secrets, sign, transfer,
    },
    clock::{Clock, SystemClock},
    config::Config,
    gateway::{self, audit},
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
  portcullis serve --config config/gateway.toml     until SIGTERM (requests finish) or SIGINT (at once)

What it logs goes to standard output as JSON lines; RUST_LOG chooses what (default: info, RUST_LOG=debug
for more, RUST_LOG=info,access=off to leave out the access log). Exit status: 0 done, 1 failed, 2 usage,
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
    /// Say whether a configuration can be served: its syntax, its names, its certificates. Opens no
    /// listener and no store.
    Check(ConfigFile),
    /// Make secrets and store, and in an empty store a first tenant, app and key, which is shown once.
    Init(ConfigFile),
    /// Account for changes: who made which, when, and whether the record of them is whole.
    #[command(subcommand)]
    Audit(Audit),
    /// Manage tenants: customers, each with its callers.
    Tenant {
        #[command(flatten)]
        place: Place,
        #[command(subcommand)]
        command: manage::Tenants,
    },
    /// Manage apps and other callers of a tenant.
    App {
        #[command(flatten)]
        place: Place,
        #[command(subcommand)]
        command: manage::Apps,
    },
    /// Manage the keys that prove callers: make, rotate, revoke.
    Key {
        #[command(flatten)]
        place: Place,
        #[command(subcommand)]
        command: manage::Keys,
    },
    /// Manage plans: how much callers may.
    Plan {
        #[command(flatten)]
        place: Place,
        #[command(subcommand)]
        command: manage::Plans,
    },
    /// Hold callers and paths while they are worked on.
    Lock {
        #[command(flatten)]
        place: Place,
        #[command(subcommand)]
        command: manage::Locks,
    },
    /// Look at the routes.
    Route {
        #[command(flatten)]
        place: Place,
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
        head: Option<audit::Anchor>,
    },
    /// Tell the changes, oldest first, without digests and secrets.
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
struct Place {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    place: manage::Where,
}

impl Place {
    fn run(&self, what: Manage) -> anyhow::Result<()> {
        let config = || Ok(Config::load(&self.file.config)?);
        let done = runtime()?.block_on(manage::run(what, &self.place, config, &mut io::stdout().lock()));
        match done {
            // Who reads has seen enough.
            Err(error) if is_broken_pipe(&error) => Ok(()),
            done => done,
        }
    }
}

#[derive(clap::Args)]
struct ConfigFile {
    /// The configuration, TOML; `config/gateway.toml` shows all there is.
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

/// The exit status of a command that the admin API has refused.
const REFUSED: u8 = 3;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("portcullis: {error:#}");
            match error.downcast_ref::<Refused>() {
                Some(refused) if refused.status < 500 => ExitCode::from(REFUSED),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(file) => {
            let config = Config::load(&file.config)?;
            log();
            gateway::serve(&config)
        }
        Command::Check(file) => {
            let config = Config::load(&file.config)?;
            gateway::check(&config)?;
            println!(
                "{}: {} listeners, {} routes, {} upstreams, {} plans: all right",
                file.config.display(),
                config.listeners.len(),
                config.routes.len(),
                config.upstreams.len(),
                config.plans.len()
            );
            Ok(())
        }
        Command::Init(file) => init(&Config::load(&file.config)?),
        Command::Audit(Audit::Verify { file, head }) => {
            let config = Config::load(&file.config)?;
            let anchor = runtime()?.block_on(audit::verify(&config, head))?;
            println!("{}: every change is what it was when it was made", config.store.path.display());
            println!("head {anchor}");
            Ok(())
        }
        Command::Audit(Audit::List { file, after, limit, json }) => {
            let (config, mut out) = (Config::load(&file.config)?, io::stdout().lock());
            let told = runtime()?.block_on(audit::list(&config, after, limit, |change| {
                if json {
                    serde_json::to_writer(&mut out, change)?;
                    return writeln!(out);
                }
                line(&mut out, change)
            }));
            match told {
                // Who reads has seen enough.
                Err(error) if is_broken_pipe(&error) => Ok(()),
                told => told,
            }
        }
        Command::Tenant { place, command } => place.run(Manage::Tenants(command)),
        Command::App { place, command } => place.run(Manage::Apps(command)),
        Command::Key { place, command } => place.run(Manage::Keys(command)),
        Command::Plan { place, command } => place.run(Manage::Plans(command)),
        Command::Lock { place, command } => place.run(Manage::Locks(command)),
        Command::Route { place, command } => place.run(Manage::Routes(command)),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "portcullis", &mut io::stdout());
            Ok(())
        }
        Command::Export { file, arguments } => {
            let done = transfer::export(|| Ok(Config::load(&file.config)?), &arguments);
            eprintln!("exported: {}", runtime()?.block_on(done)?);
            Ok(())
        }
        Command::Import { file, arguments } => {
            let done = transfer::import(|| Ok(Config::load(&file.config)?), &arguments);
            println!("{}", runtime()?.block_on(done)?);
            Ok(())
        }
        Command::ImportKeys { file, arguments } => {
            let done = transfer::import_keys(|| Ok(Config::load(&file.config)?), &arguments);
            println!("{}", runtime()?.block_on(done)?);
            Ok(())
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
fn line(out: &mut impl Write, change: &audit::Told) -> io::Result<()> {
    let audit::Told { seq, at, actor, verb, kind, id, .. } = change;
    write!(out, "{seq:>6}  {at:.3}  {actor}  {} {kind} {id}", verb.as_str())?;
    for (name, before, after) in change.differences() {
        write!(out, "  {name}: {before} → {after}")?;
    }
    writeln!(out)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn log() {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,pingora_core=warn,pingora=warn,sqlx=warn"));
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_current_span(false);
    tracing_subscriber::registry().with(filter).with(lines).init();
}

fn init(config: &Config) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let Some(start) = runtime.block_on(gateway::bootstrap(config))? else {
        println!("The store {} has its tenants already; nothing was made.", config.store.path.display());
        return Ok(());
    };
    let keys = [&start.api_key, &start.operator_token, &start.owner_token].map(Clone::clone);
    let [key, token, owner] = &keys;
    let first = key.is_some() || token.is_some();
    if first {
        println!("A tenant on each surface, an api client, an app, an operator.");
    }
    if owner.is_some() {
        println!("An administrator that owns everything.");
    }
    println!("What proves them is shown this once:\n");
    for (label, key, wanted) in [
        ("API key", key, first),
        ("Operator token", token, first),
        ("Owner token", owner, config.admin.is_some()),
    ] {
        match key {
            Some(key) => println!("  {label:<16} {}", key.expose()),
            None if wanted => println!("  {label:<16} was shown before"),
            None => {}
        }
    }
    runtime
        .block_on(start.store())
        .context("what is shown above could not be stored and is worth nothing")?;
    if let Some((admin, owner)) = config.admin.as_ref().zip(owner.as_ref()) {
        let scheme = if admin.tls.is_some() { "https" } else { "http" };
        println!(
            "
The admin API, when the gateway runs:

  curl -i {scheme}://{}/admin/v1/status -H 'Authorization: Bearer {}'",
            admin.listen,
            owner.expose()
        );
    }
    let (Some(key), Some(token), Some(listener)) = (key, token, config.listeners.first()) else {
        return Ok(());
    };
    let scheme = if listener.tls.is_some() { "https" } else { "http" };
    let (address, key, token) = (listener.address, key.expose(), token.expose());
    let gateway::Names { api_client, project, instance, app } = gateway::NAMES;
    println!(
        "
Try them, with config/gateway.toml, when the gateway runs:

  curl -i {scheme}://{address}/demo/hello -H 'X-API-KEY: {key}'

  curl -i -X PUT {scheme}://{address}/v1/api_clients/{api_client} \\
    -H 'Content-Type: application/json' -H 'X-API-KEY: {key}' \\
    -d '{{\"id\":\"{api_client}\",\"name\":\"example.com/dev\"}}'

  curl -i -X PUT {scheme}://{address}/v1/{project}/apigw/instances/{instance}/apps/{app} \\
    -H 'Content-Type: application/json' -H 'X-Auth-Token: {token}' \\
    -d '{{\"name\":\"app_001\",\"remark\":\"First app\"}}'
"
    );
    Ok(())
}
