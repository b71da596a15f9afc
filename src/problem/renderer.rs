//! The interface of error formats.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use crate::{Admission, Denial, Head};

/// A denial in an error format: the body of the response, and what the contract of the format says about the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedDenial {
    pub(super) content_type: HeaderValue,
    pub(super) body: Bytes,
    pub(super) status: Option<StatusCode>,
    pub(super) is_storable: bool,
}

impl RenderedDenial {
    /// Creates a body with the value of its `Content-Type`. The status is that of the denial.
    pub fn new(content_type: HeaderValue, body: impl Into<Bytes>) -> Self {
        Self { content_type, body: body.into(), status: None, is_storable: true }
    }

    /// Sets another status than that of the denial, for contracts that define their own statuses. A status outside of
    /// 400 to 599 has no effect: a denial never looks like a success.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = Some(status).filter(|status| status.is_client_error() || status.is_server_error());
        self
    }

    /// Forbids every cache to store the response (`Cache-Control: no-store`).
    #[must_use]
    pub fn no_store(mut self) -> Self {
        self.is_storable = false;
        self
    }
}

/// An error format: renders the bodies of denials.
///
/// The headers that the status requires, such as `WWW-Authenticate` and `Retry-After`, do not depend on the format:
/// [`render`](super::render()) adds them. The default of every face is [`Problem`](super::Problem). With the feature
/// `grpc`, a denied gRPC call receives a gRPC status, whatever the renderer. A closure is a renderer, too:
///
/// ```
/// use http::HeaderValue;
/// use portcullis::{Admission, Denial, problem::{self, RenderedDenial}};
///
/// let text = |denial: &Denial| {
///     RenderedDenial::new(HeaderValue::from_static("text/plain; charset=utf-8"), denial.detail().into_owned())
/// };
/// let answer = problem::render(&Denial::unavailable("Closed on Sundays.", 3600), &text, &Admission::default());
/// assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &"3600".parse().unwrap()));
/// assert_eq!(answer.body(), "Closed on Sundays.");
/// ```
pub trait RenderDenial: Send + Sync + 'static {
    /// Renders a denial. A renderer does not log; the face [logs](super::log) the denials that it sends.
    fn render(&self, denial: &Denial) -> RenderedDenial;

    /// Returns the renderer for the denial of one request, such as that of the request's route, or one that the client
    /// accepts. `None` is this renderer. A face calls this when it denies a request whose head it
    /// has; a denial while the body arrives has the format of the layer.
    fn for_request(&self, _head: &Head<'_>, _admission: &Admission) -> Option<&dyn RenderDenial> {
        None
    }
}

impl<F: Fn(&Denial) -> RenderedDenial + Send + Sync + 'static> RenderDenial for F {
    fn render(&self, denial: &Denial) -> RenderedDenial {
        self(denial)
    }
}

impl<R: RenderDenial + ?Sized> RenderDenial for Arc<R> {
    fn render(&self, denial: &Denial) -> RenderedDenial {
        (**self).render(denial)
    }

    fn for_request(&self, head: &Head<'_>, admission: &Admission) -> Option<&dyn RenderDenial> {
        (**self).for_request(head, admission)
    }
}
