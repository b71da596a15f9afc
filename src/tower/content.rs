//! What a layer does with a request's content: nothing, or what policies ask for.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body::Body;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{BoxError, RequestBody};
use crate::{
    Denial,
    admission::Owed,
    policy::{Intake, Taken},
};

/// What a layer does with a request's content; one of [`AsItCame`] and [`Checked`].
pub trait Content<B>: Sized {
    /// The body that the service behind is given.
    type Body;

    /// The request as it came, whose content must hash to what is owed.
    ///
    /// # Errors
    /// When that cannot be checked here.
    fn came(request: Request<B>, owed: Option<Box<Owed>>) -> Result<Request<Self::Body>, Denial>;

    /// Content that was taken in.
    ///
    /// # Errors
    /// When nothing is taken in here.
    fn taken_in(content: Bytes) -> Result<Self::Body, Denial>;

    /// Takes content in.
    fn poll(reading: &mut Reading<B>, cx: &mut Context<'_>) -> Poll<Result<(Bytes, [u8; 32]), Denial>>;
}

/// The service behind is given the body that came. A policy that needs to know the content is answered with 500.
#[derive(Debug, Clone, Copy)]
pub struct AsItCame;

impl<B> Content<B> for AsItCame {
    type Body = B;

    fn came(request: Request<B>, owed: Option<Box<Owed>>) -> Result<Request<B>, Denial> {
        if owed.is_some() { Err(not_here()) } else { Ok(request) }
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

/// The service behind is given a [`RequestBody`], which is what its signature says, or breaks off.
#[derive(Debug, Clone, Copy)]
pub struct Checked;

impl<B> Content<B> for Checked
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Body = RequestBody<B>;

    fn came(request: Request<B>, owed: Option<Box<Owed>>) -> Result<Request<RequestBody<B>>, Denial> {
        Ok(request.map(|body| RequestBody::new(body, owed)))
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
    /// How long the client has kept us waiting in all, and since when it does now.
    starved: Duration,
    since: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<B> Reading<B> {
    pub(super) fn new(body: B, intake: Intake, announced: u64) -> Self {
        let taken = intake.begin(announced).map_err(Some);
        Self { body: Box::pin(body), taken, starved: Duration::ZERO, since: None }
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
                let (_, timer) = self.since.get_or_insert_with(|| {
                    let now = Instant::now();
                    (now, Box::pin(sleep_until(now + taken.pace().patience(taken.bytes(), self.starved))))
                });
                ready!(timer.as_mut().poll(cx));
                return Poll::Ready(Err(Denial::RequestTimeout));
            };
            self.starved += self.since.take().map_or(Duration::ZERO, |(since, _)| since.elapsed());
            match frame {
                Some(Ok(frame)) => {
                    // Trailers are not signed, and go no further.
                    if let Ok(data) = frame.into_data() {
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
