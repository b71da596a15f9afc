//! A store as of one change, read page by page.

use async_trait::async_trait;

use super::{error::fault, queries};
use crate::{
    model::{EntityKind, Seq},
    registry::{RegistryError, SnapshotPage, SnapshotReader},
};

/// A transaction that reads, and how far it has read. As long as it is open, the write-ahead log keeps what is
/// written since.
pub(super) struct SqliteSnapshot {
    tx: sqlx::Transaction<'static, sqlx::Sqlite>,
    seq: Seq,
    /// How many kinds are read to their end; behind the last come the uses, and then nothing.
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
