//! Tests of the gateway from outside: the real binary, real sockets, a real store.

mod admin;
mod authority;
mod charging;
mod commands;
mod compression;
mod configuration;
mod cors;
mod decisions;
mod documentation;
mod durability;
mod earlier_releases;
mod forwarding;
mod hosts;
mod identity;
mod lifecycle;
mod manage;
mod policies;
#[path = "../process/mod.rs"]
mod process;
mod replaced;
mod request_fields;
mod request_id;
mod responses;
mod retries;
mod rewriting;
mod routing;
mod scripted;
mod secrets;
mod security_headers;
mod server_name;
mod serving;
mod sign;
mod signature;
mod store;
mod throttles;
mod upgrades;
