//! The identity of the store, its position in its history, and the secrets that it is used with.

use sqlx::{SqliteConnection, query, query_as};

use super::{error::fault, hash_chain, queries, secrets_in_use};
use crate::{
    model::Seq,
    registry::{Mark, RegistryError, SecretCheck},
};

/// Returns the mark of a change. Call this in a transaction, so that all values are of the same moment.
pub(super) async fn mark(conn: &mut SqliteConnection, at: Seq) -> Result<Mark, RegistryError> {
    let (store, epoch): (String, i64) =
        query_as("SELECT id, epoch FROM identity").fetch_one(&mut *conn).await.map_err(fault)?;
    let (last, hash) = (queries::last_seq(conn).await?, hash_chain::hash_of(conn, at).await?);
    Ok(Mark { store, epoch: epoch.cast_unsigned(), last, at, hash })
}

/// Returns the mismatches of the secrets at hand. When there are none, records the secrets that the store does not
/// know.
pub(super) async fn check_secrets(
    conn: &mut SqliteConnection,
    at_hand: &[SecretCheck],
) -> Result<Vec<String>, RegistryError> {
    let known = secrets_in_use::known(conn).await?;
    let (unverified, verified): (Vec<_>, Vec<_>) = known.into_iter().partition(|one| one.2.is_empty());
    let mut misfits = SecretCheck::mismatches(&verified, at_hand);
    misfits.extend(secrets_in_use::missing(conn, verified.iter().chain(&unverified), at_hand).await?);
    if !misfits.is_empty() {
        return Ok(misfits);
    }
    let is_known =
        |check: &&SecretCheck| verified.iter().any(|one| (&*one.0, one.1) == (check.kind, check.version));
    for check in at_hand.iter().filter(|check| !is_known(check)) {
        query("INSERT INTO secret_check (kind, version, value) VALUES ($1, $2, $3) ON CONFLICT DO UPDATE SET value = $3")
            .bind(check.kind)
            .bind(check.version)
            .bind(&check.value)
            .execute(&mut *conn)
            .await
            .map_err(fault)?;
    }
    Ok(misfits)
}

/// Forgets a version of a secret, so that another secret may have its version number.
pub(super) async fn forget_secret(
    conn: &mut SqliteConnection,
    kind: &str,
    version: u32,
) -> Result<(), RegistryError> {
    let forget = query("DELETE FROM secret_check WHERE kind = $1 AND version = $2").bind(kind).bind(version);
    forget.execute(conn).await.map(drop).map_err(fault)
}
