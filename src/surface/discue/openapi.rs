//! The surface's description.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::{
    IntoResponses, OpenApi, ToSchema,
    openapi::{RefOr, Response},
};

use super::{clients, keys};
use crate::surface::openapi::{GatewayProblem, optional_content, refusals, with_key};

/// The surface as OpenAPI 3.1, as the code has it.
#[must_use]
pub fn description() -> utoipa::openapi::OpenApi {
    with_key(optional_content(Spec::openapi(), |_| true), "X-API-KEY")
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "discue",
        version = "1.0.0",
        description = "Api clients and their keys. Every path may begin with `/v1`. The key decides the organization; \
                       a success is always 200, an error always `{\"title\",\"status\"}`."
    ),
    paths(
        clients::create,
        clients::list,
        clients::read,
        clients::update,
        clients::delete,
        keys::create,
        keys::list,
        keys::read,
        keys::update,
        keys::delete
    ),
    components(schemas(Problem, GatewayProblem))
)]
struct Spec;

/// Why something was refused.
#[derive(Serialize, ToSchema)]
pub(super) struct Problem {
    /// The status's reason phrase.
    title: String,
    /// The status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
}

/// The refusals that the contract lists, for every operation alike.
pub(super) struct Errors;

impl IntoResponses for Errors {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refusals(
            "application/json",
            "Problem",
            &[
                (400, "Not an object of the documented members, each once and of its type."),
                (401, "No key, or one that is unknown."),
                (402, "The subscription has lapsed, or holds no more."),
                (403, "The key's scopes do not cover it, or too many bad keys came from this address."),
                (404, "There is no such thing."),
                (405, "The path does not know the method."),
                (406, "JSON is not acceptable."),
                (409, "It has changed since `If-Match`, is there already, or has another id."),
                (415, "The content is not JSON."),
                (422, "A value breaks its rule, or the name is taken."),
                (423, "A lock stands on it."),
                (429, "The key's plan is used up for now."),
                (500, "A fault of ours."),
                (501, "The operation is switched off."),
                (503, "The store cannot be reached just now."),
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

/// `"*"`, `["*"]`, or ids.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it only describes another type")]
pub(super) enum Targets {
    All(All),
    AllListed([All; 1]),
    Listed(Ids),
}

/// All of a kind.
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
