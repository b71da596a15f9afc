//! The bodies of what comes back.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::Body as SurfaceBody;
use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::{forward::UpstreamBody, request_id::RequestId};
use crate::{
    Admission, Denial,
    problem::{self, Form},
    tower::{ResponseBody, Unserved},
};

/// Whatever can go wrong while a body is read.
pub(super) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// What a route answers with: the body of the service behind, of a surface, or of our own.
pub(super) enum Answer {
    Upstream(UpstreamBody),
    Surface(SurfaceBody),
    Own(ResponseBody<SurfaceBody>),
}

impl Answer {
    /// A refusal by the gateway itself.
    pub(super) fn refusal(denial: &Denial) -> Response<Self> {
        problem::answer(denial, Form::Problem, &Admission::default())
            .map(|bytes| Self::Own(ResponseBody::refusal(bytes)))
    }

    /// A refusal by the gateway itself of an admitted request that no service served: what was taken for it is
    /// given back.
    pub(super) fn unserved(denial: &Denial) -> Response<Self> {
        let mut response = Self::refusal(denial);
        response.extensions_mut().insert(Unserved);
        response
    }

    /// No content.
    pub(super) fn empty() -> Self {
        Self::Own(ResponseBody::refusal(Bytes::new()))
    }
}

/// Tells a client that its head did not come in time, on a connection that hyper has given up.
pub(super) async fn late(mut io: impl AsyncWrite + Unpin, head: bool, id: RequestId) {
    let mut answer = problem::answer(&Denial::RequestTimeout, Form::Problem, &Admission::default());
    id.put(&mut answer);
    let mut bytes = format!("HTTP/1.1 {}\r\nconnection: close\r\n", answer.status()).into_bytes();
    for (name, value) in answer.headers() {
        bytes.extend_from_slice(name.as_ref());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    // A response to HEAD has none.
    if !head {
        bytes.extend_from_slice(answer.body());
    }
    // Who does not take it is gone.
    if io.write_all(&bytes).await.is_ok() {
        let _ = io.shutdown().await;
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Upstream(body) => Pin::new(body).poll_frame(cx),
            Self::Surface(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Own(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Upstream(body) => body.is_end_stream(),
            Self::Surface(body) => body.is_end_stream(),
            Self::Own(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Upstream(body) => body.size_hint(),
            Self::Surface(body) => body.size_hint(),
            Self::Own(body) => body.size_hint(),
        }
    }
}
