//! Queries of grants.

use sqlx::{QueryBuilder, SqliteConnection, query_as, query_scalar};

use super::{
    error::fault,
    queries::{all, one},
};
use crate::{
    model::{Caller, CallerId, Grant, GrantId, TenantId},
    registry::{GrantFilter, RegistryError},
};

pub(super) async fn grant(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    id: &GrantId,
) -> Result<Option<Grant>, RegistryError> {
    let query = query_as("SELECT id, record FROM \"grant\" WHERE id = $1 AND tenant = $2")
        .bind(id.as_str())
        .bind(tenant.as_str());
    one(conn, query).await
}

pub(super) async fn like(conn: &mut SqliteConnection, like: &Grant) -> Result<Option<Grant>, RegistryError> {
    let query =
        query_as("SELECT id, record FROM \"grant\" WHERE caller = $1 AND route = $2 AND environment = $3")
            .bind(like.caller.as_str())
            .bind(like.route.as_str())
            .bind(like.environment.as_str());
    one(conn, query).await
}

pub(super) async fn grants_of(
    conn: &mut SqliteConnection,
    caller: &Caller,
) -> Result<Vec<Grant>, RegistryError> {
    let query = query_as("SELECT id, record FROM \"grant\" WHERE tenant = $1 AND caller = $2 ORDER BY id")
        .bind(caller.tenant.as_str())
        .bind(caller.id.as_str());
    all(conn, query).await
}

pub(super) async fn grants(
    conn: &mut SqliteConnection,
    filter: &GrantFilter,
) -> Result<Vec<Grant>, RegistryError> {
    let mut query = QueryBuilder::new("SELECT id, record FROM \"grant\"");
    only(&mut query, filter)?;
    query.push(" ORDER BY created_at DESC, id DESC LIMIT ").push_bind(filter.limit);
    query.push(" OFFSET ").push_bind(i64::try_from(filter.offset).unwrap_or(i64::MAX));
    all(conn, query.build_query_as()).await
}

pub(super) async fn count(conn: &mut SqliteConnection, filter: &GrantFilter) -> Result<u64, RegistryError> {
    let mut query = QueryBuilder::new("SELECT count(*) FROM \"grant\"");
    only(&mut query, filter)?;
    let count: i64 = query.build_query_scalar().fetch_one(conn).await.map_err(fault)?;
    Ok(count.cast_unsigned())
}

/// Adds the conditions of a filter, equivalent to [`GrantFilter::matches`].
fn only(query: &mut QueryBuilder<sqlx::Sqlite>, filter: &GrantFilter) -> Result<(), RegistryError> {
    query.push(" WHERE TRUE");
    if let Some(tenant) = &filter.tenant {
        query.push(" AND tenant = ").push_bind(tenant.as_str().to_owned());
    }
    if let Some(ids) = &filter.callers {
        let ids = serde_json::to_string(ids).map_err(|error| RegistryError::Corrupt(error.to_string()))?;
        query.push(" AND caller IN (SELECT value FROM json_each(").push_bind(ids).push("))");
    }
    if let Some(text) = &filter.caller_contains {
        query.push(
            " AND EXISTS (SELECT 1 FROM caller WHERE id = \"grant\".caller AND instr(lower(name), lower(",
        );
        query.push_bind(text.clone()).push(")) > 0)");
    }
    if let Some(route) = &filter.route {
        query.push(" AND route = ").push_bind(route.as_str().to_owned());
    }
    if let Some(text) = &filter.route_contains {
        query.push(" AND instr(lower(route), lower(").push_bind(text.clone()).push(")) > 0");
    }
    if let Some(environment) = &filter.environment {
        query.push(" AND environment = ").push_bind(environment.as_str().to_owned());
    }
    Ok(())
}

pub(super) async fn count_of(conn: &mut SqliteConnection, caller: &CallerId) -> Result<u64, RegistryError> {
    let count: i64 = query_scalar("SELECT count(*) FROM \"grant\" WHERE caller = $1")
        .bind(caller.as_str())
        .fetch_one(conn)
        .await
        .map_err(fault)?;
    Ok(count.cast_unsigned())
}
