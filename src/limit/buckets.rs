//! The storage of a caller's buckets.

use std::sync::{Arc, Mutex, OnceLock};

use super::bucket::{Bucket, Gcra, Scale};
use crate::sync;

/// The buckets of a caller, one for each limit of the plan.
#[derive(Debug)]
pub(super) enum Buckets {
    /// All buckets in one allocation.
    Own(Arc<[Bucket]>),
    /// Some buckets in the allocation of an earlier plan with other limits, so that requests of that plan refund to
    /// them.
    #[allow(clippy::box_collection, reason = "rare, and every caller has room for it")]
    Kept(Box<Vec<BucketSlot>>),
}

/// The slot of a bucket.
#[derive(Debug, Clone)]
pub(super) enum BucketSlot {
    /// An allocation and an index in it.
    In(Arc<[Bucket]>, usize),
    /// A bucket that continues the count of a limit with other values.
    Carried(Arc<Carried>),
}

/// The bucket of a limit whose values were changed.
///
/// A bucket stores a time, but consumption is a number of requests: the conversion needs the limit's interval.
/// Therefore limits of different intervals do not share a bucket. The new bucket takes over the count at its first
/// use, because the conversion needs the present time.
#[derive(Debug)]
pub(super) struct Carried {
    bucket: OnceLock<Bucket>,
    /// The bucket whose count is taken over; `None` afterwards.
    from: Mutex<Option<(BucketSlot, Scale)>>,
}

impl BucketSlot {
    /// Creates a full bucket.
    pub(super) fn new() -> Self {
        Self::In([Bucket::default()].into(), 0)
    }

    /// Returns a bucket that takes over this one's count of requests under an earlier limit.
    pub(super) fn carried(self, scale: Scale) -> Self {
        let pending = match &self {
            Self::In(..) => None,
            // A bucket that was never used is skipped, so that many changes do not form a long chain.
            Self::Carried(carried) => sync::lock(&carried.from).clone(),
        };
        let from = Mutex::new(Some(pending.unwrap_or((self, scale))));
        Self::Carried(Arc::new(Carried { bucket: OnceLock::new(), from }))
    }

    fn bucket(&self, rule: &Gcra, now: u64) -> Option<&Bucket> {
        match self {
            Self::In(piece, at) => piece.get(*at),
            Self::Carried(carried) => Some(carried.bucket.get_or_init(|| carried.take_over(rule, now))),
        }
    }
}

impl Carried {
    #[cold]
    fn take_over(&self, rule: &Gcra, now: u64) -> Bucket {
        let from = sync::lock(&self.from).take();
        let Some((place, scale)) = from else { return Bucket::default() };
        match &place {
            BucketSlot::In(piece, at) => piece.get(*at).map(|bucket| rule.carry(bucket, scale, now)),
            // The bucket is in use, so its own takeover has begun.
            BucketSlot::Carried(carried) => Some(rule.carry(carried.bucket.wait(), scale, now)),
        }
        .unwrap_or_default()
    }
}

impl Buckets {
    pub(super) fn get(&self, limit: usize, rule: &Gcra, now: u64) -> Option<&Bucket> {
        match self {
            Self::Own(piece) => piece.get(limit),
            Self::Kept(places) => places.get(limit).and_then(|place| place.bucket(rule, now)),
        }
    }

    pub(super) fn slot(&self, limit: usize) -> Option<BucketSlot> {
        match self {
            Self::Own(piece) => Some(BucketSlot::In(piece.clone(), limit)),
            Self::Kept(places) => places.get(limit).cloned(),
        }
    }
}
