//! Closes the store in order: records the last uses of keys and closes the file.

use std::{sync::Arc, time::Duration};

use tokio::{runtime::Handle, task::AbortHandle, time::timeout};

use portcullis::{clock::Clock, directory::Directory, registry::Registry};

/// The maximum time that the shutdown waits for the store.
const MAX_DURATION: Duration = Duration::from_secs(5);
/// The period of uses that are recorded at the end. It is longer than the interval between two regular recordings, so
/// that no use is lost.
const LAST_USES_PERIOD: Duration = Duration::from_secs(30);

/// Closes the store when the process ends, so that one file contains everything.
#[derive(Clone)]
pub(super) struct StoreClosing {
    pub(super) registry: Arc<dyn Registry>,
    pub(super) directory: Arc<Directory>,
    pub(super) clock: Arc<dyn Clock>,
    /// The runtime of the registry.
    pub(super) runtime: Handle,
    /// The tasks that use the store until it is closed.
    pub(super) tasks: Vec<AbortHandle>,
}

impl StoreClosing {
    /// Stops the tasks, records the last uses of keys and closes the store. Always returns after a limited time: if the
    /// store cannot be closed in time, all committed changes are in the write-ahead log.
    pub(super) async fn run(&self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        let Self { registry, directory, clock, .. } = self.clone();
        let closed = self.runtime.spawn(async move {
            let uses = directory.used_since(clock.now().time - LAST_USES_PERIOD);
            if let Err(fault) = registry.record_last_used(&uses).await {
                tracing::warn!(%fault, "failed to record the last uses of keys");
            }
            registry.close().await;
        });
        if !matches!(timeout(MAX_DURATION, closed).await, Ok(Ok(()))) {
            tracing::warn!("store not closed: keep its write-ahead log (-wal) beside it");
        }
    }

    /// Closes the store from a thread that runs no tasks.
    pub(super) fn run_blocking(&self) {
        self.runtime.block_on(self.run());
    }
}
