//! The settings of a route for its responses, including denials.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Request};
use tower_service::Service;

use super::{
    backend::{Backend, BackendFuture},
    client_body::ClientBody,
    compression::Compression,
    cors::Cors,
    security_headers::SecurityHeaders,
};
use crate::config::{self, Toggle};
use portcullis::tower::RequestBody;

/// The settings of a route for its responses.
#[derive(Debug)]
pub(super) struct RouteResponse {
    cors: Option<Cors>,
    security_headers: Option<SecurityHeaders>,
    compression: Option<Compression>,
}

impl RouteResponse {
    /// Creates the settings of a route, if it has any.
    pub(super) fn new(route: &config::Route) -> Option<Arc<Self>> {
        let cors = route.cors.as_ref().map(|settings| Cors::new(settings, route));
        let security_headers =
            route.security_headers.as_ref().and_then(Toggle::get).map(SecurityHeaders::new);
        let compression = route.compression.as_ref().and_then(Toggle::get).map(Compression::new);
        let has_some = cors.is_some() || security_headers.is_some() || compression.is_some();
        has_some.then(|| Arc::new(Self { cors, security_headers, compression }))
    }

    pub(super) fn cors(&self) -> Option<&Cors> {
        self.cors.as_ref()
    }

    /// Sends a request to the backend of the route.
    pub(super) fn call(
        self: Arc<Self>,
        mut backend: Backend,
        request: Request<RequestBody<ClientBody>>,
    ) -> BackendFuture {
        let compression = self.compression.as_ref();
        let negotiated =
            compression.map(|compression| compression.negotiate(request.method(), request.headers()));
        let response = backend.call(request);
        let is_surface = matches!(backend, Backend::Surface(_));
        if negotiated.is_none() && !is_surface {
            return response;
        }
        Box::pin(async move {
            let mut response = response.await?;
            if let (Some(compression), Some(negotiated)) = (&self.compression, negotiated) {
                response = compression.compress(negotiated, response).await;
            }
            // The response of a surface has the surface's own admission, which does not know the route.
            if is_surface {
                response.extensions_mut().insert(self);
            }
            Ok(response)
        })
    }

    /// Sets the headers of a response to a request of this origin. `secure` is whether the client uses TLS.
    pub(super) fn set_headers(&self, origin: Option<&HeaderValue>, secure: bool, headers: &mut HeaderMap) {
        if let Some(cors) = &self.cors {
            cors.set_headers(origin, headers);
        }
        if let Some(security_headers) = &self.security_headers {
            security_headers.add(secure, headers);
        }
    }
}
