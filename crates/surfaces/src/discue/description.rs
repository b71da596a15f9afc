//! OpenAPI description.

use utoipa::OpenApi;

use super::{clients, keys, openapi::Problem};
use crate::openapi::{GatewayProblem, optional_content, with_key};

/// Returns the OpenAPI 3.1 description of this API, generated from the code.
#[must_use]
pub fn description() -> utoipa::openapi::OpenApi {
    with_key(optional_content(Spec::openapi(), |_| true), "X-API-KEY")
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "discue",
        version = "1.0.0",
        description = "Api clients and their keys. Every path may begin with `/v1`. The key determines the \
                       organization. Every success is 200, every error is `{\"title\",\"status\"}`."
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
