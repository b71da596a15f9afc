//! Sends a request to the backend of its route: an upstream or a surface. The route was found during admission, by
//! [`Routes`] as a policy.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::Router;
use futures_util::future::Either;
use http::{Method, Request, Response};
use tower_service::Service;

use super::{
    GatewayState,
    client_addr::ClientAddr,
    client_body::ClientBody,
    forward::Forward,
    lockouts::Lockouts,
    max_forwards::{self, Next},
    request_id::OwnAnswer,
    response_body::GatewayBody,
    routes::Routes,
};
use crate::config::{self, Config};
use portcullis::{Admission, Denial, tower::RequestBody};
use portcullis_surfaces::{apig, discue, documentation};

/// The surfaces. Each is created once and shared by all routes to it.
pub(super) struct Surfaces {
    discue: Router,
    apig: Router,
    docs: Router,
}

impl Surfaces {
    pub(super) fn new(config: &Config, shared: &GatewayState, lockouts: &Lockouts) -> Self {
        let discue = discue::router(discue::Discue {
            registry: shared.registry.clone(),
            directory: shared.directory.clone(),
            clock: shared.clock.clone(),
            base_url: config.surfaces.discue.base_url.clone(),
            peer: ClientAddr::peer_of,
            lockout: lockouts.get(&config.surfaces.discue.lockout),
            disabled_operations: config.surfaces.discue.disabled_operations.clone(),
        });
        let apig = apig::router(apig::Apig {
            registry: shared.registry.clone(),
            directory: shared.directory.clone(),
            clock: shared.clock.clone(),
            sealer: shared.sealer.clone(),
            app_codes: config.surfaces.apig.app_codes,
            throttles: config.surfaces.apig.throttles,
            quotas: config.surfaces.apig.quotas,
            lockout: lockouts.get(&config.surfaces.apig.lockout),
            apis: config.routes.iter().filter_map(config::Route::grant_name).collect(),
            peer: ClientAddr::peer_of,
        });
        let docs = documentation([("discue", discue::description())].into_iter().chain(apig::descriptions()));
        Self { discue, apig, docs }
    }

    pub(super) fn router(&self, surface: config::Surface) -> Router {
        match surface {
            config::Surface::Discue => self.discue.clone(),
            config::Surface::Apig => self.apig.clone(),
            config::Surface::Docs => self.docs.clone(),
        }
    }
}

/// The backend of a route.
#[derive(Clone)]
pub(super) enum Backend {
    Forward(Forward),
    Surface(Router),
}

impl Service<Request<RequestBody<ClientBody>>> for Backend {
    type Response = Response<GatewayBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<GatewayBody>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody<ClientBody>>) -> Self::Future {
        match self {
            Self::Forward(forward) => forward.call(request),
            Self::Surface(router) => {
                let answer = router.call(request);
                Box::pin(async move {
                    let mut answer = answer.await?.map(GatewayBody::Surface);
                    answer.extensions_mut().insert(OwnAnswer);
                    Ok(answer)
                })
            }
        }
    }
}

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
            return Either::Right(ready(Ok(GatewayBody::unserved(&denial))));
        };
        if *request.method() == Method::OPTIONS && matches!(backend, Backend::Forward(_)) {
            match max_forwards::count_down(request.headers_mut()) {
                Ok(Next::Forward) => {}
                Ok(Next::Answer) => return Either::Right(ready(Ok(max_forwards::options(methods)))),
                Err(denial) => return Either::Right(ready(Ok(GatewayBody::unserved(&denial)))),
            }
        }
        Either::Left(backend.clone().call(request))
    }
}
