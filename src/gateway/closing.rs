//! The orderly end of the store: what was observed last is noted, and the file is closed.

use std::{sync::Arc, time::Duration};

use tokio::{runtime::Handle, task::AbortHandle, time::timeout};

use crate::{clock::Clock, directory::Directory, registry::Registry};

/// The longest time that the end of the process waits for the store.
const MAX_DURATION: Duration = Duration::from_secs(5);
/// Longer than the time between two notings of uses, so that none falls between the last one and the end.
const POLL_INTERVAL: Duration = Duration::from_secs(30);

/// Closes the store when the process ends, so that the one file holds everything.
#[derive(Clone)]
pub(super) struct Closing {
    pub(super) registry: Arc<dyn Registry>,
    pub(super) directory: Arc<Directory>,
    pub(super) clock: Arc<dyn Clock>,
    /// The runtime that the registry lives on.
    pub(super) runtime: Handle,
    /// The tasks that use the store until then.
    pub(super) tasks: Vec<AbortHandle>,
}

impl Closing {
    /// Stops the tasks, notes the last uses of keys and closes the store. Returns after a bounded time in any case:
    /// what was acknowledged is in the write-ahead log even if the store cannot be closed in time.
    pub(super) async fn run(&self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        let Self { registry, directory, clock, .. } = self.clone();
        let closed = self.runtime.spawn(async move {
            let uses = directory.used_since(clock.now().time - POLL_INTERVAL);
            if let Err(fault) = registry.record_last_used(&uses).await {
                tracing::warn!(%fault, "the last uses of keys are not noted");
            }
            registry.close().await;
        });
        if !matches!(timeout(MAX_DURATION, closed).await, Ok(Ok(()))) {
            tracing::warn!("the store is not closed: its write-ahead log stays beside it");
        }
    }

    /// Closes the store from a thread that runs no tasks.
    pub(super) fn run_blocking(&self) {
        self.runtime.block_on(self.run());
    }
}
