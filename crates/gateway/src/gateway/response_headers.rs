//! The headers that the settings of a route add to its responses, including denials.

use std::sync::Arc;

use http::{HeaderValue, Request, Response, Uri, header};

use super::{cors, request_id::OwnAnswer, route_response::RouteResponse, router::Routes};
use portcullis::Admission;

/// Sets the headers of the response to one request.
pub(super) struct ResponseHeaders {
    routes: Arc<Routes>,
    secure: bool,
    /// Boxed, because only scripts of other origins send such requests.
    cross_origin: Option<Box<CrossOrigin>>,
}

/// The parts of a request from a script of another origin that its response needs.
struct CrossOrigin {
    origin: HeaderValue,
    uri: Uri,
    host: Option<HeaderValue>,
}

impl ResponseHeaders {
    /// Reads the request. `secure` is whether the client uses TLS.
    pub(super) fn new<B>(routes: &Arc<Routes>, secure: bool, request: &Request<B>) -> Self {
        let headers = request.headers();
        let origin = cors::origin(headers).filter(|_| routes.has_cors());
        let cross_origin = |origin: &HeaderValue| {
            let host = headers.get(header::HOST).cloned();
            Box::new(CrossOrigin { origin: origin.clone(), uri: request.uri().clone(), host })
        };
        Self { routes: routes.clone(), secure, cross_origin: origin.map(cross_origin) }
    }

    /// Sets the headers of the response, if its route has settings for them.
    pub(super) fn set<B>(&self, response: &mut Response<B>) {
        let extensions = response.extensions_mut();
        let served = extensions.remove::<Arc<RouteResponse>>();
        let matched = extensions.get::<Admission>().and_then(Admission::matched_route);
        let is_own = extensions.get::<OwnAnswer>().is_some();
        let cross_origin = self.cross_origin.as_deref();
        let settings = match (&served, matched, cross_origin) {
            (Some(served), _, _) => Some(&**served),
            (None, Some(route), _) => self.routes.response(route),
            // A denial before the route was found, such as 405.
            (None, None, Some(CrossOrigin { uri, host, .. })) if !is_own => {
                self.routes.cors_response(uri, host.as_ref())
            }
            _ => None,
        };
        if let Some(settings) = settings {
            let origin = cross_origin.map(|request| &request.origin);
            settings.set_headers(origin, self.secure, response.headers_mut());
        }
    }
}
