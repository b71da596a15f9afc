//! The Portcullis gateway: its configuration, its server and its command line.
//!
//! The binary `portcullis` is the product of this package. The library exists for the binary and for the tests; its
//! API changes without notice.
//!
//! - [`config`]: the configuration file and its validation.
//! - [`gateway`]: the server: listeners, connections, routes, upstreams, logs, metrics.
//! - [`cli`]: the commands, which manage a store or a running gateway.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods))]

pub mod cli;
pub mod config;
mod draft;
mod file_state;
pub mod gateway;
