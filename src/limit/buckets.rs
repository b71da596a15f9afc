//! Where the buckets of one caller stand.

use std::sync::Arc;

use super::bucket::Bucket;

/// One bucket for each limit of the plan.
#[derive(Debug)]
pub(super) enum Buckets {
    /// All in one piece.
    Own(Arc<[Bucket]>),
    /// Some in the piece of an earlier plan with other limits, where who spent from them gives back to.
    #[allow(clippy::box_collection, reason = "rare, and every caller has room for it")]
    Kept(Box<Vec<Place>>),
}

/// A bucket, and the piece it is in.
#[derive(Debug, Clone)]
pub(super) struct Place {
    piece: Arc<[Bucket]>,
    at: usize,
}

impl Place {
    /// A full bucket of its own.
    pub(super) fn new() -> Self {
        Self { piece: [Bucket::default()].into(), at: 0 }
    }
}

impl Buckets {
    pub(super) fn get(&self, limit: usize) -> Option<&Bucket> {
        match self {
            Self::Own(piece) => piece.get(limit),
            Self::Kept(places) => places.get(limit).and_then(|place| place.piece.get(place.at)),
        }
    }

    pub(super) fn place(&self, limit: usize) -> Option<Place> {
        match self {
            Self::Own(piece) => Some(Place { piece: piece.clone(), at: limit }),
            Self::Kept(places) => places.get(limit).cloned(),
        }
    }
}
