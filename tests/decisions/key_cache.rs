//! The cache in front of an application's own table of keys.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, routing::get};
use jiff::Timestamp;
use portcullis::{
    Caller,
    clock::ManualClock,
    keys::{Key, KeyCache, KeyCacheBuilder, KeyDigest, KeyStore, StoreError},
    model::Limit,
    policy::{ApiKey, RateLimit},
    tower::PortcullisLayer,
};
use tokio::sync::Semaphore;

use super::{send, status};

const KEY: &str = "correct-horse-battery-staple";

/// A table whose answers wait for permits.
#[derive(Clone)]
struct Table(Arc<State>);

struct State {
    keys: Mutex<HashMap<KeyDigest, Key>>,
    fails: Mutex<bool>,
    lookups: AtomicUsize,
    started: Semaphore,
    permits: Semaphore,
}

impl Table {
    fn new() -> Self {
        Self(Arc::new(State {
            keys: Mutex::default(),
            fails: Mutex::new(false),
            lookups: AtomicUsize::new(0),
            started: Semaphore::new(0),
            permits: Semaphore::new(Semaphore::MAX_PERMITS),
        }))
    }

    /// A table in which every look-up waits for a permit.
    fn slow() -> Self {
        let table = Self::new();
        table.0.permits.forget_permits(Semaphore::MAX_PERMITS);
        table
    }

    fn put(&self, text: &str, key: Key) {
        self.0.keys.lock().unwrap().insert(KeyDigest::from_key(text), key);
    }

    fn remove(&self, text: &str) {
        self.0.keys.lock().unwrap().remove(&KeyDigest::from_key(text));
    }

    fn fail(&self, fails: bool) {
        *self.0.fails.lock().unwrap() = fails;
    }

    fn lookups(&self) -> usize {
        self.0.lookups.load(Ordering::SeqCst)
    }

    /// Waits until a look-up has started.
    async fn started(&self) {
        self.0.started.acquire().await.unwrap().forget();
    }
}

impl KeyStore for Table {
    async fn find(&self, digest: KeyDigest) -> Result<Option<Key>, StoreError> {
        let state = &self.0;
        state.lookups.fetch_add(1, Ordering::SeqCst);
        let found = state.keys.lock().unwrap().get(&digest).cloned();
        state.started.add_permits(1);
        state.permits.acquire().await?.forget();
        if *state.fails.lock().unwrap() { Err("the table is locked".into()) } else { Ok(found) }
    }
}

struct CachedTable {
    table: Table,
    cache: KeyCache,
    clock: Arc<ManualClock>,
    app: Router,
}

impl CachedTable {
    fn new(table: Table) -> Self {
        Self::with(table, |cache| cache)
    }

    fn with(table: Table, settings: impl FnOnce(KeyCacheBuilder) -> KeyCacheBuilder) -> Self {
        let cache = settings(KeyCache::builder(table.clone())).build();
        let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
        let policies = (ApiKey::new(cache.clone()), RateLimit::new());
        let layer = PortcullisLayer::new(policies).clock(clock.clone());
        let app = Router::new().route("/", get(async |caller: Caller| caller.name().to_owned())).layer(layer);
        Self { table, cache, clock, app }
    }

    async fn get(&self, key: &str) -> u16 {
        status(&self.app, "GET", "/", key).await
    }
}

#[tokio::test]
async fn key_is_looked_up_once_within_its_time() {
    let service = CachedTable::new(Table::new());
    service.table.put(KEY, Key::new("shop"));
    for _ in 0..3 {
        assert_eq!(service.get(KEY).await, 200);
        assert_eq!(service.get("unknown-key-0123456789").await, 401);
    }
    assert_eq!(service.table.lookups(), 2);
    service.clock.advance(Duration::from_secs(5));
    assert_eq!((service.get("unknown-key-0123456789").await, service.get(KEY).await), (401, 200));
    assert_eq!(service.table.lookups(), 3);
    service.clock.advance(Duration::from_secs(55));
    service.table.remove(KEY);
    assert_eq!(service.get(KEY).await, 401);
    assert_eq!(service.table.lookups(), 4);
    assert_eq!(service.get(&"x".repeat(2_000)).await, 401);
    assert_eq!(service.table.lookups(), 4, "an impossible key is not looked up");
}

#[tokio::test]
async fn concurrent_requests_wait_for_one_lookup() {
    let service = CachedTable::new(Table::slow());
    service.table.put(KEY, Key::new("shop"));
    let requests: Vec<_> = (0..20)
        .map(|_| {
            let app = service.app.clone();
            tokio::spawn(async move { status(&app, "GET", "/", KEY).await })
        })
        .collect();
    service.table.started().await;
    service.table.0.permits.add_permits(1);
    for request in requests {
        assert_eq!(request.await.unwrap(), 200);
    }
    assert_eq!(service.table.lookups(), 1);
}

#[tokio::test]
async fn abandoned_lookup_is_taken_over() {
    let service = CachedTable::new(Table::slow());
    service.table.put(KEY, Key::new("shop"));
    let request = |app: Router| tokio::spawn(async move { status(&app, "GET", "/", KEY).await });
    let first = request(service.app.clone());
    service.table.started().await;
    let second = request(service.app.clone());
    first.abort();
    service.table.started().await;
    service.table.0.permits.add_permits(1);
    assert_eq!(second.await.unwrap(), 200);
}

#[tokio::test]
async fn fault_of_the_store_is_503_and_never_401() {
    let service = CachedTable::new(Table::new());
    service.table.put(KEY, Key::new("shop"));
    service.table.put("invalid-key-0123456789", Key::new("not an id"));
    service.table.fail(true);
    let denied = send(&service.app, "GET", "/", KEY).await;
    assert_eq!((denied.status().as_u16(), &denied.headers()["retry-after"]), (503, &1.into()));
    assert_eq!(service.get("unknown-key-0123456789").await, 503);
    service.table.fail(false);
    assert_eq!(service.get(KEY).await, 503, "a fault is remembered for a second");
    service.clock.advance(Duration::from_secs(1));
    assert_eq!(service.get(KEY).await, 200);
    assert_eq!(service.get("invalid-key-0123456789").await, 503);
    service.table.fail(true);
    service.clock.advance(Duration::from_secs(30));
    assert_eq!(service.get(KEY).await, 200, "a known key is not affected");
    service.clock.advance(Duration::from_secs(30));
    assert_eq!(service.get(KEY).await, 503);
}

/// `Limit::per_minute` panics for a 0, which a table may contain.
#[tokio::test]
async fn panic_of_the_store_is_503() {
    struct Panics;
    impl KeyStore for Panics {
        async fn find(&self, _: KeyDigest) -> Result<Option<Key>, StoreError> {
            Ok(Some(Key::new("shop").limit(Limit::per_minute(0))))
        }
    }
    let layer = PortcullisLayer::new(ApiKey::new(KeyCache::new(Panics)));
    let app = Router::new().route("/", get(async || "served")).layer(layer);
    let denied = send(&app, "GET", "/", KEY).await;
    assert_eq!((denied.status().as_u16(), denied.headers()["retry-after"].to_str().unwrap()), (503, "1"));
}

#[tokio::test(start_paused = true)]
async fn lookup_without_an_answer_times_out() {
    let service =
        CachedTable::with(Table::slow(), |cache| cache.max_lookups(1).timeout(Duration::from_secs(3)));
    service.table.put(KEY, Key::new("shop"));
    let other = "another-key-0123456789";
    let (first, second) = tokio::join!(service.get(KEY), service.get(other));
    assert_eq!((first, second), (503, 503));
    assert_eq!(service.table.lookups(), 1, "the second waited for its turn");
}

#[tokio::test]
async fn invalidated_key_is_looked_up_again() {
    let service = CachedTable::new(Table::new());
    service.table.put(KEY, Key::new("shop"));
    let other = "another-key-0123456789";
    assert_eq!((service.get(KEY).await, service.get(other).await), (200, 401));
    service.table.remove(KEY);
    service.table.put(other, Key::new("shop"));
    assert_eq!((service.get(KEY).await, service.get(other).await), (200, 401));
    service.cache.invalidate(&KeyDigest::from_key(KEY));
    service.cache.invalidate(&KeyDigest::from_key(other));
    assert_eq!((service.get(KEY).await, service.get(other).await), (401, 200));
    service.table.put(other, Key::new("shop").disabled());
    service.cache.invalidate_caller("other");
    assert_eq!(service.get(other).await, 200);
    service.cache.invalidate_caller("shop");
    assert_eq!(service.get(other).await, 403);
    service.table.remove(other);
    service.cache.clear();
    assert_eq!(service.get(other).await, 401);
}

/// A look-up that read the table before the change does not bring the key back.
#[tokio::test]
async fn key_invalidated_during_its_lookup_is_looked_up_again() {
    let invalidations: [fn(&KeyCache); 3] = [
        |cache| cache.invalidate(&KeyDigest::from_key(KEY)),
        |cache| cache.invalidate_caller("shop"),
        KeyCache::clear,
    ];
    for invalidate in invalidations {
        let service = CachedTable::new(Table::slow());
        service.table.put(KEY, Key::new("shop"));
        let app = service.app.clone();
        let request = tokio::spawn(async move { status(&app, "GET", "/", KEY).await });
        service.table.started().await;
        service.table.remove(KEY);
        invalidate(&service.cache);
        service.table.0.permits.add_permits(2);
        assert_eq!(request.await.unwrap(), 401);
        assert_eq!((service.get(KEY).await, service.table.lookups()), (401, 2));
    }
}

#[tokio::test]
async fn limits_of_a_caller_outlive_its_key() {
    let service = CachedTable::new(Table::new());
    let shop = |limit| Key::new("shop").limit(limit);
    service.table.put(KEY, shop(Limit::per_day(3)));
    assert_eq!((service.get(KEY).await, service.get(KEY).await), (200, 200));
    service.clock.advance(Duration::from_secs(60));
    assert_eq!(service.get(KEY).await, 200);
    assert_eq!(service.get(KEY).await, 429);
    service.table.put(KEY, shop(Limit::per_day(5)));
    service.cache.invalidate_caller("shop");
    assert_eq!((service.get(KEY).await, service.get(KEY).await, service.get(KEY).await), (200, 200, 429));
    // Another key of the caller has the same limits.
    service.table.put("another-key-0123456789", shop(Limit::per_day(5)));
    assert_eq!(service.get("another-key-0123456789").await, 429);
}

#[tokio::test]
async fn unknown_keys_displace_no_known_ones() {
    let service = CachedTable::with(Table::new(), |cache| cache.capacity(8));
    service.table.put(KEY, Key::new("shop"));
    assert_eq!(service.get(KEY).await, 200);
    for guess in 0..100 {
        assert_eq!(service.get(&format!("guess-0123456789-{guess}")).await, 401);
    }
    let before = service.table.lookups();
    assert_eq!(service.get(KEY).await, 200);
    assert_eq!(service.table.lookups(), before);
}

/// Ids of callers are unique over all tenants: a key never acts for the caller of another tenant.
#[tokio::test]
async fn caller_of_another_tenant_is_a_fault() {
    let service = CachedTable::new(Table::new());
    service.table.put(KEY, Key::new("shop").tenant("a"));
    service.table.put("another-key-0123456789", Key::new("shop").tenant("b"));
    assert_eq!(service.get(KEY).await, 200);
    assert_eq!(service.get("another-key-0123456789").await, 503);
}
