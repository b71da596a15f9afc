//! `portcullis secrets`: manages peppers (keys of the credential digests) and seal keys (encryption keys of stored
//! secrets).

use std::{collections::BTreeMap, io::Write};

use anyhow::{bail, ensure};
use clap::{Subcommand, ValueEnum};

use super::count::counted;
use crate::{
    config::{Config, SecretKind, SecretsFile},
    gateway,
};
use portcullis::{
    clock::SystemClock,
    model::{Actor, Entity, Sealed},
    registry::{Registry, SecretCheck, reseal, sqlite::Sqlite},
};

/// Operations on the secrets.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
A rotation while gateways run (they read a changed file within seconds):

  portcullis secrets add seal-key       creates key 2, which only unseals at first
  portcullis secrets use seal-key 2     seals with key 2, once every gateway has it
  portcullis secrets rewrap             seals the secrets of other keys again with key 2
  portcullis secrets drop seal-key 1    fails while a stored secret needs it

A pepper rotates in the same way, but without rewrap: only a new credential replaces the digest of an old one.")]
pub enum Secrets {
    /// List the versions, each with the number of store entries that use it.
    List,
    /// Add a random secret, which is not used for new entries yet.
    Add {
        /// The kind of secret.
        kind: Kind,
    },
    /// Use a version for all new entries.
    Use {
        /// The kind of secret.
        kind: Kind,
        /// The version.
        version: u32,
    },
    /// Seal every stored secret with the current seal key.
    Rewrap,
    /// Remove a version that no store entry uses.
    Drop {
        /// The kind of secret.
        kind: Kind,
        /// The version.
        version: u32,
        /// Remove the version even if store entries use it. Those entries become unusable.
        #[arg(long)]
        force: bool,
    },
}

/// A kind of secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// The key of the credential digests.
    Pepper,
    /// The encryption key of stored secrets.
    SealKey,
}

impl From<Kind> for SecretKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Pepper => Self::Pepper,
            Kind::SealKey => Self::SealKey,
        }
    }
}

/// The number of store entries that use each version.
#[derive(Default)]
struct Use {
    peppers: BTreeMap<u32, u64>,
    seal_keys: BTreeMap<u32, u64>,
}

impl Use {
    fn count_in(&self, kind: Kind) -> &BTreeMap<u32, u64> {
        match kind {
            Kind::Pepper => &self.peppers,
            Kind::SealKey => &self.seal_keys,
        }
    }

    fn count(&mut self, entity: &Entity) {
        let sealed = match entity {
            Entity::Caller(caller) => caller.app().map(|app| app.secret.key()),
            Entity::Credential(credential) => {
                *self.peppers.entry(credential.pepper).or_default() += 1;
                credential.kind.sealed().map(Sealed::key)
            }
            _ => None,
        };
        if let Some(version) = sealed {
            *self.seal_keys.entry(version).or_default() += 1;
        }
    }
}

/// Runs a command and writes its result to `out`.
///
/// # Errors
/// If the secrets file or the store cannot be read or written, or the version is not suitable.
pub async fn run(config: &Config, command: &Secrets, out: &mut impl Write) -> anyhow::Result<()> {
    match command {
        Secrets::List => {
            let (store, secrets, misfits) = open_unchecked(config).await?;
            let used = used(&store).await;
            store.close().await;
            let used = used?;
            for kind in [Kind::Pepper, Kind::SealKey] {
                let (name, uses) = (name(kind), used.count_in(kind));
                let versions = secrets.versions(kind.into());
                for (at, version) in versions.iter().enumerate() {
                    let count = uses.get(version).copied().unwrap_or_default();
                    let current = if at == 0 { "  current" } else { "" };
                    writeln!(out, "{name} {version}  used by {count} in the store{current}")?;
                }
                for (version, count) in uses.iter().filter(|(version, _)| !versions.contains(version)) {
                    writeln!(out, "{name} {version}  used by {count} in the store  MISSING")?;
                }
            }
            if misfits.is_empty() { Ok(()) } else { Err(gateway::store::misfit(config, &misfits)) }
        }
        Secrets::Add { kind } => {
            let version = add(config, *kind).await?;
            writeln!(out, "added {} {version}; gateways read it within seconds", name(*kind))?;
            Ok(())
        }
        Secrets::Use { kind, version } => {
            check_fit(config).await?;
            edit(config, |secrets| secrets.promote((*kind).into(), *version))?;
            writeln!(out, "{} {version} is now current", name(*kind))?;
            Ok(())
        }
        Secrets::Rewrap => {
            let (store, secrets) = open(config).await?;
            let sealer = secrets.sealer();
            let report = reseal(&store, &sealer, &Actor::system("secrets")).await;
            store.close().await;
            let report = report?;
            writeln!(
                out,
                "resealed with key {}: {}; already sealed with it: {}",
                sealer.current(),
                report.resealed,
                report.up_to_date
            )?;
            for (secret, why) in &report.unreadable {
                writeln!(out, "{secret}: {why}")?;
            }
            ensure!(
                report.unreadable.is_empty(),
                "{} cannot be unsealed and did not change",
                counted(report.unreadable.len() as u64, "secret", "secrets")
            );
            Ok(())
        }
        Secrets::Drop { kind, version, force } => {
            let (store, secrets, misfits) = open_unchecked(config).await?;
            let dropped = drop_secret(config, (&store, &secrets, &misfits), (*kind, *version), *force).await;
            store.close().await;
            dropped?;
            writeln!(out, "removed {} {version}", name(*kind))?;
            Ok(())
        }
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Pepper => "pepper",
        Kind::SealKey => "seal-key",
    }
}

async fn open(config: &Config) -> anyhow::Result<(Sqlite, SecretsFile)> {
    gateway::store::open_existing(config, std::sync::Arc::new(SystemClock::new())).await
}

async fn open_unchecked(config: &Config) -> anyhow::Result<(Sqlite, SecretsFile, Vec<String>)> {
    gateway::store::ensure_there(config)?;
    gateway::store::open_unchecked(config, std::sync::Arc::new(SystemClock::new())).await
}

async fn used(store: &Sqlite) -> anyhow::Result<Use> {
    let mut used = Use::default();
    store.for_each(&mut |entity| used.count(&entity)).await?;
    Ok(used)
}

/// Checks that the secrets fit the store, if there is one.
async fn check_fit(config: &Config) -> anyhow::Result<()> {
    if config.secrets.variable().is_none() && config.store.path.exists() {
        open(config).await?.0.close().await;
    }
    Ok(())
}

/// Adds a secret under a version that the store was never used with, and notes it in the store: a copy of the file that
/// was made before does not lead to a second secret of the same version.
async fn add(config: &Config, kind: Kind) -> anyhow::Result<u32> {
    let add_after = |last| edit(config, |secrets| secrets.add_after(kind.into(), last));
    if config.secrets.variable().is_some() || !config.store.path.exists() {
        return add_after(0);
    }
    let (store, _) = open(config).await?;
    let added = async {
        let version = add_after(store.last_secret(check_kind(kind)).await?)?;
        let secrets = config.secrets.load()?;
        store.check_secrets(&SecretCheck::all(&secrets.peppers(), &secrets.sealer())).await?;
        anyhow::Ok(version)
    };
    let added = added.await;
    store.close().await;
    added
}

/// Removes a version from the file and from what the store knows. A version that is not in the file any more is given
/// up.
async fn drop_secret(
    config: &Config,
    (store, secrets, misfits): (&Sqlite, &SecretsFile, &[String]),
    (kind, version): (Kind, u32),
    force: bool,
) -> anyhow::Result<()> {
    let is_there = secrets.versions(kind.into()).contains(&version);
    if is_there && !misfits.is_empty() {
        return Err(gateway::store::misfit(config, misfits));
    }
    let count = used(store).await?.count_in(kind).get(&version).copied().unwrap_or_default();
    if count > 0 && !force {
        bail!(
            "{} {} {version}; to remove it and make what it protects unusable, pass --force",
            counted(count, "entry in the store uses", "entries in the store use"),
            name(kind)
        );
    }
    if !is_there && count == 0 && !misfits.is_empty() {
        return Err(gateway::store::misfit(config, misfits));
    }
    let dropped = SecretCheck { kind: check_kind(kind), version, value: String::new() };
    if is_there || count == 0 {
        // Refused for a version that is not in the file and that nothing needs.
        edit(config, |secrets| secrets.remove(kind.into(), version))?;
    }
    Ok(store.forget_secret(&dropped).await?)
}

/// The name of a kind among those that a store knows.
fn check_kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Pepper => SecretCheck::PEPPER,
        Kind::SealKey => SecretCheck::SEAL_KEY,
    }
}

fn edit<T>(config: &Config, edit: impl FnOnce(&mut SecretsFile) -> Result<T, String>) -> anyhow::Result<T> {
    if let Some(variable) = config.secrets.variable() {
        bail!("the secrets come from the environment variable ${variable}: change them where it is set");
    }
    Ok(SecretsFile::edit(&config.secrets.file, edit)?)
}
