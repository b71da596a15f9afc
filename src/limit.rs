//! Budgets: the synchronous part a rate limit spends from.

mod bucket;
mod buckets;
mod budget;

pub use bucket::Bucket;
pub use budget::{Budget, Budgets, Reading, Spent, Verdict};
