//! The response future of a [`Portcullis`](super::Portcullis) service.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Extensions, Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    BodyMode, Denied, ResponseBody, Unserved,
    body_mode::{Buffering, unsupported},
    extensions::Unrendered,
    gate::{Gate, Origin},
    handler_status::mark_handler_denial,
    request_body::LengthLimit,
};
use crate::{
    Admission, Denial, Policy, Stop, Wait,
    admission::{Committed, ResponseInfo},
    problem::ResponseForm,
};

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
            served: Served<P>,
        },
        Refused { response: Option<Response<Bytes>> },
        Waiting { cold: Option<Box<Suspended<S, P, C, B>>> },
    }
}

/// The results of the policies that the response of the inner service needs.
struct Served<P> {
    permits: Option<Committed>,
    info: ResponseInfo,
    /// The whole admission, for a layer that exposes it.
    exposed: Option<Box<Admission>>,
    gate: Arc<Gate<P>>,
    form: ResponseForm,
    bound: Option<LengthLimit>,
}

/// A request that waits for its decision. Boxed, because it is rare and large.
struct Suspended<S, P, C: BodyMode<B>, B> {
    waits_for: WaitFor<B>,
    /// The request without its body and its admission.
    request: Request<()>,
    form: ResponseForm,
    origin: Origin,
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
        let head = self.gate.head(&self.request, &self.origin, self.has_content);
        let renderer = self.gate.renderer_for(&head, &admission);
        let response = self.gate.deny(denial, &admission, renderer, self.form);
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
    /// Passes a request to the service without a decision.
    #[inline]
    pub(super) fn pass(service: &mut S, request: Request<B>, gate: Arc<Gate<P>>) -> Self {
        let form = ResponseForm::from_headers(request.method(), request.headers());
        let served =
            Served { permits: None, info: ResponseInfo::default(), exposed: None, gate, form, bound: None };
        Self { state: State::start(service, C::wrap(request, None, None), served) }
    }

    /// Passes an admitted request to the service. Its extensions, which were taken out of it, contain the admission.
    #[inline]
    pub(super) fn serve(
        service: &mut S,
        request: Request<B>,
        form: ResponseForm,
        mut extensions: Extensions,
        gate: Arc<Gate<P>>,
    ) -> Self {
        let admission = extensions.get_or_insert_default::<Admission>();
        let bound = LengthLimit::from_admission(admission.body_limit(), request.body());
        let request = C::wrap(request, admission.take_content_check(), bound.clone());
        Self { state: State::serve(service, request, form, bound, extensions, gate) }
    }

    pub(super) fn refused(response: Response<Bytes>) -> Self {
        Self { state: State::Refused { response: Some(response) } }
    }

    pub(super) fn waiting(
        stop: Stop,
        request: Request<B>,
        form: ResponseForm,
        origin: Origin,
        service: S,
        gate: Arc<Gate<P>>,
    ) -> Self {
        let has_content = !request.body().is_end_stream();
        let (mut head, body) = request.into_parts();
        let admission = head.extensions.remove().unwrap_or_default();
        let mut cold = Box::new(Suspended {
            waits_for: WaitFor::External(Box::pin(std::future::ready(()))),
            request: Request::from_parts(head, ()),
            form,
            origin,
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
    #[inline]
    fn serve(
        service: &mut S,
        mut request: Result<Request<C::Body>, Denial>,
        form: ResponseForm,
        bound: Option<LengthLimit>,
        mut extensions: Extensions,
        gate: Arc<Gate<P>>,
    ) -> Self {
        let admission = extensions.get_or_insert_default::<Admission>();
        if let Ok(request) = &mut request {
            admission.prepare_upstream(request);
        }
        let served = Served {
            permits: Some(admission.permits.commit_all()),
            info: admission.response.clone(),
            exposed: gate.exposes_admission.then(|| Box::new(admission.clone())),
            gate,
            form,
            bound,
        };
        if let Ok(request) = &mut request {
            *request.extensions_mut() = extensions;
        }
        Self::start(service, request, served)
    }

    #[inline]
    fn start(service: &mut S, request: Result<Request<C::Body>, Denial>, mut served: Served<P>) -> Self {
        match request {
            Ok(request) => Self::Serving { future: service.call(request), served },
            Err(denial) => {
                served.refund();
                Self::Refused { response: Some(served.deny(denial)) }
            }
        }
    }
}

impl<P: Policy> Served<P> {
    /// Returns the response to the client, according to that of the inner service.
    fn respond<R, E>(&mut self, outcome: Result<Response<R>, E>) -> Result<Response<ResponseBody<R>>, E> {
        // The inner service has responded to a part of the body only.
        if let Some(bound) = self.bound.as_ref().filter(|bound| bound.is_exceeded()) {
            let denial = Denial::ContentTooLarge { limit: bound.limit() };
            self.refund();
            return Ok(self.deny(denial).map(ResponseBody::refusal));
        }
        let mut response = outcome?;
        if let Some(Unrendered(denial)) = response.extensions_mut().remove() {
            // A handler denied the request. It counts: otherwise a caller could try ids without limit.
            let mut response = self.deny(denial);
            if let Some(denied) = response.extensions_mut().get_mut::<Denied>() {
                denied.set_by_handler();
            }
            return Ok(response.map(ResponseBody::refusal));
        }
        mark_handler_denial(response.extensions_mut());
        let extensions = response.extensions();
        let is_denied = extensions.get::<Denied>().is_some_and(|denied| !denied.is_by_handler());
        if is_denied || extensions.get::<Unserved>().is_some() {
            self.refund();
        }
        self.info.add_headers(response.headers_mut());
        if self.exposed.is_some() && response.extensions().get::<Admission>().is_none() {
            response.extensions_mut().insert(self.take_admission());
        }
        Ok(response.map(ResponseBody::inner))
    }

    fn deny(&mut self, denial: Denial) -> Response<Bytes> {
        let admission = self.take_admission();
        self.gate.deny(denial, &admission, &*self.gate.renderer, self.form)
    }

    /// Refunds the permits of a request that was not served. A refunded permit is not reported as spent.
    fn refund(&mut self) {
        if let Some(permits) = self.permits.take() {
            permits.refund(self.gate.clock.now());
        }
        self.info.report = None;
    }

    /// Takes the admission for the extensions of the response, as far as it was preserved.
    fn take_admission(&mut self) -> Admission {
        let mut admission = self.exposed.take().map_or_else(Admission::default, |admission| *admission);
        admission.response = std::mem::take(&mut self.info);
        admission
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
                StateProjection::Serving { future, served } => {
                    let outcome = ready!(future.poll(cx));
                    return Poll::Ready(served.respond(outcome));
                }
                StateProjection::Refused { response } => {
                    let response = response.take().expect("a future is not polled after it is ready");
                    return Poll::Ready(Ok(response.map(ResponseBody::refusal)));
                }
                StateProjection::Waiting { cold: kept } => {
                    let cold = kept.as_mut().expect("the state is replaced when the wait is over");
                    let again = ready!(cold.poll(cx)).map_err(Stop::Deny);
                    let again = again.and_then(|()| {
                        let head = cold.gate.head(&cold.request, &cold.origin, cold.has_content);
                        cold.admission.evaluate(&cold.gate.chain, &head)
                    });
                    match again {
                        Ok(()) => {
                            let cold = kept.take().expect("it was there just above");
                            let Suspended {
                                mut request, form, body, mut admission, mut service, gate, ..
                            } = *cold;
                            let bound = match &body {
                                BodyState::Unread(body) => {
                                    LengthLimit::from_admission(admission.body_limit(), body)
                                }
                                BodyState::Taken | BodyState::Buffered(_) => None,
                            };
                            let mut extensions = std::mem::take(request.extensions_mut());
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
                            extensions.insert(admission);
                            State::serve(&mut service, request, form, bound, extensions, gate)
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
