//! The one future of a guarded service.

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

use super::{Gate, Refusal, ResponseBody};
use crate::{Admission, Policy, Stop, Wait, admission::Served};

pin_project! {
    /// Resolves to the service's response, or to a refusal.
    pub struct ResponseFuture<S, P, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, P, B>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, P, B>
    where
        S: Service<Request<B>>,
    {
        Serving { #[pin] future: S::Future, served: Option<Served>, admission: Admission, gate: Arc<Gate<P>> },
        Refused { response: Option<Response<Bytes>> },
        Waiting { cold: Option<Box<Cold<S, P, B>>> },
    }
}

/// What is kept while a cold answer is on its way. Boxed: it is rare, and large.
struct Cold<S, P, B> {
    wait: Wait,
    request: Request<B>,
    admission: Admission,
    service: S,
    gate: Arc<Gate<P>>,
}

impl<S, P, B> ResponseFuture<S, P, B>
where
    S: Service<Request<B>>,
{
    pub(super) fn serve(
        service: &mut S,
        request: Request<B>,
        admission: Admission,
        gate: Arc<Gate<P>>,
    ) -> Self {
        Self { state: State::serve(service, request, admission, gate) }
    }

    pub(super) fn refused(response: Response<Bytes>) -> Self {
        Self { state: State::Refused { response: Some(response) } }
    }

    pub(super) fn waiting(
        wait: Wait,
        request: Request<B>,
        admission: Admission,
        service: S,
        gate: Arc<Gate<P>>,
    ) -> Self {
        Self {
            state: State::Waiting { cold: Some(Box::new(Cold { wait, request, admission, service, gate })) },
        }
    }
}

impl<S, P, B> State<S, P, B>
where
    S: Service<Request<B>>,
{
    fn serve(service: &mut S, mut request: Request<B>, mut admission: Admission, gate: Arc<Gate<P>>) -> Self {
        let served = Some(admission.take_permits().serve());
        admission.prepare(&mut request);
        request.extensions_mut().insert(admission.clone());
        Self::Serving { future: service.call(request), served, admission, gate }
    }
}

impl<S, P, B, R> Future for ResponseFuture<S, P, B>
where
    S: Service<Request<B>, Response = Response<R>>,
    P: Policy,
    B: Body,
    R: Body<Data = Bytes>,
{
    type Output = Result<Response<ResponseBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProjection::Serving { future, served, admission, gate } => {
                    let mut response = ready!(future.poll(cx))?;
                    if response.extensions().get::<Refusal>().is_some() {
                        if let Some(served) = served.take() {
                            served.refuse(gate.clock.now());
                        }
                        admission.report = None;
                    }
                    admission.stamp(response.headers_mut());
                    if response.extensions().get::<Admission>().is_none() {
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
                    ready!(cold.wait.as_mut().poll(cx));
                    match cold.gate.ask(&cold.request, &mut cold.admission) {
                        Err(Stop::Wait(wait)) => {
                            cold.wait = wait;
                            continue;
                        }
                        Err(Stop::Deny(denial)) => {
                            let admission = std::mem::take(&mut cold.admission);
                            State::Refused { response: Some(cold.gate.refuse(&denial, admission)) }
                        }
                        Ok(()) => {
                            let cold = kept.take().expect("it was there just above");
                            let Cold { request, admission, mut service, gate, .. } = *cold;
                            State::serve(&mut service, request, admission, gate)
                        }
                    }
                }
            };
            state.set(next);
        }
    }
}
