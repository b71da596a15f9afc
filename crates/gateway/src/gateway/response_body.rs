//! Response bodies.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::Body as SurfaceBody;
use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tower_http::compression::CompressionBody;

use super::{request_id::RequestId, upstream::UpstreamBody};
use portcullis::{
    Admission, Denial,
    problem::{self, Problem, ResponseForm},
    tower::{BoxError, ResponseBody, Unserved},
};

/// The body of a response: from an upstream, from a surface, or from the gateway itself.
pub(super) enum GatewayBody {
    Upstream(UpstreamBody),
    Surface(SurfaceBody),
    Local(ResponseBody<SurfaceBody>),
    /// Boxed, because most bodies are not compressed.
    Compressed(Pin<Box<CompressionBody<Self>>>),
}

impl GatewayBody {
    /// Creates the response to a request that the gateway denies.
    pub(super) fn denial_response(denial: &Denial, form: ResponseForm) -> Response<Self> {
        problem::log(denial);
        problem::render_for(denial, &Problem, &Admission::default(), form)
            .map(|bytes| Self::Local(ResponseBody::refusal(bytes)))
    }

    /// Creates the response to an admitted request that the gateway denies before a service has processed it. The
    /// permits of the request are refunded.
    pub(super) fn unserved(denial: &Denial, form: ResponseForm) -> Response<Self> {
        let mut response = Self::denial_response(denial, form);
        response.extensions_mut().insert(Unserved);
        response
    }

    /// Creates an empty body.
    pub(super) fn empty() -> Self {
        Self::Local(ResponseBody::refusal(Bytes::new()))
    }
}

/// Sends 408 to a client that has not sent a complete head in time, on a connection that hyper has given up.
pub(super) async fn write_request_timeout(mut io: impl AsyncWrite + Unpin, head: bool, id: RequestId) {
    let mut answer = problem::render(&Denial::RequestTimeout, &Problem, &Admission::default());
    id.set_header(&mut answer);
    let mut bytes = format!("HTTP/1.1 {}\r\nconnection: close\r\n", answer.status()).into_bytes();
    for (name, value) in answer.headers() {
        bytes.extend_from_slice(name.as_ref());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    // A response to HEAD has no body.
    if !head {
        bytes.extend_from_slice(answer.body());
    }
    // If the write fails, the client is gone.
    if io.write_all(&bytes).await.is_ok() {
        let _ = io.shutdown().await;
    }
}

impl Body for GatewayBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Upstream(body) => Pin::new(body).poll_frame(cx),
            Self::Surface(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Local(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Compressed(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Upstream(body) => body.is_end_stream(),
            Self::Surface(body) => body.is_end_stream(),
            Self::Local(body) => body.is_end_stream(),
            Self::Compressed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Upstream(body) => body.size_hint(),
            Self::Surface(body) => body.size_hint(),
            Self::Local(body) => body.size_hint(),
            Self::Compressed(body) => body.size_hint(),
        }
    }
}
