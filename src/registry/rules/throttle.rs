//! What throttles and quotas are held to.

use super::{Rules, refuse_if, still};
use crate::{
    app::{CallerEdit, CallerId, Entity, Quota, QuotaId, SpecialOf, TenantId, Throttle, ThrottleId, Verb},
    registry::Fault,
};

impl Rules<'_> {
    pub(super) async fn create_throttle(
        &mut self,
        throttle: Throttle,
        most: Option<u32>,
    ) -> Result<Entity, Fault> {
        refuse_if(self.tx.tenant(&throttle.tenant).await?.is_none(), Fault::NotFound)?;
        let others = self.tx.throttles(&throttle.tenant).await?;
        full(others.len(), most)?;
        refuse_if(self.tx.has_throttle(&throttle.id).await?, Fault::Conflict)?;
        let throttle = Throttle { revision: 1, created_at: self.tx.now(), ..throttle };
        self.fits_beside(&throttle, &others).await?;
        self.made(Verb::Created, Entity::Throttle(throttle)).await
    }

    pub(super) async fn update_throttle(&mut self, throttle: Throttle) -> Result<Entity, Fault> {
        let others = self.tx.throttles(&throttle.tenant).await?;
        let before = others.iter().find(|other| other.id == throttle.id).ok_or(Fault::NotFound)?;
        still(Some(throttle.revision), before.revision)?;
        if *before == throttle {
            return Ok(Entity::Throttle(throttle));
        }
        let after = Throttle { revision: before.revision + 1, created_at: before.created_at, ..throttle };
        self.fits_beside(&after, &others).await?;
        self.made(Verb::Updated, Entity::Throttle(after)).await
    }

    /// Whether a throttle's name and routes are free for it, and the apps that it names are there.
    async fn fits_beside(&mut self, throttle: &Throttle, others: &[Throttle]) -> Result<(), Fault> {
        let others = || others.iter().filter(|other| other.id != throttle.id);
        refuse_if(others().any(|other| other.name == throttle.name), Fault::NameTaken)?;
        refuse_if(twice(throttle) || others().any(|other| share_a_route(throttle, other)), Fault::Conflict)?;
        for special in &throttle.specials {
            if let SpecialOf::App(app) = &special.of {
                refuse_if(self.tx.caller(&throttle.tenant, app).await?.is_none(), Fault::NotFound)?;
            }
        }
        Ok(())
    }

    pub(super) async fn delete_throttle(
        &mut self,
        tenant: &TenantId,
        id: &ThrottleId,
        expected: Option<u64>,
    ) -> Result<Entity, Fault> {
        let throttle = self.tx.throttle(tenant, id).await?.ok_or(Fault::NotFound)?;
        still(expected, throttle.revision)?;
        refuse_if(!throttle.bindings.is_empty(), Fault::InUse)?;
        self.made(Verb::Deleted, Entity::Throttle(throttle)).await
    }

    /// An app that is deleted has no limits of its own any more.
    pub(super) async fn drop_specials(&mut self, tenant: &TenantId, app: &CallerId) -> Result<(), Fault> {
        for mut throttle in self.tx.throttles(tenant).await? {
            let before = throttle.specials.len();
            throttle.specials.retain(|special| !matches!(&special.of, SpecialOf::App(id) if id == app));
            if throttle.specials.len() < before {
                throttle.revision += 1;
                self.tx.make(Verb::Updated, Entity::Throttle(throttle)).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn create_quota(&mut self, quota: Quota, most: Option<u32>) -> Result<Entity, Fault> {
        refuse_if(self.tx.tenant(&quota.tenant).await?.is_none(), Fault::NotFound)?;
        let others = self.tx.quotas(&quota.tenant).await?;
        full(others.len(), most)?;
        refuse_if(self.tx.has_quota(&quota.id).await?, Fault::Conflict)?;
        refuse_if(others.iter().any(|other| other.name == quota.name), Fault::NameTaken)?;
        let quota = Quota { revision: 1, created_at: self.tx.now(), ..quota };
        self.made(Verb::Created, Entity::Quota(quota)).await
    }

    pub(super) async fn update_quota(&mut self, quota: Quota) -> Result<Entity, Fault> {
        let others = self.tx.quotas(&quota.tenant).await?;
        let before = others.iter().find(|other| other.id == quota.id).ok_or(Fault::NotFound)?;
        still(Some(quota.revision), before.revision)?;
        if *before == quota {
            return Ok(Entity::Quota(quota));
        }
        let taken = others.iter().any(|other| other.id != quota.id && other.name == quota.name);
        refuse_if(taken, Fault::NameTaken)?;
        let after = Quota { revision: before.revision + 1, created_at: before.created_at, ..quota };
        self.made(Verb::Updated, Entity::Quota(after)).await
    }

    /// The apps that had it have none any more; a lock on one of them stops it.
    pub(super) async fn delete_quota(&mut self, tenant: &TenantId, id: &QuotaId) -> Result<Entity, Fault> {
        let quota = self.tx.quota(tenant, id).await?.ok_or(Fault::NotFound)?;
        loop {
            let bound = self.tx.some_with(id).await?;
            if bound.is_empty() {
                break;
            }
            for app in bound {
                let edit = CallerEdit { quota: Some(None), ..CallerEdit::default() };
                self.update_caller(tenant, &app.id, None, edit).await?;
            }
        }
        self.made(Verb::Deleted, Entity::Quota(quota)).await
    }
}

fn full(there: usize, most: Option<u32>) -> Result<(), Fault> {
    match most {
        Some(most) => refuse_if(there >= most as usize, Fault::Full(most)),
        None => Ok(()),
    }
}

/// Whether a throttle is bound to one route twice.
pub(super) fn twice(throttle: &Throttle) -> bool {
    let bindings = &throttle.bindings;
    bindings.iter().enumerate().any(|(at, one)| bindings[..at].iter().any(|other| other.route == one.route))
}

/// Whether both are bound to one route.
pub(super) fn share_a_route(one: &Throttle, other: &Throttle) -> bool {
    one.bindings.iter().any(|own| other.bindings.iter().any(|theirs| theirs.route == own.route))
}
