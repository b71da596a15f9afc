//! The file of a store and the connections to it, which follow when another file is put in its place.
//!
//! SQLite keeps the file that it has opened: when another one gets its name, it goes on with the one that is gone;
//! when another one is copied over it, it goes on with the pages that it remembers. So whoever is about to write
//! looks at the file first, and the connections are made anew when it is not what it was.

use std::{
    fs::{self, Metadata, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use sqlx::{ConnectOptions, Connection, SqlitePool, query, query_scalar, sqlite::SqliteConnectOptions};
use tokio::time::{sleep, timeout};

use super::{
    Options,
    error::error,
    hold::{self, Hold},
    mark, open, queries,
};
use crate::registry::{RegistryError, Mark};

/// The time to wait for calls that still use the file that was there.
const CLOSING: Duration = Duration::from_secs(2);
/// The number of times that the main file is read before what it says is believed to be another store: a checkpoint may be writing it.
const LOOKS: u32 = 5;
/// The time between two looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// The time between two looks beside a write-ahead log that holds something: for so long, no checkpoint stands still.
const LOOKS_BESIDE_A_LOG: u32 = 100;
/// The number of looks, that far apart, at whether another process has let go of a file that was replaced.
const RELEASES: u32 = 500;
/// The number of times that a file is opened which is replaced while it is opened.
const OPENINGS: u32 = 5;

/// The pool of the one writer, and the pool of readers.
pub(super) struct Pools {
    pub(super) writer: SqlitePool,
    pub(super) readers: SqlitePool,
}

impl Pools {
    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// What is seen of a file from outside. It is never opened here: on closing it, POSIX would drop SQLite's locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    length: u64,
    modified: Option<SystemTime>,
    /// The time of the last change of the inode: a copy may have the length and the time of modification of the file
    /// that it is written over.
    changed: (i64, i64),
}

impl Stamp {
    fn read(path: &Path) -> Result<Self, RegistryError> {
        let found =
            fs::metadata(path).map_err(|error| RegistryError::Unavailable(format!("{}: {error}", path.display())))?;
        Ok(Self {
            file: identity(&found),
            length: found.len(),
            modified: found.modified().ok(),
            changed: changed(&found),
        })
    }
}

/// The identity of a file among those of its name.
#[cfg(unix)]
fn identity(found: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;

    (found.dev(), found.ino())
}

/// Nothing does: only that it was written is seen.
#[cfg(not(unix))]
fn identity(_: &Metadata) -> (u64, u64) {
    (0, 0)
}

#[cfg(unix)]
fn changed(found: &Metadata) -> (i64, i64) {
    use std::os::unix::fs::MetadataExt;

    (found.ctime(), found.ctime_nsec())
}

#[cfg(not(unix))]
fn changed(_: &Metadata) -> (i64, i64) {
    (0, 0)
}

/// The file as it was last seen.
#[derive(Clone)]
struct Seen {
    /// None when there are no connections to it that could be used.
    stamp: Option<Stamp>,
    /// The write-ahead log that belongs to it.
    log: Option<(u64, u64)>,
    /// What the main file says, without the write-ahead log, when that could be read.
    main: Option<Mark>,
}

/// The verdict on a file that was written to.
enum Verdict {
    /// It holds what it held, and more; its stamp as of then.
    Same(Stamp),
    /// It holds something else.
    Other,
    /// Somebody is writing it.
    Unknown,
}

/// A file and the connections to what stands in it.
pub(super) struct StoreFile {
    path: PathBuf,
    options: Options,
    pools: ArcSwap<Pools>,
    seen: Mutex<Seen>,
    /// Held by who looks at the file, and makes connections anew.
    looking: tokio::sync::Mutex<()>,
    closed: AtomicBool,
    /// Tells other processes which file is used. None where files cannot be locked.
    hold: Mutex<Option<Hold>>,
}

impl StoreFile {
    pub(super) async fn open(path: &Path, options: Options) -> Result<Self, RegistryError> {
        // An absolute path is never one of SQLite's special names (`:memory:`, `file:…`).
        let path = std::path::absolute(path)
            .map_err(|error| RegistryError::Unavailable(format!("{}: {error}", path.display())))?;
        open::make(&path)?;
        for _ in 0..OPENINGS {
            let before = Stamp::of(&path)?.file;
            await_release(&path, before).await?;
            let pools = open::pools(&path, &options).await?;
            let hold = Hold::on(&path, before.1).ok();
            // Nothing of a write-ahead log is moved into a file that it may not belong to.
            if Stamp::of(&path)?.file == before {
                let seen = see(&path).await?;
                if seen.stamp.is_some_and(|stamp| stamp.file == before) {
                    let this = Self::of(path, options, Arc::new(pools), seen);
                    this.hold(hold);
                    return Ok(this);
                }
            }
            pools.close().await;
        }
        Err(Fault::Unavailable(format!("{}: the file is replaced again and again", path.display())))
    }

    fn hold(&self, hold: Option<Hold>) {
        *self.hold.lock().unwrap_or_else(PoisonError::into_inner) = hold;
    }

    /// To read only: nothing is made, migrated or completed.
    pub(super) async fn open_to_read(path: &Path, options: Options) -> Result<Self, RegistryError> {
        let path = std::path::absolute(path)
            .map_err(|error| RegistryError::Unavailable(format!("{}: {error}", path.display())))?;
        let pools = Arc::new(open::pools_to_read(&path, &options).await?);
        let seen = Seen { stamp: Some(Stamp::read(&path)?), log: None, main: None };
        Ok(Self::of(path, options, pools, seen))
    }

    fn of(path: PathBuf, options: Options, pools: Arc<Pools>, seen: Seen) -> Self {
        let (pools, seen) = (ArcSwap::new(pools), Mutex::new(seen));
        Self {
            path,
            options,
            pools,
            seen,
            looking: tokio::sync::Mutex::default(),
            closed: AtomicBool::new(false),
            hold: Mutex::default(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connections for reading: to the file that has the name now. That another one was copied over it is not
    /// looked for.
    pub(super) async fn readers(&self) -> Result<Arc<Pools>, RegistryError> {
        if self.closed.load(Ordering::Acquire)
            || self.seen().stamp.map(|seen| seen.file) == Some(Stamp::read(&self.path)?.file)
        {
            return Ok(self.pools.load_full());
        }
        self.look().await
    }

    /// The connections to what stands under the name now.
    ///
    /// # Errors
    /// [`Fault::Unavailable`] when nothing does, or nothing that is a store.
    pub(super) async fn current(&self) -> Result<Arc<Pools>, RegistryError> {
        if self.closed.load(Ordering::Acquire) || self.seen().stamp == Some(Stamp::read(&self.path)?) {
            return Ok(self.pools.load_full());
        }
        self.look().await
    }

    /// Returns `true` if these connections are still to what stands under the name. While somebody writes the file, so
    /// that this cannot be told, it is asked again for a while.
    pub(super) async fn still(&self, pools: &Arc<Pools>) -> Result<bool, Fault> {
        for _ in 0..LOOKS_BESIDE_A_LOG {
            if !Arc::ptr_eq(&self.current().await?, pools) {
                return Ok(false);
            }
            if self.closed.load(Ordering::Acquire) || self.seen().stamp == Some(Stamp::of(&self.path)?) {
                return Ok(true);
            }
            sleep(BETWEEN_LOOKS).await;
        }
        Ok(true)
    }

    async fn look(&self) -> Result<Arc<Pools>, RegistryError> {
        let _one_at_a_time = self.looking.lock().await;
        let (stamp, seen) = (Stamp::read(&self.path)?, self.seen().clone());
        if self.closed.load(Ordering::Acquire) || seen.stamp == Some(stamp) {
            return Ok(self.pools.load_full());
        }
        let in_place = seen.stamp.is_some_and(|seen| seen.file == stamp.file);
        if in_place {
            match self.verdict(&seen).await? {
                Verdict::Same(stamp) => {
                    *self.seen() = Seen { stamp: Some(stamp), ..seen };
                    return Ok(self.pools.load_full());
                }
                // The next call looks again.
                Verdict::Unknown => return Ok(self.pools.load_full()),
                Verdict::Other => {}
            }
        }
        tracing::error!(
            store = %self.path.display(),
            "the file of the store was replaced by another one while it was in use; it is opened anew"
        );
        self.renew(in_place, &seen).await
    }

    /// Whether the main file still holds what it held, and more. While a checkpoint may be writing it, nothing is
    /// concluded from what it says: a verdict must stand for a while, in a file that nobody writes to.
    async fn verdict(&self, seen: &Seen) -> Result<Verdict, RegistryError> {
        let stamp = Stamp::read(&self.path)?;
        let Some(before) = &seen.main else { return Ok(Verdict::Same(stamp)) };
        let is_empty = |log: Metadata| log.len() == 0;
        let settled = fs::metadata(beside(&self.path, "-wal")).map_or(true, is_empty);
        let looks = if settled { LOOKS } else { LOOKS_BESIDE_A_LOG };
        for _ in 0..looks {
            let found = read_main(&self.path, Some(before)).await;
            if Stamp::read(&self.path)? != stamp {
                return Ok(Verdict::Unknown);
            }
            match found {
                Ok(now) if now.continues(before) => return Ok(Verdict::Same(stamp)),
                Ok(_) => {}
                Err(_) => return Ok(Verdict::Unknown),
            }
            sleep(BETWEEN_LOOKS).await;
        }
        Ok(Verdict::Other)
    }

    /// Makes the connections anew.
    async fn renew(&self, in_place: bool, seen: &Seen) -> Result<Arc<Pools>, RegistryError> {
        let (old, log) = (self.pools.load_full(), beside(&self.path, "-wal"));
        let is_stale = |log: &Path| fs::metadata(log).is_ok_and(|found| Some(identity(&found)) == seen.log);
        // Before anything is closed: should the file that was there come back, it is used on.
        if !is_store_by_itself(&self.path).await && (is_stale(&log) || !log.exists()) {
            return Err(RegistryError::Unavailable("what stands in the place of the store is none".into()));
        }
        if in_place && log.exists() {
            // What is in it belongs to the file that was there. On closing, SQLite would write it into this one.
            // It is kept under another name.
            let _ = fs::copy(&log, beside(&log, ".replaced"));
            let cut = OpenOptions::new().write(true).open(&log).and_then(|log| log.set_len(0));
            cut.map_err(|error| RegistryError::Unavailable(format!("{}: {error}", log.display())))?;
        }
        // From here on there may be no way back to the connections that there are.
        self.seen().stamp = None;
        let ending = async {
            if !in_place {
                // Into the file that was there, wherever it is now.
                let _ = query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&old.writer).await;
            }
            old.close().await;
        };
        if timeout(CLOSING, ending).await.is_err() && in_place {
            return Err(RegistryError::Unavailable("the file of the store that was there is still in use".into()));
        }
        if !in_place && is_stale(&log) {
            set_aside(&log)?;
            let _ = fs::remove_file(beside(&self.path, "-shm"));
        }
        let before = Stamp::of(&self.path)?.file;
        let pools = Arc::new(open::pools(&self.path, &self.options).await?);
        if Stamp::of(&self.path)?.file != before {
            pools.close().await;
            return Err(Fault::Unavailable("the file of the store was replaced once more".into()));
        }
        self.hold(Hold::on(&self.path, before.1).ok());
        let seen = see(&self.path).await?;
        *self.seen() = seen;
        self.pools.store(pools.clone());
        Ok(pools)
    }

    /// Moves the write-ahead log into the file when nobody is in the way, so that a copy of the file alone is of
    /// lately, and bulk work leaves nothing beside it.
    pub(super) async fn tidy(&self) {
        let is_empty = |log: Metadata| log.len() == 0;
        if fs::metadata(beside(&self.path, "-wal")).map_or(true, is_empty) || self.current().await.is_err() {
            return;
        }
        let _one_at_a_time = self.looking.lock().await;
        let stamp = self.seen().stamp;
        if self.closed.load(Ordering::Acquire) || Stamp::read(&self.path).ok() != stamp {
            return;
        }
        match checkpoint(&self.path).await {
            Ok(Some(main)) => {
                let log = self.seen().log;
                *self.seen() = seen_after(&self.path, stamp, log, main).await;
            }
            // Somebody reads or writes: the next time.
            Ok(None) => {}
            Err(fault) => tracing::warn!(%fault, "the write-ahead log stays beside the store"),
        }
    }

    pub(super) async fn close(&self) {
        // A log that belongs to another file than the one that is there must not be moved into it.
        let pools = match self.current().await {
            Ok(pools) => pools,
            Err(_) => self.pools.load_full(),
        };
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        pools.close().await;
        self.hold(None);
    }
}

/// Waits until no process uses another file that had the name before: it may write that file's write-ahead log, which
/// SQLite would take for this file's.
async fn await_release(path: &Path, file: (u64, u64)) -> Result<(), Fault> {
    for _ in 0..RELEASES {
        if !hold::another_in_use(path, file.1) {
            return Ok(());
        }
        sleep(BETWEEN_LOOKS).await;
    }
    Err(Fault::Unavailable(format!(
        "{}: the file was replaced, and another process still uses the one that was there before; a gateway opens the \
         new one within seconds: try again",
        path.display()
    )))
}

/// A file beside the store, as SQLite names it.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The file as it is now, after its write-ahead log was moved into it if nobody was in the way.
async fn see(path: &Path) -> Result<Seen, RegistryError> {
    let found = Stamp::read(path)?;
    let checkpointed = checkpoint(path).await;
    let log = fs::metadata(beside(path, "-wal")).ok().map(|log| identity(&log));
    Ok(match checkpointed {
        Ok(Some(main)) => seen_after(path, Some(found), log, main).await,
        _ => Seen { stamp: Some(Stamp::read(path)?), log, main: read_main(path, None).await.ok() },
    })
}

/// The file after a checkpoint, which has put into it what `main` says. Another one that was put in its place since is
/// not taken for it: its stamp is not noted.
async fn seen_after(path: &Path, before: Option<Stamp>, log: Option<(u64, u64)>, main: Mark) -> Seen {
    let stamp = Stamp::read(path).ok().filter(|now| before.is_some_and(|before| before.file == now.file));
    let holds = read_main(path, Some(&main)).await.is_ok_and(|found| found.continues(&main));
    Seen { stamp: if holds { stamp } else { before }, log, main: Some(main) }
}

/// Moves the write-ahead log into the file, and cuts it. Returns what the file holds since; nothing when somebody was
/// in the way.
async fn checkpoint(path: &Path) -> Result<Option<Mark>, RegistryError> {
    let options =
        SqliteConnectOptions::new().filename(path).create_if_missing(false).busy_timeout(Duration::ZERO);
    let mut conn = options.connect().await.map_err(fault)?;
    let done = async {
        let last = queries::last_seq(&mut conn).await?;
        let held = mark::mark(&mut conn, last).await?;
        let busy: i64 =
            query_scalar("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut conn).await.map_err(fault)?;
        Ok((busy == 0).then_some(held))
    };
    let done = done.await;
    conn.close().await.map_err(fault)?;
    done
}

/// What the main file says by itself: of the change that was asked about before, or of its last one.
async fn read_main(path: &Path, before: Option<&Mark>) -> Result<Mark, RegistryError> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true).immutable(true);
    let mut conn = options.connect().await.map_err(fault)?;
    let read = async {
        let at = match before {
            Some(before) => before.at,
            None => queries::last_seq(&mut conn).await?,
        };
        mark::mark(&mut conn, at).await
    };
    let read = read.await;
    conn.close().await.map_err(fault)?;
    read
}

/// Whether there are a store's tables in the main file by itself.
async fn is_store_by_itself(path: &Path) -> bool {
    let options = SqliteConnectOptions::new().filename(path).read_only(true).immutable(true);
    let Ok(mut conn) = options.connect().await else { return false };
    let is_store = open::is_store(&mut conn).await;
    conn.close().await.is_ok() && matches!(is_store, Ok(true))
}

/// Takes a write-ahead log away from a file that it does not belong to: SQLite would apply it. One that still holds
/// something is kept under another name.
fn set_aside(log: &Path) -> Result<(), RegistryError> {
    let holds_something = fs::metadata(log).is_ok_and(|log| log.len() > 0);
    let done = if holds_something { fs::rename(log, beside(log, ".replaced")) } else { fs::remove_file(log) };
    match done {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(RegistryError::Unavailable(format!("{}: {error}", log.display())))
        }
        _ => Ok(()),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn file_written_over_with_equal_length_and_time_has_another_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.db");
        fs::write(&path, "one").unwrap();
        let (before, modified) = (Stamp::of(&path).unwrap(), path.metadata().unwrap().modified().unwrap());
        // The clock of a file system may be coarse.
        while Stamp::of(&path).unwrap() == before {
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.set_modified(modified).unwrap();
            if changed(&path.metadata().unwrap()) != before.changed {
                break;
            }
        }
        let after = Stamp::of(&path).unwrap();
        assert_eq!((after.file, after.length, after.modified), (before.file, before.length, before.modified));
        assert_ne!(after, before);
    }
}
