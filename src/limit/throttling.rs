//! A throttle at work on a route.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::window::{Bound, Exhausted, Window};
use crate::{
    address::neighbourhood,
    app::{CallerId, Throttle},
};

/// From how many addresses calls are counted each by itself; those from all others are counted together, so that
/// nobody fills the memory with addresses.
const ADDRESSES: usize = 65_536;

/// A throttle, and what it has counted.
#[derive(Debug)]
pub struct Throttling {
    throttle: Arc<Throttle>,
    counts: Arc<Counts>,
}

/// What has been counted in this window.
#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    window: Option<Window>,
    calls: u32,
    by_app: HashMap<CallerId, u32>,
    by_address: HashMap<From, u32>,
}

/// Where calls come from, as far as they are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum From {
    Address(IpAddr),
    Anywhere,
}

/// A call that was counted.
#[derive(Debug)]
pub(crate) struct Call {
    counts: Arc<Counts>,
    window: Option<Window>,
    app: Option<CallerId>,
    from: Option<From>,
}

impl Throttling {
    pub(crate) fn new(throttle: Arc<Throttle>, counts: Arc<Counts>) -> Self {
        Self { throttle, counts }
    }

    /// The throttle.
    #[must_use]
    pub fn throttle(&self) -> &Throttle {
        &self.throttle
    }

    pub(crate) fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// Counts a call against every limit there is, or against none. All callers are the tenant's: what they call
    /// together is what its user calls.
    ///
    /// # Errors
    /// The first limit that is used up: of the API, the user, the app, the address.
    pub(crate) fn count(
        &self,
        app: &CallerId,
        project: Option<&str>,
        peer: Option<IpAddr>,
        now: i64,
    ) -> Result<Call, Exhausted> {
        let (limits, period) = (&self.throttle.limits, self.throttle.period);
        let of_user = project.map_or(limits.user, |project| self.throttle.limit_of_user(project));
        let of_app = self.throttle.limit_of_app(app);
        let mut counted = self.counts.lock();
        if !counted.window.is_some_and(|window| window.holds(period, None, now)) {
            *counted = Counted { window: Some(Window::of(period, None, now)), ..Counted::default() };
        }
        let from = limits.ip.map(|_| {
            let known = peer.map_or(From::Anywhere, |peer| From::Address(neighbourhood(peer)));
            let room = counted.by_address.len() < ADDRESSES || counted.by_address.contains_key(&known);
            if room { known } else { From::Anywhere }
        });
        let calls_of_app = counted.by_app.get(app).copied().unwrap_or_default();
        let calls_of_address = from.map_or(0, |from| counted.by_address.get(&from).copied().unwrap_or(0));
        let checks = [
            (Bound::Api, Some(limits.api), counted.calls),
            (Bound::User, of_user, counted.calls),
            (Bound::App, of_app, calls_of_app),
            (Bound::Ip, limits.ip, calls_of_address),
        ];
        let used_up = |(_, limit, calls): &(_, Option<NonZeroU32>, u32)| {
            limit.is_some_and(|limit| *calls >= limit.get())
        };
        if let Some((by, Some(limit), _)) = checks.into_iter().find(used_up) {
            let retry_after = counted.window.map_or(1, |window| window.left(period, now));
            return Err(Exhausted { by, limit: limit.get(), period, retry_after });
        }
        counted.calls = counted.calls.saturating_add(1);
        if of_app.is_some() {
            add(&mut counted.by_app, app);
        }
        if let Some(from) = &from {
            add(&mut counted.by_address, from);
        }
        Ok(Call {
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

impl Counts {
    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call {
    /// The call was not served: within its window, it never was.
    pub(crate) fn give_back(self) {
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
