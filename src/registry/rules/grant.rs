//! Rules of grants.

use super::{Rules, ensure_not};
use crate::{
    model::{ChangeKind, Grant, GrantId, TenantId},
    registry::RegistryError,
};

/// Creates a grant: [`put_grant`](crate::registry::RegistryExt::put_grant).
#[derive(Debug, Clone)]
pub struct PutGrant(
    /// The grant to store.
    pub Grant,
);

/// Deletes a grant and returns its last state: [`delete_grant`](crate::registry::RegistryExt::delete_grant).
#[derive(Debug, Clone)]
pub struct DeleteGrant {
    /// The tenant of the grant.
    pub tenant: TenantId,
    /// The id of the grant.
    pub id: GrantId,
}

impl Rules<'_> {
    pub(in crate::registry) async fn put_grant(
        &mut self,
        PutGrant(grant): PutGrant,
    ) -> Result<Grant, RegistryError> {
        let caller = self.tx.caller(&grant.tenant, &grant.caller).await?;
        ensure_not(caller.is_none(), RegistryError::NotFound)?;
        if let Some(there) = self.tx.grant_like(&grant).await? {
            return Ok(there);
        }
        ensure_not(self.tx.has_grant(&grant.id).await?, RegistryError::Conflict)?;
        let grant = Grant { created_at: self.tx.now(), ..grant };
        self.record(ChangeKind::Created, grant).await
    }

    pub(in crate::registry) async fn delete_grant(
        &mut self,
        DeleteGrant { tenant, id }: DeleteGrant,
    ) -> Result<Grant, RegistryError> {
        let grant = self.tx.grant(&tenant, &id).await?.ok_or(RegistryError::NotFound)?;
        self.record(ChangeKind::Deleted, grant).await
    }
}
