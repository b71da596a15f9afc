//! Responses of the admin API: a document, or a problem.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::{etag::ETag, page::Page};
use crate::author::WithoutStore;
use portcullis::{
    Admission, Denial,
    problem::{self, Problem},
};

static REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A denial that is returned as a problem.
///
/// The denial is boxed because this is the error type of every step towards a response.
#[derive(Debug)]
pub(super) struct ErrorResponse(Box<Denial>);

impl From<Denial> for ErrorResponse {
    fn from(denial: Denial) -> Self {
        Self(Box::new(denial))
    }
}

impl IntoResponse for ErrorResponse {
    /// Renders the problem. The guard around the surface adds the headers that depend on the admission.
    fn into_response(self) -> Response {
        problem::log(&self.0);
        problem::render(&self.0, &Problem, &Admission::default()).map(Body::from)
    }
}

/// A successful response, as it is sent and, for an idempotent request, stored.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ApiResponse {
    status: u16,
    body: Option<String>,
    etag: Option<String>,
    location: Option<String>,
    link: Option<String>,
    /// Whether the body contains a secret.
    secret: bool,
    #[serde(skip)]
    replayed: bool,
    /// Whether the response does not depend on the store.
    #[serde(skip)]
    without_store: bool,
}

impl ApiResponse {
    fn new(status: StatusCode, body: Option<String>) -> Self {
        let status = status.as_u16();
        Self {
            status,
            body,
            etag: None,
            location: None,
            link: None,
            secret: false,
            replayed: false,
            without_store: false,
        }
    }

    /// Returns a response with a document.
    pub(super) fn document(status: StatusCode, document: &impl Serialize) -> Self {
        // Serializing strings and numbers into memory cannot fail.
        Self::new(status, Some(serde_json::to_string(document).unwrap_or_default()))
    }

    /// Returns a 200 response with a document.
    pub(super) fn ok(document: &impl Serialize) -> Self {
        Self::document(StatusCode::OK, document)
    }

    /// Returns a 200 response with a page of a list, and its `Link`.
    pub(super) fn page(page: &Page<impl Serialize>) -> Self {
        Self { link: page.link().map(str::to_owned), ..Self::ok(page) }
    }

    /// Returns a response with a tag, or 304 if the client has the resource with this tag already.
    pub(super) fn conditional(tag: &ETag, headers: &HeaderMap, response: impl FnOnce() -> Self) -> Self {
        if tag.matches_if_none_match(headers) { Self::not_modified(tag) } else { response().with_etag(tag) }
    }

    /// Returns a 201 response with a document and the path of the new resource.
    pub(super) fn created(location: String, document: &impl Serialize) -> Self {
        Self { location: Some(location), ..Self::document(StatusCode::CREATED, document) }
    }

    /// Returns a 204 response.
    pub(super) fn no_content() -> Self {
        Self::new(StatusCode::NO_CONTENT, None)
    }

    /// Returns a 304 response.
    pub(super) fn not_modified(tag: &ETag) -> Self {
        Self::new(StatusCode::NOT_MODIFIED, None).with_etag(tag)
    }

    pub(super) fn with_etag(self, tag: &ETag) -> Self {
        Self { etag: Some(tag.to_string()), ..self }
    }

    /// Marks the response as containing a secret, so that no cache stores it.
    pub(super) fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    /// Marks the response as independent of the store, so that it is sent even while the store is unavailable.
    pub(super) fn without_store(self) -> Self {
        Self { without_store: true, ..self }
    }

    pub(super) fn replayed(self) -> Self {
        Self { replayed: true, ..self }
    }
}

impl IntoResponse for ApiResponse {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let has_body = self.body.is_some();
        let mut response = (status, Body::from(self.body.unwrap_or_default())).into_response();
        let headers = response.headers_mut();
        if has_body {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        for (name, value) in
            [(header::ETAG, self.etag), (header::LOCATION, self.location), (header::LINK, self.link)]
        {
            if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
                headers.insert(name, value);
            }
        }
        if self.without_store {
            response.extensions_mut().insert(WithoutStore);
        }
        let headers = response.headers_mut();
        if self.secret {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        if self.replayed {
            headers.insert(&REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}
