//! Bulk work on a copy of the store, whose results are inserted into the store at the end. Other clients can write to
//! the store meanwhile.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use sqlx::{SqliteConnection, query, query_as, query_scalar};

use super::{
    error::fault,
    hash_chain,
    hold::{Hold, IMPORT, LOCK},
    json, open,
};
use crate::{
    model::{EntityKind, Seq},
    registry::{ImportConflict, Outcome, RegistryError, Transaction, UnitOfWork, find_conflict},
};

/// A copy of the store that is deleted when this is dropped.
pub(super) struct Staging {
    pub(super) path: PathBuf,
    /// Tells other processes that it is in use. None where files cannot be locked.
    _hold: Option<Hold>,
}

impl Staging {
    /// Creates an empty file beside the store, because the copy will be as large and as confidential as the store.
    pub(super) fn beside(store: &Path) -> Result<Self, RegistryError> {
        let mut name = store.as_os_str().to_owned();
        name.push(format!("{IMPORT}{}", uuid::Uuid::new_v4().simple()));
        let path = PathBuf::from(name.clone());
        name.push(LOCK);
        let hold = Hold::create(name.into()).ok();
        open::make(&path)?;
        Ok(Self { path, _hold: hold })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let mut name = self.path.as_os_str().to_owned();
            name.push(suffix);
            let _ = std::fs::remove_file(name);
        }
    }
}

/// Work with the outcome that it returned.
pub(super) struct Ended<'a> {
    pub(super) work: &'a mut dyn UnitOfWork,
    pub(super) end: Option<Outcome>,
}

#[async_trait]
impl UnitOfWork for Ended<'_> {
    async fn perform(&mut self, tx: &mut dyn Transaction) -> Result<Outcome, RegistryError> {
        let end = self.work.perform(tx).await?;
        self.end = Some(end);
        Ok(end)
    }
}

/// Attaches the copy under the name `staged`.
pub(super) const ATTACH: &str = "ATTACH DATABASE $1 AS staged";
pub(super) const DETACH: &str = "DETACH DATABASE staged";

/// Returns `true` if the store has an entity that conflicts with one of the staged entities. Called for the kinds whose
/// conflicts no constraint of the tables detects.
pub(super) async fn in_the_way(
    tx: &mut dyn Transaction,
    staged: Vec<(String, String, Vec<u8>)>,
) -> Result<bool, RegistryError> {
    for (kind, id, text) in staged {
        let kind = EntityKind::named(&kind)
            .ok_or_else(|| RegistryError::Corrupt("unknown kind of entity".into()))?;
        let entity = json::parse_as(kind, &id, &text)?;
        if let Some(ImportConflict::Taken(_)) = find_conflict(tx, &entity).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns the locks, quotas and throttles that were created on the copy after a change.
pub(super) async fn unguarded(
    conn: &mut SqliteConnection,
    base: Seq,
) -> Result<Vec<(String, String, Vec<u8>)>, RegistryError> {
    query_as(
        "SELECT kind, entity_id, record FROM staged.change
         WHERE seq > $1 AND kind IN ('lock', 'quota', 'throttle')",
    )
    .bind(base.cast_signed())
    .fetch_all(conn)
    .await
    .map_err(fault)
}

/// Inserts the entities that were created on the attached copy after change `base`. The store's last change is `last`
/// with the given hash. Returns the number and the hash of the new last change.
pub(super) async fn insert_copied(
    conn: &mut SqliteConnection,
    base: Seq,
    last: Seq,
    hash: hash_chain::Hash,
) -> Result<(Seq, hash_chain::Hash), RegistryError> {
    let base = base.cast_signed();
    let only_makes: bool =
        query_scalar("SELECT NOT EXISTS (SELECT 1 FROM staged.change WHERE seq > $1 AND verb <> 'created')")
            .bind(base)
            .fetch_one(&mut *conn)
            .await
            .map_err(fault)?;
    if !only_makes {
        return Err(RegistryError::Corrupt("bulk work changed or deleted an entity".into()));
    }
    for kind in EntityKind::ALL {
        let insert_error = |error: sqlx::Error| match &error {
            sqlx::Error::Database(it) if it.is_foreign_key_violation() => RegistryError::Conflict,
            _ => fault(error),
        };
        query(insert(kind)).bind(base).execute(&mut *conn).await.map_err(insert_error)?;
    }
    for sql in OTHERS {
        query(*sql).execute(&mut *conn).await.map_err(fault)?;
    }
    query(
        "INSERT INTO main.change SELECT seq + $2, at, actor, verb, kind, entity_id, record FROM staged.change
         WHERE seq > $1 ORDER BY seq",
    )
    .bind(base)
    .bind(last.cast_signed() - base)
    .execute(&mut *conn)
    .await
    .map_err(fault)?;
    let hash = hash_chain::extend(conn, last, hash).await?;
    Ok((super::queries::last_seq(conn).await?, hash))
}

/// Returns the statement that inserts the entities of a kind. The copy has the same columns as the store, in the same
/// order.
fn insert(kind: EntityKind) -> &'static str {
    macro_rules! of {
        ($kind:literal) => {
            concat!(
                "INSERT INTO main.\"",
                $kind,
                "\" SELECT * FROM staged.\"",
                $kind,
                "\" WHERE id IN (SELECT entity_id FROM staged.change WHERE seq > $1 AND kind = '",
                $kind,
                "')"
            )
        };
    }
    match kind {
        EntityKind::Tenant => of!("tenant"),
        EntityKind::Plan => of!("plan"),
        EntityKind::Quota => of!("quota"),
        EntityKind::Caller => of!("caller"),
        EntityKind::Credential => of!("credential"),
        EntityKind::Lock => of!("lock"),
        EntityKind::Grant => of!("grant"),
        EntityKind::Throttle => of!("throttle"),
    }
}

/// Statements for data outside of the change log: the greatest fence, last uses and stored responses.
const OTHERS: &[&str] = &[
    "UPDATE main.fence SET last = max(last, (SELECT last FROM staged.fence))",
    "INSERT INTO main.credential_use SELECT credential, at FROM staged.credential_use AS it
     WHERE EXISTS (SELECT 1 FROM main.credential WHERE id = it.credential)
     AND at > coalesce((SELECT at FROM main.credential_use WHERE credential = it.credential), -1)
     ON CONFLICT DO UPDATE SET at = max(at, excluded.at)",
    "INSERT OR IGNORE INTO main.answered SELECT * FROM staged.answered",
];
