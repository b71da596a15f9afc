//! `portcullis check`.

use std::{
    io::{self, Write},
    path::Path,
};

use anyhow::ensure;
use clap::Args;

use super::count::counted;
use crate::{config::Severity, gateway};

/// The arguments of `portcullis check`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Exit with an error if there are warnings.
    #[arg(long)]
    strict: bool,
}

/// Checks a file. Writes each error and warning to standard error as one line.
///
/// # Errors
/// If there is an error or, with `--strict`, a warning.
pub fn run(file: &Path, arguments: &Arguments) -> anyhow::Result<()> {
    let review = gateway::reviewed(file)?;
    let findings = review.findings();
    for warning in findings.iter().filter(|finding| finding.severity() == Severity::Warning) {
        // A closed standard error does not change the exit status.
        let _ = writeln!(io::stderr(), "{warning}");
    }
    let (config, warnings) = review.finish()?;
    let found = counted(warnings.len() as u64, "warning", "warnings");
    ensure!(!arguments.strict || warnings.is_empty(), "{}: {found} with --strict", file.display());
    writeln!(
        io::stdout(),
        "{}: {}, {}, {}, {}: {}",
        file.display(),
        counted(config.listeners.len() as u64, "listener", "listeners"),
        counted(config.routes.len() as u64, "route", "routes"),
        counted(config.upstreams.len() as u64, "upstream", "upstreams"),
        counted(config.plans.len() as u64, "plan", "plans"),
        if warnings.is_empty() { "no errors, no warnings" } else { &found },
    )?;
    Ok(())
}
