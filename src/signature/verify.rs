//! The side that checks.

use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use subtle::ConstantTimeEq;

use super::{
    Authorization, Canonical, SignatureFormatError, Hex, Parts, TOLERANCE, UNSIGNED_PAYLOAD, X_SDK_CONTENT_SHA256, parse_date,
    signer::{date, sign},
};

/// A signature as a request presents it: well-formed, and not proved yet.
#[derive(Debug, Clone, Copy)]
pub struct RequestSignature<'a> {
    parts: Parts<'a>,
    authorization: Authorization<'a>,
    date: &'a str,
    stated: Option<&'a str>,
}

/// What a signature says of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadHash {
    /// It is signed, and only its own hash completes what was signed.
    Required,
    /// It is signed, and must hash to this.
    Sha256([u8; 32]),
    /// It is not signed.
    Unsigned,
}

impl<'a> RequestSignature<'a> {
    /// Reads what a request presents; `authorization` is the value of that header.
    ///
    /// # Errors
    /// What is wrong with its form: see [`Flaw`].
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

    /// Who signs.
    #[must_use]
    pub fn access_key(&self) -> &'a str {
        self.authorization.access
    }

    /// Whether its date is near enough.
    ///
    /// # Errors
    /// [`Flaw::Expired`] when it is more than [`TOLERANCE`] seconds away, either way.
    pub fn check_date(&self, now: Timestamp) -> Result<(), SignatureFormatError> {
        let signed = parse_date(self.date).ok_or(SignatureFormatError::Date)?;
        let away = now.as_nanosecond().abs_diff(signed.as_nanosecond());
        let near = away <= u128::from(TOLERANCE.unsigned_abs()) * 1_000_000_000;
        if near { Ok(()) } else { Err(SignatureFormatError::Expired { signed, now }) }
    }

    /// What is signed of the content.
    #[must_use]
    pub fn content(&self) -> PayloadHash {
        match self.stated {
            None => PayloadHash::Required,
            Some(hash) => Hex::parse(hash).map_or(PayloadHash::Unsigned, PayloadHash::Sha256),
        }
    }

    /// The last line of the canonical request: what `X-Sdk-Content-Sha256` says, or else what the content
    /// hashes to. `None` when neither is known.
    #[must_use]
    pub fn payload<'h>(&self, content: Option<&'h Hex>) -> Option<&'h str>
    where
        'a: 'h,
    {
        self.stated.or(content.map(Hex::as_str))
    }

    /// The canonical request that must have been signed.
    #[must_use]
    pub fn canonical<'h>(&self, payload: &'h str) -> Canonical<'h>
    where
        'a: 'h,
    {
        Canonical { parts: self.parts, signed: self.authorization.signed_headers, payload }
    }

    /// Whether it was signed with this secret; compared in constant time.
    #[must_use]
    pub fn verify(&self, secret: &[u8], payload: &str) -> bool {
        let expected = sign(secret, self.date, &self.canonical(payload).hash());
        expected.as_str().as_bytes().ct_eq(self.authorization.signature.as_bytes()).into()
    }
}

/// The one value of a header.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, SignatureFormatError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(|text| Some(text.trim())).map_err(|_| SignatureFormatError::ContentHash),
        (Some(_), Some(_)) => Err(SignatureFormatError::Repeated(name.clone())),
    }
}
