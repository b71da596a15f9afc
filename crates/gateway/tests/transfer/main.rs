//! Export and import of a whole registry, and imports of keys from other gateways.

mod commands;
mod ground;
#[path = "../../../../tests/site/mod.rs"]
mod harness;
mod keys;
#[allow(dead_code, reason = "takes what it needs")]
#[path = "../../../../tests/records/mod.rs"]
mod records;
mod refusals;
mod served;
mod whole;
