//! Watches the secrets file, so that secrets can be rotated while the gateway runs.

use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    config::{SecretKind, SecretsFile},
    directory::Directory,
    model::{Peppers, Sealer},
    registry::{Registry, RegistryError, SecretCheck},
};

/// The interval between two checks of the file.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The secrets file and the users of its secrets.
pub(super) struct SecretsWatcher {
    pub(super) file: PathBuf,
    pub(super) directory: Arc<Directory>,
    pub(super) sealer: Arc<Sealer>,
    /// Checks the secrets against those that its store is used with.
    pub(super) registry: Arc<dyn Registry>,
}

impl SecretsWatcher {
    /// Reloads the file whenever it has changed, for ever. While the file cannot be used, the previous secrets stay in
    /// use.
    pub(super) async fn follow(self) {
        // The file may have changed since it was read at the start.
        let mut seen = None;
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let now = self.seen();
            if now == seen {
                continue;
            }
            match self.take().await {
                Ok(Some(secrets)) => tracing::info!(
                    peppers = ?secrets.versions(SecretKind::Pepper),
                    seal_keys = ?secrets.versions(SecretKind::SealKey),
                    "secrets reloaded"
                ),
                Ok(None) => {}
                Err(error) => {
                    if error.is::<RegistryError>() {
                        tracing::warn!(%error, "changed secrets not loaded yet: store not available");
                        continue;
                    }
                    tracing::error!(%error, "changed secrets rejected, previous secrets stay in use");
                }
            }
            seen = now;
        }
    }

    /// Loads the file and activates its secrets. Returns `None` if they are in use already.
    async fn take(&self) -> anyhow::Result<Option<SecretsFile>> {
        let secrets = SecretsFile::load(&self.file)?;
        let (peppers, sealer) = (secrets.peppers(), secrets.sealer());
        if checks(&peppers, &sealer) == checks(&self.directory.peppers(), &self.sealer) {
            return Ok(None);
        }
        // If the store cannot be reached, the secrets are not activated. The next check tries again.
        let misfits = self.registry.check_secrets(&SecretCheck::all(&peppers, &sealer)).await?;
        anyhow::ensure!(misfits.is_empty(), "the secrets do not match the store: {}", misfits.join("; "));
        self.directory.set_peppers(peppers);
        self.sealer.replace_keys(&sealer);
        Ok(Some(secrets))
    }

    /// Returns a fingerprint of the file, to detect changes.
    fn seen(&self) -> Option<(SystemTime, u64)> {
        let found = fs::metadata(&self.file).ok()?;
        Some((found.modified().ok()?, found.len()))
    }
}

/// Returns the fingerprints of the secrets, in their order.
fn checks(peppers: &Peppers, sealer: &Sealer) -> (Vec<(u32, String)>, Vec<(u32, String)>) {
    let peppers = peppers.all().map(|pepper| (pepper.version(), pepper.fingerprint()));
    let keys = sealer.keys().into_iter().map(|key| (key.version(), key.fingerprint()));
    (peppers.collect(), keys.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::SystemClock, registry::memory::Memory};

    #[tokio::test]
    async fn secrets_are_taken_only_when_they_are_other_ones() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secrets.toml");
        SecretsFile::create(&file).unwrap();
        let read = SecretsFile::load(&file).unwrap();
        let (directory, sealer) = (Directory::new(read.peppers()).into(), read.sealer().into());
        let registry = Arc::new(Memory::new(Arc::new(SystemClock::new())));
        let secrets = SecretsWatcher { file: file.clone(), directory, sealer, registry };
        assert!(secrets.take().await.unwrap().is_none(), "nothing has changed");
        for kind in [SecretKind::Pepper, SecretKind::SealKey] {
            let mut changed = SecretsFile::load(&file).unwrap();
            let version = changed.add(kind).unwrap();
            changed.replace(&file).unwrap();
            assert!(secrets.take().await.unwrap().is_some(), "{kind:?} {version} was added");
            changed.promote(kind, version).unwrap();
            changed.replace(&file).unwrap();
            assert!(secrets.take().await.unwrap().is_some(), "{kind:?} {version} is current");
            assert!(secrets.take().await.unwrap().is_none(), "{kind:?} {version} is in use");
        }
        fs::write(&file, "peppers = [").unwrap();
        assert!(secrets.take().await.is_err());
        assert_eq!((secrets.directory.peppers().current().version(), secrets.sealer.current()), (2, 2));
    }
}
