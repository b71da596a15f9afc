//! The format of an API key: a prefix, 256 random bits, a checksum.

use std::{fmt, str::FromStr};

use super::Secret;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Digits of the random part: 62^43 is just above 2^256.
const RANDOM: usize = 43;
/// Digits of the checksum: 62^6 is above 2^32.
const CHECKSUM: usize = 6;

/// The readable start of an API key, by which people and secret scanners recognise it.
///
/// 2 to 16 characters of `a-z 0-9 _`, starting with a letter. In a key, `_` follows the prefix.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyPrefix(Box<str>);

impl KeyPrefix {
    /// Returns the prefix without the `_` that follows it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for KeyPrefix {
    fn default() -> Self {
        Self("pcl".into())
    }
}

impl FromStr for KeyPrefix {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let plain = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let starts = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
        if plain && starts && (2..=16).contains(&text.len()) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidKey)
        }
    }
}

/// An error for a text that is no API key of Portcullis. It deliberately says nothing about the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an API key")]
pub struct InvalidKey;

/// A generated API key: `<prefix>_<43 base62 characters><6 base62 checksum>`.
///
/// The checksum is the CRC-32 of everything before it. A valid checksum does not prove that the key is known; it
/// distinguishes a key from junk and from a mistyped key without a look-up.
///
/// ```
/// use portcullis::model::{GeneratedKey, KeyPrefix};
///
/// let key = GeneratedKey::generate(&KeyPrefix::default());
/// let text = key.expose().to_owned();
/// assert!(text.starts_with("pcl_") && text.len() == 53);
/// assert_eq!(GeneratedKey::parse(&text).unwrap(), &*text);
/// assert!(GeneratedKey::parse(&text.replace("pcl_", "pcl_x")).is_err());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct GeneratedKey(Secret);

impl GeneratedKey {
    /// The length of the shortest key, in bytes. A shorter text is not a key.
    pub const MIN_LENGTH: usize = 1 + RANDOM + CHECKSUM;

    /// Generates a key with 256 bits from the system's random source.
    ///
    /// # Panics
    /// When the system has no random source.
    #[must_use]
    pub fn generate(prefix: &KeyPrefix) -> Self {
        let mut random = [0_u8; 32];
        getrandom::fill(&mut random).expect("the system's random source works");
        Self::from_random(prefix, random)
    }

    fn from_random(prefix: &KeyPrefix, random: [u8; 32]) -> Self {
        let mut text = format!("{}_", prefix.as_str());
        text.extend(base62::<RANDOM>(random).map(char::from));
        let crc = crc32fast::hash(text.as_bytes());
        text.extend(checksum(crc).map(char::from));
        Self(Secret::from(text))
    }

    /// Checks format and checksum of a key from a request, with any prefix, without copying it.
    ///
    /// # Errors
    /// [`InvalidKey`] when the text was never issued as a key, whatever the registry holds.
    pub fn parse(text: &str) -> Result<&str, InvalidKey> {
        let body = text.len().checked_sub(CHECKSUM).ok_or(InvalidKey)?;
        let (body, sum) = text.as_bytes().split_at(body);
        let start = body.len().checked_sub(RANDOM + 1).ok_or(InvalidKey)?;
        let long = start > 16;
        // The fold has no early exit, so that the compiler can check many bytes at once.
        let plain = body[start + 1..].iter().fold(true, |plain, byte| plain & byte.is_ascii_alphanumeric());
        if long || body[start] != b'_' || !plain {
            return Err(InvalidKey);
        }
        if checksum(crc32fast::hash(body)) == *sum { Ok(text) } else { Err(InvalidKey) }
    }

    /// Returns the whole key, which is displayed once, when it is created.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// Returns the part that may always be displayed: the prefix and the first four random characters.
    #[must_use]
    pub fn hint(&self) -> &str {
        let text = self.expose();
        &text[..text.len() - CHECKSUM - RANDOM + 4]
    }
}

impl fmt::Debug for GeneratedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(***)")
    }
}

/// Converts the number, most significant byte first, to exactly `N` digits of base 62.
fn base62<const N: usize>(mut number: [u8; 32]) -> [u8; N] {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        let mut rest = 0_u32;
        for byte in &mut number {
            let value = rest << 8 | u32::from(*byte);
            // `rest` is below 62, so `value` is below 62 * 256.
            *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
            rest = value % 62;
        }
        *digit = ALPHABET[rest as usize];
    }
    digits
}

fn checksum(mut crc: u32) -> [u8; CHECKSUM] {
    let mut digits = [b'0'; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(crc % 62) as usize];
        crc /= 62;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_contains_every_random_bit() {
        let low = GeneratedKey::from_random(&KeyPrefix::default(), [0; 32]);
        assert!(low.expose().starts_with(&format!("pcl_{}", "0".repeat(RANDOM))));
        let mut seen = std::collections::HashSet::new();
        for bit in 0..256 {
            let mut random = [0; 32];
            random[bit / 8] = 1 << (bit % 8);
            assert!(
                seen.insert(GeneratedKey::from_random(&KeyPrefix::default(), random).expose().to_owned())
            );
        }
    }

    #[test]
    fn changed_character_makes_the_key_invalid() {
        let key = GeneratedKey::generate(&"demo_live".parse().unwrap());
        let text = key.expose();
        for at in 0..text.len() {
            let mut changed = text.as_bytes().to_vec();
            changed[at] = if changed[at] == b'a' { b'b' } else { b'a' };
            assert_eq!(
                GeneratedKey::parse(std::str::from_utf8(&changed).unwrap()),
                Err(InvalidKey),
                "at {at}"
            );
        }
    }

    #[test]
    fn junk_of_any_length_is_rejected() {
        for junk in ["", "_", "pcl_", "ключ", &"a".repeat(53), &"a".repeat(10_000), &"é".repeat(40)] {
            assert_eq!(GeneratedKey::parse(junk), Err(InvalidKey));
        }
    }

    #[test]
    fn hint_shows_four_random_characters() {
        let key = GeneratedKey::generate(&KeyPrefix::default());
        assert_eq!(key.hint(), &key.expose()[..8]);
    }
}
