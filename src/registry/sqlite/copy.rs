//! Copies a store as of one moment, while other clients write to it.

use std::path::Path;

use sqlx::{ConnectOptions, Connection, SqliteConnection, query, query_scalar, sqlite::SqliteConnectOptions};

use super::{error::fault, queries};
use crate::{model::Seq, registry::RegistryError};

/// Copies a store into an empty file, which keeps its mode. Returns the number of the last change in the copy. The copy
/// is a single file without a write-ahead log. It is not synced.
///
/// The copy has the next epoch. A program that uses the store detects by the epoch that the store was replaced by the
/// copy and has gone back.
///
/// # Errors
/// [`RegistryError::Unavailable`] when a file cannot be read or written; [`RegistryError::Corrupt`] when it is not a store.
pub async fn copy(store: &Path, to: &Path) -> Result<Seq, RegistryError> {
    let absolute = |path: &Path| {
        std::path::absolute(path)
            .map_err(|error| RegistryError::Unavailable(format!("{}: {error}", path.display())))
    };
    let (store, to) = (absolute(store)?, absolute(to)?);
    vacuum_into(&store, &to).await?;
    let mut copy = connect(&to).await?;
    // A store of an earlier version has no epoch yet.
    let has_epoch: bool = query_scalar("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'identity')")
        .fetch_one(&mut copy)
        .await
        .map_err(fault)?;
    if has_epoch {
        query("UPDATE identity SET epoch = epoch + 1").execute(&mut copy).await.map_err(fault)?;
    }
    let last = queries::last_seq(&mut copy).await?;
    copy.close().await.map_err(fault)?;
    Ok(last)
}

/// Copies a store unchanged into an empty file. Both paths must be absolute.
pub(super) async fn vacuum_into(store: &Path, to: &Path) -> Result<(), RegistryError> {
    let name =
        to.to_str().ok_or_else(|| RegistryError::Unavailable("the name of the copy is not UTF-8".into()))?;
    let mut conn = connect(store).await?;
    let copied = query("VACUUM INTO $1").bind(name).execute(&mut conn).await.map_err(fault);
    conn.close().await.map_err(fault)?;
    copied.map(drop)
}

async fn connect(file: &Path) -> Result<SqliteConnection, RegistryError> {
    SqliteConnectOptions::new().filename(file).connect().await.map_err(fault)
}
