//! The budget of retries: an upstream that fails does not receive a multiple of its load.

use crate::config::Retries;

/// The budget of an upstream on one worker thread. Each request adds a part of a retry, and each retry takes one.
#[derive(Debug)]
pub(super) struct RetryBudget {
    /// In hundredths of a retry.
    saved: u32,
    per_request: u32,
    most: u32,
}

impl RetryBudget {
    pub(super) fn new(retries: Retries) -> Self {
        let most = u32::from(retries.budget_burst.get()) * 100;
        Self { saved: most, per_request: retries.budget_percent.into(), most }
    }

    /// Adds the part of a retry that a request allows.
    pub(super) fn deposit(&mut self) {
        self.saved = (self.saved + self.per_request).min(self.most);
    }

    /// Takes a retry. Returns `false` if none is left.
    pub(super) fn withdraw(&mut self) -> bool {
        let left = self.saved.checked_sub(100);
        self.saved = left.unwrap_or(self.saved);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;

    #[test]
    fn retries_are_a_part_of_the_requests() {
        let burst = NonZeroU16::new(10).unwrap();
        let mut budget = RetryBudget::new(Retries { attempts: 2, budget_percent: 20, budget_burst: burst });
        let retries = |budget: &mut RetryBudget| {
            std::iter::repeat_with(|| budget.withdraw()).take_while(|it| *it).count()
        };
        assert_eq!(retries(&mut budget), 10);
        for (requests, expected) in [(4, 0), (1, 1), (25, 5), (1_000, 10)] {
            for _ in 0..requests {
                budget.deposit();
            }
            assert_eq!(retries(&mut budget), expected, "{requests}");
        }
    }
}
