//! Work that decides within a transaction.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use portcullis::{
    clock::{Clock, ManualClock},
    model::{Credential, CredentialId, PlanId},
    registry::{
        CreateCaller, CreateCredential, CreateTenant, DeleteCredential, NewCredential, Outcome, PutPlan,
        Registry, RegistryError, RegistryExt, Transaction, UnitOfWork, execute,
    },
};

use super::{Promise, promises};
use crate::fixtures::{actor, client, key, plan, tenant};

/// The promises of this module.
pub(super) const PROMISES: &[Promise] = promises![
    rolled_back_or_failed_work_has_no_effect,
    committed_work_is_complete,
    recorded_use_survives_a_rollback,
];

/// Creates entities in an empty registry, records a use, and ends as requested.
struct Day {
    /// `None` fails.
    end: Option<Outcome>,
    key: NewCredential,
    used: Timestamp,
}

impl Day {
    fn new(clock: &ManualClock, end: Option<Outcome>) -> Self {
        let caller = client("t", "name").into_caller(Timestamp::UNIX_EPOCH);
        Self { end, key: key(&caller, "key"), used: clock.now().time }
    }
}

#[async_trait]
impl UnitOfWork for Day {
    async fn perform(&mut self, tx: &mut dyn Transaction) -> Result<Outcome, RegistryError> {
        assert_eq!(tx.now(), self.used, "by the registry's clock");
        assert!(tx.is_empty().await?);
        execute(tx, vec![PutPlan(plan("p", 1)).into()]).await?;
        assert!(tx.is_empty().await?, "but for plans");
        let id: PlanId = "p".parse().unwrap();
        assert_eq!(tx.plan(&id).await?, Some(plan("p", 1)), "it reads what it wrote");
        let mut caller = client("t", "name");
        caller.id = self.key.caller.clone();
        let key = CreateCredential { credential: self.key.clone(), most: None }.into();
        execute(tx, vec![CreateTenant(tenant("t")).into(), CreateCaller(caller).into(), key]).await?;
        assert!(!tx.is_empty().await?);
        assert!(tx.has_credential(&self.key.id).await? && tx.has_digest(&self.key.digest).await?);
        assert!(!tx.has_credential(&CredentialId::random()).await?);
        tx.record_last_used(&self.key.id, self.used).await?;
        tx.record_last_used(&CredentialId::random(), self.used).await?;
        self.end.ok_or(RegistryError::LimitReached(7))
    }
}

async fn rolled_back_or_failed_work_has_no_effect(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    for end in [Some(Outcome::Rollback), None] {
        let mut day = Day::new(&clock, end);
        let outcome =
            no_change!(registry, async { Ok::<_, ()>(registry.transact(&mut day, &actor()).await) });
        assert!(matches!((outcome, end), (Ok(()), Some(_)) | (Err(RegistryError::LimitReached(7)), None)));
        assert_eq!(registry.last_used(&[day.key.id]).await.unwrap(), [None]);
    }
}

async fn committed_work_is_complete(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    let mut day = Day::new(&clock, Some(Outcome::Commit));
    registry.transact(&mut day, &actor()).await.unwrap();
    let snapshot = registry.snapshot().await.unwrap();
    assert_eq!((snapshot.seq, snapshot.entities.len()), (4, 4));
    let second = Timestamp::from_second(day.used.as_second()).ok();
    assert_eq!(registry.last_used(&[day.key.id.clone()]).await.unwrap(), [second]);
    // A waiting client is notified of the change.
    crate::fixtures::within(registry.wait_for_change(3)).await;
}

/// Changes existing entities and rolls the changes back.
struct Undone(Credential);

#[async_trait]
impl UnitOfWork for Undone {
    async fn perform(&mut self, tx: &mut dyn Transaction) -> Result<Outcome, RegistryError> {
        let Credential { tenant, id, .. } = self.0.clone();
        tx.record_last_used(&id, tx.now() + std::time::Duration::from_hours(1)).await?;
        execute(tx, vec![DeleteCredential { tenant, id: id.clone(), expected: None }.into()]).await?;
        execute(tx, vec![CreateCredential { credential: self.0.clone().into(), most: None }.into()]).await?;
        tx.record_last_used(&id, tx.now()).await?;
        Ok(Outcome::Rollback)
    }
}

async fn recorded_use_survives_a_rollback(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    registry.transact(&mut Day::new(&clock, Some(Outcome::Commit)), &actor()).await.unwrap();
    let snapshot = registry.snapshot().await.unwrap();
    let credential = snapshot.entities.iter().find_map(|entity| match entity {
        portcullis::model::Entity::Credential(credential) => Some(credential.clone()),
        _ => None,
    });
    let credential = credential.unwrap();
    let before = registry.last_used(std::slice::from_ref(&credential.id)).await.unwrap();
    no_change!(registry, registry.transact(&mut Undone(credential.clone()), &actor()));
    assert_eq!(registry.last_used(std::slice::from_ref(&credential.id)).await.unwrap(), before);
    // The last use is deleted with the credential: a new credential with the same id has none.
    registry.delete_credential(&credential.tenant, &credential.id, None, &actor()).await.unwrap();
    registry.create_credential(credential.clone().into(), &actor()).await.unwrap();
    assert_eq!(registry.last_used(&[credential.id]).await.unwrap(), [None]);
}
