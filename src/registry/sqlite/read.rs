//! What is asked of the file, within a transaction or outside.

use jiff::Timestamp;
use sqlx::{QueryBuilder, SqliteConnection, query_as, query_scalar, sqlite::SqliteArguments};

use super::{
    fault::fault,
    record::{Record, parse, parse_as},
};
use crate::{
    app::{
        Actor, Caller, CallerId, Change, Credential, CredentialId, Entity, Kind, Lock, LockId, Plan, PlanId,
        Seq, Tenant, TenantId, Verb,
    },
    registry::{Callers, Credentials, Fault},
};

/// How many rows are held at once, as read.
const PAGE: u32 = 1_000;

/// An id and a record. Bytes, because text that is no UTF-8 must be traced to its row too.
type Row = (String, Vec<u8>);
type Query<'q> = sqlx::query::QueryAs<'q, sqlx::Sqlite, Row, SqliteArguments>;

async fn one<T: Record>(conn: &mut SqliteConnection, query: Query<'_>) -> Result<Option<T>, Fault> {
    let row = query.fetch_optional(conn).await.map_err(fault)?;
    row.map(|(id, text)| parse(&id, &text)).transpose()
}

async fn all<T: Record>(conn: &mut SqliteConnection, query: Query<'_>) -> Result<Vec<T>, Fault> {
    let rows = query.fetch_all(conn).await.map_err(fault)?;
    rows.into_iter().map(|(id, text)| parse(&id, &text)).collect()
}

pub(super) async fn tenant(conn: &mut SqliteConnection, id: &TenantId) -> Result<Option<Tenant>, Fault> {
    let query = query_as("SELECT id, record FROM tenant WHERE id = $1").bind(id.as_str());
    one(conn, query).await
}

pub(super) async fn gateway(
    conn: &mut SqliteConnection,
    project_id: &str,
    instance_id: &str,
) -> Result<Option<Tenant>, Fault> {
    let query = query_as("SELECT id, record FROM tenant WHERE project_id = $1 AND instance_id = $2")
        .bind(project_id)
        .bind(instance_id);
    one(conn, query).await
}

pub(super) async fn caller(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    id: &CallerId,
) -> Result<Option<Caller>, Fault> {
    let query = query_as("SELECT id, record FROM caller WHERE tenant = $1 AND id = $2")
        .bind(tenant.as_str())
        .bind(id.as_str());
    one(conn, query).await
}

pub(super) async fn credential(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    id: &CredentialId,
) -> Result<Option<Credential>, Fault> {
    let query = query_as("SELECT id, record FROM credential WHERE id = $1 AND tenant = $2")
        .bind(id.as_str())
        .bind(tenant.as_str());
    one(conn, query).await
}

pub(super) async fn credentials_of(
    conn: &mut SqliteConnection,
    caller: &Caller,
) -> Result<Vec<Credential>, Fault> {
    let query = query_as("SELECT id, record FROM credential WHERE tenant = $1 AND caller = $2 ORDER BY id")
        .bind(caller.tenant.as_str())
        .bind(caller.id.as_str());
    all(conn, query).await
}

pub(super) async fn callers(conn: &mut SqliteConnection, which: &Callers) -> Result<Vec<Caller>, Fault> {
    let mut query = QueryBuilder::new("SELECT id, record FROM caller WHERE id > ");
    query.push_bind(which.after.as_ref().map_or("", CallerId::as_str));
    if let Some(tenant) = &which.tenant {
        query.push(" AND tenant = ").push_bind(tenant.as_str());
    }
    if let Some(kind) = which.kind {
        query.push(" AND kind = ").push_bind(kind);
    }
    if let Some(name) = &which.name {
        query.push(" AND name = ").push_bind(name);
    }
    if let Some(status) = which.status {
        query.push(" AND record ->> '$.status' = ").push_bind(status.as_str());
    }
    query.push(" ORDER BY id LIMIT ").push_bind(which.limit);
    all(conn, query.build_query_as()).await
}

pub(super) async fn credentials(
    conn: &mut SqliteConnection,
    which: &Credentials,
) -> Result<Vec<Credential>, Fault> {
    let mut query = QueryBuilder::new("SELECT id, record FROM credential WHERE id > ");
    query.push_bind(which.after.as_ref().map_or("", CredentialId::as_str));
    if let Some(tenant) = &which.tenant {
        query.push(" AND tenant = ").push_bind(tenant.as_str());
    }
    if let Some(caller) = &which.caller {
        query.push(" AND caller = ").push_bind(caller.as_str());
    }
    query.push(" ORDER BY id LIMIT ").push_bind(which.limit);
    all(conn, query.build_query_as()).await
}

/// A page of everything of a kind, by id.
pub(super) async fn page<T: Record>(
    conn: &mut SqliteConnection,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<T>, Fault> {
    all(conn, query_as(page_of(T::KIND)).bind(after.unwrap_or_default()).bind(limit)).await
}

fn page_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Tenant => "SELECT id, record FROM tenant WHERE id > $1 ORDER BY id LIMIT $2",
        Kind::Plan => "SELECT id, record FROM plan WHERE id > $1 ORDER BY id LIMIT $2",
        Kind::Caller => "SELECT id, record FROM caller WHERE id > $1 ORDER BY id LIMIT $2",
        Kind::Credential => "SELECT id, record FROM credential WHERE id > $1 ORDER BY id LIMIT $2",
        Kind::Lock => "SELECT id, record FROM lock WHERE id > $1 ORDER BY id LIMIT $2",
    }
}

pub(super) async fn plan(conn: &mut SqliteConnection, id: &PlanId) -> Result<Option<Plan>, Fault> {
    one(conn, query_as("SELECT id, record FROM plan WHERE id = $1").bind(id.as_str())).await
}

pub(super) async fn lock(conn: &mut SqliteConnection, id: &LockId) -> Result<Option<Lock>, Fault> {
    one(conn, query_as("SELECT id, record FROM lock WHERE id = $1").bind(id.as_str())).await
}

/// Every lock on a caller: expired ones, and those of other tenants too.
pub(super) async fn locks_on(conn: &mut SqliteConnection, caller: &CallerId) -> Result<Vec<Lock>, Fault> {
    let query = query_as("SELECT id, record FROM lock WHERE caller = $1 ORDER BY id").bind(caller.as_str());
    all(conn, query).await
}

/// Every lock that has expired at `millisecond`, and those that do within it.
pub(super) async fn locks_until(conn: &mut SqliteConnection, millisecond: i64) -> Result<Vec<Lock>, Fault> {
    let query = query_as("SELECT id, record FROM lock WHERE expires_at <= $1 ORDER BY id").bind(millisecond);
    all(conn, query).await
}

pub(super) async fn last_use(
    conn: &mut SqliteConnection,
    id: &CredentialId,
) -> Result<Option<Timestamp>, Fault> {
    let at: Option<i64> = query_scalar("SELECT at FROM credential_use WHERE credential = $1")
        .bind(id.as_str())
        .fetch_optional(conn)
        .await
        .map_err(fault)?;
    let corrupt = |_| Fault::Corrupt(format!("the last use of credential {id} is no time"));
    at.map(Timestamp::from_second).transpose().map_err(corrupt)
}

pub(super) async fn last_seq(conn: &mut SqliteConnection) -> Result<Seq, Fault> {
    let last: i64 =
        query_scalar("SELECT coalesce(max(seq), 0) FROM change").fetch_one(conn).await.map_err(fault)?;
    Ok(last.cast_unsigned())
}

pub(super) async fn changes(
    conn: &mut SqliteConnection,
    after: Seq,
    limit: u32,
) -> Result<Vec<Change>, Fault> {
    type Row = (i64, String, String, String, String, String, Vec<u8>);
    let rows: Vec<Row> = query_as(
        "SELECT seq, at, actor, verb, kind, entity_id, record FROM change
         WHERE seq > $1 ORDER BY seq LIMIT $2",
    )
    .bind(i64::try_from(after).unwrap_or(i64::MAX))
    .bind(limit)
    .fetch_all(conn)
    .await
    .map_err(fault)?;

    let change = |(seq, at, actor, verb, kind, id, text): Row| {
        let corrupt = |what| Fault::Corrupt(format!("change {seq} has no {what} that is known"));
        Ok(Change {
            seq: seq.cast_unsigned(),
            at: at.parse().map_err(|_| corrupt("time"))?,
            actor: Actor(actor),
            verb: Verb::named(&verb).ok_or_else(|| corrupt("verb"))?,
            entity: Kind::named(&kind).ok_or_else(|| corrupt("kind")).and_then(|kind| {
                parse_as(kind, &id, &text).map_err(|fault| match fault {
                    Fault::Corrupt(reason) => Fault::Corrupt(format!("change {seq}: {reason}")),
                    fault => fault,
                })
            })?,
        })
    };
    rows.into_iter().map(change).collect()
}

/// What the change before this one left of the entity.
pub(super) async fn before(conn: &mut SqliteConnection, change: &Change) -> Result<Option<Entity>, Fault> {
    let (kind, id) = (change.entity.kind(), change.entity.id());
    let row: Option<(String, Vec<u8>)> = query_as(
        "SELECT verb, record FROM change WHERE kind = $1 AND entity_id = $2 AND seq < $3
         ORDER BY seq DESC LIMIT 1",
    )
    .bind(kind.as_str())
    .bind(id)
    .bind(i64::try_from(change.seq).unwrap_or(i64::MAX))
    .fetch_optional(conn)
    .await
    .map_err(fault)?;
    let there = row.filter(|(verb, _)| verb != Verb::Deleted.as_str());
    there.map(|(_, text)| parse_as(kind, id, &text)).transpose()
}

/// To be called in a transaction, so that every page and the number are of one moment.
pub(super) async fn everything(
    conn: &mut SqliteConnection,
    each: &mut (dyn FnMut(Entity) + Send),
) -> Result<Seq, Fault> {
    let seq = last_seq(conn).await?;
    for kind in [Kind::Tenant, Kind::Plan, Kind::Caller, Kind::Credential, Kind::Lock] {
        all_of(conn, kind, each).await?;
    }
    Ok(seq)
}

/// In the order in which the rows lie in the file: by id, which is random, each would be looked for.
async fn all_of(
    conn: &mut SqliteConnection,
    kind: Kind,
    each: &mut (dyn FnMut(Entity) + Send),
) -> Result<(), Fault> {
    let sql = match kind {
        Kind::Tenant => "SELECT rowid, id, record FROM tenant WHERE rowid > $1 ORDER BY rowid LIMIT $2",
        Kind::Plan => "SELECT rowid, id, record FROM plan WHERE rowid > $1 ORDER BY rowid LIMIT $2",
        Kind::Caller => "SELECT rowid, id, record FROM caller WHERE rowid > $1 ORDER BY rowid LIMIT $2",
        Kind::Credential => {
            "SELECT rowid, id, record FROM credential WHERE rowid > $1 ORDER BY rowid LIMIT $2"
        }
        Kind::Lock => "SELECT rowid, id, record FROM lock WHERE rowid > $1 ORDER BY rowid LIMIT $2",
    };
    let mut after = i64::MIN;
    loop {
        let rows: Vec<(i64, String, Vec<u8>)> =
            query_as(sql).bind(after).bind(PAGE).fetch_all(&mut *conn).await.map_err(fault)?;
        for (_, id, text) in &rows {
            each(parse_as(kind, id, text)?);
        }
        match rows.last() {
            Some((last, ..)) => after = *last,
            None => return Ok(()),
        }
    }
}
