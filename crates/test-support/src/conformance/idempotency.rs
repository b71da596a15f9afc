//! Idempotent requests.

use std::{sync::Arc, time::Duration};

use portcullis::{
    clock::{Clock, ManualClock},
    model::Tenant,
    registry::{
        CreateTenant, IdempotentOutcome, IdempotentRequest, Registry, RegistryError, RegistryExt,
        StoredResponse,
    },
};

use super::{Promise, promises};
use crate::fixtures::{actor, log, tenant};

/// The promises of this module.
pub(super) const PROMISES: &[Promise] = promises![
    repeated_request_gets_the_first_response_without_effect,
    rejected_request_can_be_repeated,
    stored_response_is_retained_for_exactly_a_day,
    one_of_fifty_concurrent_repeats_takes_effect,
];

const DAY: Duration = Duration::from_hours(24);

/// Returns an idempotent request with this key and fingerprint. Its response contains the created entities.
fn once(key: u8, fingerprint: u8) -> IdempotentRequest<'static, Vec<Tenant>> {
    let answer = |done: Vec<Tenant>| Ok(done.iter().flat_map(|tenant| tenant.id.as_str().bytes()).collect());
    IdempotentRequest { key: [key; 32], fingerprint: [fingerprint; 32], answer: Box::new(answer) }
}

fn make(id: &str) -> Vec<CreateTenant> {
    vec![CreateTenant(tenant(id))]
}

fn of(id: &str) -> Vec<u8> {
    id.as_bytes().to_vec()
}

async fn repeated_request_gets_the_first_response_without_effect(
    registry: Arc<dyn Registry>,
    clock: Arc<ManualClock>,
) {
    let key = [1; 32];
    assert_eq!(registry.stored_response(&key).await.unwrap(), None);
    let done = registry.run_idempotent(make("a"), &actor(), once(1, 1)).await.unwrap();
    assert_eq!(done, IdempotentOutcome::Executed(of("a")));
    let expires_at = clock.now().time + DAY;
    let stored = StoredResponse { fingerprint: [1; 32], answer: of("a"), expires_at };
    assert_eq!(registry.stored_response(&key).await.unwrap(), Some(stored.clone()));

    // The commands of the repeated request are not considered.
    for commands in [make("a"), make("b"), vec![]] {
        let again = no_change!(registry, registry.run_idempotent(commands, &actor(), once(1, 1)));
        assert_eq!(again, IdempotentOutcome::Replayed(of("a")));
    }
    refused!(
        registry,
        RegistryError::IdempotencyKeyReused,
        registry.run_idempotent(make("b"), &actor(), once(1, 2))
    );
    assert_eq!(stored.clone().answers(&[1; 32]).unwrap(), of("a"));
    assert!(matches!(stored.answers(&[2; 32]), Err(RegistryError::IdempotencyKeyReused)));
    let other = registry.run_idempotent(make("b"), &actor(), once(2, 1)).await.unwrap();
    assert_eq!(other, IdempotentOutcome::Executed(of("b")));
    assert_eq!(log(&*registry).await.len(), 2, "records are no changes");
}

async fn rejected_request_can_be_repeated(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    registry.create_tenant(tenant("a"), &actor()).await.unwrap();
    let both = || [make("b"), make("a")].concat();
    refused!(registry, RegistryError::Conflict, registry.run_idempotent(both(), &actor(), once(1, 1)));
    assert_eq!(registry.stored_response(&[1; 32]).await.unwrap(), None);
    // An error while building the response rolls the changes back.
    let answer = |_: Vec<Tenant>| Err(RegistryError::Unavailable("no paper".into()));
    let mute = || IdempotentRequest { answer: Box::new(answer), ..once(1, 1) };
    refused!(registry, RegistryError::Unavailable(_), registry.run_idempotent(make("b"), &actor(), mute()));
    assert_eq!(registry.stored_response(&[1; 32]).await.unwrap(), None);
    let done = registry.run_idempotent(make("b"), &actor(), once(1, 2)).await.unwrap();
    assert_eq!(done, IdempotentOutcome::Executed(of("b")));
}

async fn stored_response_is_retained_for_exactly_a_day(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    let first: Tenant = registry.create_tenant(tenant("a"), &actor()).await.unwrap();
    registry.run_idempotent(make("b"), &actor(), once(1, 1)).await.unwrap();
    clock.advance(DAY - Duration::from_nanos(1));
    let again = no_change!(registry, registry.run_idempotent(make("c"), &actor(), once(1, 1)));
    assert_eq!(again, IdempotentOutcome::Replayed(of("b")));
    clock.advance(Duration::from_nanos(1));
    assert_eq!(registry.stored_response(&[1; 32]).await.unwrap(), None);
    let anew = registry.run_idempotent(make("c"), &actor(), once(1, 2)).await.unwrap();
    assert_eq!(anew, IdempotentOutcome::Executed(of("c")));
    assert_eq!(registry.tenant(&first.id).await.unwrap(), first);
}

async fn one_of_fifty_concurrent_repeats_takes_effect(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    let sent: Vec<_> = (0..50)
        .map(|at| {
            let registry = registry.clone();
            let commands = make(&format!("t{at}"));
            tokio::spawn(
                async move { registry.run_idempotent(commands, &actor(), once(1, 1)).await.unwrap() },
            )
        })
        .collect();
    let mut done = Vec::new();
    let mut earlier = Vec::new();
    for outcome in sent {
        match outcome.await.unwrap() {
            IdempotentOutcome::Executed(answer) => done.push(answer),
            IdempotentOutcome::Replayed(answer) => earlier.push(answer),
        }
    }
    assert_eq!((done.len(), earlier.len()), (1, 49));
    assert!(earlier.iter().all(|answer| *answer == done[0]));
    assert_eq!(log(&*registry).await.len(), 1);
}
