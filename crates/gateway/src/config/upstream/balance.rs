//! The selection of targets.

use serde::Deserialize;

use crate::config::FieldName;

/// The selection of a target for each request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// In turn, in proportion to the weights.
    #[default]
    RoundRobin,
    /// The target with the fewest requests in progress, in proportion to the weights.
    LeastRequests,
    /// By consistent hashing: requests with the same key go to the same target, and when a target is added or removed,
    /// only its share of the keys moves. Requests without the key are served in turn.
    Hash(HashKey),
}

/// The key of consistent hashing.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HashKey {
    /// The caller's id.
    Caller,
    /// The client's address.
    Address,
    /// The value of a request header.
    Header(FieldName),
}
