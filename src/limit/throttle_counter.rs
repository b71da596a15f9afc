//! The counter of a throttle on a route.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard},
};

use super::window::{LimitExceeded, LimitedBy, Window};
use crate::{
    client_prefix::client_prefix,
    model::{CallerId, Throttle},
    sync,
};

/// Maximum number of addresses whose calls are counted separately. Those of all other addresses are counted
/// together, so that clients cannot exhaust the memory with addresses.
const ADDRESSES: usize = 65_536;

/// A throttle with its counts.
#[derive(Debug)]
pub struct ThrottleCounter {
    throttle: Arc<Throttle>,
    counts: Arc<ThrottleCounts>,
}

/// The counts of the present window.
#[derive(Debug, Default)]
pub(crate) struct ThrottleCounts(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    window: Option<Window>,
    calls: u32,
    by_app: HashMap<CallerId, u32>,
    by_address: HashMap<ClientKey, u32>,
}

/// The client address by which calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum ClientKey {
    Address(IpAddr),
    Anywhere,
}

/// The permit of a counted call.
#[derive(Debug)]
pub(crate) struct ThrottlePermit {
    counts: Arc<ThrottleCounts>,
    window: Option<Window>,
    app: Option<CallerId>,
    from: Option<ClientKey>,
}

impl ThrottleCounter {
    pub(crate) fn new(throttle: Arc<Throttle>, counts: Arc<ThrottleCounts>) -> Self {
        Self { throttle, counts }
    }

    /// Returns the throttle.
    #[must_use]
    pub fn throttle(&self) -> &Throttle {
        &self.throttle
    }

    pub(crate) fn counts(&self) -> &Arc<ThrottleCounts> {
        &self.counts
    }

    /// Counts a call against every limit, or against none. All callers belong to the tenant, so all their calls
    /// together are the calls of its user.
    ///
    /// # Errors
    /// [`LimitExceeded`] for the first limit that is used up, in the order API, user, app, address.
    pub(crate) fn count(
        &self,
        app: &CallerId,
        project: Option<&str>,
        peer: Option<IpAddr>,
        now: i64,
    ) -> Result<ThrottlePermit, LimitExceeded> {
        let (limits, period) = (&self.throttle.limits, self.throttle.period);
        let of_user = project.map_or(limits.user, |project| self.throttle.limit_of_user(project));
        let of_app = self.throttle.limit_of_app(app);
        let mut counted = self.counts.lock();
        if !counted.window.is_some_and(|window| window.contains(period, None, now)) {
            *counted = Counted { window: Some(Window::containing(period, None, now)), ..Counted::default() };
        }
        let from = limits.ip.map(|_| {
            let known = peer.map_or(ClientKey::Anywhere, |peer| ClientKey::Address(client_prefix(peer)));
            let room = counted.by_address.len() < ADDRESSES || counted.by_address.contains_key(&known);
            if room { known } else { ClientKey::Anywhere }
        });
        let calls_of_app = counted.by_app.get(app).copied().unwrap_or_default();
        let calls_of_address = from.map_or(0, |from| counted.by_address.get(&from).copied().unwrap_or(0));
        let checks = [
            (LimitedBy::Api, Some(limits.api), counted.calls),
            (LimitedBy::User, of_user, counted.calls),
            (LimitedBy::App, of_app, calls_of_app),
            (LimitedBy::Ip, limits.ip, calls_of_address),
        ];
        let used_up = |(_, limit, calls): &(_, Option<NonZeroU32>, u32)| {
            limit.is_some_and(|limit| *calls >= limit.get())
        };
        if let Some((by, Some(limit), _)) = checks.into_iter().find(used_up) {
            let retry_after = counted.window.map_or(1, |window| window.remaining_secs(period, now));
            return Err(LimitExceeded { by, limit: limit.get(), period, retry_after });
        }
        counted.calls = counted.calls.saturating_add(1);
        if of_app.is_some() {
            add(&mut counted.by_app, app);
        }
        if let Some(from) = &from {
            add(&mut counted.by_address, from);
        }
        Ok(ThrottlePermit {
            counts: self.counts.clone(),
            window: counted.window,
            app: of_app.map(|_| app.clone()),
            from,
        })
    }
}

fn add<K: Hash + Eq + Clone>(calls: &mut HashMap<K, u32>, by: &K) {
    match calls.get_mut(by) {
        Some(calls) => *calls = calls.saturating_add(1),
        None => drop(calls.insert(by.clone(), 1)),
    }
}

impl ThrottleCounts {
    fn lock(&self) -> MutexGuard<'_, Counted> {
        sync::lock(&self.0)
    }
}

impl ThrottlePermit {
    /// Refunds the call if its window has not ended.
    pub(crate) fn refund(self) {
        let mut counted = self.counts.lock();
        if counted.window != self.window {
            return;
        }
        counted.calls = counted.calls.saturating_sub(1);
        if let Some(calls) = self.app.and_then(|app| counted.by_app.get_mut(&app)) {
            *calls = calls.saturating_sub(1);
        }
        if let Some(calls) = self.from.and_then(|from| counted.by_address.get_mut(&from)) {
            *calls = calls.saturating_sub(1);
        }
    }
}
