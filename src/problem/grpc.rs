//! Denials as gRPC responses.

mod details;

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use tonic::{Code, Status, metadata::MetadataMap};
use tonic_types::StatusExt;

use crate::{Admission, Denial};

/// The maximum length of a message, in bytes. Clients accept 8 KiB of headers, which contain the message twice.
const MAX_MESSAGE: usize = 1024;

/// Returns `true` for `application/grpc` and its variants such as `application/grpc+proto`. `application/grpc-web` is
/// another protocol, whose statuses are in the body.
pub(super) fn is_grpc(content_type: &HeaderValue) -> bool {
    let essence = b"application/grpc";
    let Some((start, rest)) = content_type.as_bytes().split_at_checked(essence.len()) else { return false };
    start.eq_ignore_ascii_case(essence)
        && (rest.starts_with(b"+") || matches!(rest.trim_ascii_start().first(), None | Some(b';')))
}

/// Renders a denial as a response that only has headers ("Trailers-Only").
pub(super) fn render(denial: &Denial, admission: &Admission) -> Response<Bytes> {
    let mut response = status(denial, code(denial)).into_http::<Bytes>();
    admission.add_response_headers(response.headers_mut());
    response
}

/// A gRPC method may return a denial as its error. The client receives the same details and metadata as from a policy.
/// [`Denial::NotFound`] is `NOT_FOUND` here, and `UNIMPLEMENTED` if a policy denies.
///
/// The [layer](crate::tower::PortcullisLayer) around the service logs the denial and adds
/// [`Denied`](crate::tower::Denied) to the response. The request counts towards the limits.
///
/// ```
/// use portcullis::Denial;
/// use tonic::{Code, Status};
/// use tonic_types::StatusExt;
///
/// let status = Status::from(Denial::unavailable("Closed on Sundays.", 3600));
/// assert_eq!((status.code(), status.message()), (Code::Unavailable, "Closed on Sundays."));
/// assert_eq!(status.get_details_error_info().unwrap().reason, "UNAVAILABLE");
/// assert_eq!(status.metadata().get("retry-after").unwrap(), "3600");
/// ```
impl From<Denial> for Status {
    fn from(denial: Denial) -> Self {
        let code = match &denial {
            // The method exists, as it returns this.
            Denial::NotFound => Code::NotFound,
            denial => code(denial),
        };
        let mut status = status(&denial, code);
        status.set_source(Arc::new(denial));
        status
    }
}

fn status(denial: &Denial, code: Code) -> Status {
    let mut headers = HeaderMap::new();
    denial.add_headers(&mut headers);
    let message = message(denial.detail());
    let details = details::details(denial, &message);
    Status::with_error_details_and_metadata(code, message, details, MetadataMap::from_headers(headers))
}

fn message(detail: Cow<'static, str>) -> String {
    if detail.len() <= MAX_MESSAGE {
        return detail.into_owned();
    }
    let end = (0..=MAX_MESSAGE).rev().find(|at| detail.is_char_boundary(*at)).unwrap_or_default();
    format!("{}…", &detail[..end])
}

/// Returns the code of a denial. Where a proxy responds instead of a gRPC server, clients derive a code from the HTTP
/// status; these codes are more precise than that.
fn code(denial: &Denial) -> Code {
    match denial {
        Denial::BadRequest { .. }
        | Denial::InvalidShape { .. }
        | Denial::InvalidValues { .. }
        | Denial::Unprocessable { .. } => Code::InvalidArgument,
        Denial::Unauthenticated { .. } => Code::Unauthenticated,
        Denial::Forbidden(_) => Code::PermissionDenied,
        // In gRPC, a path without a resource is an unknown method.
        Denial::NotFound
        | Denial::MethodNotAllowed { .. }
        | Denial::NotAcceptable { .. }
        | Denial::UnsupportedMediaType { .. }
        | Denial::UnsupportedCoding { .. }
        | Denial::Misdirected { .. }
        | Denial::NotImplemented { .. } => Code::Unimplemented,
        Denial::RequestTimeout | Denial::GatewayTimeout { .. } => Code::DeadlineExceeded,
        Denial::Conflict { .. } => Code::Aborted,
        Denial::PaymentRequired { .. }
        | Denial::PreconditionFailed { .. }
        | Denial::PreconditionRequired { .. }
        | Denial::Locked { .. } => Code::FailedPrecondition,
        Denial::ContentTooLarge { .. }
        | Denial::TargetTooLong { .. }
        | Denial::HeadTooLarge { .. }
        | Denial::RateLimited { .. }
        | Denial::Exhausted(_) => Code::ResourceExhausted,
        Denial::Internal { .. } => Code::Internal,
        Denial::BadGateway { .. } | Denial::Unavailable { .. } | Denial::Maintenance { .. } => {
            Code::Unavailable
        }
    }
}

#[cfg(test)]
mod tests;
