//! A file that is there whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use crate::config::private_mode;

/// A file that only its owner may read, under another name until it is whole. Dropped before, it never was.
pub(super) struct Draft {
    path: PathBuf,
    /// Its name until then.
    under: PathBuf,
    file: BufWriter<File>,
}

impl Draft {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        if path.try_exists()? {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let mut under = path.as_os_str().to_owned();
        under.push(".draft");
        let under = PathBuf::from(under);
        // That of who was interrupted.
        let _ = fs::remove_file(&under);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        private_mode(&mut options);
        let file = BufWriter::new(options.open(&under)?);
        Ok(Self { path: path.to_owned(), under, file })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Gives it its name, unless another one has it by now.
    pub(super) fn put(mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        // Unlike a rename, a link never replaces what is there.
        fs::hard_link(&self.under, &self.path)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.under);
    }
}
