//! Responses that the gateway makes without a service: redirects and fixed responses.

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header, uri::Authority};

use super::{
    client_addr::ClientAddr, path_rewrite::PathRewrite, request_id::OwnAnswer, response_body::GatewayBody,
};
use crate::config::{self, Scheme};
use portcullis::{Denial, tower::ResponseBody};

/// A response that the gateway makes without a service.
#[derive(Debug)]
pub(super) enum LocalResponse {
    Fixed { status: StatusCode, content_type: HeaderValue, body: Bytes },
    Redirect(Redirect),
}

/// A redirect to another URL.
#[derive(Debug)]
pub(super) struct Redirect {
    status: StatusCode,
    scheme: Option<Scheme>,
    host: Option<Authority>,
    path: PathRewrite,
    keep_query: bool,
}

impl LocalResponse {
    /// Creates the response of a route that has no service.
    pub(super) fn new(route: &config::Route) -> Option<Self> {
        if let Some(fixed) = &route.respond {
            return Some(Self::Fixed {
                status: fixed.status,
                content_type: fixed.content_type.clone(),
                body: fixed.body.clone().into(),
            });
        }
        let redirect = route.redirect.as_ref()?;
        let (add, path) = (redirect.add_prefix.as_ref(), redirect.path.as_ref());
        Some(Self::Redirect(Redirect {
            status: redirect.status,
            scheme: redirect.scheme,
            host: redirect.host.clone(),
            path: PathRewrite::new(route, &redirect.strip_prefix, add, path, redirect.regex.as_ref()),
            keep_query: redirect.keep_query,
        }))
    }

    /// Returns the response to a request.
    ///
    /// # Errors
    /// Returns 400 if the path cannot be rewritten or the host is unknown, and 404 for a redirect to the same URL.
    pub(super) fn respond<B>(&self, request: &Request<B>) -> Result<Response<GatewayBody>, Denial> {
        let mut response = match self {
            Self::Fixed { status, content_type, body } => {
                let mut response = Response::new(GatewayBody::Local(ResponseBody::refusal(body.clone())));
                *response.status_mut() = *status;
                if !body.is_empty() {
                    response.headers_mut().insert(header::CONTENT_TYPE, content_type.clone());
                }
                response
            }
            Self::Redirect(redirect) => {
                let location = redirect.location(request)?;
                let mut response = Response::new(GatewayBody::empty());
                *response.status_mut() = redirect.status;
                response.headers_mut().insert(header::LOCATION, location);
                response
            }
        };
        response.extensions_mut().insert(OwnAnswer);
        Ok(response)
    }
}

impl Redirect {
    fn location<B>(&self, request: &Request<B>) -> Result<HeaderValue, Denial> {
        let uri = request.uri();
        let changed = self.path.apply(uri.path())?;
        let path = changed.as_deref().unwrap_or(uri.path());
        let query =
            uri.query().filter(|_| self.keep_query).map(|query| format!("?{query}")).unwrap_or_default();
        let secure = request.extensions().get::<ClientAddr>().is_some_and(|client| client.secure);
        let own = if secure { Scheme::Https } else { Scheme::Http };
        let scheme = self.scheme.unwrap_or(own);
        let asked = authority(request);
        if self.scheme.is_none() && self.host.is_none() {
            return valid(format!("{path}{query}"), path != uri.path());
        }
        let asked = asked.ok_or_else(|| Denial::bad_request("The request has no valid host."))?;
        let host = match &self.host {
            Some(host) => host.as_str(),
            // The port of the request belongs to its scheme.
            None if scheme != own => asked.host(),
            None => asked.as_str(),
        };
        let is_other = scheme != own || path != uri.path() || !host.eq_ignore_ascii_case(asked.as_str());
        valid(format!("{}://{host}{path}{query}", scheme.name()), is_other)
    }
}

/// Returns the value of `Location`. A client would follow a redirect to the same URL until it gives up.
fn valid(location: String, is_other: bool) -> Result<HeaderValue, Denial> {
    if !is_other {
        return Err(Denial::NotFound);
    }
    HeaderValue::try_from(location).map_err(|_| Denial::bad_request("The request target is not valid."))
}

/// Returns the host and port of a request.
fn authority<B>(request: &Request<B>) -> Option<Authority> {
    let field = || request.headers().get(header::HOST)?.to_str().ok()?.parse().ok();
    let authority = request.uri().authority().cloned().or_else(field);
    authority.filter(|authority| !authority.as_str().contains('@'))
}
