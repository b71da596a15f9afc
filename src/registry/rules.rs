//! Integrity rules shared by all registries: the operations and their effects.

mod authorize;
mod caller;
mod credential;
mod entity;
mod grant;
mod import;
mod lock;
mod plan;
mod tenant;
mod throttle;

pub use authorize::AuthorizedWork;
pub(super) use authorize::check;
pub use caller::{CreateCaller, CreateCallerOr, DeleteCaller, KeepOwner, UpdateCaller};
pub use credential::{CreateCredential, DeleteCredential, Reseal, SecretRef, UpdateCredential};
pub use entity::{AssertUnchanged, ImportEntity};
pub use grant::{DeleteGrant, PutGrant};
pub use import::{ImportConflict, find_conflict};
pub use lock::{AcquireLock, BreakLock, ProveLock, RefreshLock, ReleaseLock};
pub use plan::{CreatePlan, DeletePlan, PutPlan};
pub use tenant::{CreateTenant, DeleteTenant, UpdateTenant};
pub use throttle::{CreateQuota, CreateThrottle, DeleteQuota, DeleteThrottle, UpdateQuota, UpdateThrottle};

use super::{RegistryError, Transaction};
use crate::model::{ChangeKind, Entity, LockId};

/// The rules applied to the operations of one transaction. There is one method for each command.
pub struct Rules<'a> {
    pub(super) tx: &'a mut dyn Transaction,
    /// The locks that the client has proven to hold.
    held: Vec<LockId>,
}

impl<'a> Rules<'a> {
    pub(super) fn new(tx: &'a mut dyn Transaction) -> Self {
        Self { tx, held: Vec::new() }
    }

    async fn record<E>(&mut self, verb: ChangeKind, entity: E) -> Result<E, RegistryError>
    where
        E: Clone + Into<Entity> + Send,
    {
        self.tx.write(verb, entity.clone().into()).await?;
        Ok(entity)
    }
}

fn ensure_not(so: bool, fault: RegistryError) -> Result<(), RegistryError> {
    if so { Err(fault) } else { Ok(()) }
}

/// Checks that an entity still has the revision that a change is based on.
fn check_revision(expected: Option<u64>, revision: u64) -> Result<(), RegistryError> {
    ensure_not(expected.is_some_and(|expected| expected != revision), RegistryError::Conflict)
}
