//! Atomic creation of a file.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

/// A file that only its owner may read. It has a temporary name until it is complete, and is deleted if dropped before.
pub(crate) struct AtomicFile {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
}

impl AtomicFile {
    /// Begins a file at a path that must not exist.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if the path exists; other errors of the operating system.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        if path.try_exists()? {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = BufWriter::new(NamedTempFile::with_prefix_in(".portcullis-", folder_of(path))?);
        Ok(Self { path: path.to_owned(), file })
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
    /// The errors of [`of`](Self::create).
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
