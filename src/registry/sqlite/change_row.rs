//! Rows of the change log.

use sqlx::{FromRow, QueryBuilder, Sqlite};

/// A change as stored in the file. The record is in bytes, so that text that is not UTF-8 can be reported with its row.
#[derive(FromRow)]
pub(super) struct ChangeRow {
    pub(super) seq: i64,
    pub(super) at: String,
    pub(super) actor: String,
    pub(super) verb: String,
    pub(super) kind: String,
    pub(super) entity_id: String,
    pub(super) record: Vec<u8>,
}

/// Begins a query for [`ChangeRow`]s; `rest` continues after the list of columns, with further columns or `FROM`.
pub(super) fn select(rest: &'static str) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new("SELECT seq, at, actor, verb, kind, entity_id, record");
    query.push(rest);
    query
}
