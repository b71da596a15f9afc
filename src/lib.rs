//! # Portcullis
//!
//! Anyone who puts an API in front of customers needs the same four bars: *who is calling* (401, 403),
//! *how much may they* (402, 429), *is it locked just now* (423), *do we speak the same format* (406, 415).
//!
//! Each bar is a [`Policy`]: synchronous, without I/O, over a borrowed [`Head`]. A chain of them either
//! admits and leaves an [`Admission`] (who, how much is left, which media type), or denies with a
//! [`Denial`], which [`problem`] writes as HTTP.
//!
//! How policies meet a server is a *face*: [`mod@tower`] (feature `tower`, on by default) for axum and
//! everything else on tower; [`mod@pingora`] (feature `pingora`) for an existing `ProxyHttp` proxy; and the
//! `portcullis` gateway (feature `gateway`), which serves the same tower stack.
//!
//! The callers, keys, plans and locks live in a [`registry`]; policies read them from the in-memory
//! [`directory`], which follows the registry's change log. Two published contracts and an admin API of our own
//! manage them over HTTP: [`surface`] (feature `surface`).

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods))]

mod client_prefix;
pub mod admission;
pub mod model;
pub mod clock;
pub mod denial;
pub mod directory;
mod header_value;
mod head;
pub mod limit;
pub mod media;
pub mod policy;
pub mod problem;
pub mod registry;
pub mod signature;
pub mod normalize_path;
pub mod transfer;

#[cfg(feature = "gateway")]
pub mod cli;
#[cfg(feature = "gateway")]
pub mod config;
#[cfg(feature = "gateway")]
pub mod gateway;
#[cfg(feature = "pingora")]
pub mod pingora;
#[cfg(feature = "surface")]
pub mod surface;
#[cfg(feature = "tower")]
pub mod tower;

#[cfg(test)]
mod testing;

pub use admission::Admission;
pub use denial::Denial;
pub use head::{Head, RepeatedHeader};
pub use policy::{Policy, Stop, Wait};

/// The README's example runs with the documentation's.
#[cfg(all(doctest, feature = "tower"))]
#[doc = include_str!("../README.md")]
mod readme {}
