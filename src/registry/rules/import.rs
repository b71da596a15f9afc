//! Imports entities of another registry unchanged.

use super::throttle::{share_a_route, twice};
use crate::{
    model::{Caller, ChangeKind, Credential, Entity, Grant, Lock, OverrideSubject, Quota, Tenant, Throttle},
    registry::{RegistryError, Transaction},
};

/// A reason not to import an entity, with the path of the member, such as `kind.app.key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportConflict {
    /// Another entity has the value, which must be unique.
    Taken(&'static str),
    /// The entity that the member refers to does not exist.
    Missing(&'static str),
    /// No registry can have created the value.
    Impossible(&'static str),
}

impl ImportConflict {
    fn fault(self) -> RegistryError {
        match self {
            Self::Missing(_) => RegistryError::NotFound,
            Self::Taken(NAME) => RegistryError::NameTaken,
            Self::Taken(APP_KEY) => RegistryError::KeyTaken,
            Self::Taken(_) | Self::Impossible(_) => RegistryError::Conflict,
        }
    }
}

const NAME: &str = "name";
const APP_KEY: &str = "kind.app.key";
/// The greatest fence that is accepted. Greater values are left for locks to come.
const MAX_FENCE: u64 = 1 << 62;

/// Returns the reason not to import an entity as it is, or `None`.
///
/// # Errors
/// The errors of the transaction.
pub async fn find_conflict(
    tx: &mut dyn Transaction,
    entity: &Entity,
) -> Result<Option<ImportConflict>, RegistryError> {
    match entity {
        Entity::Tenant(tenant) => of_tenant(tx, tenant).await,
        Entity::Plan(plan) => {
            let before = tx.plan(plan.id()).await?;
            Ok(before.filter(|before| before != plan).map(|_| ImportConflict::Taken("id")))
        }
        Entity::Caller(caller) => of_caller(tx, caller).await,
        Entity::Credential(credential) => of_credential(tx, credential).await,
        Entity::Lock(lock) => of_lock(tx, lock).await,
        Entity::Grant(grant) => of_grant(tx, grant).await,
        Entity::Quota(quota) => of_quota(tx, quota).await,
        Entity::Throttle(throttle) => of_throttle(tx, throttle).await,
    }
}

async fn of_tenant(
    tx: &mut dyn Transaction,
    tenant: &Tenant,
) -> Result<Option<ImportConflict>, RegistryError> {
    if tx.tenant(&tenant.id).await?.is_some() {
        return Ok(Some(ImportConflict::Taken("id")));
    }
    if tx.has_tenant(tenant).await? {
        return Ok(Some(ImportConflict::Taken("gateway")));
    }
    Ok(of_revision(tenant.revision))
}

async fn of_caller(
    tx: &mut dyn Transaction,
    caller: &Caller,
) -> Result<Option<ImportConflict>, RegistryError> {
    if tx.tenant(&caller.tenant).await?.is_none() {
        return Ok(Some(ImportConflict::Missing("tenant")));
    }
    if tx.has_caller(&caller.id).await? {
        return Ok(Some(ImportConflict::Taken("id")));
    }
    if tx.name_taken(caller).await? {
        return Ok(Some(ImportConflict::Taken(NAME)));
    }
    if caller.app().is_some() && tx.has_app_key(caller).await? {
        return Ok(Some(ImportConflict::Taken(APP_KEY)));
    }
    if let Some(plan) = &caller.plan
        && tx.plan(plan).await?.is_none()
    {
        return Ok(Some(ImportConflict::Missing("plan")));
    }
    if let Some(bound) = caller.app().and_then(|app| app.quota.as_ref())
        && tx.quota(&caller.tenant, &bound.id).await?.is_none()
    {
        return Ok(Some(ImportConflict::Missing("kind.app.quota")));
    }
    Ok(of_revision(caller.revision))
}

async fn of_credential(
    tx: &mut dyn Transaction,
    credential: &Credential,
) -> Result<Option<ImportConflict>, RegistryError> {
    if tx.caller(&credential.tenant, &credential.caller).await?.is_none() {
        return Ok(Some(ImportConflict::Missing("caller")));
    }
    if tx.has_credential(&credential.id).await? {
        return Ok(Some(ImportConflict::Taken("id")));
    }
    if tx.has_digest(&credential.digest).await? {
        return Ok(Some(ImportConflict::Taken("digest")));
    }
    Ok(of_revision(credential.revision))
}

/// Checks a lock. Its target need not exist.
async fn of_lock(tx: &mut dyn Transaction, lock: &Lock) -> Result<Option<ImportConflict>, RegistryError> {
    if tx.lock(&lock.id).await?.is_some() {
        return Ok(Some(ImportConflict::Taken("id")));
    }
    let now = tx.now();
    let in_the_way = |other: &Lock| other.is_active(now) && other.applies_to(lock.tenant.as_ref());
    if lock.is_active(now) && tx.locks_on(&lock.target).await?.iter().any(in_the_way) {
        return Ok(Some(ImportConflict::Taken("target")));
    }
    Ok((lock.fence > MAX_FENCE).then_some(ImportConflict::Impossible("fence")))
}

async fn of_grant(tx: &mut dyn Transaction, grant: &Grant) -> Result<Option<ImportConflict>, RegistryError> {
    if tx.caller(&grant.tenant, &grant.caller).await?.is_none() {
        return Ok(Some(ImportConflict::Missing("caller")));
    }
    if tx.has_grant(&grant.id).await? {
        return Ok(Some(ImportConflict::Taken("id")));
    }
    Ok(tx.grant_like(grant).await?.map(|_| ImportConflict::Taken("route")))
}

async fn of_quota(tx: &mut dyn Transaction, quota: &Quota) -> Result<Option<ImportConflict>, RegistryError> {
    if tx.tenant(&quota.tenant).await?.is_none() {
        return Ok(Some(ImportConflict::Missing("tenant")));
    }
    if tx.has_quota(&quota.id).await? {
        return Ok(Some(ImportConflict::Taken("id")));
    }
    if tx.quotas(&quota.tenant).await?.iter().any(|other| other.name == quota.name) {
        return Ok(Some(ImportConflict::Taken(NAME)));
    }
    Ok(of_revision(quota.revision))
}

async fn of_throttle(
    tx: &mut dyn Transaction,
    throttle: &Throttle,
) -> Result<Option<ImportConflict>, RegistryError> {
    if tx.tenant(&throttle.tenant).await?.is_none() {
        return Ok(Some(ImportConflict::Missing("tenant")));
    }
    if tx.has_throttle(&throttle.id).await? {
        return Ok(Some(ImportConflict::Taken("id")));
    }
    let others = tx.throttles(&throttle.tenant).await?;
    if others.iter().any(|other| other.name == throttle.name) {
        return Ok(Some(ImportConflict::Taken(NAME)));
    }
    if twice(throttle) || others.iter().any(|other| share_a_route(throttle, other)) {
        return Ok(Some(ImportConflict::Taken("bindings")));
    }
    for special in &throttle.specials {
        if let OverrideSubject::App(app) = &special.of
            && tx.caller(&throttle.tenant, app).await?.is_none()
        {
            return Ok(Some(ImportConflict::Missing("specials")));
        }
    }
    Ok(of_revision(throttle.revision))
}

/// Checks a revision: revisions begin at 1, and a store may use signed integers.
fn of_revision(revision: u64) -> Option<ImportConflict> {
    let can_be = revision > 0 && i64::try_from(revision).is_ok();
    (!can_be).then_some(ImportConflict::Impossible("revision"))
}

pub(super) async fn import(tx: &mut dyn Transaction, entity: Entity) -> Result<Entity, RegistryError> {
    if let Some(clash) = find_conflict(tx, &entity).await? {
        return Err(clash.fault());
    }
    let same = match &entity {
        Entity::Plan(plan) => tx.plan(plan.id()).await?.is_some(),
        _ => false,
    };
    if !same {
        tx.write(ChangeKind::Created, entity.clone()).await?;
    }
    Ok(entity)
}
