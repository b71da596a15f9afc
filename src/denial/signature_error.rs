//! Why a signature proves nobody (401).

use std::{borrow::Cow, fmt};

use crate::signature::{Canonical, SignatureFormatError};

/// Why a signature proves nobody. Its text names what was received, so that whoever signs can find the
/// difference; nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignatureError {
    /// It is not well-formed, or too old.
    Malformed(SignatureFormatError),
    /// Nobody signs under this access key.
    UnknownAccessKey(Box<str>),
    /// It is of something else, or made with another secret. This is what was received.
    Mismatch(Box<str>),
    /// It leaves out the content, which must be signed here.
    UnsignedContent,
    /// The content is another than the one that was signed.
    ContentMismatch,
}

impl SignatureError {
    /// It does not fit what was received; of the canonical request that was received.
    #[must_use]
    pub fn mismatch(received: &Canonical<'_>) -> Self {
        // On one line, as the contract of APIG has it.
        Self::Mismatch(received.text().replace('\n', "|").into())
    }

    /// The reason in one stable word, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(SignatureFormatError::Expired { .. }) => "signature-expired",
            Self::Malformed(_) => "signature-malformed",
            Self::UnknownAccessKey(_) => "credential-unknown",
            Self::Mismatch(_) => "signature-mismatch",
            Self::UnsignedContent => "content-unsigned",
            Self::ContentMismatch => "content-altered",
        }
    }

    /// As it is told to an operator, who has an access key and is no app.
    #[must_use]
    pub fn operator_message(&self) -> Cow<'static, str> {
        match self {
            Self::UnknownAccessKey(access) => format!("access key {access} not found").into(),
            other => other.to_string().into(),
        }
    }
}

/// As APIG words it, where it does (contract, section 3.3).
impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(flaw) => flaw.fmt(f),
            Self::UnknownAccessKey(access) => write!(f, "app not found, appkey {access}"),
            Self::Mismatch(canonical) => write!(f, "verify signature fail, canonicalRequest:{canonical}"),
            Self::UnsignedContent => f.write_str("UNSIGNED-PAYLOAD is not taken here: sign the content"),
            Self::ContentMismatch => f.write_str("the content is not what was signed"),
        }
    }
}
