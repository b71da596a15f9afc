//! What the surface answers: a document with its links, or a refusal.

use axum::{
    body::Body,
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::call_context::is_pretty;
use crate::{
    Admission, Denial,
    problem::{self, ErrorFormat},
};

/// A denial in the contract's form.
///
/// Boxed, as it is the error of every step on the way to an answer.
pub(super) struct ErrorResponse(Box<Denial>);

impl From<Denial> for ErrorResponse {
    fn from(denial: Denial) -> Self {
        Self(Box::new(denial))
    }
}

impl IntoResponse for ErrorResponse {
    /// The guard around the surface adds what it knows of the admission.
    fn into_response(self) -> Response {
        problem::render(&self.0, ErrorFormat::Discue, &Admission::default()).map(Body::from)
    }
}

/// Writes refusals of requests with `?pretty=true` for people, as successes are.
pub(super) async fn prettify_refusals(request: Request, next: Next) -> Response {
    let pretty = is_pretty(request.uri());
    let mut response = next.run(request).await;
    let status = response.status();
    if pretty && (status.is_client_error() || status.is_server_error()) {
        let body = problem::discue(status, true);
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        *response.body_mut() = body.into();
    }
    response
}

/// The links of an answer.
#[derive(Serialize, ToSchema)]
pub(super) struct Links {
    #[serde(rename = "self")]
    own: Link,
}

/// A link.
#[derive(Serialize, ToSchema)]
pub(super) struct Link {
    /// Where it leads.
    href: String,
}

impl Links {
    /// To a path of the surface.
    pub(super) fn to(base_url: &str, path: &str) -> Self {
        Self { own: Link { href: format!("{}{path}", base_url.trim_end_matches('/')) } }
    }
}

/// What is left of something deleted.
#[derive(Serialize, ToSchema)]
pub(super) struct Deleted {
    #[serde(rename = "_links")]
    pub(super) links: Links,
}

/// A success, 200.
pub(super) fn show(document: &impl Serialize, pretty: bool) -> Result<Response, ErrorResponse> {
    let write = if pretty { serde_json::to_vec_pretty } else { serde_json::to_vec };
    let body = write(document).map_err(|error| Denial::internal(error.to_string()))?;
    let media_type = HeaderValue::from_static("application/json; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, media_type)], body).into_response())
}

/// A success, 200, of an entity at a revision.
pub(super) fn show_at(revision: u64, document: &impl Serialize, pretty: bool) -> Result<Response, ErrorResponse> {
    let mut response = show(document, pretty)?;
    let tag = HeaderValue::try_from(etag(revision)).map_err(|error| Denial::internal(error.to_string()))?;
    response.headers_mut().insert(header::ETAG, tag);
    Ok(response)
}

/// The strong entity tag of an entity at a revision.
pub(super) fn etag(revision: u64) -> String {
    format!("\"{revision}\"")
}
