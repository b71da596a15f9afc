//! Rows of keys into a registry.

use std::collections::HashMap;

use async_trait::async_trait;
use serde::Serialize;

use super::{
    error::{LineError, ImportError},
    key_rows::{MAX_ERRORS, KeyMaterial, Row, KeyRows},
};
use crate::{
    model::{
        ADMIN_TENANT, Actor, Caller, CallerKind, Credential, CredentialId, CredentialKind, Digest, Entity,
        Peppers, TenantId, name::default_api_client_name,
    },
    registry::{ImportConflict, Command, Outcome, RegistryError, NewCaller, Registry, Transaction, UnitOfWork, find_conflict, execute},
};

/// What an import of keys made, or would have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ImportedKeys {
    /// How many credentials.
    pub keys: u64,
    /// How many callers.
    pub callers: u64,
}

/// Makes credentials of [`Rows`], all of them or none, in one transaction.
///
/// A key of which only the SHA-256 is known is accepted when it is presented, as a
/// [`Sha256Key`](CredentialKind::Sha256Key); so is one that stands there and is not of our own form. Neither is made
/// for operators and administrators: what proves them is made here.
pub struct KeyImport<'a> {
    rows: KeyRows,
    peppers: &'a Peppers,
    make_callers: bool,
    dry_run: bool,
    outcome: Option<Result<ImportedKeys, ImportError>>,
}

impl<'a> KeyImport<'a> {
    /// Of rows, for callers that are there, with the current of these peppers.
    #[must_use]
    pub fn new(rows: KeyRows, peppers: &'a Peppers) -> Self {
        Self { rows, peppers, make_callers: false, dry_run: false, outcome: None }
    }

    /// Makes callers that are not there: api clients, named by [`default_api_client_name`]. Tenants are not made.
    #[must_use]
    pub fn create_callers(self, make_callers: bool) -> Self {
        Self { make_callers, ..self }
    }

    /// Does everything, and takes it back.
    #[must_use]
    pub fn dry_run(self, dry_run: bool) -> Self {
        Self { dry_run, ..self }
    }

    /// Does it.
    ///
    /// # Errors
    /// [`Refused`]; then nothing of it was done.
    pub async fn run(mut self, registry: &dyn Registry, actor: &Actor) -> Result<ImportedKeys, ImportError> {
        registry.transact_bulk(&mut self, actor).await?;
        self.outcome()
    }

    /// What came of it, when it was [run](Work::run) as a part of something else.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn outcome(self) -> Result<ImportedKeys, ImportError> {
        self.outcome.unwrap_or_else(|| Err(RegistryError::Corrupt("the import was not run".into()).into()))
    }

    /// What was made, or would have been, as far as it has been [run](Work::run).
    #[must_use]
    pub fn imported(&self) -> Option<ImportedKeys> {
        self.outcome.as_ref()?.as_ref().ok().copied()
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

#[async_trait]
impl UnitOfWork for KeyImport<'_> {
    async fn run(&mut self, tx: &mut dyn Transaction) -> Result<Outcome, RegistryError> {
        let outcome = match self.all(tx).await {
            Err(ImportError::Store(fault)) => return Err(fault),
            outcome => outcome,
        };
        let keep = outcome.is_ok() && !self.dry_run;
        self.outcome = Some(outcome);
        Ok(if keep { Outcome::Commit } else { Outcome::Rollback })
    }
}

/// Rows on their way into a transaction.
struct KeyWriter<'a> {
    tx: &'a mut dyn Transaction,
    peppers: &'a Peppers,
    make_callers: bool,
    made: ImportedKeys,
    /// On which line each key stood.
    seen: HashMap<[u8; 32], u64>,
    /// How many more api clients each tenant may have; `None` when it is not there. Counting them for each that
    /// is made would take as long as all of them together.
    rooms: HashMap<TenantId, Option<u64>>,
}

impl KeyWriter<'_> {
    async fn row(&mut self, row: Row) -> Result<(), ImportError> {
        let mistake = |member: &str, what: &str| Err(LineError::new(row.line, member, what).into());
        let (sha256, member) = (row.proof.sha256(), row.proof.member());
        if let Some(line) = self.seen.insert(sha256, row.line) {
            self.seen.insert(sha256, line);
            return mistake(member, &format!("is that of line {line}"));
        }
        for digest in self.digests(&row.proof, &sha256) {
            if self.tx.has_digest(&digest).await? {
                return mistake(member, "is that of a credential that is there");
            }
        }
        if self.room(&row).await?.is_none() {
            return mistake("tenant", "is not there");
        }
        match self.tx.caller(&row.tenant, &row.caller).await? {
            None => self.make_caller(&row).await?,
            Some(Caller { kind: CallerKind::Operator | CallerKind::Administrator(_), .. }) => {
                return mistake("caller", "is an operator or administrator: their keys are made here");
            }
            Some(caller) if row.plan.is_some() && row.plan != caller.plan => {
                return mistake("plan", "is not that of the caller, who is there");
            }
            Some(_) => {}
        }
        let credential = self.credential(row, &sha256);
        execute(self.tx, vec![Command::CreateCredential { credential, most: None }]).await?;
        self.made.keys += 1;
        Ok(())
    }

    /// What a credential of this key may be there as, whatever it was made of.
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
            return mistake("caller", "is not there");
        }
        if row.tenant.as_str() == ADMIN_TENANT {
            return mistake("tenant", "is that of the administrators: they are made here");
        }
        let Some(Some(room @ 1..)) = self.rooms.get_mut(&row.tenant) else {
            return mistake(
                "caller",
                "the tenant has as many callers of this kind as its max_callers allows: raise max_callers, or import fewer",
            );
        };
        let caller = Entity::Caller(new_caller(row).into_caller(self.tx.now()));
        match find_conflict(self.tx, &caller).await? {
            Some(ImportConflict::Missing(_)) => return mistake("plan", "is not there"),
            Some(ImportConflict::Taken("id")) => return mistake("caller", "is another tenant's"),
            Some(_) => return mistake("caller", "is the name of another caller"),
            None => drop(execute(self.tx, vec![Command::Import(caller)]).await?),
        }
        *room -= 1;
        self.made.callers += 1;
        Ok(())
    }

    fn credential(&self, row: Row, sha256: &[u8; 32]) -> Credential {
        let (pepper, now) = (self.peppers.current(), self.tx.now());
        let (kind, digest) = match &row.proof {
            KeyMaterial::Key(key) => (CredentialKind::Key, pepper.digest(key.expose())),
            KeyMaterial::Sha256(..) => (CredentialKind::Sha256Key, pepper.digest_of_sha256(sha256)),
        };
        Credential {
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
            deprecated_at: None,
            replaced_by: None,
            revision: 1,
            created_at: now,
            updated_at: now,
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
