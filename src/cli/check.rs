//! `portcullis check`.

use std::{
    io::{self, Write},
    path::Path,
};

use anyhow::ensure;
use clap::Args;

use crate::{
    config::{ConfigError, Review, Severity},
    gateway,
};

/// The arguments of `portcullis check`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Fail on warnings, too.
    #[arg(long)]
    strict: bool,
}

/// Reads a file and adds everything that the machine can tell about it.
///
/// # Errors
/// When the file cannot be read.
pub fn reviewed(file: &Path) -> Result<Review, ConfigError> {
    let mut review = Review::of_file(file)?;
    review.inspect_files();
    review.inspect(gateway::check);
    Ok(review)
}

/// Checks a file. Errors and warnings go to standard error, a line for each.
///
/// # Errors
/// When there is an error, or, if asked for, a warning.
pub fn run(file: &Path, arguments: &Arguments) -> anyhow::Result<()> {
    let review = reviewed(file)?;
    let findings = review.findings();
    for warning in findings.iter().filter(|finding| finding.severity() == Severity::Warning) {
        // Whether anybody reads them does not change the exit status.
        let _ = writeln!(io::stderr(), "{warning}");
    }
    let (config, warnings) = review.finish()?;
    let count = warnings.len();
    ensure!(!arguments.strict || count == 0, "{}: {count} warnings, and --strict", file.display());
    writeln!(
        io::stdout(),
        "{}: {} listeners, {} routes, {} upstreams, {} plans: {}",
        file.display(),
        config.listeners.len(),
        config.routes.len(),
        config.upstreams.len(),
        config.plans.len(),
        match count {
            0 => "all right".to_owned(),
            1 => "1 warning".to_owned(),
            _ => format!("{count} warnings"),
        }
    )?;
    Ok(())
}
