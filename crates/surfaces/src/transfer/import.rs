//! Imports a file into a registry.

use std::{
    collections::{BTreeMap, HashSet},
    io::{BufRead, Read},
};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    error::{ImportError, LineError},
    job::{ImportJob, Progress},
    ndjson::{
        END, FORMAT, HEAD, Header, LineCounts, MAX_LINE_LEN, MetaLine, Trailer as Last, USE, VERSION, parse,
        position, tag, unknown,
    },
    secrets::{SecretFingerprints, needs},
};
use portcullis::{
    model::{Caller, CallerKind, CredentialId, Entity, Seq, TenantId, hex::encode},
    registry::{
        ImportConflict, ImportEntity, Outcome, RegistryError, Transaction, UnitOfWork, find_conflict, run_in,
    },
};

/// The maximum number of skipped credentials, because their ids are held in memory.
const MAX_SKIPPED: usize = 100_000;

/// The result of an import, or of its dry run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// The number of lines of each kind, including skipped lines.
    pub counts: BTreeMap<String, u64>,
    /// The number of lines that were [skipped](Import::skip_tenant).
    pub skipped: u64,
    /// The last change that the file contains, by the numbers of the exported registry.
    pub seq: Seq,
    /// The time at which the file was written.
    pub at: Timestamp,
}

/// Imports an [export](super::Export) into a registry in one transaction. Ids, times and revisions stay. One line at a
/// time is in memory.
///
/// An identical plan that exists already is left unchanged. A registry that has nothing but plans counts as empty.
pub struct Import<'a> {
    lines: Lines<'a>,
    secrets: SecretFingerprints,
    skipped: SkippedTenant,
    add: bool,
    progress: Progress<Imported>,
}

impl<'a> Import<'a> {
    /// Creates an import of a file into an empty registry, whose installation has these secrets.
    pub fn new(file: &'a mut (dyn BufRead + Send), secrets: SecretFingerprints) -> Self {
        let lines = Lines { file, number: 0, hash: Sha256::new(), line: Vec::new() };
        Self { lines, secrets, skipped: SkippedTenant::default(), add: false, progress: Progress::new() }
    }

    /// Allows an import into a registry that is not empty. The entities of the file must not exist there.
    #[must_use]
    pub fn into_existing(self, add: bool) -> Self {
        Self { add, ..self }
    }

    /// Skips the administrators, and all other entities of their tenant, because the registry has its own. An
    /// administrator in another tenant is an error.
    #[must_use]
    pub fn skip_tenant(self, tenant: TenantId) -> Self {
        Self { skipped: SkippedTenant { tenant: Some(tenant), ..SkippedTenant::default() }, ..self }
    }

    async fn all(&mut self, tx: &mut dyn Transaction) -> Result<Imported, ImportError> {
        if !self.add && !tx.is_empty().await? {
            return Err(ImportError::NotEmpty);
        }
        let head = self.head()?;
        let made_with = SecretFingerprints { peppers: head.peppers, seal_keys: head.seal_keys };
        let (mut tally, mut last) = (LineCounts::default(), 0);
        loop {
            self.lines.next()?;
            let Some(name) = tag(&self.lines.line) else {
                return Err(self.lines.mistake("", "is not a line of an export"));
            };
            if name == END {
                break;
            }
            let Some(at) = position(name) else {
                return Err(self.lines.mistake("", "has a kind that this version does not know"));
            };
            if at < last {
                return Err(self.lines.mistake(name, "must come before the lines that need it"));
            }
            last = at;
            tally.count(name);
            if name == USE {
                self.lines.note_use(tx, &mut self.skipped).await?;
            } else {
                let secrets = [&made_with, &self.secrets];
                self.lines.entity(tx, secrets, &mut tally, &mut self.skipped).await?;
            }
        }
        let counts = self.lines.end(tally)?;
        Ok(Imported { counts, skipped: self.skipped.lines, seq: head.seq, at: head.at })
    }

    fn head(&mut self) -> Result<Header, ImportError> {
        self.lines.next()?;
        let line = &self.lines.line;
        let found: Value = serde_json::from_slice(line).unwrap_or_default();
        let found = &found[HEAD];
        if found["format"] != FORMAT {
            return Err(self.lines.mistake("", "is not the first line of an export"));
        }
        // The rest of the header of a later version is not read.
        if found["version"] != VERSION {
            let what = format!("is another format version than {VERSION}, which this program reads");
            return Err(self.lines.mistake("head.version", what));
        }
        match parse(line) {
            Ok(MetaLine::Head(head)) => Ok(head),
            Ok(_) => Err(self.lines.mistake("", "is not the first line of an export")),
            Err((member, what)) => Err(self.lines.mistake(member, what)),
        }
    }
}

impl ImportJob for Import<'_> {
    type Report = Imported;

    fn progress(&self) -> &Progress<Imported> {
        &self.progress
    }

    fn progress_mut(&mut self) -> &mut Progress<Imported> {
        &mut self.progress
    }
}

#[async_trait]
impl UnitOfWork for Import<'_> {
    async fn perform(&mut self, tx: &mut dyn Transaction) -> Result<Outcome, RegistryError> {
        let outcome = self.all(tx).await;
        self.progress.finish(outcome)
    }

    async fn confirm(&mut self, tx: &mut dyn Transaction) -> Result<Outcome, RegistryError> {
        if self.add || tx.is_empty().await? {
            return Ok(Outcome::Commit);
        }
        self.progress.finish(Err(ImportError::NotEmpty))
    }
}

/// The part of a file that is skipped.
#[derive(Default)]
struct SkippedTenant {
    /// The tenant whose entities are skipped.
    tenant: Option<TenantId>,
    /// The number of lines skipped so far.
    lines: u64,
    /// The skipped credentials, whose last uses are skipped, too.
    credentials: HashSet<CredentialId>,
}

impl SkippedTenant {
    /// Returns `true` if an entity is to be skipped.
    fn has(&self, entity: &Entity) -> bool {
        let of = match entity {
            Entity::Tenant(tenant) => Some(&tenant.id),
            Entity::Caller(caller) => Some(&caller.tenant),
            Entity::Credential(credential) => Some(&credential.tenant),
            Entity::Grant(grant) => Some(&grant.tenant),
            Entity::Quota(quota) => Some(&quota.tenant),
            Entity::Throttle(throttle) => Some(&throttle.tenant),
            Entity::Lock(lock) => lock.tenant.as_ref(),
            Entity::Plan(_) => None,
        };
        of.is_some() && of == self.tenant.as_ref()
    }

    /// Returns `true` if an entity is not skipped although it is an administrator.
    fn misses(&self, entity: &Entity) -> bool {
        let administers =
            |caller: &Caller| matches!(caller.kind, CallerKind::Administrator(_)) && self.tenant.is_some();
        !self.has(entity) && matches!(entity, Entity::Caller(caller) if administers(caller))
    }

    fn note(&mut self, entity: Entity) -> Result<(), String> {
        self.lines += 1;
        if let Entity::Credential(credential) = entity {
            self.credentials.insert(credential.id);
        }
        if self.credentials.len() <= MAX_SKIPPED {
            return Ok(());
        }
        Err(format!("is one of more than {MAX_SKIPPED} credentials that would be skipped"))
    }
}

/// A file that is read line by line.
struct Lines<'a> {
    file: &'a mut (dyn BufRead + Send),
    /// The number of the current line, beginning with 1.
    number: u64,
    /// The hash of the lines before the current one.
    hash: Sha256,
    /// The current line without its line end.
    line: Vec<u8>,
}

impl Lines<'_> {
    fn mistake(&self, member: impl Into<String>, what: impl Into<String>) -> ImportError {
        LineError::new(self.number, member, what).into()
    }

    fn next(&mut self) -> Result<(), ImportError> {
        if self.number > 0 {
            self.hash.update(&self.line);
            self.hash.update(b"\n");
        }
        self.number += 1;
        self.line.clear();
        (&mut *self.file).take(MAX_LINE_LEN as u64).read_until(b'\n', &mut self.line)?;
        match self.line.pop() {
            Some(b'\n') => Ok(()),
            Some(_) if self.line.len() + 1 == MAX_LINE_LEN => {
                Err(self.mistake("", "exceeds the maximum length of a line"))
            }
            _ => Err(self.mistake("", "is incomplete: the file was cut off")),
        }
    }

    async fn entity(
        &mut self,
        tx: &mut dyn Transaction,
        [made_with, at_hand]: [&SecretFingerprints; 2],
        tally: &mut LineCounts,
        skipped: &mut SkippedTenant,
    ) -> Result<(), ImportError> {
        let entity: Entity = parse(&self.line).map_err(|(member, what)| self.mistake(member, what))?;
        if let Some(member) = unknown(&self.line, &entity) {
            return Err(self.mistake(member, "is not known to this version of the program"));
        }
        let skips = skipped.has(&entity);
        for (need, member) in needs(&entity) {
            if let Some(what) = need.check(made_with, at_hand).filter(|_| !skips) {
                return Err(self.mistake(member, what));
            }
            tally.need(need);
        }
        if skipped.misses(&entity) {
            return Err(self.mistake("caller.kind", "is an administrator outside of their tenant"));
        }
        if skips {
            return skipped.note(entity).map_err(|what| self.mistake("", what));
        }
        let fault = match run_in(tx, ImportEntity(entity.clone())).await {
            Ok(_) => return Ok(()),
            Err(fault @ (RegistryError::Unavailable(_) | RegistryError::Corrupt(_))) => {
                return Err(fault.into());
            }
            Err(fault) => fault,
        };
        let (member, what) = match find_conflict(tx, &entity).await? {
            Some(ImportConflict::Taken(member)) => (member, "is taken"),
            Some(ImportConflict::Missing(member)) => (member, "does not exist"),
            Some(ImportConflict::Impossible(member)) => (member, "has an impossible value"),
            None => return Err(fault.into()),
        };
        Err(self.mistake(format!("{}.{member}", entity.kind().as_str()), what))
    }

    async fn note_use(
        &mut self,
        tx: &mut dyn Transaction,
        skipped: &mut SkippedTenant,
    ) -> Result<(), ImportError> {
        let used = match parse(&self.line) {
            Ok(MetaLine::Use(used)) => used,
            Ok(_) => return Err(self.mistake("", "is not a line of an export")),
            Err((member, what)) => return Err(self.mistake(member, what)),
        };
        if skipped.credentials.contains(&used.credential) {
            skipped.lines += 1;
            return Ok(());
        }
        if !tx.has_credential(&used.credential).await? {
            return Err(self.mistake("use.credential", "does not exist"));
        }
        Ok(tx.record_last_used(&used.credential, used.at).await?)
    }

    /// Checks that the last line matches the lines before it exactly and that nothing follows. Returns the counts.
    fn end(&mut self, tally: LineCounts) -> Result<BTreeMap<String, u64>, ImportError> {
        let expected = tally.end(encode(&self.hash.clone().finalize()));
        let found = match parse(&self.line) {
            Ok(MetaLine::End(found)) => found,
            Ok(_) => return Err(self.mistake("", "is not a line of an export")),
            Err((member, what)) => return Err(self.mistake(member, what)),
        };
        let Last { counts, peppers, seal_keys, sha256 } = &expected;
        for (member, same) in [
            ("end.counts", found.counts == *counts),
            ("end.peppers", found.peppers == *peppers),
            ("end.seal_keys", found.seal_keys == *seal_keys),
            ("end.sha256", found.sha256 == *sha256),
            ("end", serde_json::to_vec(&MetaLine::End(found)).is_ok_and(|line| line == self.line)),
        ] {
            if !same {
                return Err(self.mistake(member, "does not match the lines before it"));
            }
        }
        if self.file.fill_buf()?.is_empty() {
            return Ok(expected.counts);
        }
        self.number += 1;
        Err(self.mistake("", "follows the last line"))
    }
}
