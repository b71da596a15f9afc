//! Budgets: the synchronous part a rate limit spends from. And how slow a client may be.

mod bucket;
mod buckets;
mod budget;
mod pace;

pub use bucket::Bucket;
pub use budget::{Budget, Budgets, Reading, Spent, Verdict};
pub use pace::Pace;
