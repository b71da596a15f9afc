//! The lockouts of a gateway: routes and surfaces of the same settings count together, so that whoever guesses at keys
//! does not begin anew on the next route.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{config::LockoutPolicy, policy::Lockout};

/// One lockout for each of the settings.
#[derive(Default)]
pub(super) struct Lockouts(Mutex<BTreeMap<(u32, Duration, Duration), Arc<Lockout>>>);

impl Lockouts {
    /// The lockout of these settings.
    pub(super) fn new(&self, policy: &LockoutPolicy) -> Arc<Lockout> {
        let settings = (policy.attempts.get(), policy.within.duration(), policy.lasts.duration());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(settings).or_insert_with(|| policy.lockout().into()).clone()
    }
}
