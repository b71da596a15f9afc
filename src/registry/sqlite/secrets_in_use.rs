//! The versions of secrets that entities in the store need.

use sqlx::{SqliteConnection, query, query_as};

use super::error::fault;
use crate::registry::{RegistryError, SecretCheck};

/// The number of entities that need each version of each kind. A record that cannot be read needs none.
const IN_USE: &str = "
    SELECT kind, version, count(*) FROM (
        SELECT 'pepper' AS kind, json_extract(record, '$.pepper') AS version
            FROM credential WHERE json_valid(record)
        UNION ALL
        SELECT 'seal key', coalesce(
                json_extract(record, '$.kind.app_code.key'), json_extract(record, '$.kind.signing.key'))
            FROM credential WHERE json_valid(record)
        UNION ALL
        SELECT 'seal key', json_extract(record, '$.kind.app.secret.key')
            FROM caller WHERE json_valid(record)
    ) WHERE typeof(version) = 'integer' GROUP BY kind, version ORDER BY kind, version";

/// The versions that the store knows, by kind, version and check value. The value is empty for a version that entities
/// needed before the store knew any.
pub(super) async fn known(conn: &mut SqliteConnection) -> Result<Vec<(String, u32, String)>, RegistryError> {
    let known = read_known(conn).await?;
    if !known.is_empty() {
        return Ok(known);
    }
    for (kind, version, _) in in_use(conn).await? {
        query("INSERT INTO secret_check (kind, version, value) VALUES ($1, $2, '')")
            .bind(kind)
            .bind(version)
            .execute(&mut *conn)
            .await
            .map_err(fault)?;
    }
    read_known(conn).await
}

async fn read_known(conn: &mut SqliteConnection) -> Result<Vec<(String, u32, String)>, RegistryError> {
    let known = query_as("SELECT kind, version, value FROM secret_check ORDER BY kind, version");
    known.fetch_all(&mut *conn).await.map_err(fault)
}

async fn in_use(conn: &mut SqliteConnection) -> Result<Vec<(String, u32, i64)>, RegistryError> {
    query_as(IN_USE).fetch_all(&mut *conn).await.map_err(fault)
}

/// Returns a sentence for each known version that is not at hand and that entities need.
///
/// Entities are only counted when a version is not at hand: every version that they need is a known one, as secrets are
/// checked before they are used.
pub(super) async fn missing<'a>(
    conn: &mut SqliteConnection,
    known: impl Iterator<Item = &'a (String, u32, String)>,
    at_hand: &[SecretCheck],
) -> Result<Vec<String>, RegistryError> {
    let is_at_hand =
        |kind: &str, version: u32| at_hand.iter().any(|check| (check.kind, check.version) == (kind, version));
    let absent: Vec<_> = known.filter(|(kind, version, _)| !is_at_hand(kind, *version)).collect();
    if absent.is_empty() {
        return Ok(Vec::new());
    }
    let mut missing = Vec::new();
    for (kind, version, count) in in_use(conn).await? {
        if absent.iter().any(|one| (&one.0, one.1) == (&kind, version)) {
            let need = if count == 1 {
                "1 entry of the store needs".into()
            } else {
                format!("{count} entries of the store need")
            };
            missing.push(format!("{kind} {version} is missing, which {need}"));
        }
    }
    Ok(missing)
}
