//! The error responses and the schemas that the descriptions of operations share.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::{
    IntoResponses, ToSchema,
    openapi::{RefOr, Response},
};

use crate::openapi::refusals;

/// An error response.
#[derive(Serialize, ToSchema)]
pub(super) struct Problem {
    /// The reason phrase of the status.
    title: String,
    /// The status code.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
}

/// The error responses that the contract lists for every operation.
pub(super) struct Errors;

impl IntoResponses for Errors {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refusals(
            "application/json",
            "Problem",
            &[
                (400, "The body does not match the documented schema, or a parameter is invalid."),
                (401, "The key is missing or invalid."),
                (402, "The subscription has lapsed, or a maximum number is reached."),
                (403, "The scopes do not cover the request, or the address is locked out."),
                (404, "The resource does not exist."),
                (405, "The path does not support the method."),
                (406, "The client does not accept JSON."),
                (409, "The resource has changed, already exists, or has another id."),
                (415, "The body is not JSON."),
                (422, "A value is invalid, or the name is already taken."),
                (423, "The resource is locked."),
                (429, "A limit of the key's plan is exceeded."),
                (500, "An internal error."),
                (501, "The operation is disabled."),
                (503, "The store is temporarily unavailable."),
            ],
        )
    }
}

/// A kind of resource.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Resource {
    Events,
    Queues,
    Listeners,
    Messages,
    Schemas,
    Stats,
    ApiClients,
    ApiKeys,
    Subscriptions,
}

/// All resources of a kind (`"*"` or `["*"]`), or ids.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it only describes another type")]
pub(super) enum Targets {
    All(All),
    AllListed([All; 1]),
    Listed(Ids),
}

/// All resources of a kind.
#[derive(Deserialize, ToSchema)]
pub(super) enum All {
    #[serde(rename = "*")]
    All,
}

/// At least one id.
#[derive(Deserialize, ToSchema)]
#[schema(min_items = 1)]
#[expect(dead_code, reason = "it only describes a list")]
pub(super) struct Ids(Vec<Id>);

/// An id.
#[derive(Deserialize, ToSchema)]
#[schema(pattern = "^([A-Za-z0-9_-]{21}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$")]
#[expect(dead_code, reason = "it only describes a text")]
pub(super) struct Id(String);
