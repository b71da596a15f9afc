//! Limits the open connections: in total, and for each client address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{client_addr::TrustedProxies, connection_outcome::ConnectionOutcome, log_throttle::LogThrottle};
use crate::config::Limits;
use portcullis::client_prefix::client_prefix;

/// The interval between two log lines about rejected connections.
const REFUSED_LINES: Duration = Duration::from_secs(1);

/// The interval between two log lines about connections that cannot be accepted.
const FAILED_LINES: Duration = Duration::from_secs(10);

/// Counts open connections, and rejects connections over the limits.
#[derive(Debug)]
pub(super) struct ConnectionLimit {
    state: Mutex<State>,
    refused: LogThrottle,
    failed: LogThrottle,
}

#[derive(Debug)]
struct State {
    most: u32,
    most_of_one: u32,
    /// Addresses without a limit of their own, because many clients share each of them.
    proxies: TrustedProxies,
    open: u32,
    /// The addresses that have a connection, so there are never more entries than connections.
    by_address: HashMap<IpAddr, u32>,
}

/// The rejection of a connection.
#[derive(Debug)]
pub(super) struct Rejected {
    pub(super) outcome: ConnectionOutcome,
    /// The number of rejections since the last log line, if it is time for another line.
    pub(super) suppressed: Option<u64>,
}

impl ConnectionLimit {
    pub(super) fn new(limits: &Limits, proxies: TrustedProxies) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                most: limits.connections.get(),
                most_of_one: limits.connections_per_address.get(),
                proxies,
                open: 0,
                by_address: HashMap::new(),
            }),
            refused: LogThrottle::new(REFUSED_LINES),
            failed: LogThrottle::new(FAILED_LINES),
        })
    }

    /// Sets other limits. Open connections stay open.
    pub(super) fn set(&self, limits: &Limits, proxies: TrustedProxies) {
        let mut state = self.state();
        state.most = limits.connections.get();
        state.most_of_one = limits.connections_per_address.get();
        state.proxies = proxies;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Acquires a permit for a connection.
    ///
    /// # Errors
    /// Fails if a limit is reached.
    pub(super) fn try_acquire(self: &Arc<Self>, address: IpAddr) -> Result<ConnectionPermit, Rejected> {
        let mut state = self.state();
        if state.open >= state.most {
            return Err(self.rejected(ConnectionOutcome::Limit));
        }
        let most = if state.proxies.trusts(address.to_canonical()) { u32::MAX } else { state.most_of_one };
        let address = client_prefix(address);
        let of_one = state.by_address.entry(address).or_default();
        if *of_one >= most {
            return Err(self.rejected(ConnectionOutcome::AddressLimit));
        }
        *of_one += 1;
        state.open += 1;
        Ok(ConnectionPermit { connection_limit: self.clone(), address })
    }

    fn rejected(&self, outcome: ConnectionOutcome) -> Rejected {
        Rejected { outcome, suppressed: self.refused.record(Instant::now()) }
    }

    /// Counts a failure to accept a connection. Returns the number of failures since the last log line, if it is time
    /// for another line.
    pub(super) fn accept_failed(&self) -> Option<u64> {
        self.failed.record(Instant::now())
    }

    /// Returns the number of open connections.
    pub(super) fn open(&self) -> u32 {
        self.state().open
    }
}

/// Returns the number of open connections of all given connection limits.
pub(super) fn open_connections(connection_limit: &[Arc<ConnectionLimit>]) -> u32 {
    connection_limit.iter().map(|connection_limit| connection_limit.open()).sum()
}

/// The permit of an open connection.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    connection_limit: Arc<ConnectionLimit>,
    address: IpAddr,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut state = self.connection_limit.state();
        state.open = state.open.saturating_sub(1);
        if let Some(of_one) = state.by_address.get_mut(&self.address) {
            *of_one = of_one.saturating_sub(1);
            if *of_one == 0 {
                state.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn connection_limit(most: u32, most_of_one: u32) -> Arc<ConnectionLimit> {
        let limits = Limits {
            connections: most.try_into().unwrap(),
            connections_per_address: most_of_one.try_into().unwrap(),
            ..Limits::default()
        };
        ConnectionLimit::new(&limits, TrustedProxies::new(&["198.51.100.0/24".parse().unwrap()]))
    }

    fn outcome_of(entered: Result<ConnectionPermit, Rejected>) -> ConnectionOutcome {
        entered.unwrap_err().outcome
    }

    #[test]
    fn one_address_cannot_take_every_permit() {
        let connection_limit = connection_limit(3, 2);
        let permits: Vec<_> =
            (0..2).map(|_| connection_limit.try_acquire(address("192.0.2.1")).unwrap()).collect();
        assert_eq!(
            outcome_of(connection_limit.try_acquire(address("192.0.2.1"))),
            ConnectionOutcome::AddressLimit
        );
        let written_otherwise = connection_limit.try_acquire(address("::ffff:192.0.2.1"));
        assert_eq!(outcome_of(written_otherwise), ConnectionOutcome::AddressLimit);
        let other = connection_limit.try_acquire(address("192.0.2.2")).unwrap();
        assert_eq!(outcome_of(connection_limit.try_acquire(address("192.0.2.3"))), ConnectionOutcome::Limit);
        drop(other);
        drop(permits);
        assert_eq!(connection_limit.open(), 0);
        assert!(connection_limit.state().by_address.is_empty());
    }

    #[test]
    fn other_limits_apply_to_further_connections() {
        let connection_limit = connection_limit(1, 1);
        let _open = connection_limit.try_acquire(address("192.0.2.1")).unwrap();
        let more = Limits { connections: 2.try_into().unwrap(), ..Limits::default() };
        connection_limit.set(&more, TrustedProxies::new(&[]));
        let _second = connection_limit.try_acquire(address("192.0.2.1")).unwrap();
        connection_limit.set(&Limits { connections: NonZeroU32::MIN, ..more }, TrustedProxies::new(&[]));
        assert_eq!(outcome_of(connection_limit.try_acquire(address("192.0.2.2"))), ConnectionOutcome::Limit);
    }

    #[test]
    fn trusted_proxy_is_exempt_from_the_address_limit() {
        let connection_limit = connection_limit(3, 1);
        let _seats: Vec<_> =
            (0..3).map(|_| connection_limit.try_acquire(address("198.51.100.1")).unwrap()).collect();
        assert_eq!(
            outcome_of(connection_limit.try_acquire(address("198.51.100.1"))),
            ConnectionOutcome::Limit
        );
    }

    #[test]
    fn ipv6_clients_are_limited_by_network() {
        let connection_limit = connection_limit(10, 1);
        let _seat = connection_limit.try_acquire(address("2001:db8:1:2::1")).unwrap();
        let neighbour = connection_limit.try_acquire(address("2001:db8:1:2:ffff::9"));
        assert_eq!(outcome_of(neighbour), ConnectionOutcome::AddressLimit);
        assert!(connection_limit.try_acquire(address("2001:db8:1:3::1")).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn flood_is_logged_at_intervals() {
        let connection_limit = connection_limit(1, 1);
        let _seat = connection_limit.try_acquire(address("192.0.2.1")).unwrap();
        let flood = (0..100)
            .filter_map(|_| connection_limit.try_acquire(address("192.0.2.1")).unwrap_err().suppressed);
        assert_eq!(flood.collect::<Vec<_>>(), [1]);
        tokio::time::advance(REFUSED_LINES).await;
        assert_eq!(connection_limit.try_acquire(address("192.0.2.1")).unwrap_err().suppressed, Some(100));
    }
}
