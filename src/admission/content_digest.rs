//! Verifies that a request body has the signed SHA-256 while the body is streamed.

use bytes::Bytes;
use sha2::{Digest, Sha256};

/// The body does not have the SHA-256 that the request's signature covers; its end was not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body does not match the signed SHA-256")]
pub struct DigestMismatch;

impl DigestMismatch {
    /// Returns `true` if `error` or one of its sources is this error. An `std::io::Error` hides it, because it
    /// reports the source of the error that it wraps, not that error itself.
    #[must_use]
    pub fn is_cause_of(error: &(dyn std::error::Error + 'static)) -> bool {
        std::iter::successors(Some(error), |error| error.source())
            .any(<dyn std::error::Error + 'static>::is::<Self>)
    }
}

/// Verifies a streamed body against its expected SHA-256. The proxy that passes the body on must use it.
///
/// Each chunk is passed on when the next one has arrived, and the last one when the hash of the whole body is known
/// to match. A receiver therefore never has the whole of a body that does not match.
///
/// ```
/// use bytes::Bytes;
/// use portcullis::admission::{DigestMismatch, DigestVerifier};
/// use sha2::{Digest, Sha256};
///
/// let mut verifier = DigestVerifier::new(Sha256::digest("abcd").into());
/// assert_eq!(verifier.push(Bytes::from_static(b"ab")), None);
/// assert_eq!(verifier.push(Bytes::from_static(b"cd")).unwrap(), "ab");
/// assert_eq!(verifier.finish().unwrap().unwrap(), "cd");
///
/// let mut verifier = DigestVerifier::new(Sha256::digest("abcd").into());
/// assert_eq!(verifier.push(Bytes::from_static(b"abce")), None);
/// assert_eq!(verifier.finish(), Err(DigestMismatch));
/// ```
#[derive(Debug, Clone)]
pub struct DigestVerifier {
    to: [u8; 32],
    hash: Sha256,
    last: Option<Bytes>,
}

impl DigestVerifier {
    /// Creates a verifier of a body that must have this SHA-256.
    #[must_use]
    pub fn new(to: [u8; 32]) -> Self {
        Self { to, hash: Sha256::new(), last: None }
    }

    /// Buffers a chunk and returns the chunk before it.
    pub fn push(&mut self, piece: Bytes) -> Option<Bytes> {
        if piece.is_empty() {
            return None;
        }
        self.hash.update(&piece);
        self.last.replace(piece)
    }

    /// Returns the number of received bytes that were not passed on yet.
    #[must_use]
    pub fn buffered_len(&self) -> usize {
        self.last.as_ref().map_or(0, Bytes::len)
    }

    /// Returns the last chunk if the body matches.
    ///
    /// # Errors
    /// If the body does not match.
    pub fn finish(&mut self) -> Result<Option<Bytes>, DigestMismatch> {
        let found: [u8; 32] = std::mem::take(&mut self.hash).finalize().into();
        if found == self.to { Ok(self.last.take()) } else { Err(DigestMismatch) }
    }
}
