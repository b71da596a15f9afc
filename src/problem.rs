//! Renders denials as HTTP responses. The core renders [problems](Problem); other error formats implement
//! [`RenderDenial`].
//!
//! # gRPC
//!
//! With the feature `grpc`, the response to a gRPC call (`POST` with the media type `application/grpc` or
//! `application/grpc+…`) is a gRPC status without a body, whatever the renderer. The HTTP status is 200, as gRPC
//! requires; the headers of the denial and the admission stay.
//!
//! | denial | code | details |
//! |---|---|---|
//! | 400, 422 | `INVALID_ARGUMENT` | `BadRequest` with the members or values |
//! | 401 | `UNAUTHENTICATED` | |
//! | 403 | `PERMISSION_DENIED` | `RetryInfo` for a lockout |
//! | 402, 412, 428 | `FAILED_PRECONDITION` | |
//! | 423 | `FAILED_PRECONDITION` | `PreconditionFailure` of the type `LOCK` with the owner, `RetryInfo` |
//! | 404, 405, 406, 415, 421, 501 | `UNIMPLEMENTED` | |
//! | 408, 504 | `DEADLINE_EXCEEDED` | |
//! | 409 | `ABORTED` | |
//! | 413, 414, 431 | `RESOURCE_EXHAUSTED` | |
//! | 429 | `RESOURCE_EXHAUSTED` | `QuotaFailure` with the names of the limits, `RetryInfo` |
//! | 500 | `INTERNAL` | |
//! | 502 | `UNAVAILABLE` | |
//! | 503, and 423 for maintenance | `UNAVAILABLE` | `RetryInfo` |
//!
//! Every status also has an `ErrorInfo` of the domain `portcullis`. Its reason is the [code](Denial::code) of the denial
//! in capital letters, such as `RATE_LIMITED`. Clients accept 8 KiB of headers, so long messages and lists are cut.

#[cfg(feature = "grpc")]
mod grpc;
mod prerendered;
mod renderer;
mod response_form;

pub use renderer::{RenderDenial, RenderedDenial};
pub use response_form::ResponseForm;

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use serde::Serialize;

use crate::{Admission, Denial, denial::FieldError, header_value, media::MediaType};

static PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
static NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Response extension of every denial: its [`code`](Denial::code), for logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DenialCode(pub &'static str);

/// Logs the [internal detail](Denial::internal_detail) of a denial, if it has one. A face calls this once for each
/// denial that it sends; [`render()`] does not log.
pub fn log(denial: &Denial) {
    if let Some(inside) = denial.internal_detail() {
        tracing::error!(code = denial.code(), "{inside}");
    }
}

/// Renders a denial as a response with status, headers and body.
///
/// The renderer provides the body. The headers that the status requires, such as `Retry-After`, come from the denial
/// and those about limits and caching from the admission, whatever the renderer.
///
/// ```
/// use portcullis::{Admission, Denial, problem::{self, Problem}};
///
/// let answer = problem::render(&Denial::NotFound, &Problem, &Admission::default());
/// assert_eq!(answer.status(), 404);
/// assert_eq!(answer.headers()["content-type"], "application/problem+json");
/// ```
#[must_use]
pub fn render(
    denial: &Denial,
    renderer: &(impl RenderDenial + ?Sized),
    admission: &Admission,
) -> Response<Bytes> {
    render_for(denial, renderer, admission, ResponseForm::WithBody)
}

/// Renders a denial like [`render()`], in the form that the request needs.
///
/// ```
/// use portcullis::{Admission, Denial, problem::{self, Problem, ResponseForm}};
///
/// let form = ResponseForm::HeadersOnly;
/// let answer = problem::render_for(&Denial::NotFound, &Problem, &Admission::default(), form);
/// assert_eq!((answer.status().as_u16(), answer.body().len()), (404, 0));
/// assert_ne!(answer.headers()["content-length"], "0");
/// ```
#[must_use]
pub fn render_for(
    denial: &Denial,
    renderer: &(impl RenderDenial + ?Sized),
    admission: &Admission,
    form: ResponseForm,
) -> Response<Bytes> {
    let mut response = match form {
        #[cfg(feature = "grpc")]
        ResponseForm::Grpc => grpc::render(denial, admission),
        ResponseForm::WithBody | ResponseForm::HeadersOnly => rendered(denial, renderer, admission),
    };
    if form == ResponseForm::HeadersOnly {
        response.body_mut().clear();
    }
    response.extensions_mut().insert(DenialCode(denial.code()));
    response
}

fn rendered(
    denial: &Denial,
    renderer: &(impl RenderDenial + ?Sized),
    admission: &Admission,
) -> Response<Bytes> {
    let RenderedDenial { content_type, body, status, is_storable } = renderer.render(denial);
    let length = header_value::from_u64(body.len() as u64);
    let mut response = Response::new(body);
    *response.status_mut() = status.unwrap_or_else(|| denial.status());
    let headers = response.headers_mut();
    // Most denials have at most this many headers, so the map is allocated once.
    headers.reserve(6);
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CONTENT_LENGTH, length);
    denial.add_headers(headers);
    admission.add_response_headers(headers);
    if !is_storable {
        headers.insert(header::CACHE_CONTROL, NO_STORE.clone());
    }
    response
}

/// Renders a denial as a problem (RFC 9457), `application/problem+json`: the default format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Problem;

impl RenderDenial for Problem {
    #[inline]
    fn render(&self, denial: &Denial) -> RenderedDenial {
        RenderedDenial::new(PROBLEM.clone(), prerendered::body(denial, problem))
    }
}

/// Members of a problem (RFC 9457, section 3.1), with our extensions.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Members<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    available: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<jiff::Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    violated_policies: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<&'a [FieldError]>,
}

fn problem(denial: &Denial) -> Bytes {
    let detail = denial.detail();
    let lock = match denial {
        Denial::Locked { lock, .. } => Some(lock),
        _ => None,
    };
    json(&Members {
        r#type: match denial {
            Denial::RateLimited { .. } | Denial::Exhausted(_) => {
                "https://iana.org/assignments/http-problem-types#quota-exceeded"
            }
            _ => "about:blank",
        },
        title: denial.status().canonical_reason().unwrap_or_default(),
        status: denial.status().as_u16(),
        detail: &detail,
        code: denial.code(),
        available: match denial {
            Denial::NotAcceptable { available } => Some(available.iter().map(MediaType::as_str).collect()),
            _ => None,
        },
        owner: lock.map(|lock| &*lock.owner),
        reason: lock.map(|lock| &*lock.reason),
        expires_at: lock.map(|lock| lock.expires_at),
        retry_after: denial.retry_after(),
        violated_policies: match denial {
            Denial::RateLimited { violated, .. } => Some(violated.iter().map(|name| &**name).collect()),
            Denial::Exhausted(exhausted) => Some(vec![exhausted.by.as_str()]),
            _ => None,
        },
        errors: match denial {
            Denial::InvalidShape { wrong } | Denial::InvalidValues { wrong } => Some(wrong),
            _ => None,
        },
    })
}

fn json(value: &impl Serialize) -> Bytes {
    // Large enough for most problems, so that the buffer does not grow.
    let mut text = Vec::with_capacity(512);
    // Serializing strings and numbers into memory cannot fail.
    let _ = serde_json::to_writer(&mut text, value);
    text.into()
}
