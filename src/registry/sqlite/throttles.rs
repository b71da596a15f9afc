//! Queries of throttles and quotas. A tenant has a few hundred of each at most.

use sqlx::{SqliteConnection, query_as};

use super::queries::{all, one};
use crate::{
    model::{Caller, Quota, QuotaId, TenantId, Throttle, ThrottleId},
    registry::RegistryError,
};

/// The number of callers that are read at once.
const SOME: u32 = 500;

pub(super) async fn throttle(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    id: &ThrottleId,
) -> Result<Option<Throttle>, RegistryError> {
    let query = query_as("SELECT id, record FROM throttle WHERE id = $1 AND tenant = $2")
        .bind(id.as_str())
        .bind(tenant.as_str());
    one(conn, query).await
}

/// Returns the throttles of a tenant, ordered by id.
pub(super) async fn throttles(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
) -> Result<Vec<Throttle>, RegistryError> {
    let query =
        query_as("SELECT id, record FROM throttle WHERE tenant = $1 ORDER BY id").bind(tenant.as_str());
    all(conn, query).await
}

pub(super) async fn quota(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    id: &QuotaId,
) -> Result<Option<Quota>, RegistryError> {
    let query = query_as("SELECT id, record FROM quota WHERE id = $1 AND tenant = $2")
        .bind(id.as_str())
        .bind(tenant.as_str());
    one(conn, query).await
}

/// Returns the quotas of a tenant, ordered by id.
pub(super) async fn quotas(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
) -> Result<Vec<Quota>, RegistryError> {
    let query = query_as("SELECT id, record FROM quota WHERE tenant = $1 ORDER BY id").bind(tenant.as_str());
    all(conn, query).await
}

pub(super) async fn some_with(
    conn: &mut SqliteConnection,
    quota: &QuotaId,
) -> Result<Vec<Caller>, RegistryError> {
    let query =
        query_as("SELECT id, record FROM caller WHERE quota = $1 LIMIT $2").bind(quota.as_str()).bind(SOME);
    all(conn, query).await
}
