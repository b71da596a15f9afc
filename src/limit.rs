//! Budgets: the synchronous part a rate limit spends from. Windows in which a throttle or a quota counts. And how
//! slow a client may be.

mod allowance;
mod bucket;
mod buckets;
mod budget;
mod pace;
mod throttling;
mod window;

pub use allowance::Allowance;
pub(crate) use allowance::Spending;
pub use bucket::Bucket;
pub use budget::{Budget, Budgets, Reading, Spent, Verdict};
pub use pace::{Meter, Pace};
pub use throttling::Throttling;
pub(crate) use throttling::{Call, Counts};
pub use window::{Bound, Exhausted};
