//! The tokens that prove the possession of a lock.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{
    Secret,
    hex::{decode, encode},
};

/// The prefix by which people and secret scanners recognise a token.
const PREFIX: &str = "pcl_lock_";
/// Hexadecimal digits: 128 bits.
const DIGITS: usize = 32;

/// An error for a text that is no lock token. It deliberately says nothing about the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a lock token")]
pub struct InvalidToken;

/// A token that proves the possession of a lock: `pcl_lock_` and 32 hexadecimal digits.
///
/// The token is displayed once, to the client that acquired the lock, and is not stored: the registry has only its
/// [digest](TokenDigest).
///
/// ```
/// use portcullis::model::LockToken;
///
/// let token = LockToken::generate();
/// let presented: LockToken = token.expose().parse().unwrap();
/// assert_eq!(presented.digest(), token.digest());
/// assert_eq!(format!("{token:?}"), "LockToken(***)");
/// ```
#[derive(Clone)]
pub struct LockToken(Secret);

impl LockToken {
    /// Generates a token with 128 bits from the system's random source.
    ///
    /// # Panics
    /// When the system has no random source.
    #[must_use]
    pub fn generate() -> Self {
        let mut random = [0_u8; DIGITS / 2];
        getrandom::fill(&mut random).expect("the system's random source works");
        Self(Secret::from(format!("{PREFIX}{}", encode(&random))))
    }

    /// Returns the whole token, which is displayed once, to the client that acquired the lock.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// Returns the digest that the registry stores. It needs no pepper: 128 random bits cannot be guessed.
    #[must_use]
    pub fn digest(&self) -> TokenDigest {
        TokenDigest(Sha256::digest(self.expose()).into())
    }
}

impl FromStr for LockToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let digits = text.strip_prefix(PREFIX).ok_or(InvalidToken)?;
        // Only one spelling is accepted, because the digest is computed over the text.
        let plain = digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        if plain && digits.len() == DIGITS {
            Ok(Self(Secret::from(text.to_owned())))
        } else {
            Err(InvalidToken)
        }
    }
}

impl fmt::Debug for LockToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockToken(***)")
    }
}

/// SHA-256 of a lock token. A leaked digest cannot be used as the token.
///
/// The serialised form is 64 hexadecimal digits.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenDigest([u8; 32]);

/// Compares in constant time.
impl PartialEq for TokenDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TokenDigest {}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(***)")
    }
}

impl From<TokenDigest> for String {
    fn from(digest: TokenDigest) -> Self {
        encode(&digest.0)
    }
}

impl TryFrom<String> for TokenDigest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        decode(&text).map(Self).ok_or("a token's digest is 64 hexadecimal digits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_unique() {
        let [one, other] = [(); 2].map(|()| LockToken::generate());
        assert_ne!(one.expose(), other.expose());
        assert_ne!(one.digest(), other.digest());
    }

    #[test]
    fn token_has_one_spelling() {
        let text = format!("{PREFIX}{}", "0123456789abcdef".repeat(2));
        assert_eq!(text.parse::<LockToken>().unwrap().expose(), text);
        let (upper, short, long) = (text.replace('a', "A"), &text[..text.len() - 1], format!("{text}0"));
        for bad in
            ["", PREFIX, &upper, short, &long, &text[1..], &format!(" {text}"), &text.replace("9a", "é")]
        {
            assert!(bad.parse::<LockToken>().is_err(), "{bad}");
        }
    }

    #[test]
    fn digest_is_sha256_of_the_text() {
        let token: LockToken = format!("{PREFIX}{}", "0".repeat(DIGITS)).parse().unwrap();
        let text = String::from(token.digest());
        assert_eq!(text, "15a86033897d0a3b7baa50b3617a30a601c03415eda8c5885c6e8b43d98db02c");
        assert_eq!(TokenDigest::try_from(text).unwrap(), token.digest());
        assert_eq!(format!("{:?}", token.digest()), "TokenDigest(***)");
    }

    #[test]
    fn digests_that_differ_in_one_bit_differ() {
        let digest = TokenDigest([0x5A; 32]);
        for bit in 0..256 {
            let mut other = digest;
            other.0[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(digest, other, "bit {bit}");
        }
    }
}
