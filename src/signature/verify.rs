//! Verification of signatures.

use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use subtle::ConstantTimeEq;

use super::{
    Authorization, Canonical, Hex, Parts, SignatureFormatError, TOLERANCE, UNSIGNED_PAYLOAD,
    X_SDK_CONTENT_SHA256, parse_date,
    signer::{date, sign},
};

/// A well-formed signature of a request, not verified yet.
#[derive(Debug, Clone, Copy)]
pub struct RequestSignature<'a> {
    parts: Parts<'a>,
    authorization: Authorization<'a>,
    date: &'a str,
    stated: Option<&'a str>,
}

/// The part of a signature that concerns the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadHash {
    /// The body is signed. The canonical request needs the body's own hash.
    Required,
    /// The body is signed and must have this SHA-256.
    Sha256([u8; 32]),
    /// The body is not signed.
    Unsigned,
}

impl<'a> RequestSignature<'a> {
    /// Parses the signature of a request; `authorization` is the value of that header.
    ///
    /// # Errors
    /// The [`SignatureFormatError`] that makes the signature malformed.
    pub fn parse(parts: Parts<'a>, authorization: &'a str) -> Result<Self, SignatureFormatError> {
        let authorization = Authorization::parse(authorization)?;
        let date = date(parts, authorization.signed_headers)?;
        if parts.method.bytes().any(|byte| byte.is_ascii_lowercase()) {
            return Err(SignatureFormatError::Method);
        }
        let stated = only(parts.headers, &X_SDK_CONTENT_SHA256)?;
        let this = Self { parts, authorization, date, stated };
        if stated.is_some_and(|hash| hash != UNSIGNED_PAYLOAD && Hex::parse(hash).is_none()) {
            return Err(SignatureFormatError::ContentHash);
        }
        Canonical::new(parts, authorization.signed_headers, "").map(|_| this)
    }

    /// Returns the access key.
    #[must_use]
    pub fn access_key(&self) -> &'a str {
        self.authorization.access
    }

    /// Checks that the request's date is close enough to `now`.
    ///
    /// # Errors
    /// [`SignatureFormatError::Expired`] if the date differs by more than [`TOLERANCE`] seconds, in either direction.
    pub fn check_date(&self, now: Timestamp) -> Result<(), SignatureFormatError> {
        let signed = parse_date(self.date).ok_or(SignatureFormatError::Date)?;
        let away = now.as_nanosecond().abs_diff(signed.as_nanosecond());
        let near = away <= u128::from(TOLERANCE.unsigned_abs()) * 1_000_000_000;
        if near { Ok(()) } else { Err(SignatureFormatError::Expired { signed, now }) }
    }

    /// Returns the part of the signature that concerns the body.
    #[must_use]
    pub fn content(&self) -> PayloadHash {
        match self.stated {
            None => PayloadHash::Required,
            Some(hash) => Hex::parse(hash).map_or(PayloadHash::Unsigned, PayloadHash::Sha256),
        }
    }

    /// Returns the last line of the canonical request: the value of `X-Sdk-Content-Sha256`, or else the hash of the
    /// body. `None` if neither is known.
    #[must_use]
    pub fn payload<'h>(&self, content: Option<&'h Hex>) -> Option<&'h str>
    where
        'a: 'h,
    {
        self.stated.or(content.map(Hex::as_str))
    }

    /// Returns the canonical request that a valid signature covers.
    #[must_use]
    pub fn canonical<'h>(&self, payload: &'h str) -> Canonical<'h>
    where
        'a: 'h,
    {
        Canonical { parts: self.parts, signed: self.authorization.signed_headers, payload }
    }

    /// Returns `true` if the request was signed with this secret. Compares in constant time.
    #[must_use]
    pub fn verify(&self, secret: &[u8], payload: &str) -> bool {
        let expected = sign(secret, self.date, &self.canonical(payload).hash());
        expected.as_str().as_bytes().ct_eq(self.authorization.signature.as_bytes()).into()
    }
}

/// Returns the only value of a header.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, SignatureFormatError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            value.to_str().map(|text| Some(text.trim())).map_err(|_| SignatureFormatError::ContentHash)
        }
        (Some(_), Some(_)) => Err(SignatureFormatError::Repeated(name.clone())),
    }
}
