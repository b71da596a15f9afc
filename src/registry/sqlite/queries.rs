//! Queries of the file, within a transaction or outside of one.

use jiff::Timestamp;
use sqlx::{QueryBuilder, SqliteConnection, query_as, query_scalar, sqlite::SqliteArguments};

use super::{
    error::fault,
    json::{Record, parse, parse_as},
};
use crate::{
    model::{
        ADMIN_TENANT, Caller, CallerId, CallerKind, Credential, CredentialId, Entity, EntityKind, Lock,
        LockId, LockTarget, Plan, PlanId, Role, Seq, Tenant, TenantId,
    },
    registry::{
        CallerFilter, CredentialFilter, Order, RegistryError, StoredResponse, TenantFilter, Unreadable,
    },
};

/// The number of rows that are held in memory at once.
const PAGE: u32 = 1_000;

/// An id and a record. The record is in bytes, so that text that is not UTF-8 can be reported with its row.
pub(super) type Row = (String, Vec<u8>);
pub(super) type Query<'q> = sqlx::query::QueryAs<'q, sqlx::Sqlite, Row, SqliteArguments>;

pub(super) async fn one<T: Record>(
    conn: &mut SqliteConnection,
    query: Query<'_>,
) -> Result<Option<T>, RegistryError> {
    let row = query.fetch_optional(conn).await.map_err(fault)?;
    row.map(|(id, text)| parse(&id, &text)).transpose()
}

pub(super) async fn all<T: Record>(
    conn: &mut SqliteConnection,
    query: Query<'_>,
) -> Result<Vec<T>, RegistryError> {
    let rows = query.fetch_all(conn).await.map_err(fault)?;
    rows.into_iter().map(|(id, text)| parse(&id, &text)).collect()
}

pub(super) async fn tenant(
    conn: &mut SqliteConnection,
    id: &TenantId,
) -> Result<Option<Tenant>, RegistryError> {
    let query = query_as("SELECT id, record FROM tenant WHERE id = $1").bind(id.as_str());
    one(conn, query).await
}

pub(super) async fn tenants(
    conn: &mut SqliteConnection,
    filter: &TenantFilter,
) -> Result<Vec<Tenant>, RegistryError> {
    let mut query = QueryBuilder::new("SELECT id, record FROM tenant WHERE id > ");
    query.push_bind(filter.after.as_ref().map_or("", TenantId::as_str));
    if let Some(name) = &filter.name {
        query.push(" AND record ->> '$.name' = ").push_bind(name);
    }
    if let Some(standing) = filter.standing {
        query.push(" AND record ->> '$.standing' = ").push_bind(standing.as_str());
    }
    query.push(" ORDER BY id LIMIT ").push_bind(filter.limit);
    all(conn, query.build_query_as()).await
}

pub(super) async fn gateway(
    conn: &mut SqliteConnection,
    project_id: &str,
    instance_id: &str,
) -> Result<Option<Tenant>, RegistryError> {
    let query = query_as("SELECT id, record FROM tenant WHERE project_id = $1 AND instance_id = $2")
        .bind(project_id)
        .bind(instance_id);
    one(conn, query).await
}

pub(super) async fn caller(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    id: &CallerId,
) -> Result<Option<Caller>, RegistryError> {
    let query = query_as("SELECT id, record FROM caller WHERE tenant = $1 AND id = $2")
        .bind(tenant.as_str())
        .bind(id.as_str());
    one(conn, query).await
}

pub(super) async fn credential(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    id: &CredentialId,
) -> Result<Option<Credential>, RegistryError> {
    let query = query_as("SELECT id, record FROM credential WHERE id = $1 AND tenant = $2")
        .bind(id.as_str())
        .bind(tenant.as_str());
    one(conn, query).await
}

pub(super) async fn credentials_of(
    conn: &mut SqliteConnection,
    caller: &Caller,
) -> Result<Vec<Credential>, RegistryError> {
    let query = query_as("SELECT id, record FROM credential WHERE tenant = $1 AND caller = $2 ORDER BY id")
        .bind(caller.tenant.as_str())
        .bind(caller.id.as_str());
    all(conn, query).await
}

/// Returns all administrators.
pub(super) async fn administrators(conn: &mut SqliteConnection) -> Result<Vec<Caller>, RegistryError> {
    let query = query_as("SELECT id, record FROM caller WHERE tenant = $1 AND kind = $2 ORDER BY id")
        .bind(ADMIN_TENANT)
        .bind(CallerKind::Administrator(Role::Owner).name());
    all(conn, query).await
}

pub(super) async fn callers(
    conn: &mut SqliteConnection,
    filter: &CallerFilter,
) -> Result<Vec<Caller>, RegistryError> {
    let mut query = QueryBuilder::new("SELECT id, record FROM caller");
    only(&mut query, filter)?;
    query.push(match filter.order {
        Order::Id => " ORDER BY id LIMIT ",
        Order::Newest => " ORDER BY created_at DESC, id DESC LIMIT ",
    });
    query
        .push_bind(filter.limit)
        .push(" OFFSET ")
        .push_bind(i64::try_from(filter.offset).unwrap_or(i64::MAX));
    all(conn, query.build_query_as()).await
}

pub(super) async fn count_callers(
    conn: &mut SqliteConnection,
    filter: &CallerFilter,
) -> Result<u64, RegistryError> {
    let mut query = QueryBuilder::new("SELECT count(*) FROM caller");
    only(&mut query, filter)?;
    let count: i64 = query.build_query_scalar().fetch_one(conn).await.map_err(fault)?;
    Ok(count.cast_unsigned())
}

/// Adds the conditions of a filter, equivalent to [`CallerFilter::matches`].
fn only(query: &mut QueryBuilder<sqlx::Sqlite>, filter: &CallerFilter) -> Result<(), RegistryError> {
    query.push(" WHERE TRUE");
    if let Some(after) = &filter.after {
        query.push(" AND id > ").push_bind(after.as_str().to_owned());
    }
    if let Some(tenant) = &filter.tenant {
        query.push(" AND tenant = ").push_bind(tenant.as_str().to_owned());
    }
    if let Some(kind) = filter.kind {
        query.push(" AND kind = ").push_bind(kind);
    }
    if let Some(name) = &filter.name {
        query.push(" AND name = ").push_bind(name.clone());
    }
    if let Some(text) = &filter.contains {
        query.push(" AND instr(lower(name), lower(").push_bind(text.clone()).push(")) > 0");
    }
    if let Some(status) = filter.status {
        query.push(" AND status = ").push_bind(status.as_str());
    }
    if let Some(plan) = &filter.plan {
        query.push(" AND plan = ").push_bind(plan.as_str());
    }
    if let Some(key) = &filter.app_key {
        query.push(" AND app_key = ").push_bind(key.clone());
    }
    if let Some(creator) = filter.creator {
        query.push(" AND creator = ").push_bind(creator.as_str());
    }
    if let Some(granted) = filter.granted {
        query.push(if granted { " AND EXISTS" } else { " AND NOT EXISTS" });
        query.push(" (SELECT 1 FROM \"grant\" WHERE \"grant\".caller = caller.id)");
    }
    match &filter.quota {
        None => {}
        Some(None) => drop(query.push(" AND quota IS NULL")),
        Some(Some(quota)) => drop(query.push(" AND quota = ").push_bind(quota.as_str().to_owned())),
    }
    if let Some(ids) = &filter.among {
        let ids = serde_json::to_string(ids).map_err(|error| RegistryError::Corrupt(error.to_string()))?;
        query.push(" AND id IN (SELECT value FROM json_each(").push_bind(ids).push("))");
    }
    Ok(())
}

pub(super) async fn credentials(
    conn: &mut SqliteConnection,
    filter: &CredentialFilter,
) -> Result<Vec<Credential>, RegistryError> {
    let mut query = QueryBuilder::new("SELECT id, record FROM credential WHERE id > ");
    query.push_bind(filter.after.as_ref().map_or("", CredentialId::as_str));
    if let Some(tenant) = &filter.tenant {
        query.push(" AND tenant = ").push_bind(tenant.as_str());
    }
    if let Some(caller) = &filter.caller {
        query.push(" AND caller = ").push_bind(caller.as_str());
    }
    query.push(" ORDER BY id LIMIT ").push_bind(filter.limit);
    all(conn, query.build_query_as()).await
}

/// Returns a page of all entities of a kind, ordered by id.
pub(super) async fn page<T: Record>(
    conn: &mut SqliteConnection,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<T>, RegistryError> {
    all(conn, query_as(page_of(T::KIND)).bind(after.unwrap_or_default()).bind(limit)).await
}

fn page_of(kind: EntityKind) -> &'static str {
    match kind {
        EntityKind::Tenant => "SELECT id, record FROM tenant WHERE id > $1 ORDER BY id LIMIT $2",
        EntityKind::Plan => "SELECT id, record FROM plan WHERE id > $1 ORDER BY id LIMIT $2",
        EntityKind::Caller => "SELECT id, record FROM caller WHERE id > $1 ORDER BY id LIMIT $2",
        EntityKind::Credential => "SELECT id, record FROM credential WHERE id > $1 ORDER BY id LIMIT $2",
        EntityKind::Lock => "SELECT id, record FROM lock WHERE id > $1 ORDER BY id LIMIT $2",
        EntityKind::Grant => "SELECT id, record FROM \"grant\" WHERE id > $1 ORDER BY id LIMIT $2",
        EntityKind::Quota => "SELECT id, record FROM quota WHERE id > $1 ORDER BY id LIMIT $2",
        EntityKind::Throttle => "SELECT id, record FROM throttle WHERE id > $1 ORDER BY id LIMIT $2",
    }
}

pub(super) async fn plan(conn: &mut SqliteConnection, id: &PlanId) -> Result<Option<Plan>, RegistryError> {
    one(conn, query_as("SELECT id, record FROM plan WHERE id = $1").bind(id.as_str())).await
}

pub(super) async fn lock(conn: &mut SqliteConnection, id: &LockId) -> Result<Option<Lock>, RegistryError> {
    one(conn, query_as("SELECT id, record FROM lock WHERE id = $1").bind(id.as_str())).await
}

/// Returns every lock whose target overlaps this one, including expired locks and locks of other tenants.
pub(super) async fn locks_on(
    conn: &mut SqliteConnection,
    target: &LockTarget,
) -> Result<Vec<Lock>, RegistryError> {
    let mut query = QueryBuilder::new("SELECT id, record FROM lock WHERE ");
    match target {
        LockTarget::Caller(id) => {
            query.push("caller = ").push_bind(id.as_str());
        }
        LockTarget::Resource(path) => {
            query.push("path IN (");
            let mut above = query.separated(", ");
            for path in path.ancestors() {
                above.push_bind(path);
            }
            // The paths below this one sort after it with `/` and before it with `0`, the next character.
            let (from, to) = (format!("{}/", path.as_str()), format!("{}0", path.as_str()));
            query.push(") OR (path > ").push_bind(from).push(" AND path < ").push_bind(to).push(")");
            // Earlier versions stored paths unnormalized: rows that may have another normal form are filtered below.
            query.push(" OR path GLOB '*[^-A-Za-z0-9_./~]*'");
        }
    }
    query.push(" ORDER BY id");
    let mut locks: Vec<Lock> = all(conn, query.build_query_as()).await?;
    locks.retain(|lock| lock.target.overlaps(target));
    Ok(locks)
}

/// Returns every lock that expired before `millisecond` or expires within it.
pub(super) async fn locks_until(
    conn: &mut SqliteConnection,
    millisecond: i64,
) -> Result<Vec<Lock>, RegistryError> {
    let query = query_as("SELECT id, record FROM lock WHERE expires_at <= $1 ORDER BY id").bind(millisecond);
    all(conn, query).await
}

/// Returns the stored response of an idempotent request, expired or not.
pub(super) async fn stored_response(
    conn: &mut SqliteConnection,
    key: &[u8; 32],
) -> Result<Option<StoredResponse>, RegistryError> {
    let row: Option<(Vec<u8>, i64, Vec<u8>)> =
        query_as("SELECT fingerprint, expires_at, answer FROM answered WHERE key = $1")
            .bind(&key[..])
            .fetch_optional(conn)
            .await
            .map_err(fault)?;
    let Some((fingerprint, expires_at, answer)) = row else { return Ok(None) };
    let corrupt = || RegistryError::Corrupt("the stored response of an idempotent request is invalid".into());
    let fingerprint = fingerprint.try_into().map_err(|_| corrupt())?;
    let expires_at = Timestamp::from_nanosecond(expires_at.into()).map_err(|_| corrupt())?;
    Ok(Some(StoredResponse { fingerprint, answer, expires_at }))
}

pub(super) async fn last_use(
    conn: &mut SqliteConnection,
    id: &CredentialId,
) -> Result<Option<Timestamp>, RegistryError> {
    let at: Option<i64> = query_scalar("SELECT at FROM credential_use WHERE credential = $1")
        .bind(id.as_str())
        .fetch_optional(conn)
        .await
        .map_err(fault)?;
    let corrupt = |_| RegistryError::Corrupt(format!("the last use of credential {id} is not a time"));
    at.map(Timestamp::from_second).transpose().map_err(corrupt)
}

pub(super) async fn last_seq(conn: &mut SqliteConnection) -> Result<Seq, RegistryError> {
    let last: i64 =
        query_scalar("SELECT coalesce(max(seq), 0) FROM change").fetch_one(conn).await.map_err(fault)?;
    Ok(last.cast_unsigned())
}

/// Passes all entities to `each`. Call this in a transaction, so that all pages and the number are of the same moment.
pub(super) async fn everything(
    conn: &mut SqliteConnection,
    each: &mut (dyn FnMut(Entity) + Send),
) -> Result<Seq, RegistryError> {
    let seq = last_seq(conn).await?;
    for kind in EntityKind::ALL {
        let mut after = START;
        while let Some(last) = rows(conn, kind, after, each).await? {
            after = last;
        }
    }
    Ok(seq)
}

/// Passes all entities to `each`, and reports entities that cannot be read as [`Unreadable`].
pub(super) async fn readable(
    conn: &mut SqliteConnection,
    each: &mut (dyn FnMut(Result<Entity, Unreadable>) + Send),
) -> Result<Seq, RegistryError> {
    let seq = last_seq(conn).await?;
    for kind in EntityKind::ALL {
        let mut after = START;
        while let Some(last) = {
            let rows = rows_of(conn, kind, after).await?;
            for (_, id, text) in &rows {
                let unreadable =
                    |fault: RegistryError| Unreadable { kind, id: id.clone(), reason: fault.to_string() };
                each(parse_as(kind, id, text).map_err(unreadable));
            }
            rows.last().map(|(last, ..)| *last)
        } {
            after = last;
        }
    }
    Ok(seq)
}

/// The position before the first row.
pub(super) const START: i64 = i64::MIN;

/// Passes a page of a kind's rows to `each` and returns the position of the last one, or `None` if there was none. Rows
/// are read in the order of the file: ids are random, so that reading by id would seek for every row.
pub(super) async fn rows(
    conn: &mut SqliteConnection,
    kind: EntityKind,
    after: i64,
    each: &mut (dyn FnMut(Entity) + Send),
) -> Result<Option<i64>, RegistryError> {
    let rows = rows_of(conn, kind, after).await?;
    for (_, id, text) in &rows {
        each(parse_as(kind, id, text)?);
    }
    Ok(rows.last().map(|(last, ..)| *last))
}

/// Returns the positions, ids and records of a page of rows.
async fn rows_of(
    conn: &mut SqliteConnection,
    kind: EntityKind,
    after: i64,
) -> Result<Vec<(i64, String, Vec<u8>)>, RegistryError> {
    let sql = match kind {
        EntityKind::Tenant => "SELECT rowid, id, record FROM tenant WHERE rowid > $1 ORDER BY rowid LIMIT $2",
        EntityKind::Plan => "SELECT rowid, id, record FROM plan WHERE rowid > $1 ORDER BY rowid LIMIT $2",
        EntityKind::Caller => "SELECT rowid, id, record FROM caller WHERE rowid > $1 ORDER BY rowid LIMIT $2",
        EntityKind::Credential => {
            "SELECT rowid, id, record FROM credential WHERE rowid > $1 ORDER BY rowid LIMIT $2"
        }
        EntityKind::Lock => "SELECT rowid, id, record FROM lock WHERE rowid > $1 ORDER BY rowid LIMIT $2",
        EntityKind::Grant => {
            "SELECT rowid, id, record FROM \"grant\" WHERE rowid > $1 ORDER BY rowid LIMIT $2"
        }
        EntityKind::Quota => "SELECT rowid, id, record FROM quota WHERE rowid > $1 ORDER BY rowid LIMIT $2",
        EntityKind::Throttle => {
            "SELECT rowid, id, record FROM throttle WHERE rowid > $1 ORDER BY rowid LIMIT $2"
        }
    };
    query_as(sql).bind(after).bind(PAGE).fetch_all(conn).await.map_err(fault)
}

/// Passes a page of last uses to `each` and returns the position of the last one, or `None` if there was none.
pub(super) async fn uses(
    conn: &mut SqliteConnection,
    after: i64,
    each: &mut (dyn FnMut(CredentialId, Timestamp) + Send),
) -> Result<Option<i64>, RegistryError> {
    let rows: Vec<(i64, String, i64)> =
        query_as("SELECT rowid, credential, at FROM credential_use WHERE rowid > $1 ORDER BY rowid LIMIT $2")
            .bind(after)
            .bind(PAGE)
            .fetch_all(conn)
            .await
            .map_err(fault)?;
    for (_, id, at) in &rows {
        let corrupt = || RegistryError::Corrupt(format!("the last use of credential {id:?} is not a time"));
        let at = Timestamp::from_second(*at).map_err(|_| corrupt())?;
        each(id.parse().map_err(|_| corrupt())?, at);
    }
    Ok(rows.last().map(|(last, ..)| *last))
}
