//! The credentials that a thread verified before.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use siphasher::sip128::SipHasher24;

use super::KeyEntry;

/// The number of credentials that each thread remembers: a power of two.
const SLOTS: usize = 1 << 14;

/// The verifications of other credentials of one slot after which it remembers another credential. A thread with more
/// callers than slots would otherwise write to the cold memory of two entries for each request.
const MISSES: u8 = 4;

/// The state of a directory's credentials: a number that no other state of any directory of the process has.
#[derive(Debug)]
pub(super) struct Generation(AtomicU64);

static NEXT: AtomicU64 = AtomicU64::new(1);

impl Default for Generation {
    fn default() -> Self {
        Self(AtomicU64::new(NEXT.fetch_add(1, Ordering::Relaxed)))
    }
}

impl Generation {
    /// Marks that credentials were changed: what threads verified before is no longer used.
    pub(super) fn advance(&self) {
        self.0.store(NEXT.fetch_add(1, Ordering::Relaxed), Ordering::Release);
    }

    /// Returns the credential whose secret is this text. `find` verifies it, unless this thread has verified it in
    /// this generation.
    ///
    /// The thread compares a hash of the text: SipHash-2-4 with 128 bits, under a key that only the thread knows. An
    /// attacker can therefore not find a text with the hash of another one.
    pub(super) fn find<E>(
        &self,
        text: &str,
        find: impl FnOnce() -> Result<Option<Arc<KeyEntry>>, E>,
    ) -> Result<Option<Arc<KeyEntry>>, E> {
        // Read before `find` runs: a change in between makes its result one of an earlier generation.
        let generation = self.0.load(Ordering::Acquire);
        let (hash, verified) = VERIFIED.with_borrow_mut(|verified| {
            let hash = verified.hash(text);
            (hash, verified.get(hash, generation))
        });
        if verified.is_some() {
            return Ok(verified);
        }
        let found = find()?;
        if let Some(key) = &found {
            VERIFIED.with_borrow_mut(|verified| verified.insert(hash, generation, key));
        }
        Ok(found)
    }
}

thread_local! {
    static VERIFIED: RefCell<Verified> = RefCell::default();
}

/// The credentials that a thread verified before, each in the slot of its hash.
struct Verified {
    hasher: SipHasher24,
    /// Empty until a credential is verified.
    slots: Vec<Slot>,
}

#[derive(Clone, Default)]
struct Slot {
    hash: u128,
    generation: u64,
    key: Option<Arc<KeyEntry>>,
    /// The verifications of other credentials of this slot.
    misses: u8,
}

impl Default for Verified {
    fn default() -> Self {
        let mut secret = [0; 16];
        // Without a random source, nothing is remembered, because texts with equal hashes could be found.
        let slots = if getrandom::fill(&mut secret).is_ok() { SLOTS } else { 0 };
        Self { hasher: SipHasher24::new_with_key(&secret), slots: vec![Slot::default(); slots] }
    }
}

impl Verified {
    fn hash(&self, text: &str) -> u128 {
        self.hasher.hash(text.as_bytes()).as_u128()
    }

    fn slot(&mut self, hash: u128) -> Option<&mut Slot> {
        let at = usize::try_from(hash % SLOTS as u128).ok()?;
        self.slots.get_mut(at)
    }

    fn get(&mut self, hash: u128, generation: u64) -> Option<Arc<KeyEntry>> {
        let slot = self.slot(hash)?;
        if slot.hash != hash || slot.generation != generation {
            return None;
        }
        slot.misses = 0;
        slot.key.clone()
    }

    fn insert(&mut self, hash: u128, generation: u64, key: &Arc<KeyEntry>) {
        let Some(slot) = self.slot(hash) else { return };
        if slot.generation != generation || slot.misses >= MISSES {
            *slot = Slot { hash, generation, key: Some(key.clone()), misses: 0 };
        } else {
            slot.misses += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::Fixture;

    fn keys<const COUNT: usize>() -> [Arc<KeyEntry>; COUNT] {
        let world = Fixture::new();
        [(); COUNT].map(|()| world.directory.find(&world.key()).unwrap())
    }

    #[test]
    fn slot_remembers_the_key_that_replaces_another_after_some_misses() {
        let [first, second] = keys();
        let mut verified = Verified::default();
        // Two hashes of one slot.
        let (ours, other) = (7, 7 + SLOTS as u128);
        verified.insert(ours, 1, &first);
        for _ in 0..MISSES {
            verified.insert(other, 1, &second);
            assert!(verified.get(other, 1).is_none());
        }
        verified.insert(other, 1, &second);
        assert!(Arc::ptr_eq(&verified.get(other, 1).unwrap(), &second));
        assert!(verified.get(ours, 1).is_none());
    }

    #[test]
    fn key_in_use_is_not_replaced() {
        let [first, second] = keys();
        let mut verified = Verified::default();
        verified.insert(0, 1, &first);
        for _ in 0..10 * MISSES {
            assert!(verified.get(0, 1).is_some());
            verified.insert(SLOTS as u128, 1, &second);
        }
    }

    #[test]
    fn key_of_an_earlier_generation_is_replaced_at_once() {
        let [first, second] = keys();
        let mut verified = Verified::default();
        verified.insert(0, 1, &first);
        assert!(verified.get(0, 2).is_none());
        verified.insert(SLOTS as u128, 2, &second);
        assert!(verified.get(SLOTS as u128, 2).is_some());
    }

    /// A change between the look-up and its insertion must not be missed.
    #[test]
    fn key_that_changes_while_it_is_verified_is_verified_again() {
        let world = Fixture::new();
        let key = world.key();
        let generation = Generation::default();
        let found = generation.find(&key, || {
            let found = world.directory.find(&key);
            generation.advance();
            Ok::<_, ()>(found)
        });
        assert!(found.unwrap().is_some());
        assert_eq!(generation.find(&key, || Err("looked up again")).unwrap_err(), "looked up again");
    }
}
