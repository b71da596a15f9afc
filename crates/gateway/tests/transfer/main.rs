//! Export and import of a whole registry, and imports of keys from other gateways.

mod bulk_import;
mod commands;
mod keys;
#[path = "../process/mod.rs"]
mod process;
mod refusals;
mod remote;
mod round_trip;
mod test_registry;
