//! Rules of tenants.

use super::{Rules, check_revision, ensure_not};
use crate::{
    model::{ChangeKind, Entity, Tenant, TenantEdit, TenantId},
    registry::{NewTenant, RegistryError},
};

/// Creates a tenant: [`create_tenant`](crate::registry::RegistryExt::create_tenant).
#[derive(Debug, Clone)]
pub struct CreateTenant(
    /// The tenant to create.
    pub NewTenant,
);

/// Changes a tenant: [`update_tenant`](crate::registry::RegistryExt::update_tenant).
#[derive(Debug, Clone)]
pub struct UpdateTenant {
    /// The id of the tenant.
    pub id: TenantId,
    /// The revision that the change is based on; `None` accepts any revision.
    pub expected: Option<u64>,
    /// The new values.
    pub edit: TenantEdit,
}

/// Deletes a tenant and returns its last state: [`delete_tenant`](crate::registry::RegistryExt::delete_tenant).
#[derive(Debug, Clone)]
pub struct DeleteTenant {
    /// The id of the tenant.
    pub id: TenantId,
    /// The revision of the tenant to delete; `None` accepts any revision.
    pub expected: Option<u64>,
}

impl Rules<'_> {
    pub(in crate::registry) async fn create_tenant(
        &mut self,
        CreateTenant(tenant): CreateTenant,
    ) -> Result<Tenant, RegistryError> {
        let tenant = tenant.into_tenant(self.tx.now());
        ensure_not(self.tx.has_tenant(&tenant).await?, RegistryError::Conflict)?;
        self.record(ChangeKind::Created, tenant).await
    }

    pub(in crate::registry) async fn update_tenant(
        &mut self,
        UpdateTenant { id, expected, edit }: UpdateTenant,
    ) -> Result<Tenant, RegistryError> {
        let before = self.tx.tenant(&id).await?.ok_or(RegistryError::NotFound)?;
        check_revision(expected, before.revision)?;
        match before.apply(edit, self.tx.now()) {
            Some(after) => self.record(ChangeKind::Updated, after).await,
            None => Ok(before),
        }
    }

    pub(in crate::registry) async fn delete_tenant(
        &mut self,
        DeleteTenant { id, expected }: DeleteTenant,
    ) -> Result<Tenant, RegistryError> {
        let tenant = self.tx.tenant(&id).await?.ok_or(RegistryError::NotFound)?;
        check_revision(expected, tenant.revision)?;
        ensure_not(self.tx.has_callers(&id).await?, RegistryError::InUse)?;
        for throttle in self.tx.throttles(&id).await? {
            self.tx.write(ChangeKind::Deleted, Entity::Throttle(throttle)).await?;
        }
        for quota in self.tx.quotas(&id).await? {
            self.tx.write(ChangeKind::Deleted, Entity::Quota(quota)).await?;
        }
        self.record(ChangeKind::Deleted, tenant).await
    }
}
