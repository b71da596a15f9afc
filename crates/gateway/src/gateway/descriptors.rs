//! Divides the file descriptors that the system allows, so that no use of them starves another.
//!
//! A client connection usually needs a second connection, to an upstream, so clients and upstreams get equal shares.
//! The management listeners have shares of their own: an administrator can connect while the public listeners are full.

use std::num::NonZeroU32;

use rlimit::Resource;

use crate::config::Limits;

/// Reserved for the store, the log, secrets and other files.
const FILES: u64 = 48;

/// Reserved for each worker: its event queue, its waker, its signal pipe, and a margin.
const PER_WORKER: u64 = 6;

/// The maximum share of each management listener.
const MANAGEMENT: u64 = 512;

/// The minimum share of client connections, however few descriptors there are.
const MIN_CONNECTIONS: u64 = 16;

/// Raises the soft limit of open files of the process as far as the system allows. Returns the resulting limit.
pub(super) fn raise_limit() -> u64 {
    rlimit::increase_nofile_limit(u64::MAX).unwrap_or_else(|error| {
        let limit = Resource::NOFILE.get_soft().unwrap_or(u64::MAX);
        tracing::debug!(%error, limit, "failed to raise the limit of open files");
        limit
    })
}

/// The maximum number of open connections for each kind of listener, and for upstreams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DescriptorShares {
    /// The share of all public listeners together.
    pub(super) public: u32,
    /// The share of the admin listener. The metrics listener has a share of the same size.
    pub(super) management: u32,
    /// The share of all upstreams together.
    pub(super) upstream: u32,
}

impl DescriptorShares {
    /// Divides a limit of open files for a number of workers that each accept from a number of listeners.
    pub(super) fn divide(limit: u64, workers: u64, listeners: u64) -> Self {
        let reserved = FILES + workers * (PER_WORKER + listeners);
        let free = limit.saturating_sub(reserved);
        let management = (free / 8).clamp(MIN_CONNECTIONS / 2, MANAGEMENT);
        let public = (free.saturating_sub(2 * management) / 2).max(MIN_CONNECTIONS);
        let number = |number| u32::try_from(number).unwrap_or(u32::MAX);
        Self { public: number(public), management: number(management), upstream: number(public) }
    }

    /// Returns the configured limits of the public listeners, lowered if there are not enough descriptors.
    pub(super) fn public_limits(self, configured: &Limits) -> Limits {
        clamped(configured, self.public)
    }

    /// Returns the configured limits, lowered to the share of one management listener.
    pub(super) fn management_limits(self, configured: &Limits) -> Limits {
        clamped(configured, self.management)
    }
}

/// Lowers the limits to a number of connections. If that is fewer than configured, one address may have at most half.
fn clamped(configured: &Limits, most: u32) -> Limits {
    let most = NonZeroU32::new(most).unwrap_or(NonZeroU32::MIN);
    if configured.connections <= most {
        return configured.clone();
    }
    let half = NonZeroU32::new(most.get() / 2).unwrap_or(NonZeroU32::MIN);
    let per_address = configured.connections_per_address.min(half);
    Limits { connections: most, connections_per_address: per_address, ..configured.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_limit() {
        for (limit, workers, listeners) in [(256, 1, 3), (300, 2, 3), (1_024, 16, 4), (1 << 20, 64, 10)] {
            let shares = DescriptorShares::divide(limit, workers, listeners);
            let sum =
                u64::from(shares.public) + u64::from(shares.upstream) + 2 * u64::from(shares.management);
            assert!(sum + FILES + workers * (PER_WORKER + listeners) <= limit, "{shares:?} of {limit}");
            assert!(shares.public >= 16 && shares.management >= 8, "{shares:?} of {limit}");
        }
    }

    #[test]
    fn limits_that_fit_stay_as_configured() {
        let configured = Limits::default();
        let limits = DescriptorShares::divide(1 << 20, 4, 3).public_limits(&configured);
        assert_eq!(limits.connections, configured.connections);
        assert_eq!(limits.connections_per_address, configured.connections_per_address);
    }

    #[test]
    fn one_address_cannot_take_all_of_few_descriptors() {
        let shares = DescriptorShares::divide(300, 2, 3);
        let limits = shares.public_limits(&Limits::default());
        assert_eq!(limits.connections.get(), shares.public);
        assert!(limits.connections_per_address.get() <= shares.public / 2);
    }
}
