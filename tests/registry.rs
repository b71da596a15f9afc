//! The promises of [`Registry`], tested with every implementation in this package.

use std::sync::Arc;

use portcullis::{
    clock::ManualClock,
    registry::{Registry, memory::Memory},
};
use portcullis_test::{
    conformance::trials,
    libtest_mimic::{Arguments, run},
};

async fn memory(clock: Arc<ManualClock>) -> (Arc<dyn Registry>, ()) {
    (Arc::new(Memory::new(clock)), ())
}

/// Opens a registry that does not poll for changes of other processes, so that waiting ends only by a notification.
#[cfg(feature = "sqlite")]
async fn sqlite(clock: Arc<ManualClock>) -> (Arc<dyn Registry>, tempfile::TempDir) {
    use std::time::Duration;

    use portcullis::registry::sqlite::{Options, Sqlite};

    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = Options::default().poll(Duration::from_secs(60 * 60));
    let store =
        Sqlite::open_with(&folder.path().join("store.db"), clock, options).await.expect("a new store");
    (Arc::new(store), folder)
}

fn main() {
    #[cfg_attr(not(feature = "sqlite"), expect(unused_mut, reason = "one implementation"))]
    let mut tests = trials("memory", memory);
    #[cfg(feature = "sqlite")]
    tests.extend(trials("sqlite", sqlite));
    run(&Arguments::from_args(), tests).exit();
}
