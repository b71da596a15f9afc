//! Keeps a directory up to date with a registry.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use super::{RegistryError, Mark, Registry};
use crate::{
    model::{EntityKind, Seq, Verb},
    clock::Clock,
    directory::{Directory, Following},
};

/// How many changes are read at once.
const BATCH: u32 = 1_000;
/// How long to leave a store alone that failed.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest time between two looks at the store, whatever the registry says of changes.
const LOOK: Duration = Duration::from_secs(5);

/// How often uses of credentials are noted.
const NOTING: Duration = Duration::from_secs(10);

/// Something in a store that this version of the program cannot read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The kind of entity.
    pub kind: EntityKind,
    /// Which.
    pub id: String,
    /// The reason, without any of the content.
    pub reason: String,
}

/// Fills a directory with all that a registry holds. To be awaited before the first request is taken.
///
/// # Errors
/// When the registry cannot be read.
pub async fn load(registry: &dyn Registry, directory: &Directory) -> Result<(), RegistryError> {
    let seq = registry.for_each(&mut |entity| directory.load_one(entity)).await?;
    directory.finish_load(seq);
    Ok(())
}

/// Applies every change of a registry to a directory, for ever. While the store cannot be read, the
/// directory keeps what it has, and [says so](Directory::following).
///
/// When the store has gone back, or another one stands in its place, or the change log has something that this version
/// cannot read, everything that can be read is loaded anew: what is not there is not accepted any more.
pub async fn follow(registry: Arc<dyn Registry>, directory: Arc<Directory>) {
    let followed = directory.clone();
    let _following = followed.follower();
    // As early as can be: a store that is replaced before would be taken for the one that was loaded.
    let known = registry.mark(directory.applied()).await.unwrap_or_default();
    let mut follower = Follower { registry, directory, known, batch: BATCH };
    loop {
        let changed = follower.registry.wait_for_change(follower.directory.applied());
        // Whether or not there is a change, the store may be another one.
        let _ = timeout(LOOK, changed).await;
        if let Err(fault) = follower.step().await {
            tracing::error!(%fault, applied = follower.directory.applied(), "cannot follow the change log");
            follower.directory.set_following(Following::Stalled);
            sleep(PAUSE).await;
        }
    }
}

struct Follower {
    registry: Arc<dyn Registry>,
    directory: Arc<Directory>,
    /// The store's mark of the last change that is applied.
    known: Option<Mark>,
    batch: u32,
}

impl Follower {
    /// Applies what there is to apply.
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
                "the store has gone back or is another one: everything is loaded anew"
            );
            self.directory.count_regression();
            return self.reload(Following::Current).await;
        }
        self.known = now;
        match self.registry.changes(applied, self.batch).await {
            Ok(changes) => {
                let any = !changes.is_empty();
                for change in changes {
                    if change.verb != Verb::Deleted {
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
            // One by one up to the one that cannot be read.
            Err(RegistryError::Corrupt(_)) if self.batch > 1 => {
                self.batch = 1;
                Ok(())
            }
            Err(RegistryError::Corrupt(reason)) => {
                tracing::error!(
                    applied,
                    reason,
                    "a change cannot be read by this version of the program: everything that can is loaded anew"
                );
                self.reload(Following::Incomplete).await
            }
            Err(fault) => Err(fault),
        }
    }

    /// Loads everything that can be read anew; what the directory has besides is dropped.
    async fn reload(&mut self, then: Following) -> Result<(), RegistryError> {
        let (begun, mut complete) = (Instant::now(), true);
        let mut reload = self.directory.reload();
        let mut each = |read| match read {
            Ok(entity) => reload.put(entity),
            Err(Unreadable { kind, id, reason }) => {
                tracing::error!(kind = kind.as_str(), id, reason, "an entity cannot be read");
                reload.leave(kind, &id);
                complete = false;
            }
        };
        let seq: Seq = self.registry.readable(&mut each).await?;
        reload.end(seq);
        self.batch = BATCH;
        self.known = self.registry.mark(seq).await?;
        self.directory.set_following(if complete { then } else { Following::Incomplete });
        tracing::warn!(change = seq, keys = self.directory.keys(), "everything was loaded anew");
        // Should many changes be so, the process is not to do nothing else.
        sleep(begun.elapsed()).await;
        Ok(())
    }
}

/// Notes in a registry, for ever, when the credentials of a directory were used: all uses of some seconds at
/// once. Those of the last seconds before the end of the process are lost, unless they are noted at its end.
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
            // The next time, all of it again.
            Err(fault) => tracing::error!(%fault, "the last uses of keys cannot be noted"),
        }
    }
}
