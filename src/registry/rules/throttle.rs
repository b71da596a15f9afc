//! Rules of throttles and quotas.

use super::{Rules, check_revision, ensure_not};
use crate::{
    model::{
        CallerEdit, CallerId, ChangeKind, Entity, OverrideSubject, Quota, QuotaId, TenantId, Throttle,
        ThrottleId,
    },
    registry::RegistryError,
};

impl Rules<'_> {
    pub(super) async fn create_throttle(
        &mut self,
        throttle: Throttle,
        most: Option<u32>,
    ) -> Result<Entity, RegistryError> {
        ensure_not(self.tx.tenant(&throttle.tenant).await?.is_none(), RegistryError::NotFound)?;
        let others = self.tx.throttles(&throttle.tenant).await?;
        full(others.len(), most)?;
        ensure_not(self.tx.has_throttle(&throttle.id).await?, RegistryError::Conflict)?;
        let throttle = Throttle { revision: 1, created_at: self.tx.now(), ..throttle };
        self.fits_beside(&throttle, &others).await?;
        self.record(ChangeKind::Created, Entity::Throttle(throttle)).await
    }

    pub(super) async fn update_throttle(&mut self, throttle: Throttle) -> Result<Entity, RegistryError> {
        let others = self.tx.throttles(&throttle.tenant).await?;
        let before = others.iter().find(|other| other.id == throttle.id).ok_or(RegistryError::NotFound)?;
        check_revision(Some(throttle.revision), before.revision)?;
        if *before == throttle {
            return Ok(Entity::Throttle(throttle));
        }
        let after = Throttle { revision: before.revision + 1, created_at: before.created_at, ..throttle };
        self.fits_beside(&after, &others).await?;
        self.record(ChangeKind::Updated, Entity::Throttle(after)).await
    }

    /// Checks that the name and the routes of a throttle are free, and that the apps that it names exist.
    async fn fits_beside(&mut self, throttle: &Throttle, others: &[Throttle]) -> Result<(), RegistryError> {
        let others = || others.iter().filter(|other| other.id != throttle.id);
        ensure_not(others().any(|other| other.name == throttle.name), RegistryError::NameTaken)?;
        ensure_not(
            twice(throttle) || others().any(|other| share_a_route(throttle, other)),
            RegistryError::Conflict,
        )?;
        for special in &throttle.specials {
            if let OverrideSubject::App(app) = &special.of {
                ensure_not(self.tx.caller(&throttle.tenant, app).await?.is_none(), RegistryError::NotFound)?;
            }
        }
        Ok(())
    }

    pub(super) async fn delete_throttle(
        &mut self,
        tenant: &TenantId,
        id: &ThrottleId,
        expected: Option<u64>,
    ) -> Result<Entity, RegistryError> {
        let throttle = self.tx.throttle(tenant, id).await?.ok_or(RegistryError::NotFound)?;
        check_revision(expected, throttle.revision)?;
        ensure_not(!throttle.bindings.is_empty(), RegistryError::InUse)?;
        self.record(ChangeKind::Deleted, Entity::Throttle(throttle)).await
    }

    /// Removes the limits of a deleted app from all throttles.
    pub(super) async fn drop_specials(
        &mut self,
        tenant: &TenantId,
        app: &CallerId,
    ) -> Result<(), RegistryError> {
        for mut throttle in self.tx.throttles(tenant).await? {
            let before = throttle.specials.len();
            throttle.specials.retain(|special| !matches!(&special.of, OverrideSubject::App(id) if id == app));
            if throttle.specials.len() < before {
                throttle.revision += 1;
                self.tx.write(ChangeKind::Updated, Entity::Throttle(throttle)).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn create_quota(
        &mut self,
        quota: Quota,
        most: Option<u32>,
    ) -> Result<Entity, RegistryError> {
        ensure_not(self.tx.tenant(&quota.tenant).await?.is_none(), RegistryError::NotFound)?;
        let others = self.tx.quotas(&quota.tenant).await?;
        full(others.len(), most)?;
        ensure_not(self.tx.has_quota(&quota.id).await?, RegistryError::Conflict)?;
        ensure_not(others.iter().any(|other| other.name == quota.name), RegistryError::NameTaken)?;
        let quota = Quota { revision: 1, created_at: self.tx.now(), ..quota };
        self.record(ChangeKind::Created, Entity::Quota(quota)).await
    }

    pub(super) async fn update_quota(&mut self, quota: Quota) -> Result<Entity, RegistryError> {
        let others = self.tx.quotas(&quota.tenant).await?;
        let before = others.iter().find(|other| other.id == quota.id).ok_or(RegistryError::NotFound)?;
        check_revision(Some(quota.revision), before.revision)?;
        if *before == quota {
            return Ok(Entity::Quota(quota));
        }
        let taken = others.iter().any(|other| other.id != quota.id && other.name == quota.name);
        ensure_not(taken, RegistryError::NameTaken)?;
        let after = Quota { revision: before.revision + 1, created_at: before.created_at, ..quota };
        self.record(ChangeKind::Updated, Entity::Quota(after)).await
    }

    /// Deletes a quota and removes it from its apps. A lock on one of them prevents this.
    pub(super) async fn delete_quota(
        &mut self,
        tenant: &TenantId,
        id: &QuotaId,
    ) -> Result<Entity, RegistryError> {
        let quota = self.tx.quota(tenant, id).await?.ok_or(RegistryError::NotFound)?;
        loop {
            let bound = self.tx.apps_with_quota(id).await?;
            if bound.is_empty() {
                break;
            }
            for app in bound {
                let edit = CallerEdit { quota: Some(None), ..CallerEdit::default() };
                self.update_caller(tenant, &app.id, None, edit).await?;
            }
        }
        self.record(ChangeKind::Deleted, Entity::Quota(quota)).await
    }
}

fn full(there: usize, most: Option<u32>) -> Result<(), RegistryError> {
    match most {
        Some(most) => ensure_not(there >= most as usize, RegistryError::LimitReached(most)),
        None => Ok(()),
    }
}

/// Returns `true` if a throttle is bound to a route twice.
pub(super) fn twice(throttle: &Throttle) -> bool {
    let bindings = &throttle.bindings;
    bindings.iter().enumerate().any(|(at, one)| bindings[..at].iter().any(|other| other.route == one.route))
}

/// Returns `true` if both throttles are bound to a common route.
pub(super) fn share_a_route(one: &Throttle, other: &Throttle) -> bool {
    one.bindings.iter().any(|own| other.bindings.iter().any(|theirs| theirs.route == own.route))
}
