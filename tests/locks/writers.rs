//! Several writers at once.

use std::{sync::Arc, time::Duration};

use portcullis::{
    model::{CallerEdit, LockToken},
    registry::{NewLock, ProveLock, Registry, RegistryError, RegistryExt, UpdateCaller},
};
use tokio::{sync::Barrier, task::JoinSet};

use portcullis_test::fixtures::{actor, client, lock_on, tenant, within};

const WRITERS: usize = 4;

/// I9, without a lock and with the same lock proven by all writers, as by a client that repeats a request because the
/// response is late.
pub async fn one_of_several_writers_at_one_revision_succeeds(registry: Arc<dyn Registry>) {
    registry.create_tenant(tenant("t"), &actor()).await.unwrap();
    let mut caller = registry.create_caller(client("t", "name"), &actor()).await.unwrap();
    let mut hold = None;
    for round in 0..40 {
        if round == 20 {
            let token = LockToken::generate();
            let new = NewLock { token: token.digest(), ..lock_on(&caller, Duration::from_secs(60)) };
            let lock = registry.acquire_lock(new, &actor()).await.unwrap();
            hold = Some(ProveLock { id: lock.id, token, fence: lock.fence }.into());
        }
        let (start, mut writers) = (Arc::new(Barrier::new(WRITERS)), JoinSet::new());
        for writer in 0..WRITERS {
            let write = UpdateCaller {
                tenant: caller.tenant.clone(),
                id: caller.id.clone(),
                expected: Some(caller.revision),
                edit: CallerEdit { name: Some(format!("{writer} in {round}")), ..CallerEdit::default() },
            }
            .into();
            let commands = hold.iter().cloned().chain([write]).collect();
            let (registry, start) = (registry.clone(), start.clone());
            writers.spawn(async move {
                start.wait().await;
                registry.execute(commands, &actor()).await
            });
        }
        let outcomes = within(writers.join_all()).await;
        let lost = |outcome: &&Result<_, _>| matches!(outcome, Err(RegistryError::Conflict));
        assert_eq!(outcomes.iter().filter(lost).count(), WRITERS - 1, "I9: {outcomes:?}");
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "I9: {outcomes:?}");
        let after = registry.caller(&caller.tenant, &caller.id).await.unwrap();
        assert_eq!(after.revision, caller.revision + 1, "I9");
        caller = after;
    }
}
