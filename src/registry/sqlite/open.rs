//! Opens connections to a file and migrates its schema.

use std::{
    fs::{DirBuilder, OpenOptions},
    io,
    path::Path,
    sync::Mutex,
    time::Duration,
};

use sqlx::{
    ConnectOptions, Connection, SqliteConnection, SqlitePool,
    migrate::Migrator,
    query_scalar,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::time::Instant;

use super::{
    error::{fault, is_busy, migration_fault},
    hash_chain,
};
use crate::{registry::RegistryError, sync};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/sqlite");

/// The smallest page size of SQLite in bytes, which is the smallest size of a database file.
const MIN_PAGE: u64 = 512;
/// The number of reading connections. They read while one connection writes; more would only compete for processors.
const READERS: u32 = 4;
/// The time that a call waits for a connection of the pool.
const TURN: Duration = Duration::from_secs(10);
/// The longest busy timeout that the driver can express without overflow.
const MAX_BUSY: Duration = Duration::from_secs(24 * 60 * 60);
/// The pause between attempts to open a file that another process is creating.
const PAUSE: Duration = Duration::from_millis(10);

/// Options of a store.
///
/// ```
/// use std::time::Duration;
/// use portcullis::registry::sqlite::Options;
///
/// let options = Options::default().busy_timeout(Duration::from_secs(1)).poll(Duration::from_millis(200));
/// ```
#[derive(Debug, Clone)]
pub struct Options {
    pub(super) busy_timeout: Duration,
    pub(super) poll: Duration,
}

impl Default for Options {
    /// Returns options with a busy timeout of 5 seconds and a poll interval of 1 second.
    fn default() -> Self {
        Self { busy_timeout: Duration::from_secs(5), poll: Duration::from_secs(1) }
    }
}

impl Options {
    /// Sets how long a write waits while another process writes, at most a day. After that it fails with
    /// [`RegistryError::Unavailable`].
    #[must_use]
    pub fn busy_timeout(self, busy_timeout: Duration) -> Self {
        Self { busy_timeout: busy_timeout.min(MAX_BUSY), ..self }
    }

    /// Sets the interval at which [`changed`](crate::registry::Registry::wait_for_change) checks for changes of other
    /// processes. Changes through the same [`Sqlite`](super::Sqlite) are seen at once.
    #[must_use]
    pub fn poll(self, poll: Duration) -> Self {
        Self { poll, ..self }
    }
}

/// The pool of the single writer and the pool of readers.
pub(super) struct Pools {
    pub(super) writer: SqlitePool,
    pub(super) readers: SqlitePool,
}

impl Pools {
    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Opens connections to a file with an absolute path. A missing file is created, and the schema is migrated.
pub(super) async fn pools(file: &Path, options: &Options) -> Result<Pools, RegistryError> {
    make(file)?;
    let connect = SqliteConnectOptions::new().filename(file).busy_timeout(options.busy_timeout);
    let write = connect.clone().journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
    let writer = first(options, || pool().max_connections(1).connect_with(write.clone())).await?;
    migrate(&writer).await?;
    let readers = pool().max_connections(READERS).connect_lazy_with(connect.pragma("query_only", "ON"));
    Ok(Pools { writer, readers })
}

fn pool() -> SqlitePoolOptions {
    // An idle connection costs little, and closing the last one costs a checkpoint.
    SqlitePoolOptions::new().acquire_timeout(TURN).idle_timeout(None).max_lifetime(None).before_acquire(
        // SQLite ends a transaction itself on some errors (a full disk). The driver then considers the connection to be
        // in a transaction for ever, so the connection must not be used again.
        |conn, _| Box::pin(async move { Ok(!conn.is_in_transaction()) }),
    )
}

/// Opens read-only connections to a file with an absolute path. The file is not created, migrated or changed.
pub(super) async fn pools_to_read(file: &Path, options: &Options) -> Result<Pools, RegistryError> {
    let connect = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(false)
        .busy_timeout(options.busy_timeout)
        .pragma("query_only", "ON");
    let readers = pool().max_connections(READERS).connect_with(connect).await.map_err(fault)?;
    let mut conn = readers.acquire().await.map_err(fault)?;
    if !is_store(&mut conn).await? {
        return Err(RegistryError::Corrupt(format!("{} is not a store", file.display())));
    }
    let versions: Vec<i64> =
        query_scalar("SELECT version FROM _sqlx_migrations").fetch_all(&mut *conn).await.map_err(fault)?;
    if let Some(later) = versions.iter().find(|version| !MIGRATIONS.version_exists(**version)) {
        return Err(RegistryError::Corrupt(format!(
            "migration {later} is from a later version of the program"
        )));
    }
    drop(conn);
    Ok(Pools { writer: readers.clone(), readers })
}

/// Returns `true` if the store in a file with an absolute path has every migration of this version.
pub(super) async fn is_up_to_date(file: &Path) -> Result<bool, RegistryError> {
    let connect =
        SqliteConnectOptions::new().filename(file).create_if_missing(false).pragma("query_only", "ON");
    let mut conn = connect.connect().await.map_err(fault)?;
    let versions: Result<Vec<i64>, _> =
        query_scalar("SELECT version FROM _sqlx_migrations").fetch_all(&mut conn).await;
    conn.close().await.map_err(fault)?;
    // A file without migrations is not a store; opening it reports that.
    Ok(versions.map_or(true, |made| MIGRATIONS.iter().all(|migration| made.contains(&migration.version))))
}

/// Returns `true` if a database has the tables of a store.
pub(super) async fn is_store(conn: &mut SqliteConnection) -> Result<bool, RegistryError> {
    has_table(conn, "change").await
}

async fn has_table(conn: &mut SqliteConnection, name: &str) -> Result<bool, RegistryError> {
    let question = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = $1)";
    query_scalar(question).bind(name).fetch_one(conn).await.map_err(fault)
}

/// Opens the first connection, which switches a new file to WAL. Two processes that do so at once get `SQLITE_BUSY`
/// without the busy timeout, so this function waits itself.
async fn first<F>(options: &Options, connect: impl Fn() -> F) -> Result<SqlitePool, RegistryError>
where
    F: Future<Output = Result<SqlitePool, sqlx::Error>>,
{
    let start = Instant::now();
    loop {
        match connect().await {
            Err(error) if is_busy(&error) && start.elapsed() < options.busy_timeout => {
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return outcome.map_err(fault),
        }
    }
}

/// Migrates the schema atomically and in one process at a time, because the driver takes no lock for SQLite migrations.
async fn migrate(writer: &SqlitePool) -> Result<(), RegistryError> {
    let mut tx = writer.begin_with("BEGIN IMMEDIATE").await.map_err(fault)?;
    // Do not create our tables in a database of another program.
    let is_foreign =
        "SELECT count(*) > 0 AND sum(name = '_sqlx_migrations') = 0 FROM sqlite_schema WHERE type = 'table'";
    if sqlx::query_scalar::<_, bool>(is_foreign).fetch_one(&mut *tx).await.map_err(fault)? {
        return Err(RegistryError::Corrupt("the file is a database of another program".into()));
    }
    let had_hashes = has_table(&mut tx, "change_hash").await?;
    // `run_direct` is undocumented but intended for this: the future of `run` on a connection is not `Send`.
    MIGRATIONS.run_direct(None, &mut *tx, false).await.map_err(migration_fault)?;
    // After the migration, a change without a hash was written by another program and must not get one.
    if !had_hashes {
        hash_chain::backfill(&mut tx).await?;
    }
    tx.commit().await.map_err(fault)
}

/// Creates the file and its folder if they are missing. SQLite creates the files beside it with the same mode.
///
/// An existing file is only examined by its metadata. When any descriptor of the file is closed, POSIX drops the locks
/// that other stores of this process hold on it, and an older SQLite in another process could then remove the
/// write-ahead log while it is in use.
pub(super) fn make(file: &Path) -> Result<(), RegistryError> {
    // No other thread opens the file before the descriptor that created it is closed.
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = sync::lock(&MAKING);

    let unavailable = |error: io::Error| RegistryError::Unavailable(format!("{}: {error}", file.display()));
    if let Some(folder) = file.parent() {
        private::folder(DirBuilder::new().recursive(true)).create(folder).map_err(unavailable)?;
    }
    match private::file(OpenOptions::new().write(true).create_new(true)).open(file) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        outcome => return outcome.map(drop).map_err(unavailable),
    }
    // SQLite treats a file that is shorter than any page as an empty database and would overwrite it.
    let length = file.metadata().map_err(unavailable)?.len();
    if (1..MIN_PAGE).contains(&length) {
        return Err(RegistryError::Corrupt(format!("{} is not a database", file.display())));
    }
    Ok(())
}

/// Restricts new files and folders to their owner.
#[cfg(unix)]
mod private {
    use std::{
        fs::{DirBuilder, OpenOptions},
        os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    };

    pub(super) fn folder(folder: &mut DirBuilder) -> &mut DirBuilder {
        folder.mode(0o700)
    }

    pub(super) fn file(file: &mut OpenOptions) -> &mut OpenOptions {
        file.mode(0o600)
    }
}

/// Leaves the mode of new files and folders to the system.
#[cfg(not(unix))]
mod private {
    use std::fs::{DirBuilder, OpenOptions};

    pub(super) fn folder(folder: &mut DirBuilder) -> &mut DirBuilder {
        folder
    }

    pub(super) fn file(file: &mut OpenOptions) -> &mut OpenOptions {
        file
    }
}
