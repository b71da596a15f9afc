//! Imports rows of keys into a registry.

use std::collections::HashMap;

use async_trait::async_trait;
use serde::Serialize;

use super::{
    error::{ImportError, LineError},
    fields::{KeyMaterial, Row},
    job::{ImportJob, Progress},
    key_rows::{KeyRows, MAX_ERRORS},
};
use portcullis::{
    model::{
        ADMIN_TENANT, Caller, CallerKind, CredentialId, CredentialKind, Digest, Entity, Peppers, TenantId,
        name::default_api_client_name,
    },
    registry::{
        CreateCredential, ImportConflict, ImportEntity, NewCaller, NewCredential, Outcome, RegistryError,
        Transaction, UnitOfWork, find_conflict, run_in,
    },
};

/// The result of an import of keys, or of its dry run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ImportedKeys {
    /// The number of created credentials.
    pub keys: u64,
    /// The number of created callers.
    pub callers: u64,
}

/// Creates credentials from [`KeyRows`], all of them or none, in one transaction.
///
/// If only the SHA-256 of a key is known, or the key does not have the format of this gateway's keys, the credential is
/// a [`Sha256Key`](CredentialKind::Sha256Key), which accepts the key when it is presented. No keys are imported for
/// operators and administrators: create theirs in this gateway.
pub struct KeyImport<'a> {
    rows: KeyRows,
    peppers: &'a Peppers,
    make_callers: bool,
    progress: Progress<ImportedKeys>,
}

impl<'a> KeyImport<'a> {
    /// Creates an import for existing callers. Digests are keyed with the current one of these peppers.
    #[must_use]
    pub fn new(rows: KeyRows, peppers: &'a Peppers) -> Self {
        Self { rows, peppers, make_callers: false, progress: Progress::new() }
    }

    /// Creates missing callers: api clients, named by [`default_api_client_name`]. Missing tenants are not created.
    #[must_use]
    pub fn create_callers(self, make_callers: bool) -> Self {
        Self { make_callers, ..self }
    }

    async fn all(&mut self, tx: &mut dyn Transaction) -> Result<ImportedKeys, ImportError> {
        let mut putting = KeyWriter {
            tx,
            peppers: self.peppers,
            make_callers: self.make_callers,
            made: ImportedKeys::default(),
            seen: HashMap::new(),
            rooms: HashMap::new(),
        };
        let mut mistakes = Vec::new();
        for row in std::mem::take(&mut self.rows).0 {
            match putting.row(row).await {
                Ok(()) => {}
                Err(ImportError::Mistakes(more)) => mistakes.extend(more),
                Err(refused) => return Err(refused),
            }
            if mistakes.len() >= MAX_ERRORS {
                break;
            }
        }
        if mistakes.is_empty() { Ok(putting.made) } else { Err(ImportError::Mistakes(mistakes)) }
    }
}

impl ImportJob for KeyImport<'_> {
    type Report = ImportedKeys;

    fn progress(&self) -> &Progress<ImportedKeys> {
        &self.progress
    }

    fn progress_mut(&mut self) -> &mut Progress<ImportedKeys> {
        &mut self.progress
    }
}

#[async_trait]
impl UnitOfWork for KeyImport<'_> {
    async fn perform(&mut self, tx: &mut dyn Transaction) -> Result<Outcome, RegistryError> {
        let outcome = self.all(tx).await;
        self.progress.finish(outcome)
    }
}

/// An import in progress within a transaction.
struct KeyWriter<'a> {
    tx: &'a mut dyn Transaction,
    peppers: &'a Peppers,
    make_callers: bool,
    made: ImportedKeys,
    /// The line of each key.
    seen: HashMap<[u8; 32], u64>,
    /// The number of api clients that each tenant may still have; `None` if the tenant does not exist. Counting the
    /// callers again for each new one would take quadratic time.
    rooms: HashMap<TenantId, Option<u64>>,
}

impl KeyWriter<'_> {
    async fn row(&mut self, row: Row) -> Result<(), ImportError> {
        let mistake = |member: &str, what: &str| Err(LineError::new(row.line, member, what).into());
        let (sha256, member) = (row.proof.sha256(), row.proof.member());
        if let Some(line) = self.seen.insert(sha256, row.line) {
            self.seen.insert(sha256, line);
            return mistake(member, &format!("duplicates line {line}"));
        }
        for digest in self.digests(&row.proof, &sha256) {
            if self.tx.has_digest(&digest).await? {
                return mistake(member, "belongs to an existing credential");
            }
        }
        if self.room(&row).await?.is_none() {
            return mistake("tenant", "does not exist");
        }
        match self.tx.caller(&row.tenant, &row.caller).await? {
            None => self.make_caller(&row).await?,
            Some(Caller { kind: CallerKind::Operator | CallerKind::Administrator(_), .. }) => {
                return mistake("caller", "is an operator or administrator: create its keys here");
            }
            Some(caller) if row.plan.is_some() && row.plan != caller.plan => {
                return mistake("plan", "differs from the plan of the existing caller");
            }
            Some(_) => {}
        }
        let credential = self.credential(row, &sha256);
        run_in(self.tx, CreateCredential { credential, most: None }).await?;
        self.made.keys += 1;
        Ok(())
    }

    /// Returns all digests under which a credential of this key may be stored.
    fn digests(&self, proof: &KeyMaterial, sha256: &[u8; 32]) -> Vec<Digest> {
        let by_sha256 = self.peppers.digests_of_sha256(sha256);
        match proof {
            KeyMaterial::Key(key) => self.peppers.digests(key.expose()).chain(by_sha256).collect(),
            KeyMaterial::Sha256(..) => by_sha256.collect(),
        }
    }

    async fn room(&mut self, row: &Row) -> Result<Option<u64>, RegistryError> {
        if let Some(room) = self.rooms.get(&row.tenant) {
            return Ok(*room);
        }
        let room = match self.tx.tenant(&row.tenant).await? {
            Some(tenant) => {
                let there = self.tx.count_same_kind(&new_caller(row).into_caller(self.tx.now())).await?;
                Some(u64::from(tenant.max_callers).saturating_sub(there))
            }
            None => None,
        };
        self.rooms.insert(row.tenant.clone(), room);
        Ok(room)
    }

    async fn make_caller(&mut self, row: &Row) -> Result<(), ImportError> {
        let mistake = |member: &str, what: &str| Err(LineError::new(row.line, member, what).into());
        if !self.make_callers {
            return mistake("caller", "does not exist");
        }
        if row.tenant.as_str() == ADMIN_TENANT {
            return mistake("tenant", "is the tenant of the administrators: create them here");
        }
        let Some(Some(room @ 1..)) = self.rooms.get_mut(&row.tenant) else {
            return mistake(
                "caller",
                "the tenant has as many callers of this kind as its max_callers allows: raise max_callers, or import fewer",
            );
        };
        let caller = Entity::Caller(new_caller(row).into_caller(self.tx.now()));
        match find_conflict(self.tx, &caller).await? {
            Some(ImportConflict::Missing(_)) => return mistake("plan", "does not exist"),
            Some(ImportConflict::Taken("id")) => return mistake("caller", "belongs to another tenant"),
            Some(_) => return mistake("caller", "has the name of another caller"),
            None => drop(run_in(self.tx, ImportEntity(caller)).await?),
        }
        *room -= 1;
        self.made.callers += 1;
        Ok(())
    }

    fn credential(&self, row: Row, sha256: &[u8; 32]) -> NewCredential {
        let pepper = self.peppers.current();
        let (kind, digest) = match &row.proof {
            KeyMaterial::Key(key) => (CredentialKind::Key, pepper.digest(key.expose())),
            KeyMaterial::Sha256(..) => (CredentialKind::Sha256Key, pepper.digest_of_sha256(sha256)),
        };
        NewCredential {
            id: CredentialId::random(),
            tenant: row.tenant,
            caller: row.caller,
            kind,
            name: row.name,
            digest,
            pepper: pepper.version(),
            hint: row.hint,
            status: row.status,
            scopes: row.scopes,
            not_after: row.not_after,
        }
    }
}

fn new_caller(row: &Row) -> NewCaller {
    NewCaller {
        id: row.caller.clone(),
        tenant: row.tenant.clone(),
        name: default_api_client_name(&row.caller),
        kind: CallerKind::ApiClient,
        plan: row.plan.clone(),
    }
}
