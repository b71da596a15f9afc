//! CORS: permits scripts of other origins to call a route (the CORS protocol of the Fetch standard, section 3.3).

mod headers;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

use super::{response_body::GatewayBody, vary::add_vary};
use crate::config::{self, AllowedOrigin};
use portcullis::{Head, header_value};

static ANY: HeaderValue = HeaderValue::from_static("*");
static TRUE: HeaderValue = HeaderValue::from_static("true");
static ORIGIN: HeaderValue = HeaderValue::from_static("origin");
static PREFLIGHT_VARY: HeaderValue = HeaderValue::from_static("origin, access-control-request-method");

/// The CORS headers of responses. Those of the upstream are removed, because browsers reject repeated ones.
static RESPONSE_HEADERS: [HeaderName; 7] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
    HeaderName::from_static("access-control-allow-private-network"),
];

/// The CORS settings of a route, with the values of its response headers.
#[derive(Debug)]
pub(super) struct Cors {
    origins: Vec<AllowedOrigin>,
    credentials: bool,
    methods: Vec<Method>,
    allow_headers: Option<HeaderValue>,
    expose_headers: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
}

/// Returns `true` for a CORS preflight request. Browsers send it without credentials.
pub(super) fn is_preflight(head: &Head<'_>) -> bool {
    *head.method == Method::OPTIONS
        && head.headers.contains_key(header::ORIGIN)
        && head.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Returns the method that a preflight request asks for, if it is valid.
pub(super) fn requested_method(headers: &HeaderMap) -> Option<Method> {
    Method::from_bytes(single(headers, &header::ACCESS_CONTROL_REQUEST_METHOD)?.as_bytes()).ok()
}

/// Returns the origin of a request, if there is exactly one.
pub(super) fn origin(headers: &HeaderMap) -> Option<&HeaderValue> {
    single(headers, &header::ORIGIN)
}

fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

impl Cors {
    pub(super) fn new(settings: &config::Cors, route: &config::Route) -> Self {
        let methods = headers::methods(settings, route);
        Self {
            origins: settings.origins.clone(),
            credentials: settings.credentials,
            methods,
            allow_headers: headers::allowed(&settings.headers, route),
            expose_headers: headers::exposed(&settings.expose_headers, route),
            max_age: settings.max_age.map(|age| header_value::from_u64(age.duration().as_secs())),
        }
    }

    /// Returns the response to a preflight request. If the origin or the method is not allowed, the response has no
    /// CORS headers, and the browser does not send the request.
    pub(super) fn preflight(&self, request: &HeaderMap) -> Response<GatewayBody> {
        let mut response = Response::new(GatewayBody::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(header::VARY, PREFLIGHT_VARY.clone());
        // Only the requested method: browsers remember the others, too, but another route of the path may serve them.
        let method = requested_method(request).filter(|method| self.methods.contains(method));
        if let Some(method) = method.and_then(|method| HeaderValue::from_str(method.as_str()).ok())
            && self.allow_origin(origin(request), headers)
        {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, method);
            for (name, value) in [
                (header::ACCESS_CONTROL_ALLOW_HEADERS, &self.allow_headers),
                (header::ACCESS_CONTROL_MAX_AGE, &self.max_age),
            ] {
                if let Some(value) = value {
                    headers.insert(name, value.clone());
                }
            }
        }
        response
    }

    /// Replaces the CORS headers of a response to a request of this origin.
    pub(super) fn set_headers(&self, origin: Option<&HeaderValue>, response: &mut HeaderMap) {
        for name in &RESPONSE_HEADERS {
            response.remove(name);
        }
        // If every origin is allowed, the response is the same for all of them.
        if !self.allows_any() {
            add_vary(response, &ORIGIN);
        }
        if self.allow_origin(origin, response)
            && let Some(exposed) = &self.expose_headers
        {
            response.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
        }
    }

    /// Adds the headers that allow an origin. Returns `false` if the origin is not allowed.
    fn allow_origin(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) -> bool {
        let allowed = if self.allows_any() {
            &ANY
        } else {
            let allows =
                |origin: &&HeaderValue| self.origins.iter().any(|allowed| allowed.matches(origin.as_bytes()));
            let Some(origin) = origin.filter(allows) else { return false };
            origin
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed.clone());
        if self.credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE.clone());
        }
        true
    }

    fn allows_any(&self) -> bool {
        matches!(self.origins[..], [AllowedOrigin::Any])
    }
}
