//! A hostile wire: the cases of `tests/data/abuse.json`, against the real binary, with a service behind it
//! that remembers every byte.
//!
//! A case that is answered otherwise than it expects has members `ours` and `why`, and `ours` is checked.
//! Status 0 there is a connection, or a stream, that ends without an answer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

mod case;
mod ground;
mod heads;
#[path = "../site/mod.rs"]
mod site;
mod upstream;
mod wire;
