//! Budgets: the synchronous part a rate limit spends from. Windows in which a throttle or a quota counts. And how
//! slow a client may be.

mod quota_counter;
mod bucket;
mod buckets;
mod plan_rules;
mod min_data_rate;
mod throttle_counter;
mod window;

pub use quota_counter::QuotaCounter;
pub(crate) use quota_counter::QuotaPermit;
pub use bucket::Bucket;
pub use plan_rules::{PlanRules, CallerBuckets, LimitSnapshot, LimitStatus, Decision};
pub use min_data_rate::{RateMeter, MinDataRate};
pub use throttle_counter::ThrottleCounter;
pub(crate) use throttle_counter::{ThrottlePermit, ThrottleCounts};
pub use window::{LimitedBy, LimitExceeded};
