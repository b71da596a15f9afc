//! The logs of the commands.

use std::io;

use anyhow::Context;
use tracing_subscriber::{EnvFilter, prelude::*};

use crate::gateway::LogWriter;

/// Starts logging to standard output.
///
/// # Errors
/// If the thread that writes the log cannot be started.
pub(super) fn init_logging() -> anyhow::Result<LogWriter> {
    // Clients can provoke the warnings of h2 and rustls at will.
    const DEFAULT: &str = "info,pingora_core=warn,pingora=warn,sqlx=warn,h2=error,rustls=error";

    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let writer = LogWriter::stdout().context("cannot start the log")?;
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_current_span(false);
    tracing_subscriber::registry().with(filter).with(lines.with_writer(writer.clone())).init();
    Ok(writer)
}

/// Logs errors of a command to standard error. A response only says that the store failed; the log contains the cause.
pub(super) fn log_errors() {
    let lines = tracing_subscriber::fmt().with_max_level(tracing::Level::ERROR).with_writer(io::stderr);
    lines.without_time().with_target(false).log_internal_errors(false).init();
}
