//! Seals every secret anew with the current key, beside whoever uses the registry.

use super::{Callers, Command, Credentials, Fault, Registry, SecretOf};
use crate::app::{Actor, App, Credential, Sealed, Sealer, TenantId, Unsealable};

/// How many are read, and changed together, at once.
const PAGE: u32 = 100;
/// How often what changed meanwhile is looked at again.
const ROUNDS: u32 = 10;

/// What sealing anew came to.
#[derive(Debug, Default)]
pub struct Resealed {
    /// How many were sealed anew.
    pub anew: u64,
    /// How many were sealed with the current key before.
    pub already: u64,
    /// Which could not be read, and why.
    pub unreadable: Vec<(String, Unsealable)>,
}

/// A secret that is sealed with another key than the current one.
struct Old {
    tenant: TenantId,
    secret: SecretOf,
    revision: u64,
    sealed: Sealed,
}

impl Old {
    /// The command that seals it anew.
    fn anew(self, sealer: &Sealer) -> Result<Command, (String, Unsealable)> {
        let place = match &self.secret {
            SecretOf::App(id) => App::place(&self.tenant, id),
            SecretOf::Credential(id) => Credential::place(&self.tenant, id),
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
pub async fn reseal(registry: &dyn Registry, sealer: &Sealer, actor: &Actor) -> Result<Resealed, Fault> {
    let mut told = Resealed::default();
    let mut apps = Callers { kind: Some("app"), limit: PAGE, ..Callers::default() };
    loop {
        let page = registry.callers(&apps).await?;
        let Some(last) = page.last() else { break };
        apps.after = Some(last.id.clone());
        let old = page.into_iter().filter_map(|caller| {
            let sealed = caller.app()?.secret.clone();
            Some(Old {
                tenant: caller.tenant,
                secret: SecretOf::App(caller.id),
                revision: caller.revision,
                sealed,
            })
        });
        told.page(registry, sealer, actor, old.collect()).await?;
    }
    let mut credentials = Credentials { limit: PAGE, ..Credentials::default() };
    loop {
        let page = registry.credentials(&credentials).await?;
        let Some(last) = page.last() else { break };
        credentials.after = Some(last.id.clone());
        let old = page.into_iter().filter_map(|credential| {
            let sealed = credential.kind.sealed()?.clone();
            let (secret, revision) = (SecretOf::Credential(credential.id), credential.revision);
            Some(Old { tenant: credential.tenant, secret, revision, sealed })
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
        all: Vec<Old>,
    ) -> Result<(), Fault> {
        let mut commands = Vec::new();
        for old in all {
            if old.sealed.key() == sealer.current() {
                self.already += 1;
                continue;
            }
            match old.anew(sealer) {
                Ok(command) => commands.push(command),
                Err(unreadable) => self.unreadable.push(unreadable),
            }
        }
        match registry.execute(commands.clone(), actor).await {
            Ok(done) => self.anew += done.len() as u64,
            // One of them has changed: one by one, those that have not.
            Err(Fault::Conflict | Fault::NotFound) => {
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
    ) -> Result<(), Fault> {
        for _ in 0..ROUNDS {
            let Command::Reseal { tenant, secret, .. } = command.clone() else { return Ok(()) };
            match registry.execute(vec![command], actor).await {
                Ok(_) => {
                    self.anew += 1;
                    return Ok(());
                }
                Err(Fault::NotFound) => return Ok(()),
                Err(Fault::Conflict) => {}
                Err(fault) => return Err(fault),
            }
            let now = match &secret {
                SecretOf::App(id) => registry
                    .caller(&tenant, id)
                    .await
                    .map(|caller| caller.app().map(|app| (caller.revision, app.secret.clone()))),
                SecretOf::Credential(id) => registry.credential(&tenant, id).await.map(|credential| {
                    credential.kind.sealed().map(|sealed| (credential.revision, sealed.clone()))
                }),
            };
            let (revision, sealed) = match now {
                Ok(Some(now)) => now,
                Ok(None) | Err(Fault::NotFound) => return Ok(()),
                Err(fault) => return Err(fault),
            };
            match (Old { tenant, secret, revision, sealed }).anew(sealer) {
                Ok(again) => command = again,
                Err(unreadable) => {
                    self.unreadable.push(unreadable);
                    return Ok(());
                }
            }
        }
        Err(Fault::Conflict)
    }
}
