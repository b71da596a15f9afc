//! The OpenAPI description of the admin API. The ids in the path of an operation are added to its parameters.

use utoipa::OpenApi;

use super::{
    callers, changes, configuration, keys, locks, openapi::Problem, plans, routes, settings, status, tenants,
    transfers,
};
use crate::openapi::{below, optional_content, with_bearer};

/// The prefix of every path of the API.
pub(super) const BASE: &str = "/admin/v1";

/// Returns the OpenAPI 3.1 description of the admin API, generated from the code. The API serves it itself, below
/// `/admin/v1/docs/`.
///
/// ```
/// let described = portcullis_surfaces::admin::description();
/// assert!(described.paths.paths.contains_key("/admin/v1/status"));
/// ```
#[must_use]
pub fn description() -> utoipa::openapi::OpenApi {
    let needless = ["create_key", "rotate_key", "refresh_lock"];
    with_bearer(below(BASE, optional_content(Spec::openapi(), |id| needless.contains(&id))))
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Portcullis administration",
        version = "1.0.0",
        description = "Tenants, callers, keys, plans, locks, routes and the change log, for administrators. Every \
                       error response is a problem (RFC 9457)."
    ),
    paths(
        tenants::list,
        tenants::create,
        tenants::read,
        tenants::modify,
        tenants::delete,
        callers::list,
        callers::create,
        callers::read,
        callers::modify,
        callers::delete,
        keys::list,
        keys::create,
        keys::read,
        keys::modify,
        keys::delete,
        keys::rotate,
        plans::list,
        plans::read,
        plans::put,
        plans::delete,
        locks::list,
        locks::acquire,
        locks::read,
        locks::delete,
        locks::refresh,
        routes::list,
        routes::read,
        changes::list,
        status::read,
        configuration::reload,
        transfers::export,
        transfers::import::import,
        transfers::import::import_keys,
    ),
    components(schemas(
        Problem,
        tenants::Tenant,
        callers::Caller,
        keys::Key,
        keys::CreatedKey,
        keys::RotatedKey,
        plans::Plan,
        locks::Lock,
        locks::AcquiredLock,
        settings::Route,
        changes::Change,
    ))
)]
struct Spec;
