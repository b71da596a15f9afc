//! The conformance suite of [`Registry`]: each promise of its documentation as a test.
//!
//! Run it against your implementation in an integration test without the standard harness:
//!
//! ```toml
//! [[test]]
//! name = "registry"
//! harness = false
//! ```
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use portcullis::registry::{Registry, memory::Memory};
//! use portcullis_test::{conformance, libtest_mimic};
//!
//! fn main() {
//!     let tests = conformance::trials("memory", |clock| async {
//!         (Arc::new(Memory::new(clock)) as Arc<dyn Registry>, ())
//!     });
//!     libtest_mimic::run(&libtest_mimic::Arguments::from_args(), tests).exit();
//! }
//! ```

#[macro_use]
mod refused;
mod batches;
mod callers;
mod credentials;
mod edits;
mod grants;
mod idempotency;
mod imports;
mod listings;
mod locked_changes;
mod locks;
mod log;
mod secrets;
mod tenants;
mod throttles;
mod units_of_work;

use std::{pin::Pin, sync::Arc};

use libtest_mimic::Trial;
use portcullis::{clock::ManualClock, registry::Registry};

use crate::fixtures;

/// The promises of each area. A promise that is in no list is dead code, which the compiler reports.
const AREAS: &[(&str, &[Promise])] = &[
    ("tenants", tenants::PROMISES),
    ("callers", callers::PROMISES),
    ("edits", edits::PROMISES),
    ("credentials", credentials::PROMISES),
    ("secrets", secrets::PROMISES),
    ("locks", locks::PROMISES),
    ("locked_changes", locked_changes::PROMISES),
    ("batches", batches::PROMISES),
    ("idempotency", idempotency::PROMISES),
    ("units_of_work", units_of_work::PROMISES),
    ("imports", imports::PROMISES),
    ("throttles", throttles::PROMISES),
    ("grants", grants::PROMISES),
    ("listings", listings::PROMISES),
    ("log", log::PROMISES),
];

/// A promise of [`Registry`], with the test that checks it on an empty registry.
struct Promise {
    name: &'static str,
    check: fn(Arc<dyn Registry>, Arc<ManualClock>) -> Check,
}

type Check = Pin<Box<dyn Future<Output = ()>>>;

/// Lists test functions as promises, each with the name of its function.
macro_rules! promises {
    ($($promise:ident),+ $(,)?) => {
        &[$(Promise { name: stringify!($promise), check: |registry, clock| Box::pin($promise(registry, clock)) }),+]
    };
}
use promises;

/// Returns one test for each promise, named `{store}::{area}::{promise}`.
///
/// `open` returns an empty registry that uses the given clock, and a value that must live as long as the registry, such
/// as a temporary folder. After each test, the change log must contain everything that the registry holds.
pub fn trials<O, F, G>(store: &str, open: O) -> Vec<Trial>
where
    O: Fn(Arc<ManualClock>) -> F + Copy + Send + 'static,
    F: Future<Output = (Arc<dyn Registry>, G)>,
{
    let promises =
        AREAS.iter().flat_map(|(area, promises)| promises.iter().map(move |promise| (area, promise)));
    promises
        .map(|(area, promise)| {
            Trial::test(format!("{store}::{area}::{}", promise.name), move || {
                let runtime =
                    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
                runtime.block_on(async {
                    let clock = fixtures::clock();
                    let (registry, _alive) = open(clock.clone()).await;
                    (promise.check)(registry.clone(), clock).await;
                    fixtures::the_log_tells_all(&*registry).await;
                });
                Ok(())
            })
        })
        .collect()
}
