//! Responses: a document with its links, or an error.

use axum::{
    body::Body,
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::{etag::etag, pretty::is_pretty, render::ErrorFormat};
use portcullis::{Admission, Denial, problem};

/// A denial in the contract's error format.
///
/// The denial is boxed to keep the `Result` of every step small.
pub(super) struct ErrorResponse(Box<Denial>);

impl From<Denial> for ErrorResponse {
    fn from(denial: Denial) -> Self {
        Self(Box::new(denial))
    }
}

impl IntoResponse for ErrorResponse {
    /// Renders the denial. The guard around the surface adds the headers of the admission.
    fn into_response(self) -> Response {
        problem::log(&self.0);
        problem::render(&self.0, &ErrorFormat::Compact, &Admission::default()).map(Body::from)
    }
}

/// Indents the error responses to requests with `?pretty=true`, like success responses.
pub(super) async fn prettify_refusals(request: Request, next: Next) -> Response {
    let pretty = is_pretty(request.uri());
    let mut response = next.run(request).await;
    let status = response.status();
    if pretty && (status.is_client_error() || status.is_server_error()) {
        let body = ErrorFormat::Pretty.body(status);
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        *response.body_mut() = body.into();
    }
    response
}

/// The links of a response.
#[derive(Serialize, ToSchema)]
pub(super) struct Links {
    #[serde(rename = "self")]
    own: Link,
}

/// A link.
#[derive(Serialize, ToSchema)]
pub(super) struct Link {
    /// The URL of the link.
    href: String,
}

impl Links {
    /// Returns the links with a path of this API as `self`.
    pub(super) fn to(base_url: &str, path: &str) -> Self {
        Self { own: Link { href: format!("{}{path}", base_url.trim_end_matches('/')) } }
    }
}

/// The response to a deletion.
#[derive(Serialize, ToSchema)]
pub(super) struct Deleted {
    #[serde(rename = "_links")]
    pub(super) links: Links,
}

/// Returns a success response, 200.
pub(super) fn show(document: &impl Serialize, pretty: bool) -> Result<Response, ErrorResponse> {
    let write = if pretty { serde_json::to_vec_pretty } else { serde_json::to_vec };
    let body = write(document).map_err(|error| Denial::internal(error.to_string()))?;
    let media_type = HeaderValue::from_static("application/json; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, media_type)], body).into_response())
}

/// Returns a success response, 200, for an entity at a revision, with its `ETag`.
pub(super) fn show_at(
    revision: u64,
    document: &impl Serialize,
    pretty: bool,
) -> Result<Response, ErrorResponse> {
    let mut response = show(document, pretty)?;
    let tag = HeaderValue::try_from(etag(revision)).map_err(|error| Denial::internal(error.to_string()))?;
    response.headers_mut().insert(header::ETAG, tag);
    Ok(response)
}
