//! The backend of a route: an upstream, a surface, or the gateway itself.

use std::{
    convert::Infallible,
    future::{Future, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::Router;
use http::{Request, Response, StatusCode};
use tower_service::Service;

use super::{
    GatewayState,
    client_addr::ClientAddr,
    client_body::ClientBody,
    local_response::LocalResponse,
    request_id::OwnAnswer,
    response_body::GatewayBody,
    rewrite::Rewrite,
    upstream::{Upstream, UpstreamBody},
};
use crate::config::{self, Config};
use portcullis::{Denial, problem::ResponseForm, tower::RequestBody};
use portcullis_surfaces::{apig, discue, documentation};

/// The surfaces. Each is created once and shared by all routes to it.
pub(super) struct Surfaces {
    discue: Router,
    apig: Router,
    docs: Router,
}

impl Surfaces {
    pub(super) fn new(config: &Config, shared: &GatewayState) -> Self {
        let discue = discue::router(discue::Discue {
            registry: shared.registry.clone(),
            directory: shared.directory.clone(),
            clock: shared.clock.clone(),
            base_url: config.surfaces.discue.base_url.clone(),
            peer: ClientAddr::peer_of,
            lockout: shared.lockouts.get(&config.surfaces.discue.lockout),
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
            lockout: shared.lockouts.get(&config.surfaces.apig.lockout),
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

/// The future of a response.
pub(super) type BackendFuture =
    Pin<Box<dyn Future<Output = Result<Response<GatewayBody>, Infallible>> + Send>>;

/// The backend of a route.
#[derive(Clone)]
pub(super) enum Backend {
    /// An upstream, with the changes to requests and responses, if there are any.
    Upstream(Arc<Upstream>, Option<Arc<Rewrite>>),
    Surface(Router),
    Local(Arc<LocalResponse>),
}

impl Service<Request<RequestBody<ClientBody>>> for Backend {
    type Response = Response<GatewayBody>;
    type Error = Infallible;
    type Future = BackendFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody<ClientBody>>) -> Self::Future {
        match self {
            Self::Upstream(upstream, rewrite) => {
                let (upstream, rewrite) = (upstream.clone(), rewrite.clone());
                let form = ResponseForm::from_headers(request.method(), request.headers());
                let forwarded = match upstream.forward(request, form, rewrite.as_deref()) {
                    Ok(forwarded) => forwarded,
                    Err(denial) => return Box::pin(ready(Ok(upstream_response(Err(denial), form)))),
                };
                Box::pin(async move {
                    let mut forwarded = forwarded.await;
                    if let (Some(rewrite), Ok(response)) = (&rewrite, &mut forwarded) {
                        rewrite.apply_to_response(response.headers_mut());
                    }
                    Ok(upstream_response(forwarded, form))
                })
            }
            Self::Surface(router) => {
                let answer = router.call(request);
                Box::pin(async move {
                    let mut answer = answer.await?.map(GatewayBody::Surface);
                    answer.extensions_mut().insert(OwnAnswer);
                    Ok(answer)
                })
            }
            Self::Local(local) => {
                let form = ResponseForm::from_headers(request.method(), request.headers());
                let response =
                    local.respond(&request).unwrap_or_else(|denial| GatewayBody::unserved(&denial, form));
                Box::pin(ready(Ok(response)))
            }
        }
    }
}

/// Returns the response to a forwarded request; a denial has the form that the request needs.
fn upstream_response(
    forwarded: Result<Response<UpstreamBody>, Denial>,
    form: ResponseForm,
) -> Response<GatewayBody> {
    match forwarded {
        // hyper sends no content with a 205 on HTTP/1.1, but would on HTTP/2.
        Ok(response) if response.status() == StatusCode::RESET_CONTENT => {
            response.map(|_| GatewayBody::empty())
        }
        Ok(response) => response.map(GatewayBody::Upstream),
        // The client aborted its body after the upstream had begun to read it. That counts towards the client's limits:
        // otherwise the client could load the upstream for free.
        Err(denial @ (Denial::BadRequest { .. } | Denial::RequestTimeout)) => {
            GatewayBody::denial_response(&denial, form)
        }
        Err(denial) => GatewayBody::unserved(&denial, form),
    }
}
