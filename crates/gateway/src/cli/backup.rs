//! `portcullis backup`: copies the store, consistently, even while a gateway runs.

use std::path::Path;

use anyhow::Context;

use super::transfer::atomic_file::AtomicFile;
use crate::{config::Config, gateway::store::ensure_exists};
use portcullis::registry::sqlite;

/// Copies the store of a configuration to a new file that only its owner may read. The copy is synced to disk on
/// return. Returns a description of the copy.
///
/// # Errors
/// If the store does not exist, or the file exists or cannot be written. No file is left behind.
pub async fn run(config: &Config, to: &Path) -> anyhow::Result<String> {
    let store = &config.store.path;
    ensure_exists(store)?;
    let draft = AtomicFile::create(to).with_context(|| to.display().to_string())?;
    let last =
        sqlite::copy(store, draft.under()).await.with_context(|| format!("store {}", store.display()))?;
    draft.persist().with_context(|| to.display().to_string())?;
    Ok(format!("copied the store up to change {last}"))
}
