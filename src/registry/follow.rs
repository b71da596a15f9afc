//! Keeps a directory up to date with a registry.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use super::{Mark, Registry, RegistryError};
use crate::{
    clock::Clock,
    directory::{Directory, Following},
    model::{ChangeKind, EntityKind, Seq},
};

/// The number of changes that are read at once.
const BATCH: u32 = 1_000;
/// The pause after a failed attempt to read the store.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest time between two checks of the store, even when the registry reports no change.
const LOOK: Duration = Duration::from_secs(5);

/// The interval at which last uses of credentials are recorded.
const NOTING: Duration = Duration::from_secs(10);

/// An entity in a store that this version of the program cannot read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The kind of entity.
    pub kind: EntityKind,
    /// The id of the entity.
    pub id: String,
    /// The reason, without any content of the entity.
    pub reason: String,
}

/// Fills a directory with all entities of a registry. Await this before you accept the first request.
///
/// # Errors
/// The registry cannot be read.
pub async fn load(registry: &dyn Registry, directory: &Directory) -> Result<(), RegistryError> {
    let seq = registry.for_each(&mut |entity| directory.load_one(entity)).await?;
    directory.finish_load(seq);
    Ok(())
}

/// Applies every change of a registry to a directory and never returns. While the store cannot be read, the directory
/// keeps its data and [reports it](Directory::following).
///
/// When the store was rolled back or replaced, or when this version cannot read an entry of the change log, everything
/// that can be read is reloaded. Entities that are missing then are no longer accepted.
pub async fn follow(registry: Arc<dyn Registry>, directory: Arc<Directory>) {
    let followed = directory.clone();
    let _following = followed.follower();
    // Read the mark as early as possible: a store that is replaced before this line would be taken for the loaded one.
    let known = registry.mark(directory.applied()).await.unwrap_or_default();
    let mut follower = Follower { registry, directory, known, batch: BATCH };
    loop {
        let changed = follower.registry.wait_for_change(follower.directory.applied());
        // Check the mark even without a change, because the store may have been replaced.
        let _ = timeout(LOOK, changed).await;
        if let Err(fault) = follower.step().await {
            tracing::error!(%fault, applied = follower.directory.applied(), "failed to follow the change log");
            follower.directory.set_following(Following::Stalled);
            sleep(PAUSE).await;
        }
    }
}

struct Follower {
    registry: Arc<dyn Registry>,
    directory: Arc<Directory>,
    /// The store's mark of the last applied change.
    known: Option<Mark>,
    batch: u32,
}

impl Follower {
    /// Applies the next batch of changes.
    async fn step(&mut self) -> Result<(), RegistryError> {
        let applied = self.directory.applied();
        let now = self.registry.mark(applied).await?;
        if let Some((now, before)) = now.as_ref().zip(self.known.as_ref())
            && !now.continues(before)
        {
            tracing::error!(
                store = now.store,
                epoch = now.epoch,
                last = now.last,
                store_before = before.store,
                epoch_before = before.epoch,
                applied,
                "the store was rolled back or replaced: reloading everything"
            );
            self.directory.count_regression();
            return self.reload(Following::Current).await;
        }
        self.known = now;
        match self.registry.changes(applied, self.batch).await {
            Ok(changes) => {
                let any = !changes.is_empty();
                for change in changes {
                    if change.verb != ChangeKind::Deleted {
                        self.directory.check_secrets_of(&change.entity);
                    }
                    self.directory.apply(change);
                }
                self.batch = BATCH;
                if any {
                    self.known = self.registry.mark(self.directory.applied()).await?;
                }
                self.directory.follows_again();
                Ok(())
            }
            // Read single changes up to the one that cannot be read.
            Err(RegistryError::Corrupt(_)) if self.batch > 1 => {
                self.batch = 1;
                Ok(())
            }
            Err(RegistryError::Corrupt(reason)) => {
                tracing::error!(
                    applied,
                    reason,
                    "this version of the program cannot read a change: reloading everything that can be read"
                );
                self.reload(Following::Incomplete).await
            }
            Err(fault) => Err(fault),
        }
    }

    /// Reloads everything that can be read, and removes all other entities from the directory.
    async fn reload(&mut self, then: Following) -> Result<(), RegistryError> {
        let (begun, mut complete) = (Instant::now(), true);
        let mut reload = self.directory.reload();
        let mut each = |read| match read {
            Ok(entity) => reload.put(entity),
            Err(Unreadable { kind, id, reason }) => {
                tracing::error!(kind = kind.as_str(), id, reason, "failed to read an entity");
                reload.keep_restriction(kind, &id);
                complete = false;
            }
        };
        let seq: Seq = self.registry.readable(&mut each).await?;
        reload.end(seq);
        self.batch = BATCH;
        self.known = self.registry.mark(seq).await?;
        self.directory.set_following(if complete { then } else { Following::Incomplete });
        tracing::warn!(change = seq, keys = self.directory.key_count(), "everything was reloaded");
        // Pause, so that many such changes do not keep the process busy with reloading alone.
        sleep(begun.elapsed()).await;
        Ok(())
    }
}

/// Records the last use of a directory's credentials in a registry and never returns. The uses of some seconds are
/// recorded at once. The uses of the last seconds before the end of the process are lost, unless they are recorded at
/// shutdown.
pub async fn record_last_used(registry: Arc<dyn Registry>, directory: Arc<Directory>, clock: Arc<dyn Clock>) {
    let mut noted = clock.now().time;
    loop {
        sleep(NOTING).await;
        let now = clock.now().time;
        let uses = directory.used_since(noted);
        if uses.is_empty() {
            noted = now;
            continue;
        }
        match registry.record_last_used(&uses).await {
            Ok(()) => noted = now,
            // The next round records them again.
            Err(fault) => tracing::error!(%fault, "failed to record the last uses of keys"),
        }
    }
}
