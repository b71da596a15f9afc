//! The rows of entities: the columns of each table besides the record.

use jiff::Timestamp;
use sqlx::{SqliteConnection, query};

use crate::model::{ApigInstance, ChangeKind, Entity, EntityKind, Lock, LockTarget, PlanId, TenantId};

pub(super) fn instance_ids(gateway: Option<&ApigInstance>) -> (Option<&str>, Option<&str>) {
    gateway.map(|it| (it.project_id.as_str(), it.instance_id.as_str())).unzip()
}

/// Writes or deletes the row of an entity.
pub(super) async fn store(
    conn: &mut SqliteConnection,
    verb: ChangeKind,
    entity: &Entity,
    text: &str,
) -> Result<(), sqlx::Error> {
    let row = query(statement(verb, entity.kind())).bind(entity.id());
    let row = match (verb, entity) {
        (ChangeKind::Deleted, _) => row,
        (_, Entity::Tenant(it)) => {
            let (project_id, instance_id) = instance_ids(it.gateway.as_ref());
            row.bind(text).bind(it.revision.cast_signed()).bind(project_id).bind(instance_id)
        }
        (_, Entity::Plan(_)) => row.bind(text),
        (_, Entity::Caller(it)) => row
            .bind(text)
            .bind(it.revision.cast_signed())
            .bind(it.tenant.as_str())
            .bind(it.kind_name())
            .bind(&it.name)
            .bind(it.app().map(|app| &app.key))
            .bind(it.plan.as_ref().map(PlanId::as_str))
            .bind(sortable(it.created_at))
            .bind(it.status.as_str())
            .bind(it.app().map(|app| app.creator.as_str()))
            .bind(it.app().and_then(|app| app.quota.as_ref()).map(|bound| bound.id.as_str())),
        (_, Entity::Credential(it)) => row
            .bind(text)
            .bind(it.revision.cast_signed())
            .bind(it.tenant.as_str())
            .bind(it.caller.as_str())
            .bind(String::from(it.digest)),
        (_, Entity::Lock(it)) => row
            .bind(text)
            .bind(it.tenant.as_ref().map(TenantId::as_str))
            .bind(held_caller(it))
            .bind(it.expires_at.as_millisecond())
            .bind(held_path(it))
            .bind(&it.owner)
            .bind(it.holder()),
        (_, Entity::Grant(it)) => row
            .bind(text)
            .bind(it.tenant.as_str())
            .bind(it.caller.as_str())
            .bind(it.route.as_str())
            .bind(it.environment.as_str())
            .bind(sortable(it.created_at)),
        (_, Entity::Quota(it)) => row.bind(text).bind(it.tenant.as_str()).bind(&it.name),
        (_, Entity::Throttle(it)) => row.bind(text).bind(it.tenant.as_str()).bind(&it.name),
    };
    row.execute(conn).await.map(drop)
}

/// Returns a time as text that sorts chronologically.
fn sortable(time: Timestamp) -> String {
    time.to_string().trim_end_matches('Z').to_owned()
}

fn held_caller(lock: &Lock) -> Option<&str> {
    match &lock.target {
        LockTarget::Caller(id) => Some(id.as_str()),
        LockTarget::Resource(_) => None,
    }
}

fn held_path(lock: &Lock) -> Option<&str> {
    match &lock.target {
        LockTarget::Caller(_) => None,
        LockTarget::Resource(path) => Some(path.as_str()),
    }
}

/// Returns the statement for a change. `$1` is the id and `$2` the record; [`store`] binds the others in order.
fn statement(verb: ChangeKind, kind: EntityKind) -> &'static str {
    match (verb, kind) {
        (ChangeKind::Created, EntityKind::Tenant) => {
            "INSERT INTO tenant (id, record, revision, project_id, instance_id) VALUES ($1, $2, $3, $4, $5)"
        }
        (ChangeKind::Updated, EntityKind::Tenant) => {
            "UPDATE tenant SET record = $2, revision = $3, project_id = $4, instance_id = $5 WHERE id = $1"
        }
        (ChangeKind::Created, EntityKind::Plan) => "INSERT INTO plan (id, record) VALUES ($1, $2)",
        (ChangeKind::Updated, EntityKind::Plan) => "UPDATE plan SET record = $2 WHERE id = $1",
        (ChangeKind::Created, EntityKind::Caller) => {
            "INSERT INTO caller (id, record, revision, tenant, kind, name, app_key, plan, created_at, status,
             creator, quota) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
        }
        (ChangeKind::Updated, EntityKind::Caller) => {
            "UPDATE caller SET record = $2, revision = $3, tenant = $4, kind = $5, name = $6, app_key = $7,
             plan = $8, created_at = $9, status = $10, creator = $11, quota = $12 WHERE id = $1"
        }
        (ChangeKind::Created, EntityKind::Credential) => {
            "INSERT INTO credential (id, record, revision, tenant, caller, digest)
             VALUES ($1, $2, $3, $4, $5, $6)"
        }
        (ChangeKind::Updated, EntityKind::Credential) => {
            "UPDATE credential SET record = $2, revision = $3, tenant = $4, caller = $5, digest = $6
             WHERE id = $1"
        }
        (ChangeKind::Created, EntityKind::Lock) => {
            "INSERT INTO lock (id, record, tenant, caller, expires_at, path, owner, holder)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
        }
        (ChangeKind::Updated, EntityKind::Lock) => {
            "UPDATE lock SET record = $2, tenant = $3, caller = $4, expires_at = $5, path = $6, owner = $7,
             holder = $8 WHERE id = $1"
        }
        (ChangeKind::Deleted, EntityKind::Tenant) => "DELETE FROM tenant WHERE id = $1",
        (ChangeKind::Deleted, EntityKind::Plan) => "DELETE FROM plan WHERE id = $1",
        (ChangeKind::Deleted, EntityKind::Caller) => "DELETE FROM caller WHERE id = $1",
        (ChangeKind::Deleted, EntityKind::Credential) => "DELETE FROM credential WHERE id = $1",
        (ChangeKind::Deleted, EntityKind::Lock) => "DELETE FROM lock WHERE id = $1",
        (ChangeKind::Created, EntityKind::Grant) => {
            "INSERT INTO \"grant\" (id, record, tenant, caller, route, environment, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)"
        }
        (ChangeKind::Updated, EntityKind::Grant) => {
            "UPDATE \"grant\" SET record = $2, tenant = $3, caller = $4, route = $5, environment = $6,
             created_at = $7 WHERE id = $1"
        }
        (ChangeKind::Deleted, EntityKind::Grant) => "DELETE FROM \"grant\" WHERE id = $1",
        (ChangeKind::Created, EntityKind::Quota) => {
            "INSERT INTO quota (id, record, tenant, name) VALUES ($1, $2, $3, $4)"
        }
        (ChangeKind::Updated, EntityKind::Quota) => {
            "UPDATE quota SET record = $2, tenant = $3, name = $4 WHERE id = $1"
        }
        (ChangeKind::Deleted, EntityKind::Quota) => "DELETE FROM quota WHERE id = $1",
        (ChangeKind::Created, EntityKind::Throttle) => {
            "INSERT INTO throttle (id, record, tenant, name) VALUES ($1, $2, $3, $4)"
        }
        (ChangeKind::Updated, EntityKind::Throttle) => {
            "UPDATE throttle SET record = $2, tenant = $3, name = $4 WHERE id = $1"
        }
        (ChangeKind::Deleted, EntityKind::Throttle) => "DELETE FROM throttle WHERE id = $1",
    }
}
