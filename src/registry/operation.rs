//! Operations: changes and conditions with a typed result.

use async_trait::async_trait;

use super::{Outcome, RegistryError, Transaction, UnitOfWork, rules::Rules};
use crate::model::Entity;

// `src/registry/command.rs` lists the implementations, with the method of `Rules` that executes each operation. These
// methods and the types of the operations are in `src/registry/rules/`.
/// A change of a registry, or a condition of one, with the type of its result.
///
/// [`RegistryExt::run`](super::RegistryExt::run) executes an operation in a transaction. A tuple, a vector or an
/// `Option` of operations is an operation, too: its parts are executed in order in the same transaction, and `None`
/// executes nothing.
///
/// This trait is sealed: only the operations of this module implement it, because a change must follow the rules that
/// all registries share. For decisions within a transaction, write a [`UnitOfWork`].
///
/// ```
/// use portcullis::{
///     model::{Actor, Caller, CallerEdit, CallerId, LockId, LockToken, Plan, TenantId},
///     registry::{ProveLock, PutPlan, Registry, RegistryError, RegistryExt, UpdateCaller},
/// };
///
/// /// Puts a caller on a new plan while a lock is held.
/// async fn upgrade(
///     registry: &dyn Registry,
///     (tenant, id): (TenantId, CallerId),
///     plan: Plan,
///     lock: ProveLock,
/// ) -> Result<Caller, RegistryError> {
///     let edit = CallerEdit { plan: Some(Some(plan.id().clone())), ..CallerEdit::default() };
///     let update = UpdateCaller { tenant, id, expected: None, edit };
///     let actor = Actor::system("example");
///     let (_, _, caller) = registry.run((lock, PutPlan(plan), update), &actor).await?;
///     Ok(caller)
/// }
/// ```
pub trait Operation: Send {
    /// The result of the operation, such as the entity in its new state, or its last state if it was deleted.
    type Output: Send;

    /// Returns the [names](super::Command::name) of the commands that the operation consists of, for logs.
    fn names(&self) -> Vec<&'static str>;

    /// Executes the operation in the transaction of the rules.
    #[doc(hidden)]
    fn execute(
        self,
        rules: &mut Rules<'_>,
    ) -> impl Future<Output = Result<Self::Output, RegistryError>> + Send;
}

impl<O: Operation> Operation for Option<O> {
    type Output = Option<O::Output>;

    fn names(&self) -> Vec<&'static str> {
        self.as_ref().map(Operation::names).unwrap_or_default()
    }

    async fn execute(self, rules: &mut Rules<'_>) -> Result<Self::Output, RegistryError> {
        match self {
            Some(operation) => operation.execute(rules).await.map(Some),
            None => Ok(None),
        }
    }
}

impl<O: Operation> Operation for Vec<O> {
    type Output = Vec<O::Output>;

    fn names(&self) -> Vec<&'static str> {
        self.iter().flat_map(Operation::names).collect()
    }

    async fn execute(self, rules: &mut Rules<'_>) -> Result<Self::Output, RegistryError> {
        let mut outputs = Vec::with_capacity(self.len());
        for operation in self {
            outputs.push(operation.execute(rules).await?);
        }
        Ok(outputs)
    }
}

/// Generates [`Operation`] for tuples.
macro_rules! tuple {
    ($($operation:ident)+) => {
        impl<$($operation: Operation),+> Operation for ($($operation,)+) {
            type Output = ($($operation::Output,)+);

            fn names(&self) -> Vec<&'static str> {
                #[expect(non_snake_case, reason = "the variables have the names of the types")]
                let ($($operation,)+) = self;
                [$($operation.names()),+].concat()
            }

            async fn execute(self, rules: &mut Rules<'_>) -> Result<Self::Output, RegistryError> {
                #[expect(non_snake_case, reason = "the variables have the names of the types")]
                let ($($operation,)+) = self;
                Ok(($($operation.execute(rules).await?,)+))
            }
        }
    };
}
tuple!(A B);
tuple!(A B C);
tuple!(A B C D);

/// Executes an operation in a transaction.
///
/// # Errors
/// The error of the first part of the operation that fails. Roll the transaction back after an error.
pub async fn run_in<O: Operation>(
    tx: &mut dyn Transaction,
    operation: O,
) -> Result<O::Output, RegistryError> {
    operation.execute(&mut Rules::new(tx)).await
}

/// An operation to be executed.
pub(super) struct OperationWork<O: Operation> {
    operation: Option<O>,
    output: Option<O::Output>,
}

impl<O: Operation> OperationWork<O> {
    pub(super) fn new(operation: O) -> Self {
        Self { operation: Some(operation), output: None }
    }

    /// Returns the result of the operation.
    ///
    /// # Errors
    /// [`RegistryError::Corrupt`] when the registry claims to have run this work, but has not.
    pub(super) fn output(self) -> Result<O::Output, RegistryError> {
        self.output.ok_or_else(|| RegistryError::Corrupt("the registry did not run the transaction".into()))
    }
}

#[async_trait]
impl<O: Operation> UnitOfWork for OperationWork<O> {
    async fn perform(&mut self, tx: &mut dyn Transaction) -> Result<Outcome, RegistryError> {
        if let Some(operation) = self.operation.take() {
            self.output = Some(run_in(tx, operation).await?);
        }
        Ok(Outcome::Commit)
    }

    fn operations(&self) -> Vec<&'static str> {
        self.operation.as_ref().map(Operation::names).unwrap_or_default()
    }
}

/// The conversion of an operation's result into the entity that it contains, if there is one.
pub(super) trait IntoEntity {
    fn into_entity(self) -> Option<Entity>;
}

impl<E: Into<Entity>> IntoEntity for E {
    fn into_entity(self) -> Option<Entity> {
        Some(self.into())
    }
}

impl<E: Into<Entity>> IntoEntity for Option<E> {
    fn into_entity(self) -> Option<Entity> {
        self.map(Into::into)
    }
}

impl IntoEntity for () {
    fn into_entity(self) -> Option<Entity> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        clock::SystemClock,
        model::{Actor, Plan, SubscriptionStatus, TenantId},
        registry::{
            Command, CreatePlan, CreateTenant, DeletePlan, NewTenant, Registry, RegistryExt, memory::Memory,
        },
    };

    fn plan(id: &str) -> Plan {
        Plan::new(id.parse().unwrap(), Vec::new()).unwrap()
    }

    fn tenant(id: &str) -> CreateTenant {
        let id: TenantId = id.parse().unwrap();
        let (name, standing) = (id.to_string(), SubscriptionStatus::Active);
        CreateTenant(NewTenant { id, name, gateway: None, standing, max_callers: 1 })
    }

    #[tokio::test]
    async fn parts_take_effect_together_and_return_their_results() {
        let (registry, actor) = (Memory::new(Arc::new(SystemClock::new())), Actor::system("test"));
        let plans = vec![CreatePlan(plan("a")), CreatePlan(plan("b"))];
        let delete = DeletePlan("a".parse().unwrap());
        let operation = (plans, tenant("t"), Some(delete), None::<CreateTenant>);
        assert_eq!(operation.names(), ["create_plan", "create_plan", "create_tenant", "delete_plan"]);
        let (plans, made, deleted, none) = registry.run(operation, &actor).await.unwrap();
        assert_eq!((plans, deleted, none), (vec![plan("a"), plan("b")], Some(plan("a")), None));
        assert_eq!(registry.tenant(&made.id).await.unwrap(), made);
        assert_eq!(registry.last_change().await.unwrap(), 4);

        let refused = registry.run((tenant("u"), CreatePlan(plan("b"))), &actor).await;
        assert!(matches!(refused, Err(RegistryError::Conflict)), "{refused:?}");
        assert_eq!(registry.last_change().await.unwrap(), 4);
    }

    #[tokio::test]
    async fn command_returns_its_result_as_an_entity() {
        let (registry, actor) = (Memory::new(Arc::new(SystemClock::new())), Actor::system("test"));
        let commands: Vec<Command> = vec![CreatePlan(plan("a")).into(), tenant("t").into()];
        let entities = registry.execute(commands, &actor).await.unwrap();
        assert!(matches!(&entities[..], [Entity::Plan(_), Entity::Tenant(_)]), "{entities:?}");
    }
}
