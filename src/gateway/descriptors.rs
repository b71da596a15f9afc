//! File descriptors: as many as the system allows, shared out so that no use of them starves another.
//!
//! A client's connection usually needs a second one to an upstream, so clients and upstreams get the same
//! share. What the management listeners get is theirs alone: an administrator comes in while the public
//! listeners are full.

use std::num::NonZeroU32;

use rlimit::Resource;

use crate::config::Limits;

/// Kept for the store, the log, secrets and other files.
const FILES: u64 = 48;

/// Kept for each worker: its event queue, its waker, its signal pipe, and a margin.
const PER_WORKER: u64 = 6;

/// The most that each management listener gets.
const MANAGEMENT: u64 = 512;

/// The least that clients get, however few descriptors there are.
const LEAST: u64 = 16;

/// Raises the process's soft limit of open files as far as the system allows. Returns the limit that then
/// holds.
pub(super) fn raise_limit() -> u64 {
    rlimit::increase_nofile_limit(u64::MAX).unwrap_or_else(|error| {
        let limit = Resource::NOFILE.get_soft().unwrap_or(u64::MAX);
        tracing::debug!(%error, limit, "the limit of open files stays as it is");
        limit
    })
}

/// The connections that each kind of listener may have open, and the upstreams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DescriptorShares {
    /// Of all public listeners together.
    pub(super) public: u32,
    /// Of the admin listener, and as many of the metrics listener.
    pub(super) management: u32,
    /// To all upstreams together.
    pub(super) upstream: u32,
}

impl DescriptorShares {
    /// Shares out a limit of open files, for so many workers that each accept from so many listeners.
    pub(super) fn divide(limit: u64, workers: u64, listeners: u64) -> Self {
        let kept = FILES + workers * (PER_WORKER + listeners);
        let free = limit.saturating_sub(kept);
        let management = (free / 8).clamp(LEAST / 2, MANAGEMENT);
        let public = (free.saturating_sub(2 * management) / 2).max(LEAST);
        let number = |number| u32::try_from(number).unwrap_or(u32::MAX);
        Self { public: number(public), management: number(management), upstream: number(public) }
    }

    /// The configured limits of the public listeners, as far as the descriptors allow them.
    pub(super) fn public_limits(self, configured: &Limits) -> Limits {
        clamped(configured, self.public)
    }

    /// The share of one management listener.
    pub(super) fn management_limits(self, configured: &Limits) -> Limits {
        clamped(configured, self.management)
    }
}

/// At most so many connections; if that is fewer than configured, one address cannot take more than half.
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
    fn all_shares_together_fit_into_the_limit() {
        for (limit, workers, listeners) in [(256, 1, 3), (300, 2, 3), (1_024, 16, 4), (1 << 20, 64, 10)] {
            let shares = DescriptorShares::divide(limit, workers, listeners);
            let sum =
                u64::from(shares.public) + u64::from(shares.upstream) + 2 * u64::from(shares.management);
            assert!(sum + FILES + workers * (PER_WORKER + listeners) <= limit, "{shares:?} of {limit}");
            assert!(shares.public >= 16 && shares.management >= 8, "{shares:?} of {limit}");
        }
    }

    #[test]
    fn limits_that_fit_stay_as_they_are_configured() {
        let configured = Limits::default();
        let limits = DescriptorShares::divide(1 << 20, 4, 3).public_limits(&configured);
        assert_eq!(limits.connections, configured.connections);
        assert_eq!(limits.connections_per_address, configured.connections_per_address);
    }

    #[test]
    fn one_address_cannot_take_all_that_few_descriptors_leave() {
        let shares = DescriptorShares::divide(300, 2, 3);
        let limits = shares.public_limits(&Limits::default());
        assert_eq!(limits.connections.get(), shares.public);
        assert!(limits.connections_per_address.get() <= shares.public / 2);
    }
}
