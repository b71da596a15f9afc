//! Files that only their owner may read, written atomically.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use tempfile::NamedTempFile;

use crate::draft;

/// Returns the folder of a file.
fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Creates a file that must not exist.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if it exists; other errors of the operating system.
pub(super) fn create(file: &Path, text: &str) -> io::Result<()> {
    platform::create_folder(folder_of(file))?;
    let draft = write_beside(file, text)?;
    draft.persist_noclobber(file)?;
    sync_folder(file)
}

/// Replaces the contents of an existing file. Keeps its owner and mode.
///
/// # Errors
/// Errors of the operating system. The file is then unchanged.
pub(super) fn replace(file: &Path, text: &str) -> io::Result<()> {
    // Replace the target of a symbolic link, not the link.
    let file = &fs::canonicalize(file)?;
    let draft = write_beside(file, text)?;
    platform::copy_owner_and_mode(&fs::metadata(file)?, draft.as_file())?;
    draft.as_file().sync_all()?;
    draft.persist(file)?;
    sync_folder(file)
}

/// Locks a file against other edits until the handle is dropped.
///
/// # Errors
/// Errors of the operating system.
pub(super) fn lock(file: &Path) -> io::Result<File> {
    loop {
        let open = File::open(file)?;
        open.lock()?;
        // The file may have been replaced while this process waited; the lock is then on the old file.
        if draft::is_same(&open.metadata()?, &fs::metadata(file)?) {
            return Ok(open);
        }
    }
}

/// Writes a text to a temporary file beside `file`. The temporary file is deleted when dropped, unless it is renamed.
fn write_beside(file: &Path, text: &str) -> io::Result<NamedTempFile> {
    let mut draft = draft::create(DRAFT, folder_of(file))?;
    draft.write_all(text.as_bytes())?;
    draft.as_file().sync_all()?;
    Ok(draft)
}

/// The prefix of the name of an incomplete file.
const DRAFT: &str = ".secrets-";

/// Removes the temporary files in the folder of a file that killed processes left behind.
pub(super) fn remove_drafts(file: &Path) {
    draft::remove_abandoned(DRAFT, folder_of(file));
}

/// Syncs the folder of a file, so that its new name survives a crash.
fn sync_folder(file: &Path) -> io::Result<()> {
    platform::sync_folder(folder_of(file))
}

#[cfg(unix)]
mod platform {
    use std::{
        fs::{DirBuilder, File, Metadata},
        io,
        os::unix::fs::{DirBuilderExt, MetadataExt, fchown},
        path::Path,
    };

    /// Creates a folder for its owner only, because it also contains the store.
    pub(super) fn create_folder(folder: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)
    }

    pub(super) fn copy_owner_and_mode(from: &Metadata, to: &File) -> io::Result<()> {
        let own = to.metadata()?;
        if (own.uid(), own.gid()) != (from.uid(), from.gid()) {
            fchown(to, Some(from.uid()), Some(from.gid()))?;
        }
        to.set_permissions(from.permissions())
    }

    pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}

#[cfg(not(unix))]
mod platform {
    use std::{
        fs::{File, Metadata},
        io,
        path::Path,
    };

    pub(super) fn create_folder(folder: &Path) -> io::Result<()> {
        std::fs::create_dir_all(folder)
    }

    pub(super) fn copy_owner_and_mode(from: &Metadata, to: &File) -> io::Result<()> {
        to.set_permissions(from.permissions())
    }

    pub(super) fn sync_folder(_: &Path) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drafts_are_removed_unless_a_process_holds_them() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secrets.toml");
        fs::write(folder.path().join(".secrets-left"), "x").unwrap();
        fs::write(folder.path().join("other"), "x").unwrap();
        let draft = write_beside(&file, "text").unwrap();
        remove_drafts(&file);
        assert!(draft.path().exists() && folder.path().join("other").exists());
        assert!(!folder.path().join(".secrets-left").exists());
        draft.persist_noclobber(&file).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "text");
    }
}
