//! An import in its transaction, with what belongs there besides: the lock that is held, the answer that is kept.

use async_trait::async_trait;

use super::super::{Admin, response::ApiResponse, idempotency::IdempotencyKey};
use crate::registry::{Command, Outcome, RegistryError, Transaction, UnitOfWork, execute};

/// Work that is done while a lock is held, if one is to be, and once, if it is to be done once.
pub(super) struct GuardedWork<'a, W> {
    pub(super) admin: &'a Admin,
    pub(super) ticket: Option<&'a IdempotencyKey>,
    /// What proves the lock.
    pub(super) hold: Vec<Command>,
    pub(super) work: W,
    /// The answer to what was done.
    pub(super) told: fn(&W) -> Option<ApiResponse>,
    /// The answer to the same request, when that took effect before.
    pub(super) earlier: Option<ApiResponse>,
}

#[async_trait]
impl<W: UnitOfWork> UnitOfWork for GuardedWork<'_, W> {
    async fn run(&mut self, tx: &mut dyn Transaction) -> Result<Outcome, RegistryError> {
        if let Some(ticket) = self.ticket {
            self.earlier = ticket.replay(self.admin, tx).await?;
            if self.earlier.is_some() {
                return Ok(Outcome::Rollback);
            }
        }
        execute(tx, self.hold.clone()).await?;
        let end = self.work.run(tx).await?;
        if let (Outcome::Commit, Some(ticket)) = (end, self.ticket) {
            let answer = (self.told)(&self.work);
            let answer = answer.ok_or_else(|| RegistryError::Corrupt("what was kept has no answer".into()))?;
            ticket.keep(self.admin, tx, &answer).await?;
        }
        Ok(end)
    }

    /// Whoever asks may have been revoked, or have lost its lock, while the file was read.
    async fn confirm(&mut self, tx: &mut dyn Transaction) -> Result<Outcome, RegistryError> {
        if let Some(ticket) = self.ticket {
            self.earlier = ticket.replay(self.admin, tx).await?;
            if self.earlier.is_some() {
                return Ok(Outcome::Rollback);
            }
        }
        execute(tx, self.hold.clone()).await?;
        self.work.confirm(tx).await
    }
}
