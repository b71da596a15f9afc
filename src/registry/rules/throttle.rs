//! Rules of throttles and quotas.

use super::{Rules, UpdateCaller, check_revision, ensure_not};
use crate::{
    model::{
        CallerEdit, CallerId, ChangeKind, Entity, OverrideSubject, Quota, QuotaId, TenantId, Throttle,
        ThrottleId,
    },
    registry::RegistryError,
};

/// Creates a throttle. The registry sets its `revision` and its time. Fails with [`RegistryError::NotFound`] when its
/// tenant or an app that it names does not exist, with [`RegistryError::LimitReached`],
/// [`RegistryError::NameTaken`], or [`RegistryError::Conflict`] when its id or one of its routes is taken.
#[derive(Debug, Clone)]
pub struct CreateThrottle {
    /// The throttle to create.
    pub throttle: Throttle,
    /// The maximum number of throttles that the tenant may have; `None` is unlimited.
    pub most: Option<u32>,
}

/// Replaces a throttle. Its `revision` is the revision that the change is based on, and grows. Fails like
/// [`CreateThrottle`], and with [`RegistryError::Conflict`] when `revision` is not the current revision.
#[derive(Debug, Clone)]
pub struct UpdateThrottle(
    /// The throttle in its new state.
    pub Throttle,
);

/// Deletes a throttle that is bound to no route, and returns its last state; otherwise fails with
/// [`RegistryError::InUse`].
#[derive(Debug, Clone)]
pub struct DeleteThrottle {
    /// The tenant of the throttle.
    pub tenant: TenantId,
    /// The id of the throttle.
    pub id: ThrottleId,
    /// The revision of the throttle to delete; `None` accepts any revision.
    pub expected: Option<u64>,
}

/// Creates a quota. The registry sets its `revision` and its time. Fails with [`RegistryError::NotFound`] when its
/// tenant does not exist, with [`RegistryError::LimitReached`], [`RegistryError::NameTaken`], or
/// [`RegistryError::Conflict`] when its id is taken.
#[derive(Debug, Clone)]
pub struct CreateQuota {
    /// The quota to create.
    pub quota: Quota,
    /// The maximum number of quotas that the tenant may have; `None` is unlimited.
    pub most: Option<u32>,
}

/// Replaces a quota. Its `revision` is the revision that the change is based on, and grows. Fails with
/// [`RegistryError::NotFound`], [`RegistryError::NameTaken`], or [`RegistryError::Conflict`] when `revision` is not the
/// current revision.
#[derive(Debug, Clone)]
pub struct UpdateQuota(
    /// The quota in its new state.
    pub Quota,
);

/// Deletes a quota, removes it from all apps that have it, and returns its last state. Fails with
/// [`RegistryError::Locked`] when one of the apps is locked.
#[derive(Debug, Clone)]
pub struct DeleteQuota {
    /// The tenant of the quota.
    pub tenant: TenantId,
    /// The id of the quota.
    pub id: QuotaId,
}

impl Rules<'_> {
    pub(in crate::registry) async fn create_throttle(
        &mut self,
        CreateThrottle { throttle, most }: CreateThrottle,
    ) -> Result<Throttle, RegistryError> {
        ensure_not(self.tx.tenant(&throttle.tenant).await?.is_none(), RegistryError::NotFound)?;
        let others = self.tx.throttles(&throttle.tenant).await?;
        full(others.len(), most)?;
        ensure_not(self.tx.has_throttle(&throttle.id).await?, RegistryError::Conflict)?;
        let throttle = Throttle { revision: 1, created_at: self.tx.now(), ..throttle };
        self.fits_beside(&throttle, &others).await?;
        self.record(ChangeKind::Created, throttle).await
    }

    pub(in crate::registry) async fn update_throttle(
        &mut self,
        UpdateThrottle(throttle): UpdateThrottle,
    ) -> Result<Throttle, RegistryError> {
        let others = self.tx.throttles(&throttle.tenant).await?;
        let before = others.iter().find(|other| other.id == throttle.id).ok_or(RegistryError::NotFound)?;
        check_revision(Some(throttle.revision), before.revision)?;
        if *before == throttle {
            return Ok(throttle);
        }
        let after = Throttle { revision: before.revision + 1, created_at: before.created_at, ..throttle };
        self.fits_beside(&after, &others).await?;
        self.record(ChangeKind::Updated, after).await
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

    pub(in crate::registry) async fn delete_throttle(
        &mut self,
        DeleteThrottle { tenant, id, expected }: DeleteThrottle,
    ) -> Result<Throttle, RegistryError> {
        let throttle = self.tx.throttle(&tenant, &id).await?.ok_or(RegistryError::NotFound)?;
        check_revision(expected, throttle.revision)?;
        ensure_not(!throttle.bindings.is_empty(), RegistryError::InUse)?;
        self.record(ChangeKind::Deleted, throttle).await
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

    pub(in crate::registry) async fn create_quota(
        &mut self,
        CreateQuota { quota, most }: CreateQuota,
    ) -> Result<Quota, RegistryError> {
        ensure_not(self.tx.tenant(&quota.tenant).await?.is_none(), RegistryError::NotFound)?;
        let others = self.tx.quotas(&quota.tenant).await?;
        full(others.len(), most)?;
        ensure_not(self.tx.has_quota(&quota.id).await?, RegistryError::Conflict)?;
        ensure_not(others.iter().any(|other| other.name == quota.name), RegistryError::NameTaken)?;
        let quota = Quota { revision: 1, created_at: self.tx.now(), ..quota };
        self.record(ChangeKind::Created, quota).await
    }

    pub(in crate::registry) async fn update_quota(
        &mut self,
        UpdateQuota(quota): UpdateQuota,
    ) -> Result<Quota, RegistryError> {
        let others = self.tx.quotas(&quota.tenant).await?;
        let before = others.iter().find(|other| other.id == quota.id).ok_or(RegistryError::NotFound)?;
        check_revision(Some(quota.revision), before.revision)?;
        if *before == quota {
            return Ok(quota);
        }
        let name_taken = others.iter().any(|other| other.id != quota.id && other.name == quota.name);
        ensure_not(name_taken, RegistryError::NameTaken)?;
        let after = Quota { revision: before.revision + 1, created_at: before.created_at, ..quota };
        self.record(ChangeKind::Updated, after).await
    }

    /// Deletes a quota and removes it from its apps. A lock on one of them prevents this.
    pub(in crate::registry) async fn delete_quota(
        &mut self,
        DeleteQuota { tenant, id }: DeleteQuota,
    ) -> Result<Quota, RegistryError> {
        let quota = self.tx.quota(&tenant, &id).await?.ok_or(RegistryError::NotFound)?;
        loop {
            let bound = self.tx.apps_with_quota(&id).await?;
            if bound.is_empty() {
                break;
            }
            for app in bound {
                let edit = CallerEdit { quota: Some(None), ..CallerEdit::default() };
                let update = UpdateCaller { tenant: tenant.clone(), id: app.id, expected: None, edit };
                self.update_caller(update).await?;
            }
        }
        self.record(ChangeKind::Deleted, quota).await
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
