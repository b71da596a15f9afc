//! Empty, locked files beside a store that tell other processes what is in use. A lock ends with its process, however
//! that ends, so that a file which is not locked is a leftover.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// The age at which a copy without a lock file, of an earlier version of the program, is a leftover.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// A locked file; removed when the last process that holds it lets go.
pub(super) struct Hold {
    path: PathBuf,
    file: File,
}

impl Hold {
    /// Makes a file and locks it; others may do the same.
    ///
    /// # Errors
    /// Those of the system, also when it has no locks there.
    pub(super) fn create(path: PathBuf) -> io::Result<Self> {
        loop {
            let file = private(OpenOptions::new().create(true).truncate(false).read(true).write(true))
                .open(&path)?;
            file.lock_shared()?;
            // While this one waited, the file may have been removed as a leftover.
            if is_at(&file, &path) {
                return Ok(Self { path, file });
            }
        }
    }

    /// The file that says that the store in `file` is in use.
    pub(super) fn on(store: &Path, file: u64) -> io::Result<Self> {
        Self::create(named(store, &format!("{IN_USE}{file:x}")))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.file.try_lock().is_ok() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The infix of the name of a lock file that says which inode of a store is in use.
const IN_USE: &str = ".in-use-";
/// The infix of the name of a copy of a store that an import changes.
pub(super) const IMPORT: &str = ".import-";
/// The suffix of the name of a copy's lock file.
pub(super) const LOCK: &str = ".lock";

/// Returns `true` if a process uses a file other than `file` under the name of a store: one that was there before.
pub(super) fn another_in_use(store: &Path, file: u64) -> bool {
    let own = named(store, &format!("{IN_USE}{file:x}"));
    beside(store, IN_USE).into_iter().filter(|path| *path != own).any(|path| !remove_leftover(&path))
}

/// Removes the copies of a store that killed processes left behind.
pub(super) fn remove_copies(store: &Path, now: SystemTime) {
    let files = beside(store, IMPORT);
    let base = named(store, IMPORT).to_string_lossy().len() + 32;
    for copy in &files {
        // The copy itself has the shortest name of its files; they all start with it. It may be gone already.
        let text = copy.to_string_lossy();
        let Some(name) = text.get(..base) else { continue };
        let lock = PathBuf::from(format!("{name}{LOCK}"));
        let is_leftover = match OpenOptions::new().read(true).write(true).open(&lock) {
            // Locked until the others are removed.
            Ok(file) => match file.try_lock() {
                Ok(()) => Some(Some(file)),
                Err(_) => None,
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => is_abandoned(copy, now).then_some(None),
            Err(_) => None,
        };
        if let Some(locked) = is_leftover {
            let of_copy = |path: &&PathBuf| path.to_string_lossy().starts_with(name) && **path != lock;
            for path in files.iter().filter(of_copy) {
                let _ = fs::remove_file(path);
            }
            let _ = fs::remove_file(&lock);
            drop(locked);
        }
    }
}

/// Removes a file that no process has locked. Returns `false` if one has, or if this is unknown.
fn remove_leftover(path: &Path) -> bool {
    match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) => error.kind() == io::ErrorKind::NotFound,
        Ok(file) => match file.try_lock() {
            Ok(()) => fs::remove_file(path).is_ok(),
            Err(TryLockError::WouldBlock) => false,
            // Where there are no locks, nothing is known to be in use.
            Err(TryLockError::Error(_)) => true,
        },
    }
}

fn is_abandoned(file: &Path, now: SystemTime) -> bool {
    let modified = fs::metadata(file).and_then(|found| found.modified());
    modified.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > ABANDONED))
}

/// The files beside a store whose names start with its own and this.
fn beside(store: &Path, suffix: &str) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (store.parent(), store.file_name()) else { return Vec::new() };
    let start = format!("{}{suffix}", name.to_string_lossy());
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let names = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(&start));
    names.map(|entry| entry.path()).collect()
}

fn named(store: &Path, suffix: &str) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    let (Ok(open), Ok(found)) = (file.metadata(), fs::metadata(path)) else { return false };
    (open.dev(), open.ino()) == (found.dev(), found.ino())
}

#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}

#[cfg(unix)]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;

    options.mode(0o600)
}

#[cfg(not(unix))]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Before any file of the tests was made, unless they say otherwise.
    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)
    }

    const COPY: &str = "s.db.import-0123456789abcdef0123456789abcdef";

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn copies_are_removed_once_unused() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("s.db");
        let file = |name: &str| folder.path().join(name);
        for suffix in ["", "-wal", "-shm", ".in-use-7"] {
            fs::write(file(&format!("{COPY}{suffix}")), "x").unwrap();
        }
        fs::write(file("s.db.important"), "x").unwrap();
        let hold = Hold::create(file(&format!("{COPY}{LOCK}"))).unwrap();
        let all = names(folder.path());
        remove_copies(&store, now());
        assert_eq!(names(folder.path()), all, "in use");
        // As if its process had been killed: unlocked, and not removed.
        hold.file.unlock().unwrap();
        remove_copies(&store, now());
        assert_eq!(names(folder.path()), ["s.db.important"]);
    }

    #[test]
    fn old_copy_without_a_lock_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("s.db");
        let copy = folder.path().join(COPY);
        fs::write(&copy, "x").unwrap();
        remove_copies(&store, now());
        assert!(copy.exists(), "an earlier version of the program may be using it");
        let modified = File::options().write(true).open(&copy).unwrap();
        modified.set_modified(now() - ABANDONED).unwrap();
        remove_copies(&store, now());
        assert!(copy.exists());
        modified.set_modified(now() - ABANDONED - Duration::from_secs(1)).unwrap();
        remove_copies(&store, now());
        assert!(!copy.exists());
    }

    #[test]
    fn file_is_in_use_until_its_last_holder_releases_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("s.db");
        let (one, two) = (Hold::on(&store, 7).unwrap(), Hold::on(&store, 7).unwrap());
        assert!(!another_in_use(&store, 7));
        assert!(another_in_use(&store, 8));
        drop(one);
        assert!(another_in_use(&store, 8));
        drop(two);
        assert!(!another_in_use(&store, 8));
        assert!(names(folder.path()).is_empty());
    }
}
