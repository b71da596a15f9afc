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
    ($(impl Operation for $operation:ident { $method:ident -> $output:ty })+) => {
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
    impl Operation for AssertUnchanged { assert_unchanged -> Entity }
    impl Operation for CreateTenant { create_tenant -> Tenant }
    impl Operation for UpdateTenant { update_tenant -> Tenant }
    impl Operation for DeleteTenant { delete_tenant -> Tenant }
    impl Operation for CreateCaller { create_caller -> Caller }
    impl Operation for CreateCallerOr { create_caller_or -> Caller }
    impl Operation for UpdateCaller { update_caller -> Caller }
    impl Operation for DeleteCaller { delete_caller -> Caller }
    impl Operation for KeepOwner { keep_owner -> () }
    impl Operation for CreateCredential { create_credential -> Credential }
    impl Operation for UpdateCredential { update_credential -> Credential }
    impl Operation for DeleteCredential { delete_credential -> Credential }
    impl Operation for Reseal { reseal -> Entity }
    impl Operation for CreatePlan { create_plan -> Plan }
    impl Operation for PutPlan { put_plan -> Plan }
    impl Operation for DeletePlan { delete_plan -> Plan }
    impl Operation for AcquireLock { acquire_lock -> Lock }
    impl Operation for RefreshLock { refresh_lock -> Lock }
    impl Operation for ReleaseLock { release_lock -> Option<Lock> }
    impl Operation for BreakLock { break_lock -> Lock }
    impl Operation for ProveLock { prove_lock -> Lock }
    impl Operation for ImportEntity { import_entity -> Entity }
    impl Operation for PutGrant { put_grant -> Grant }
    impl Operation for DeleteGrant { delete_grant -> Grant }
    impl Operation for CreateThrottle { create_throttle -> Throttle }
    impl Operation for UpdateThrottle { update_throttle -> Throttle }
    impl Operation for DeleteThrottle { delete_throttle -> Throttle }
    impl Operation for CreateQuota { create_quota -> Quota }
    impl Operation for UpdateQuota { update_quota -> Quota }
    impl Operation for DeleteQuota { delete_quota -> Quota }
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
