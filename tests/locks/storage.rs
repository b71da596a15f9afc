//! A registry's storage, and its state after the process has ended.

use std::sync::Arc;

use portcullis::{
    clock::ManualClock,
    registry::{Registry, memory::Memory},
};

pub trait Storage: Sized {
    async fn new(clock: Arc<ManualClock>) -> Self;

    fn registry(&self) -> &dyn Registry;

    /// The process ends without a word, and another takes its place.
    async fn crash(self, clock: Arc<ManualClock>) -> Self;
}

/// In memory: nothing would be left, so it never ends.
pub struct InMemory(Memory);

impl Storage for InMemory {
    async fn new(clock: Arc<ManualClock>) -> Self {
        Self(Memory::new(clock))
    }

    fn registry(&self) -> &dyn Registry {
        &self.0
    }

    async fn crash(self, _: Arc<ManualClock>) -> Self {
        self
    }
}

#[cfg(feature = "sqlite")]
pub mod sqlite {
    use portcullis::registry::sqlite::{Options, Sqlite};
    use tempfile::TempDir;

    use super::*;

    /// In a file.
    pub struct OnDisk {
        store: Sqlite,
        folder: TempDir,
    }

    async fn open(folder: TempDir, clock: Arc<ManualClock>) -> OnDisk {
        let path = folder.path().join("store.db");
        OnDisk { store: Sqlite::open_with(&path, clock, Options::default()).await.unwrap(), folder }
    }

    impl Storage for OnDisk {
        async fn new(clock: Arc<ManualClock>) -> Self {
            open(tempfile::tempdir().unwrap(), clock).await
        }

        fn registry(&self) -> &dyn Registry {
            &self.store
        }

        /// Ends the process without closing the file: the next process finds the folder as it is, with the write-ahead
        /// log.
        async fn crash(self, clock: Arc<ManualClock>) -> Self {
            let left = tempfile::tempdir().unwrap();
            for file in ["store.db", "store.db-wal"] {
                std::fs::copy(self.folder.path().join(file), left.path().join(file)).unwrap();
            }
            open(left, clock).await
        }
    }
}
