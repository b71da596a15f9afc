//! The forms that the response of a denial may have.

use http::{HeaderMap, Method};

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
}

impl ResponseForm {
    /// Returns the form for a request with this method and these headers.
    #[must_use]
    pub fn from_headers(method: &Method, _: &HeaderMap) -> Self {
        Self::new(method)
    }

    /// Returns the form for a request with this head.
    #[must_use]
    #[inline]
    pub fn from_head(head: &Head<'_>) -> Self {
        Self::new(head.method)
    }

    #[inline]
    fn new(method: &Method) -> Self {
        if *method == Method::HEAD { Self::HeadersOnly } else { Self::WithBody }
    }
}
