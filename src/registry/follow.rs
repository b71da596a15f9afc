//! Keeps a directory up to date with a registry.

use std::{sync::Arc, time::Duration};

use super::{Fault, Registry};
use crate::directory::Directory;

/// How many changes are read at once.
const BATCH: u32 = 1_000;
/// How long to leave a store alone that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Fills a directory with all that a registry holds. To be awaited before the first request is taken.
///
/// # Errors
/// When the registry cannot be read.
pub async fn load(registry: &dyn Registry, directory: &Directory) -> Result<(), Fault> {
    let snapshot = registry.snapshot().await?;
    directory.load(snapshot.entities, snapshot.seq);
    Ok(())
}

/// Applies every change of a registry to a directory, for ever. While the store cannot be read, the
/// directory keeps what it has.
pub async fn follow(registry: Arc<dyn Registry>, directory: Arc<Directory>) {
    loop {
        registry.changed(directory.applied()).await;
        match registry.changes(directory.applied(), BATCH).await {
            Ok(changes) => changes.into_iter().for_each(|change| directory.apply(change)),
            Err(fault) => {
                tracing::error!(%fault, applied = directory.applied(), "cannot follow the change log");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
