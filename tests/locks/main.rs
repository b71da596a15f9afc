//! Locks under any sequence of requests, against a model that says in the plainest words what they are to do.
//!
//! Checked after every step, and named by their number where one fails:
//!
//! * **I1** Of locks that would stop the same requests, at most one holds.
//! * **I2** Each grant has a greater fence than all before.
//! * **I3** No write is made with a fence below one that a write to the same was made with.
//! * **I4** A client that does not hold a lock, or no longer, writes nothing as its holder.
//! * **I5** A refresh never brings back what was lost.
//! * **I6** Releasing and refreshing again change nothing.
//! * **I7** The end of the process, at any instant, changes none of this.
//! * **I8** A denial states the first whole second in which the request would be allowed, and no later one.
//! * **I9** Of several writers that expect one revision, one succeeds.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[cfg(feature = "sqlite")]
mod crash;
mod model;
mod state_machine;
mod storage;
mod writers;

/// Cases that fail are printed as short as they get; they are no files.
fn config(share: u32) -> proptest::test_runner::Config {
    let whole = proptest::test_runner::Config::default();
    proptest::test_runner::Config { cases: whole.cases.div_ceil(share), failure_persistence: None, ..whole }
}

mod memory {
    use std::sync::Arc;

    use portcullis::registry::memory::Memory;
    use proptest::{collection::vec, proptest};

    use crate::{
        config, model::step, state_machine::play, storage::InMemory,
        writers::one_of_several_writers_at_one_revision_succeeds,
    };
    use portcullis_test::fixtures::clock;

    proptest! {
        #![proptest_config(config(1))]

        #[test]
        fn lock_invariants_hold_for_any_sequence(steps in vec(step(), 1..80)) {
            play::<InMemory>(steps);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn i9_one_of_several_writers_at_one_revision_succeeds() {
        one_of_several_writers_at_one_revision_succeeds(Arc::new(Memory::new(clock()))).await;
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::sync::Arc;

    use portcullis::registry::sqlite::Sqlite;
    use proptest::{collection::vec, proptest};

    use crate::{
        config, model::step, state_machine::play, storage::sqlite::OnDisk,
        writers::one_of_several_writers_at_one_revision_succeeds,
    };
    use portcullis_test::fixtures::clock;

    proptest! {
        #![proptest_config(config(8))]

        #[test]
        fn lock_invariants_hold_for_any_sequence(steps in vec(step(), 1..80)) {
            play::<OnDisk>(steps);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn i9_one_of_several_writers_at_one_revision_succeeds() {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&folder.path().join("store.db"), clock()).await.unwrap();
        one_of_several_writers_at_one_revision_succeeds(Arc::new(store)).await;
    }
}
