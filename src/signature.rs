//! Request signatures with SDK-HMAC-SHA256 in its `Access=` form, which transmit no secret.
//!
//! ```text
//! canonical request = METHOD \n path \n query \n headers \n signed headers \n payload hash
//! string to sign    = SDK-HMAC-SHA256 \n X-Sdk-Date \n hex(sha256(canonical request))
//! signature         = hex(hmac-sha256(secret, string to sign))
//! Authorization     = SDK-HMAC-SHA256 Access=KEY, SignedHeaders=a;b;c, Signature=hex
//! ```
//!
//! [`Canonical`] describes the canonical form. A verifier builds the canonical request only from the headers that
//! `SignedHeaders` names, because proxies may add and remove other headers. Signing and verifying do not allocate;
//! only formatting does.
//!
//! ```
//! use http::{HeaderMap, HeaderValue};
//! use portcullis::signature::{Parts, RequestSignature, Signer, hash};
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
//! let presented = RequestSignature::parse(parts, &authorization)?;
//! assert_eq!(presented.access_key(), "apikey-test-0001");
//! assert!(presented.check_date("2026-01-02T03:19:05Z".parse()?).is_ok());
//! assert!(presented.verify(b"secret-test-0001", content.as_str()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Differences between public signers
//!
//! * A `+` in the query is a plus sign, not a space.
//! * All values of a repeated header count, sorted, each on its own line.
//! * A pair without a name and a value (`a=1&&b=2`) is ignored.
//! * Dot segments are not removed.
//! * A method is signed in upper case. The verifier rejects other methods: `get` and `GET` are different methods, and
//!   no client signs `get`.
//! * The form with `Credential=` is another scheme of the same name, with a derived key. It is detected and rejected.
//!
//! There is no replay protection: an attacker who records a signed request can repeat it until its date is 15 minutes
//! old.

mod authorization;
mod canonical;
mod date;
mod signer;
mod verify;

pub use crate::model::hex::Hex;
pub use canonical::{Canonical, Parts};
pub use date::format_date;
pub use signer::{Signed, Signer};
pub use verify::{PayloadHash, RequestSignature};
#[doc(hidden)] // shared with the gateway package, which explains signatures
pub use {
    authorization::{Authorization, SignedHeaders},
    canonical::{canonical_query, string_to_sign},
    date::parse_date,
    signer::sign,
};

use http::HeaderName;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// The name of the scheme, in `Authorization` and in the string to sign.
pub const ALGORITHM: &str = "SDK-HMAC-SHA256";
/// The header with the date of the signature; the only header that must be signed.
pub static X_SDK_DATE: HeaderName = HeaderName::from_static("x-sdk-date");
/// The header with the SHA-256 of the body, which replaces the actual hash of the body.
pub static X_SDK_CONTENT_SHA256: HeaderName = HeaderName::from_static("x-sdk-content-sha256");
/// The value that replaces the hash of the body if the body is not signed.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
/// The maximum difference between a request's date and the verifier's clock, in seconds, in either direction.
pub const TOLERANCE: i64 = 15 * 60;

/// A fault of a signature that can be detected without the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFormatError {
    /// A header that must not be repeated is repeated.
    #[error("the header {0} is repeated")]
    Repeated(HeaderName),
    /// `Authorization` is missing or has another scheme.
    #[error("the request has no header Authorization: SDK-HMAC-SHA256")]
    Absent,
    /// `Authorization` has the scheme of the same name that derives its key.
    #[error("the form with Credential= is not supported: sign with Access=")]
    Derived,
    /// `Access` is empty or missing.
    #[error("Access or Credential is empty in Authorization")]
    NoAccess,
    /// `Authorization` does not consist of `Access=…, SignedHeaders=…, Signature=…`, each once.
    #[error("Authorization does not have the form SDK-HMAC-SHA256 Access=…, SignedHeaders=…, Signature=…")]
    Malformed,
    /// The method contains lower-case letters.
    #[error("the method must be in upper case")]
    Method,
    /// `SignedHeaders` is not a list of distinct, sorted names in lower case.
    #[error("SignedHeaders must list distinct, sorted header names in lower case, joined by semicolons")]
    Names,
    /// A signed header is missing.
    #[error("SignedHeaders names a header that the request does not have: {0}")]
    Lacking(Box<str>),
    /// `X-Sdk-Date` is not among the signed headers.
    #[error("SignedHeaders does not name x-sdk-date")]
    DateUnsigned,
    /// `X-Sdk-Date` is missing or has another form.
    #[error("X-Sdk-Date is missing or does not have the form YYYYMMDDTHHMMSSZ")]
    Date,
    /// `X-Sdk-Content-Sha256` is neither a hash nor [`UNSIGNED_PAYLOAD`].
    #[error("X-Sdk-Content-Sha256 is neither 64 hexadecimal digits nor UNSIGNED-PAYLOAD")]
    ContentHash,
    /// The date differs too much from the verifier's clock.
    #[error("signature expired, signature time:{},server time:{}", format_date(*signed), format_date(*now))]
    Expired {
        /// The time at which the request was signed.
        signed: Timestamp,
        /// The time at which the signature was checked.
        now: Timestamp,
    },
}

/// Returns the SHA-256 of a body.
#[must_use]
pub fn hash(content: &[u8]) -> Hex {
    Hex::encode(&Sha256::digest(content).into())
}
