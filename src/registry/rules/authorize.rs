//! The first rule of every transaction: its actor must still be authorized to make changes.

use async_trait::async_trait;
use jiff::Timestamp;

use super::ensure_not;
use crate::{
    model::{Actor, Authority, Caller, Credential, SubscriptionStatus, Tenant},
    registry::{Outcome, RegistryError, Transaction, UnitOfWork},
};

/// Work that first checks that its actor is still authorized.
///
/// Only [`RegistryExt::transact`](crate::registry::RegistryExt::transact) creates this type, and a store runs nothing else,
/// so that no change is made without the check.
pub struct AuthorizedWork<'a> {
    work: &'a mut dyn UnitOfWork,
    actor: &'a Actor,
}

impl<'a> AuthorizedWork<'a> {
    pub(in crate::registry) fn new(work: &'a mut dyn UnitOfWork, actor: &'a Actor) -> Self {
        Self { work, actor }
    }

    async fn authorize(&mut self, tx: &mut dyn Transaction) -> Result<(), RegistryError> {
        if let Some(authority) = self.actor.authority() {
            let caller = tx.caller(authority.tenant(), authority.caller()).await?;
            let credential = match authority.credential() {
                Some(id) => tx.credential(authority.tenant(), id).await?,
                None => None,
            };
            check(authority, caller.as_ref(), credential.as_ref(), tx.now())?;
        }
        if let Some(id) = self.actor.subscriber() {
            check_subscription(tx.tenant(id).await?.as_ref())?;
        }
        Ok(())
    }
}

#[async_trait]
impl UnitOfWork for AuthorizedWork<'_> {
    async fn perform(&mut self, tx: &mut dyn Transaction) -> Result<Outcome, RegistryError> {
        self.authorize(tx).await?;
        self.work.perform(tx).await
    }

    /// Repeats the check, because the authority may have been lost while the work ran beside the store.
    async fn confirm(&mut self, tx: &mut dyn Transaction) -> Result<Outcome, RegistryError> {
        self.authorize(tx).await?;
        self.work.confirm(tx).await
    }

    fn operations(&self) -> Vec<&'static str> {
        self.work.operations()
    }
}

/// Checks that an authority still holds, given the current caller and credential.
///
/// # Errors
/// [`RegistryError::NotAuthorized`].
pub(in crate::registry) fn check(
    authority: &Authority,
    caller: Option<&Caller>,
    credential: Option<&Credential>,
    now: Timestamp,
) -> Result<(), RegistryError> {
    let holds = caller.is_some_and(|caller| authority.still_holds(caller, credential, now));
    ensure_not(!holds, RegistryError::NotAuthorized)
}

fn check_subscription(tenant: Option<&Tenant>) -> Result<(), RegistryError> {
    let tenant = tenant.ok_or(RegistryError::NotFound)?;
    ensure_not(tenant.standing == SubscriptionStatus::Lapsed, RegistryError::Lapsed)
}
