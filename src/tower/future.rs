//! The response future of a [`Portcullis`](super::Portcullis) service.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    BodyMode, Denied, ResponseBody, Unserved,
    body_mode::{Buffering, unsupported},
    extensions::Unrendered,
    gate::{Gate, deny},
    handler_status::mark_handler_denial,
    request_body::LengthLimit,
};
use crate::{Admission, Denial, Policy, Stop, Wait, admission::Committed, problem::ResponseForm};

pin_project! {
    /// Resolves to the inner service's response, or to a denial.
    pub struct ResponseFuture<S, P, C, B>
    where
        C: BodyMode<B>,
        S: Service<Request<C::Body>>,
    {
        #[pin]
        state: State<S, P, C, B>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, P, C, B>
    where
        C: BodyMode<B>,
        S: Service<Request<C::Body>>,
    {
        Serving {
            #[pin]
            future: S::Future,
            served: Option<Committed>,
            admission: Admission,
            gate: Arc<Gate<P>>,
            form: ResponseForm,
            bound: Option<LengthLimit>,
        },
        Refused { response: Option<Response<Bytes>> },
        Waiting { cold: Option<Box<Suspended<S, P, C, B>>> },
    }
}

/// A request that waits for its decision. Boxed, because it is rare and large.
struct Suspended<S, P, C: BodyMode<B>, B> {
    waits_for: WaitFor<B>,
    /// The request without its body.
    request: Request<()>,
    form: ResponseForm,
    has_content: bool,
    body: BodyState<B>,
    admission: Admission,
    service: S,
    gate: Arc<Gate<P>>,
    content: std::marker::PhantomData<fn() -> C>,
}

/// The event that an undecided request waits for.
#[allow(clippy::large_enum_variant, reason = "the struct that contains it is boxed")]
enum WaitFor<B> {
    External(Wait),
    Content(Buffering<B>),
}

/// The body of an undecided request.
enum BodyState<B> {
    /// Not read yet.
    Unread(B),
    /// Being buffered, or lost in a failed attempt.
    Taken,
    Buffered(Bytes),
}

impl<S, P, C, B> Suspended<S, P, C, B>
where
    C: BodyMode<B>,
    B: Body,
{
    /// Ready when the policies can be evaluated again.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Denial>> {
        match &mut self.waits_for {
            WaitFor::External(wait) => wait.as_mut().poll(cx).map(Ok),
            WaitFor::Content(reading) => {
                let (content, hash) = ready!(C::poll(reading, cx))?;
                self.admission.set_content_sha256(hash);
                self.body = BodyState::Buffered(content);
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Starts the next wait.
    fn wait(&mut self, stop: Stop) -> Result<(), Denial> {
        self.waits_for = match stop {
            Stop::Deny(denial) => return Err(denial),
            Stop::Wait(wait) => WaitFor::External(wait),
            Stop::NeedsBody(buffering) => match std::mem::replace(&mut self.body, BodyState::Taken) {
                BodyState::Unread(body) => {
                    let announced = body.size_hint().lower();
                    WaitFor::Content(Buffering::new(body, buffering, announced))
                }
                BodyState::Taken | BodyState::Buffered(_) => {
                    return Err(Denial::internal("body requested twice"));
                }
            },
        };
        Ok(())
    }
}

impl<S, P, C, B> Suspended<S, P, C, B>
where
    C: BodyMode<B>,
    S: Service<Request<C::Body>>,
    P: Policy,
{
    /// Denies the request, in which nothing remains to be decided.
    fn refuse(&mut self, denial: Denial) -> State<S, P, C, B> {
        let mut admission = std::mem::take(&mut self.admission);
        admission.refund();
        let head = self.gate.head(&self.request, self.has_content);
        let renderer = self.gate.renderer_for(&head, &admission);
        let response = deny(denial, admission, renderer, self.form);
        State::Refused { response: Some(response) }
    }
}

impl<S, P, C, B> ResponseFuture<S, P, C, B>
where
    C: BodyMode<B>,
    S: Service<Request<C::Body>>,
    P: Policy,
    B: Body,
{
    pub(super) fn serve(
        service: &mut S,
        request: Request<B>,
        form: ResponseForm,
        mut admission: Admission,
        gate: Arc<Gate<P>>,
    ) -> Self {
        let bound = LengthLimit::from_admission(admission.body_limit(), request.body());
        let request = C::wrap(request, admission.take_content_check(), bound.clone());
        Self { state: State::serve(service, request, form, bound, admission, gate) }
    }

    pub(super) fn refused(response: Response<Bytes>) -> Self {
        Self { state: State::Refused { response: Some(response) } }
    }

    pub(super) fn waiting(
        stop: Stop,
        request: Request<B>,
        form: ResponseForm,
        admission: Admission,
        service: S,
        gate: Arc<Gate<P>>,
    ) -> Self {
        let has_content = !request.body().is_end_stream();
        let (head, body) = request.into_parts();
        let mut cold = Box::new(Suspended {
            waits_for: WaitFor::External(Box::pin(std::future::ready(()))),
            request: Request::from_parts(head, ()),
            form,
            has_content,
            body: BodyState::Unread(body),
            admission,
            service,
            gate,
            content: std::marker::PhantomData,
        });
        match cold.wait(stop) {
            Ok(()) => Self { state: State::Waiting { cold: Some(cold) } },
            Err(denial) => Self { state: cold.refuse(denial) },
        }
    }
}

impl<S, P, C, B> State<S, P, C, B>
where
    C: BodyMode<B>,
    S: Service<Request<C::Body>>,
    P: Policy,
{
    fn serve(
        service: &mut S,
        request: Result<Request<C::Body>, Denial>,
        form: ResponseForm,
        bound: Option<LengthLimit>,
        mut admission: Admission,
        gate: Arc<Gate<P>>,
    ) -> Self {
        let mut request = match request {
            Ok(request) => request,
            Err(denial) => return Self::refuse(denial, form, admission, &gate),
        };
        let served = Some(admission.take_permits().commit());
        admission.prepare_upstream(&mut request);
        request.extensions_mut().insert(admission.clone());
        Self::Serving { future: service.call(request), served, admission, gate, form, bound }
    }

    fn refuse(denial: Denial, form: ResponseForm, mut admission: Admission, gate: &Gate<P>) -> Self {
        admission.refund();
        Self::Refused { response: Some(deny(denial, admission, &*gate.renderer, form)) }
    }
}

impl<S, P, C, B, R> Future for ResponseFuture<S, P, C, B>
where
    C: BodyMode<B>,
    S: Service<Request<C::Body>, Response = Response<R>>,
    P: Policy,
    B: Body,
    R: Body<Data = Bytes>,
{
    type Output = Result<Response<ResponseBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProjection::Serving { future, served, admission, gate, form, bound } => {
                    let outcome = ready!(future.poll(cx));
                    // The inner service has responded to a part of the body only.
                    if let Some(bound) = bound.as_ref().filter(|bound| bound.is_exceeded()) {
                        if let Some(served) = served.take() {
                            served.refund(gate.clock.now());
                        }
                        admission.report = None;
                        let denial = Denial::ContentTooLarge { limit: bound.limit() };
                        let admission = std::mem::take(admission);
                        let response = deny(denial, admission, &*gate.renderer, *form);
                        return Poll::Ready(Ok(response.map(ResponseBody::refusal)));
                    }
                    let mut response = outcome?;
                    if let Some(Unrendered(denial)) = response.extensions_mut().remove() {
                        // A handler denied the request. It counts: otherwise a caller could try ids without limit.
                        let admission = std::mem::take(admission);
                        let mut response = deny(denial, admission, &*gate.renderer, *form);
                        if let Some(denied) = response.extensions_mut().get_mut::<Denied>() {
                            denied.set_by_handler();
                        }
                        return Poll::Ready(Ok(response.map(ResponseBody::refusal)));
                    }
                    let by_handler = mark_handler_denial(response.extensions_mut());
                    let extensions = response.extensions();
                    let is_denied = extensions.get::<Denied>().is_some_and(|denied| !denied.is_by_handler());
                    if is_denied || extensions.get::<Unserved>().is_some() {
                        if let Some(served) = served.take() {
                            served.refund(gate.clock.now());
                        }
                        admission.report = None;
                    }
                    admission.add_response_headers(response.headers_mut());
                    if (gate.exposes_admission || by_handler)
                        && response.extensions().get::<Admission>().is_none()
                    {
                        response.extensions_mut().insert(std::mem::take(admission));
                    }
                    return Poll::Ready(Ok(response.map(ResponseBody::inner)));
                }
                StateProjection::Refused { response } => {
                    let response = response.take().expect("a future is not polled after it is ready");
                    return Poll::Ready(Ok(response.map(ResponseBody::refusal)));
                }
                StateProjection::Waiting { cold: kept } => {
                    let cold = kept.as_mut().expect("the state is replaced when the wait is over");
                    let again = ready!(cold.poll(cx)).map_err(Stop::Deny);
                    let again = again.and_then(|()| {
                        let head = cold.gate.head(&cold.request, cold.has_content);
                        cold.admission.evaluate(&cold.gate.chain, head)
                    });
                    match again {
                        Ok(()) => {
                            let cold = kept.take().expect("it was there just above");
                            let Suspended { request, form, body, mut admission, mut service, gate, .. } =
                                *cold;
                            let bound = match &body {
                                BodyState::Unread(body) => {
                                    LengthLimit::from_admission(admission.body_limit(), body)
                                }
                                BodyState::Taken | BodyState::Buffered(_) => None,
                            };
                            let request = match body {
                                BodyState::Unread(body) => C::wrap(
                                    request.map(|()| body),
                                    admission.take_content_check(),
                                    bound.clone(),
                                ),
                                BodyState::Buffered(content) => {
                                    C::from_buffered(content).map(|body| request.map(|()| body))
                                }
                                BodyState::Taken => Err(unsupported()),
                            };
                            State::serve(&mut service, request, form, bound, admission, gate)
                        }
                        Err(stop) => match cold.wait(stop) {
                            Ok(()) => continue,
                            Err(denial) => cold.refuse(denial),
                        },
                    }
                }
            };
            state.set(next);
        }
    }
}
