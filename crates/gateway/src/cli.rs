//! The commands of the `portcullis` binary, one module for each except `serve`, which is [`gateway::serve`].

mod arguments;
mod audit;
mod backup;
mod check;
pub mod client;
mod config_file;
mod count;
mod health;
mod init;
mod introduction;
mod logging;
mod manage;
mod secrets;
mod sign;
mod table;
mod transfer;

pub use arguments::Arguments;

use std::{
    fmt,
    io::{self, Write},
};

use clap::CommandFactory;
use clap_complete::Shell;

use crate::gateway;
use arguments::Command;
use config_file::ConfigFile;
use manage::Manage;
use portcullis::clock::{Clock, SystemClock};

/// Runs the command of the arguments.
///
/// # Errors
/// The error of the command.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let command = arguments.command;
    if !matches!(command, Command::Serve(_)) {
        logging::log_errors();
    }
    match command {
        Command::Serve(file) => serve(&file),
        Command::Check { file, arguments } => check::run(&file.config, &arguments),
        Command::Init { file, new_keys } => init::run(&file.load()?, new_keys),
        Command::Backup { file, to } => {
            let config = file.load()?;
            let copied = runtime()?.block_on(backup::run(&config, &to))?;
            say(format_args!("{}: {copied}", to.display()))
        }
        Command::Audit(command) => audit::run(command),
        Command::Tenant { place, command } => place.run(Manage::Tenants(command)),
        Command::App { place, command } => place.run(Manage::Apps(command)),
        Command::Key { place, command } => place.run(Manage::Keys(command)),
        Command::Plan { place, command } => place.run(Manage::Plans(command)),
        Command::Lock { place, command } => place.run(Manage::Locks(command)),
        Command::Route { place, command } => place.run(Manage::Routes(command)),
        Command::Health(file) => runtime()?.block_on(health::run(&file.load()?)),
        Command::Reload { place } => place.run(Manage::Reload),
        Command::Completions { shell } => completions(shell),
        Command::Export { file, arguments } => {
            let done = transfer::export(|| Ok(file.load()?), &arguments);
            let exported = runtime()?.block_on(done)?;
            // The file is complete even if this message cannot be written.
            let _ = writeln!(io::stderr(), "exported {exported}");
            Ok(())
        }
        Command::Import { file, arguments } => {
            let done = transfer::import(|| Ok(file.load()?), &arguments);
            let imported = runtime()?.block_on(done)?;
            say(format_args!("{imported}"))
        }
        Command::ImportKeys { file, arguments } => {
            let done = transfer::import_keys(|| Ok(file.load()?), &arguments);
            let imported = runtime()?.block_on(done)?;
            say(format_args!("{imported}"))
        }
        Command::Sign(arguments) => {
            let now = SystemClock::new().now().time;
            sign::run(&arguments, now, io::stdin().lock(), &mut io::stdout().lock())
        }
        Command::Secrets { file, command } => {
            let config = file.load()?;
            runtime()?.block_on(secrets::run(&config, &command, &mut io::stdout().lock()))
        }
        Command::Demo { listen } => runtime()?.block_on(gateway::demo(listen)),
    }
}

/// Runs the gateway until it is told to stop.
fn serve(file: &ConfigFile) -> anyhow::Result<()> {
    let (config, warnings) = gateway::reviewed(&file.config)?.finish()?;
    let log = logging::init_logging()?;
    for warning in warnings {
        tracing::warn!(finding = %warning, "configuration");
    }
    gateway::serve(&config, &log)
}

/// Writes a completion script to standard output.
fn completions(shell: Shell) -> anyhow::Result<()> {
    // The script is generated in memory because the library panics on write errors.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "portcullis", &mut script);
    Ok(io::stdout().lock().write_all(&script)?)
}

/// Writes a line to standard output.
fn say(line: fmt::Arguments<'_>) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// Creates the runtime of a command, which needs one thread.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
