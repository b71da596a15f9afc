//! Atomic creation of a file.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::draft::{self, SEPARATOR};

/// The prefix of the names of temporary files.
const DRAFT: &str = ".portcullis-draft-";

/// A file that only its owner may read. It has a temporary name until it is complete, and is deleted if dropped before.
pub(crate) struct AtomicFile {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
    /// An empty file whose lock shows other processes that the temporary file is in use. The temporary file itself is
    /// not locked, because SQLite locks it for a copy of the store.
    _lock: NamedTempFile,
}

impl AtomicFile {
    /// Begins a file at a path that must not exist. Removes the temporary files that killed processes left in its
    /// folder.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if the path exists; other errors of the operating system.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        if path.try_exists()? {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let folder = folder_of(path);
        draft::remove_abandoned(DRAFT, folder);
        let lock = draft::create(DRAFT, folder)?;
        let mut name = lock.path().file_name().unwrap_or_default().to_owned();
        name.push(format!("{SEPARATOR}data"));
        let file = tempfile::Builder::new().prefix(&name).rand_bytes(0).tempfile_in(folder)?;
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file), _lock: lock })
    }

    /// Returns the temporary path.
    pub(crate) fn under(&self) -> &Path {
        self.file.get_ref().path()
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Renames the file to its path, unless that exists by now. The file is synced to disk on return.
    ///
    /// # Errors
    /// The errors of [`create`](Self::create).
    pub(crate) fn persist(self) -> io::Result<()> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        file.persist_noclobber(&self.path)?;
        File::open(folder_of(&self.path))?.sync_all()
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
