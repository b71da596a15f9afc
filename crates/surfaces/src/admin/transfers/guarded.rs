//! The transaction of an import, which also checks a lock and stores the response of an idempotent request.

use async_trait::async_trait;

use crate::admin::{idempotency::IdempotencyKey, response::ApiResponse, settings::Admin};
use portcullis::registry::{Outcome, ProveLock, RegistryError, Transaction, UnitOfWork, run_in};

/// A unit of work that requires a lock, if the request has a lock token, and that is idempotent, if it has an
/// idempotency key.
pub(super) struct GuardedWork<'a, W> {
    pub(super) admin: &'a Admin,
    pub(super) ticket: Option<&'a IdempotencyKey>,
    /// The operation that checks the lock.
    pub(super) hold: Option<ProveLock>,
    pub(super) work: W,
    /// Makes the response from the finished work.
    pub(super) response: fn(&W) -> Option<ApiResponse>,
    /// The stored response, if the request took effect before.
    pub(super) earlier: Option<ApiResponse>,
}

#[async_trait]
impl<W: UnitOfWork> UnitOfWork for GuardedWork<'_, W> {
    async fn perform(&mut self, tx: &mut dyn Transaction) -> Result<Outcome, RegistryError> {
        if let Some(ticket) = self.ticket {
            self.earlier = ticket.replay(self.admin, tx).await?;
            if self.earlier.is_some() {
                return Ok(Outcome::Rollback);
            }
        }
        run_in(tx, self.hold.clone()).await?;
        let end = self.work.perform(tx).await?;
        if let (Outcome::Commit, Some(ticket)) = (end, self.ticket) {
            let answer = (self.response)(&self.work);
            let answer =
                answer.ok_or_else(|| RegistryError::Corrupt("committed work has no response".into()))?;
            ticket.store(self.admin, tx, &answer).await?;
        }
        Ok(end)
    }

    /// Checks the stored responses and the lock again, because the lock may have been lost while the file was read.
    async fn confirm(&mut self, tx: &mut dyn Transaction) -> Result<Outcome, RegistryError> {
        if let Some(ticket) = self.ticket {
            self.earlier = ticket.replay(self.admin, tx).await?;
            if self.earlier.is_some() {
                return Ok(Outcome::Rollback);
            }
        }
        run_in(tx, self.hold.clone()).await?;
        self.work.confirm(tx).await
    }
}
