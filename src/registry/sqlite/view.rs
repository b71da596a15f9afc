//! A store as of one change, read page by page.

use async_trait::async_trait;

use super::{fault::fault, read};
use crate::{
    app::{Kind, Seq},
    registry::{Fault, Page, View},
};

/// A transaction that reads, and how far it has read. As long as it is open, the write-ahead log keeps what is
/// written since.
pub(super) struct Reading {
    tx: sqlx::Transaction<'static, sqlx::Sqlite>,
    seq: Seq,
    /// How many kinds are read to their end; behind the last come the uses, and then nothing.
    done: usize,
    after: i64,
}

impl Reading {
    pub(super) async fn of(readers: &sqlx::SqlitePool) -> Result<Self, Fault> {
        let mut tx = readers.begin().await.map_err(fault)?;
        let seq = read::last_seq(&mut tx).await?;
        Ok(Self { tx, seq, done: 0, after: read::START })
    }
}

#[async_trait]
impl View for Reading {
    fn seq(&self) -> Seq {
        self.seq
    }

    async fn next(&mut self) -> Result<Page, Fault> {
        let mut page = Page::default();
        while self.done <= Kind::ALL.len() {
            let last = if let Some(kind) = Kind::ALL.get(self.done) {
                let each = &mut |entity| page.entities.push(entity);
                read::rows(&mut self.tx, *kind, self.after, each).await?
            } else {
                let each = &mut |id, at| page.uses.push((id, at));
                read::uses(&mut self.tx, self.after, each).await?
            };
            if let Some(last) = last {
                self.after = last;
                break;
            }
            (self.done, self.after) = (self.done + 1, read::START);
        }
        Ok(page)
    }
}
