//! Reads a store page by page, as of one change.

use async_trait::async_trait;

use super::{error::fault, queries};
use crate::{
    model::{EntityKind, Seq},
    registry::{RegistryError, SnapshotPage, SnapshotReader},
};

/// A read transaction with its progress. While it is open, the write-ahead log cannot be truncated and keeps all later
/// changes.
pub(super) struct SqliteSnapshot {
    tx: sqlx::Transaction<'static, sqlx::Sqlite>,
    seq: Seq,
    /// The number of kinds that are read completely. The last uses follow the last kind.
    done: usize,
    after: i64,
}

impl SqliteSnapshot {
    pub(super) async fn open(readers: &sqlx::SqlitePool) -> Result<Self, RegistryError> {
        let mut tx = readers.begin().await.map_err(fault)?;
        let seq = queries::last_seq(&mut tx).await?;
        Ok(Self { tx, seq, done: 0, after: queries::START })
    }
}

#[async_trait]
impl SnapshotReader for SqliteSnapshot {
    fn seq(&self) -> Seq {
        self.seq
    }

    async fn next(&mut self) -> Result<SnapshotPage, RegistryError> {
        let mut page = SnapshotPage::default();
        while self.done <= EntityKind::ALL.len() {
            let last = if let Some(kind) = EntityKind::ALL.get(self.done) {
                let each = &mut |entity| page.entities.push(entity);
                queries::rows(&mut self.tx, *kind, self.after, each).await?
            } else {
                let each = &mut |id, at| page.uses.push((id, at));
                queries::uses(&mut self.tx, self.after, each).await?
            };
            if let Some(last) = last {
                self.after = last;
                break;
            }
            (self.done, self.after) = (self.done + 1, queries::START);
        }
        Ok(page)
    }
}
