//! The store of a configuration, opened with the secrets that it is used with.

use std::sync::Arc;

use anyhow::{Context, anyhow, ensure};

use crate::{
    clock::Clock,
    config::{Config, SecretsFile},
    registry::{Registry, SecretCheck, sqlite::Sqlite},
};

/// Opens the store of a configuration, which is made when it is not there.
///
/// # Errors
/// When secrets or store cannot be read, or do not belong together.
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
        "the secrets of {file} are not those of the store {}: {}. Put back the secrets file of this store, or name the \
         store that belongs to the file{lost}",
        config.store.path.display(),
        misfits.join("; ")
    )
}

/// The same, of a store that must be there.
///
/// # Errors
/// Likewise, and when there is none.
pub(crate) async fn open_existing(
    config: &Config,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<(Sqlite, SecretsFile)> {
    ensure_there(config)?;
    open(config, clock).await
}

/// Whether there is a store.
///
/// # Errors
/// When there is none, or an empty file in its place.
pub(crate) fn ensure_there(config: &Config) -> anyhow::Result<()> {
    let path = &config.store.path;
    // Who lost it must not be given an empty one: every key would be refused.
    ensure!(
        path.exists(),
        "there is no store {}: put it back if there was one; portcullis init makes one",
        path.display()
    );
    let length = path.metadata().with_context(|| format!("store {}", path.display()))?.len();
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let has_log = std::path::Path::new(&log).metadata().is_ok_and(|log| log.len() > 0);
    ensure!(
        has_log || length > LENGTH_WITHOUT_TABLES,
        "store {} has no tables: was it copied without its write-ahead log (-wal)? `portcullis backup` makes whole copies",
        path.display()
    );
    Ok(())
}

/// A file that was switched to write-ahead logging and has nothing else has one page.
const LENGTH_WITHOUT_TABLES: u64 = 4096;
