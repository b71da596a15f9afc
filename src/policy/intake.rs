//! Content that must be known before its request is decided about.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};

use crate::{Denial, limit::Pace};

/// When to come back once there is no room for content that waits to be decided about.
const RETRY_AFTER: u64 = 1;

/// How content is taken in before its request is decided about: how much, how slow, and how much of all such
/// requests together. Clones count together.
///
/// ```
/// use portcullis::{limit::Pace, policy::Intake};
///
/// let intake = Intake::new(1024 * 1024, Pace::default(), 64 * 1024 * 1024);
/// ```
#[derive(Debug, Clone)]
pub struct Intake {
    most: u64,
    pace: Pace,
    room: Arc<Room>,
}

#[derive(Debug)]
struct Room {
    most: u64,
    held: AtomicU64,
}

impl Intake {
    /// Takes so many bytes of one request, at such a pace, and so many of all requests that wait at once.
    #[must_use]
    pub fn new(most: u64, pace: Pace, in_all: u64) -> Self {
        Self { most, pace, room: Arc::new(Room { most: in_all, held: AtomicU64::new(0) }) }
    }

    /// The same, where a request may not have more content than this anyway.
    pub(super) fn at_most(&self, limit: Option<u64>) -> Self {
        Self { most: limit.map_or(self.most, |limit| limit.min(self.most)), ..self.clone() }
    }

    /// How slow the content may come.
    #[must_use]
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// Nothing is taken in yet. `announced` is how much is to come at least.
    ///
    /// # Errors
    /// When that is too much.
    pub fn begin(self, announced: u64) -> Result<Taken, Denial> {
        if announced > self.most {
            return Err(Denial::ContentTooLarge { limit: self.most });
        }
        Ok(Taken { intake: self, content: BytesMut::new(), hash: Sha256::new() })
    }
}

/// What has come of a request's content. Dropped, it makes room for others.
#[derive(Debug)]
pub struct Taken {
    intake: Intake,
    content: BytesMut,
    hash: Sha256,
}

impl Taken {
    /// Takes a piece.
    ///
    /// # Errors
    /// When it is more than one request may have, or all.
    pub fn put(&mut self, piece: &[u8]) -> Result<(), Denial> {
        let Intake { most, room, .. } = &self.intake;
        let bytes = piece.len() as u64;
        if self.bytes().saturating_add(bytes) > *most {
            return Err(Denial::ContentTooLarge { limit: *most });
        }
        if room.held.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > room.most {
            room.held.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Denial::unavailable(
                "Too much content waits to be decided about just now.",
                RETRY_AFTER,
            ));
        }
        self.content.extend_from_slice(piece);
        self.hash.update(piece);
        Ok(())
    }

    /// How much has come.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.content.len() as u64
    }

    /// How slow the rest may come.
    #[must_use]
    pub fn pace(&self) -> Pace {
        self.intake.pace
    }

    /// All of it, and what it hashes to.
    #[must_use]
    pub fn finish(mut self) -> (Bytes, [u8; 32]) {
        self.give_room();
        (std::mem::take(&mut self.content).freeze(), std::mem::take(&mut self.hash).finalize().into())
    }

    /// Its request is being decided about, or over.
    fn give_room(&mut self) {
        self.intake.room.held.fetch_sub(self.bytes(), Ordering::Relaxed);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.give_room();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(outcome: Result<(), Denial>) -> u16 {
        outcome.map_or_else(|denial| denial.status().as_u16(), |()| 200)
    }

    #[test]
    fn a_request_has_so_much_content_and_all_together_not_much_more() {
        let intake = Intake::new(10, Pace::default(), 15);
        assert_eq!(intake.clone().begin(11).unwrap_err().status(), 413);
        let mut one = intake.clone().begin(10).unwrap();
        assert_eq!(status(one.put(b"0123456789")), 200);
        assert_eq!(status(one.put(b"a")), 413);
        let mut other = intake.clone().begin(0).unwrap();
        assert_eq!(status(other.put(b"01234")), 200);
        let full = other.put(b"5").unwrap_err();
        assert_eq!((full.status().as_u16(), full.retry_after()), (503, Some(1)));
        let (content, hash) = one.finish();
        assert_eq!((&*content, hash), (&b"0123456789"[..], Sha256::digest(b"0123456789").into()));
        assert_eq!(status(other.put(b"56789")), 200);
        drop(other);
        assert_eq!(intake.room.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_smaller_of_two_limits_holds() {
        let intake = Intake::new(10, Pace::default(), 100);
        assert_eq!([None, Some(3), Some(30)].map(|limit| intake.at_most(limit).most), [10, 3, 10]);
    }
}
