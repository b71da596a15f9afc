//! What those who manage callers ask of the directory, beside those who decide.

use std::sync::{Arc, atomic::Ordering};

use super::{Directory, KeyEntry};
use crate::model::Digest;

/// One that follows; see [`Directory::is_followed`].
pub(crate) struct Follower<'a>(&'a Directory);

impl Drop for Follower<'_> {
    fn drop(&mut self) {
        self.0.followers.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Directory {
    /// The credential of a digest, with its caller; disabled and expired ones too.
    #[must_use]
    pub fn find_by_digest(&self, digest: Digest) -> Option<Arc<KeyEntry>> {
        let keys = self.key_count.pin();
        keys.get(&digest.prefix()).filter(|key| key.digest == digest).cloned()
    }

    /// Returns `true` if something follows a registry's change log into the directory: a change is applied soon.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        self.followers.load(Ordering::Acquire) > 0
    }

    /// Notes that something follows a registry's change log into the directory, until the guard is dropped.
    pub(crate) fn follower(&self) -> Follower<'_> {
        self.followers.fetch_add(1, Ordering::AcqRel);
        Follower(self)
    }

    /// Returns when something is so: at once if it is, otherwise when a change has made it so.
    pub async fn wait_until(&self, so: impl Fn(&Self) -> bool) {
        let mut applied = self.applied_seq.subscribe();
        loop {
            // Marked as seen before the question, so that a change behind it ends the wait below. The question itself is
            // asked without the channel's lock: it may read the channel again, which would wait for a writer that waits
            // for this reader.
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
        model::{Credential, Entity, Status, ChangeKind},
        testing::World,
    };

    #[tokio::test]
    async fn who_waits_for_a_change_is_woken_by_it() {
        let world = World::new();
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
    fn waiting_for_a_number_does_not_block_changes() {
        const CHANGES: u64 = 5_000;

        let world = World::new();
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
        // A guard against hanging, not a measure.
        wait.recv_timeout(std::time::Duration::from_secs(60)).expect("the wait ends");
        changes.join().unwrap();
    }
}
