//! What is done within one transaction.

use async_trait::async_trait;

use super::{Command, RegistryError, IdempotentRequest, IdempotentOutcome, Transaction, execute, execute_idempotent};
use crate::model::Entity;

/// What becomes of what was done in a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is kept.
    Commit,
    /// It never was.
    Rollback,
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
pub trait UnitOfWork: Send {
    /// Does it. It waits for nothing but the transaction.
    ///
    /// # Errors
    /// Nothing of it is done then.
    async fn run(&mut self, tx: &mut dyn Transaction) -> Result<Outcome, RegistryError>;

    /// Says whether what was done beside the store, by [`Registry::transact_bulk`](super::Registry::transact_bulk), may
    /// be kept: asked in the transaction that makes it last, before anything of it is there. What must hold at that
    /// moment is asked again here.
    ///
    /// # Errors
    /// Nothing of it is done then.
    async fn confirm(&mut self, _tx: &mut dyn Transaction) -> Result<Outcome, RegistryError> {
        Ok(Outcome::Commit)
    }
}

/// Commands, one after the other.
pub(super) struct CommandBatch {
    commands: Vec<Command>,
    done: Vec<Entity>,
}

impl CommandBatch {
    pub(super) fn new(commands: Vec<Command>) -> Self {
        Self { commands, done: Vec::new() }
    }

    pub(super) fn done(self) -> Vec<Entity> {
        self.done
    }
}

#[async_trait]
impl UnitOfWork for CommandBatch {
    async fn run(&mut self, tx: &mut dyn Transaction) -> Result<Outcome, RegistryError> {
        self.done = execute(tx, std::mem::take(&mut self.commands)).await?;
        Ok(Outcome::Commit)
    }
}

/// The same, unless they were done before.
pub(super) struct IdempotentBatch<'a> {
    asked: Option<(Vec<Command>, IdempotentRequest<'a>)>,
    outcome: Option<IdempotentOutcome>,
}

impl<'a> IdempotentBatch<'a> {
    pub(super) fn new(commands: Vec<Command>, once: IdempotentRequest<'a>) -> Self {
        Self { asked: Some((commands, once)), outcome: None }
    }

    pub(super) fn outcome(self) -> Result<IdempotentOutcome, RegistryError> {
        self.outcome.ok_or_else(|| RegistryError::Corrupt("a registry did not what it was asked to".into()))
    }
}

#[async_trait]
impl UnitOfWork for IdempotentBatch<'_> {
    async fn run(&mut self, tx: &mut dyn Transaction) -> Result<Outcome, RegistryError> {
        if let Some((commands, once)) = self.asked.take() {
            self.outcome = Some(execute_idempotent(tx, commands, once).await?);
        }
        Ok(Outcome::Commit)
    }
}
