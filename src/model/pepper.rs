//! The digests of keys: HMAC-SHA-256 under a versioned pepper.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

use super::hex::{decode, encode};

/// The keyed digest of a credential. A leaked digest cannot be used as the credential, and guesses cannot be tested
/// against it without the pepper.
///
/// `Debug` prints only the first four bytes. The serialised form is 64 hexadecimal digits.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub(super) [u8; 32]);

impl Digest {
    /// Returns the digest of a key that is compared by its SHA-256, without a pepper.
    pub(crate) fn from_sha256(sha256: [u8; 32]) -> Self {
        Self(sha256)
    }

    /// Returns the first 16 bytes. They are enough to find a record; the comparison always covers all 32 bytes.
    #[must_use]
    pub fn prefix(&self) -> [u8; 16] {
        let mut prefix = [0; 16];
        prefix.copy_from_slice(&self.0[..16]);
        prefix
    }
}

impl Digest {
    /// Returns the digest as words. A constant-time comparison of 32 single bytes takes longer than the look-up of
    /// the digest in its table.
    fn words(&self) -> [u64; 4] {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(self.0.as_chunks().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        words
    }
}

/// Compares in constant time.
impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        let pairs = self.words().into_iter().zip(other.words());
        pairs.fold(Choice::from(1), |equal, (ours, theirs)| equal & ours.ct_eq(&theirs)).into()
    }
}

impl Eq for Digest {}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({}…)", &encode(&self.0[..4]))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        encode(&digest.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        decode(&text).map(Self).ok_or("a digest is 64 hexadecimal digits")
    }
}

/// A version of the secret that keys the digests of credentials.
#[derive(Clone)]
pub struct Pepper {
    version: u32,
    mac: Hmac<Sha256>,
}

impl Pepper {
    /// Creates a pepper of this version from 32 secret random bytes.
    #[must_use]
    pub fn new(version: u32, secret: &[u8; 32]) -> Self {
        // HMAC pads a short key with zeros to the block size of the hash.
        let mut block = [0; 64];
        block[..32].copy_from_slice(secret);
        Self { version, mac: Hmac::new(&block.into()) }
    }

    /// Returns a fingerprint that distinguishes this pepper from another one of the same version. It reveals
    /// nothing of the pepper.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        encode(&self.digest_text(b"\xFFcheck", &[]).0[..8])
    }

    /// Returns the version that is stored with digests of this pepper.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Returns the digest of a credential under this pepper.
    #[must_use]
    pub fn digest(&self, credential: &str) -> Digest {
        self.digest_text(&[], credential.as_bytes())
    }

    /// Returns the digest of a credential of which only the SHA-256 is known. Its input begins with a byte that no
    /// text contains, so it never equals the digest of a text: a client cannot authenticate with the SHA-256
    /// itself.
    #[must_use]
    pub fn digest_of_sha256(&self, sha256: &[u8; 32]) -> Digest {
        self.digest_text(b"\xFFsha256", sha256)
    }

    fn digest_text(&self, before: &[u8], bytes: &[u8]) -> Digest {
        let mut mac = self.mac.clone();
        mac.update(before);
        mac.update(bytes);
        Digest(mac.finalize().into_bytes().into())
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pepper({}, ***)", self.version)
    }
}

/// All peppers in use. The current one makes new digests; previous ones still verify theirs.
///
/// ```
/// use portcullis::model::{Pepper, Peppers};
///
/// let old = Peppers::new(Pepper::new(1, &[1; 32]));
/// let stored = old.current().digest("pcl_key");
/// let rotated = Peppers::new(Pepper::new(2, &[2; 32])).with_previous(Pepper::new(1, &[1; 32]));
/// assert!(rotated.digests("pcl_key").any(|digest| digest == stored));
/// ```
#[derive(Debug, Clone)]
pub struct Peppers {
    current: Pepper,
    previous: Vec<Pepper>,
}

impl Peppers {
    /// Creates a set with only a current pepper.
    #[must_use]
    pub fn new(current: Pepper) -> Self {
        Self { current, previous: Vec::new() }
    }

    /// Adds a pepper of digests that are still in the registry. Previous peppers are tried in the order in which
    /// they were added: add the most used first, and remove those that no digest uses any more.
    #[must_use]
    pub fn with_previous(mut self, pepper: Pepper) -> Self {
        self.previous.push(pepper);
        self
    }

    /// Returns the pepper for new digests.
    #[must_use]
    pub fn current(&self) -> &Pepper {
        &self.current
    }

    /// Returns all peppers, the current one first.
    pub fn all(&self) -> impl Iterator<Item = &Pepper> {
        std::iter::once(&self.current).chain(&self.previous)
    }

    /// Returns the digests under which a credential may be stored, that of the current pepper first.
    pub fn digests(&self, credential: &str) -> impl Iterator<Item = Digest> {
        self.all().map(move |pepper| pepper.digest(credential))
    }

    /// Returns the digests under which a credential may be stored of which only the SHA-256 was known.
    pub fn digests_of_sha256(&self, sha256: &[u8; 32]) -> impl Iterator<Item = Digest> {
        self.all().map(move |pepper| pepper.digest_of_sha256(sha256))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn digest_is_one_function_for_all_lengths(secret: [u8; 32], credential in ".{0,120}") {
            let pepper = Pepper::new(1, &secret);
            let mut mac = pepper.mac.clone();
            mac.update(credential.as_bytes());
            prop_assert_eq!(pepper.digest(&credential), Digest(mac.finalize().into_bytes().into()));
        }
    }

    /// RFC 4231, test case 2, with its key padded to 32 bytes: HMAC pads keys with zeros anyway.
    #[test]
    fn digest_is_hmac_sha256() {
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let digest = Pepper::new(1, &key).digest("what do ya want for nothing?");
        let text = String::from(digest);
        assert_eq!(text, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert_eq!(Digest::try_from(text).unwrap(), digest);
    }

    /// Otherwise an attacker could authenticate with a SHA-256 that leaked elsewhere.
    #[test]
    fn presented_sha256_is_not_the_key() {
        let pepper = Pepper::new(1, &[7; 32]);
        // Every byte is an ASCII character.
        let sha256 = [b'a'; 32];
        let stored = pepper.digest_of_sha256(&sha256);
        let text = "a".repeat(32);
        for presented in [&text, &format!("sha256{text}"), &encode(&sha256), &format!("\u{FF}sha256{text}")] {
            assert_ne!(pepper.digest(presented), stored, "{presented}");
        }
        assert_ne!(Pepper::new(1, &[8; 32]).digest_of_sha256(&sha256), stored);
    }

    #[test]
    fn fingerprint_distinguishes_peppers_of_one_version() {
        assert_eq!(Pepper::new(1, &[7; 32]).fingerprint(), Pepper::new(2, &[7; 32]).fingerprint());
        assert_ne!(Pepper::new(1, &[7; 32]).fingerprint(), Pepper::new(1, &[8; 32]).fingerprint());
        assert_eq!(Pepper::new(1, &[7; 32]).fingerprint().len(), 16);
    }

    #[test]
    fn digests_that_differ_in_one_bit_differ() {
        let digest = Digest([0x5A; 32]);
        assert_eq!(digest, Digest([0x5A; 32]));
        for bit in 0..256 {
            let mut other = digest;
            other.0[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(digest, other, "bit {bit}");
        }
    }

    #[test]
    fn debug_shows_neither_pepper_nor_digest() {
        let pepper = Pepper::new(7, &[0xAB; 32]);
        assert_eq!(format!("{pepper:?}"), "Pepper(7, ***)");
        assert_eq!(format!("{:?}", pepper.digest("x")).len(), "Digest(01234567…)".len());
    }
}
