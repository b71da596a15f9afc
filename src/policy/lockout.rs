//! Protection against guessing of credentials: a lockout of the client's address (403).

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Mutex, MutexGuard, Once,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::Stop;
use crate::{Denial, Head, client_prefix::client_prefix, denial::Forbidden, sync};

/// Maximum number of addresses that are remembered. At this number, expired records are removed; if there are none,
/// a part of the others: the oldest first, and locked addresses last.
const MAX_RECORDS: usize = 65_536;

/// The number of records that are removed at once, so that the map is not scanned for each further address.
const RETENTION: usize = MAX_RECORDS / 8;

/// A second in ticks of the clock, which are nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// Denies requests from an address for a while after several bad credentials came from it within a short time.
///
/// A valid credential is still admitted: other clients may share the address, and a client with a valid credential
/// does not guess. All other requests get the same response, which reveals nothing about a guess, not even whether
/// a credential is unknown, expired or disabled.
///
/// A credential is bad if it is unknown or malformed. Missing, expired and disabled credentials are not counted. An
/// IPv6 host is its /64. Requests whose address is unknown are never locked out. The counts belong to this process
/// and end with it.
///
/// See [`ApiKey::lockout`](super::ApiKey::lockout).
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
    /// The number of remembered addresses. It is usually zero, and then no request takes the mutex.
    remembered: AtomicUsize,
    addresses: Mutex<HashMap<IpAddr, Record>>,
}

/// The bad credentials of an address. Times are ticks of the clock.
#[derive(Debug, Clone, Copy)]
struct Record {
    bad: u32,
    /// The end of the period in which bad credentials are counted, or of the lockout.
    until: u64,
    locked: bool,
}

/// Locks an address out for a minute after ten bad credentials within a minute.
impl Default for Lockout {
    fn default() -> Self {
        Self::new(10, Duration::from_secs(60), Duration::from_secs(60))
    }
}

impl Lockout {
    /// Locks an address out for the time `lasts` after this many bad credentials (at least 1) within the time
    /// `within`.
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

    /// Runs `recognise`. If the address was locked out before, a denial by `recognise` is replaced by that of the
    /// lockout.
    pub(super) fn guard(
        &self,
        head: &Head<'_>,
        recognise: impl FnOnce() -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let before = self.check(head);
        match recognise() {
            Err(Stop::Deny(denial)) => Err(before.err().unwrap_or(denial).into()),
            outcome => outcome,
        }
    }

    /// Checks that the address of a request is not locked out.
    fn check(&self, head: &Head<'_>) -> Result<(), Denial> {
        let Some(peer) = head.peer.filter(|_| self.remembered.load(Ordering::Relaxed) > 0) else {
            return Ok(());
        };
        match self.addresses().get(&client_prefix(peer)) {
            Some(record) if record.locked && head.now.ticks < record.until => {
                let left = record.until - head.now.ticks;
                let retry_after = left.div_ceil(SECOND);
                Err(Denial::Forbidden(Forbidden::Lockout { retry_after }))
            }
            _ => Ok(()),
        }
    }

    /// Counts a bad credential.
    pub(super) fn note(&self, head: &Head<'_>) {
        self.note_at(head.peer, head.now.ticks);
    }

    /// Counts a bad credential from an address at a tick of the clock.
    pub(super) fn note_at(&self, peer: Option<IpAddr>, now: u64) {
        let Some(peer) = peer else {
            static WARNING: Once = Once::new();
            WARNING.call_once(|| {
                tracing::warn!(
                    "no lockout: the addresses of clients are unknown; see PortcullisLayer::peer_from"
                );
            });
            return;
        };
        let mut addresses = self.addresses();
        if addresses.len() >= MAX_RECORDS {
            make_room(&mut addresses, now);
        }
        let fresh = Record { bad: 0, until: now.saturating_add(self.within), locked: false };
        let record = addresses.entry(client_prefix(peer)).or_insert(fresh);
        if now >= record.until {
            *record = fresh;
        }
        record.bad = record.bad.saturating_add(1);
        if record.bad >= self.attempts && !record.locked {
            (record.locked, record.until) = (true, now.saturating_add(self.lasts));
            tracing::warn!(%peer, bad = record.bad, "address locked out after too many bad credentials");
        }
        self.remembered.store(addresses.len(), Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.addresses().len()
    }

    fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, Record>> {
        sync::lock(&self.addresses)
    }
}

/// Removes the expired records, and if there are none, a part of the others.
fn make_room(addresses: &mut HashMap<IpAddr, Record>, now: u64) {
    addresses.retain(|_, record| now < record.until);
    if addresses.len() < MAX_RECORDS {
        return;
    }
    let mut order: Vec<_> = addresses.values().map(Record::order).collect();
    let last = *order.select_nth_unstable(RETENTION - 1).1;
    // Of the records that are as old as the last, only as many are removed as are still needed.
    let mut left = RETENTION - addresses.values().filter(|record| record.order() < last).count();
    addresses.retain(|_, record| {
        let is_equal = record.order() == last && left > 0;
        left -= usize::from(is_equal);
        record.order() > last || (record.order() == last && !is_equal)
    });
}

impl Record {
    /// Returns the key by which records are removed, the smallest first.
    fn order(&self) -> (bool, u64) {
        (self.locked, self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Clock,
        policy::ApiKey,
        test_support::{Fixture, code, request},
    };

    const A_SECOND: Duration = Duration::from_secs(1);

    fn ask(world: &Fixture, policy: &ApiKey, peer: &str, key: &str) -> String {
        let mut request = request("GET", "/", &[("x-api-key", key)]);
        if let Ok(peer) = peer.parse::<IpAddr>() {
            request.extensions_mut().insert(peer);
        }
        code(world.ask(policy, &request)).to_owned()
    }

    #[test]
    fn guessing_address_is_locked_out_and_others_are_not() {
        let world = Fixture::new();
        let policy =
            ApiKey::new(world.directory.clone()).lockout(Lockout::new(3, A_SECOND * 10, A_SECOND * 20));
        let key = world.key();
        let foreign = crate::model::GeneratedKey::generate(&crate::model::KeyPrefix::default());
        let here = "192.0.2.1";
        assert_eq!(ask(&world, &policy, here, foreign.expose()), "credential-unknown");
        assert_eq!(ask(&world, &policy, here, "guess"), "credential-malformed");
        assert_eq!(ask(&world, &policy, here, &key), "admitted");
        assert_eq!(ask(&world, &policy, here, "guess"), "credential-malformed");
        assert_eq!(ask(&world, &policy, here, "guess"), "lockout");
        assert_eq!(ask(&world, &policy, "::ffff:192.0.2.1", "guess"), "lockout");
        assert_eq!(ask(&world, &policy, "192.0.2.2", "guess"), "credential-malformed");
        assert_eq!(ask(&world, &policy, "nowhere", "guess"), "credential-malformed");

        world.clock.advance(A_SECOND * 20 - Duration::from_nanos(1));
        assert_eq!(ask(&world, &policy, here, foreign.expose()), "lockout");
        world.clock.advance(Duration::from_nanos(1));
        assert_eq!(ask(&world, &policy, here, "guess"), "credential-malformed");
        assert_eq!(ask(&world, &policy, here, &key), "admitted", "it begins anew");
    }

    #[test]
    fn lockout_admits_valid_credentials_and_denies_all_else_alike() {
        let world = Fixture::new();
        let policy =
            ApiKey::new(world.directory.clone()).lockout(Lockout::new(1, A_SECOND * 10, A_SECOND * 20));
        let (key, now) = (world.key(), world.now());
        let disabled = world.key_with(|credential| credential.status = crate::model::Status::Disabled);
        let expired = world.key_with(|credential| credential.not_after = Some(now));
        let unknown = crate::model::GeneratedKey::generate(&crate::model::KeyPrefix::default());
        let here = "192.0.2.1";
        assert_eq!(ask(&world, &policy, here, "guess"), "credential-malformed");
        for bad in ["guess", "", unknown.expose(), &*disabled, &*expired] {
            assert_eq!(ask(&world, &policy, here, bad), "lockout", "{bad}");
            assert_eq!(ask(&world, &policy, here, &key), "admitted");
        }
        // Denied requests do not prolong the lockout, and a valid credential does not end it.
        world.clock.advance(A_SECOND * 20);
        assert_eq!(ask(&world, &policy, here, unknown.expose()), "credential-unknown");
    }

    #[test]
    fn slow_errors_and_other_denials_do_not_lock_out() {
        let world = Fixture::new();
        let policy = ApiKey::new(world.directory.clone()).lockout(Lockout::new(2, A_SECOND, A_SECOND * 20));
        let key = world.key();
        let disabled = world.key_with(|credential| credential.status = crate::model::Status::Disabled);
        for _ in 0..5 {
            assert_eq!(ask(&world, &policy, "2001:db8::1", "guess"), "credential-malformed");
            assert_eq!(ask(&world, &policy, "2001:db8::1", &disabled), "credential-disabled");
            world.clock.advance(A_SECOND);
        }
        assert_eq!(ask(&world, &policy, "2001:db8::1", &key), "admitted");
        ask(&world, &policy, "2001:db8::1", "guess");
        ask(&world, &policy, "2001:db8::2", "guess");
        assert_eq!(ask(&world, &policy, "2001:db8::3", "guess"), "lockout", "a /64 is one host");
        assert_eq!(ask(&world, &policy, "2001:db8:0:1::3", "guess"), "credential-malformed");
    }

    #[test]
    fn full_lockout_table_evicts_locked_out_addresses_last() {
        let (lockout, world) = (Lockout::new(2, A_SECOND * 1_000, A_SECOND * 1_000), Fixture::new());
        let request = request("GET", "/", &[]);
        let note = |address: u32| {
            let peer = IpAddr::from(std::net::Ipv4Addr::from_bits(address));
            lockout.note(&Head::from_request(&request, Some(peer), false, world.clock.now()));
        };
        let most = u32::try_from(MAX_RECORDS).unwrap();
        (0..10).chain(0..10).for_each(note);
        world.clock.advance(A_SECOND);
        note(10);
        world.clock.advance(A_SECOND);
        (11..most + 10).for_each(note);
        let addresses = lockout.addresses();
        assert!(addresses.len() <= MAX_RECORDS);
        let has = |address: u32| addresses.get(&IpAddr::from(std::net::Ipv4Addr::from_bits(address)));
        assert!((0..10).all(|locked| has(locked).is_some_and(|record| record.locked)));
        assert!(has(10).is_none(), "the oldest of those that are not locked out");
        assert!(has(most + 9).is_some());
        drop(addresses);
        world.clock.advance(A_SECOND * 2_000);
        (most..2 * most + 20).for_each(note);
        assert!(lockout.addresses().len() <= MAX_RECORDS);
        assert!(!lockout.addresses().contains_key(&IpAddr::from([0, 0, 0, 1])), "its time is over");
    }
}
