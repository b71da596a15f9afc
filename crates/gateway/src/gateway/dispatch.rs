//! Sends a request to the backend of its route. [`Routes`] found the route during admission, as a policy.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::Either;
use http::{Method, Request, Response, header};
use tower_service::Service;

use super::{
    backend::Backend,
    client_body::ClientBody,
    max_forwards::{self, Next},
    response_body::GatewayBody,
    router::{Route, Routes},
    upstream::InformationalResponses,
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
        let admission = request.extensions().get::<Admission>();
        let found = admission.and_then(|admission| self.0.route(admission));
        let Some(Route { backend, methods, upgrades, informational, response, .. }) = found else {
            let preflight = admission.and_then(|admission| self.0.preflight(admission, request.headers()));
            if let Some(response) = preflight {
                return Either::Right(ready(Ok(response)));
            }
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
        if !informational && self.0.informational {
            request.extensions_mut().remove::<InformationalResponses>();
        }
        if request.headers().contains_key(header::UPGRADE)
            && matches!(backend, Backend::Upstream(..))
            && let Err(denial) = upgrades.decide(&mut request)
        {
            return unserved(&denial, &request);
        }
        match response {
            None => Either::Left(backend.clone().call(request)),
            Some(settings) => Either::Left(settings.clone().call(backend.clone(), request)),
        }
    }
}

fn unserved<F, B>(
    denial: &Denial,
    request: &Request<B>,
) -> Either<F, Ready<Result<Response<GatewayBody>, Infallible>>> {
    let form = ResponseForm::from_headers(request.method(), request.headers());
    Either::Right(ready(Ok(GatewayBody::unserved(denial, form))))
}
