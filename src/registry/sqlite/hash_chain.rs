//! The hash chain of the change log, and its verification.

use sha2::{Digest, Sha256};
use sqlx::{FromRow, QueryBuilder, SqliteConnection, query, query_as, query_scalar};

use super::{
    change_row::{ChangeRow, select},
    error::fault,
};
use crate::{
    model::{EntityKind, Seq},
    registry::RegistryError,
};

/// A hash of the chain.
pub(super) type Hash = [u8; 32];

/// The hash before the first change.
pub(super) const START: Hash = [0; 32];

/// The number of changes that are read at once.
const PAGE: i64 = 1_000;

/// A change with its hash, if it has one.
#[derive(FromRow)]
struct HashedRow {
    #[sqlx(flatten)]
    change: ChangeRow,
    hash: Option<Vec<u8>>,
}

/// The parts of a change in the order in which they are hashed.
pub(super) struct Parts<'a> {
    pub(super) seq: i64,
    pub(super) at: &'a str,
    pub(super) actor: &'a str,
    pub(super) verb: &'a str,
    pub(super) kind: &'a str,
    pub(super) entity_id: &'a str,
    pub(super) record: &'a [u8],
}

/// Returns the SHA-256 over the previous hash, the number (8 bytes, big-endian), and each other part preceded by its
/// length (8 bytes, big-endian).
pub(super) fn hash_change(before: &Hash, change: &Parts<'_>) -> Hash {
    let mut hash = Sha256::new();
    hash.update(before);
    hash.update(change.seq.to_be_bytes());
    let texts = [change.at, change.actor, change.verb, change.kind, change.entity_id].map(str::as_bytes);
    for part in texts.into_iter().chain([change.record]) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

impl ChangeRow {
    fn link(&self, before: &Hash) -> Hash {
        let Self { seq, at, actor, verb, kind, entity_id, record } = self;
        hash_change(before, &Parts { seq: *seq, at, actor, verb, kind, entity_id, record })
    }
}

/// Returns the number and the hash of the last change that has a hash.
pub(super) async fn head(conn: &mut SqliteConnection) -> Result<(Seq, Hash), RegistryError> {
    let row: Option<(i64, Vec<u8>)> = query_as("SELECT seq, hash FROM change_hash ORDER BY seq DESC LIMIT 1")
        .fetch_optional(conn)
        .await
        .map_err(fault)?;
    let Some((seq, hash)) = row else { return Ok((0, START)) };
    let hash = hash
        .try_into()
        .map_err(|_| RegistryError::Corrupt(format!("the hash of change {seq} is invalid")))?;
    Ok((seq.cast_unsigned(), hash))
}

/// Returns the hash of a change.
pub(super) async fn hash_of(conn: &mut SqliteConnection, seq: Seq) -> Result<Option<Hash>, RegistryError> {
    let hash: Option<Vec<u8>> = query_scalar("SELECT hash FROM change_hash WHERE seq = $1")
        .bind(i64::try_from(seq).unwrap_or(i64::MAX))
        .fetch_optional(conn)
        .await
        .map_err(fault)?;
    let hash = hash.map(Hash::try_from).transpose();
    hash.map_err(|_| RegistryError::Corrupt(format!("the hash of change {seq} is invalid")))
}

/// Writes the hash of a change.
pub(super) async fn write(conn: &mut SqliteConnection, seq: i64, hash: &Hash) -> Result<(), RegistryError> {
    let row = query("INSERT INTO change_hash (seq, hash) VALUES ($1, $2)").bind(seq).bind(&hash[..]);
    row.execute(conn).await.map(drop).map_err(fault)
}

/// Hashes all changes of a store that was created before changes had hashes.
pub(super) async fn backfill(conn: &mut SqliteConnection) -> Result<(), RegistryError> {
    extend(conn, 0, START).await.map(drop)
}

/// Hashes the changes after one with the given hash. Returns the last hash.
pub(super) async fn extend(
    conn: &mut SqliteConnection,
    after: Seq,
    hash: Hash,
) -> Result<Hash, RegistryError> {
    let (mut after, mut hash) = (after.cast_signed(), hash);
    loop {
        let rows = page(conn, after).await?;
        let Some(end) = rows.last().map(|row| row.change.seq) else { return Ok(hash) };
        let mut hashes = Vec::with_capacity(rows.len());
        for row in &rows {
            hash = row.change.link(&hash);
            hashes.push((row.change.seq, hash));
        }
        // Single inserts would take most of the time of bulk work.
        let mut insert = QueryBuilder::new("INSERT INTO change_hash (seq, hash) ");
        insert.push_values(hashes, |mut row, (seq, hash)| {
            row.push_bind(seq).push_bind(hash.to_vec());
        });
        insert.build().execute(&mut *conn).await.map_err(fault)?;
        after = end;
    }
}

async fn page(conn: &mut SqliteConnection, after: i64) -> Result<Vec<HashedRow>, RegistryError> {
    let mut query = select(", hash FROM change LEFT JOIN change_hash USING (seq) WHERE seq > ");
    query.push_bind(after).push(" ORDER BY seq LIMIT ").push_bind(PAGE);
    query.build_query_as().fetch_all(conn).await.map_err(fault)
}

/// The result of a successful verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// The number of changes.
    pub changes: Seq,
    /// The hash of the last change, which covers all changes before it. Recorded elsewhere, it later proves that none
    /// of them was altered.
    pub head: [u8; 32],
}

/// Verifies that no change was altered or removed, and that the tables match the change log. Call this in a
/// transaction, so that all data is of the same moment.
///
/// # Errors
/// [`RegistryError::Corrupt`] describes the first violation.
pub(super) async fn verify(conn: &mut SqliteConnection) -> Result<Verification, RegistryError> {
    let (mut changes, mut hash) = (0, START);
    loop {
        let rows = page(conn, changes).await?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            changes += 1;
            if row.change.seq != changes {
                return Err(RegistryError::Corrupt(format!("change {changes} is missing")));
            }
            if row.hash.is_none() {
                return Err(RegistryError::Corrupt(format!(
                    "change {changes} has no hash: it was not written by this program"
                )));
            }
            hash = row.change.link(&hash);
            if row.hash.as_deref() != Some(&hash[..]) {
                return Err(RegistryError::Corrupt(format!("change {changes} does not match its hash")));
            }
        }
    }
    let hashed = head(conn).await?.0.cast_signed();
    if hashed != changes {
        return Err(RegistryError::Corrupt(format!("changes {} to {hashed} are missing", changes + 1)));
    }
    for kind in EntityKind::ALL {
        tables_hold_the_changes(conn, kind).await?;
    }
    verify_last_fence(conn).await?;
    Ok(Verification { changes: changes.cast_unsigned(), head: hash })
}

/// Verifies that the stored last fence is the greatest fence in the change log.
async fn verify_last_fence(conn: &mut SqliteConnection) -> Result<(), RegistryError> {
    let question = "SELECT last = (SELECT coalesce(max(record ->> '$.fence'), 0) FROM change
         WHERE kind = 'lock' AND json_valid(record)) FROM fence";
    let is_greatest: Option<bool> = query_scalar(question).fetch_optional(conn).await.map_err(fault)?;
    let corrupt = || RegistryError::Corrupt("the last fence is not the greatest of the change log".into());
    is_greatest.filter(|is_greatest| *is_greatest).map(drop).ok_or_else(corrupt)
}

/// Returns two queries for a kind: for an entity that differs from its last change, and for one that is missing.
macro_rules! questions {
    ($kind:literal) => {
        (
            concat!(
                "SELECT id FROM \"",
                $kind,
                "\" AS it WHERE record IS NOT (SELECT iif(verb = 'deleted', NULL, record)
                 FROM change WHERE kind = '",
                $kind,
                "' AND entity_id = it.id ORDER BY seq DESC LIMIT 1) LIMIT 1"
            ),
            concat!(
                "SELECT entity_id FROM change AS it WHERE kind = '",
                $kind,
                "' AND verb <> 'deleted'
                 AND NOT EXISTS (SELECT 1 FROM \"",
                $kind,
                "\" WHERE id = it.entity_id)
                 AND NOT EXISTS (SELECT 1 FROM change AS later WHERE later.kind = it.kind
                 AND later.entity_id = it.entity_id AND later.seq > it.seq) LIMIT 1"
            ),
        )
    };
}

/// Returns a query for an entity whose columns differ from its record, which is what the hashes protect. The columns
/// are those of [`row`](super::columns). A lock's `expires_at` is only an index and decides nothing.
fn misplaced(kind: EntityKind) -> &'static str {
    match kind {
        EntityKind::Tenant => {
            "SELECT id FROM tenant WHERE (id, revision, project_id, instance_id)
             IS NOT (record ->> '$.id', record ->> '$.revision', record ->> '$.gateway.project_id',
             record ->> '$.gateway.instance_id') LIMIT 1"
        }
        EntityKind::Plan => "SELECT id FROM plan WHERE id IS NOT record ->> '$.id' LIMIT 1",
        EntityKind::Caller => {
            "SELECT id FROM caller WHERE (id, revision, tenant, kind, name, app_key, plan, created_at, status,
             creator, quota)
             IS NOT (record ->> '$.id', record ->> '$.revision', record ->> '$.tenant',
             iif(json_type(record, '$.kind') = 'object', (SELECT key FROM json_each(record, '$.kind')),
             record ->> '$.kind'), record ->> '$.name', record ->> '$.kind.app.key', record ->> '$.plan',
             rtrim(record ->> '$.created_at', 'Z'), record ->> '$.status', record ->> '$.kind.app.creator',
             record ->> '$.kind.app.quota.id') LIMIT 1"
        }
        EntityKind::Credential => {
            "SELECT id FROM credential WHERE (id, revision, tenant, caller, digest)
             IS NOT (record ->> '$.id', record ->> '$.revision', record ->> '$.tenant', record ->> '$.caller',
             record ->> '$.digest') LIMIT 1"
        }
        EntityKind::Lock => {
            "SELECT id FROM lock WHERE (id, tenant, caller, path, owner, holder)
             IS NOT (record ->> '$.id', record ->> '$.tenant', record ->> '$.target.caller',
             record ->> '$.target.resource', record ->> '$.owner',
             coalesce(record ->> '$.holder', record ->> '$.owner')) LIMIT 1"
        }
        EntityKind::Grant => {
            "SELECT id FROM \"grant\" WHERE (id, tenant, caller, route, environment, created_at)
             IS NOT (record ->> '$.id', record ->> '$.tenant', record ->> '$.caller', record ->> '$.route',
             record ->> '$.environment', rtrim(record ->> '$.created_at', 'Z')) LIMIT 1"
        }
        EntityKind::Quota => {
            "SELECT id FROM quota WHERE (id, tenant, name)
             IS NOT (record ->> '$.id', record ->> '$.tenant', record ->> '$.name') LIMIT 1"
        }
        EntityKind::Throttle => {
            "SELECT id FROM throttle WHERE (id, tenant, name)
             IS NOT (record ->> '$.id', record ->> '$.tenant', record ->> '$.name') LIMIT 1"
        }
    }
}

/// Verifies that the table of a kind holds exactly the entities of the change log in their last state.
async fn tables_hold_the_changes(conn: &mut SqliteConnection, kind: EntityKind) -> Result<(), RegistryError> {
    let (altered, missing) = match kind {
        EntityKind::Tenant => questions!("tenant"),
        EntityKind::Plan => questions!("plan"),
        EntityKind::Caller => questions!("caller"),
        EntityKind::Credential => questions!("credential"),
        EntityKind::Lock => questions!("lock"),
        EntityKind::Grant => questions!("grant"),
        EntityKind::Quota => questions!("quota"),
        EntityKind::Throttle => questions!("throttle"),
    };
    let (questions, kind) = ([altered, missing, misplaced(kind)], kind.as_str());
    let what =
        ["differs from its last change", "is not in its table", "has columns that differ from its record"];
    for (question, what) in questions.into_iter().zip(what) {
        let found: Option<String> = query_scalar(question).fetch_optional(&mut *conn).await.map_err(fault)?;
        if let Some(id) = found {
            return Err(RegistryError::Corrupt(format!("{kind} {id:?} {what}")));
        }
    }
    Ok(())
}
