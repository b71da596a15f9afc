//! The connections to an upstream. Each worker thread has its own pool, so that no pool is shared.

use std::{
    cell::RefCell,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use super::{
    connector::HttpVersions,
    endpoint::{Endpoint, InFlight},
    endpoint_set::{EndpointSet, Endpoints},
    http1_connection::Http1Connection,
    http2_connection::{Http2Connection, Http2Stream},
    load_limit::LoadLimit,
    picker::{Algorithm, Picker, Selection},
    retry_budget::RetryBudget,
};
use crate::config;

/// The interval between two checks of the idle connections.
const REAP_INTERVAL: Duration = Duration::from_secs(1);

thread_local! {
    /// The connections of this thread, indexed by the slot number of the pool.
    static SLOTS: RefCell<Vec<Option<Slot>>> = const { RefCell::new(Vec::new()) };
}

/// The state of an upstream on one thread.
struct Slot {
    /// The pool that the slot belongs to.
    pool: u64,
    version: u64,
    set: Arc<EndpointSet>,
    /// One for each endpoint of the set, in the same order.
    connections: Vec<Connections>,
    picker: Picker,
    budget: RetryBudget,
    load: LoadLimit,
}

/// The connections to an endpoint.
#[derive(Default)]
struct Connections {
    idle: Vec<Idle<Box<Http1Connection>>>,
    shared: Vec<Idle<Http2Connection>>,
    /// The HTTP/2 connection that is being opened. Other requests wait for it.
    connecting: Option<watch::Receiver<()>>,
}

struct Idle<C> {
    connection: C,
    /// The number of further checks that the connection is kept for.
    rounds: u64,
}

/// A connection that a request can use.
pub(super) enum UpstreamConnection {
    /// Boxed, because a connection is moved often during an exchange.
    Http1(Box<Http1Connection>),
    Http2(Box<Http2Stream>),
}

impl UpstreamConnection {
    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        match self {
            Self::Http1(connection) => &connection.endpoint,
            Self::Http2(stream) => &stream.endpoint,
        }
    }
}

/// The endpoint for a request.
pub(super) enum Selected {
    /// An endpoint with a connection that can be used.
    Connection(UpstreamConnection),
    /// An endpoint without one: a connection must be opened.
    Endpoint(Arc<Endpoint>),
}

/// The part of a request in opening an HTTP/2 connection.
pub(super) enum Opening {
    /// Another request has opened one.
    Open(Http2Stream),
    /// Another request opens one. It is done when the sender is dropped.
    Wait(watch::Receiver<()>),
    /// No other request opens one: this one does, and drops the sender when it is done.
    Lead(watch::Sender<()>),
}

/// The connection pool of an upstream.
#[derive(Debug)]
pub(super) struct UpstreamPool {
    number: PoolNumber,
    pub(super) endpoints: Arc<Endpoints>,
    pub(super) algorithm: Algorithm,
    slow_start: Option<Duration>,
    retries: config::Retries,
    pub(super) load: LoadLimit,
    idle_connections: usize,
    rounds: u64,
}

/// The place of a pool in the slots of each thread.
#[derive(Debug)]
struct PoolNumber {
    /// Unique among the pools that exist.
    slot: usize,
    /// Unique among all pools, so that a slot with the connections of an earlier pool is recognized.
    id: u64,
}

static SLOT_NUMBERS: Mutex<SlotNumbers> = Mutex::new(SlotNumbers { free: Vec::new(), count: 0 });

/// Assigns slots. A slot is free again when its pool is gone, so that the number of slots does not grow with each
/// reload of the configuration.
struct SlotNumbers {
    free: Vec<usize>,
    count: usize,
}

impl SlotNumbers {
    fn take(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.count += 1;
            self.count - 1
        })
    }
}

impl PoolNumber {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let slot = SLOT_NUMBERS.lock().unwrap_or_else(PoisonError::into_inner).take();
        Self { slot, id: NEXT.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for PoolNumber {
    fn drop(&mut self) {
        SLOT_NUMBERS.lock().unwrap_or_else(PoisonError::into_inner).free.push(self.slot);
    }
}

impl UpstreamPool {
    pub(super) fn new(upstream: &config::Upstream, endpoints: Arc<Endpoints>) -> Self {
        Self {
            number: PoolNumber::next(),
            endpoints,
            algorithm: match upstream.balance {
                config::Balance::RoundRobin => Algorithm::RoundRobin,
                config::Balance::LeastRequests => Algorithm::LeastRequests,
                config::Balance::Hash(_) => Algorithm::Hash,
            },
            slow_start: upstream.slow_start.map(config::ConfigDuration::duration),
            retries: upstream.retries,
            load: LoadLimit::new(&upstream.limits),
            idle_connections: upstream.idle_connections,
            rounds: upstream.idle_timeout.duration().as_secs().max(1),
        }
    }

    /// Selects an endpoint that was not tried, and takes a connection if there is one. Returns `None` if there is no
    /// such endpoint.
    pub(super) fn select(
        &self,
        key: Option<&[u8]>,
        tried: &[Arc<Endpoint>],
        http: HttpVersions,
    ) -> Option<Selected> {
        let selection = Selection { algorithm: self.algorithm, slow_start: self.slow_start, key, tried };
        let counts = self.counts();
        self.with_slot(|slot| {
            if tried.is_empty() {
                slot.budget.deposit();
            }
            let index = slot.picker.pick(&slot.set, &selection)?;
            let connections = &mut slot.connections[index];
            if http == HttpVersions::All
                && let Some(stream) = connections.stream(counts, self.rounds)
            {
                return Some(Selected::Connection(UpstreamConnection::Http2(Box::new(stream))));
            }
            let Some(mut connection) = connections.take() else {
                return Some(Selected::Endpoint(slot.set.endpoints[index].clone()));
            };
            connection.in_flight = counts.then(|| InFlight::new(&connection.endpoint));
            Some(Selected::Connection(UpstreamConnection::Http1(connection)))
        })
    }

    /// Begins a request on a new connection.
    pub(super) fn begin(&self, connection: &mut Http1Connection) {
        connection.in_flight = self.counts().then(|| InFlight::new(&connection.endpoint));
    }

    /// Takes a retry from the budget. Returns `false` if none is left.
    pub(super) fn withdraw_retry(&self) -> bool {
        self.with_slot(|slot| slot.budget.withdraw())
    }

    /// Returns a connection to the pool after an exchange, unless a part of the request is still to be sent.
    pub(super) fn put(&self, mut connection: Box<Http1Connection>) {
        connection.in_flight = None;
        // Another thread may wait for a connection.
        if !connection.is_free() || self.load.is_contended() {
            return;
        }
        self.with_slot(|slot| {
            // The endpoint may have been removed while the exchange took place.
            let Some(connections) = slot.connections_of(&connection.endpoint) else { return };
            if connections.idle.len() < self.idle_connections {
                connections.idle.push(Idle { connection, rounds: self.rounds });
            }
        });
    }

    /// Begins to open an HTTP/2 connection, or waits for that of another request.
    pub(super) fn open_http2(&self, endpoint: &Arc<Endpoint>) -> Opening {
        let counts = self.counts();
        self.with_slot(|slot| {
            let (leads, waits) = watch::channel(());
            let Some(connections) = slot.connections_of(endpoint) else { return Opening::Lead(leads) };
            if let Some(stream) = connections.stream(counts, self.rounds) {
                return Opening::Open(stream);
            }
            // If the leader was dropped, another request takes its place.
            if let Some(waits) = connections.connecting.as_ref().filter(|waits| waits.has_changed().is_ok()) {
                return Opening::Wait(waits.clone());
            }
            connections.connecting = Some(waits);
            Opening::Lead(leads)
        })
    }

    /// Adds an HTTP/2 connection to the pool, and begins a request on it.
    pub(super) fn share(&self, connection: Http2Connection, endpoint: &Arc<Endpoint>) -> Http2Stream {
        let stream = connection.begin(self.counts());
        self.with_slot(|slot| {
            if let Some(connections) = slot.connections_of(endpoint) {
                connections.shared.push(Idle { connection, rounds: self.rounds });
            }
        });
        stream
    }

    /// Returns `true` if requests in progress are counted.
    fn counts(&self) -> bool {
        self.algorithm == Algorithm::LeastRequests
    }

    fn with_slot<T>(&self, work: impl FnOnce(&mut Slot) -> T) -> T {
        SLOTS.with_borrow_mut(|slots| {
            let PoolNumber { slot: at, id } = self.number;
            if slots.len() <= at {
                slots.resize_with(at + 1, || None);
            }
            let slot = match &mut slots[at] {
                Some(slot) if slot.pool == id => slot,
                other => other.insert(self.slot()),
            };
            if slot.version != self.endpoints.version() {
                slot.update(&self.endpoints);
            }
            work(slot)
        })
    }

    #[cold]
    fn slot(&self) -> Slot {
        let (version, set) = self.endpoints.current();
        let connections = set.endpoints.iter().map(|_| Connections::default()).collect();
        // The threads start with different endpoints.
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        let picker = Picker::starting_at(THREADS.fetch_add(1, Ordering::Relaxed));
        let budget = RetryBudget::new(self.retries);
        let (pool, load) = (self.number.id, self.load.clone());
        Slot { pool, version, set, connections, picker, budget, load }
    }
}

impl Slot {
    /// Adopts the current endpoints. Idle connections to endpoints that are gone are closed.
    #[cold]
    fn update(&mut self, endpoints: &Endpoints) {
        let (version, set) = endpoints.current();
        let mut earlier: Vec<_> =
            self.set.endpoints.iter().cloned().zip(std::mem::take(&mut self.connections)).collect();
        self.connections = set
            .endpoints
            .iter()
            .map(|endpoint| {
                let same = earlier.iter().position(|(earlier, _)| Arc::ptr_eq(earlier, endpoint));
                same.map(|at| earlier.swap_remove(at).1).unwrap_or_default()
            })
            .collect();
        self.version = version;
        self.set = set;
    }

    fn connections_of(&mut self, endpoint: &Arc<Endpoint>) -> Option<&mut Connections> {
        let index = self.set.endpoints.iter().position(|one| Arc::ptr_eq(one, endpoint))?;
        self.connections.get_mut(index)
    }

    /// Closes connections that the endpoint has closed, or that have been idle for too long.
    fn reap(&mut self) {
        let contended = self.load.is_contended();
        for connections in &mut self.connections {
            connections.idle.retain_mut(|idle| {
                idle.rounds = idle.rounds.saturating_sub(1);
                idle.rounds > 0 && !contended && idle.connection.is_free()
            });
            connections.shared.retain_mut(|idle| {
                if !idle.connection.is_idle() {
                    return idle.connection.is_open();
                }
                idle.rounds = idle.rounds.saturating_sub(1);
                idle.rounds > 0 && !contended && idle.connection.is_open()
            });
        }
    }
}

impl Connections {
    /// Takes the idle connection that was used last, if there is one: it is the most likely to be still open.
    fn take(&mut self) -> Option<Box<Http1Connection>> {
        std::iter::from_fn(|| self.idle.pop()).map(|idle| idle.connection).find_map(|mut connection| {
            let free = connection.is_free();
            free.then_some(connection)
        })
    }

    /// Begins a request on a shared connection, if one has room.
    fn stream(&mut self, counts: bool, rounds: u64) -> Option<Http2Stream> {
        if self.shared.is_empty() {
            return None;
        }
        self.shared.retain(|idle| idle.connection.is_open());
        self.shared.iter_mut().find_map(|idle| {
            let stream = idle.connection.stream(counts)?;
            idle.rounds = rounds;
            Some(stream)
        })
    }
}

/// Closes the connections of this thread that the endpoint has closed, or that have been idle for too long. Runs as
/// long as the thread.
pub(in crate::gateway) async fn reap_idle() {
    let mut rounds = interval(REAP_INTERVAL);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        SLOTS.with_borrow_mut(|slots| slots.iter_mut().flatten().for_each(Slot::reap));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_of_dropped_pools_are_used_again() {
        let mut numbers = SlotNumbers { free: Vec::new(), count: 0 };
        assert_eq!([numbers.take(), numbers.take()], [0, 1]);
        numbers.free.push(0);
        assert_eq!([numbers.take(), numbers.take()], [0, 2]);
    }

    /// A pool in the slot of an earlier one must not use its connections, which lead to another service.
    #[test]
    fn pool_does_not_use_the_slot_of_an_earlier_one() {
        let upstream: config::Upstream = toml::from_str("address = \"127.0.0.1:9\"").unwrap();
        let pool = |slot, id| UpstreamPool {
            number: PoolNumber { slot, id },
            ..UpstreamPool::new(&upstream, Arc::new(Endpoints::new(Vec::new(), false)))
        };
        let retries =
            |pool: &UpstreamPool| std::iter::from_fn(|| pool.withdraw_retry().then_some(())).count();
        let (first, second) = (pool(1_000, u64::MAX - 1), pool(1_000, u64::MAX));
        assert_eq!((retries(&first), retries(&first)), (100, 0));
        assert_eq!(retries(&second), 100, "the budget of the first pool is used up");
    }
}
