//! A write transaction of the SQLite registry.

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{SqliteConnection, query, query_scalar, sqlite::SqliteArguments};
use tokio::sync::watch;

use super::{
    bulk,
    columns::{self, instance_ids},
    error::fault,
    grants, hash_chain, json, queries, throttles,
};
use crate::{
    model::{
        Actor, Caller, CallerId, ChangeKind, Credential, CredentialId, Digest, Entity, Grant, GrantId, Lock,
        LockId, LockTarget, Plan, PlanId, Quota, QuotaId, Seq, Tenant, TenantId, Throttle, ThrottleId,
    },
    registry::{Outcome, RegistryError, StoredResponse, Transaction, UnitOfWork},
};

/// The only write transaction. When it is dropped before [`commit`](Self::commit), it is rolled back.
pub(super) struct SqliteTransaction<'a> {
    tx: sqlx::Transaction<'static, sqlx::Sqlite>,
    now: Timestamp,
    seq: Seq,
    hash: hash_chain::Hash,
    actor: &'a Actor,
    committed: &'a watch::Sender<Seq>,
}

impl<'a> SqliteTransaction<'a> {
    pub(super) async fn begin(
        mut tx: sqlx::Transaction<'static, sqlx::Sqlite>,
        now: Timestamp,
        actor: &'a Actor,
        committed: &'a watch::Sender<Seq>,
    ) -> Result<Self, RegistryError> {
        let seq = queries::last_seq(&mut tx).await?;
        let (hashed, hash) = hash_chain::head(&mut tx).await?;
        if hashed != seq {
            // Revocations must remain possible. The gap stays, and `Sqlite::verify` reports it.
            tracing::error!(
                change = seq,
                hashed,
                "the change log has changes that this program did not write"
            );
        }
        Ok(Self { tx, now, seq, hash, actor, committed })
    }

    /// Inserts the results of bulk work on the attached copy after change `base`, if the work confirms them.
    pub(super) async fn put_staged(
        &mut self,
        base: Seq,
        work: &mut dyn UnitOfWork,
    ) -> Result<Outcome, RegistryError> {
        let end = work.confirm(self).await?;
        if end == Outcome::Rollback {
            return Ok(end);
        }
        if self.seq != base {
            let unguarded = bulk::unguarded(&mut self.tx, base).await?;
            if bulk::in_the_way(self, unguarded).await? {
                return Err(RegistryError::Conflict);
            }
        }
        (self.seq, self.hash) = bulk::insert_copied(&mut self.tx, base, self.seq, self.hash).await?;
        Ok(Outcome::Commit)
    }

    /// Commits the transaction and notifies the waiters for changes.
    pub(super) async fn commit(self) -> Result<(), RegistryError> {
        self.tx.commit().await.map_err(fault)?;
        // Two commits may arrive here in reverse order.
        self.committed.send_if_modified(|seq| {
            let later = self.seq > *seq;
            *seq = self.seq.max(*seq);
            later
        });
        Ok(())
    }

    async fn exists(&mut self, question: Question<'_>) -> Result<bool, RegistryError> {
        question.fetch_one(&mut *self.tx).await.map_err(fault)
    }
}

#[async_trait]
impl Transaction for SqliteTransaction<'_> {
    fn now(&self) -> Timestamp {
        self.now
    }

    async fn tenant(&mut self, id: &TenantId) -> Result<Option<Tenant>, RegistryError> {
        queries::tenant(&mut self.tx, id).await
    }

    async fn has_tenant(&mut self, like: &Tenant) -> Result<bool, RegistryError> {
        let (project_id, instance_id) = instance_ids(like.gateway.as_ref());
        let lookup = query_scalar(
            "SELECT EXISTS (SELECT 1 FROM tenant WHERE id = $1 OR (project_id = $2 AND instance_id = $3))",
        )
        .bind(like.id.as_str())
        .bind(project_id)
        .bind(instance_id);
        self.exists(lookup).await
    }

    async fn has_callers(&mut self, tenant: &TenantId) -> Result<bool, RegistryError> {
        let has =
            query_scalar("SELECT EXISTS (SELECT 1 FROM caller WHERE tenant = $1)").bind(tenant.as_str());
        self.exists(has).await
    }

    async fn caller(&mut self, tenant: &TenantId, id: &CallerId) -> Result<Option<Caller>, RegistryError> {
        queries::caller(&mut self.tx, tenant, id).await
    }

    async fn has_caller(&mut self, id: &CallerId) -> Result<bool, RegistryError> {
        let lookup = query_scalar("SELECT EXISTS (SELECT 1 FROM caller WHERE id = $1)").bind(id.as_str());
        self.exists(lookup).await
    }

    async fn count_same_kind(&mut self, caller: &Caller) -> Result<u64, RegistryError> {
        let count: i64 = query_scalar("SELECT count(*) FROM caller WHERE tenant = $1 AND kind = $2")
            .bind(caller.tenant.as_str())
            .bind(caller.kind_name())
            .fetch_one(&mut *self.tx)
            .await
            .map_err(fault)?;
        Ok(count.cast_unsigned())
    }

    async fn name_taken(&mut self, caller: &Caller) -> Result<bool, RegistryError> {
        let lookup = query_scalar(
            "SELECT EXISTS (SELECT 1 FROM caller WHERE tenant = $1 AND kind = $2 AND name = $3 AND id <> $4)",
        )
        .bind(caller.tenant.as_str())
        .bind(caller.kind_name())
        .bind(&caller.name)
        .bind(caller.id.as_str());
        self.exists(lookup).await
    }

    async fn has_app_key(&mut self, caller: &Caller) -> Result<bool, RegistryError> {
        let lookup = query_scalar("SELECT EXISTS (SELECT 1 FROM caller WHERE app_key = $1 AND id <> $2)")
            .bind(caller.app().map(|app| &app.key))
            .bind(caller.id.as_str());
        self.exists(lookup).await
    }

    async fn owners(&mut self) -> Result<Vec<Caller>, RegistryError> {
        let mut owners = queries::administrators(&mut self.tx).await?;
        owners.retain(Caller::owns_everything);
        Ok(owners)
    }

    async fn credential(
        &mut self,
        tenant: &TenantId,
        id: &CredentialId,
    ) -> Result<Option<Credential>, RegistryError> {
        queries::credential(&mut self.tx, tenant, id).await
    }

    async fn has_credential(&mut self, id: &CredentialId) -> Result<bool, RegistryError> {
        let lookup = query_scalar("SELECT EXISTS (SELECT 1 FROM credential WHERE id = $1)").bind(id.as_str());
        self.exists(lookup).await
    }

    async fn has_digest(&mut self, digest: &Digest) -> Result<bool, RegistryError> {
        let lookup = query_scalar("SELECT EXISTS (SELECT 1 FROM credential WHERE digest = $1)")
            .bind(String::from(*digest));
        self.exists(lookup).await
    }

    async fn credentials_of(&mut self, caller: &Caller) -> Result<Vec<Credential>, RegistryError> {
        queries::credentials_of(&mut self.tx, caller).await
    }

    async fn plan(&mut self, id: &PlanId) -> Result<Option<Plan>, RegistryError> {
        queries::plan(&mut self.tx, id).await
    }

    async fn plan_in_use(&mut self, plan: &PlanId) -> Result<bool, RegistryError> {
        let used = query_scalar("SELECT EXISTS (SELECT 1 FROM caller WHERE plan = $1)").bind(plan.as_str());
        self.exists(used).await
    }

    async fn lock(&mut self, id: &LockId) -> Result<Option<Lock>, RegistryError> {
        queries::lock(&mut self.tx, id).await
    }

    async fn locks_on(&mut self, target: &LockTarget) -> Result<Vec<Lock>, RegistryError> {
        queries::locks_on(&mut self.tx, target).await
    }

    async fn count_held_by(&mut self, holder: &str) -> Result<u64, RegistryError> {
        let count: i64 = query_scalar("SELECT count(*) FROM lock WHERE holder = $1")
            .bind(holder)
            .fetch_one(&mut *self.tx)
            .await
            .map_err(fault)?;
        Ok(count.cast_unsigned())
    }

    async fn last_fence(&mut self) -> Result<u64, RegistryError> {
        let last: i64 =
            query_scalar("SELECT last FROM fence").fetch_one(&mut *self.tx).await.map_err(fault)?;
        Ok(last.cast_unsigned())
    }

    async fn expired_locks(&mut self) -> Result<Vec<Lock>, RegistryError> {
        let locks = queries::locks_until(&mut self.tx, self.now.as_millisecond()).await?;
        Ok(locks.into_iter().filter(|lock| !lock.is_active(self.now)).collect())
    }

    async fn grant(&mut self, tenant: &TenantId, id: &GrantId) -> Result<Option<Grant>, RegistryError> {
        grants::grant(&mut self.tx, tenant, id).await
    }

    async fn has_grant(&mut self, id: &GrantId) -> Result<bool, RegistryError> {
        let lookup = query_scalar("SELECT EXISTS (SELECT 1 FROM \"grant\" WHERE id = $1)").bind(id.as_str());
        self.exists(lookup).await
    }

    async fn grant_like(&mut self, like: &Grant) -> Result<Option<Grant>, RegistryError> {
        grants::like(&mut self.tx, like).await
    }

    async fn grants_of(&mut self, caller: &Caller) -> Result<Vec<Grant>, RegistryError> {
        grants::grants_of(&mut self.tx, caller).await
    }

    async fn throttle(
        &mut self,
        tenant: &TenantId,
        id: &ThrottleId,
    ) -> Result<Option<Throttle>, RegistryError> {
        throttles::throttle(&mut self.tx, tenant, id).await
    }

    async fn has_throttle(&mut self, id: &ThrottleId) -> Result<bool, RegistryError> {
        let lookup = query_scalar("SELECT EXISTS (SELECT 1 FROM throttle WHERE id = $1)").bind(id.as_str());
        self.exists(lookup).await
    }

    async fn throttles(&mut self, tenant: &TenantId) -> Result<Vec<Throttle>, RegistryError> {
        throttles::throttles(&mut self.tx, tenant).await
    }

    async fn quota(&mut self, tenant: &TenantId, id: &QuotaId) -> Result<Option<Quota>, RegistryError> {
        throttles::quota(&mut self.tx, tenant, id).await
    }

    async fn has_quota(&mut self, id: &QuotaId) -> Result<bool, RegistryError> {
        let lookup = query_scalar("SELECT EXISTS (SELECT 1 FROM quota WHERE id = $1)").bind(id.as_str());
        self.exists(lookup).await
    }

    async fn quotas(&mut self, tenant: &TenantId) -> Result<Vec<Quota>, RegistryError> {
        throttles::quotas(&mut self.tx, tenant).await
    }

    async fn apps_with_quota(&mut self, quota: &QuotaId) -> Result<Vec<Caller>, RegistryError> {
        throttles::some_with(&mut self.tx, quota).await
    }

    async fn is_empty(&mut self) -> Result<bool, RegistryError> {
        // Every other entity but a plan belongs to a tenant.
        let empty =
            query_scalar("SELECT NOT EXISTS (SELECT 1 FROM tenant) AND NOT EXISTS (SELECT 1 FROM lock)");
        self.exists(empty).await
    }

    async fn record_last_used(&mut self, id: &CredentialId, at: Timestamp) -> Result<(), RegistryError> {
        note_use(&mut self.tx, id, at).await
    }

    /// Writes a change. Every change passes through this method.
    async fn write(&mut self, verb: ChangeKind, entity: Entity) -> Result<(), RegistryError> {
        let text = json::text(&entity)?;
        columns::store(&mut self.tx, verb, &entity, &text).await.map_err(fault)?;
        if let (ChangeKind::Created, Entity::Lock(lock)) = (verb, &entity) {
            let raise = query("UPDATE fence SET last = $1 WHERE last < $1").bind(lock.fence.cast_signed());
            raise.execute(&mut *self.tx).await.map_err(fault)?;
        }
        self.seq += 1;
        let at = self.now.to_string();
        let change = hash_chain::Parts {
            seq: self.seq.cast_signed(),
            at: &at,
            actor: self.actor.as_str(),
            verb: verb.as_str(),
            kind: entity.kind().as_str(),
            entity_id: entity.id(),
            record: text.as_bytes(),
        };
        self.hash = hash_chain::hash_change(&self.hash, &change);
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
        hash_chain::write(&mut self.tx, change.seq, &self.hash).await
    }

    async fn stored_response(&mut self, key: &[u8; 32]) -> Result<Option<StoredResponse>, RegistryError> {
        queries::stored_response(&mut self.tx, key).await
    }

    async fn store_response(
        &mut self,
        key: &[u8; 32],
        response: StoredResponse,
    ) -> Result<(), RegistryError> {
        query("INSERT INTO answered (key, fingerprint, expires_at, answer) VALUES ($1, $2, $3, $4)")
            .bind(&key[..])
            .bind(&response.fingerprint[..])
            .bind(nanoseconds(response.expires_at))
            .bind(response.answer)
            .execute(&mut *self.tx)
            .await
            .map(drop)
            .map_err(fault)
    }

    async fn purge_expired(&mut self) -> Result<u64, RegistryError> {
        let gone = query("DELETE FROM answered WHERE expires_at <= $1").bind(nanoseconds(self.now));
        gone.execute(&mut *self.tx).await.map_err(fault)?;
        let left: i64 =
            query_scalar("SELECT count(*) FROM answered").fetch_one(&mut *self.tx).await.map_err(fault)?;
        Ok(left.cast_unsigned())
    }
}

/// Returns nanoseconds since the epoch, saturated in the year 2262.
fn nanoseconds(moment: Timestamp) -> i64 {
    i64::try_from(moment.as_nanosecond()).unwrap_or(i64::MAX)
}

/// Records the last use of an existing credential, unless a later use is recorded.
pub(super) async fn note_use(
    conn: &mut SqliteConnection,
    id: &CredentialId,
    at: Timestamp,
) -> Result<(), RegistryError> {
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
