//! Encryption at rest of secrets that must be readable again. Each is bound to its row.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use serde::{Deserialize, Serialize};

use super::{Secret, hex::encode};

/// A secret under XChaCha20-Poly1305: the key's version, a random nonce, the ciphertext.
///
/// It can be decrypted only with a [`Sealer`] that has the key, and with the associated data that it was sealed
/// with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    #[serde(rename = "key")]
    key_version: u32,
    nonce: [u8; 24],
    ciphertext: Vec<u8>,
}

impl Sealed {
    /// Returns the version of the key that decrypts it.
    #[must_use]
    pub fn key(&self) -> u32 {
        self.key_version
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed(key {}, ***)", self.key_version)
    }
}

/// A version of the key that encrypts secrets.
#[derive(Clone)]
pub struct SealKey {
    version: u32,
    cipher: XChaCha20Poly1305,
}

impl SealKey {
    /// Creates a key of this version from 32 secret random bytes.
    #[must_use]
    pub fn new(version: u32, secret: &[u8; 32]) -> Self {
        Self { version, cipher: XChaCha20Poly1305::new(secret.into()) }
    }

    /// Returns the version that is stored with sealed secrets.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Returns a fingerprint that distinguishes this key from another one of the same version. It is the tag of an
    /// empty text under a nonce that no secret has, and reveals nothing of the key.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let payload = Payload { msg: &[], aad: b"check" };
        encode(&self.cipher.encrypt(&XNonce::default(), payload).unwrap_or_default())
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealKey({}, ***)", self.version)
    }
}

/// An error of decrypting a sealed secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnsealError {
    /// No key of this version is loaded.
    #[error("no key of version {0} is loaded to unseal a secret")]
    NoKey(u32),
    /// The ciphertext does not belong to this key and this associated data.
    #[error("a sealed secret was changed, or copied from another row")]
    Foreign,
}

/// Encrypts secrets with the current key and decrypts them with any loaded key.
///
/// ```
/// use portcullis::model::{SealKey, Sealer, Secret};
///
/// let sealer = Sealer::new(SealKey::new(1, &[7; 32]));
/// let sealed = sealer.seal(&Secret::from("s3cret".to_owned()), &["tenant", "app", "secret"]);
/// assert_eq!(sealer.unseal(&sealed, &["tenant", "app", "secret"]).unwrap().expose(), "s3cret");
/// assert!(sealer.unseal(&sealed, &["tenant", "another app", "secret"]).is_err());
/// ```
///
/// The keys can be replaced while the sealer is in use. Clones share the keys.
#[derive(Debug, Clone)]
pub struct Sealer {
    keys: Arc<ArcSwap<Keys>>,
}

#[derive(Debug, Clone)]
struct Keys {
    current: SealKey,
    previous: Vec<SealKey>,
}

impl Sealer {
    /// Creates a sealer with only a current key.
    #[must_use]
    pub fn new(current: SealKey) -> Self {
        Self { keys: Arc::new(ArcSwap::from_pointee(Keys { current, previous: Vec::new() })) }
    }

    /// Adds a key of secrets that are still stored. Clones that were made before do not get it.
    #[must_use]
    pub fn with_previous(self, key: SealKey) -> Self {
        let mut keys = Keys::clone(&self.keys.load());
        keys.previous.push(key);
        Self { keys: Arc::new(ArcSwap::from_pointee(keys)) }
    }

    /// Replaces the keys of this sealer and of all its clones by those of another.
    pub fn replace_keys(&self, other: &Self) {
        self.keys.store(other.keys.load_full());
    }

    /// Returns the version of the key that encrypts.
    #[must_use]
    pub fn current(&self) -> u32 {
        self.keys.load().current.version
    }

    /// Returns all keys, the current one first.
    #[must_use]
    pub fn keys(&self) -> Vec<SealKey> {
        let keys = self.keys.load();
        std::iter::once(&keys.current).chain(&keys.previous).cloned().collect()
    }

    /// Encrypts a secret with its associated data: tenant, row and column, from the outermost to the innermost, as
    /// returned by [`App::seal_context`](super::App::seal_context) and
    /// [`Credential::seal_context`](super::Credential::seal_context).
    ///
    /// # Panics
    /// When the system has no random source.
    #[must_use]
    pub fn seal(&self, secret: &Secret, place: &[&str]) -> Sealed {
        let mut nonce = [0; 24];
        getrandom::fill(&mut nonce).expect("the system's random source works");
        let payload = Payload { msg: secret.expose().as_bytes(), aad: &bound(place) };
        let keys = self.keys.load();
        let ciphertext = keys
            .current
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .expect("a secret is shorter than the cipher's limit of 256 GiB");
        Sealed { key_version: keys.current.version, nonce, ciphertext }
    }

    /// Decrypts a sealed secret.
    ///
    /// # Errors
    /// [`UnsealError`] when its key is not loaded, or when it was changed or copied to another row.
    pub fn unseal(&self, sealed: &Sealed, place: &[&str]) -> Result<Secret, UnsealError> {
        let keys = self.keys.load();
        let key = std::iter::once(&keys.current)
            .chain(&keys.previous)
            .find(|key| key.version == sealed.key_version)
            .ok_or(UnsealError::NoKey(sealed.key_version))?;
        let payload = Payload { msg: &sealed.ciphertext, aad: &bound(place) };
        let plain =
            key.cipher.decrypt(&XNonce::from(sealed.nonce), payload).map_err(|_| UnsealError::Foreign)?;
        String::from_utf8(plain).map(Secret::from).map_err(|_| UnsealError::Foreign)
    }
}

/// Encodes the parts with their lengths, so that different lists of parts never have equal bytes.
fn bound(place: &[&str]) -> Vec<u8> {
    place.iter().flat_map(|part| (part.len() as u64).to_be_bytes().into_iter().chain(part.bytes())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seal_context_is_unambiguous() {
        let sealer = Sealer::new(SealKey::new(1, &[7; 32]));
        let sealed = sealer.seal(&Secret::from("s".to_owned()), &["ab", "c"]);
        assert_eq!(sealer.unseal(&sealed, &["a", "bc"]), Err(UnsealError::Foreign));
    }

    #[test]
    fn previous_key_unseals_and_missing_key_is_named() {
        let place = ["t", "r"];
        let old = Sealer::new(SealKey::new(1, &[1; 32]));
        let sealed = old.seal(&Secret::from("s".to_owned()), &place);
        let new = Sealer::new(SealKey::new(2, &[2; 32]));
        assert_eq!(new.unseal(&sealed, &place), Err(UnsealError::NoKey(1)));
        let both = new.with_previous(SealKey::new(1, &[1; 32]));
        assert_eq!(both.unseal(&sealed, &place).unwrap().expose(), "s");
    }

    #[test]
    fn fingerprint_distinguishes_keys_of_one_version() {
        assert_eq!(SealKey::new(1, &[7; 32]).fingerprint(), SealKey::new(2, &[7; 32]).fingerprint());
        assert_ne!(SealKey::new(1, &[7; 32]).fingerprint(), SealKey::new(1, &[8; 32]).fingerprint());
        assert_eq!(SealKey::new(1, &[7; 32]).fingerprint().len(), 32);
    }

    #[test]
    fn replaced_keys_apply_to_every_holder() {
        let (place, secret) = (["t"], Secret::from("s".to_owned()));
        let sealer = Sealer::new(SealKey::new(1, &[1; 32]));
        let (clone, old) = (sealer.clone(), sealer.seal(&secret, &place));
        let next = Sealer::new(SealKey::new(2, &[2; 32])).with_previous(SealKey::new(1, &[1; 32]));
        sealer.replace_keys(&next);
        assert_eq!(clone.current(), 2);
        assert_eq!(clone.unseal(&old, &place).unwrap().expose(), "s");
        assert_eq!(clone.seal(&secret, &place).key(), 2);
    }

    #[test]
    fn debug_shows_nothing_of_a_sealed_secret() {
        let sealed = Sealer::new(SealKey::new(3, &[1; 32])).seal(&Secret::from("s".to_owned()), &[]);
        assert_eq!(format!("{sealed:?}"), "Sealed(key 3, ***)");
    }
}
