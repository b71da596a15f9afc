//! What imports tell, described: what imports themselves knows of no descriptions.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;

/// What the import of a file put in, or would have.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "it only describes another type")]
pub(in super::super) struct Imported {
    /// How many lines of each kind, those that were left out, too.
    counts: BTreeMap<String, u64>,
    /// How many lines were left out.
    left_out: u64,
    /// The last change that the file contains, by the registry it is of.
    seq: u64,
    /// When the file was written.
    at: Timestamp,
    /// Whether it was taken back.
    dry_run: bool,
}

/// What an import of keys made, or would have.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "it only describes another type")]
pub(in super::super) struct ImportedKeys {
    /// How many keys.
    keys: u64,
    /// How many callers.
    callers: u64,
    /// Whether it was taken back.
    dry_run: bool,
}
