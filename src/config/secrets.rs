//! The file of secrets: what keys digests, what seals app secrets.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::app::{
    Pepper, Peppers, SealKey, Sealer,
    hex::{hex, unhex},
};

/// Versioned secrets, the current one of each kind first. Whoever has this file and the store can test
/// guesses of keys and read app secrets.
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

/// Why a file of secrets cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("secrets file {}: {what}", file.display())]
pub struct SecretsError {
    file: PathBuf,
    what: String,
}

impl SecretsFile {
    /// Reads a file of secrets.
    ///
    /// # Errors
    /// When it is missing, malformed, or others than its owner may read it.
    pub fn load(file: &Path) -> Result<Self, SecretsError> {
        let error = |what: String| SecretsError { file: file.to_owned(), what };
        let text = Zeroizing::new(fs::read_to_string(file).map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => error("is not there; portcullis init makes it".into()),
            _ => error(format!("cannot be read: {cause}")),
        })?);
        private(file).map_err(error)?;
        // The parser's own message would quote the line, and with it a secret.
        let secrets: Self = toml::from_str(&text).map_err(|_| error("is malformed".into()))?;
        let well = |list: &[Versioned]| !list.is_empty() && list.iter().all(|one| one.bytes().is_some());
        if well(&secrets.peppers) && well(&secrets.seal_keys) {
            Ok(secrets)
        } else {
            Err(error("needs at least one pepper and one seal key, each of 64 hexadecimal digits".into()))
        }
    }

    /// Makes a file of fresh secrets that only its owner may read.
    ///
    /// # Errors
    /// When it is there already, or cannot be written.
    pub fn create(file: &Path) -> Result<Self, SecretsError> {
        let error = |what: String| SecretsError { file: file.to_owned(), what };
        let fresh = || {
            let mut bytes = Zeroizing::new([0_u8; 32]);
            getrandom::fill(&mut *bytes).map_err(|cause| error(format!("no random source: {cause}")))?;
            Ok(vec![Versioned { version: 1, secret: Zeroizing::new(hex(&*bytes)) }])
        };
        let secrets = Self { peppers: fresh()?, seal_keys: fresh()? };
        let text = toml::to_string(&secrets).map_err(|cause| error(cause.to_string()))?;
        let text = Zeroizing::new(format!(
            "# Made by portcullis init. Without it no key and no app secret can be read.\n{text}"
        ));
        write_private(file, &text).map_err(|cause| error(format!("cannot be written: {cause}")))?;
        Ok(secrets)
    }

    /// The peppers.
    #[must_use]
    pub fn peppers(&self) -> Peppers {
        let mut all =
            self.peppers.iter().map(|one| Pepper::new(one.version, &one.bytes().unwrap_or_default()));
        let current = all.next().unwrap_or(Pepper::new(0, &[0; 32]));
        all.fold(Peppers::new(current), Peppers::with_previous)
    }

    /// The keys that seal.
    #[must_use]
    pub fn sealer(&self) -> Sealer {
        let mut all =
            self.seal_keys.iter().map(|one| SealKey::new(one.version, &one.bytes().unwrap_or_default()));
        let current = all.next().unwrap_or(SealKey::new(0, &[0; 32]));
        all.fold(Sealer::new(current), Sealer::with_previous)
    }
}

impl Versioned {
    fn bytes(&self) -> Option<[u8; 32]> {
        unhex(&self.secret)
    }
}

#[cfg(unix)]
fn private(file: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;

    let mode = fs::metadata(file).map_err(|cause| cause.to_string())?.permissions().mode();
    if mode.trailing_zeros() >= 6 {
        Ok(())
    } else {
        Err(format!("others may read it (mode {:o}): chmod 600", mode & 0o777))
    }
}

#[cfg(not(unix))]
fn private(_: &Path) -> Result<(), String> {
    Ok(())
}

#[cfg(unix)]
fn private_mode(options: &mut fs::OpenOptions) {
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
}

#[cfg(not(unix))]
fn private_mode(_: &mut fs::OpenOptions) {}

fn write_private(file: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    // Written whole elsewhere, then put in place: who is interrupted leaves no half of a file.
    let draft = file.with_extension("draft");
    let _ = fs::remove_file(&draft);
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    private_mode(&mut options);
    let mut open = options.open(&draft)?;
    open.write_all(text.as_bytes())?;
    open.sync_all()?;
    // Unlike a rename, a link never replaces what is there.
    fs::hard_link(&draft, file)?;
    fs::remove_file(&draft)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_secrets_are_private_and_can_be_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sub/secrets.toml");
        let made = SecretsFile::create(&file).unwrap().peppers().current().digest("x");
        assert_eq!(SecretsFile::load(&file).unwrap().peppers().current().digest("x"), made);
        assert!(SecretsFile::create(&file).is_err(), "never overwritten");
    }

    #[cfg(unix)]
    #[test]
    fn secrets_that_others_may_read_are_refused() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secrets.toml");
        SecretsFile::create(&file).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(SecretsFile::load(&file).err().unwrap().to_string().contains("chmod 600"));
    }

    #[test]
    fn a_malformed_file_is_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secrets.toml");
        write_private(&file, "peppers = [{ version = 1, secret = \"abc\" }]\nseal_keys = [").unwrap();
        let error = SecretsFile::load(&file).err().unwrap().to_string();
        assert!(error.ends_with("is malformed"), "{error}");
    }
}
