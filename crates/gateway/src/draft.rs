//! Temporary files that are locked while they are in use. A lock ends with its process, so that a file which is not
//! locked was left behind by a killed process.

use std::{
    fs::{self, Metadata, OpenOptions},
    io,
    path::Path,
};

use tempfile::NamedTempFile;

/// Separates the name of a draft from those of the files that belong to it.
pub(crate) const SEPARATOR: char = '.';

/// Creates a locked file with a random name in a folder. Only its owner may read it. It is deleted when dropped, unless
/// it is renamed.
///
/// # Errors
/// Errors of the operating system.
pub(crate) fn create(prefix: &str, folder: &Path) -> io::Result<NamedTempFile> {
    loop {
        let draft = NamedTempFile::with_prefix_in(prefix, folder)?;
        // Some file systems have no locks. There, no draft is removed either.
        let _ = draft.as_file().lock();
        let opened = draft.as_file().metadata()?;
        // Before it was locked, another process may have removed it as abandoned.
        if fs::metadata(draft.path()).is_ok_and(|found| is_same(&opened, &found)) {
            return Ok(draft);
        }
    }
}

/// Removes the drafts in a folder that no process has locked, with the files that belong to them: those whose names
/// continue the name of the draft with [`SEPARATOR`].
pub(crate) fn remove_abandoned(prefix: &str, folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let files = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let names = files.filter_map(|entry| entry.file_name().into_string().ok());
    let names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
    for name in &names {
        let is_draft = name.strip_prefix(prefix).is_some_and(|rest| !rest.contains(SEPARATOR));
        let opened = OpenOptions::new().read(true).write(true).open(folder.join(name));
        let Some(opened) = opened.ok().filter(|opened| is_draft && opened.try_lock().is_ok()) else {
            continue;
        };
        let start = format!("{name}{SEPARATOR}");
        for belonging in names.iter().filter(|other| other.starts_with(&start)) {
            let _ = fs::remove_file(folder.join(belonging));
        }
        let _ = fs::remove_file(folder.join(name));
        drop(opened);
    }
}

/// Returns `true` if both are the metadata of one file.
#[cfg(unix)]
pub(crate) fn is_same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;

    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Returns `true` if both are the metadata of one file.
#[cfg(not(unix))]
pub(crate) fn is_same(one: &Metadata, other: &Metadata) -> bool {
    one.created().ok() == other.created().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abandoned_drafts_are_removed_and_others_kept() {
        let folder = tempfile::tempdir().unwrap();
        let draft = create(".draft-", folder.path()).unwrap();
        let beside = draft.path().with_extension("data");
        fs::write(&beside, "x").unwrap();
        for name in [".draft-left", ".draft-left.data", ".draft-left.data-journal", ".draft", "other"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        remove_abandoned(".draft-", folder.path());
        let mut names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort_unstable();
        let mut kept = vec![
            draft.path().to_owned(),
            beside.clone(),
            folder.path().join(".draft"),
            folder.path().join("other"),
        ];
        kept.sort_unstable();
        assert_eq!(names, kept);
    }
}
