//! Follows the file of secrets, so that they rotate under a running gateway.

use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    app::Sealer,
    config::{SecretKind, SecretsFile},
    directory::Directory,
};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// What uses secrets, and where they come from.
pub(super) struct Secrets {
    pub(super) file: PathBuf,
    pub(super) directory: Arc<Directory>,
    pub(super) sealer: Arc<Sealer>,
}

impl Secrets {
    /// Takes what stands in the file whenever it has changed, for ever. While it cannot be used, what was read before
    /// stays in use.
    pub(super) async fn follow(self) {
        // They may have changed since they were read at the start.
        let mut seen = None;
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.seen();
            if now == seen {
                continue;
            }
            match SecretsFile::load(&self.file) {
                Ok(secrets) => {
                    self.directory.set_peppers(secrets.peppers());
                    self.sealer.take_keys(&secrets.sealer());
                    tracing::info!(
                        peppers = ?secrets.versions(SecretKind::Pepper),
                        seal_keys = ?secrets.versions(SecretKind::SealKey),
                        "took other secrets"
                    );
                }
                Err(error) => {
                    tracing::error!(%error, "the secrets have changed and cannot be used; the old ones stay");
                }
            }
            seen = now;
        }
    }

    /// What tells one state of the file from another.
    fn seen(&self) -> Option<(SystemTime, u64)> {
        let found = fs::metadata(&self.file).ok()?;
        Some((found.modified().ok()?, found.len()))
    }
}
