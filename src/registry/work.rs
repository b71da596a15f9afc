//! What is done within one transaction.

use async_trait::async_trait;

use super::{Command, Fault, Once, Outcome, Transaction, execute, execute_once};
use crate::app::Entity;

/// What becomes of what was done in a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is kept.
    Keep,
    /// It never was.
    GiveUp,
}

/// Something that decides, in one transaction, what to do by what it reads there; see
/// [`Registry::transact`](super::Registry::transact).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), portcullis::registry::Fault> {
/// use std::sync::Arc;
/// use async_trait::async_trait;
/// use portcullis::{
///     app::{Actor, PlanId},
///     clock::SystemClock,
///     registry::{Command, End, Fault, Registry, Transaction, Work, execute, memory::Memory},
/// };
///
/// /// Deletes a plan that nobody is on.
/// struct Tidy(PlanId);
///
/// #[async_trait]
/// impl Work for Tidy {
///     async fn run(&mut self, tx: &mut dyn Transaction) -> Result<End, Fault> {
///         if tx.plan(&self.0).await?.is_none() || tx.is_used(&self.0).await? {
///             return Ok(End::GiveUp);
///         }
///         execute(tx, vec![Command::DeletePlan(self.0.clone())]).await?;
///         Ok(End::Keep)
///     }
/// }
///
/// let registry = Memory::new(Arc::new(SystemClock::new()));
/// let mut tidy = Tidy("old".parse().expect("an id"));
/// registry.transact(&mut tidy, &Actor::system("example")).await
/// # }
/// ```
#[async_trait]
pub trait Work: Send {
    /// Does it. It waits for nothing but the transaction.
    ///
    /// # Errors
    /// Nothing of it is done then.
    async fn run(&mut self, tx: &mut dyn Transaction) -> Result<End, Fault>;

    /// Says whether what was done beside the store, by [`Registry::transact_bulk`](super::Registry::transact_bulk), may
    /// be kept: asked in the transaction that makes it last, before anything of it is there. What must hold at that
    /// moment is asked again here.
    ///
    /// # Errors
    /// Nothing of it is done then.
    async fn confirm(&mut self, _tx: &mut dyn Transaction) -> Result<End, Fault> {
        Ok(End::Keep)
    }
}

/// Commands, one after the other.
pub(super) struct Batch {
    commands: Vec<Command>,
    done: Vec<Entity>,
}

impl Batch {
    pub(super) fn of(commands: Vec<Command>) -> Self {
        Self { commands, done: Vec::new() }
    }

    pub(super) fn done(self) -> Vec<Entity> {
        self.done
    }
}

#[async_trait]
impl Work for Batch {
    async fn run(&mut self, tx: &mut dyn Transaction) -> Result<End, Fault> {
        self.done = execute(tx, std::mem::take(&mut self.commands)).await?;
        Ok(End::Keep)
    }
}

/// The same, unless they were done before.
pub(super) struct OnceBatch<'a> {
    asked: Option<(Vec<Command>, Once<'a>)>,
    outcome: Option<Outcome>,
}

impl<'a> OnceBatch<'a> {
    pub(super) fn of(commands: Vec<Command>, once: Once<'a>) -> Self {
        Self { asked: Some((commands, once)), outcome: None }
    }

    pub(super) fn outcome(self) -> Result<Outcome, Fault> {
        self.outcome.ok_or_else(|| Fault::Corrupt("a registry did not what it was asked to".into()))
    }
}

#[async_trait]
impl Work for OnceBatch<'_> {
    async fn run(&mut self, tx: &mut dyn Transaction) -> Result<End, Fault> {
        if let Some((commands, once)) = self.asked.take() {
            self.outcome = Some(execute_once(tx, commands, once).await?);
        }
        Ok(End::Keep)
    }
}
