//! Schemas of the results of imports. The import itself does not depend on OpenAPI.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;

/// The result of an import, or of a dry run.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "it only describes another type")]
pub(in crate::admin) struct ImportResult {
    /// The number of lines of each kind, including the skipped ones.
    counts: BTreeMap<String, u64>,
    /// The number of skipped lines.
    skipped: u64,
    /// The number of the last change that the file contains, in the registry that was exported.
    seq: u64,
    /// The time at which the file was written.
    at: Timestamp,
    /// Whether the import was rolled back.
    dry_run: bool,
}

/// The result of an import of keys, or of a dry run.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "it only describes another type")]
pub(in crate::admin) struct KeyImportResult {
    /// The number of imported keys.
    keys: u64,
    /// The number of created callers.
    callers: u64,
    /// Whether the import was rolled back.
    dry_run: bool,
}
