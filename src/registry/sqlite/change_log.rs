//! Queries of the change log. `transaction.rs` writes it.

use sqlx::{SqliteConnection, query_as};

use super::{
    change_row::{ChangeRow, select},
    error::fault,
    hash_chain,
    json::parse_as,
    queries::last_seq,
};
use crate::{
    model::{Actor, Change, ChangeKind, Entity, EntityKind, Seq},
    registry::{ChangeFilter, ChangeWithPrevious, History, RegistryError},
};

impl ChangeRow {
    fn read(self) -> Result<Change, RegistryError> {
        let seq = self.seq;
        let corrupt = |what| RegistryError::Corrupt(format!("change {seq} has an unknown {what}"));
        let kind = EntityKind::named(&self.kind).ok_or_else(|| corrupt("kind"))?;
        Ok(Change {
            seq: seq.cast_unsigned(),
            at: self.at.parse().map_err(|_| corrupt("time"))?,
            actor: Actor::recorded(self.actor),
            verb: ChangeKind::named(&self.verb).ok_or_else(|| corrupt("verb"))?,
            entity: parse_as(kind, &self.entity_id, &self.record).map_err(|fault| match fault {
                RegistryError::Corrupt(reason) => RegistryError::Corrupt(format!("change {seq}: {reason}")),
                fault => fault,
            })?,
        })
    }
}

fn number(seq: Seq) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

pub(super) async fn changes(
    conn: &mut SqliteConnection,
    after: Seq,
    limit: u32,
) -> Result<Vec<Change>, RegistryError> {
    let mut query = select(" FROM change WHERE seq > ");
    query.push_bind(number(after)).push(" ORDER BY seq LIMIT ").push_bind(limit);
    let rows: Vec<ChangeRow> = query.build_query_as().fetch_all(conn).await.map_err(fault)?;
    rows.into_iter().map(ChangeRow::read).collect()
}

/// Returns the entity as the previous change of it left it.
pub(super) async fn before(
    conn: &mut SqliteConnection,
    change: &Change,
) -> Result<Option<Entity>, RegistryError> {
    let (kind, id) = (change.entity.kind(), change.entity.id());
    let row: Option<(String, Vec<u8>)> = query_as(
        "SELECT verb, record FROM change WHERE kind = $1 AND entity_id = $2 AND seq < $3
         ORDER BY seq DESC LIMIT 1",
    )
    .bind(kind.as_str())
    .bind(id)
    .bind(number(change.seq))
    .fetch_optional(conn)
    .await
    .map_err(fault)?;
    let there = row.filter(|(verb, _)| verb != ChangeKind::Deleted.as_str());
    there.map(|(_, text)| parse_as(kind, id, &text)).transpose()
}

/// Returns a page of the change log. Call this in a transaction, so that all data is of the same moment.
pub(super) async fn history(
    conn: &mut SqliteConnection,
    filter: &ChangeFilter,
) -> Result<History, RegistryError> {
    let last = last_seq(conn).await?;
    let mut query = select(" FROM change WHERE seq > ");
    query.push_bind(number(filter.after)).push(" AND seq <= ").push_bind(number(filter.until(last)));
    if let Some(kind) = filter.kind {
        query.push(" AND kind = ").push_bind(kind.as_str());
    } else if filter.id.is_some() {
        // The index on changes begins with the kind: listing all kinds lets the lookup by id use it.
        query.push(" AND kind IN (");
        let mut kinds = query.separated(", ");
        for kind in EntityKind::ALL {
            kinds.push_bind(kind.as_str());
        }
        query.push(")");
    }
    if let Some(id) = &filter.id {
        query.push(" AND entity_id = ").push_bind(id);
    }
    if let Some(actor) = &filter.actor {
        let from = format!("{actor}{}", Actor::ADDRESS_SEPARATOR);
        query
            .push(" AND (actor = ")
            .push_bind(actor)
            .push(" OR substr(actor, 1, length(")
            .push_bind(from.clone());
        query.push(")) = ").push_bind(from).push(")");
    }
    query.push(" ORDER BY seq LIMIT ").push_bind(filter.limit);
    let rows: Vec<ChangeRow> = query.build_query_as().fetch_all(&mut *conn).await.map_err(fault)?;
    let mut changes = Vec::with_capacity(rows.len());
    for row in rows {
        let change = row.read()?;
        let (before, hash) = (before(conn, &change).await?, hash_chain::hash_of(conn, change.seq).await?);
        changes.push(ChangeWithPrevious { change, before, hash });
    }
    let next = filter.next(&changes, last);
    Ok(History { changes, next })
}
