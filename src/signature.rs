//! Requests that are signed instead of carrying a secret: SDK-HMAC-SHA256, in its `Access=` form.
//!
//! ```text
//! canonical request = METHOD \n path \n query \n headers \n signed headers \n payload hash
//! string to sign    = SDK-HMAC-SHA256 \n X-Sdk-Date \n hex(sha256(canonical request))
//! signature         = hex(hmac-sha256(secret, string to sign))
//! Authorization     = SDK-HMAC-SHA256 Access=KEY, SignedHeaders=a;b;c, Signature=hex
//! ```
//!
//! What of a request goes into it in which form says [`Canonical`]. Who checks a signature builds the canonical
//! request from the headers that `SignedHeaders` names and from nothing else: other headers may come and go on
//! the way. Neither signing nor checking allocates; only showing does.
//!
//! ```
//! use http::{HeaderMap, HeaderValue};
//! use portcullis::signature::{Parts, Presented, Signer, hash};
//!
//! let mut headers = HeaderMap::new();
//! headers.insert("host", HeaderValue::from_static("gw.example.com"));
//! headers.insert("x-sdk-date", HeaderValue::from_static("20260102T030405Z"));
//! let parts = Parts { method: "GET", path: "/orders/42", query: "", authority: None, headers: &headers };
//! let content = hash(b"");
//!
//! let signer = Signer::new("apikey-test-0001", b"secret-test-0001");
//! let signed = signer.sign(parts, "host;x-sdk-date", content.as_str())?;
//! let authorization = signed.authorization();
//! let presented = Presented::read(parts, &authorization)?;
//! assert_eq!(presented.access(), "apikey-test-0001");
//! assert!(presented.in_time("2026-01-02T03:19:05Z".parse()?).is_ok());
//! assert!(presented.is_signed_with(b"secret-test-0001", content.as_str()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where public signers differ
//!
//! * A `+` in the query is a plus sign, not a space.
//! * Of a header that stands several times every value counts, sorted, on a line of its own.
//! * A pair without a name and a value (`a=1&&b=2`) does not count.
//! * Dot segments stay.
//! * A method is signed in upper case. Who checks refuses any other: `get` is another method than `GET`, and nobody
//!   has signed it.
//! * The form with `Credential=` has the same name and is another scheme, with a derived key. It is told apart,
//!   and not taken.
//!
//! Nothing tells a request from its copy: who records a signed request can repeat it until its date is 15 minutes
//! old.

mod authorization;
mod canonical;
mod date;
mod verify;
mod signer;

pub use authorization::{Authorization, SignedHeaders};
pub use canonical::{Canonical, Parts, canonical_query, string_to_sign};
pub use date::{parse_date, format_date};
pub use verify::{PayloadHash, RequestSignature};
pub use signer::{Signed, Signer, sign};

use http::HeaderName;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// The name of the scheme, in `Authorization` and in the string to sign.
pub const ALGORITHM: &str = "SDK-HMAC-SHA256";
/// The header that says when a request was signed; the only one that must be signed.
pub static X_SDK_DATE: HeaderName = HeaderName::from_static("x-sdk-date");
/// The header that says what the content hashes to, in place of the content itself.
pub static X_SDK_CONTENT_SHA256: HeaderName = HeaderName::from_static("x-sdk-content-sha256");
/// What stands for the content's hash when the content is not signed.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
/// How far a request's date may be from the time of whoever checks it, in seconds, either way.
pub const TOLERANCE: i64 = 15 * 60;

/// What is wrong with a signature, before any secret is looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFormatError {
    /// A header stands more than once of which only one can count.
    #[error("the header {0} stands more than once")]
    Repeated(HeaderName),
    /// `Authorization` is of another scheme, or is not there.
    #[error("there is no Authorization: SDK-HMAC-SHA256")]
    Absent,
    /// It is of the scheme with the same name that derives its key.
    #[error("the form with Credential= is not taken here: sign with Access=")]
    Derived,
    /// `Access` is empty or missing.
    #[error("Access or Credential is empty in Authorization")]
    NoAccess,
    /// `Authorization` is not `Access=…, SignedHeaders=…, Signature=…`, each once.
    #[error("Authorization is not SDK-HMAC-SHA256 Access=…, SignedHeaders=…, Signature=…")]
    Malformed,
    /// The method has letters in lower case.
    #[error("the method is not in upper case, in which it is signed")]
    Method,
    /// `SignedHeaders` are not names in lower case, sorted, each once.
    #[error("SignedHeaders are not names in lower case, sorted, each once, joined by semicolons")]
    Names,
    /// A header is signed and not there.
    #[error("SignedHeaders names a header that the request does not have: {0}")]
    Lacking(Box<str>),
    /// `X-Sdk-Date` is not among the signed headers.
    #[error("SignedHeaders does not name x-sdk-date")]
    DateUnsigned,
    /// `X-Sdk-Date` is not there, or no date in its form.
    #[error("X-Sdk-Date is not of the form YYYYMMDDTHHMMSSZ")]
    Date,
    /// `X-Sdk-Content-Sha256` is neither a hash nor [`UNSIGNED_PAYLOAD`].
    #[error("X-Sdk-Content-Sha256 is neither 64 hexadecimal digits nor UNSIGNED-PAYLOAD")]
    ContentHash,
    /// The date is too far away.
    #[error("signature expired, signature time:{},server time:{}", format_date(*signed), format_date(*now))]
    Expired {
        /// When the request was signed.
        signed: Timestamp,
        /// When that was checked.
        now: Timestamp,
    },
}

/// 32 bytes as 64 hexadecimal digits in lower case, where they stand.
///
/// ```
/// use portcullis::signature::Hex;
///
/// let hex = Hex::of(&[0xAB; 32]);
/// assert_eq!(hex.as_str(), "ab".repeat(32));
/// assert_eq!(Hex::parse(&"aB".repeat(32)), Some([0xAB; 32]));
/// assert_eq!(Hex::parse("ab"), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hex([u8; 64]);

impl Hex {
    /// These bytes.
    #[must_use]
    pub fn encode(bytes: &[u8; 32]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        Self(text)
    }

    /// The bytes that such a text stands for, in upper or lower case; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<[u8; 32]> {
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
        let pairs: &[[u8; 2]; 32] = pairs.try_into().ok()?;
        let mut bytes = [0; 32];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Some(bytes)
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// What content hashes to.
#[must_use]
pub fn hash(content: &[u8]) -> Hex {
    Hex::encode(&Sha256::digest(content).into())
}
