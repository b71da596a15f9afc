//! Seals all secrets again with the current key while the registry is in use.

use super::{CallerFilter, CredentialFilter, Registry, RegistryError, RegistryExt, Reseal, SecretRef};
use crate::model::{Actor, App, Credential, Sealed, Sealer, TenantId, UnsealError};

/// The number of secrets that are read, and changed in one transaction.
const PAGE: u32 = 100;
/// The maximum number of attempts for a secret that changes meanwhile.
const ROUNDS: u32 = 10;

/// The result of sealing all secrets again.
#[derive(Debug, Default)]
pub struct Resealed {
    /// The number of secrets that were sealed again.
    pub resealed: u64,
    /// The number of secrets that were sealed with the current key already.
    pub up_to_date: u64,
    /// The secrets that could not be unsealed, each with the reason.
    pub unreadable: Vec<(String, UnsealError)>,
}

/// A secret that is sealed with a key other than the current one.
struct StaleSecret {
    tenant: TenantId,
    secret: SecretRef,
    revision: u64,
    sealed: Sealed,
}

impl StaleSecret {
    /// Returns the operation that replaces the secret by one sealed with the current key.
    fn anew(self, sealer: &Sealer) -> Result<Reseal, (String, UnsealError)> {
        let place = match &self.secret {
            SecretRef::App(id) => App::seal_context(&self.tenant, id),
            SecretRef::Credential(id) => Credential::seal_context(&self.tenant, id),
        };
        match sealer.unseal(&self.sealed, &place) {
            Ok(plain) => Ok(Reseal {
                sealed: sealer.seal(&plain, &place),
                tenant: self.tenant,
                expected: self.revision,
                secret: self.secret,
            }),
            Err(why) => Err((format!("{} {}", place[1], place[2]), why)),
        }
    }
}

/// Seals every secret of a registry with the sealer's current key, unless it is sealed with that key already. Each
/// transaction changes a few secrets. After an interruption the finished part stays, and another run continues. When
/// another client changes a secret meanwhile, that change wins.
///
/// # Errors
/// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`], and [`RegistryError::Conflict`] when secrets change faster than they can
/// be sealed.
pub async fn reseal(
    registry: &dyn Registry,
    sealer: &Sealer,
    actor: &Actor,
) -> Result<Resealed, RegistryError> {
    let mut report = Resealed::default();
    let mut apps = CallerFilter { kind: Some("app"), limit: PAGE, ..CallerFilter::default() };
    loop {
        let page = registry.callers(&apps).await?;
        let Some(last) = page.last() else { break };
        apps.after = Some(last.id.clone());
        let old = page.into_iter().filter_map(|caller| {
            let sealed = caller.app()?.secret.clone();
            Some(StaleSecret {
                tenant: caller.tenant,
                secret: SecretRef::App(caller.id),
                revision: caller.revision,
                sealed,
            })
        });
        report.page(registry, sealer, actor, old.collect()).await?;
    }
    let mut credentials = CredentialFilter { limit: PAGE, ..CredentialFilter::default() };
    loop {
        let page = registry.credentials(&credentials).await?;
        let Some(last) = page.last() else { break };
        credentials.after = Some(last.id.clone());
        let old = page.into_iter().filter_map(|credential| {
            let sealed = credential.kind.sealed()?.clone();
            let (secret, revision) = (SecretRef::Credential(credential.id), credential.revision);
            Some(StaleSecret { tenant: credential.tenant, secret, revision, sealed })
        });
        report.page(registry, sealer, actor, old.collect()).await?;
    }
    Ok(report)
}

impl Resealed {
    async fn page(
        &mut self,
        registry: &dyn Registry,
        sealer: &Sealer,
        actor: &Actor,
        all: Vec<StaleSecret>,
    ) -> Result<(), RegistryError> {
        let mut operations = Vec::new();
        for old in all {
            if old.sealed.key() == sealer.current() {
                self.up_to_date += 1;
                continue;
            }
            match old.anew(sealer) {
                Ok(operation) => operations.push(operation),
                Err(unreadable) => self.unreadable.push(unreadable),
            }
        }
        match registry.run(operations.clone(), actor).await {
            Ok(done) => self.resealed += done.len() as u64,
            // One of the secrets has changed: run the operations one by one, so that the others succeed.
            Err(RegistryError::Conflict | RegistryError::NotFound) => {
                for operation in operations {
                    self.one(registry, sealer, actor, operation).await?;
                }
            }
            Err(fault) => return Err(fault),
        }
        Ok(())
    }

    /// Seals a single secret, which may be changed or deleted meanwhile.
    async fn one(
        &mut self,
        registry: &dyn Registry,
        sealer: &Sealer,
        actor: &Actor,
        mut operation: Reseal,
    ) -> Result<(), RegistryError> {
        for _ in 0..ROUNDS {
            let (tenant, secret) = (operation.tenant.clone(), operation.secret.clone());
            match registry.run(operation, actor).await {
                Ok(_) => {
                    self.resealed += 1;
                    return Ok(());
                }
                Err(RegistryError::NotFound) => return Ok(()),
                Err(RegistryError::Conflict) => {}
                Err(fault) => return Err(fault),
            }
            let now = match &secret {
                SecretRef::App(id) => registry
                    .caller(&tenant, id)
                    .await
                    .map(|caller| caller.app().map(|app| (caller.revision, app.secret.clone()))),
                SecretRef::Credential(id) => registry.credential(&tenant, id).await.map(|credential| {
                    credential.kind.sealed().map(|sealed| (credential.revision, sealed.clone()))
                }),
            };
            let (revision, sealed) = match now {
                Ok(Some(now)) => now,
                Ok(None) | Err(RegistryError::NotFound) => return Ok(()),
                Err(fault) => return Err(fault),
            };
            match (StaleSecret { tenant, secret, revision, sealed }).anew(sealer) {
                Ok(again) => operation = again,
                Err(unreadable) => {
                    self.unreadable.push(unreadable);
                    return Ok(());
                }
            }
        }
        Err(RegistryError::Conflict)
    }
}
