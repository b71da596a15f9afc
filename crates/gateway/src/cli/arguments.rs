//! The command-line arguments of `portcullis`.

use std::{io, net::SocketAddr, path::PathBuf};

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use super::{
    audit, check,
    config_file::ConfigFile,
    manage::{self, Manage},
    runtime, secrets, sign, transfer,
};

/// An API gateway: it authenticates callers, enforces their limits and locks, and negotiates media types.
#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "\
Start here:
  portcullis init  --config config/gateway.toml     creates the first tenants, callers and keys; shows the keys once
  portcullis serve --config config/gateway.toml     runs until SIGTERM or SIGQUIT (graceful) or SIGINT (immediate)

`serve` reloads the configuration on SIGHUP. It logs and ignores SIGUSR1 and SIGUSR2.

`serve` logs JSON lines to standard output. RUST_LOG selects them (default: info, and warnings or errors of
libraries; RUST_LOG=debug logs more, RUST_LOG=info,access=off omits the access log). If the reader of the log is
too slow, lines are dropped and counted; requests never wait for it.

Exit status: 0 success, 1 failure, 2 wrong usage, 3 denied by the admin API."
)]
pub struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

impl Arguments {
    /// Returns `true` if the output contains a secret that is shown only once.
    #[must_use]
    pub fn shows_secret(&self) -> bool {
        matches!(
            self.command,
            Command::Key { command: manage::Keys::Create { .. } | manage::Keys::Rotate { .. }, .. }
                | Command::App { command: manage::Apps::Create { .. }, .. }
                | Command::Lock { command: manage::Locks::Acquire { .. }, .. }
        )
    }
}

/// The command to run.
#[derive(Subcommand)]
pub(super) enum Command {
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
    Audit(audit::Audit),
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
    /// Check whether the gateway of a configuration on this machine is ready, for health checks of containers. Needs
    /// `[metrics]`.
    Health(ConfigFile),
    /// Reload the configuration of a running gateway, over its admin API (--url). If the file has an error, nothing
    /// changes, and the errors are printed. Connections stay open.
    Reload {
        #[command(flatten)]
        place: AdminTarget,
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

/// The configuration and the admin API to use.
#[derive(clap::Args)]
pub(super) struct AdminTarget {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    place: manage::Target,
}

impl AdminTarget {
    /// Runs a command over the admin API.
    pub(super) fn run(&self, what: Manage) -> anyhow::Result<()> {
        let config = || Ok(self.file.load()?);
        runtime()?.block_on(manage::run(what, &self.place, config, &mut io::stdout().lock()))
    }
}
