//! Commands to a registry, as data.

use super::{
    Operation, RegistryError, Transaction,
    operation::{IntoEntity, run_in},
    rules::{
        AcquireLock, AssertUnchanged, BreakLock, CreateCaller, CreateCallerOr, CreateCredential, CreatePlan,
        CreateQuota, CreateTenant, CreateThrottle, DeleteCaller, DeleteCredential, DeleteGrant, DeletePlan,
        DeleteQuota, DeleteTenant, DeleteThrottle, ImportEntity, KeepOwner, ProveLock, PutGrant, PutPlan,
        RefreshLock, ReleaseLock, Reseal, Rules, UpdateCaller, UpdateCredential, UpdateQuota, UpdateTenant,
        UpdateThrottle,
    },
};
use crate::model::{Caller, Credential, Entity, Grant, Lock, Plan, Quota, Tenant, Throttle};

/// Generates [`Command`], and [`Operation`] for each command: its type, the method of [`Rules`] that executes it, and
/// the type of its result.
macro_rules! commands {
    ($($operation:ident: $method:ident -> $output:ty,)+) => {
        /// Any single operation, for a list whose length and order are decided at run time.
        ///
        /// Pass operations that are known in advance to [`run`](super::RegistryExt::run), which returns the type of each
        /// result.
        #[derive(Debug, Clone)]
        #[non_exhaustive]
        pub enum Command {
            $(
                #[doc = concat!("[`", stringify!($operation), "`].")]
                $operation($operation),
            )+
        }

        impl Command {
            /// Returns the name of the command, such as `create_tenant`.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$operation(_) => stringify!($method),)+
                }
            }
        }

        /// Returns one entity: its new state or, for a deletion, its last state. The release of a lock that is already
        /// gone, and [`KeepOwner`], return no entity.
        impl Operation for Command {
            type Output = Option<Entity>;

            fn names(&self) -> Vec<&'static str> {
                vec![self.name()]
            }

            async fn execute(self, rules: &mut Rules<'_>) -> Result<Self::Output, RegistryError> {
                match self {
                    $(Self::$operation(it) => rules.$method(it).await.map(IntoEntity::into_entity),)+
                }
            }
        }

        $(
            impl From<$operation> for Command {
                fn from(operation: $operation) -> Self {
                    Self::$operation(operation)
                }
            }

            impl Operation for $operation {
                type Output = $output;

                fn names(&self) -> Vec<&'static str> {
                    vec![stringify!($method)]
                }

                async fn execute(self, rules: &mut Rules<'_>) -> Result<Self::Output, RegistryError> {
                    rules.$method(self).await
                }
            }
        )+
    };
}

commands! {
    AssertUnchanged: assert_unchanged -> Entity,
    CreateTenant: create_tenant -> Tenant,
    UpdateTenant: update_tenant -> Tenant,
    DeleteTenant: delete_tenant -> Tenant,
    CreateCaller: create_caller -> Caller,
    CreateCallerOr: create_caller_or -> Caller,
    UpdateCaller: update_caller -> Caller,
    DeleteCaller: delete_caller -> Caller,
    KeepOwner: keep_owner -> (),
    CreateCredential: create_credential -> Credential,
    UpdateCredential: update_credential -> Credential,
    DeleteCredential: delete_credential -> Credential,
    Reseal: reseal -> Entity,
    CreatePlan: create_plan -> Plan,
    PutPlan: put_plan -> Plan,
    DeletePlan: delete_plan -> Plan,
    AcquireLock: acquire_lock -> Lock,
    RefreshLock: refresh_lock -> Lock,
    ReleaseLock: release_lock -> Option<Lock>,
    BreakLock: break_lock -> Lock,
    ProveLock: prove_lock -> Lock,
    ImportEntity: import_entity -> Entity,
    PutGrant: put_grant -> Grant,
    DeleteGrant: delete_grant -> Grant,
    CreateThrottle: create_throttle -> Throttle,
    UpdateThrottle: update_throttle -> Throttle,
    DeleteThrottle: delete_throttle -> Throttle,
    CreateQuota: create_quota -> Quota,
    UpdateQuota: update_quota -> Quota,
    DeleteQuota: delete_quota -> Quota,
}

/// Executes commands in order in a transaction and returns an entity for each, as described at
/// [`RegistryExt::execute`](super::RegistryExt::execute).
///
/// # Errors
/// The error of the first command that fails. Roll the transaction back after an error.
pub async fn execute(tx: &mut dyn Transaction, commands: Vec<Command>) -> Result<Vec<Entity>, RegistryError> {
    let entities = run_in(tx, commands).await?;
    Ok(entities.into_iter().flatten().collect())
}
