//! What a layer does with a request's content: nothing, or what policies ask for.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Request;
use http_body::Body;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{BoxError, RequestBody, request_body::Bound};
use crate::{
    Denial,
    admission::Owed,
    limit::Meter,
    policy::{Intake, Taken},
};

/// What a layer does with a request's content; one of [`AsItCame`] and [`Checked`].
pub trait Content<B>: Sized {
    /// The body that the service behind is given.
    type Body;

    /// The request as it came, whose content must hash to what is owed, and keep a bound.
    ///
    /// # Errors
    /// When that cannot be checked here.
    fn came(
        request: Request<B>,
        owed: Option<Box<Owed>>,
        bound: Option<Bound>,
    ) -> Result<Request<Self::Body>, Denial>;

    /// Content that was taken in.
    ///
    /// # Errors
    /// When nothing is taken in here.
    fn taken_in(content: Bytes) -> Result<Self::Body, Denial>;

    /// Takes content in.
    fn poll(reading: &mut Reading<B>, cx: &mut Context<'_>) -> Poll<Result<(Bytes, [u8; 32]), Denial>>;
}

/// The service behind is given the body that came. A policy that needs to know the content is answered with 500; content
/// whose length is not announced, with 413 where a [`BodyLimit`](crate::policy::BodyLimit) bounds it, because it could
/// not be counted here.
#[derive(Debug, Clone, Copy)]
pub struct AsItCame;

impl<B> Content<B> for AsItCame {
    type Body = B;

    fn came(
        request: Request<B>,
        owed: Option<Box<Owed>>,
        bound: Option<Bound>,
    ) -> Result<Request<B>, Denial> {
        match bound {
            _ if owed.is_some() => Err(not_here()),
            Some(bound) => Err(Denial::ContentTooLarge { limit: bound.limit() }),
            None => Ok(request),
        }
    }

    fn taken_in(_: Bytes) -> Result<B, Denial> {
        Err(not_here())
    }

    fn poll(_: &mut Reading<B>, _: &mut Context<'_>) -> Poll<Result<(Bytes, [u8; 32]), Denial>> {
        Poll::Ready(Err(not_here()))
    }
}

pub(super) fn not_here() -> Denial {
    Denial::internal(
        "a policy needs the content, and this layer does not look at it: PortcullisLayer::checking_content",
    )
}

/// The service behind is given a [`RequestBody`], which is what its signature says and keeps the limit of a
/// [`BodyLimit`](crate::policy::BodyLimit), or breaks off.
#[derive(Debug, Clone, Copy)]
pub struct Checked;

impl<B> Content<B> for Checked
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Body = RequestBody<B>;

    fn came(
        request: Request<B>,
        owed: Option<Box<Owed>>,
        bound: Option<Bound>,
    ) -> Result<Request<RequestBody<B>>, Denial> {
        Ok(request.map(|body| RequestBody::new(body, owed, bound)))
    }

    fn taken_in(content: Bytes) -> Result<RequestBody<B>, Denial> {
        Ok(RequestBody::taken_in(content))
    }

    fn poll(reading: &mut Reading<B>, cx: &mut Context<'_>) -> Poll<Result<(Bytes, [u8; 32]), Denial>> {
        reading.poll(cx)
    }
}

/// Content that is being taken in.
pub struct Reading<B> {
    body: Pin<Box<B>>,
    taken: Result<Taken, Option<Denial>>,
    meter: Meter,
    /// The time at which all of the content must be here.
    deadline: Instant,
    /// The time since when the client is waited for, and the end of the patience with it.
    since: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<B> Reading<B> {
    pub(super) fn new(body: B, intake: Intake, announced: u64) -> Self {
        let (meter, deadline) = (intake.pace().meter(), Instant::now() + intake.time());
        let taken = intake.begin(announced).map_err(Some);
        Self { body: Box::pin(body), taken, meter, deadline, since: None }
    }
}

impl<B: Body<Data = Bytes>> Reading<B> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Bytes, [u8; 32]), Denial>> {
        loop {
            let taken = match &mut self.taken {
                Ok(taken) => taken,
                Err(denial) => return Poll::Ready(Err(denial.take().unwrap_or_else(broken))),
            };
            let Poll::Ready(frame) = self.body.as_mut().poll_frame(cx) else {
                if let Poll::Ready(denial) = taken.poll_refused(cx) {
                    return Poll::Ready(Err(denial));
                }
                let (_, timer) = self.since.get_or_insert_with(|| {
                    let now = Instant::now();
                    let end = self.deadline.min(now + self.meter.patience());
                    (now, Box::pin(sleep_until(end)))
                });
                ready!(timer.as_mut().poll(cx));
                return Poll::Ready(Err(Denial::RequestTimeout));
            };
            if let Some((since, _)) = self.since.take() {
                self.meter.waited(since.elapsed());
            }
            match frame {
                Some(Ok(frame)) => {
                    // Trailers are not signed, and go no further.
                    if let Ok(data) = frame.into_data() {
                        self.meter.moved(data.len() as u64);
                        taken.put(&data)?;
                    }
                }
                Some(Err(_)) => return Poll::Ready(Err(broken())),
                None => {
                    let taken = std::mem::replace(&mut self.taken, Err(None));
                    return Poll::Ready(taken.map(Taken::finish).map_err(|_| broken()));
                }
            }
        }
    }
}

fn broken() -> Denial {
    Denial::bad_request("The request's content cannot be read to its end.")
}
