//! The transaction of an import, which also checks a lock and stores the response of an idempotent request.

use async_trait::async_trait;

use crate::admin::{idempotency::IdempotencyKey, response::ApiResponse, settings::Admin};
use portcullis::registry::{Outcome, ProveLock, RegistryError, Transaction, UnitOfWork, run_in};

/// A unit of work that requires a lock, if the request has a lock token, and that is idempotent, if it has an
/// idempotency key.
pub(super) struct GuardedWork<'a, W> {
    pub(super) admin: &'a Admin,
    pub(super) idempotency_key: Option<&'a IdempotencyKey>,
    /// The operation that checks the lock.
    pub(super) lock_proof: Option<ProveLock>,
    pub(super) work: W,
    /// Makes the response from the finished work.
    pub(super) response: fn(&W) -> Option<ApiResponse>,
    /// The stored response, if the request took effect before.
    pub(super) replay: Option<ApiResponse>,
}

#[async_trait]
impl<W: UnitOfWork> UnitOfWork for GuardedWork<'_, W> {
    async fn perform(&mut self, tx: &mut dyn Transaction) -> Result<Outcome, RegistryError> {
        if let Some(idempotency_key) = self.idempotency_key {
            self.replay = idempotency_key.replay(self.admin, tx).await?;
            if self.replay.is_some() {
                return Ok(Outcome::Rollback);
            }
        }
        run_in(tx, self.lock_proof.clone()).await?;
        let end = self.work.perform(tx).await?;
        if let (Outcome::Commit, Some(idempotency_key)) = (end, self.idempotency_key) {
            let answer = (self.response)(&self.work);
            let answer =
                answer.ok_or_else(|| RegistryError::Corrupt("committed work has no response".into()))?;
            idempotency_key.store(self.admin, tx, &answer).await?;
        }
        Ok(end)
    }

    /// Checks the stored responses and the lock again, because the lock may have been lost while the file was read.
    async fn confirm(&mut self, tx: &mut dyn Transaction) -> Result<Outcome, RegistryError> {
        if let Some(idempotency_key) = self.idempotency_key {
            self.replay = idempotency_key.replay(self.admin, tx).await?;
            if self.replay.is_some() {
                return Ok(Outcome::Rollback);
            }
        }
        run_in(tx, self.lock_proof.clone()).await?;
        self.work.confirm(tx).await
    }
}
