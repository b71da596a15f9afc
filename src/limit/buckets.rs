//! Where the buckets of one caller stand.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::bucket::{Bucket, Gcra, Scale};

/// One bucket for each limit of the plan.
#[derive(Debug)]
pub(super) enum Buckets {
    /// All in one piece.
    Own(Arc<[Bucket]>),
    /// Some in the piece of an earlier plan with other limits, where who spent from them gives back to.
    #[allow(clippy::box_collection, reason = "rare, and every caller has room for it")]
    Kept(Box<Vec<BucketSlot>>),
}

/// The place of a bucket.
#[derive(Debug, Clone)]
pub(super) enum BucketSlot {
    /// A piece, and where in it.
    In(Arc<[Bucket]>, usize),
    /// A bucket that takes over from one of a limit with other figures.
    Carried(Arc<Carried>),
}

/// The bucket of a limit whose figures were changed.
///
/// What a bucket holds is a time, and what was used of a limit is a number of requests: it takes the interval of the
/// limit to tell one from the other. So a bucket is not shared between two limits of different intervals. The new one
/// takes over at its first use, because only then there is a present moment to go by.
#[derive(Debug)]
pub(super) struct Carried {
    bucket: OnceLock<Bucket>,
    /// What it takes over from, until it has.
    from: Mutex<Option<(BucketSlot, Scale)>>,
}

impl BucketSlot {
    /// A full bucket of its own.
    pub(super) fn new() -> Self {
        Self::In([Bucket::default()].into(), 0)
    }

    /// A bucket that takes over, in units, what was used of this one under an earlier limit.
    pub(super) fn carried(self, scale: Scale) -> Self {
        let pending = match &self {
            Self::In(..) => None,
            // Never used: it is passed over, so that many changes make no long line.
            Self::Carried(carried) => carried.from.lock().unwrap_or_else(PoisonError::into_inner).clone(),
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
        let from = self.from.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((place, scale)) = from else { return Bucket::default() };
        match &place {
            BucketSlot::In(piece, at) => piece.get(*at).map(|bucket| rule.carry(bucket, scale, now)),
            // It was used: that it takes over itself has begun.
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

    pub(super) fn place(&self, limit: usize) -> Option<BucketSlot> {
        match self {
            Self::Own(piece) => Some(BucketSlot::In(piece.clone(), limit)),
            Self::Kept(places) => places.get(limit).cloned(),
        }
    }
}
