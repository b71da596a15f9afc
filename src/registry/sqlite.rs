//! A registry in a SQLite file.
//!
//! What is acknowledged is in the file, synced, before the answer is given. One connection writes, in
//! `BEGIN IMMEDIATE` transactions; a few read beside it (WAL). Several processes may share a file on a
//! local disk, such as a gateway and a command: each sees the changes of the others.
//!
//! ```no_run
//! # async fn example() -> Result<(), portcullis::registry::Fault> {
//! use std::{path::Path, sync::Arc};
//! use portcullis::{clock::SystemClock, registry::sqlite::Sqlite};
//!
//! let registry = Sqlite::open(Path::new("portcullis.db"), Arc::new(SystemClock::new())).await?;
//! // …
//! registry.close().await;
//! # Ok(())
//! # }
//! ```

mod fault;
mod open;
mod read;
mod record;
mod write;

pub use open::Options;

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use sqlx::SqlitePool;
use tokio::sync::watch;

use super::{Fault, NewCaller, Registry, Snapshot};
use crate::{
    app::{
        Actor, Caller, CallerEdit, CallerId, Change, Credential, CredentialId, Entity, Lock, LockId, Plan,
        Seq, Standing, Status, Tenant, TenantId, Verb,
    },
    clock::Clock,
};
use fault::fault;
use write::Write;

/// A registry in a SQLite file.
///
/// To be used within a Tokio runtime.
pub struct Sqlite {
    writer: SqlitePool,
    readers: SqlitePool,
    clock: Arc<dyn Clock>,
    poll: Duration,
    /// The last change committed through this handle.
    committed: watch::Sender<Seq>,
}

impl Sqlite {
    /// Opens a file with the default [`Options`]. See [`open_with`](Self::open_with).
    ///
    /// # Errors
    /// As [`open_with`](Self::open_with).
    pub async fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, Fault> {
        Self::open_with(path, clock, Options::default()).await
    }

    /// Opens a file, and brings its schema up to date. One that is not there is made, with its folder,
    /// readable by its owner only.
    ///
    /// # Errors
    /// [`Fault::Unavailable`] when the file cannot be made, opened or locked; [`Fault::Corrupt`] when it
    /// is no database, or another version's.
    pub async fn open_with(path: &Path, clock: Arc<dyn Clock>, options: Options) -> Result<Self, Fault> {
        let (writer, readers) = open::pools(path, &options).await?;
        Ok(Self { writer, readers, clock, poll: options.poll, committed: watch::Sender::new(0) })
    }

    /// Lets what is under way finish, moves the write-ahead log into the file and closes it. Every later
    /// call is answered with [`Fault::Unavailable`].
    pub async fn close(&self) {
        self.readers.close().await;
        if self.writer.is_closed() {
            return;
        }
        // Only for the file's sake: the log is read back when it is opened again.
        if let Err(error) = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&self.writer).await {
            tracing::warn!(%error, "the write-ahead log stays beside the store");
        }
        self.writer.close().await;
    }

    async fn write<'a>(&'a self, actor: &'a Actor) -> Result<Write<'a>, Fault> {
        let tx = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(fault)?;
        Write::begun(tx, self.clock.now().time, actor, &self.committed).await
    }

    async fn last_seq(&self) -> Result<Seq, Fault> {
        let mut conn = self.readers.acquire().await.map_err(fault)?;
        read::last_seq(&mut conn).await
    }
}

#[async_trait]
impl Registry for Sqlite {
    async fn create_tenant(&self, tenant: Tenant, actor: &Actor) -> Result<Tenant, Fault> {
        let mut write = self.write(actor).await?;
        write.tenant_is_free(&tenant).await?;
        let tenant = Tenant { revision: 1, created_at: write.now, updated_at: write.now, ..tenant };
        write.make(Verb::Created, Entity::Tenant(tenant.clone())).await?;
        write.commit().await?;
        Ok(tenant)
    }

    async fn tenant(&self, id: &TenantId) -> Result<Tenant, Fault> {
        let mut conn = self.readers.acquire().await.map_err(fault)?;
        read::tenant(&mut conn, id).await
    }

    async fn gateway(&self, project_id: &str, instance_id: &str) -> Result<Tenant, Fault> {
        let mut conn = self.readers.acquire().await.map_err(fault)?;
        read::gateway(&mut conn, project_id, instance_id).await
    }

    async fn set_standing(&self, id: &TenantId, standing: Standing, actor: &Actor) -> Result<Tenant, Fault> {
        let mut write = self.write(actor).await?;
        let before = read::tenant(write.conn(), id).await?;
        if before.standing == standing {
            return Ok(before);
        }
        let revision = before.revision + 1;
        let after = Tenant { standing, revision, updated_at: write.now, ..before };
        write.make(Verb::Updated, Entity::Tenant(after.clone())).await?;
        write.commit().await?;
        Ok(after)
    }

    async fn create_caller(&self, caller: NewCaller, actor: &Actor) -> Result<Caller, Fault> {
        let mut write = self.write(actor).await?;
        let caller = caller.at(write.now);
        let tenant = read::tenant(write.conn(), &caller.tenant).await?;
        write.has_room(&tenant, &caller).await?;
        write.caller_is_free(&caller.id).await?;
        write.fits(&caller).await?;
        write.make(Verb::Created, Entity::Caller(caller.clone())).await?;
        write.commit().await?;
        Ok(caller)
    }

    async fn caller(&self, tenant: &TenantId, id: &CallerId) -> Result<Caller, Fault> {
        let mut conn = self.readers.acquire().await.map_err(fault)?;
        read::caller(&mut conn, tenant, id).await
    }

    async fn update_caller(
        &self,
        tenant: &TenantId,
        id: &CallerId,
        expected: Option<u64>,
        edit: CallerEdit,
        actor: &Actor,
    ) -> Result<Caller, Fault> {
        let mut write = self.write(actor).await?;
        let before = read::caller(write.conn(), tenant, id).await?;
        write.unlocked(&before).await?;
        if expected.is_some_and(|revision| revision != before.revision) {
            return Err(Fault::Conflict);
        }
        let Some(after) = before.edited(edit, write.now) else { return Ok(before) };
        write.fits(&after).await?;
        write.make(Verb::Updated, Entity::Caller(after.clone())).await?;
        write.commit().await?;
        Ok(after)
    }

    async fn delete_caller(&self, tenant: &TenantId, id: &CallerId, actor: &Actor) -> Result<(), Fault> {
        let mut write = self.write(actor).await?;
        let caller = read::caller(write.conn(), tenant, id).await?;
        write.unlocked(&caller).await?;
        for credential in read::credentials_of(write.conn(), &caller).await? {
            write.make(Verb::Deleted, Entity::Credential(credential)).await?;
        }
        for lock in read::locks_on(write.conn(), id).await? {
            write.make(Verb::Deleted, Entity::Lock(lock)).await?;
        }
        write.make(Verb::Deleted, Entity::Caller(caller)).await?;
        write.commit().await
    }

    async fn create_credential(&self, credential: Credential, actor: &Actor) -> Result<Credential, Fault> {
        let mut write = self.write(actor).await?;
        read::caller(write.conn(), &credential.tenant, &credential.caller).await?;
        write.credential_is_free(&credential).await?;
        let credential =
            Credential { revision: 1, created_at: write.now, updated_at: write.now, ..credential };
        write.make(Verb::Created, Entity::Credential(credential.clone())).await?;
        write.commit().await?;
        Ok(credential)
    }

    async fn set_credential_status(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
        status: Status,
        actor: &Actor,
    ) -> Result<Credential, Fault> {
        let mut write = self.write(actor).await?;
        let before = read::credential(write.conn(), tenant, id).await?;
        if before.status == status {
            return Ok(before);
        }
        let revision = before.revision + 1;
        let after = Credential { status, revision, updated_at: write.now, ..before };
        write.make(Verb::Updated, Entity::Credential(after.clone())).await?;
        write.commit().await?;
        Ok(after)
    }

    async fn put_plan(&self, plan: Plan, actor: &Actor) -> Result<(), Fault> {
        let mut write = self.write(actor).await?;
        let verb = match read::plan(write.conn(), plan.id()).await? {
            Some(before) if before == plan => return Ok(()),
            Some(_) => Verb::Updated,
            None => Verb::Created,
        };
        write.make(verb, Entity::Plan(plan)).await?;
        write.commit().await
    }

    async fn create_lock(&self, lock: Lock, actor: &Actor) -> Result<Lock, Fault> {
        let mut write = self.write(actor).await?;
        if !lock.holds(write.now) {
            return Err(Fault::Conflict);
        }
        write.clear_expired_locks().await?;
        if read::lock(write.conn(), &lock.id).await?.is_some() {
            return Err(Fault::Conflict);
        }
        let lock = Lock { acquired_at: write.now, ..lock };
        write.make(Verb::Created, Entity::Lock(lock.clone())).await?;
        write.commit().await?;
        Ok(lock)
    }

    async fn delete_lock(&self, id: &LockId, actor: &Actor) -> Result<(), Fault> {
        let mut write = self.write(actor).await?;
        let lock = read::lock(write.conn(), id).await?.ok_or(Fault::NotFound)?;
        write.make(Verb::Deleted, Entity::Lock(lock)).await?;
        write.commit().await
    }

    async fn snapshot(&self) -> Result<Snapshot, Fault> {
        let mut tx = self.readers.begin().await.map_err(fault)?;
        read::snapshot(&mut tx).await
    }

    async fn changes(&self, after: Seq, limit: u32) -> Result<Vec<Change>, Fault> {
        let mut conn = self.readers.acquire().await.map_err(fault)?;
        read::changes(&mut conn, after, limit).await
    }

    async fn changed(&self, after: Seq) {
        let mut committed = self.committed.subscribe();
        // A commit after this look at it wakes the wait below.
        while *committed.borrow_and_update() <= after {
            // What another process wrote is only in the file. When that cannot be read there may be a
            // change: who asks for it learns of the fault.
            if !matches!(self.last_seq().await, Ok(last) if last <= after) {
                return;
            }
            // Woken or not, the next round looks again.
            let _ = tokio::time::timeout(self.poll, committed.changed()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    async fn pragma(pool: &SqlitePool, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
    }

    #[tokio::test]
    async fn a_commit_is_synced_references_hold_and_readers_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let store = Sqlite::open(&path, Arc::new(SystemClock::new())).await.unwrap();

        let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&store.writer).await.unwrap();
        assert_eq!(mode, "wal");
        assert_eq!(pragma(&store.writer, "PRAGMA synchronous").await, 2, "FULL");
        assert_eq!(pragma(&store.writer, "PRAGMA foreign_keys").await, 1);
        assert_eq!(pragma(&store.writer, "PRAGMA busy_timeout").await, 5_000);
        assert_eq!(pragma(&store.readers, "PRAGMA query_only").await, 1);
        assert_eq!(store.writer.options().get_max_connections(), 1);
        assert!(sqlx::query("DELETE FROM plan").execute(&store.readers).await.is_err());
    }
}
