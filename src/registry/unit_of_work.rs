//! Work that runs within one transaction.

use async_trait::async_trait;

use super::{
    Command, IdempotentOutcome, IdempotentRequest, RegistryError, Transaction, execute, execute_idempotent,
};
use crate::model::Entity;

/// The end of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Commit.
    Commit,
    /// Roll back.
    Rollback,
}

/// Work that reads and changes data in one transaction; see [`Registry::transact`](super::Registry::transact).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), portcullis::registry::RegistryError> {
/// use std::sync::Arc;
/// use async_trait::async_trait;
/// use portcullis::{
///     model::{Actor, PlanId},
///     clock::SystemClock,
///     registry::{Command, Outcome, RegistryError, Registry, Transaction, UnitOfWork, execute, memory::Memory},
/// };
///
/// /// Deletes a plan that no caller has.
/// struct Tidy(PlanId);
///
/// #[async_trait]
/// impl UnitOfWork for Tidy {
///     async fn run(&mut self, tx: &mut dyn Transaction) -> Result<Outcome, RegistryError> {
///         if tx.plan(&self.0).await?.is_none() || tx.plan_in_use(&self.0).await? {
///             return Ok(Outcome::Rollback);
///         }
///         execute(tx, vec![Command::DeletePlan(self.0.clone())]).await?;
///         Ok(Outcome::Commit)
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
    /// Runs the work. It must wait for nothing but the transaction.
    ///
    /// # Errors
    /// An error rolls the transaction back.
    async fn run(&mut self, tx: &mut dyn Transaction) -> Result<Outcome, RegistryError>;

    /// Decides whether the results of work that ran beside the store, by
    /// [`Registry::transact_bulk`](super::Registry::transact_bulk), are committed. Called in the transaction that
    /// commits them, before any result is inserted. Check every condition here again that must hold at that moment.
    ///
    /// # Errors
    /// An error rolls the transaction back.
    async fn confirm(&mut self, _tx: &mut dyn Transaction) -> Result<Outcome, RegistryError> {
        Ok(Outcome::Commit)
    }
}

/// Commands to be executed in order.
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

/// Commands to be executed in order, unless they were executed before.
pub(super) struct IdempotentBatch<'a> {
    asked: Option<(Vec<Command>, IdempotentRequest<'a>)>,
    outcome: Option<IdempotentOutcome>,
}

impl<'a> IdempotentBatch<'a> {
    pub(super) fn new(commands: Vec<Command>, once: IdempotentRequest<'a>) -> Self {
        Self { asked: Some((commands, once)), outcome: None }
    }

    pub(super) fn outcome(self) -> Result<IdempotentOutcome, RegistryError> {
        self.outcome.ok_or_else(|| RegistryError::Corrupt("the registry did not run the transaction".into()))
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
