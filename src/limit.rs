//! Rate limits, counters of throttles and quotas, and the minimum data rate of clients. All of them are
//! synchronous.

mod bucket;
mod buckets;
mod min_data_rate;
mod plan_rules;
mod quota_counter;
mod throttle_counter;
mod window;

pub use bucket::Bucket;
pub use min_data_rate::{MinDataRate, RateMeter};
pub use plan_rules::{CallerBuckets, Decision, LimitSnapshot, LimitStatus, PlanRules};
pub use quota_counter::QuotaCounter;
pub(crate) use quota_counter::QuotaPermit;
pub use throttle_counter::ThrottleCounter;
pub(crate) use throttle_counter::{ThrottleCounts, ThrottlePermit};
pub use window::{LimitExceeded, LimitedBy};
