//! Buffering of bodies that a decision depends on.

mod shared_space;

use std::{
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};

use super::Lockout;
use crate::{Denial, limit::MinDataRate};
use shared_space::{ReservationGuard, SharedSpace};

/// `Retry-After` in seconds of a response for lack of buffer space.
const RETRY_AFTER: u64 = 1;

/// Maximum idle time and minimum data rate of a client that is not authenticated yet.
const UNPROVED: MinDataRate = MinDataRate { timeout: Duration::from_secs(10), rate: 4 * 1024 };
/// The time in which the whole body must arrive.
const DEADLINE: Duration = Duration::from_secs(60);

/// Limits for bodies that are buffered before the decision: size and data rate of one body, and the space of all
/// buffered bodies together. Clones share the space.
///
/// The space is shared fairly, because its users are not authenticated yet. One address (the /64 of an IPv6 host)
/// and one credential fill at most a quarter of it. When the space is full, a body that is idle is evicted in
/// favour of one that makes progress: the body that has been idle longest, of the address that holds most. Its
/// request is denied with 503.
///
/// ```
/// use portcullis::{limit::MinDataRate, policy::BodyBuffering};
///
/// let buffering = BodyBuffering::new(1024 * 1024, MinDataRate::default(), 64 * 1024 * 1024);
/// ```
#[derive(Debug, Clone)]
pub struct BodyBuffering {
    most: u64,
    data_rate: MinDataRate,
    deadline: Duration,
    room: Arc<SharedSpace>,
    charge: Option<Box<Charge>>,
}

/// The address and the credential that a body is charged to.
#[derive(Debug, Clone)]
struct Charge {
    peer: Option<IpAddr>,
    credential: Box<str>,
    /// A bad attempt at a tick of the clock, counted unless the body arrives.
    attempt: Option<(Arc<Lockout>, u64)>,
}

impl BodyBuffering {
    /// Creates limits: `most` bytes for one request, and `in_all` bytes for all requests that are buffered at once.
    /// A client that is not authenticated yet may be idle for at most 10 s, must send 4 KiB per second beyond that,
    /// and has 60 s for the whole body, unless the pace is stricter.
    #[must_use]
    pub fn new(most: u64, pace: MinDataRate, in_all: u64) -> Self {
        let pace =
            MinDataRate { timeout: pace.timeout.min(UNPROVED.timeout), rate: pace.rate.max(UNPROVED.rate) };
        let room = Arc::new(SharedSpace::new(in_all, most));
        Self { most, data_rate: pace, deadline: DEADLINE, room, charge: None }
    }

    /// Sets the time in which the whole body must arrive.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Returns these limits, with the size of a body limited further.
    pub(super) fn capped_at(&self, limit: Option<u64>) -> Self {
        Self { most: limit.map_or(self.most, |limit| limit.min(self.most)), ..self.clone() }
    }

    /// Charges the body to an address and to the credential that the request claims. A body that does not arrive
    /// counts as a bad attempt at this tick of the clock.
    pub(super) fn charged_to(
        mut self,
        peer: Option<IpAddr>,
        credential: &str,
        attempt: Option<(Arc<Lockout>, u64)>,
    ) -> Self {
        self.charge = Some(Box::new(Charge { peer, credential: credential.into(), attempt }));
        self
    }

    /// Removes the pending bad attempt.
    fn without_charge(&mut self) {
        if let Some(charge) = &mut self.charge {
            charge.attempt = None;
        }
    }

    /// Returns the slowest pace at which the body may arrive.
    #[must_use]
    pub fn pace(&self) -> MinDataRate {
        self.data_rate
    }

    /// Returns the time in which the whole body must arrive.
    #[must_use]
    pub fn time(&self) -> Duration {
        self.deadline
    }

    /// Starts to buffer a body. `announced` is its minimum length.
    ///
    /// # Errors
    /// [`Denial::ContentTooLarge`] if that exceeds the limit.
    pub fn start(self, announced: u64) -> Result<BufferedBody, Denial> {
        if announced > self.most {
            return Err(Denial::ContentTooLarge { limit: self.most });
        }
        let charge = self.charge.as_ref();
        let credential = charge.map_or("", |charge| &*charge.credential);
        let holding = self.room.reserve(charge.and_then(|charge| charge.peer), credential);
        Ok(BufferedBody { buffering: self, holding, content: BytesMut::new(), hash: Sha256::new() })
    }
}

/// The buffered part of a request body. Dropping it frees its space, and counts a bad attempt unless the body was
/// finished or denied.
#[derive(Debug)]
pub struct BufferedBody {
    buffering: BodyBuffering,
    holding: ReservationGuard,
    content: BytesMut,
    hash: Sha256,
}

impl BufferedBody {
    /// Appends a chunk.
    ///
    /// # Errors
    /// A denial if the body exceeds the limit of one request, or if there is no space for the chunk.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), Denial> {
        let bytes = piece.len() as u64;
        if self.bytes().saturating_add(bytes) > self.buffering.most {
            self.buffering.without_charge();
            return Err(Denial::ContentTooLarge { limit: self.buffering.most });
        }
        if !self.holding.grow(bytes) {
            return Err(self.evict());
        }
        self.content.extend_from_slice(piece);
        self.hash.update(piece);
        Ok(())
    }

    /// Resolves to the denial of the request when its body is evicted in favour of others.
    pub fn poll_evicted(&mut self, cx: &mut Context<'_>) -> Poll<Denial> {
        self.holding.poll_evicted(cx).map(|()| self.evict())
    }

    /// Lack of space is not the client's fault, so it counts as no bad attempt.
    fn evict(&mut self) -> Denial {
        self.buffering.without_charge();
        Denial::unavailable("Too many request bodies are buffered at present. Retry later.", RETRY_AFTER)
    }

    /// Returns the number of buffered bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.content.len() as u64
    }

    /// Returns the slowest pace at which the rest may arrive.
    #[must_use]
    pub fn data_rate(&self) -> MinDataRate {
        self.buffering.data_rate
    }

    /// Returns the time in which the whole body must arrive.
    #[must_use]
    pub fn time(&self) -> Duration {
        self.buffering.deadline
    }

    /// Returns the whole body and its SHA-256.
    #[must_use]
    pub fn finish(mut self) -> (Bytes, [u8; 32]) {
        self.buffering.without_charge();
        (std::mem::take(&mut self.content).freeze(), std::mem::take(&mut self.hash).finalize().into())
    }
}

impl Drop for BufferedBody {
    fn drop(&mut self) {
        if let Some(charge) = &self.buffering.charge
            && let Some((lockout, ticks)) = &charge.attempt
        {
            lockout.note_at(charge.peer, *ticks);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    fn status(outcome: Result<(), Denial>) -> u16 {
        outcome.map_or_else(|denial| denial.status().as_u16(), |()| 200)
    }

    fn from(buffering: &BodyBuffering, host: u8, credential: &str) -> BufferedBody {
        let peer = Some(IpAddr::from([192, 0, 2, host]));
        buffering.capped_at(None).charged_to(peer, credential, None).start(0).unwrap()
    }

    #[test]
    fn request_content_is_limited() {
        let buffering = BodyBuffering::new(10, MinDataRate::default(), 100);
        assert_eq!(buffering.clone().start(11).unwrap_err().status(), 413);
        let mut one = buffering.clone().start(10).unwrap();
        assert_eq!(status(one.push(b"0123456789")), 200);
        assert_eq!(status(one.push(b"a")), 413);
        let (content, hash) = one.finish();
        assert_eq!((&*content, hash), (&b"0123456789"[..], Sha256::digest(b"0123456789").into()));
        assert_eq!(buffering.room.held(), 0);
    }

    #[test]
    fn content_that_alone_exceeds_the_space_is_rejected() {
        let buffering = BodyBuffering::new(100, MinDataRate::default(), 15);
        let mut one = buffering.clone().start(0).unwrap();
        let full = one.push(&[0; 16]).unwrap_err();
        assert_eq!((full.status().as_u16(), full.retry_after()), (503, Some(1)));
    }

    /// Up to ten hosts claim the credential of another caller and stop sending.
    #[test]
    fn moving_content_displaces_stalled_content() {
        let buffering = BodyBuffering::new(12 * MIB as u64, MinDataRate::default(), 64 * MIB as u64);
        for (hosts, host) in [(1, 1), (1, 99), (10, 1), (10, 99)] {
            let mut held: Vec<_> = (0..10).map(|at| from(&buffering, at % hosts + 1, "known")).collect();
            for taken in &mut held {
                let _ = taken.push(&vec![0; 7 * MIB]);
            }
            assert!(buffering.room.held() <= 16 * MIB as u64, "one credential has a quarter");
            for credential in ["known", "other"] {
                let mut good = from(&buffering, host, credential);
                assert_eq!(status(good.push(&vec![0; 5 * MIB])), 200, "{hosts} {host} {credential}");
                assert_eq!(status(good.push(&vec![0; 5 * MIB])), 200, "{hosts} {host} {credential}");
                let _ = good.finish();
            }
        }
        assert_eq!(buffering.room.held(), 0);
    }

    #[test]
    fn address_with_most_buffered_content_yields_first() {
        let buffering = BodyBuffering::new(4, MinDataRate::default(), 16);
        let mut few: Vec<_> = (0..3).map(|host| from(&buffering, host, &host.to_string())).collect();
        for taken in &mut few {
            assert_eq!(status(taken.push(&[0; 2])), 200);
        }
        let mut most: Vec<_> = (0..2).map(|at| from(&buffering, 9, &format!("of 9: {at}"))).collect();
        assert_eq!(status(most[0].push(&[0; 3])), 200);
        assert_eq!(status(most[1].push(&[0; 1])), 200);
        let mut more: Vec<_> = (10..13).map(|host| from(&buffering, host, &host.to_string())).collect();
        for taken in &mut more {
            assert_eq!(status(taken.push(&[0; 2])), 200);
            assert_eq!(status(taken.push(&[0; 1])), 200);
        }
        assert_eq!(status(most[0].push(&[0; 1])), 503, "it had to make room");
        assert_eq!(status(few[0].push(&[0; 1])), 200, "others had not");
    }

    #[test]
    fn missing_content_counts_as_a_failed_attempt() {
        let minute = Duration::from_secs(60);
        let lockout = Arc::new(Lockout::new(2, minute, minute));
        let buffering = BodyBuffering::new(10, MinDataRate::default(), 100);
        let begin = || {
            let peer = Some(IpAddr::from([192, 0, 2, 1]));
            buffering.capped_at(None).charged_to(peer, "x", Some((lockout.clone(), 7))).start(0).unwrap()
        };
        let _ = begin().finish();
        assert_eq!(status(begin().push(&[0; 11])), 413);
        assert_eq!(lockout.remembered(), 0, "neither what arrives nor what is refused");
        drop(begin());
        assert_eq!(lockout.remembered(), 1);
    }

    #[test]
    fn smaller_of_two_limits_applies() {
        let buffering = BodyBuffering::new(10, MinDataRate::default(), 100);
        assert_eq!([None, Some(3), Some(30)].map(|limit| buffering.capped_at(limit).most), [10, 3, 10]);
    }

    #[test]
    fn unauthenticated_client_has_a_short_timeout() {
        let pace = BodyBuffering::new(10, MinDataRate::default(), 100).pace();
        assert_eq!((pace.timeout.as_secs(), pace.rate), (10, 4096));
    }
}
