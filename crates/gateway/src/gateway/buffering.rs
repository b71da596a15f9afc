//! The space for bodies that are buffered before a request is admitted.

use std::sync::{Mutex, PoisonError};

use portcullis::{
    limit::MinDataRate,
    policy::{BodyBuffering, Signature},
};

/// The buffering that all routes of a gateway share. A reload keeps it, so that the space is not given away twice.
#[derive(Default)]
pub(super) struct SharedBuffering(Mutex<Option<(MinDataRate, BodyBuffering)>>);

impl SharedBuffering {
    /// Returns the buffering for bodies that arrive at this rate. Another rate than before begins with new space.
    pub(super) fn get(&self, pace: MinDataRate) -> BodyBuffering {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some((before, buffering)) if *before == pace => buffering.clone(),
            _ => current.insert((pace, Signature::buffering_for(pace))).1.clone(),
        }
    }
}
