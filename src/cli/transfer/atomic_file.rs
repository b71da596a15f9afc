//! A file that is there whole or not at all.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

/// A file that only its owner may read, under another name until it is whole. Dropped before, it never was.
pub(crate) struct AtomicFile {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
}

impl AtomicFile {
    /// Begins a file that is not there yet.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] when it is there; what the system answers.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        if path.try_exists()? {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = BufWriter::new(NamedTempFile::with_prefix_in(".portcullis-", folder_of(path))?);
        Ok(Self { path: path.to_owned(), file })
    }

    /// The name that it has until it is whole.
    pub(crate) fn under(&self) -> &Path {
        self.file.get_ref().path()
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Gives it its name, unless another one has it by now. It is on the disk when this returns.
    ///
    /// # Errors
    /// As [`of`](Self::of).
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
