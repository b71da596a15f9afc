//! Signing of requests.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{ALGORITHM, Canonical, Hex, Parts, SignatureFormatError, SignedHeaders, X_SDK_DATE, parse_date};

/// Signs requests with an access key and its secret.
pub struct Signer<'a> {
    access: &'a str,
    secret: &'a [u8],
}

impl<'a> Signer<'a> {
    /// Creates a signer with this access key and secret.
    #[must_use]
    pub fn new(access: &'a str, secret: &'a [u8]) -> Self {
        Self { access, secret }
    }

    /// Signs a request that already has its `X-Sdk-Date`. The payload is the hash of its body or
    /// [`UNSIGNED_PAYLOAD`](super::UNSIGNED_PAYLOAD).
    ///
    /// # Errors
    /// If the list of names is malformed, a signed header is missing, or the date is not signed.
    pub fn sign(
        &self,
        parts: Parts<'a>,
        signed_headers: &'a str,
        payload: &'a str,
    ) -> Result<Signed<'a>, SignatureFormatError> {
        let signed = SignedHeaders::parse(signed_headers)?;
        let date = date(parts, signed)?;
        let canonical = Canonical::new(parts, signed, payload)?;
        let signature = sign(self.secret, date, &canonical.hash());
        Ok(Signed { access: self.access, date, canonical, signature })
    }
}

/// Returns a request's date, which must be signed.
pub(super) fn date<'a>(parts: Parts<'a>, signed: SignedHeaders<'_>) -> Result<&'a str, SignatureFormatError> {
    let mut values = parts.headers.get_all(&X_SDK_DATE).iter();
    let (first, more) = (values.next().ok_or(SignatureFormatError::Date)?, values.next());
    if more.is_some() {
        return Err(SignatureFormatError::Repeated(X_SDK_DATE.clone()));
    }
    let text = first.to_str().map_err(|_| SignatureFormatError::Date)?.trim();
    parse_date(text).ok_or(SignatureFormatError::Date)?;
    if signed.names().any(|name| name == X_SDK_DATE.as_str()) {
        Ok(text)
    } else {
        Err(SignatureFormatError::DateUnsigned)
    }
}

/// Returns the signature over the hash of a canonical request.
///
/// # Panics
/// Never, because HMAC accepts keys of any length.
#[must_use]
pub fn sign(secret: &[u8], date: &str, hash: &Hex) -> Hex {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    for part in [ALGORITHM, "\n", date, "\n", hash.as_str()] {
        mac.update(part.as_bytes());
    }
    Hex::encode(&mac.finalize().into_bytes().into())
}

/// A signed request.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    access: &'a str,
    date: &'a str,
    canonical: Canonical<'a>,
    signature: Hex,
}

impl Signed<'_> {
    /// Returns the canonical request that was signed.
    #[must_use]
    pub fn canonical(&self) -> &Canonical<'_> {
        &self.canonical
    }

    /// Returns the value of `X-Sdk-Date`.
    #[must_use]
    pub fn date(&self) -> &str {
        self.date
    }

    /// Returns the signature.
    #[must_use]
    pub fn signature(&self) -> &str {
        self.signature.as_str()
    }

    /// Returns the value of `Authorization`.
    #[must_use]
    pub fn authorization(&self) -> String {
        let Self { access, canonical, .. } = self;
        let (names, signature) = (canonical.signed.as_str(), self.signature());
        format!("{ALGORITHM} Access={access}, SignedHeaders={names}, Signature={signature}")
    }
}
