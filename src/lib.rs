//! # Portcullis
//!
//! API gateway policies as Tower layers, and a gateway built from them. A policy answers one question about a
//! request: *who is the caller* (401, 403), *how many requests may it send* (402, 429), *is the resource locked*
//! (423), *do client and server support the same format* (406, 415).
//!
//! Each rule is a [`Policy`]: synchronous, without I/O, over a borrowed [`Head`]. A chain of policies either admits
//! the request and returns an [`Admission`] (caller, remaining requests, negotiated media type), or denies it with a
//! [`Denial`], which [`problem`] renders as an HTTP response: an RFC 9457 problem, or an error format of the service's
//! own ([`RenderDenial`](problem::RenderDenial)).
//!
//! A *face* connects policies to a server: [`mod@tower`] (feature `tower`, on by default) for axum and all other
//! Tower services; [`mod@pingora`] (feature `pingora`) for an existing `ProxyHttp` proxy; and the gateway (package
//! `portcullis-gateway`), which serves the same Tower stack.
//!
//! A [`registry`] stores callers, keys, plans and locks. Policies read them from the in-memory [`directory`], which
//! follows the registry's change log. The package `portcullis-surfaces` manages them over HTTP with two published
//! contracts and an admin API of our own.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods))]

pub mod admission;
mod caller;
#[doc(hidden)] // shared with the gateway package
pub mod client_prefix;
pub mod clock;
pub mod denial;
pub mod directory;
mod head;
#[doc(hidden)] // shared with the gateway package
pub mod header_value;
pub mod keys;
pub mod limit;
pub mod media;
pub mod model;
pub mod normalize_path;
pub mod policy;
pub mod problem;
pub mod registry;
pub mod signature;
mod sync;
pub mod transfer;

#[cfg(feature = "pingora")]
pub mod pingora;
#[cfg(feature = "tower")]
pub mod tower;

#[cfg(test)]
mod test_support;

pub use admission::Admission;
pub use caller::Caller;
pub use denial::Denial;
pub use head::{Head, RepeatedHeader};
pub use policy::{Policy, Stop, Wait};

/// Compiles the README's example as a doctest.
#[cfg(all(doctest, feature = "tower"))]
#[doc = include_str!("../README.md")]
mod readme {}
