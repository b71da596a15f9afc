//! `portcullis audit`: verifies and lists the changes of the store.

use std::io::{self, Write};

use clap::Subcommand;

use super::{config_file::ConfigFile, runtime, say};
use crate::gateway::audit::{self, ChainHead, ChangeRecord};
use portcullis::model::text::{escaped, escaped_json};

/// The command of `portcullis audit`.
#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Verify that nothing but this program has changed the store. Prints a head (the number and hash of the last
    /// change): keep it elsewhere and pass it to a later run, which then proves that no earlier change was altered.
    Verify {
        #[command(flatten)]
        file: ConfigFile,
        /// The head that an earlier run printed.
        #[arg(long, value_name = "NUMBER:HASH")]
        head: Option<ChainHead>,
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

/// Runs a command. Writes the head, or the changes, to standard output.
///
/// # Errors
/// If the store cannot be read or verified, or standard output cannot be written.
pub(super) fn run(command: Audit) -> anyhow::Result<()> {
    match command {
        Audit::Verify { file, head } => {
            let config = file.load()?;
            let anchor = runtime()?.block_on(audit::verify(&config, head))?;
            say(format_args!(
                "{}: verified: no change in the log was altered, and the tables match the log\nhead {anchor}",
                config.store.path.display()
            ))
        }
        Audit::List { file, after, limit, json } => {
            let (config, mut out) = (file.load()?, io::stdout().lock());
            runtime()?.block_on(audit::list(&config, after, limit, |change| {
                if json {
                    return writeln!(out, "{}", escaped_json(&serde_json::to_string(change)?));
                }
                print_change(&mut out, change)
            }))
        }
    }
}

/// Writes a change as one line of text: its author, the action, the entity and the changed members.
fn print_change(out: &mut impl Write, change: &ChangeRecord) -> io::Result<()> {
    let ChangeRecord { seq, at, actor, verb, kind, id, .. } = change;
    write!(out, "{seq:>6}  {at:.3}  {}  {} {kind} {}", escaped(actor), verb.as_str(), escaped(id))?;
    for (name, before, after) in change.differences() {
        let [before, after] = [before, after].map(|value| escaped_json(&value.to_string()).into_owned());
        write!(out, "  {}: {before} → {after}", escaped(name))?;
    }
    writeln!(out)
}
