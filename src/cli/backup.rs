//! `portcullis backup`: a copy of the store, consistent while a gateway runs.

use std::path::Path;

use anyhow::{Context, ensure};

use super::transfer::atomic_file::AtomicFile;
use crate::{config::Config, registry::sqlite};

/// Copies the store of a configuration to a file that is not there yet, which only its owner may read. It is on the
/// disk when this returns. Says what was copied.
///
/// # Errors
/// When there is no store, or the file is there already or cannot be written; then there is no file.
pub async fn run(config: &Config, to: &Path) -> anyhow::Result<String> {
    let store = &config.store.path;
    ensure!(store.exists(), "store {} is not there; portcullis init makes it", store.display());
    let draft = AtomicFile::create(to).with_context(|| to.display().to_string())?;
    let last =
        sqlite::copy(store, draft.under()).await.with_context(|| format!("store {}", store.display()))?;
    draft.persist().with_context(|| to.display().to_string())?;
    Ok(format!("all of the store up to change {last}"))
}
