//! Rules of callers.

use jiff::Timestamp;

use super::{Rules, check_revision, ensure_not};
use crate::{
    model::{
        Access, Caller, CallerEdit, CallerId, ChangeKind, Credential, Entity, LockTarget, Status, TenantId,
    },
    registry::{NewCaller, RegistryError},
};

/// The kind of resource in an administrator's scopes.
const ADMIN_RESOURCE: &str = "admin";

/// Creates a caller: [`create_caller`](crate::registry::RegistryExt::create_caller).
#[derive(Debug, Clone)]
pub struct CreateCaller(
    /// The caller to create.
    pub NewCaller,
);

/// Creates a caller whose id was chosen by a client that must not learn about other tenants. If a caller of another
/// tenant has the id, that is no conflict: the new caller gets the other id.
///
/// Fails with [`RegistryError::Conflict`] when the tenant itself has a caller with either id.
#[derive(Debug, Clone)]
pub struct CreateCallerOr {
    /// The caller to create.
    pub caller: NewCaller,
    /// The id for the case that another tenant has the preferred one. No other tenant may have this id.
    pub otherwise: CallerId,
}

/// Changes a caller: [`update_caller`](crate::registry::RegistryExt::update_caller).
#[derive(Debug, Clone)]
pub struct UpdateCaller {
    /// The tenant of the caller.
    pub tenant: TenantId,
    /// The id of the caller.
    pub id: CallerId,
    /// The revision that the change is based on; `None` accepts any revision.
    pub expected: Option<u64>,
    /// The new values.
    pub edit: CallerEdit,
}

/// Deletes a caller and returns its last state: [`delete_caller`](crate::registry::RegistryExt::delete_caller).
#[derive(Debug, Clone)]
pub struct DeleteCaller {
    /// The tenant of the caller.
    pub tenant: TenantId,
    /// The id of the caller.
    pub id: CallerId,
    /// The revision of the caller to delete; `None` accepts any revision.
    pub expected: Option<u64>,
}

/// Requires that an owner has a key that is accepted now and after a given time. Otherwise the transaction fails with
/// [`RegistryError::LastOwner`]. Put this after operations that take a key away from an owner.
#[derive(Debug, Clone)]
pub struct KeepOwner {
    /// The time after which the key must still be accepted; `None` is now.
    pub beyond: Option<Timestamp>,
}

impl Rules<'_> {
    pub(in crate::registry) async fn create_caller(
        &mut self,
        CreateCaller(caller): CreateCaller,
    ) -> Result<Caller, RegistryError> {
        let caller = caller.into_caller(self.tx.now());
        let tenant = self.tx.tenant(&caller.tenant).await?.ok_or(RegistryError::NotFound)?;
        let full = self.tx.count_same_kind(&caller).await? >= u64::from(tenant.max_callers);
        ensure_not(full, RegistryError::LimitReached(tenant.max_callers))?;
        ensure_not(self.tx.has_caller(&caller.id).await?, RegistryError::Conflict)?;
        self.check_references(&caller).await?;
        self.record(ChangeKind::Created, caller).await
    }

    pub(in crate::registry) async fn create_caller_or(
        &mut self,
        CreateCallerOr { mut caller, otherwise }: CreateCallerOr,
    ) -> Result<Caller, RegistryError> {
        for id in [&caller.id, &otherwise] {
            ensure_not(self.tx.caller(&caller.tenant, id).await?.is_some(), RegistryError::Conflict)?;
        }
        if self.tx.has_caller(&caller.id).await? {
            caller.id = otherwise;
        }
        self.create_caller(CreateCaller(caller)).await
    }

    pub(in crate::registry) async fn update_caller(
        &mut self,
        UpdateCaller { tenant, id, expected, edit }: UpdateCaller,
    ) -> Result<Caller, RegistryError> {
        let before = self.tx.caller(&tenant, &id).await?.ok_or(RegistryError::NotFound)?;
        self.check_not_locked(&before).await?;
        check_revision(expected, before.revision)?;
        let Some(after) = before.apply(edit, self.tx.now()) else { return Ok(before) };
        self.check_references(&after).await?;
        self.record(ChangeKind::Updated, after).await
    }

    pub(in crate::registry) async fn delete_caller(
        &mut self,
        DeleteCaller { tenant, id, expected }: DeleteCaller,
    ) -> Result<Caller, RegistryError> {
        let caller = self.tx.caller(&tenant, &id).await?.ok_or(RegistryError::NotFound)?;
        self.check_not_locked(&caller).await?;
        check_revision(expected, caller.revision)?;
        for credential in self.tx.credentials_of(&caller).await? {
            self.tx.write(ChangeKind::Deleted, Entity::Credential(credential)).await?;
        }
        for lock in self.tx.locks_on(&LockTarget::Caller(id.clone())).await? {
            self.tx.write(ChangeKind::Deleted, Entity::Lock(lock)).await?;
        }
        for grant in self.tx.grants_of(&caller).await? {
            self.tx.write(ChangeKind::Deleted, Entity::Grant(grant)).await?;
        }
        self.drop_specials(&tenant, &id).await?;
        self.record(ChangeKind::Deleted, caller).await
    }

    /// Checks that the name and the AppKey of a caller are free, and that its plan and its quota exist.
    async fn check_references(&mut self, caller: &Caller) -> Result<(), RegistryError> {
        ensure_not(self.tx.name_taken(caller).await?, RegistryError::NameTaken)?;
        ensure_not(caller.app().is_some() && self.tx.has_app_key(caller).await?, RegistryError::KeyTaken)?;
        if let Some(plan) = &caller.plan {
            ensure_not(self.tx.plan(plan).await?.is_none(), RegistryError::NotFound)?;
        }
        match caller.app().and_then(|app| app.quota.as_ref()) {
            Some(bound) => {
                ensure_not(self.tx.quota(&caller.tenant, &bound.id).await?.is_none(), RegistryError::NotFound)
            }
            None => Ok(()),
        }
    }

    /// Checks that an owner has a key that is accepted now and after `beyond`, and that permits changes.
    pub(in crate::registry) async fn keep_owner(
        &mut self,
        KeepOwner { beyond }: KeepOwner,
    ) -> Result<(), RegistryError> {
        let beyond = beyond.unwrap_or(Timestamp::MIN).max(self.tx.now());
        for owner in self.tx.owners().await? {
            let accepted = |key: &Credential| {
                key.status == Status::Enabled
                    && key.kind.is_bearer()
                    && key.not_after.is_none_or(|end| end > beyond)
                    && key.scopes.allow(ADMIN_RESOURCE, Access::Write, None)
            };
            if self.tx.credentials_of(&owner).await?.iter().any(accepted) {
                return Ok(());
            }
        }
        Err(RegistryError::LastOwner)
    }
}
