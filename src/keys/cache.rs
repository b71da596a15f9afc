//! The cache in front of a store of keys.

use std::{
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use quick_cache::sync::{Cache, EntryAction, EntryResult, PlaceholderGuard};
use tokio::{sync::Semaphore, time::timeout};

use super::{
    Key, KeyDigest, KeyError, KeyStore,
    found::{Found, LookupFuture, Pending},
    store::DynKeyStore,
};
use crate::{
    clock::Moment,
    directory::{CallerEntry, KeyEntry},
    model::CallerId,
    sync,
};

/// Seconds for which requests with a key are denied with 503 after its look-up failed.
const FAULT_SECONDS: u64 = 1;

/// A bounded cache in front of a [`KeyStore`].
///
/// A request with a key that is not in the cache waits for the store; concurrent requests with the same key wait for
/// one look-up. Keys are looked up again after some time, so a revoked key is denied at the latest then, or at once
/// after [`invalidate`](Self::invalidate). Unknown keys are remembered, too, for a shorter time and in a cache of their
/// own, so that guesses displace no keys. If the store fails, requests are denied with 503; keys in the cache are not
/// affected.
///
/// The cache also holds the limits of callers. They outlive the keys in it; but if more callers than its capacity are
/// active, the limits of those that called least start anew.
///
/// Clones share the cache. It needs the Tokio runtime.
#[derive(Clone)]
pub struct KeyCache {
    inner: Arc<Inner>,
}

impl fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCache").field("len", &self.inner.known.len()).finish_non_exhaustive()
    }
}

/// Creates a [`KeyCache`].
///
/// ```
/// use std::time::Duration;
/// use portcullis::keys::{Key, KeyCache, KeyDigest, KeyStore, StoreError};
/// # struct Table;
/// # impl KeyStore for Table {
/// #     async fn find(&self, _: KeyDigest) -> Result<Option<Key>, StoreError> { Ok(None) }
/// # }
///
/// let cache = KeyCache::builder(Table).capacity(1_000_000).time_to_live(Duration::from_secs(30)).build();
/// ```
pub struct KeyCacheBuilder {
    store: Box<dyn DynKeyStore>,
    capacity: usize,
    time_to_live: Duration,
    unknown_time_to_live: Duration,
    timeout: Duration,
    max_lookups: usize,
}

impl fmt::Debug for KeyCacheBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCacheBuilder").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

impl KeyCacheBuilder {
    /// Sets the maximum number of keys, of callers and of unknown keys; each has a table of its own. The default is
    /// 100,000.
    #[must_use]
    pub fn capacity(mut self, keys: usize) -> Self {
        self.capacity = keys;
        self
    }

    /// Sets the time after which a key is looked up again. The default is a minute.
    #[must_use]
    pub fn time_to_live(mut self, time: Duration) -> Self {
        self.time_to_live = time;
        self
    }

    /// Sets the time after which an unknown key is looked up again. The default is 5 seconds.
    #[must_use]
    pub fn unknown_time_to_live(mut self, time: Duration) -> Self {
        self.unknown_time_to_live = time;
        self
    }

    /// Sets the time for one look-up, the wait for its turn included. After that, requests are denied with 503. The
    /// default is 5 seconds.
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = time;
        self
    }

    /// Sets the maximum number of concurrent look-ups. The default is 64.
    #[must_use]
    pub fn max_lookups(mut self, lookups: usize) -> Self {
        self.max_lookups = lookups;
        self
    }

    /// Creates the cache.
    #[must_use]
    pub fn build(self) -> KeyCache {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        KeyCache {
            inner: Arc::new(Inner {
                known: Cache::new(self.capacity),
                misses: Cache::new(self.capacity),
                callers: Cache::new(self.capacity),
                generation: Mutex::new(0),
                lookups: Semaphore::new(self.max_lookups.clamp(1, Semaphore::MAX_PERMITS)),
                store: self.store,
                time_to_live: nanos(self.time_to_live),
                unknown_time_to_live: nanos(self.unknown_time_to_live),
                timeout: self.timeout,
            }),
        }
    }
}

struct Inner {
    store: Box<dyn DynKeyStore>,
    known: Cache<KeyDigest, Timed<Arc<KeyEntry>>>,
    misses: Cache<KeyDigest, Timed<Miss>>,
    callers: Cache<CallerId, Arc<CallerEntry>>,
    /// The number of invalidations that a look-up in progress may have missed. A result is stored while this is
    /// locked, and discarded if the number has changed.
    generation: Mutex<u64>,
    lookups: Semaphore,
    time_to_live: u64,
    unknown_time_to_live: u64,
    timeout: Duration,
}

/// A value that is valid until a tick of the clock.
#[derive(Debug, Clone)]
struct Timed<T> {
    value: T,
    until: u64,
}

#[derive(Debug, Clone, Copy)]
enum Miss {
    Unknown,
    Fault,
}

type Slot<'a> = PlaceholderGuard<
    'a,
    KeyDigest,
    Timed<Arc<KeyEntry>>,
    quick_cache::UnitWeighter,
    quick_cache::DefaultHashBuilder,
    quick_cache::sync::DefaultLifecycle<KeyDigest, Timed<Arc<KeyEntry>>>,
>;

impl KeyCache {
    /// Creates a cache with the defaults of the [builder](KeyCacheBuilder).
    #[must_use]
    pub fn new(store: impl KeyStore) -> Self {
        Self::builder(store).build()
    }

    /// Returns a builder.
    #[must_use]
    pub fn builder(store: impl KeyStore) -> KeyCacheBuilder {
        KeyCacheBuilder {
            store: Box::new(store),
            capacity: 100_000,
            time_to_live: Duration::from_secs(60),
            unknown_time_to_live: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            max_lookups: 64,
        }
    }

    /// Removes a key, which was changed or revoked in the store. Requests that arrive afterwards are decided with its
    /// new state. Also call this after a key was created, in case that it was presented before.
    pub fn invalidate(&self, digest: &KeyDigest) {
        // This also removes the slot of a look-up in progress, whose result is then discarded.
        let _generation = self.inner.next_generation();
        self.inner.known.remove(digest);
        self.inner.misses.remove(digest);
    }

    /// Removes all keys of a caller, which was changed or blocked in the store.
    pub fn invalidate_caller(&self, caller: &str) {
        let _generation = self.inner.next_generation();
        self.inner.known.retain(|_, known| known.value.caller().id.as_str() != caller);
    }

    /// Removes all keys. The limits of callers keep their counts.
    pub fn clear(&self) {
        let _generation = self.inner.next_generation();
        self.inner.known.clear();
        self.inner.misses.clear();
    }

    /// Returns the result of an earlier look-up, if it is still valid.
    pub(crate) fn get(&self, digest: &KeyDigest, now: Moment) -> Option<Found> {
        if let Some(known) = self.inner.known.get(digest).filter(|known| now.ticks < known.until) {
            return Some(Found::Key(known.value));
        }
        self.inner.miss(digest, now)
    }

    /// Looks up a key in the store, or waits for the look-up of another request, and sets the result.
    pub(crate) fn load(&self, digest: KeyDigest, now: Moment, result: Pending) -> LookupFuture {
        let inner = self.inner.clone();
        Box::pin(async move {
            let _ = result.set(inner.load(digest, now).await);
        })
    }
}

/// Converts a panic of a look-up, such as that of [`Limit::per_minute`](crate::model::Limit::per_minute) for a 0 in a
/// table, to an error. The panic would otherwise end the client's connection.
async fn caught<T>(look_up: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let mut look_up = pin!(look_up);
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| look_up.as_mut().poll(cx)));
        polled.unwrap_or_else(|_| Poll::Ready(Err("the store panicked".into())))
    })
    .await
}

impl Inner {
    fn next_generation(&self) -> std::sync::MutexGuard<'_, u64> {
        let mut generation = sync::lock(&self.generation);
        *generation += 1;
        generation
    }

    fn miss(&self, digest: &KeyDigest, now: Moment) -> Option<Found> {
        let miss = self.misses.get(digest).filter(|miss| now.ticks < miss.until)?;
        Some(match miss.value {
            Miss::Unknown => Found::Unknown,
            Miss::Fault => Found::Fault,
        })
    }

    async fn load(&self, digest: KeyDigest, now: Moment) -> Found {
        loop {
            let entry = self.known.entry_async(&digest, |_, known| {
                if now.ticks < known.until {
                    EntryAction::Retain(known.value.clone())
                } else {
                    EntryAction::ReplaceWithGuard
                }
            });
            let slot = match entry.await {
                EntryResult::Retained(key) => return Found::Key(key),
                EntryResult::Vacant(slot) | EntryResult::Replaced(slot, _) => slot,
                // Neither is asked for.
                EntryResult::Removed(..) | EntryResult::Timeout => continue,
            };
            // The look-up of another request may have ended just now.
            if let Some(found) = self.miss(&digest, now) {
                return found;
            }
            let generation = *sync::lock(&self.generation);
            let outcome = self.look_up(digest).await;
            if let Some(found) = self.store(digest, outcome, slot, generation, now) {
                return found;
            }
        }
    }

    async fn look_up(&self, digest: KeyDigest) -> Result<Option<Key>, String> {
        let find = async {
            let _permit = self.lookups.acquire().await;
            self.store.find(digest).await.map_err(|error| error.to_string())
        };
        match timeout(self.timeout, caught(find)).await {
            Ok(found) => found,
            Err(_) => Err(format!("no answer within {:?}", self.timeout)),
        }
    }

    /// Stores the outcome of a look-up, unless the key was invalidated meanwhile.
    fn store(
        &self,
        digest: KeyDigest,
        outcome: Result<Option<Key>, String>,
        slot: Slot<'_>,
        generation: u64,
        now: Moment,
    ) -> Option<Found> {
        let current = sync::lock(&self.generation);
        if *current != generation {
            return None;
        }
        let miss = |value, until| self.misses.insert(digest, Timed { value, until });
        let outcome = outcome.and_then(|key| {
            key.map(|key| self.entry(digest, key)).transpose().map_err(|error| error.to_string())
        });
        Some(match outcome {
            Ok(Some(key)) => {
                let until = now.ticks.saturating_add(self.time_to_live);
                // The slot is there, because every removal changes the generation.
                let _ = slot.insert(Timed { value: key.clone(), until });
                Found::Key(key)
            }
            Ok(None) => {
                miss(Miss::Unknown, now.ticks.saturating_add(self.unknown_time_to_live));
                Found::Unknown
            }
            Err(error) => {
                tracing::error!(%error, "look-up of a key failed");
                miss(Miss::Fault, now.ticks.saturating_add(FAULT_SECONDS * 1_000_000_000));
                Found::Fault
            }
        })
    }

    /// Creates the entry of a key, with the caller's present limits.
    fn entry(&self, digest: KeyDigest, key: Key) -> Result<Arc<KeyEntry>, KeyError> {
        let before = key.caller.parse().ok().and_then(|id: CallerId| self.callers.get(&id));
        let entry = key.into_entry(digest, before.as_ref())?;
        let caller = entry.shared_caller();
        if !before.is_some_and(|before| Arc::ptr_eq(&before, &caller)) {
            self.callers.insert(caller.id.clone(), caller);
        }
        Ok(Arc::new(entry))
    }
}
