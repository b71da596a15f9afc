//! Directory look-ups for the management APIs.

use std::sync::{Arc, atomic::Ordering};

use super::{Directory, KeyEntry};
use crate::model::Digest;

/// A guard that marks a directory as followed; see [`Directory::is_followed`].
pub(crate) struct Follower<'a>(&'a Directory);

impl Drop for Follower<'_> {
    fn drop(&mut self) {
        self.0.followers.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Directory {
    /// Returns the credential with this digest, with its caller. Disabled and expired credentials are included.
    #[must_use]
    pub fn find_by_digest(&self, digest: Digest) -> Option<Arc<KeyEntry>> {
        let keys = self.keys.pin();
        keys.get(&digest.prefix()).filter(|key| key.digest == digest).cloned()
    }

    /// Returns `true` if a task applies a registry's change log to this directory, so that a change is applied
    /// soon.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        self.followers.load(Ordering::Acquire) > 0
    }

    /// Marks the directory as followed until the guard is dropped.
    pub(crate) fn follower(&self) -> Follower<'_> {
        self.followers.fetch_add(1, Ordering::AcqRel);
        Follower(self)
    }

    /// Waits until the condition is true: returns at once if it is, otherwise after the change that makes it true.
    pub async fn wait_until(&self, so: impl Fn(&Self) -> bool) {
        let mut applied = self.applied_seq.subscribe();
        loop {
            // The version is marked as seen before the condition is checked, so that a later change ends the wait
            // below. The condition is evaluated without the channel's lock: it may read the channel again, and
            // would wait for a writer that waits for this reader.
            applied.mark_unchanged();
            if so(self) || applied.changed().await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin, task::Poll};

    use super::*;
    use crate::{
        model::{ChangeKind, Credential, Entity, Status},
        test_support::Fixture,
    };

    #[tokio::test]
    async fn waiter_is_woken_by_its_change() {
        let world = Fixture::new();
        let mut made = None;
        world.key_with(|credential| made = Some(credential.clone()));
        let made = made.unwrap();
        let known = |directory: &Directory| directory.find_by_digest(made.digest).is_some();
        world.directory.wait_until(known).await;
        let mut gone = pin!(world.directory.wait_until(|directory| !known(directory)));
        poll_fn(|cx| {
            assert!(gone.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        let disabled = Credential { status: Status::Disabled, ..made.clone() };
        world.change(ChangeKind::Updated, Entity::Credential(disabled));
        assert_eq!(world.directory.find_by_digest(made.digest).unwrap().status(), Status::Disabled);
        world.change(ChangeKind::Deleted, Entity::Credential(made.clone()));
        gone.await;
    }

    #[test]
    fn waiting_for_a_sequence_number_does_not_block_changes() {
        const CHANGES: u64 = 5_000;

        let world = Fixture::new();
        let mut made = None;
        world.key_with(|credential| made = Some(credential.clone()));
        let made = made.unwrap();
        let (directory, last) = (world.directory.clone(), world.directory.applied() + CHANGES);
        let (arrived, wait) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(directory.wait_until(|directory| directory.applied() >= last));
            arrived.send(()).unwrap();
        });
        let changes = std::thread::spawn(move || {
            for _ in 0..CHANGES {
                world.change(ChangeKind::Updated, Entity::Credential(made.clone()));
            }
        });
        // The timeout only prevents that the test hangs.
        wait.recv_timeout(std::time::Duration::from_secs(60)).expect("the wait ends");
        changes.join().unwrap();
    }
}
