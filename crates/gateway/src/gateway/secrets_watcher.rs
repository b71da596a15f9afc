//! Watches the secrets file, so that secrets can be rotated while the gateway runs.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    config::{SecretKind, SecretsFile},
    file_state::FileState,
};
use portcullis::{
    directory::Directory,
    model::{Peppers, SealKey, Sealer},
    registry::{Registry, RegistryError, SecretCheck},
};

/// The interval between two checks of the file.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The secrets file and the users of its secrets.
pub(super) struct SecretsWatcher {
    /// None if they come from the environment, which does not change.
    pub(super) file: Option<PathBuf>,
    pub(super) directory: Arc<Directory>,
    pub(super) sealer: Arc<Sealer>,
    /// Checks the secrets against those that its store is used with.
    pub(super) registry: Arc<dyn Registry>,
}

impl SecretsWatcher {
    /// Reloads the file whenever it has changed, for ever. While the file cannot be used, the previous secrets stay in
    /// use. Checks the secrets in use whenever they are in doubt, such as after the store was replaced, and reads the
    /// file again until they fit the store.
    pub(super) async fn follow(self) {
        self.note_seal_keys();
        // The file may have changed since it was read at the start.
        let (mut seen, mut trouble) = (None, None);
        loop {
            let _ = tokio::time::timeout(POLL_INTERVAL, self.directory.doubted()).await;
            let (now, in_doubt) =
                (self.file.as_deref().and_then(FileState::of), self.directory.secrets_in_doubt());
            if now == seen && !in_doubt && trouble.is_none() {
                continue;
            }
            let found = self.update().await.err();
            let text = found.as_ref().map(ToString::to_string);
            if let Some(error) = found.filter(|_| text != trouble || now != seen) {
                if error.is::<RegistryError>() {
                    tracing::warn!(%error, "changed secrets not loaded yet: store not available");
                } else if self.directory.secrets_in_doubt() {
                    tracing::error!(
                        %error,
                        "the secrets in use do not match the store, which was replaced or changed: restore the \
                         secrets file that belongs to it"
                    );
                } else {
                    tracing::error!(%error, "changed secrets rejected, previous secrets stay in use");
                }
            }
            (seen, trouble) = (now, text);
        }
    }

    /// Loads the file, if there is one, and checks the secrets in use if they are in doubt.
    async fn update(&self) -> anyhow::Result<()> {
        let doubts = self.directory.doubts();
        let loaded = match &self.file {
            Some(file) => self.take(file).await,
            None => Ok(None),
        };
        if let Ok(Some(secrets)) = &loaded {
            tracing::info!(
                peppers = ?secrets.versions(SecretKind::Pepper),
                seal_keys = ?secrets.versions(SecretKind::SealKey),
                "secrets reloaded"
            );
        }
        if self.directory.secrets_in_doubt() {
            // Secrets that were loaded just now are checked as well.
            let in_use = SecretCheck::all(&self.directory.peppers(), &self.sealer);
            let misfits = self.registry.check_secrets(&in_use).await?;
            if misfits.is_empty() {
                self.directory.secrets_fit(doubts);
            } else if loaded.is_ok() {
                anyhow::bail!("{}", misfits.join("; "));
            }
        }
        loaded.map(drop)
    }

    fn note_seal_keys(&self) {
        self.directory.set_checked_seal_keys(self.sealer.keys().iter().map(SealKey::version).collect());
    }

    /// Loads the file and activates its secrets. Returns `None` if they are in use already.
    async fn take(&self, file: &Path) -> anyhow::Result<Option<SecretsFile>> {
        let secrets = SecretsFile::load(file)?;
        let (peppers, sealer) = (secrets.peppers(), secrets.sealer());
        if checks(&peppers, &sealer) == checks(&self.directory.peppers(), &self.sealer) {
            return Ok(None);
        }
        // If the store cannot be reached, the secrets are not activated. The next check tries again.
        let misfits = self.registry.check_secrets(&SecretCheck::all(&peppers, &sealer)).await?;
        anyhow::ensure!(misfits.is_empty(), "the secrets do not match the store: {}", misfits.join("; "));
        self.directory.set_peppers(peppers);
        self.sealer.replace_keys(&sealer);
        self.note_seal_keys();
        Ok(Some(secrets))
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
    use portcullis::{clock::SystemClock, registry::memory::Memory};

    #[tokio::test]
    async fn secrets_are_reloaded_only_when_they_differ() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secrets.toml");
        SecretsFile::create(&file).unwrap();
        let read = SecretsFile::load(&file).unwrap();
        let (directory, sealer) = (Directory::new(read.peppers()).into(), read.sealer().into());
        let registry = Arc::new(Memory::new(Arc::new(SystemClock::new())));
        let secrets = SecretsWatcher { file: Some(file.clone()), directory, sealer, registry };
        assert!(secrets.take(&file).await.unwrap().is_none(), "nothing has changed");
        for kind in [SecretKind::Pepper, SecretKind::SealKey] {
            let mut changed = SecretsFile::load(&file).unwrap();
            let version = changed.add(kind).unwrap();
            changed.replace(&file).unwrap();
            assert!(secrets.take(&file).await.unwrap().is_some(), "{kind:?} {version} was added");
            changed.promote(kind, version).unwrap();
            changed.replace(&file).unwrap();
            assert!(secrets.take(&file).await.unwrap().is_some(), "{kind:?} {version} is current");
            assert!(secrets.take(&file).await.unwrap().is_none(), "{kind:?} {version} is in use");
        }
        std::fs::write(&file, "peppers = [").unwrap();
        assert!(secrets.take(&file).await.is_err());
        assert_eq!((secrets.directory.peppers().current().version(), secrets.sealer.current()), (2, 2));
    }
}
