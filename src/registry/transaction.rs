//! A transaction of a store.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{RegistryError, StoredResponse};
use crate::model::{
    Caller, CallerId, ChangeKind, Credential, CredentialId, Digest, Entity, Grant, GrantId, Lock, LockId,
    LockTarget, Plan, PlanId, Quota, QuotaId, Tenant, TenantId, Throttle, ThrottleId,
};

/// A transaction of a store: the queries and changes that the rules need.
///
/// There is no other writer while the transaction is open. Its queries see its own changes. Every query may fail with
/// [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
#[async_trait]
pub trait Transaction: Send {
    /// Returns the time of the transaction by the registry's clock.
    fn now(&self) -> Timestamp;

    /// Returns a tenant.
    async fn tenant(&mut self, id: &TenantId) -> Result<Option<Tenant>, RegistryError>;

    /// Returns `true` if there is a tenant with the id of this one, or with its project and instance.
    async fn has_tenant(&mut self, like: &Tenant) -> Result<bool, RegistryError>;

    /// Returns `true` if a tenant has a caller.
    async fn has_callers(&mut self, tenant: &TenantId) -> Result<bool, RegistryError>;

    /// Returns a caller of a tenant.
    async fn caller(&mut self, tenant: &TenantId, id: &CallerId) -> Result<Option<Caller>, RegistryError>;

    /// Returns `true` if any tenant has a caller with this id.
    async fn has_caller(&mut self, id: &CallerId) -> Result<bool, RegistryError>;

    /// Returns the number of callers with the tenant and the kind of this one.
    async fn count_same_kind(&mut self, caller: &Caller) -> Result<u64, RegistryError>;

    /// Returns `true` if another caller of the same tenant and kind has the name of this one.
    async fn name_taken(&mut self, caller: &Caller) -> Result<bool, RegistryError>;

    /// Returns `true` if another caller of any tenant has the AppKey of this one.
    async fn has_app_key(&mut self, caller: &Caller) -> Result<bool, RegistryError>;

    /// Returns a credential of a tenant.
    async fn credential(
        &mut self,
        tenant: &TenantId,
        id: &CredentialId,
    ) -> Result<Option<Credential>, RegistryError>;

    /// Returns `true` if any tenant has a credential with this id.
    async fn has_credential(&mut self, id: &CredentialId) -> Result<bool, RegistryError>;

    /// Returns `true` if any tenant has a credential with this digest.
    async fn has_digest(&mut self, digest: &Digest) -> Result<bool, RegistryError>;

    /// Returns the enabled administrators that own everything.
    async fn owners(&mut self) -> Result<Vec<Caller>, RegistryError>;

    /// Returns the credentials of a caller, ordered by id.
    async fn credentials_of(&mut self, caller: &Caller) -> Result<Vec<Credential>, RegistryError>;

    /// Returns a plan.
    async fn plan(&mut self, id: &PlanId) -> Result<Option<Plan>, RegistryError>;

    /// Returns `true` if a caller has the plan.
    async fn plan_in_use(&mut self, plan: &PlanId) -> Result<bool, RegistryError>;

    /// Returns a lock, expired or not.
    async fn lock(&mut self, id: &LockId) -> Result<Option<Lock>, RegistryError>;

    /// Returns every lock whose target [meets](LockTarget::overlaps) this one, ordered by id. Expired locks and locks of other
    /// tenants are included.
    async fn locks_on(&mut self, target: &LockTarget) -> Result<Vec<Lock>, RegistryError>;

    /// Returns the number of locks of this [holder](Lock::holder), including expired ones.
    async fn count_held_by(&mut self, holder: &str) -> Result<u64, RegistryError>;

    /// Returns the greatest fence that any lock ever had, including deleted locks, or 0.
    async fn last_fence(&mut self) -> Result<u64, RegistryError>;

    /// Returns every expired lock, ordered by id.
    async fn expired_locks(&mut self) -> Result<Vec<Lock>, RegistryError>;

    /// Returns a grant of a tenant.
    async fn grant(&mut self, tenant: &TenantId, id: &GrantId) -> Result<Option<Grant>, RegistryError>;

    /// Returns `true` if any tenant has a grant with this id.
    async fn has_grant(&mut self, id: &GrantId) -> Result<bool, RegistryError>;

    /// Returns the grant that [is like](Grant::is_same_grant) this one.
    async fn grant_like(&mut self, like: &Grant) -> Result<Option<Grant>, RegistryError>;

    /// Returns the grants of a caller, ordered by id.
    async fn grants_of(&mut self, caller: &Caller) -> Result<Vec<Grant>, RegistryError>;

    /// Returns a throttle of a tenant.
    async fn throttle(
        &mut self,
        tenant: &TenantId,
        id: &ThrottleId,
    ) -> Result<Option<Throttle>, RegistryError>;

    /// Returns `true` if any tenant has a throttle with this id.
    async fn has_throttle(&mut self, id: &ThrottleId) -> Result<bool, RegistryError>;

    /// Returns the throttles of a tenant, ordered by id.
    async fn throttles(&mut self, tenant: &TenantId) -> Result<Vec<Throttle>, RegistryError>;

    /// Returns a quota of a tenant.
    async fn quota(&mut self, tenant: &TenantId, id: &QuotaId) -> Result<Option<Quota>, RegistryError>;

    /// Returns `true` if any tenant has a quota with this id.
    async fn has_quota(&mut self, id: &QuotaId) -> Result<bool, RegistryError>;

    /// Returns the quotas of a tenant, ordered by id.
    async fn quotas(&mut self, tenant: &TenantId) -> Result<Vec<Quota>, RegistryError>;

    /// Returns some of the apps that have a quota. The result is empty only if no app has it.
    async fn apps_with_quota(&mut self, quota: &QuotaId) -> Result<Vec<Caller>, RegistryError>;

    /// Returns `true` if the store is empty except for plans, which a configuration may have created.
    async fn is_empty(&mut self) -> Result<bool, RegistryError>;

    /// Writes a change and its row in the change log.
    async fn write(&mut self, verb: ChangeKind, entity: Entity) -> Result<(), RegistryError>;

    /// Records the last use of an existing credential, unless a later use is recorded. A last use is not a change.
    async fn record_last_used(&mut self, id: &CredentialId, at: Timestamp) -> Result<(), RegistryError>;

    /// Returns the stored response of an idempotent request, expired or not.
    async fn stored_response(&mut self, key: &[u8; 32]) -> Result<Option<StoredResponse>, RegistryError>;

    /// Stores the response of an idempotent request. This is not a change and does not appear in the change log.
    async fn store_response(&mut self, key: &[u8; 32], response: StoredResponse)
    -> Result<(), RegistryError>;

    /// Removes expired responses and returns the number of those that remain.
    async fn purge_expired(&mut self) -> Result<u64, RegistryError>;
}
