//! Test support for Portcullis.
//!
//! - [`conformance`]: the promises of [`Registry`](portcullis::registry::Registry) as tests, for every implementation,
//!   yours too.
//! - [`fixtures`]: tenants, callers, credentials, plans and locks for tests of registries, and checks of a change log.
//! - [`directory`]: a filled directory with a clock that tests advance, for tests of policies and faces.
//! - [`dns`]: a DNS server whose records tests set and change.
//!
//! Everything here panics on failure, because a test that cannot continue has failed.

pub mod conformance;
#[allow(
    missing_docs,
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::new_without_default,
    reason = "for the tests of this workspace; names and types say enough"
)]
pub mod directory;
#[allow(
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "for the tests of this workspace; names and types say enough"
)]
pub mod dns;
#[allow(
    missing_docs,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "for the tests of this workspace; names and types say enough"
)]
pub mod fixtures;

pub use libtest_mimic;
