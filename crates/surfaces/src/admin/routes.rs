//! The route endpoints, which show the routes of the configuration.

use std::sync::Arc;

use axum::extract::State;

use super::{
    etag::ETag,
    extract::{Authorized, PageParameters},
    openapi,
    page::Page,
    response::{ApiResponse, ErrorResponse},
    roles::ReadOnly,
    settings::Route,
    state::Surface,
};
use portcullis::Denial;

/// List routes
///
/// The routes are in the order of the configuration.
#[utoipa::path(
    get,
    path = "/routes",
    tag = "routes",
    operation_id = "list_routes",
    params(openapi::Paging),
    responses(openapi::OkPage<Route>, openapi::CommonErrors),
)]
pub(super) async fn list(
    State(surface): State<Arc<Surface>>,
    Authorized { query, .. }: Authorized<ReadOnly, PageParameters>,
) -> Result<ApiResponse, ErrorResponse> {
    let (limit, after) = (query.limit()?, query.text("after"));
    // The order of the configuration is meaningful, so it is kept.
    let routes = &surface.admin.routes;
    let start = match after {
        None => 0,
        Some(after) => match routes.iter().position(|route| route.name == after) {
            Some(at) => at + 1,
            None => return Err(Denial::bad_request("The parameter after must name a route.").into()),
        },
    };
    let found: Vec<_> = routes[start..].iter().take(limit as usize + 1).collect();
    let page = Page::from_parts(&query, limit, found, |last| last.name.clone());
    Ok(ApiResponse::page(&page).without_store())
}

/// Get a route
#[utoipa::path(
    get,
    path = "/routes/{route}",
    tag = "routes",
    operation_id = "read_route",
    params(openapi::IfNoneMatch),
    responses(openapi::OkResource<Route>, openapi::CommonErrors, openapi::NotFound),
)]
pub(super) async fn read(
    State(surface): State<Arc<Surface>>,
    Authorized { call, .. }: Authorized<ReadOnly>,
) -> Result<ApiResponse, ErrorResponse> {
    let name: String = call.path_id()?;
    let route = surface.admin.routes.iter().find(|route| route.name == name).ok_or(Denial::NotFound)?;
    let document = || ApiResponse::ok(route).without_store();
    Ok(ApiResponse::conditional(&ETag::content(route), &call.headers, document))
}
