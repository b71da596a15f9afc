//! The results of reloads, for the metrics.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The result of a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reloaded {
    Applied,
    Rejected,
}

impl Reloaded {
    pub(super) const ALL: [Self; 2] = [Self::Applied, Self::Rejected];

    /// Returns the value of the label `result`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Rejected => "rejected",
        }
    }
}

/// The numbers of reloads since the start, by result.
#[derive(Debug, Default)]
pub(super) struct ReloadStatus {
    configuration: [AtomicU64; Reloaded::ALL.len()],
    certificates: [AtomicU64; Reloaded::ALL.len()],
    is_rejected: AtomicBool,
}

impl ReloadStatus {
    pub(super) fn record_configuration(&self, result: Reloaded) {
        self.configuration[result as usize].fetch_add(1, Ordering::Relaxed);
        self.is_rejected.store(result == Reloaded::Rejected, Ordering::Relaxed);
    }

    pub(super) fn record_certificate(&self, result: Reloaded) {
        self.certificates[result as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn configuration(&self, result: Reloaded) -> u64 {
        self.configuration[result as usize].load(Ordering::Relaxed)
    }

    pub(super) fn certificates(&self, result: Reloaded) -> u64 {
        self.certificates[result as usize].load(Ordering::Relaxed)
    }

    /// Returns `true` if the configuration in use is that of the last reload, or of the start.
    pub(super) fn is_current(&self) -> bool {
        !self.is_rejected.load(Ordering::Relaxed)
    }
}
