//! The endpoints of an upstream, which change when names resolve to other addresses.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::watch;

use super::{
    endpoint::{Endpoint, EndpointAddress, EndpointTarget, Health, Monotonic},
    hash_ring::HashRing,
};

/// The endpoints of an upstream at one time.
#[derive(Debug, Default)]
pub(super) struct EndpointSet {
    pub(super) endpoints: Vec<Arc<Endpoint>>,
    /// Set if all endpoints have the same weight.
    pub(super) is_uniform: bool,
    /// The ring for consistent hashing, if the balancing needs one.
    pub(super) ring: Option<HashRing>,
}

/// An address of a target, as a resolver returned it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TargetAddress {
    pub(super) address: EndpointAddress,
    /// The weight in relation to the other addresses of the target.
    pub(super) weight: u16,
    /// Addresses with a higher number are used only if those with lower ones fail.
    pub(super) priority: u16,
}

impl TargetAddress {
    pub(super) fn new(address: EndpointAddress) -> Self {
        Self { address, weight: 1, priority: 0 }
    }

    /// Sorts IPv6 addresses of a name behind its IPv4 addresses: many hosts have an IPv6 address that leads nowhere.
    pub(super) fn of_name(address: SocketAddr, weight: u16, priority: u16) -> Self {
        let priority = priority.saturating_mul(2).saturating_add(u16::from(address.is_ipv6()));
        Self { address: EndpointAddress::Socket(address), weight, priority }
    }
}

/// The current endpoints of an upstream. Worker threads keep a copy of the set, and compare its version.
#[derive(Debug)]
pub(super) struct Endpoints {
    version: AtomicU64,
    current: watch::Sender<Arc<EndpointSet>>,
    targets: Mutex<Vec<(EndpointTarget, Vec<TargetAddress>)>>,
    hashes: bool,
}

impl Endpoints {
    /// Creates the endpoints of targets, with the addresses that are known without a resolver.
    pub(super) fn new(targets: Vec<(EndpointTarget, Vec<TargetAddress>)>, hashes: bool) -> Self {
        let set = build(&targets, &EndpointSet::default(), None, hashes);
        let current = watch::Sender::new(Arc::new(set));
        Self { version: AtomicU64::new(1), current, targets: Mutex::new(targets), hashes }
    }

    /// Returns the number of the current set.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Returns the current set and its number.
    pub(super) fn current(&self) -> (u64, Arc<EndpointSet>) {
        // In this order: a set that is newer than its number is only fetched once more.
        let version = self.version();
        (version, self.current.borrow().clone())
    }

    /// Returns the addresses of a target.
    pub(super) fn addresses(&self, target: usize) -> Vec<TargetAddress> {
        let targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        targets.get(target).map(|(_, addresses)| addresses.clone()).unwrap_or_default()
    }

    /// Waits until there is an endpoint.
    pub(super) async fn wait_for_some(&self) {
        // The sender is not dropped while it is borrowed.
        let _ = self.current.subscribe().wait_for(|set| !set.endpoints.is_empty()).await;
    }

    /// Replaces the addresses of a target. Endpoints that stay keep their health and their connections.
    pub(super) fn replace(&self, target: usize, addresses: Vec<TargetAddress>) {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, earlier)) = targets.get_mut(target) else { return };
        // The first addresses of a target need no slow start: there was nothing before them.
        let since = (!earlier.is_empty()).then(Monotonic::now);
        *earlier = addresses;
        let set = build(&targets, &self.current.borrow(), since, self.hashes);
        self.current.send_replace(Arc::new(set));
        self.version.fetch_add(1, Ordering::Release);
    }
}

fn build(
    targets: &[(EndpointTarget, Vec<TargetAddress>)],
    earlier: &EndpointSet,
    since: Option<Monotonic>,
    hashes: bool,
) -> EndpointSet {
    let endpoints: Vec<_> = targets
        .iter()
        .flat_map(|(target, addresses)| endpoints_of(target, addresses, earlier, since))
        .collect();
    let is_uniform = endpoints.windows(2).all(|pair| pair[0].weight == pair[1].weight);
    let ring = hashes.then(|| HashRing::new(&endpoints));
    EndpointSet { endpoints, is_uniform, ring }
}

fn endpoints_of(
    target: &EndpointTarget,
    addresses: &[TargetAddress],
    earlier: &EndpointSet,
    since: Option<Monotonic>,
) -> Vec<Arc<Endpoint>> {
    let first = addresses.iter().map(|one| one.priority).min().unwrap_or_default();
    // SRV records may name an address twice. The lowest priority counts.
    let mut lowest = HashMap::new();
    for one in addresses {
        let priority = lowest.entry(&one.address).or_insert(one.priority);
        *priority = one.priority.min(*priority);
    }
    let addresses = addresses.iter().filter(|one| {
        let is_lowest = lowest.get(&one.address) == Some(&one.priority);
        is_lowest && lowest.remove(&one.address).is_some()
    });
    let endpoint = |one: &TargetAddress| {
        let is_fallback = one.priority > first;
        let weight = target.weight.saturating_mul(one.weight.max(1));
        let same = earlier.endpoints.iter().find(|endpoint| {
            endpoint.target == target.index
                && endpoint.address == one.address
                && endpoint.is_fallback == is_fallback
                && endpoint.weight == weight
        });
        same.cloned().unwrap_or_else(|| {
            let target = EndpointTarget { is_fallback, weight, ..target.clone() };
            Arc::new(Endpoint::new(one.address.clone(), &target, Health::new(since)))
        })
    };
    addresses.map(endpoint).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::UpstreamProtocol;

    /// Creates the properties of a target.
    pub(in crate::gateway::upstream) fn target(index: usize, weight: u16) -> EndpointTarget {
        EndpointTarget {
            index,
            protocol: UpstreamProtocol::Http,
            server_name: None,
            authority: "orders".into(),
            is_fallback: false,
            weight,
        }
    }

    /// Creates an address on the port 80.
    pub(in crate::gateway::upstream) fn address(ip: &str) -> TargetAddress {
        TargetAddress::of_name(SocketAddr::new(ip.parse().unwrap(), 80), 1, 0)
    }

    #[test]
    fn endpoints_that_stay_are_kept() {
        let endpoints =
            Endpoints::new(vec![(target(0, 1), vec![]), (target(1, 2), vec![address("127.0.0.9")])], false);
        let (version, first) = endpoints.current();
        assert_eq!(first.endpoints.len(), 1);
        endpoints.replace(0, vec![address("127.0.0.1"), address("127.0.0.2")]);
        assert_ne!(endpoints.version(), version);
        let (_, second) = endpoints.current();
        assert_eq!((second.endpoints.len(), second.is_uniform), (3, false));
        assert!(Arc::ptr_eq(&first.endpoints[0], &second.endpoints[2]));
        endpoints.replace(0, vec![address("127.0.0.2"), address("127.0.0.3")]);
        let (_, third) = endpoints.current();
        assert!(Arc::ptr_eq(&second.endpoints[1], &third.endpoints[0]));
        assert_eq!(third.endpoints[1].address.to_string(), "127.0.0.3:80");
    }

    #[test]
    fn ipv6_addresses_of_a_name_with_ipv4_addresses_are_fallbacks() {
        for (addresses, fallbacks) in [
            (vec!["::1", "127.0.0.1"], vec![true, false]),
            (vec!["::1", "::2"], vec![false, false]),
            (vec!["127.0.0.1"], vec![false]),
        ] {
            let addresses = addresses.into_iter().map(address).collect();
            let (_, set) = Endpoints::new(vec![(target(0, 1), addresses)], false).current();
            let found: Vec<_> = set.endpoints.iter().map(|endpoint| endpoint.is_fallback).collect();
            assert_eq!(found, fallbacks);
        }
    }

    #[test]
    fn address_that_is_named_twice_is_one_endpoint() {
        let socket = address("127.0.0.1").address;
        let named = |priority| TargetAddress { address: socket.clone(), weight: 1, priority };
        let addresses = vec![named(4), address("127.0.0.2"), named(2), named(2)];
        let (_, set) = Endpoints::new(vec![(target(0, 1), addresses)], false).current();
        let found: Vec<_> =
            set.endpoints.iter().map(|one| (one.address.to_string(), one.is_fallback)).collect();
        assert_eq!(found, [("127.0.0.2:80".to_owned(), false), ("127.0.0.1:80".to_owned(), true)]);
    }

    #[tokio::test]
    async fn first_endpoint_is_waited_for() {
        let endpoints = Arc::new(Endpoints::new(vec![(target(0, 1), vec![])], false));
        let waits = tokio::spawn({
            let endpoints = endpoints.clone();
            async move { endpoints.wait_for_some().await }
        });
        endpoints.replace(0, vec![address("127.0.0.1")]);
        waits.await.unwrap();
    }
}
