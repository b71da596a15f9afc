//! The routes that are served: what the configuration says, for reading.

use std::sync::Arc;

use axum::extract::{Request, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Surface,
    response::{ApiResponse, ErrorResponse},
    call_context::CallContext,
    etag::ETag,
    page::{Page, split_page},
    openapi,
};
use crate::{Denial, model::Role};

/// Which requests go where, past which policies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Route {
    /// Unique among the routes: 1 to 64 of `A-Z a-z 0-9 - _ .`.
    pub name: String,
    /// Only for this host; `null` is any.
    #[schema(required)]
    pub host: Option<String>,
    /// This path and all below it.
    pub path: String,
    /// Only these methods; none at all is any.
    pub methods: Vec<String>,
    /// The service behind it, by its name.
    #[schema(required)]
    pub upstream: Option<String>,
    /// The management contract behind it, by its name.
    #[schema(required)]
    pub surface: Option<String>,
    /// What a request must pass, in this order, by name.
    pub policies: Vec<String>,
    /// The kinds of callers that are recognised and admitted; none at all if the route recognises no caller. Not shown:
    /// locks are checked against it.
    #[serde(skip)]
    pub callers: Vec<String>,
}

/// Lists the routes, in the order of the configuration.
#[utoipa::path(
    get,
    path = "/routes",
    tag = "routes",
    operation_id = "list_routes",
    params(openapi::Paging),
    responses(openapi::OkPage<Route>, openapi::CommonErrors),
)]
pub(super) async fn list(State(surface): State<Arc<Surface>>, request: Request) -> Result<ApiResponse, ErrorResponse> {
    let call = CallContext::extract(request, Role::ReadOnly).await?;
    let query = call.query(&["limit", "after"])?;
    let (limit, after) = (query.limit()?, query.text("after"));
    // In the order of the configuration, which has a meaning.
    let routes = &surface.admin.routes;
    let start = match after {
        None => 0,
        Some(after) => match routes.iter().position(|route| route.name == after) {
            Some(at) => at + 1,
            None => return Err(Denial::bad_request("The parameter after names no route.").into()),
        },
    };
    let found: Vec<_> = routes[start..].iter().take(limit as usize + 1).collect();
    let (routes, next) = split_page(found, limit, |last| last.name.clone());
    let (page, link) = Page::of(&query, routes, next);
    Ok(ApiResponse::ok(&page).with_link(link).without_store())
}

/// Shows a route.
#[utoipa::path(
    get,
    path = "/routes/{route}",
    tag = "routes",
    operation_id = "read_route",
    params(openapi::IfNoneMatch),
    responses(openapi::OkResource<Route>, openapi::CommonErrors, openapi::NotFound),
)]
pub(super) async fn read(State(surface): State<Arc<Surface>>, request: Request) -> Result<ApiResponse, ErrorResponse> {
    let call = CallContext::extract(request, Role::ReadOnly).await?;
    call.query(&[])?;
    let name: String = call.path_id()?;
    let route = surface.admin.routes.iter().find(|route| route.name == name).ok_or(Denial::NotFound)?;
    let tag = ETag::content(route);
    Ok(if tag.matches_if_none_match(&call.headers) {
        ApiResponse::not_modified(&tag)
    } else {
        ApiResponse::ok(route).with_etag(&tag).without_store()
    })
}
