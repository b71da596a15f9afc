//! Treatment of request bodies by a layer: pass-through, or buffering and verification for policies.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Request;
use http_body::Body;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{BoxError, RequestBody, request_body::LengthLimit};
use crate::{
    Denial,
    admission::DigestVerifier,
    limit::RateMeter,
    policy::{BodyBuffering, BufferedBody},
};

/// Treatment of request bodies by a layer: [`PassThrough`] or [`VerifyContent`].
pub trait BodyMode<B>: Sized {
    /// The body that the inner service receives.
    type Body;

    /// Wraps the unread body of a request, which must have the expected hash, and stay within a bound.
    ///
    /// # Errors
    /// If this layer cannot check that.
    fn wrap(
        request: Request<B>,
        verifier: Option<Box<DigestVerifier>>,
        bound: Option<LengthLimit>,
    ) -> Result<Request<Self::Body>, Denial>;

    /// Wraps a buffered body.
    ///
    /// # Errors
    /// If this layer does not buffer.
    fn from_buffered(content: Bytes) -> Result<Self::Body, Denial>;

    /// Buffers a body.
    fn poll(reading: &mut Buffering<B>, cx: &mut Context<'_>) -> Poll<Result<(Bytes, [u8; 32]), Denial>>;
}

/// The inner service receives the request's body unchanged. A policy that needs the body causes a 500. A body without
/// an announced length causes a 413 if a [`BodyLimit`](crate::policy::BodyLimit) applies, because this layer cannot
/// count its bytes.
#[derive(Debug, Clone, Copy)]
pub struct PassThrough;

impl<B> BodyMode<B> for PassThrough {
    type Body = B;

    #[inline]
    fn wrap(
        request: Request<B>,
        verifier: Option<Box<DigestVerifier>>,
        bound: Option<LengthLimit>,
    ) -> Result<Request<B>, Denial> {
        match bound {
            _ if verifier.is_some() => Err(unsupported()),
            Some(bound) => Err(Denial::ContentTooLarge { limit: bound.limit() }),
            None => Ok(request),
        }
    }

    fn from_buffered(_: Bytes) -> Result<B, Denial> {
        Err(unsupported())
    }

    fn poll(_: &mut Buffering<B>, _: &mut Context<'_>) -> Poll<Result<(Bytes, [u8; 32]), Denial>> {
        Poll::Ready(Err(unsupported()))
    }
}

pub(super) fn unsupported() -> Denial {
    Denial::internal("a policy needs the request body, which a layer built with `pass_through` does not read")
}

/// The inner service receives a [`RequestBody`], which ends in an error if it does not match the signature or exceeds
/// the limit of a [`BodyLimit`](crate::policy::BodyLimit).
#[derive(Debug, Clone, Copy)]
pub struct VerifyContent;

impl<B> BodyMode<B> for VerifyContent
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Body = RequestBody<B>;

    #[inline]
    fn wrap(
        request: Request<B>,
        verifier: Option<Box<DigestVerifier>>,
        bound: Option<LengthLimit>,
    ) -> Result<Request<RequestBody<B>>, Denial> {
        Ok(request.map(|body| RequestBody::new(body, verifier, bound)))
    }

    fn from_buffered(content: Bytes) -> Result<RequestBody<B>, Denial> {
        Ok(RequestBody::taken_in(content))
    }

    fn poll(reading: &mut Buffering<B>, cx: &mut Context<'_>) -> Poll<Result<(Bytes, [u8; 32]), Denial>> {
        reading.poll(cx)
    }
}

/// A body that is being buffered.
pub struct Buffering<B> {
    body: Pin<Box<B>>,
    taken: Result<BufferedBody, Option<Denial>>,
    meter: RateMeter,
    /// The deadline for the whole body.
    deadline: Instant,
    /// The start of the current wait for the client, and the timer that ends it.
    since: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<B> Buffering<B> {
    pub(super) fn new(body: B, buffering: BodyBuffering, announced: u64) -> Self {
        let (meter, deadline) = (buffering.pace().meter(), Instant::now() + buffering.time());
        let taken = buffering.start(announced).map_err(Some);
        Self { body: Box::pin(body), taken, meter, deadline, since: None }
    }
}

impl<B: Body<Data = Bytes>> Buffering<B> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Bytes, [u8; 32]), Denial>> {
        loop {
            let taken = match &mut self.taken {
                Ok(taken) => taken,
                Err(denial) => return Poll::Ready(Err(denial.take().unwrap_or_else(broken))),
            };
            let Poll::Ready(frame) = self.body.as_mut().poll_frame(cx) else {
                if let Poll::Ready(denial) = taken.poll_evicted(cx) {
                    return Poll::Ready(Err(denial));
                }
                let (_, timer) = self.since.get_or_insert_with(|| {
                    let now = Instant::now();
                    let end = self.deadline.min(now + self.meter.time_left());
                    (now, Box::pin(sleep_until(end)))
                });
                ready!(timer.as_mut().poll(cx));
                return Poll::Ready(Err(Denial::RequestTimeout));
            };
            if let Some((since, _)) = self.since.take() {
                self.meter.set_waiting(since.elapsed());
            }
            match frame {
                Some(Ok(frame)) => {
                    // Trailers are not signed and therefore dropped.
                    if let Ok(data) = frame.into_data() {
                        self.meter.moved(data.len() as u64);
                        taken.push(&data)?;
                    }
                }
                Some(Err(_)) => return Poll::Ready(Err(broken())),
                None => {
                    let taken = std::mem::replace(&mut self.taken, Err(None));
                    return Poll::Ready(taken.map(BufferedBody::finish).map_err(|_| broken()));
                }
            }
        }
    }
}

fn broken() -> Denial {
    Denial::bad_request("The request body could not be read completely.")
}
