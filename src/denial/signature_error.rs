//! Reasons to reject a signature (401).

use std::fmt;

use crate::signature::{Canonical, SignatureFormatError};

/// A reason to reject a signature. The text quotes the received request, so that the developer of the client can find
/// the difference; nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignatureError {
    /// The signature is malformed or too old.
    Malformed(SignatureFormatError),
    /// No credential has this access key.
    UnknownAccessKey(Box<str>),
    /// The signature does not match the received request: the client signed another request or used another secret.
    /// Holds the canonical form of the received request.
    Mismatch(Box<str>),
    /// The signature does not cover the body, and this service requires signed bodies.
    UnsignedContent,
    /// The body differs from the signed one.
    ContentMismatch,
}

impl SignatureError {
    /// A signature that does not match the received request, whose canonical form is `received`.
    #[must_use]
    pub fn mismatch(received: &Canonical<'_>) -> Self {
        // The contract of APIG has the canonical request on one line.
        Self::Mismatch(received.text().replace('\n', "|").into())
    }

    /// Returns the reason as a stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(SignatureFormatError::Expired { .. }) => "signature-expired",
            Self::Malformed(_) => "signature-malformed",
            Self::UnknownAccessKey(_) => "credential-unknown",
            Self::Mismatch(_) => "signature-mismatch",
            Self::UnsignedContent => "content-unsigned",
            Self::ContentMismatch => "content-mismatch",
        }
    }
}

/// Writes the text in APIG's words where its contract has them (section 3.3).
impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(flaw) => flaw.fmt(f),
            Self::UnknownAccessKey(access) => write!(f, "app not found, appkey {access}"),
            Self::Mismatch(canonical) => write!(f, "verify signature fail, canonicalRequest:{canonical}"),
            Self::UnsignedContent => f.write_str("UNSIGNED-PAYLOAD is not accepted here: sign the body"),
            Self::ContentMismatch => f.write_str("the body does not match the signed SHA-256"),
        }
    }
}
