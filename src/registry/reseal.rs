//! Seals every secret anew with the current key, beside whoever uses the registry.

use super::{CallerFilter, Command, CredentialFilter, RegistryError, Registry, SecretRef};
use crate::model::{Actor, App, Credential, Sealed, Sealer, TenantId, UnsealError};

/// How many are read, and changed together, at once.
const PAGE: u32 = 100;
/// How often what changed meanwhile is looked at again.
const ROUNDS: u32 = 10;

/// What sealing anew came to.
#[derive(Debug, Default)]
pub struct Resealed {
    /// How many were sealed anew.
    pub resealed: u64,
    /// How many were sealed with the current key before.
    pub up_to_date: u64,
    /// Which could not be read, and why.
    pub unreadable: Vec<(String, UnsealError)>,
}

/// A secret that is sealed with another key than the current one.
struct StaleSecret {
    tenant: TenantId,
    secret: SecretRef,
    revision: u64,
    sealed: Sealed,
}

impl StaleSecret {
    /// The command that seals it anew.
    fn anew(self, sealer: &Sealer) -> Result<Command, (String, UnsealError)> {
        let place = match &self.secret {
            SecretRef::App(id) => App::seal_context(&self.tenant, id),
            SecretRef::Credential(id) => Credential::seal_context(&self.tenant, id),
        };
        match sealer.unseal(&self.sealed, &place) {
            Ok(plain) => Ok(Command::Reseal {
                sealed: sealer.seal(&plain, &place),
                tenant: self.tenant,
                expected: self.revision,
                secret: self.secret,
            }),
            Err(why) => Err((format!("{} {}", place[1], place[2]), why)),
        }
    }
}

/// Seals every secret of a registry with the sealer's current key that is sealed with another, a few in each
/// transaction. What was done stays when it is broken off; done again, it goes on. Whoever changes a secret
/// meanwhile wins.
///
/// # Errors
/// Only [`Fault::Unavailable`] and [`Fault::Corrupt`], and [`Fault::Conflict`] when secrets change faster than they
/// can be sealed.
pub async fn reseal(registry: &dyn Registry, sealer: &Sealer, actor: &Actor) -> Result<Resealed, RegistryError> {
    let mut told = Resealed::default();
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
        told.page(registry, sealer, actor, old.collect()).await?;
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
        told.page(registry, sealer, actor, old.collect()).await?;
    }
    Ok(told)
}

impl Resealed {
    async fn page(
        &mut self,
        registry: &dyn Registry,
        sealer: &Sealer,
        actor: &Actor,
        all: Vec<StaleSecret>,
    ) -> Result<(), RegistryError> {
        let mut commands = Vec::new();
        for old in all {
            if old.sealed.key() == sealer.current() {
                self.up_to_date += 1;
                continue;
            }
            match old.anew(sealer) {
                Ok(command) => commands.push(command),
                Err(unreadable) => self.unreadable.push(unreadable),
            }
        }
        match registry.execute(commands.clone(), actor).await {
            Ok(done) => self.resealed += done.len() as u64,
            // One of them has changed: one by one, those that have not.
            Err(RegistryError::Conflict | RegistryError::NotFound) => {
                for command in commands {
                    self.one(registry, sealer, actor, command).await?;
                }
            }
            Err(fault) => return Err(fault),
        }
        Ok(())
    }

    /// A secret that may change, or go, meanwhile.
    async fn one(
        &mut self,
        registry: &dyn Registry,
        sealer: &Sealer,
        actor: &Actor,
        mut command: Command,
    ) -> Result<(), RegistryError> {
        for _ in 0..ROUNDS {
            let Command::Reseal { tenant, secret, .. } = command.clone() else { return Ok(()) };
            match registry.execute(vec![command], actor).await {
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
                Ok(again) => command = again,
                Err(unreadable) => {
                    self.unreadable.push(unreadable);
                    return Ok(());
                }
            }
        }
        Err(RegistryError::Conflict)
    }
}
