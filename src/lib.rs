//! API keys, rate limits, locks and content negotiation: Tower layers for any service, and an API gateway built from
//! them. With the feature `axum`:
//!
//! ```
//! # #[cfg(feature = "axum")]
//! # fn main() -> Result<(), portcullis::keys::KeyError> {
//! use axum::{Router, routing::get};
//! use portcullis::{Caller, keys::Keys, model::Limit, policy::{ApiKey, RateLimit}, tower::PortcullisLayer};
//!
//! async fn orders(caller: Caller) -> String {
//!     format!("the orders of {}", caller.id())
//! }
//!
//! let keys = Keys::new().limit(Limit::per_minute(600).burst(50)).add("shop", "oN6mC1vLq2Xh8bRk4TzW")?;
//! let layer = PortcullisLayer::new((ApiKey::new(keys), RateLimit::new()));
//! let app: Router = Router::new().route("/orders", get(orders)).layer(layer);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "axum"))]
//! # fn main() {}
//! ```
//!
//! A request without a key is now denied with 401, and the 51st at once with 429; both say what to do in their headers
//! and in a problem (RFC 9457). The denials of the policies:
//!
//! | status | policy |
//! |---|---|
//! | 400 | [`StrictHttp`](policy::StrictHttp), which every layer applies first |
//! | 401 | [`ApiKey`](policy::ApiKey), [`Signature`](policy::Signature) |
//! | 402 | a lapsed subscription, by [`ApiKey`](policy::ApiKey) and [`Signature`](policy::Signature) |
//! | 403 | [`RequireScope`](policy::RequireScope), [`RequireGrant`](policy::RequireGrant), [`IpAcl`](policy::IpAcl), [`Lockout`](policy::Lockout) |
//! | 406, 415 | [`Accept`](policy::Accept), [`ContentType`](policy::ContentType) |
//! | 413, 414, 431 | [`BodyLimit`](policy::BodyLimit), [`HeadLimit`](policy::HeadLimit) |
//! | 423 | [`RequireUnlocked`](policy::RequireUnlocked) |
//! | 429 | [`RateLimit`](policy::RateLimit), [`ApiThrottle`](policy::ApiThrottle) |
//!
//! # Start here
//!
//! * [`mod@tower`] (feature `tower`, on by default): the layer, for axum and all other Tower services; extractors for
//!   axum with the feature `axum`. [`mod@pingora`] (feature `pingora`): the same for an existing `ProxyHttp` proxy.
//! * [`keys`]: keys in a list, or in a table of your own.
//! * [`policy`]: the policies, and how to write one: synchronous, without I/O, over a borrowed [`Head`].
//! * [`problem`]: problems, or an error format of your own ([`RenderDenial`](problem::RenderDenial)). gRPC calls receive
//!   a gRPC status with the feature `grpc`.
//!
//! # For a managed installation
//!
//! A [`registry`] stores tenants, callers, keys, plans and locks. Policies read them from the in-memory [`directory`],
//! which follows the registry's change log. The package `portcullis-surfaces` manages them over HTTP with two published
//! contracts and an admin API of our own, and the package `portcullis-gateway` is a gateway that serves the same
//! policies. [`signature`] signs requests; [`media`] and [`normalize_path`] are parts of the policies for others to use.

#![cfg_attr(docsrs, feature(doc_cfg))]
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
