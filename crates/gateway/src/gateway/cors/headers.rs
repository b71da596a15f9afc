//! The header lists of a route's CORS settings.

use http::{HeaderName, HeaderValue, Method, header};

use crate::config::{self, HeaderList, Surface, Toggle};
use portcullis::{
    policy::{KeySource, RateLimitFields},
    signature::{X_SDK_CONTENT_SHA256, X_SDK_DATE},
};

/// The methods of a route that accepts all of them: the methods that HTTP defines for resources.
const ALL_METHODS: [Method; 6] =
    [Method::DELETE, Method::GET, Method::HEAD, Method::PATCH, Method::POST, Method::PUT];

/// The request headers that scripts may set on every route: those that need no permission for plain values, and the
/// conditions of requests. Other headers may have a meaning for the upstream that the operator does not expect.
const REQUEST_HEADERS: [HeaderName; 7] = [
    header::ACCEPT,
    header::ACCEPT_LANGUAGE,
    header::CONTENT_LANGUAGE,
    header::CONTENT_TYPE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::RANGE,
];

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const X_AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// Returns the value of a header that lists names, or `None` for no names.
pub(super) fn list(names: &[&str]) -> Option<HeaderValue> {
    HeaderValue::try_from(names.join(", ")).ok().filter(|_| !names.is_empty())
}

/// Returns the methods that scripts may use. GET includes HEAD, as in a route.
pub(super) fn methods(settings: &config::Cors, route: &config::Route) -> Vec<Method> {
    let mut methods = match (&settings.methods[..], &route.methods[..]) {
        ([], []) => ALL_METHODS.to_vec(),
        ([], methods) | (methods, _) => methods.to_vec(),
    };
    if methods.contains(&Method::GET) {
        methods.push(Method::HEAD);
    }
    methods.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    methods.dedup();
    methods
}

/// Returns the value of `Access-Control-Allow-Headers`.
pub(super) fn allowed(settings: &HeaderList, route: &config::Route) -> Option<HeaderValue> {
    let mut names = REQUEST_HEADERS.to_vec();
    names.extend(credential_headers(route));
    // `*` does not include `Authorization`.
    let beside_any = [header::AUTHORIZATION];
    value(settings, names, &beside_any)
}

/// Returns the value of `Access-Control-Expose-Headers`.
pub(super) fn exposed(settings: &HeaderList, route: &config::Route) -> Option<HeaderValue> {
    value(settings, reporting_headers(route), &[])
}

fn value(settings: &HeaderList, default: Vec<HeaderName>, beside_any: &[HeaderName]) -> Option<HeaderValue> {
    let mut names = settings.names.clone();
    if settings.has_default {
        names.extend(default);
    }
    if settings.has_any {
        names.extend_from_slice(beside_any);
    }
    let mut names: Vec<_> =
        names.iter().map(HeaderName::as_str).chain(settings.has_any.then_some("*")).collect();
    names.sort_unstable();
    names.dedup();
    list(&names)
}

/// Returns the headers that contain credentials and signatures for the route.
fn credential_headers(route: &config::Route) -> Vec<HeaderName> {
    let policies = &route.policies;
    let mut names = vec![header::AUTHORIZATION];
    if let Some(policy) = policies.api_key() {
        let sources = policy.sources.iter().filter_map(|source| match &source.0 {
            KeySource::Field(name) => Some(name.clone()),
            KeySource::Authorization(_) => None,
        });
        names.extend(sources);
        if policy.sources.is_empty() {
            names.push(X_API_KEY);
        }
    }
    match route.surface {
        Some(Surface::Discue) => names.push(X_API_KEY),
        Some(Surface::Apig) => names.push(X_AUTH_TOKEN),
        Some(Surface::Docs) | None => {}
    }
    if policies.signature().is_some() || route.surface == Some(Surface::Apig) {
        names.extend([X_SDK_DATE.clone(), X_SDK_CONTENT_SHA256.clone()]);
    }
    names
}

/// Returns the headers with which the gateway explains its responses to the client.
fn reporting_headers(route: &config::Route) -> Vec<HeaderName> {
    let mut names = vec![header::RETRY_AFTER, HeaderName::from_static("x-request-id")];
    let policies = &route.policies;
    if policies.api_key().is_some() || policies.signature().is_some() {
        names.extend([HeaderName::from_static("deprecation"), HeaderName::from_static("sunset")]);
    }
    let fields = match (&policies.rate_limit, route.surface) {
        (_, Some(Surface::Discue)) => RateLimitFields { ietf_draft_10: false, x_ratelimit: true },
        (limit, None) => match limit.as_ref().and_then(Toggle::get) {
            Some(limit) => (*limit).into(),
            None => RateLimitFields { ietf_draft_10: false, x_ratelimit: false },
        },
        _ => RateLimitFields { ietf_draft_10: false, x_ratelimit: false },
    };
    if fields.ietf_draft_10 {
        names.extend(["ratelimit", "ratelimit-policy"].map(HeaderName::from_static));
    }
    if fields.x_ratelimit {
        let parts = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
        names.extend(parts.map(HeaderName::from_static));
    }
    names
}
