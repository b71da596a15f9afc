//! The secrets file: peppers, which key the digests of credentials, and seal keys, which encrypt app secrets.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::private_file;
use portcullis::model::{
    Pepper, Peppers, SealKey, Sealer,
    hex::{decode, encode},
};

/// Versioned secrets of each kind, the current one first. With this file and the store, an attacker can test guesses of
/// keys and read app secrets.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretsFile {
    peppers: Vec<Versioned>,
    seal_keys: Vec<Versioned>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Versioned {
    version: u32,
    /// 64 hexadecimal digits.
    secret: Zeroizing<String>,
}

/// The kinds of secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretKind {
    /// The key of the credential digests.
    Pepper,
    /// The encryption key of stored secrets.
    SealKey,
}

/// The message about a secrets file that does not exist, after its path.
pub(crate) const MISSING: &str =
    "does not exist; restore it, or run `portcullis init` to create a new one if there is no store yet";

/// An error about the secrets file.
#[derive(Debug, thiserror::Error)]
#[error("secrets file {}: {what}", file.display())]
pub struct SecretsError {
    file: PathBuf,
    what: String,
}

impl SecretsFile {
    /// Reads a secrets file.
    ///
    /// # Errors
    /// If the file is missing or malformed, or users other than its owner may read it.
    pub fn load(file: &Path) -> Result<Self, SecretsError> {
        let error = |what: String| SecretsError { file: file.to_owned(), what };
        let text = Zeroizing::new(fs::read_to_string(file).map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => error(MISSING.into()),
            _ => error(format!("cannot be read: {cause}")),
        })?);
        private(file).map_err(error)?;
        Self::parse(&text).map_err(error)
    }

    /// Removes drafts of the file that killed processes left behind.
    pub(crate) fn remove_drafts(file: &Path) {
        private_file::remove_drafts(file);
    }

    /// Reads the text of a secrets file from an environment variable.
    ///
    /// # Errors
    /// If the variable is not set or malformed.
    pub fn from_environment(variable: &str) -> Result<Self, SecretsError> {
        let error = |what: String| SecretsError { file: format!("${variable}").into(), what };
        let text = std::env::var(variable).map_err(|cause| error(cause.to_string()))?;
        Self::parse(&Zeroizing::new(text)).map_err(error)
    }

    fn parse(text: &str) -> Result<Self, String> {
        // The message of the parser is dropped because it would quote a line with a secret.
        let secrets: Self = toml::from_str(text).map_err(|_| "is malformed".to_owned())?;
        let well = |list: &[Versioned]| !list.is_empty() && list.iter().all(|one| one.bytes().is_some());
        if !well(&secrets.peppers) || !well(&secrets.seal_keys) {
            return Err("needs at least one pepper and one seal key, each of 64 hexadecimal digits".into());
        }
        for list in [&secrets.peppers, &secrets.seal_keys] {
            let mut versions: Vec<_> = list.iter().map(|one| one.version).collect();
            versions.sort_unstable();
            if versions.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err("contains a version twice".into());
            }
        }
        Ok(secrets)
    }

    /// Returns the versions of one kind, the current one first.
    #[must_use]
    pub fn versions(&self, kind: SecretKind) -> Vec<u32> {
        self.list(kind).iter().map(|one| one.version).collect()
    }

    /// Adds a random secret without making it current. Returns its version.
    ///
    /// # Errors
    /// If the system has no random source, or no version number is left.
    pub fn add(&mut self, kind: SecretKind) -> Result<u32, String> {
        self.add_after(kind, 0)
    }

    /// Adds a fresh secret with a version greater than `last` and than those that are there; returns its version.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn add_after(&mut self, kind: SecretKind, last: u32) -> Result<u32, String> {
        let last = self.list(kind).iter().map(|one| one.version).fold(last, u32::max);
        let version = last.checked_add(1).ok_or("no version number is left")?;
        self.list_mut(kind).push(Versioned::fresh(version)?);
        Ok(version)
    }

    /// Makes a secret the current one. Earlier secrets still verify and unseal existing entries.
    ///
    /// # Errors
    /// If there is no such version.
    pub fn promote(&mut self, kind: SecretKind, version: u32) -> Result<(), String> {
        let list = self.list_mut(kind);
        let at = list.iter().position(|one| one.version == version).ok_or("there is no such version")?;
        list[..=at].rotate_right(1);
        Ok(())
    }

    /// Removes a secret. Entries that were made with it become unusable.
    ///
    /// # Errors
    /// If there is no such version, or it is the current one.
    pub fn remove(&mut self, kind: SecretKind, version: u32) -> Result<(), String> {
        let list = self.list_mut(kind);
        match list.iter().position(|one| one.version == version) {
            None => Err("there is no such version".into()),
            Some(0) => Err("this version is current; make another version current first".into()),
            Some(at) => {
                list.remove(at);
                Ok(())
            }
        }
    }

    /// Atomically replaces a file with these secrets. Keeps the owner and the mode of the file. To change a file, use
    /// [`edit`](Self::edit).
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn replace(&self, file: &Path) -> Result<(), SecretsError> {
        let error = |what: String| SecretsError { file: file.to_owned(), what };
        let text = self.text().map_err(error)?;
        private_file::replace(file, &text).map_err(|cause| error(format!("cannot be written: {cause}")))
    }

    /// Reads a file, changes the secrets and writes them back, with the file locked. Of two concurrent edits, the
    /// second sees the result of the first.
    ///
    /// # Errors
    /// If the file cannot be read, locked or written, or `edit` fails. The file is then unchanged.
    pub fn edit<T>(
        file: &Path,
        edit: impl FnOnce(&mut Self) -> Result<T, String>,
    ) -> Result<T, SecretsError> {
        let error = |what: String| SecretsError { file: file.to_owned(), what };
        let _locked = match private_file::lock(file) {
            Ok(locked) => Some(locked),
            // `load` below returns an error that says what to do.
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => None,
            Err(cause) => return Err(error(format!("cannot be locked: {cause}"))),
        };
        private_file::remove_drafts(file);
        let mut secrets = Self::load(file)?;
        let edited = edit(&mut secrets).map_err(error)?;
        secrets.replace(file)?;
        Ok(edited)
    }

    fn list(&self, kind: SecretKind) -> &[Versioned] {
        match kind {
            SecretKind::Pepper => &self.peppers,
            SecretKind::SealKey => &self.seal_keys,
        }
    }

    fn list_mut(&mut self, kind: SecretKind) -> &mut Vec<Versioned> {
        match kind {
            SecretKind::Pepper => &mut self.peppers,
            SecretKind::SealKey => &mut self.seal_keys,
        }
    }

    fn text(&self) -> Result<Zeroizing<String>, String> {
        let text = Zeroizing::new(toml::to_string(self).map_err(|cause| cause.to_string())?);
        Ok(Zeroizing::new(format!(
            "# Created by `portcullis init`. Without this file, all keys and app secrets are unusable.\n{}",
            *text
        )))
    }

    /// Creates a file of random secrets that only its owner may read.
    ///
    /// # Errors
    /// If the file exists or cannot be written.
    pub fn create(file: &Path) -> Result<Self, SecretsError> {
        let error = |what: String| SecretsError { file: file.to_owned(), what };
        let fresh = || Versioned::fresh(1).map(|one| vec![one]).map_err(error);
        let secrets = Self { peppers: fresh()?, seal_keys: fresh()? };
        let text = secrets.text().map_err(error)?;
        private_file::create(file, &text).map_err(|cause| error(format!("cannot be written: {cause}")))?;
        Ok(secrets)
    }

    /// Returns the peppers.
    #[must_use]
    pub fn peppers(&self) -> Peppers {
        let mut all =
            self.peppers.iter().map(|one| Pepper::new(one.version, &one.bytes().unwrap_or_default()));
        let current = all.next().unwrap_or(Pepper::new(0, &[0; 32]));
        all.fold(Peppers::new(current), Peppers::with_previous)
    }

    /// Returns the sealer with the seal keys.
    #[must_use]
    pub fn sealer(&self) -> Sealer {
        let mut all =
            self.seal_keys.iter().map(|one| SealKey::new(one.version, &one.bytes().unwrap_or_default()));
        let current = all.next().unwrap_or(SealKey::new(0, &[0; 32]));
        all.fold(Sealer::new(current), Sealer::with_previous)
    }
}

impl Versioned {
    fn fresh(version: u32) -> Result<Self, String> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        getrandom::fill(&mut *bytes).map_err(|cause| format!("the system has no random source: {cause}"))?;
        Ok(Self { version, secret: Zeroizing::new(encode(&*bytes)) })
    }

    fn bytes(&self) -> Option<[u8; 32]> {
        decode(&self.secret)
    }
}

#[cfg(unix)]
fn private(file: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;

    let mode = fs::metadata(file).map_err(|cause| cause.to_string())?.permissions().mode();
    if mode.trailing_zeros() >= 6 {
        Ok(())
    } else {
        Err(format!("is readable by other users (mode {:o}): run chmod 600", mode & 0o777))
    }
}

#[cfg(not(unix))]
fn private(_: &Path) -> Result<(), String> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_secrets_file_is_private_and_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sub/secrets.toml");
        let made = SecretsFile::create(&file).unwrap().peppers().current().digest("x");
        assert_eq!(SecretsFile::load(&file).unwrap().peppers().current().digest("x"), made);
        assert!(SecretsFile::create(&file).is_err(), "never overwritten");
    }

    #[test]
    fn secret_is_added_made_current_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secrets.toml");
        let mut secrets = SecretsFile::create(&file).unwrap();
        let old = secrets.peppers().current().digest("x");
        assert_eq!(secrets.add(SecretKind::Pepper), Ok(2));
        assert_eq!(secrets.add(SecretKind::Pepper), Ok(3));
        assert_eq!(secrets.peppers().current().version(), 1, "not before it is promoted");
        secrets.promote(SecretKind::Pepper, 3).unwrap();
        assert_eq!(secrets.versions(SecretKind::Pepper), [3, 1, 2]);
        assert_eq!(secrets.versions(SecretKind::SealKey), [1]);
        secrets.replace(&file).unwrap();
        let mut secrets = SecretsFile::load(&file).unwrap();
        assert!(secrets.peppers().digests("x").any(|digest| digest == old));
        secrets.remove(SecretKind::Pepper, 3).unwrap_err();
        secrets.remove(SecretKind::Pepper, 7).unwrap_err();
        secrets.promote(SecretKind::SealKey, 2).unwrap_err();
        secrets.remove(SecretKind::Pepper, 1).unwrap();
        assert!(!secrets.peppers().digests("x").any(|digest| digest == old));
    }

    /// Each edit reads the file before it writes it. Without the lock, one of two concurrent edits is lost.
    #[test]
    fn concurrent_edits_are_all_stored() {
        const WRITERS: u32 = 8;
        const EACH: u32 = 8;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secrets.toml");
        SecretsFile::create(&file).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..WRITERS {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        SecretsFile::edit(&file, |secrets| secrets.add(SecretKind::Pepper)).unwrap();
                    }
                });
            }
        });
        let versions = SecretsFile::load(&file).unwrap().versions(SecretKind::Pepper);
        assert_eq!(versions, (1..=1 + WRITERS * EACH).collect::<Vec<_>>());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside the file");
    }

    #[test]
    fn rejected_edit_leaves_the_file_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secrets.toml");
        SecretsFile::create(&file).unwrap();
        let before = fs::read(&file).unwrap();
        SecretsFile::edit(&file, |secrets| secrets.remove(SecretKind::Pepper, 7)).unwrap_err();
        assert_eq!(fs::read(&file).unwrap(), before);
    }

    #[cfg(unix)]
    #[test]
    fn edit_keeps_the_mode_of_the_file() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secrets.toml");
        SecretsFile::create(&file).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
        SecretsFile::edit(&file, |secrets| secrets.add(SecretKind::Pepper)).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o400);
    }

    #[test]
    fn duplicate_version_is_rejected() {
        let one = Versioned::fresh(1).unwrap();
        let list = || vec![Versioned { version: 1, secret: one.secret.clone() }];
        let mut secrets = SecretsFile { peppers: list(), seal_keys: list() };
        secrets.peppers.extend(list());
        assert!(SecretsFile::parse(&secrets.text().unwrap()).err().unwrap().contains("twice"));
    }

    #[cfg(unix)]
    #[test]
    fn secrets_readable_by_others_are_rejected() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secrets.toml");
        SecretsFile::create(&file).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(SecretsFile::load(&file).err().unwrap().to_string().contains("chmod 600"));
    }

    #[test]
    fn malformed_file_is_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secrets.toml");
        private_file::create(&file, "peppers = [{ version = 1, secret = \"abc\" }]\nseal_keys = [").unwrap();
        let error = SecretsFile::load(&file).err().unwrap().to_string();
        assert!(error.ends_with("is malformed"), "{error}");
    }
}
