//! Who guesses at credentials is refused for a while (403).

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{Denial, Head, address::neighbourhood, denial::Forbidden};

/// The most addresses that are remembered; beyond, those whose time is over are forgotten, and then any.
const MOST: usize = 65_536;

/// In ticks of the clock, which are nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// Refuses everything from an address, valid credentials too, for a while after several bad ones came from
/// there within a short time. Whoever owns a key that is being guessed at is not locked out elsewhere.
///
/// A credential is bad when nobody has it, or when it has not the form of one; that one is missing, expired
/// or disabled counts for nothing. An IPv6 host is its /64. Requests whose address is not known are never
/// locked out. What is counted is this process's, and ends with it.
///
/// Part of [`ApiKey`](super::ApiKey::lockout).
///
/// ```
/// use std::time::Duration;
/// use portcullis::policy::Lockout;
///
/// let lockout = Lockout::new(10, Duration::from_secs(60), Duration::from_secs(60));
/// ```
#[derive(Debug)]
pub struct Lockout {
    attempts: u32,
    within: u64,
    lasts: u64,
    /// How many addresses are remembered: mostly none, and then nobody waits for the others' lock.
    remembered: AtomicUsize,
    addresses: Mutex<HashMap<IpAddr, Record>>,
}

/// In ticks of the clock.
#[derive(Debug, Clone, Copy)]
struct Record {
    bad: u32,
    /// Until then bad credentials are added up, or, once there were too many, all is refused.
    until: u64,
    locked: bool,
}

/// Ten bad credentials within a minute, then nothing for a minute.
impl Default for Lockout {
    fn default() -> Self {
        Self::new(10, Duration::from_secs(60), Duration::from_secs(60))
    }
}

impl Lockout {
    /// After this many bad credentials (at least 1) within a time, nothing is taken for another.
    #[must_use]
    pub fn new(attempts: u32, within: Duration, lasts: Duration) -> Self {
        let ticks = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self {
            attempts: attempts.max(1),
            within: ticks(within),
            lasts: ticks(lasts),
            remembered: AtomicUsize::new(0),
            addresses: Mutex::default(),
        }
    }

    /// Whether a request may be looked at.
    pub(super) fn check(&self, head: Head<'_>) -> Result<(), Denial> {
        let Some(peer) = head.peer.filter(|_| self.remembered.load(Ordering::Relaxed) > 0) else {
            return Ok(());
        };
        match self.addresses().get(&neighbourhood(peer)) {
            Some(record) if record.locked && head.now.ticks < record.until => {
                let left = record.until - head.now.ticks;
                let retry_after = left.div_ceil(SECOND);
                Err(Denial::Forbidden(Forbidden::Lockout { retry_after }))
            }
            _ => Ok(()),
        }
    }

    /// Notes a bad credential.
    pub(super) fn note(&self, head: Head<'_>) {
        let (Some(peer), now) = (head.peer, head.now.ticks) else { return };
        let mut addresses = self.addresses();
        if addresses.len() >= MOST {
            addresses.retain(|_, record| now < record.until);
            if addresses.len() >= MOST {
                addresses.clear();
            }
        }
        let fresh = Record { bad: 0, until: now.saturating_add(self.within), locked: false };
        let record = addresses.entry(neighbourhood(peer)).or_insert(fresh);
        if now >= record.until {
            *record = fresh;
        }
        record.bad += 1;
        if record.bad >= self.attempts && !record.locked {
            (record.locked, record.until) = (true, now.saturating_add(self.lasts));
            tracing::warn!(%peer, bad = record.bad, "too many bad credentials from here: refused for a while");
        }
        self.remembered.store(addresses.len(), Ordering::Relaxed);
    }

    fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, Record>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Clock,
        policy::ApiKey,
        testing::{World, code, request},
    };

    const A_SECOND: Duration = Duration::from_secs(1);

    fn ask(world: &World, policy: &ApiKey, peer: &str, key: &str) -> String {
        let mut request = request("GET", "/", &[("x-api-key", key)]);
        if let Ok(peer) = peer.parse::<IpAddr>() {
            request.extensions_mut().insert(peer);
        }
        code(world.ask(policy, &request)).to_owned()
    }

    #[test]
    fn an_address_that_guesses_is_refused_for_a_while_and_others_are_not() {
        let world = World::new();
        let policy =
            ApiKey::new(world.directory.clone()).lockout(Lockout::new(3, A_SECOND * 10, A_SECOND * 20));
        let key = world.key();
        let foreign = crate::app::ApiKey::generate(&crate::app::KeyPrefix::default());
        let here = "192.0.2.1";
        assert_eq!(ask(&world, &policy, here, foreign.expose()), "credential-unknown");
        assert_eq!(ask(&world, &policy, here, "guess"), "credential-malformed");
        assert_eq!(ask(&world, &policy, here, &key), "admitted");
        assert_eq!(ask(&world, &policy, here, "guess"), "credential-malformed");
        assert_eq!(ask(&world, &policy, here, &key), "lockout");
        assert_eq!(ask(&world, &policy, "::ffff:192.0.2.1", &key), "lockout");
        assert_eq!(ask(&world, &policy, "192.0.2.2", &key), "admitted");
        assert_eq!(ask(&world, &policy, "nowhere", &key), "admitted");

        world.clock.advance(A_SECOND * 20 - Duration::from_nanos(1));
        assert_eq!(ask(&world, &policy, here, &key), "lockout");
        world.clock.advance(Duration::from_nanos(1));
        assert_eq!(ask(&world, &policy, here, &key), "admitted");
        assert_eq!(ask(&world, &policy, here, "guess"), "credential-malformed");
        assert_eq!(ask(&world, &policy, here, &key), "admitted", "it begins anew");
    }

    #[test]
    fn slow_mistakes_and_what_is_no_guess_lock_nobody_out() {
        let world = World::new();
        let policy = ApiKey::new(world.directory.clone()).lockout(Lockout::new(2, A_SECOND, A_SECOND * 20));
        let key = world.key();
        let disabled = world.key_with(|credential| credential.status = crate::app::Status::Disabled);
        for _ in 0..5 {
            assert_eq!(ask(&world, &policy, "2001:db8::1", "guess"), "credential-malformed");
            assert_eq!(ask(&world, &policy, "2001:db8::1", &disabled), "credential-disabled");
            world.clock.advance(A_SECOND);
        }
        assert_eq!(ask(&world, &policy, "2001:db8::1", &key), "admitted");
        ask(&world, &policy, "2001:db8::1", "guess");
        ask(&world, &policy, "2001:db8::2", "guess");
        assert_eq!(ask(&world, &policy, "2001:db8::3", &key), "lockout", "a /64 is one host");
    }

    #[test]
    fn so_many_addresses_are_remembered_and_no_more() {
        let lockout = Lockout::new(10, A_SECOND, A_SECOND);
        let world = World::new();
        let request = request("GET", "/", &[]);
        for peer in (0..).map(std::net::Ipv4Addr::from_bits).take(MOST + 10) {
            let peer = peer.into();
            lockout.note(Head::within(&request, Some(peer), false, world.clock.now()));
        }
        assert!(lockout.addresses().len() <= MOST);
    }
}
