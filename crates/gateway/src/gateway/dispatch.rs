//! Sends a request to the backend of its route. [`Routes`] found the route during admission, as a policy.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::Either;
use http::{Method, Request, Response};
use tower_service::Service;

use super::{
    backend::Backend,
    client_body::ClientBody,
    max_forwards::{self, Next},
    response_body::GatewayBody,
    router::Routes,
};
use portcullis::{Admission, Denial, problem::ResponseForm, tower::RequestBody};

/// Sends a request to the backend of the route that was found during admission.
#[derive(Clone)]
pub(super) struct Dispatch(pub(super) Arc<Routes>);

impl Service<Request<RequestBody<ClientBody>>> for Dispatch {
    type Response = Response<GatewayBody>;
    type Error = Infallible;
    type Future = Either<
        <Backend as Service<Request<RequestBody<ClientBody>>>>::Future,
        Ready<Result<Self::Response, Infallible>>,
    >;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<RequestBody<ClientBody>>) -> Self::Future {
        let found = request.extensions().get::<Admission>().and_then(|admission| self.0.backend(admission));
        let Some((backend, methods)) = found else {
            let denial = Denial::internal("an admitted request has no route");
            return unserved(&denial, &request);
        };
        if *request.method() == Method::OPTIONS && matches!(backend, Backend::Upstream(..)) {
            match max_forwards::count_down(request.headers_mut()) {
                Ok(Next::Forward) => {}
                Ok(Next::Answer) => return Either::Right(ready(Ok(max_forwards::options(methods)))),
                Err(denial) => return unserved(&denial, &request),
            }
        }
        Either::Left(backend.clone().call(request))
    }
}

fn unserved<F, B>(
    denial: &Denial,
    request: &Request<B>,
) -> Either<F, Ready<Result<Response<GatewayBody>, Infallible>>> {
    let form = ResponseForm::from_headers(request.method(), request.headers());
    Either::Right(ready(Ok(GatewayBody::unserved(denial, form))))
}
