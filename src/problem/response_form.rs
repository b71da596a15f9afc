//! The forms that the response of a denial may have.

use http::{HeaderMap, HeaderValue, Method, header};

#[cfg(feature = "grpc")]
use super::grpc;
use crate::Head;

/// The form of a denial's response, which depends on the request.
///
/// A face that moves the request elsewhere derives the form from it before, for denials that come later.
///
/// ```
/// use http::{HeaderMap, Method};
/// use portcullis::problem::ResponseForm;
///
/// assert_eq!(ResponseForm::from_headers(&Method::HEAD, &HeaderMap::new()), ResponseForm::HeadersOnly);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ResponseForm {
    /// The status of the denial and the body of the renderer.
    #[default]
    WithBody,
    /// The status of the denial and the length of the renderer's body, in response to `HEAD` (RFC 9110, section
    /// 9.3.2).
    HeadersOnly,
    /// A gRPC status in headers, without a body ("Trailers-Only"). The HTTP status is 200.
    #[cfg(feature = "grpc")]
    Grpc,
}

impl ResponseForm {
    /// Returns the form for a request with this method and these headers.
    #[must_use]
    pub fn from_headers(method: &Method, headers: &HeaderMap) -> Self {
        Self::new(method, || headers.get(header::CONTENT_TYPE))
    }

    /// Returns the form for a request with this head.
    #[must_use]
    #[inline]
    pub fn from_head(head: &Head<'_>) -> Self {
        Self::new(head.method, || head.single(&header::CONTENT_TYPE).ok().flatten())
    }

    #[cfg_attr(not(feature = "grpc"), allow(unused_variables, reason = "only the gRPC form depends on it"))]
    #[inline]
    fn new<'a>(method: &Method, content_type: impl FnOnce() -> Option<&'a HeaderValue>) -> Self {
        match *method {
            Method::HEAD => Self::HeadersOnly,
            // Every gRPC call is a POST. Caches might store the 200 of a GET, and respond with it to other clients.
            #[cfg(feature = "grpc")]
            Method::POST if content_type().is_some_and(grpc::is_grpc) => Self::Grpc,
            _ => Self::WithBody,
        }
    }
}
