//! The lockouts of a gateway. Routes and surfaces with the same settings share one lockout, so that a client that
//! guesses keys cannot start again on the next route.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::config::LockoutPolicy;
use portcullis::policy::Lockout;

/// The lockouts by their settings.
#[derive(Default)]
pub(super) struct Lockouts(Mutex<BTreeMap<(u32, Duration, Duration), Arc<Lockout>>>);

impl Lockouts {
    /// Returns the lockout with the given settings, and creates it if necessary.
    pub(super) fn get(&self, policy: &LockoutPolicy) -> Arc<Lockout> {
        let settings = (policy.attempts.get(), policy.window.duration(), policy.duration.duration());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(settings).or_insert_with(|| policy.lockout().into()).clone()
    }
}
