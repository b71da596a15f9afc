//! The file of a store and the connections to it, which are reopened when the file is replaced.
//!
//! SQLite keeps using the file that it has opened. When another file is moved to its name, SQLite continues with the
//! removed one. When another file is copied over it, SQLite continues with its cached pages. So every write first
//! checks the file, and the connections are reopened when the file has been replaced.

use std::{
    fs::{self, Metadata, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use sqlx::{ConnectOptions, Connection, query, query_scalar, sqlite::SqliteConnectOptions};
use tokio::time::{sleep, timeout};

use super::{
    Options,
    error::fault,
    hold::{self, Hold},
    mark,
    open::{self, Pools},
    queries,
};
use crate::{
    registry::{Mark, RegistryError},
    sync,
};

/// The time to wait for calls that still use the previous file.
const CLOSING: Duration = Duration::from_secs(2);
/// The number of times that the main file is read before it is taken for another store: a checkpoint may be writing it.
const LOOKS: u32 = 5;
/// The time between two reads.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// The number of reads beside a write-ahead log that is not empty. No checkpoint pauses for as long as they take.
const LOOKS_BESIDE_A_LOG: u32 = 100;
/// The number of looks, that far apart, at whether another process has let go of a file that was replaced.
const RELEASES: u32 = 500;
/// The number of times that a file is opened which is replaced while it is opened.
const OPENINGS: u32 = 5;

/// The metadata of a file. The file is not opened for it: on closing it, POSIX would drop SQLite's locks.
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
        let found = fs::metadata(path)
            .map_err(|error| RegistryError::Unavailable(format!("{}: {error}", path.display())))?;
        Ok(Self {
            file: identity(&found),
            length: found.len(),
            modified: found.modified().ok(),
            changed: changed(&found),
        })
    }
}

/// Returns the identity of a file, which differs for another file of the same name.
#[cfg(unix)]
fn identity(found: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;

    (found.dev(), found.ino())
}

/// Returns a constant, because the system has no identity of files: only a modification is detected.
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
    /// The metadata; `None` when there are no usable connections to the file.
    stamp: Option<Stamp>,
    /// The write-ahead log of the file.
    log: Option<(u64, u64)>,
    /// The mark in the main file without the write-ahead log, if it could be read.
    main: Option<Mark>,
}

/// The result of examining a modified file.
enum Verdict {
    /// The file holds its previous content, and possibly more. The stamp is that of the examination.
    Same(Stamp),
    /// The file holds another content.
    Other,
    /// The file is being written.
    Unknown,
}

/// A file and the connections to its content.
pub(super) struct StoreFile {
    path: PathBuf,
    options: Options,
    pools: ArcSwap<Pools>,
    seen: Mutex<Seen>,
    /// Serializes the check of the file and the reopening of connections.
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
            let before = Stamp::read(&path)?.file;
            await_release(&path, before).await?;
            let pools = open::pools(&path, &options).await?;
            let hold = Hold::on(&path, before.1).ok();
            // Nothing of a write-ahead log is moved into a file that it may not belong to.
            if Stamp::read(&path)?.file == before {
                let seen = see(&path).await?;
                if seen.stamp.is_some_and(|stamp| stamp.file == before) {
                    let this = Self::new(path, options, Arc::new(pools), seen);
                    this.set_hold(hold);
                    return Ok(this);
                }
            }
            pools.close().await;
        }
        Err(RegistryError::Unavailable(format!("{}: the file is replaced again and again", path.display())))
    }

    fn set_hold(&self, hold: Option<Hold>) {
        *sync::lock(&self.hold) = hold;
    }

    /// Opens a file for reading only. The file is not created, migrated or changed.
    pub(super) async fn open_to_read(path: &Path, options: Options) -> Result<Self, RegistryError> {
        let path = std::path::absolute(path)
            .map_err(|error| RegistryError::Unavailable(format!("{}: {error}", path.display())))?;
        let pools = Arc::new(open::pools_to_read(&path, &options).await?);
        let seen = Seen { stamp: Some(Stamp::read(&path)?), log: None, main: None };
        Ok(Self::new(path, options, pools, seen))
    }

    fn new(path: PathBuf, options: Options, pools: Arc<Pools>, seen: Seen) -> Self {
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
        sync::lock(&self.seen)
    }

    /// Returns the connections for reading the file that has the name now. Does not detect that another file was copied
    /// over it.
    pub(super) async fn readers(&self) -> Result<Arc<Pools>, RegistryError> {
        if self.closed.load(Ordering::Acquire)
            || self.seen().stamp.map(|seen| seen.file) == Some(Stamp::read(&self.path)?.file)
        {
            return Ok(self.pools.load_full());
        }
        self.reopen_if_replaced().await
    }

    /// Returns the connections to the store that has the name now.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`] when there is no file with the name, or it is not a store.
    pub(super) async fn current(&self) -> Result<Arc<Pools>, RegistryError> {
        if self.closed.load(Ordering::Acquire) || self.seen().stamp == Some(Stamp::read(&self.path)?) {
            return Ok(self.pools.load_full());
        }
        self.reopen_if_replaced().await
    }

    /// Returns `true` if these connections still belong to the file with this name. Repeats the check for a while if a
    /// process is writing the file, because the answer is unknown then.
    pub(super) async fn is_current(&self, pools: &Arc<Pools>) -> Result<bool, RegistryError> {
        for _ in 0..LOOKS_BESIDE_A_LOG {
            if !Arc::ptr_eq(&self.current().await?, pools) {
                return Ok(false);
            }
            if self.closed.load(Ordering::Acquire) || self.seen().stamp == Some(Stamp::read(&self.path)?) {
                return Ok(true);
            }
            sleep(BETWEEN_LOOKS).await;
        }
        Ok(true)
    }

    async fn reopen_if_replaced(&self) -> Result<Arc<Pools>, RegistryError> {
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
                // The next call checks again.
                Verdict::Unknown => return Ok(self.pools.load_full()),
                Verdict::Other => {}
            }
        }
        tracing::error!(
            store = %self.path.display(),
            "the file of the store was replaced while it was in use: reopening it"
        );
        self.renew(in_place, &seen).await
    }

    /// Examines whether the main file still holds its previous content, and possibly more. A checkpoint may be writing
    /// the file, so a file counts as another one only if several reads say so and it is not modified meanwhile.
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

    /// Reopens the connections.
    async fn renew(&self, in_place: bool, seen: &Seen) -> Result<Arc<Pools>, RegistryError> {
        let (old, log) = (self.pools.load_full(), beside(&self.path, "-wal"));
        let is_stale = |log: &Path| fs::metadata(log).is_ok_and(|found| Some(identity(&found)) == seen.log);
        // Check this before anything is closed: if the previous file comes back, its connections are still used.
        if !is_store_by_itself(&self.path).await && (is_stale(&log) || !log.exists()) {
            return Err(RegistryError::Unavailable(
                "the file in the place of the store is not a store".into(),
            ));
        }
        if in_place && log.exists() {
            // The log belongs to the previous file. On closing, SQLite would write it into the new one. Keep it under
            // another name.
            let _ = fs::copy(&log, beside(&log, ".replaced"));
            let cut = OpenOptions::new().write(true).open(&log).and_then(|log| log.set_len(0));
            cut.map_err(|error| RegistryError::Unavailable(format!("{}: {error}", log.display())))?;
        }
        // From here on the previous connections may be unusable.
        self.seen().stamp = None;
        let ending = async {
            if !in_place {
                // Write the log into the previous file, whatever its name is now.
                let _ = query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&old.writer).await;
            }
            old.close().await;
        };
        if timeout(CLOSING, ending).await.is_err() && in_place {
            return Err(RegistryError::Unavailable("the previous file of the store is still in use".into()));
        }
        if !in_place && is_stale(&log) {
            set_aside(&log)?;
            let _ = fs::remove_file(beside(&self.path, "-shm"));
        }
        let before = Stamp::read(&self.path)?.file;
        let pools = Arc::new(open::pools(&self.path, &self.options).await?);
        if Stamp::read(&self.path)?.file != before {
            pools.close().await;
            return Err(RegistryError::Unavailable("the file of the store was replaced once more".into()));
        }
        self.set_hold(Hold::on(&self.path, before.1).ok());
        let seen = see(&self.path).await?;
        *self.seen() = seen;
        self.pools.store(pools.clone());
        Ok(pools)
    }

    /// Moves the write-ahead log into the file if there is no concurrent access, so that a copy of the file alone is
    /// recent, and bulk work leaves no large log.
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
            // The store is being read or written: the next call tries again.
            Ok(None) => {}
            Err(fault) => tracing::warn!(%fault, "failed to move the write-ahead log into the store"),
        }
    }

    pub(super) async fn close(&self) {
        // The log of another file must not be moved into the current one.
        let pools = match self.current().await {
            Ok(pools) => pools,
            Err(_) => self.pools.load_full(),
        };
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        pools.close().await;
        self.set_hold(None);
    }
}

/// Waits until no process uses another file that had the name before: it may write that file's write-ahead log, which
/// SQLite would take for this file's.
async fn await_release(path: &Path, file: (u64, u64)) -> Result<(), RegistryError> {
    for _ in 0..RELEASES {
        if !hold::another_in_use(path, file.1) {
            return Ok(());
        }
        sleep(BETWEEN_LOOKS).await;
    }
    Err(RegistryError::Unavailable(format!(
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

/// Moves the write-ahead log into the file if there is no concurrent access, and returns the state of the file.
async fn see(path: &Path) -> Result<Seen, RegistryError> {
    let found = Stamp::read(path)?;
    let checkpointed = checkpoint(path).await;
    let log = fs::metadata(beside(path, "-wal")).ok().map(|log| identity(&log));
    Ok(match checkpointed {
        Ok(Some(main)) => seen_after(path, Some(found), log, main).await,
        _ => Seen { stamp: Some(Stamp::read(path)?), log, main: read_main(path, None).await.ok() },
    })
}

/// Returns the state of the file after a checkpoint that wrote `main`. If the file was replaced since, its stamp is not
/// used, so that the replacement is detected.
async fn seen_after(path: &Path, before: Option<Stamp>, log: Option<(u64, u64)>, main: Mark) -> Seen {
    let stamp = Stamp::read(path).ok().filter(|now| before.is_some_and(|before| before.file == now.file));
    let holds = read_main(path, Some(&main)).await.is_ok_and(|found| found.continues(&main));
    Seen { stamp: if holds { stamp } else { before }, log, main: Some(main) }
}

/// Moves the write-ahead log into the file and truncates it. Returns the mark of the file, or `None` if there was
/// concurrent access.
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

/// Returns the mark of the main file without the log, at the change of a previous mark or at the file's last change.
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

/// Returns `true` if the main file has the tables of a store without the log.
async fn is_store_by_itself(path: &Path) -> bool {
    let options = SqliteConnectOptions::new().filename(path).read_only(true).immutable(true);
    let Ok(mut conn) = options.connect().await else { return false };
    let is_store = open::is_store(&mut conn).await;
    conn.close().await.is_ok() && matches!(is_store, Ok(true))
}

/// Removes a write-ahead log from a file that it does not belong to, because SQLite would apply it. A log that is not
/// empty is kept under another name.
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
    fn overwritten_file_of_equal_length_and_time_has_another_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.db");
        fs::write(&path, "one").unwrap();
        let (before, modified) = (Stamp::read(&path).unwrap(), path.metadata().unwrap().modified().unwrap());
        // The clock of a file system may be coarse.
        while Stamp::read(&path).unwrap() == before {
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.set_modified(modified).unwrap();
            if changed(&path.metadata().unwrap()) != before.changed {
                break;
            }
        }
        let after = Stamp::read(&path).unwrap();
        assert_eq!((after.file, after.length, after.modified), (before.file, before.length, before.modified));
        assert_ne!(after, before);
    }
}
