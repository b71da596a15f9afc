//! Opens the store of a configuration with its secrets.

use std::{path::Path, sync::Arc};

use anyhow::{Context, anyhow, ensure};

use crate::config::{Config, SecretsFile};
use portcullis::{
    clock::Clock,
    registry::{Registry, SecretCheck, sqlite::Sqlite},
};

/// Opens the store of a configuration. The store is created if it does not exist.
///
/// # Errors
/// Fails if the secrets or the store cannot be read, or do not match.
pub(crate) async fn open(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<(Sqlite, SecretsFile)> {
    let (store, secrets, misfits) = open_unchecked(config, clock).await?;
    if misfits.is_empty() {
        return Ok((store, secrets));
    }
    store.close().await;
    Err(misfit(config, &misfits))
}

/// Opens the store of a configuration; also returns what does not fit of the secrets.
///
/// # Errors
/// When secrets or store cannot be read.
pub(crate) async fn open_unchecked(
    config: &Config,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<(Sqlite, SecretsFile, Vec<String>)> {
    if config.secrets.variable().is_none() {
        SecretsFile::remove_drafts(&config.secrets.file);
    }
    let (secrets, path) = (config.secrets.load()?, &config.store.path);
    let store = Sqlite::open(path, clock).await.with_context(|| format!("store {}", path.display()))?;
    let checks = SecretCheck::all(&secrets.peppers(), &secrets.sealer());
    match store.check_secrets(&checks).await {
        Ok(misfits) => Ok((store, secrets, misfits)),
        Err(fault) => {
            store.close().await;
            Err(fault).with_context(|| format!("store {}", path.display()))
        }
    }
}

/// The error about secrets that do not fit the store.
pub(crate) fn misfit(config: &Config, misfits: &[String]) -> anyhow::Error {
    let file = config
        .secrets
        .variable()
        .map_or_else(|| config.secrets.file.display().to_string(), |it| format!("${it}"));
    let lost = if misfits.iter().any(|misfit| misfit.contains("is missing")) {
        ". A copy that was made before a version was added lacks that version; if a missing version is lost, \
         `portcullis secrets drop KIND VERSION --force` gives up everything that needs it"
    } else {
        ""
    };
    anyhow!(
        "the secrets of {file} do not match the store {}: {}. Restore the secrets file of this store, or configure the \
         store that belongs to the file{lost}",
        config.store.path.display(),
        misfits.join("; ")
    )
}

/// Opens the store of a configuration, which must exist.
///
/// # Errors
/// Fails if the secrets or the store cannot be read, do not match, or if the store does not exist.
pub(crate) async fn open_existing(
    config: &Config,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<(Sqlite, SecretsFile)> {
    ensure_there(config)?;
    open(config, clock).await
}

/// Checks that the file of a store exists.
///
/// # Errors
/// Fails if the file does not exist.
pub(crate) fn ensure_exists(path: &Path) -> anyhow::Result<()> {
    ensure!(
        path.exists(),
        "store {} does not exist: restore it, or run `portcullis init` to create a new one",
        path.display()
    );
    Ok(())
}

/// Checks that the store exists and is not empty.
///
/// # Errors
/// Fails if the store does not exist, or if its file has no tables.
pub(crate) fn ensure_there(config: &Config) -> anyhow::Result<()> {
    let path = &config.store.path;
    // A lost store must not be replaced by an empty one: every key would be denied.
    ensure_exists(path)?;
    let length = path.metadata().with_context(|| format!("store {}", path.display()))?.len();
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let has_log = Path::new(&log).metadata().is_ok_and(|log| log.len() > 0);
    ensure!(
        has_log || length > LENGTH_WITHOUT_TABLES,
        "store {} has no tables: its write-ahead log (-wal) may be missing. Use `portcullis backup` to copy a store",
        path.display()
    );
    Ok(())
}

/// The length of a file without tables: a file that was only switched to write-ahead logging has one page.
const LENGTH_WITHOUT_TABLES: u64 = 4096;
