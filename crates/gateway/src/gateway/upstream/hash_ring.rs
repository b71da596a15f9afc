//! Consistent hashing (Ketama), with the hashes of nginx and of memcached clients.

use std::{
    collections::HashMap,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    net::{Ipv6Addr, SocketAddr},
    sync::Arc,
};

use pingora_ketama::{Bucket, Continuum};

use super::endpoint::{Endpoint, EndpointAddress};

/// The highest weight on the ring, which has 160 points for each unit.
const MAX_WEIGHT: u32 = 100;

/// The most points of the ring that are tried to find an available endpoint.
const MAX_STEPS: usize = 4_096;

/// The ring of a set of endpoints.
pub(super) struct HashRing {
    ring: Continuum,
    /// The index of the endpoint, by the address on the ring.
    indexes: HashMap<SocketAddr, usize>,
}

impl HashRing {
    pub(super) fn new(endpoints: &[Arc<Endpoint>]) -> Self {
        let highest = endpoints.iter().map(|endpoint| u32::from(endpoint.weight)).max().unwrap_or(1);
        let scaled = |weight: u16| {
            let weight = u32::from(weight);
            if highest > MAX_WEIGHT { (weight * MAX_WEIGHT / highest).max(1) } else { weight.max(1) }
        };
        let buckets: Vec<_> = endpoints
            .iter()
            .map(|endpoint| Bucket::new(ring_address(&endpoint.address), scaled(endpoint.weight)))
            .collect();
        let indexes =
            endpoints.iter().enumerate().map(|(at, one)| (ring_address(&one.address), at)).collect();
        Self { ring: Continuum::new(&buckets), indexes }
    }

    /// Returns the first endpoint for a key that is eligible, in the order of the ring.
    pub(super) fn find(&self, key: &[u8], is_eligible: impl Fn(usize) -> bool) -> Option<usize> {
        let nodes = self.ring.node_iter(key).take(MAX_STEPS);
        nodes.filter_map(|node| self.indexes.get(node).copied()).find(|index| is_eligible(*index))
    }
}

impl fmt::Debug for HashRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashRing").field("endpoints", &self.indexes.len()).finish_non_exhaustive()
    }
}

/// Returns the address on the ring. A Unix socket has an address that is derived from its path.
fn ring_address(address: &EndpointAddress) -> SocketAddr {
    match address {
        EndpointAddress::Socket(address) => *address,
        EndpointAddress::Unix(path) => {
            // The keys of `DefaultHasher::new` are fixed, so all gateways choose the same targets.
            let mut hasher = DefaultHasher::new();
            path.hash(&mut hasher);
            SocketAddr::new(Ipv6Addr::from(u128::from(hasher.finish())).into(), 0)
        }
    }
}
