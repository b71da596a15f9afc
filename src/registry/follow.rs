//! Keeps a directory up to date with a registry.

use std::{sync::Arc, time::Duration};

use super::{Fault, Registry};
use crate::{clock::Clock, directory::Directory};

/// How many changes are read at once.
const BATCH: u32 = 1_000;
/// How long to leave a store alone that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// How often uses of credentials are noted.
const NOTING: Duration = Duration::from_secs(10);

/// Fills a directory with all that a registry holds. To be awaited before the first request is taken.
///
/// # Errors
/// When the registry cannot be read.
pub async fn load(registry: &dyn Registry, directory: &Directory) -> Result<(), Fault> {
    let seq = registry.everything(&mut |entity| directory.fill(entity)).await?;
    directory.filled(seq);
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

/// Notes in a registry, for ever, when the credentials of a directory were used: all uses of some seconds at
/// once. Those of the last seconds before the end of the process are lost.
pub async fn note_uses(registry: Arc<dyn Registry>, directory: Arc<Directory>, clock: Arc<dyn Clock>) {
    let mut noted = clock.now().time;
    loop {
        tokio::time::sleep(NOTING).await;
        let now = clock.now().time;
        let uses = directory.used_since(noted);
        if uses.is_empty() {
            noted = now;
            continue;
        }
        match registry.note_uses(&uses).await {
            Ok(()) => noted = now,
            // The next time, all of it again.
            Err(fault) => tracing::error!(%fault, "the last uses of keys cannot be noted"),
        }
    }
}
