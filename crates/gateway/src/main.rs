//! The `portcullis` binary: command-line arguments and start-up.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use portcullis::model::text::escaped_lines;
use portcullis_gateway::cli::{self, Arguments, client::ApiError};
use portcullis_gateway::config::ConfigError;

/// The global allocator. A request makes about twenty short-lived allocations, and the system allocator spends a fifth
/// of the request's instructions on merging freed blocks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit status of a command that the admin API denied.
const REFUSED: u8 = 3;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let shows_secret = arguments.shows_secret();
    match cli::run(arguments) {
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
            let text = match error.downcast_ref::<ConfigError>() {
                Some(mistakes) => mistakes.to_string(),
                None => format!("portcullis: {error:#}"),
            };
            let _ = writeln!(io::stderr(), "{}", escaped_lines(&text));
            match error.downcast_ref::<ApiError>() {
                Some(refused) if refused.status < 500 => ExitCode::from(REFUSED),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
