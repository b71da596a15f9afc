//! One transaction that changes something.

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{SqliteConnection, query, query_scalar, sqlite::SqliteArguments};
use tokio::sync::watch;

use super::{chain, fault::fault, grants, read, record, throttles};
use crate::{
    app::{
        Actor, Caller, CallerId, Credential, CredentialId, Digest, Entity, Gateway, Grant, GrantId, Kind,
        Lock, LockId, Plan, PlanId, Quota, QuotaId, Seq, Target, Tenant, TenantId, Throttle, ThrottleId,
        Verb,
    },
    registry::{Fault, Kept, Transaction},
};

/// A transaction that nobody else writes beside. Dropped before [`commit`](Self::commit), it never was.
pub(super) struct Write<'a> {
    tx: sqlx::Transaction<'static, sqlx::Sqlite>,
    now: Timestamp,
    seq: Seq,
    hash: chain::Hash,
    actor: &'a Actor,
    committed: &'a watch::Sender<Seq>,
}

impl<'a> Write<'a> {
    pub(super) async fn begun(
        mut tx: sqlx::Transaction<'static, sqlx::Sqlite>,
        now: Timestamp,
        actor: &'a Actor,
        committed: &'a watch::Sender<Seq>,
    ) -> Result<Self, Fault> {
        let seq = read::last_seq(&mut tx).await?;
        let hash = match chain::last(&mut tx).await? {
            (hashed, hash) if hashed == seq => hash,
            // Another version of the program, which knows no hashes, was here.
            _ => chain::complete(&mut tx).await?,
        };
        Ok(Self { tx, now, seq, hash, actor, committed })
    }

    /// Makes it last, and tells who waits for changes.
    pub(super) async fn commit(self) -> Result<(), Fault> {
        self.tx.commit().await.map_err(fault)?;
        // Two commits may get here in the other order.
        self.committed.send_if_modified(|seq| {
            let later = self.seq > *seq;
            *seq = self.seq.max(*seq);
            later
        });
        Ok(())
    }

    async fn holds(&mut self, question: Question<'_>) -> Result<bool, Fault> {
        question.fetch_one(&mut *self.tx).await.map_err(fault)
    }
}

#[async_trait]
impl Transaction for Write<'_> {
    fn now(&self) -> Timestamp {
        self.now
    }

    async fn tenant(&mut self, id: &TenantId) -> Result<Option<Tenant>, Fault> {
        read::tenant(&mut self.tx, id).await
    }

    async fn has_tenant(&mut self, like: &Tenant) -> Result<bool, Fault> {
        let (project_id, instance_id) = place(like.gateway.as_ref());
        let taken = query_scalar(
            "SELECT EXISTS (SELECT 1 FROM tenant WHERE id = $1 OR (project_id = $2 AND instance_id = $3))",
        )
        .bind(like.id.as_str())
        .bind(project_id)
        .bind(instance_id);
        self.holds(taken).await
    }

    async fn has_callers(&mut self, tenant: &TenantId) -> Result<bool, Fault> {
        let has =
            query_scalar("SELECT EXISTS (SELECT 1 FROM caller WHERE tenant = $1)").bind(tenant.as_str());
        self.holds(has).await
    }

    async fn caller(&mut self, tenant: &TenantId, id: &CallerId) -> Result<Option<Caller>, Fault> {
        read::caller(&mut self.tx, tenant, id).await
    }

    async fn has_caller(&mut self, id: &CallerId) -> Result<bool, Fault> {
        let taken = query_scalar("SELECT EXISTS (SELECT 1 FROM caller WHERE id = $1)").bind(id.as_str());
        self.holds(taken).await
    }

    async fn count_like(&mut self, caller: &Caller) -> Result<u64, Fault> {
        let count: i64 = query_scalar("SELECT count(*) FROM caller WHERE tenant = $1 AND kind = $2")
            .bind(caller.tenant.as_str())
            .bind(caller.kind_name())
            .fetch_one(&mut *self.tx)
            .await
            .map_err(fault)?;
        Ok(count.cast_unsigned())
    }

    async fn has_name(&mut self, caller: &Caller) -> Result<bool, Fault> {
        let taken = query_scalar(
            "SELECT EXISTS (SELECT 1 FROM caller WHERE tenant = $1 AND kind = $2 AND name = $3 AND id <> $4)",
        )
        .bind(caller.tenant.as_str())
        .bind(caller.kind_name())
        .bind(&caller.name)
        .bind(caller.id.as_str());
        self.holds(taken).await
    }

    async fn has_app_key(&mut self, caller: &Caller) -> Result<bool, Fault> {
        let taken = query_scalar("SELECT EXISTS (SELECT 1 FROM caller WHERE app_key = $1 AND id <> $2)")
            .bind(caller.app().map(|app| &app.key))
            .bind(caller.id.as_str());
        self.holds(taken).await
    }

    async fn credential(
        &mut self,
        tenant: &TenantId,
        id: &CredentialId,
    ) -> Result<Option<Credential>, Fault> {
        read::credential(&mut self.tx, tenant, id).await
    }

    async fn has_credential(&mut self, id: &CredentialId) -> Result<bool, Fault> {
        let taken = query_scalar("SELECT EXISTS (SELECT 1 FROM credential WHERE id = $1)").bind(id.as_str());
        self.holds(taken).await
    }

    async fn has_digest(&mut self, digest: &Digest) -> Result<bool, Fault> {
        let taken = query_scalar("SELECT EXISTS (SELECT 1 FROM credential WHERE digest = $1)")
            .bind(String::from(*digest));
        self.holds(taken).await
    }

    async fn credentials_of(&mut self, caller: &Caller) -> Result<Vec<Credential>, Fault> {
        read::credentials_of(&mut self.tx, caller).await
    }

    async fn plan(&mut self, id: &PlanId) -> Result<Option<Plan>, Fault> {
        read::plan(&mut self.tx, id).await
    }

    async fn is_used(&mut self, plan: &PlanId) -> Result<bool, Fault> {
        let used = query_scalar("SELECT EXISTS (SELECT 1 FROM caller WHERE plan = $1)").bind(plan.as_str());
        self.holds(used).await
    }

    async fn lock(&mut self, id: &LockId) -> Result<Option<Lock>, Fault> {
        read::lock(&mut self.tx, id).await
    }

    async fn locks_on(&mut self, target: &Target) -> Result<Vec<Lock>, Fault> {
        read::locks_on(&mut self.tx, target).await
    }

    async fn count_held_by(&mut self, owner: &str) -> Result<u64, Fault> {
        let count: i64 = query_scalar("SELECT count(*) FROM lock WHERE owner = $1")
            .bind(owner)
            .fetch_one(&mut *self.tx)
            .await
            .map_err(fault)?;
        Ok(count.cast_unsigned())
    }

    async fn last_fence(&mut self) -> Result<u64, Fault> {
        let last: i64 =
            query_scalar("SELECT last FROM fence").fetch_one(&mut *self.tx).await.map_err(fault)?;
        Ok(last.cast_unsigned())
    }

    async fn expired_locks(&mut self) -> Result<Vec<Lock>, Fault> {
        let locks = read::locks_until(&mut self.tx, self.now.as_millisecond()).await?;
        Ok(locks.into_iter().filter(|lock| !lock.holds(self.now)).collect())
    }

    async fn grant(&mut self, tenant: &TenantId, id: &GrantId) -> Result<Option<Grant>, Fault> {
        grants::grant(&mut self.tx, tenant, id).await
    }

    async fn has_grant(&mut self, id: &GrantId) -> Result<bool, Fault> {
        let taken = query_scalar("SELECT EXISTS (SELECT 1 FROM \"grant\" WHERE id = $1)").bind(id.as_str());
        self.holds(taken).await
    }

    async fn grant_like(&mut self, like: &Grant) -> Result<Option<Grant>, Fault> {
        grants::like(&mut self.tx, like).await
    }

    async fn grants_of(&mut self, caller: &Caller) -> Result<Vec<Grant>, Fault> {
        grants::of(&mut self.tx, caller).await
    }

    async fn throttle(&mut self, tenant: &TenantId, id: &ThrottleId) -> Result<Option<Throttle>, Fault> {
        throttles::throttle(&mut self.tx, tenant, id).await
    }

    async fn has_throttle(&mut self, id: &ThrottleId) -> Result<bool, Fault> {
        let taken = query_scalar("SELECT EXISTS (SELECT 1 FROM throttle WHERE id = $1)").bind(id.as_str());
        self.holds(taken).await
    }

    async fn throttles(&mut self, tenant: &TenantId) -> Result<Vec<Throttle>, Fault> {
        throttles::throttles(&mut self.tx, tenant).await
    }

    async fn quota(&mut self, tenant: &TenantId, id: &QuotaId) -> Result<Option<Quota>, Fault> {
        throttles::quota(&mut self.tx, tenant, id).await
    }

    async fn has_quota(&mut self, id: &QuotaId) -> Result<bool, Fault> {
        let taken = query_scalar("SELECT EXISTS (SELECT 1 FROM quota WHERE id = $1)").bind(id.as_str());
        self.holds(taken).await
    }

    async fn quotas(&mut self, tenant: &TenantId) -> Result<Vec<Quota>, Fault> {
        throttles::quotas(&mut self.tx, tenant).await
    }

    async fn some_with(&mut self, quota: &QuotaId) -> Result<Vec<Caller>, Fault> {
        throttles::some_with(&mut self.tx, quota).await
    }

    async fn is_empty(&mut self) -> Result<bool, Fault> {
        // What else there is stands on a tenant.
        let empty =
            query_scalar("SELECT NOT EXISTS (SELECT 1 FROM tenant) AND NOT EXISTS (SELECT 1 FROM lock)");
        self.holds(empty).await
    }

    async fn note_use(&mut self, id: &CredentialId, at: Timestamp) -> Result<(), Fault> {
        note_use(&mut self.tx, id, at).await
    }

    /// All changes go through here.
    async fn make(&mut self, verb: Verb, entity: Entity) -> Result<(), Fault> {
        let text = record::text(&entity)?;
        store(&mut self.tx, verb, &entity, &text).await.map_err(fault)?;
        if let (Verb::Created, Entity::Lock(lock)) = (verb, &entity) {
            let raise = query("UPDATE fence SET last = $1 WHERE last < $1").bind(lock.fence.cast_signed());
            raise.execute(&mut *self.tx).await.map_err(fault)?;
        }
        self.seq += 1;
        let at = self.now.to_string();
        let change = chain::Parts {
            seq: self.seq.cast_signed(),
            at: &at,
            actor: &self.actor.0,
            verb: verb.as_str(),
            kind: entity.kind().as_str(),
            entity_id: entity.id(),
            record: text.as_bytes(),
        };
        self.hash = chain::link(&self.hash, &change);
        query(
            "INSERT INTO change (seq, at, actor, verb, kind, entity_id, record)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(change.seq)
        .bind(change.at)
        .bind(change.actor)
        .bind(change.verb)
        .bind(change.kind)
        .bind(change.entity_id)
        .bind(&text)
        .execute(&mut *self.tx)
        .await
        .map_err(fault)?;
        chain::write(&mut self.tx, change.seq, &self.hash).await
    }

    async fn kept(&mut self, key: &[u8; 32]) -> Result<Option<Kept>, Fault> {
        read::kept(&mut self.tx, key).await
    }

    async fn keep(&mut self, key: &[u8; 32], kept: Kept) -> Result<(), Fault> {
        query("INSERT INTO answered (key, fingerprint, expires_at, answer) VALUES ($1, $2, $3, $4)")
            .bind(&key[..])
            .bind(&kept.fingerprint[..])
            .bind(nanoseconds(kept.expires_at))
            .bind(kept.answer)
            .execute(&mut *self.tx)
            .await
            .map(drop)
            .map_err(fault)
    }

    async fn forget(&mut self) -> Result<u64, Fault> {
        let gone = query("DELETE FROM answered WHERE expires_at <= $1").bind(nanoseconds(self.now));
        gone.execute(&mut *self.tx).await.map_err(fault)?;
        let left: i64 =
            query_scalar("SELECT count(*) FROM answered").fetch_one(&mut *self.tx).await.map_err(fault)?;
        Ok(left.cast_unsigned())
    }
}

/// Since the epoch; until the year 2262.
fn nanoseconds(moment: Timestamp) -> i64 {
    i64::try_from(moment.as_nanosecond()).unwrap_or(i64::MAX)
}

/// The last use of a credential that is there, unless a later one is noted.
pub(super) async fn note_use(
    conn: &mut SqliteConnection,
    id: &CredentialId,
    at: Timestamp,
) -> Result<(), Fault> {
    query(
        "INSERT INTO credential_use (credential, at) SELECT id, $2 FROM credential WHERE id = $1
         ON CONFLICT DO UPDATE SET at = max(at, excluded.at)",
    )
    .bind(id.as_str())
    .bind(at.as_second())
    .execute(conn)
    .await
    .map_err(fault)?;
    Ok(())
}

type Question<'q> = sqlx::query::QueryScalar<'q, sqlx::Sqlite, bool, SqliteArguments>;

fn place(gateway: Option<&Gateway>) -> (Option<&str>, Option<&str>) {
    gateway.map(|it| (it.project_id.as_str(), it.instance_id.as_str())).unzip()
}

/// Writes an entity's row, or takes it away.
async fn store(
    conn: &mut SqliteConnection,
    verb: Verb,
    entity: &Entity,
    text: &str,
) -> Result<(), sqlx::Error> {
    let row = query(statement(verb, entity.kind())).bind(entity.id());
    let row = match (verb, entity) {
        (Verb::Deleted, _) => row,
        (_, Entity::Tenant(it)) => {
            let (project_id, instance_id) = place(it.gateway.as_ref());
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
            .bind(&it.owner),
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

/// A time as text that sorts.
fn sortable(time: Timestamp) -> String {
    time.to_string().trim_end_matches('Z').to_owned()
}

fn held_caller(lock: &Lock) -> Option<&str> {
    match &lock.target {
        Target::Caller(id) => Some(id.as_str()),
        Target::Resource(_) => None,
    }
}

fn held_path(lock: &Lock) -> Option<&str> {
    match &lock.target {
        Target::Caller(_) => None,
        Target::Resource(path) => Some(path.as_str()),
    }
}

/// `$1` is the id, `$2` the record; the others are bound in [`store`]'s order.
fn statement(verb: Verb, kind: Kind) -> &'static str {
    match (verb, kind) {
        (Verb::Created, Kind::Tenant) => {
            "INSERT INTO tenant (id, record, revision, project_id, instance_id) VALUES ($1, $2, $3, $4, $5)"
        }
        (Verb::Updated, Kind::Tenant) => {
            "UPDATE tenant SET record = $2, revision = $3, project_id = $4, instance_id = $5 WHERE id = $1"
        }
        (Verb::Created, Kind::Plan) => "INSERT INTO plan (id, record) VALUES ($1, $2)",
        (Verb::Updated, Kind::Plan) => "UPDATE plan SET record = $2 WHERE id = $1",
        (Verb::Created, Kind::Caller) => {
            "INSERT INTO caller (id, record, revision, tenant, kind, name, app_key, plan, created_at, status,
             creator, quota) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
        }
        (Verb::Updated, Kind::Caller) => {
            "UPDATE caller SET record = $2, revision = $3, tenant = $4, kind = $5, name = $6, app_key = $7,
             plan = $8, created_at = $9, status = $10, creator = $11, quota = $12 WHERE id = $1"
        }
        (Verb::Created, Kind::Credential) => {
            "INSERT INTO credential (id, record, revision, tenant, caller, digest)
             VALUES ($1, $2, $3, $4, $5, $6)"
        }
        (Verb::Updated, Kind::Credential) => {
            "UPDATE credential SET record = $2, revision = $3, tenant = $4, caller = $5, digest = $6
             WHERE id = $1"
        }
        (Verb::Created, Kind::Lock) => {
            "INSERT INTO lock (id, record, tenant, caller, expires_at, path, owner)
             VALUES ($1, $2, $3, $4, $5, $6, $7)"
        }
        (Verb::Updated, Kind::Lock) => {
            "UPDATE lock SET record = $2, tenant = $3, caller = $4, expires_at = $5, path = $6, owner = $7
             WHERE id = $1"
        }
        (Verb::Deleted, Kind::Tenant) => "DELETE FROM tenant WHERE id = $1",
        (Verb::Deleted, Kind::Plan) => "DELETE FROM plan WHERE id = $1",
        (Verb::Deleted, Kind::Caller) => "DELETE FROM caller WHERE id = $1",
        (Verb::Deleted, Kind::Credential) => "DELETE FROM credential WHERE id = $1",
        (Verb::Deleted, Kind::Lock) => "DELETE FROM lock WHERE id = $1",
        (Verb::Created, Kind::Grant) => {
            "INSERT INTO \"grant\" (id, record, tenant, caller, route, environment, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)"
        }
        (Verb::Updated, Kind::Grant) => {
            "UPDATE \"grant\" SET record = $2, tenant = $3, caller = $4, route = $5, environment = $6,
             created_at = $7 WHERE id = $1"
        }
        (Verb::Deleted, Kind::Grant) => "DELETE FROM \"grant\" WHERE id = $1",
        (Verb::Created, Kind::Quota) => {
            "INSERT INTO quota (id, record, tenant, name) VALUES ($1, $2, $3, $4)"
        }
        (Verb::Updated, Kind::Quota) => "UPDATE quota SET record = $2, tenant = $3, name = $4 WHERE id = $1",
        (Verb::Deleted, Kind::Quota) => "DELETE FROM quota WHERE id = $1",
        (Verb::Created, Kind::Throttle) => {
            "INSERT INTO throttle (id, record, tenant, name) VALUES ($1, $2, $3, $4)"
        }
        (Verb::Updated, Kind::Throttle) => {
            "UPDATE throttle SET record = $2, tenant = $3, name = $4 WHERE id = $1"
        }
        (Verb::Deleted, Kind::Throttle) => "DELETE FROM throttle WHERE id = $1",
    }
}
