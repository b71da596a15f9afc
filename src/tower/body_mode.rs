//! What a layer does with a request's content: nothing, or what policies ask for.

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

/// What a layer does with a request's content; one of [`AsItCame`] and [`Checked`].
pub trait BodyMode<B>: Sized {
    /// The body that the service behind is given.
    type Body;

    /// The request as it came, whose content must hash to what is owed, and keep a bound.
    ///
    /// # Errors
    /// When that cannot be checked here.
    fn wrap(
        request: Request<B>,
        owed: Option<Box<DigestVerifier>>,
        bound: Option<LengthLimit>,
    ) -> Result<Request<Self::Body>, Denial>;

    /// Content that was taken in.
    ///
    /// # Errors
    /// When nothing is taken in here.
    fn from_buffered(content: Bytes) -> Result<Self::Body, Denial>;

    /// Takes content in.
    fn poll(reading: &mut Buffering<B>, cx: &mut Context<'_>) -> Poll<Result<(Bytes, [u8; 32]), Denial>>;
}

/// The service behind is given the body that came. A policy that needs to know the content is answered with 500; content
/// whose length is not announced, with 413 where a [`BodyLimit`](crate::policy::BodyLimit) bounds it, because it could
/// not be counted here.
#[derive(Debug, Clone, Copy)]
pub struct PassThrough;

impl<B> BodyMode<B> for PassThrough {
    type Body = B;

    fn wrap(
        request: Request<B>,
        owed: Option<Box<DigestVerifier>>,
        bound: Option<LengthLimit>,
    ) -> Result<Request<B>, Denial> {
        match bound {
            _ if owed.is_some() => Err(unsupported()),
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
    Denial::internal(
        "a policy needs the content, and this layer does not look at it: PortcullisLayer::checking_content",
    )
}

/// The service behind is given a [`RequestBody`], which is what its signature says and keeps the limit of a
/// [`BodyLimit`](crate::policy::BodyLimit), or breaks off.
#[derive(Debug, Clone, Copy)]
pub struct VerifyContent;

impl<B> BodyMode<B> for VerifyContent
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Body = RequestBody<B>;

    fn wrap(
        request: Request<B>,
        owed: Option<Box<DigestVerifier>>,
        bound: Option<LengthLimit>,
    ) -> Result<Request<RequestBody<B>>, Denial> {
        Ok(request.map(|body| RequestBody::new(body, owed, bound)))
    }

    fn from_buffered(content: Bytes) -> Result<RequestBody<B>, Denial> {
        Ok(RequestBody::taken_in(content))
    }

    fn poll(reading: &mut Buffering<B>, cx: &mut Context<'_>) -> Poll<Result<(Bytes, [u8; 32]), Denial>> {
        reading.poll(cx)
    }
}

/// Content that is being taken in.
pub struct Buffering<B> {
    body: Pin<Box<B>>,
    taken: Result<BufferedBody, Option<Denial>>,
    meter: RateMeter,
    /// The time at which all of the content must be here.
    deadline: Instant,
    /// The time since when the client is waited for, and the end of the patience with it.
    since: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<B> Buffering<B> {
    pub(super) fn new(body: B, intake: BodyBuffering, announced: u64) -> Self {
        let (meter, deadline) = (intake.pace().meter(), Instant::now() + intake.time());
        let taken = intake.start(announced).map_err(Some);
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
                    // Trailers are not signed, and go no further.
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
    Denial::bad_request("The request's content cannot be read to its end.")
}
