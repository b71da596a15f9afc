//! Work that runs within one transaction.

use async_trait::async_trait;

use super::{RegistryError, Transaction};

/// The end of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Commit.
    Commit,
    /// Roll back.
    Rollback,
}

/// Work that reads and changes data in one transaction; see [`RegistryExt::transact`](super::RegistryExt::transact).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), portcullis::registry::RegistryError> {
/// use std::sync::Arc;
/// use async_trait::async_trait;
/// use portcullis::{
///     model::{Actor, PlanId},
///     clock::SystemClock,
///     registry::{
///         DeletePlan, Outcome, RegistryError, RegistryExt, Transaction, UnitOfWork, memory::Memory, run_in,
///     },
/// };
///
/// /// Deletes a plan that no caller has.
/// struct Tidy(PlanId);
///
/// #[async_trait]
/// impl UnitOfWork for Tidy {
///     async fn perform(&mut self, tx: &mut dyn Transaction) -> Result<Outcome, RegistryError> {
///         if tx.plan(&self.0).await?.is_none() || tx.plan_in_use(&self.0).await? {
///             return Ok(Outcome::Rollback);
///         }
///         run_in(tx, DeletePlan(self.0.clone())).await?;
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
    /// Performs the work. It must wait for nothing but the transaction.
    ///
    /// # Errors
    /// An error rolls the transaction back.
    async fn perform(&mut self, tx: &mut dyn Transaction) -> Result<Outcome, RegistryError>;

    /// Decides whether the results of work that ran beside the store, by
    /// [`Registry::transact_bulk`](super::Registry::transact_bulk), are committed. Called in the transaction that
    /// commits them, before any result is inserted. Check every condition here again that must hold at that moment.
    ///
    /// # Errors
    /// An error rolls the transaction back.
    async fn confirm(&mut self, _tx: &mut dyn Transaction) -> Result<Outcome, RegistryError> {
        Ok(Outcome::Commit)
    }

    /// Returns the names of the [operations](super::Operation::names) that the work executes, as far as they are known before
    /// it runs. A registry that wraps another one can tell by them what a transaction is about. The default
    /// implementation returns none.
    fn operations(&self) -> Vec<&'static str> {
        Vec::new()
    }
}
