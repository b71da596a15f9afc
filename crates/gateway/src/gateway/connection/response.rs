//! The last changes to a response before hyper sends it.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, Version, header};
use http_body::Body;

use crate::gateway::client_body::{BodyProgress, Close};
use portcullis::{problem::DenialCode, tower::ResponseBody};

/// Decides what happens to the unread rest of the request. An HTTP/1.1 connection is closed after a response that
/// leaves much of the request unread, or that denies an ambiguous request: no bytes after the head of such a request
/// are parsed as another request.
pub(super) fn close_after_denial<B>(
    mut response: Response<B>,
    version: Version,
    progress: &BodyProgress,
) -> Response<B> {
    let close = match response.status() {
        _ if response.extensions().get::<DenialCode>().is_none() => Close::Unneeded,
        StatusCode::BAD_REQUEST | StatusCode::REQUEST_TIMEOUT => Close::Always,
        StatusCode::PAYLOAD_TOO_LARGE => Close::UnlessSmall,
        _ => Close::Unneeded,
    };
    // HTTP/2 frames each stream separately, so unread data cannot be parsed as another request.
    if progress.respond(close) && version < Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Removes the body of a response that must not have one: a response to `HEAD` (RFC 9110, section 9.3.2; hyper removes
/// it on HTTP/1.1 only), or a response whose status forbids it (section 6.4.1).
pub(super) fn without_content<B: Body<Data = Bytes>>(
    mut response: Response<ResponseBody<B>>,
    head: bool,
) -> Response<ResponseBody<B>> {
    let status = response.status();
    // Such responses must not have a `Content-Length`, not even 0 (section 8.6).
    if status == StatusCode::NO_CONTENT
        || status.is_informational()
        // The `Content-Length` of a 205 describes a body that does not follow, unlike that of a 304.
        || status == StatusCode::RESET_CONTENT && !head
    {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    let excluded =
        matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED);
    if !(head || excluded) || response.body().is_end_stream() {
        return response;
    }
    if head
        && !response.headers().contains_key(header::CONTENT_LENGTH)
        && let Some(length) = response.body().size_hint().exact()
    {
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    response.map(|_| ResponseBody::refusal(Bytes::new()))
}
