//! The results of earlier look-ups of credentials, for each thread.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use siphasher::sip128::SipHasher24;

use super::KeyEntry;

/// The number of results that each thread remembers, in 48 bytes each: 768 KiB for a thread that decides requests.
const SLOTS: usize = 1 << 14;

/// The look-ups of other texts of one slot after which it remembers another result. A thread with more callers than slots
/// would otherwise write to the cold memory of two entries for each request.
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
    /// Marks that credentials were changed: what threads remember is no longer used.
    pub(super) fn advance(&self) {
        self.0.store(NEXT.fetch_add(1, Ordering::Relaxed), Ordering::Release);
    }

    /// Returns the credential whose secret is this text. `find` looks it up, unless this thread has looked it up in
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
        let (hash, found) = RESULTS.with_borrow_mut(|results| {
            let hash = results.hash(text);
            (hash, results.get(hash, generation).map(|slot| slot.key.clone()))
        });
        if let Some(found) = found {
            return Ok(found);
        }
        let found = find()?;
        RESULTS.with_borrow_mut(|results| results.insert(hash, generation, found.as_ref()));
        Ok(found)
    }
}

thread_local! {
    static RESULTS: RefCell<Results> = RefCell::default();
}

/// The results that a thread remembers, each in the slot of its text's hash.
struct Results {
    hasher: SipHasher24,
    slots: Vec<Slot>,
}

#[derive(Clone, Default)]
struct Slot {
    hash: u128,
    generation: u64,
    /// `None` for a text that is no known credential, such as that of a client that repeats its request with it.
    key: Option<Arc<KeyEntry>>,
    /// The look-ups of other texts of this slot.
    misses: u8,
}

impl Default for Results {
    fn default() -> Self {
        let mut secret = [0; 16];
        // Without a random source, nothing is remembered, because texts with equal hashes could be found.
        let slots = if getrandom::fill(&mut secret).is_ok() { SLOTS } else { 0 };
        Self { hasher: SipHasher24::new_with_key(&secret), slots: vec![Slot::default(); slots] }
    }
}

impl Results {
    fn hash(&self, text: &str) -> u128 {
        self.hasher.hash(text.as_bytes()).as_u128()
    }

    fn slot(&mut self, hash: u128) -> Option<&mut Slot> {
        let at = usize::try_from(hash % SLOTS as u128).ok()?;
        self.slots.get_mut(at)
    }

    /// Returns the result for a text with this hash.
    fn get(&mut self, hash: u128, generation: u64) -> Option<&Slot> {
        let slot = self.slot(hash)?;
        if slot.hash != hash || slot.generation != generation {
            return None;
        }
        slot.misses = 0;
        Some(slot)
    }

    fn insert(&mut self, hash: u128, generation: u64, key: Option<&Arc<KeyEntry>>) {
        let Some(slot) = self.slot(hash) else { return };
        // Guessed texts never replace a credential.
        if slot.generation != generation || slot.key.is_none() || key.is_some() && slot.misses >= MISSES {
            *slot = Slot { hash, generation, key: key.cloned(), misses: 0 };
        } else {
            slot.misses += u8::from(key.is_some());
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
        let mut results = Results::default();
        // Two hashes of one slot.
        let (ours, other) = (7, 7 + SLOTS as u128);
        results.insert(ours, 1, Some(&first));
        for _ in 0..MISSES {
            results.insert(other, 1, Some(&second));
            assert!(results.get(other, 1).is_none());
        }
        results.insert(other, 1, Some(&second));
        assert!(Arc::ptr_eq(results.get(other, 1).unwrap().key.as_ref().unwrap(), &second));
        assert!(results.get(ours, 1).is_none());
    }

    #[test]
    fn key_in_use_is_not_replaced() {
        let [first, second] = keys();
        let mut results = Results::default();
        results.insert(0, 1, Some(&first));
        for _ in 0..10 * MISSES {
            assert!(results.get(0, 1).is_some());
            results.insert(SLOTS as u128, 1, Some(&second));
        }
    }

    #[test]
    fn key_of_an_earlier_generation_is_replaced_at_once() {
        let [first, second] = keys();
        let mut results = Results::default();
        results.insert(0, 1, Some(&first));
        assert!(results.get(0, 2).is_none());
        results.insert(SLOTS as u128, 2, Some(&second));
        assert!(results.get(SLOTS as u128, 2).is_some());
    }

    #[test]
    fn guess_is_remembered_until_the_next_result_and_replaces_no_key() {
        let [first, _] = keys();
        let mut results = Results::default();
        let guess = |at: u128| at * SLOTS as u128;
        results.insert(guess(1), 1, None);
        assert!(results.get(guess(1), 1).unwrap().key.is_none());
        results.insert(0, 1, Some(&first));
        for at in 1..100 {
            results.insert(guess(at), 1, None);
            assert!(results.get(guess(at), 1).is_none());
        }
        assert!(results.get(0, 1).unwrap().key.is_some());
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
