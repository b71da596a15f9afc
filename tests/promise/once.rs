//! Requests that take effect once, however often they are sent.

use std::{sync::Arc, time::Duration};

use portcullis::{
    app::{Entity, Tenant},
    clock::{Clock, ManualClock},
    registry::{Command, Fault, Kept, Once, Outcome, Registry},
};

use crate::records::{actor, log, tenant};

const DAY: Duration = Duration::from_hours(24);

/// A record under this key, of a request of this fingerprint; its answer names what was made.
fn once(key: u8, fingerprint: u8) -> Once<'static> {
    let answer = |done: &[Entity]| Ok(done.iter().flat_map(|entity| entity.id().bytes()).collect());
    Once { key: [key; 32], fingerprint: [fingerprint; 32], answer: Box::new(answer) }
}

fn make(id: &str) -> Vec<Command> {
    vec![Command::CreateTenant(tenant(id))]
}

fn of(id: &str) -> Vec<u8> {
    id.as_bytes().to_vec()
}

pub async fn a_request_sent_again_gets_the_first_answer_and_has_no_effect(
    registry: Arc<dyn Registry>,
    clock: Arc<ManualClock>,
) {
    let key = [1; 32];
    assert_eq!(registry.kept(&key).await.unwrap(), None);
    let done = registry.execute_once(make("a"), &actor(), once(1, 1)).await.unwrap();
    assert_eq!(done, Outcome::Done(of("a")));
    let expires_at = clock.now().time + DAY;
    let kept = Kept { fingerprint: [1; 32], answer: of("a"), expires_at };
    assert_eq!(registry.kept(&key).await.unwrap(), Some(kept.clone()));

    // What would be done is not looked at.
    for commands in [make("a"), make("b"), vec![]] {
        let again = no_change!(registry, registry.execute_once(commands, &actor(), once(1, 1)));
        assert_eq!(again, Outcome::Earlier(of("a")));
    }
    refused!(registry, Fault::Reused, registry.execute_once(make("b"), &actor(), once(1, 2)));
    assert_eq!(kept.clone().to(&[1; 32]).unwrap(), of("a"));
    assert!(matches!(kept.to(&[2; 32]), Err(Fault::Reused)));
    let other = registry.execute_once(make("b"), &actor(), once(2, 1)).await.unwrap();
    assert_eq!(other, Outcome::Done(of("b")));
    assert_eq!(log(&*registry).await.len(), 2, "records are no changes");
}

pub async fn a_request_that_is_refused_may_be_made_again(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    registry.create_tenant(tenant("a"), &actor()).await.unwrap();
    let both = || [make("b"), make("a")].concat();
    refused!(registry, Fault::Conflict, registry.execute_once(both(), &actor(), once(1, 1)));
    assert_eq!(registry.kept(&[1; 32]).await.unwrap(), None);
    // An answer that cannot be made undoes what it was to answer for.
    let answer = |_: &[Entity]| Err(Fault::Unavailable("no paper".into()));
    let mute = || Once { answer: Box::new(answer), ..once(1, 1) };
    refused!(registry, Fault::Unavailable(_), registry.execute_once(make("b"), &actor(), mute()));
    assert_eq!(registry.kept(&[1; 32]).await.unwrap(), None);
    let done = registry.execute_once(make("b"), &actor(), once(1, 2)).await.unwrap();
    assert_eq!(done, Outcome::Done(of("b")));
}

pub async fn a_record_is_kept_for_a_day_to_the_nanosecond(
    registry: Arc<dyn Registry>,
    clock: Arc<ManualClock>,
) {
    let first: Tenant = registry.create_tenant(tenant("a"), &actor()).await.unwrap();
    registry.execute_once(make("b"), &actor(), once(1, 1)).await.unwrap();
    clock.advance(DAY - Duration::from_nanos(1));
    let again = no_change!(registry, registry.execute_once(make("c"), &actor(), once(1, 1)));
    assert_eq!(again, Outcome::Earlier(of("b")));
    clock.advance(Duration::from_nanos(1));
    assert_eq!(registry.kept(&[1; 32]).await.unwrap(), None);
    let anew = registry.execute_once(make("c"), &actor(), once(1, 2)).await.unwrap();
    assert_eq!(anew, Outcome::Done(of("c")));
    assert_eq!(registry.tenant(&first.id).await.unwrap(), first);
}

pub async fn of_one_request_sent_fifty_times_at_once_one_takes_effect(
    registry: Arc<dyn Registry>,
    _: Arc<ManualClock>,
) {
    let sent: Vec<_> = (0..50)
        .map(|at| {
            let registry = registry.clone();
            let commands = make(&format!("t{at}"));
            tokio::spawn(async move { registry.execute_once(commands, &actor(), once(1, 1)).await.unwrap() })
        })
        .collect();
    let mut done = Vec::new();
    let mut earlier = Vec::new();
    for outcome in sent {
        match outcome.await.unwrap() {
            Outcome::Done(answer) => done.push(answer),
            Outcome::Earlier(answer) => earlier.push(answer),
        }
    }
    assert_eq!((done.len(), earlier.len()), (1, 49));
    assert!(earlier.iter().all(|answer| *answer == done[0]));
    assert_eq!(log(&*registry).await.len(), 1);
}
