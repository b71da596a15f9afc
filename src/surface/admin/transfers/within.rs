//! An import in its transaction, with what belongs there besides: the lock that is held, the answer that is kept.

use async_trait::async_trait;

use super::super::{Admin, answer::Answer, once::Ticket};
use crate::registry::{Command, End, Fault, Transaction, Work, execute};

/// Work that is done while a lock is held, if one is to be, and once, if it is to be done once.
pub(super) struct Within<'a, W> {
    pub(super) admin: &'a Admin,
    pub(super) ticket: Option<&'a Ticket>,
    /// What proves the lock.
    pub(super) hold: Vec<Command>,
    pub(super) work: W,
    /// The answer to what was done.
    pub(super) told: fn(&W) -> Option<Answer>,
    /// The answer to the same request, when that took effect before.
    pub(super) earlier: Option<Answer>,
}

#[async_trait]
impl<W: Work> Work for Within<'_, W> {
    async fn run(&mut self, tx: &mut dyn Transaction) -> Result<End, Fault> {
        if let Some(ticket) = self.ticket {
            self.earlier = ticket.earlier(self.admin, tx).await?;
            if self.earlier.is_some() {
                return Ok(End::GiveUp);
            }
        }
        execute(tx, self.hold.clone()).await?;
        let end = self.work.run(tx).await?;
        if let (End::Keep, Some(ticket)) = (end, self.ticket) {
            let answer = (self.told)(&self.work);
            let answer = answer.ok_or_else(|| Fault::Corrupt("what was kept has no answer".into()))?;
            ticket.keep(self.admin, tx, &answer).await?;
        }
        Ok(end)
    }

    /// Whoever asks may have been revoked, or have lost its lock, while the file was read.
    async fn confirm(&mut self, tx: &mut dyn Transaction) -> Result<End, Fault> {
        if let Some(ticket) = self.ticket {
            self.earlier = ticket.earlier(self.admin, tx).await?;
            if self.earlier.is_some() {
                return Ok(End::GiveUp);
            }
        }
        execute(tx, self.hold.clone()).await?;
        self.work.confirm(tx).await
    }
}
