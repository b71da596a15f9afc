//! A registry in a SQLite file.
//!
//! A change is in the file and synced before it is acknowledged. One connection writes, in `BEGIN IMMEDIATE`
//! transactions. A few connections read concurrently (WAL). Several processes on the same host, such as a gateway and a
//! command, may share a file on a local disk: each sees the changes of the others.
//!
//! ```no_run
//! # async fn example() -> Result<(), portcullis::registry::RegistryError> {
//! use std::{path::Path, sync::Arc};
//! use portcullis::{clock::SystemClock, registry::sqlite::Sqlite};
//!
//! let registry = Sqlite::open(Path::new("portcullis.db"), Arc::new(SystemClock::new())).await?;
//! // …
//! registry.close().await;
//! # Ok(())
//! # }
//! ```

mod bulk;
mod change_log;
mod change_row;
mod columns;
mod copy;
mod error;
mod file;
mod grants;
mod hash_chain;
mod hold;
mod json;
mod mark;
mod open;
mod queries;
mod secrets_in_use;
mod snapshot;
mod throttles;
mod transaction;

pub use copy::copy;
pub use hash_chain::Verification;
pub use open::Options;

use std::{path::Path, pin::Pin, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{SqlitePool, pool::PoolConnection};
use tokio::sync::watch;

use super::{
    AuthorizedWork, CallerFilter, ChangeFilter, CredentialFilter, GrantFilter, History, Mark, Outcome,
    Registry, RegistryError, RegistryExt, SecretCheck, SnapshotReader, StoredResponse, TenantFilter,
    UnitOfWork, Unreadable, filter::newest_first,
};
use crate::{
    clock::Clock,
    model::{
        Actor, Caller, CallerId, Change, Credential, CredentialId, Entity, Grant, GrantId, Lock, LockId,
        Plan, PlanId, Quota, QuotaId, Seq, Tenant, TenantId, Throttle, ThrottleId,
    },
};
use bulk::{Ended, Staging};
use error::fault;
use file::StoreFile;
use open::Pools;
use snapshot::SqliteSnapshot;
use transaction::SqliteTransaction;

/// The maximum number of last uses that are recorded in one transaction.
const USES_AT_ONCE: usize = 500;

/// A registry in a SQLite file.
///
/// Requires a Tokio runtime.
pub struct Sqlite {
    file: StoreFile,
    clock: Arc<dyn Clock>,
    poll: Duration,
    /// The connections of the latest access. They are replaced when the file is replaced.
    used: ArcSwap<Pools>,
    /// The copy that is read instead of the store, deleted when this is dropped.
    _copy: Option<Staging>,
    /// Serializes bulk work.
    bulk: tokio::sync::Mutex<()>,
    /// The last change committed through this handle to the current file.
    committed: watch::Sender<Seq>,
}

impl Sqlite {
    /// Opens a file with the default [`Options`]. See [`open_with`](Self::open_with).
    ///
    /// # Errors
    /// The errors of [`open_with`](Self::open_with).
    pub async fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, RegistryError> {
        Self::open_with(path, clock, Options::default()).await
    }

    /// Opens a file and migrates its schema to the current version. A missing file is created, with its folder,
    /// readable by its owner only.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`] when the file cannot be created, opened or locked; [`RegistryError::Corrupt`] when it is not a
    /// database, or is from a later version of the program.
    pub async fn open_with(
        path: &Path,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<Self, RegistryError> {
        let poll = options.poll;
        if let Ok(path) = std::path::absolute(path) {
            hold::remove_copies(&path, clock.now().time.into());
        }
        Self::over(StoreFile::open(path, options).await?, clock, poll).await
    }

    /// Opens an existing file to read it. The file is not created, migrated or changed: a call that would change it
    /// fails with [`RegistryError::Unavailable`] or [`RegistryError::Corrupt`].
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`] when the file cannot be opened; [`RegistryError::Corrupt`] when it is not a store, or is from a
    /// later version of the program.
    pub async fn open_to_read(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, RegistryError> {
        let options = Options::default();
        let poll = options.poll;
        let path = std::path::absolute(path)
            .map_err(|error| RegistryError::Unavailable(format!("{}: {error}", path.display())))?;
        if open::is_up_to_date(&path).await? {
            return Self::over(StoreFile::open_to_read(&path, options).await?, clock, poll).await;
        }
        // The file is from an earlier version: migrate a copy of it and read that.
        let copy = Staging::beside(&path)?;
        copy::vacuum_into(&path, &copy.path).await?;
        let store = Self::over(StoreFile::open(&copy.path, options).await?, clock, poll).await?;
        Ok(Self { _copy: Some(copy), ..store })
    }

    async fn over(file: StoreFile, clock: Arc<dyn Clock>, poll: Duration) -> Result<Self, RegistryError> {
        let used = ArcSwap::new(file.readers().await?);
        Ok(Self {
            file,
            clock,
            poll,
            used,
            _copy: None,
            bulk: tokio::sync::Mutex::default(),
            committed: watch::Sender::new(0),
        })
    }

    /// Waits for running operations, moves the write-ahead log into the file and closes it. Every later call fails with
    /// [`RegistryError::Unavailable`].
    pub async fn close(&self) {
        self.file.close().await;
    }

    /// Forgets a version of a secret that the store [was used with](Registry::check_secrets), so that another secret
    /// may have its version number.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`].
    pub async fn forget_secret(&self, check: &SecretCheck) -> Result<(), RegistryError> {
        let pools = self.current().await?;
        mark::forget_secret(&mut *pools.writer.acquire().await.map_err(fault)?, check.kind, check.version)
            .await
    }

    /// Returns the greatest version of a kind of secret that the store [was used with](Registry::check_secrets), or 0.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    pub async fn last_secret(&self, kind: &str) -> Result<u32, RegistryError> {
        sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM secret_check WHERE kind = $1")
            .bind(kind)
            .fetch_one(&mut *self.reader().await?)
            .await
            .map_err(fault)
    }

    /// Verifies that the file holds exactly what was written through a registry: no change was altered, no change
    /// is missing between two others, and the tables match the change log.
    ///
    /// Each change is hashed together with the hash before it. A user that can write to the file can also hash all
    /// later changes again. Such a forgery changes [`Verification::head`]. The removal of the latest changes shows in it, too.
    /// Both are detected only by comparison with a head that was recorded earlier.
    ///
    /// # Errors
    /// [`RegistryError::Corrupt`] describes the first violation; [`RegistryError::Unavailable`].
    pub async fn verify(&self) -> Result<Verification, RegistryError> {
        let mut tx = self.readers().await?.begin().await.map_err(fault)?;
        hash_chain::verify(&mut tx).await
    }

    /// Returns the hash of a change, if a change with that number exists.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`].
    pub async fn hash(&self, seq: Seq) -> Result<Option<[u8; 32]>, RegistryError> {
        hash_chain::hash_of(&mut *self.reader().await?, seq).await
    }

    /// Returns the entity of a change in its state before the change, if it existed.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    pub async fn before(&self, change: &Change) -> Result<Option<Entity>, RegistryError> {
        change_log::before(&mut *self.reader().await?, change).await
    }

    /// Returns the connections to the file that has the store's name now.
    async fn current(&self) -> Result<Arc<Pools>, RegistryError> {
        let pools = self.file.current().await?;
        if !Arc::ptr_eq(&self.used.swap(pools.clone()), &pools) {
            // The changes of another file have their own numbers.
            self.committed.send_replace(0);
        }
        Ok(pools)
    }

    async fn readers(&self) -> Result<SqlitePool, RegistryError> {
        Ok(self.file.readers().await?.readers.clone())
    }

    async fn reader(&self) -> Result<PoolConnection<sqlx::Sqlite>, RegistryError> {
        self.readers().await?.acquire().await.map_err(fault)
    }

    async fn put_staged(
        &self,
        pools: &Pools,
        base: Seq,
        work: &mut dyn UnitOfWork,
        actor: &Actor,
    ) -> Result<Outcome, RegistryError> {
        let tx = pools.writer.begin_with("BEGIN IMMEDIATE").await.map_err(fault)?;
        let mut write = SqliteTransaction::begin(tx, self.clock.now().time, actor, &self.committed).await?;
        let end = write.put_staged(base, &mut AuthorizedWork::new(work, actor)).await?;
        if end == Outcome::Commit {
            write.commit().await?;
        }
        Ok(end)
    }

    /// Call this after a commit: checks that the file that was written to still has the store's name.
    async fn check_still_current(&self, pools: &Arc<Pools>) -> Result<(), RegistryError> {
        if self.file.is_current(pools).await? {
            return Ok(());
        }
        Err(RegistryError::Unavailable(
            "the store was replaced while it was written to: the change may be lost".into(),
        ))
    }

    async fn last_seq(&self) -> Result<Seq, RegistryError> {
        queries::last_seq(&mut *self.reader().await?).await
    }
}

#[async_trait]
impl Registry for Sqlite {
    async fn run_transaction(
        &self,
        work: &mut AuthorizedWork<'_>,
        actor: &Actor,
    ) -> Result<(), RegistryError> {
        let pools = self.current().await?;
        let tx = pools.writer.begin_with("BEGIN IMMEDIATE").await.map_err(fault)?;
        let mut write = SqliteTransaction::begin(tx, self.clock.now().time, actor, &self.committed).await?;
        match work.perform(&mut write).await? {
            Outcome::Commit => {
                write.commit().await?;
                self.check_still_current(&pools).await
            }
            Outcome::Rollback => Ok(()),
        }
    }

    /// Runs the work on a copy of the store, so that other writers need not wait while a file is read and rows are
    /// checked. A single transaction with few statements then inserts the results into the store.
    async fn transact_bulk(&self, work: &mut dyn UnitOfWork, actor: &Actor) -> Result<(), RegistryError> {
        let _one_at_a_time = self.bulk.lock().await;
        let staging = Staging::beside(self.file.path())?;
        copy::vacuum_into(self.file.path(), &staging.path).await?;
        // Boxed, because a store within a store would make the future recursive.
        let copied: Pin<Box<dyn Future<Output = Result<Self, RegistryError>> + Send>> =
            Box::pin(Self::open(&staging.path, self.clock.clone()));
        let copy = copied.await?;
        let base = copy.last_seq().await;
        let mut ended = Ended { work, end: None };
        let done = match &base {
            Ok(_) => copy.transact(&mut ended, actor).await,
            Err(_) => Ok(()),
        };
        copy.close().await;
        let (base, end) = (base?, ended.end);
        done?;
        if end != Some(Outcome::Commit) {
            return Ok(());
        }
        let pools = self.current().await?;
        let name = staging.path.to_string_lossy().into_owned();
        sqlx::query(bulk::ATTACH).bind(name).execute(&pools.writer).await.map_err(fault)?;
        let put = self.put_staged(&pools, base, work, actor).await;
        if let Err(error) = sqlx::query(bulk::DETACH).execute(&pools.writer).await {
            tracing::warn!(%error, "failed to detach the copy of an import");
        }
        if put? == Outcome::Commit {
            self.check_still_current(&pools).await?;
            self.file.tidy().await;
        }
        Ok(())
    }

    async fn stored_response(&self, key: &[u8; 32]) -> Result<Option<StoredResponse>, RegistryError> {
        let now = self.clock.now().time;
        let stored = queries::stored_response(&mut *self.reader().await?, key).await?;
        Ok(stored.filter(|stored| now < stored.expires_at))
    }

    async fn tenant(&self, id: &TenantId) -> Result<Tenant, RegistryError> {
        queries::tenant(&mut *self.reader().await?, id).await?.ok_or(RegistryError::NotFound)
    }

    async fn gateway(&self, project_id: &str, instance_id: &str) -> Result<Tenant, RegistryError> {
        queries::gateway(&mut *self.reader().await?, project_id, instance_id)
            .await?
            .ok_or(RegistryError::NotFound)
    }

    async fn tenants(&self, filter: &TenantFilter) -> Result<Vec<Tenant>, RegistryError> {
        queries::tenants(&mut *self.reader().await?, filter).await
    }

    async fn caller(&self, tenant: &TenantId, id: &CallerId) -> Result<Caller, RegistryError> {
        queries::caller(&mut *self.reader().await?, tenant, id).await?.ok_or(RegistryError::NotFound)
    }

    async fn callers(&self, filter: &CallerFilter) -> Result<Vec<Caller>, RegistryError> {
        queries::callers(&mut *self.reader().await?, filter).await
    }

    async fn count_callers(&self, filter: &CallerFilter) -> Result<u64, RegistryError> {
        queries::count_callers(&mut *self.reader().await?, filter).await
    }

    async fn credential(&self, tenant: &TenantId, id: &CredentialId) -> Result<Credential, RegistryError> {
        queries::credential(&mut *self.reader().await?, tenant, id).await?.ok_or(RegistryError::NotFound)
    }

    async fn credentials(&self, filter: &CredentialFilter) -> Result<Vec<Credential>, RegistryError> {
        queries::credentials(&mut *self.reader().await?, filter).await
    }

    async fn plan(&self, id: &PlanId) -> Result<Plan, RegistryError> {
        queries::plan(&mut *self.reader().await?, id).await?.ok_or(RegistryError::NotFound)
    }

    async fn plans(&self, after: Option<&PlanId>, limit: u32) -> Result<Vec<Plan>, RegistryError> {
        queries::page(&mut *self.reader().await?, after.map(PlanId::as_str), limit).await
    }

    async fn lock(&self, id: &LockId) -> Result<Lock, RegistryError> {
        queries::lock(&mut *self.reader().await?, id).await?.ok_or(RegistryError::NotFound)
    }

    async fn locks(&self, after: Option<&LockId>, limit: u32) -> Result<Vec<Lock>, RegistryError> {
        queries::page(&mut *self.reader().await?, after.map(LockId::as_str), limit).await
    }

    async fn grant(&self, tenant: &TenantId, id: &GrantId) -> Result<Grant, RegistryError> {
        grants::grant(&mut *self.reader().await?, tenant, id).await?.ok_or(RegistryError::NotFound)
    }

    async fn grants(&self, filter: &GrantFilter) -> Result<Vec<Grant>, RegistryError> {
        grants::grants(&mut *self.reader().await?, filter).await
    }

    async fn throttle(&self, tenant: &TenantId, id: &ThrottleId) -> Result<Throttle, RegistryError> {
        throttles::throttle(&mut *self.reader().await?, tenant, id).await?.ok_or(RegistryError::NotFound)
    }

    async fn throttles(&self, tenant: &TenantId) -> Result<Vec<Throttle>, RegistryError> {
        let all = throttles::throttles(&mut *self.reader().await?, tenant).await?;
        Ok(newest_first(all, |throttle| (throttle.created_at, throttle.id.clone())))
    }

    async fn quota(&self, tenant: &TenantId, id: &QuotaId) -> Result<Quota, RegistryError> {
        throttles::quota(&mut *self.reader().await?, tenant, id).await?.ok_or(RegistryError::NotFound)
    }

    async fn quotas(&self, tenant: &TenantId) -> Result<Vec<Quota>, RegistryError> {
        let all = throttles::quotas(&mut *self.reader().await?, tenant).await?;
        Ok(newest_first(all, |quota| (quota.created_at, quota.id.clone())))
    }

    async fn count_grants(&self, filter: &GrantFilter) -> Result<u64, RegistryError> {
        grants::count(&mut *self.reader().await?, filter).await
    }

    async fn count_grants_of(&self, ids: &[CallerId]) -> Result<Vec<u64>, RegistryError> {
        let mut reader = self.reader().await?;
        let mut counts = Vec::with_capacity(ids.len());
        for id in ids {
            counts.push(grants::count_of(&mut reader, id).await?);
        }
        Ok(counts)
    }

    async fn record_last_used(&self, uses: &[(CredentialId, Timestamp)]) -> Result<(), RegistryError> {
        let pools = self.current().await?;
        // Each batch is its own transaction, so that a change waits for one batch at most.
        for batch in uses.chunks(USES_AT_ONCE) {
            let mut tx = pools.writer.begin_with("BEGIN IMMEDIATE").await.map_err(fault)?;
            for (id, at) in batch {
                transaction::note_use(&mut tx, id, *at).await?;
            }
            tx.commit().await.map_err(fault)?;
        }
        Ok(())
    }

    async fn last_used(&self, ids: &[CredentialId]) -> Result<Vec<Option<Timestamp>>, RegistryError> {
        let mut reader = self.reader().await?;
        let mut uses = Vec::with_capacity(ids.len());
        for id in ids {
            uses.push(queries::last_use(&mut reader, id).await?);
        }
        Ok(uses)
    }

    async fn for_each(&self, each: &mut (dyn FnMut(Entity) + Send)) -> Result<Seq, RegistryError> {
        let mut tx = self.readers().await?.begin().await.map_err(fault)?;
        queries::everything(&mut tx, each).await
    }

    async fn view(&self) -> Result<Box<dyn SnapshotReader>, RegistryError> {
        Ok(Box::new(SqliteSnapshot::open(&self.readers().await?).await?))
    }

    async fn changes(&self, after: Seq, limit: u32) -> Result<Vec<Change>, RegistryError> {
        change_log::changes(&mut *self.reader().await?, after, limit).await
    }

    async fn last_change(&self) -> Result<Seq, RegistryError> {
        self.last_seq().await
    }

    async fn history(&self, filter: &ChangeFilter) -> Result<History, RegistryError> {
        let mut tx = self.readers().await?.begin().await.map_err(fault)?;
        change_log::history(&mut tx, filter).await
    }

    async fn mark(&self, at: Seq) -> Result<Option<Mark>, RegistryError> {
        let mut tx = self.readers().await?.begin().await.map_err(fault)?;
        mark::mark(&mut tx, at).await.map(Some)
    }

    async fn check_secrets(&self, at_hand: &[SecretCheck]) -> Result<Vec<String>, RegistryError> {
        let pools = self.current().await?;
        let mut tx = pools.writer.begin_with("BEGIN IMMEDIATE").await.map_err(fault)?;
        let misfits = mark::check_secrets(&mut tx, at_hand).await?;
        tx.commit().await.map_err(fault)?;
        Ok(misfits)
    }

    async fn readable(
        &self,
        each: &mut (dyn FnMut(Result<Entity, Unreadable>) + Send),
    ) -> Result<Seq, RegistryError> {
        let mut tx = self.readers().await?.begin().await.map_err(fault)?;
        queries::readable(&mut tx, each).await
    }

    async fn close(&self) {
        Self::close(self).await;
    }

    async fn wait_for_change(&self, after: Seq) {
        let mut committed = self.committed.subscribe();
        let before = self.used.load_full();
        // A commit after this check wakes the wait below.
        while *committed.borrow_and_update() <= after {
            // The changes of another process are only in the file. If it cannot be read, was replaced or holds fewer
            // changes, there may be a change, too: return, and the next read finds out.
            let is_same = self.current().await.is_ok_and(|now| Arc::ptr_eq(&now, &before));
            if !is_same || !matches!(self.last_seq().await, Ok(last) if last == after) {
                return;
            }
            // Check again after a wakeup and after a timeout.
            if tokio::time::timeout(self.poll, committed.changed()).await.is_err() {
                self.file.tidy().await;
            }
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
    async fn commits_sync_references_hold_and_readers_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let store = Sqlite::open(&path, Arc::new(SystemClock::new())).await.unwrap();

        let mode: String =
            sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&store.used.load().writer).await.unwrap();
        assert_eq!(mode, "wal");
        assert_eq!(pragma(&store.used.load().writer, "PRAGMA synchronous").await, 2, "FULL");
        assert_eq!(pragma(&store.used.load().writer, "PRAGMA foreign_keys").await, 1);
        assert_eq!(pragma(&store.used.load().writer, "PRAGMA busy_timeout").await, 5_000);
        assert_eq!(pragma(&store.used.load().readers, "PRAGMA query_only").await, 1);
        assert_eq!(store.used.load().writer.options().get_max_connections(), 1);
        assert!(sqlx::query("DELETE FROM plan").execute(&store.used.load().readers).await.is_err());
    }
}
