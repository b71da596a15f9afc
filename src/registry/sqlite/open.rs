//! From a path to connections with an up-to-date schema.

use std::{
    fs::{DirBuilder, OpenOptions},
    io,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sqlx::{
    Connection, SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::time::Instant;

use super::{
    chain,
    fault::{fault, is_busy, migration_fault},
};
use crate::registry::Fault;

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

/// The pool of the one writer, and the pool of readers.
pub(super) async fn pools(path: &Path, options: &Options) -> Result<(SqlitePool, SqlitePool), Fault> {
    // An absolute path is never one of SQLite's special names (`:memory:`, `file:…`).
    let file = std::path::absolute(path)
        .map_err(|error| Fault::Unavailable(format!("{}: {error}", path.display())))?;
    make(&file)?;

    let connect = SqliteConnectOptions::new().filename(&file).busy_timeout(options.busy_timeout);
    let pool = || {
        // An idle connection costs little; closing the last one would cost a checkpoint.
        SqlitePoolOptions::new().acquire_timeout(TURN).idle_timeout(None).max_lifetime(None).before_acquire(
            // SQLite ends a transaction by itself on some errors (a full disk). The driver then believes
            // the connection to be in one for ever: it must not come back.
            |conn, _| Box::pin(async move { Ok(!conn.is_in_transaction()) }),
        )
    };
    let write = connect.clone().journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
    let writer = first(options, || pool().max_connections(1).connect_with(write.clone())).await?;
    migrate(&writer).await?;
    let readers = pool().max_connections(READERS).connect_lazy_with(connect.pragma("query_only", "ON"));
    Ok((writer, readers))
}

/// Opens the first connection, which switches a new file to WAL. Two processes doing so at once get
/// `SQLITE_BUSY` without the busy timeout, so that is kept here.
async fn first<F>(options: &Options, connect: impl Fn() -> F) -> Result<SqlitePool, Fault>
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
async fn migrate(writer: &SqlitePool) -> Result<(), Fault> {
    let mut tx = writer.begin_with("BEGIN IMMEDIATE").await.map_err(fault)?;
    // Undocumented, and there for this: the future of `run` on a connection is not `Send`, nor would ours be.
    MIGRATIONS.run_direct(None, &mut *tx, false).await.map_err(migration_fault)?;
    chain::complete(&mut tx).await?;
    tx.commit().await.map_err(fault)
}

/// Makes the file and its folder when they are not there. SQLite gives the files beside it its mode.
///
/// A file that is there is looked at from outside only. On closing any descriptor of it, POSIX would drop
/// the locks that other stores of this process have on it, and an older SQLite elsewhere could then take
/// the write-ahead log away from under them.
fn make(file: &Path) -> Result<(), Fault> {
    // Nobody here opens the file between its making and the closing of the descriptor it was made with.
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);

    let unavailable = |error: io::Error| Fault::Unavailable(format!("{}: {error}", file.display()));
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
        return Err(Fault::Corrupt(format!("{} is not a database", file.display())));
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
