//! The state of a file, by which a change is noticed.

use std::{fs, path::Path, time::SystemTime};

/// The state of a file. Two states differ if the file was written or replaced between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileState {
    modified: SystemTime,
    length: u64,
    /// Device, inode and the time of the last change of the inode, where the system has them: another file may have
    /// the same length and time of modification.
    inode: (u64, u64, i64, i64),
}

impl FileState {
    /// Returns the state of a file; `None` if there is no file.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self { modified: found.modified().ok()?, length: found.len(), inode: inode(&found) })
    }
}

#[cfg(unix)]
fn inode(found: &fs::Metadata) -> (u64, u64, i64, i64) {
    use std::os::unix::fs::MetadataExt;

    (found.dev(), found.ino(), found.ctime(), found.ctime_nsec())
}

#[cfg(not(unix))]
fn inode(_: &fs::Metadata) -> (u64, u64, i64, i64) {
    (0, 0, 0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_file_has_another_state() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("a"), folder.path().join("b"));
        assert_eq!(FileState::of(&file), None);
        fs::write(&file, "1").unwrap();
        let before = FileState::of(&file);
        assert_eq!(FileState::of(&file), before);
        fs::write(&other, "2").unwrap();
        fs::rename(&other, &file).unwrap();
        assert_ne!(FileState::of(&file), before);
    }
}
