//! From a path to connections with an up-to-date schema.

use std::{
    fs::{DirBuilder, OpenOptions},
    io,
    path::Path,
    sync::{Mutex, PoisonError},
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
    hash_chain,
    error::{fault, is_busy, migration_fault},
    file::Pools,
};
use crate::registry::RegistryError;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/sqlite");

/// The smallest page, and so the smallest file, of any database.
const MIN_PAGE: u64 = 512;
/// Reading goes on while one writes; more readers than this would wait for processors instead.
const READERS: u32 = 4;
/// How long a call waits for its turn at a connection.
const TURN: Duration = Duration::from_secs(10);
/// The longest time to wait for another process's lock that the driver can express without overflow.
const MAX_BUSY: Duration = Duration::from_hours(24);
/// How long to wait between attempts at a file that another process is making at the same moment.
const PAUSE: Duration = Duration::from_millis(10);

/// How a store is used.
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
    /// Waits 5 seconds for another process's lock, and looks every second for another process's changes.
    fn default() -> Self {
        Self { busy_timeout: Duration::from_secs(5), poll: Duration::from_secs(1) }
    }
}

impl Options {
    /// How long a write waits while another process writes, at most a day. Then it is
    /// [`Fault::Unavailable`].
    #[must_use]
    pub fn busy_timeout(self, busy_timeout: Duration) -> Self {
        Self { busy_timeout: busy_timeout.min(MAX_BUSY), ..self }
    }

    /// How often [`changed`](crate::registry::Registry::changed) looks for changes that another process
    /// made. Changes made through the same [`Sqlite`](super::Sqlite) are seen at once.
    #[must_use]
    pub fn poll(self, poll: Duration) -> Self {
        Self { poll, ..self }
    }
}

/// Connections to a file of an absolute path, which is made when it is not there, with an up-to-date schema.
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
    // An idle connection costs little; closing the last one would cost a checkpoint.
    SqlitePoolOptions::new().acquire_timeout(TURN).idle_timeout(None).max_lifetime(None).before_acquire(
        // SQLite ends a transaction by itself on some errors (a full disk). The driver then believes
        // the connection to be in one for ever: it must not come back.
        |conn, _| Box::pin(async move { Ok(!conn.is_in_transaction()) }),
    )
}

/// Connections that only read, to a file of an absolute path as it is: nothing of it is made, migrated or completed.
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
        return Err(RegistryError::Corrupt(format!("migration {later} is of a later version of the program")));
    }
    drop(conn);
    Ok(Pools { writer: readers.clone(), readers })
}

/// Whether every migration of this version was made to the store in a file of an absolute path.
pub(super) async fn is_up_to_date(file: &Path) -> Result<bool, RegistryError> {
    let connect =
        SqliteConnectOptions::new().filename(file).create_if_missing(false).pragma("query_only", "ON");
    let mut conn = connect.connect().await.map_err(fault)?;
    let versions: Result<Vec<i64>, _> =
        query_scalar("SELECT version FROM _sqlx_migrations").fetch_all(&mut conn).await;
    conn.close().await.map_err(fault)?;
    // What has no migrations is no store: whoever opens it says so.
    Ok(versions.map_or(true, |made| MIGRATIONS.iter().all(|migration| made.contains(&migration.version))))
}

/// Whether there are a store's tables in a database.
pub(super) async fn is_store(conn: &mut SqliteConnection) -> Result<bool, RegistryError> {
    has_table(conn, "change").await
}

async fn has_table(conn: &mut SqliteConnection, name: &str) -> Result<bool, RegistryError> {
    let question = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = $1)";
    query_scalar(question).bind(name).fetch_one(conn).await.map_err(fault)
}

/// Opens the first connection, which switches a new file to WAL. Two processes doing so at once get
/// `SQLITE_BUSY` without the busy timeout, so that is kept here.
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

/// All or nothing, and one process at a time: the driver itself takes no lock for migrations of SQLite.
async fn migrate(writer: &SqlitePool) -> Result<(), RegistryError> {
    let mut tx = writer.begin_with("BEGIN IMMEDIATE").await.map_err(fault)?;
    // Tables of another program: ours are not made beside them.
    let is_foreign =
        "SELECT count(*) > 0 AND sum(name = '_sqlx_migrations') = 0 FROM sqlite_schema WHERE type = 'table'";
    if sqlx::query_scalar::<_, bool>(is_foreign).fetch_one(&mut *tx).await.map_err(fault)? {
        return Err(RegistryError::Corrupt("the file is a database of another program".into()));
    }
    let had_hashes = has_table(&mut tx, "change_hash").await?;
    // Undocumented, and there for this: the future of `run` on a connection is not `Send`, nor would ours be.
    MIGRATIONS.run_direct(None, &mut *tx, false).await.map_err(migration_fault)?;
    // Later, a change without a hash is one that something else has written: it must not get one.
    if !had_hashes {
        hash_chain::backfill(&mut tx).await?;
    }
    tx.commit().await.map_err(fault)
}

/// Makes the file and its folder when they are not there. SQLite gives the files beside it its mode.
///
/// A file that is there is looked at from outside only. On closing any descriptor of it, POSIX would drop
/// the locks that other stores of this process have on it, and an older SQLite elsewhere could then take
/// the write-ahead log away from under them.
pub(super) fn make(file: &Path) -> Result<(), RegistryError> {
    // Nobody here opens the file between its making and the closing of the descriptor it was made with.
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);

    let unavailable = |error: io::Error| RegistryError::Unavailable(format!("{}: {error}", file.display()));
    if let Some(folder) = file.parent() {
        private::folder(DirBuilder::new().recursive(true)).create(folder).map_err(unavailable)?;
    }
    match private::file(OpenOptions::new().write(true).create_new(true)).open(file) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        outcome => return outcome.map(drop).map_err(unavailable),
    }
    // SQLite takes what is shorter than any page for an empty database, and would write over it.
    let length = file.metadata().map_err(unavailable)?.len();
    if (1..MIN_PAGE).contains(&length) {
        return Err(RegistryError::Corrupt(format!("{} is not a database", file.display())));
    }
    Ok(())
}

/// What only its owner may read.
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

/// Whatever the system does.
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
