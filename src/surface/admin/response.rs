//! What the surface answers: a document, or a refusal.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::etag::ETag;
use crate::{
    Admission, Denial,
    problem::{self, ErrorFormat},
    surface::author::WithoutStore,
};

static REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A denial as a problem.
///
/// Boxed, as it is the error of every step on the way to an answer.
#[derive(Debug)]
pub(super) struct ErrorResponse(Box<Denial>);

impl From<Denial> for ErrorResponse {
    fn from(denial: Denial) -> Self {
        Self(Box::new(denial))
    }
}

impl IntoResponse for ErrorResponse {
    /// The guard around the surface adds what it knows of the admission.
    fn into_response(self) -> Response {
        problem::render(&self.0, ErrorFormat::Problem, &Admission::default()).map(Body::from)
    }
}

/// A success, as it is sent and, where it is to be given again, kept.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ApiResponse {
    status: u16,
    body: Option<String>,
    etag: Option<String>,
    location: Option<String>,
    link: Option<String>,
    /// Whether it shows a secret.
    secret: bool,
    #[serde(skip)]
    replayed: bool,
    /// Whether it says nothing of the store.
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

    /// A document.
    pub(super) fn document(status: StatusCode, document: &impl Serialize) -> Self {
        // Strings and numbers into memory: there is nothing that could fail.
        Self::new(status, Some(serde_json::to_string(document).unwrap_or_default()))
    }

    /// 200.
    pub(super) fn ok(document: &impl Serialize) -> Self {
        Self::document(StatusCode::OK, document)
    }

    /// 201, with where it is from now on.
    pub(super) fn created(location: String, document: &impl Serialize) -> Self {
        Self { location: Some(location), ..Self::document(StatusCode::CREATED, document) }
    }

    /// 204.
    pub(super) fn no_content() -> Self {
        Self::new(StatusCode::NO_CONTENT, None)
    }

    /// 304.
    pub(super) fn not_modified(tag: &ETag) -> Self {
        Self::new(StatusCode::NOT_MODIFIED, None).with_etag(tag)
    }

    pub(super) fn with_etag(self, tag: &ETag) -> Self {
        Self { etag: Some(tag.to_string()), ..self }
    }

    /// With the value of `Link`, when there is one.
    pub(super) fn with_link(self, link: Option<String>) -> Self {
        Self { link, ..self }
    }

    /// It shows a secret, which nothing on the way may keep.
    pub(super) fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    /// It says nothing of the store, and is given while that is unavailable.
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
