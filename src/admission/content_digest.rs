//! Content that must be what was signed, while it passes.

use bytes::Bytes;
use sha2::{Digest, Sha256};

/// The content is another than the one that its request's signature says: the end of it is never passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the content is not what was signed")]
pub struct DigestMismatch;

impl DigestMismatch {
    /// Whether it is why a body broke off, whatever wrapped the error on its way and names it as its source.
    /// `std::io::Error` does not: it names the source of what it wraps.
    #[must_use]
    pub fn is_cause_of(error: &(dyn std::error::Error + 'static)) -> bool {
        std::iter::successors(Some(error), |error| error.source())
            .any(<dyn std::error::Error + 'static>::is::<Self>)
    }
}

/// What a request's content must hash to, and how far that is known: an obligation of whoever passes it on.
///
/// Each piece is passed on when the next one has come, and the last one when all of it is known to be right: so
/// nobody ever has the whole of anything else.
///
/// ```
/// use bytes::Bytes;
/// use portcullis::admission::{Altered, Owed};
/// use sha2::{Digest, Sha256};
///
/// let mut owed = Owed::new(Sha256::digest("abcd").into());
/// assert_eq!(owed.put(Bytes::from_static(b"ab")), None);
/// assert_eq!(owed.put(Bytes::from_static(b"cd")).unwrap(), "ab");
/// assert_eq!(owed.end().unwrap().unwrap(), "cd");
///
/// let mut owed = Owed::new(Sha256::digest("abcd").into());
/// assert_eq!(owed.put(Bytes::from_static(b"abce")), None);
/// assert_eq!(owed.end(), Err(Altered));
/// ```
#[derive(Debug, Clone)]
pub struct DigestVerifier {
    to: [u8; 32],
    hash: Sha256,
    last: Option<Bytes>,
}

impl DigestVerifier {
    /// Content must have this SHA-256.
    #[must_use]
    pub fn new(to: [u8; 32]) -> Self {
        Self { to, hash: Sha256::new(), last: None }
    }

    /// Keeps a piece, and gives the one before.
    pub fn push(&mut self, piece: Bytes) -> Option<Bytes> {
        if piece.is_empty() {
            return None;
        }
        self.hash.update(&piece);
        self.last.replace(piece)
    }

    /// How many bytes came that were not passed on.
    #[must_use]
    pub fn buffered_len(&self) -> usize {
        self.last.as_ref().map_or(0, Bytes::len)
    }

    /// The last piece, when all was right.
    ///
    /// # Errors
    /// When it was not.
    pub fn finish(&mut self) -> Result<Option<Bytes>, DigestMismatch> {
        let found: [u8; 32] = std::mem::take(&mut self.hash).finalize().into();
        if found == self.to { Ok(self.last.take()) } else { Err(DigestMismatch) }
    }
}
