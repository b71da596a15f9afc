//! Finds the route of a request and evaluates its policies.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use axum::Router;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, Response, Uri, header};

use super::{
    GatewayState,
    backend::{Backend, Surfaces},
    cors::{self, Cors},
    lockouts::Lockouts,
    max_forwards,
    path_index::PathIndex,
    resolver::Resolver,
    response_body::GatewayBody,
    route_policies::{CallerPolicies, route_policies},
    route_response::RouteResponse,
    upgrade::UpgradeRules,
    upstream::Upstream,
};
use crate::config::{self, Config};
use portcullis::{
    Admission, Denial, Head, Policy, Stop,
    admission::MatchedRoute,
    normalize_path::{self, PathRules},
    policy::{HeadLimit, Signature, StrictHttp},
};

/// All routes, the most specific first, and the policies that run before all of them.
///
/// This is one policy for the whole gateway: it evaluates the policies for all requests, finds the route, and then
/// evaluates the policies of the route. A request without a route is denied like any other, and one layer decides each
/// request, independently of the number of routes.
pub(super) struct Routes {
    first: (HeadLimit, StrictHttp),
    /// Sorted by host and path.
    all: Vec<Route>,
    /// The name of each route, at the same index; leaked like the names.
    matches: &'static [MatchedRoute],
    /// Like `matches`, for preflight requests that the gateway answers itself. Their indices follow those of all routes,
    /// so that no preflight request is forwarded.
    preflights: &'static [MatchedRoute],
    has_cors: bool,
    by_host: BTreeMap<Box<str>, PathIndex>,
    of_any_host: PathIndex,
    /// The number of steps of the longest chain. It is read for each request.
    steps: u32,
    upstreams: Vec<Arc<Upstream>>,
    /// Set if a route forwards informational responses.
    pub(super) informational: bool,
}

/// A route: the requests that it matches, their policies, and the backend.
pub(super) struct Route {
    /// Leaked on purpose, so that requests need no reference count; a gateway creates its routes once.
    name: &'static str,
    host: Option<Box<str>>,
    path: Box<str>,
    pub(super) methods: Vec<Method>,
    relaxed: PathRules,
    policies: Box<dyn Policy>,
    /// The surface that defines the error format of the route.
    surface: Option<config::Surface>,
    pub(super) backend: Backend,
    pub(super) upgrades: UpgradeRules,
    /// Set if informational responses of the upstream are forwarded.
    pub(super) informational: bool,
    pub(super) response: Option<Arc<RouteResponse>>,
}

impl Policy for Routes {
    fn admit(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        admission.run_step(&self.first, head)?;
        if self.has_cors
            && let Some(at) = self.find_preflight(head, admission)
        {
            admission.set_matched_route(&self.preflights[at]);
            return Ok(());
        }
        let at =
            self.find(host(head), admission.normalized_path(head), head.method, admission.path_violations())?;
        admission.set_matched_route(&self.matches[at]);
        admission.run_step(&self.all[at].policies, head)
    }

    fn steps(&self) -> u32 {
        self.steps
    }
}

impl Route {
    fn cors(&self) -> Option<&Cors> {
        self.response.as_deref().and_then(RouteResponse::cors)
    }

    fn allows_method(&self, method: &Method) -> bool {
        // A route for GET accepts HEAD, too (RFC 9110, section 9.3.2).
        let asked = if method == Method::HEAD { &Method::GET } else { method };
        self.methods.is_empty() || self.methods.contains(method) || self.methods.contains(asked)
    }
}

impl Routes {
    /// Creates the routes of a configuration.
    ///
    /// # Errors
    /// If the certificates for an upstream cannot be used.
    pub(super) fn new<'a>(config: &'a Config, shared: &GatewayState) -> anyhow::Result<Self> {
        let upstream = |(name, upstream): (&'a String, _)| {
            Ok((name.as_str(), Arc::new(Upstream::new(name, upstream, config)?)))
        };
        let upstreams: BTreeMap<&str, _> =
            config.upstreams.iter().map(upstream).collect::<anyhow::Result<_>>()?;
        let lockouts = Lockouts::default();
        let surfaces = Surfaces::new(config, shared, &lockouts);
        let caller_policies =
            CallerPolicies { shared, buffering: Signature::buffering_for(config.limits.pace()), lockouts };
        let route = |(before, route): (usize, &config::Route)| {
            let backend = match route.backend()? {
                config::Backend::Upstream(name) => Backend::Upstream(upstreams.get(name)?.clone()),
                config::Backend::Surface(surface) => Backend::Surface(surfaces.router(surface)),
            };
            Some(Route {
                name: route.name_or(before).leak(),
                host: route.host.as_ref().map(|host| host.as_str().into()),
                path: route.path.as_str().into(),
                methods: route.methods.clone(),
                relaxed: route.relax_path_rules.rules(),
                policies: route_policies(route, config, &caller_policies),
                surface: route.surface,
                backend,
                upgrades: UpgradeRules::new(
                    route.upgrades.as_ref().and_then(config::Toggle::get),
                    config.server.disallowed_upgrades,
                ),
                informational: route.informational_responses,
                response: RouteResponse::new(route),
            })
        };
        // A valid configuration has a backend for every route.
        let mut routes =
            Self::from_routes(config.routes.iter().enumerate().filter_map(route).collect(), config);
        routes.upstreams = upstreams.into_values().collect();
        Ok(routes)
    }

    /// Returns the tasks of the upstreams, which run as long as the gateway.
    pub(super) fn upstream_tasks(&self, resolver: &Resolver) -> impl Iterator<Item = BoxFuture<'static, ()>> {
        self.upstreams.iter().flat_map(|upstream| upstream.tasks(resolver))
    }

    /// Creates a single route, to a surface.
    pub(super) fn only(surface: Router, config: &Config) -> Self {
        let route = Route {
            name: "surface",
            host: None,
            path: "/".into(),
            methods: Vec::new(),
            relaxed: PathRules::NONE,
            policies: Box::new(()),
            surface: None,
            backend: Backend::Surface(surface),
            upgrades: UpgradeRules::new(None, config.server.disallowed_upgrades),
            informational: false,
            response: None,
        };
        Self::from_routes(vec![route], config)
    }

    fn from_routes(mut routes: Vec<Route>, config: &Config) -> Self {
        // Among routes with the same host and path, a route without methods accepts the methods that the others do not.
        routes.sort_by(|one, other| {
            let key = |route: &Route| (route.host.clone(), route.path.clone(), route.methods.is_empty());
            key(one).cmp(&key(other))
        });
        let (mut by_host, mut of_any_host) = (BTreeMap::<_, PathIndex>::new(), PathIndex::default());
        for (at, route) in routes.iter().enumerate() {
            let paths = match &route.host {
                Some(host) => by_host.entry(host.to_ascii_lowercase().into()).or_default(),
                None => &mut of_any_host,
            };
            paths.insert(&route.path, at);
        }
        let limits = &config.limits;
        let head = HeadLimit::new(limits.head_bytes.get() as usize)
            .fields(limits.header_count.get() as usize)
            .target(limits.target_bytes.get() as usize);
        // The rules that at least one route relaxes.
        let relaxed = routes.iter().fold(PathRules::NONE, |rules, route| rules.union(route.relaxed));
        let first = (head, StrictHttp::new().relax(relaxed));
        let longest = routes.iter().map(|route| route.policies.steps()).max();
        let steps = first.steps() + longest.unwrap_or_default();
        let matched = |(at, route): (usize, &Route)| MatchedRoute::new(route.name, at);
        let matches = routes.iter().enumerate().map(matched).collect::<Vec<_>>().leak();
        let informational = routes.iter().any(|route| route.informational);
        let has_cors = routes.iter().any(|route| route.cors().is_some());
        let preflight = |(at, route): (usize, &Route)| MatchedRoute::new(route.name, routes.len() + at);
        let answered = routes.iter().filter(|_| has_cors).enumerate();
        let preflights = answered.map(preflight).collect::<Vec<_>>().leak();
        Self {
            first,
            all: routes,
            matches,
            preflights,
            has_cors,
            by_host,
            of_any_host,
            steps,
            upstreams: Vec::new(),
            informational,
        }
    }

    /// Returns the route that the admission found.
    pub(super) fn route(&self, admission: &Admission) -> Option<&Route> {
        self.all.get(admission.matched_route()?.index())
    }

    /// Returns `true` if a route has settings for its responses.
    pub(super) fn has_responses(&self) -> bool {
        self.all.iter().any(|route| route.response.is_some())
    }

    /// Returns `true` if a route permits scripts of other origins.
    pub(super) fn has_cors(&self) -> bool {
        self.has_cors
    }

    /// Returns the settings for responses of a route, if it has any.
    pub(super) fn response(&self, route: &MatchedRoute) -> Option<&RouteResponse> {
        self.all.get(route.index())?.response.as_deref()
    }

    /// Returns the settings for responses of the first route on a path that has CORS.
    pub(super) fn cors_response(&self, uri: &Uri, host: Option<&HeaderValue>) -> Option<&RouteResponse> {
        let normalized = normalize_path::normalize(uri.path()).ok()?;
        let candidates = self.candidates(host_in(uri, host), &normalized.comparable())?;
        let mut routes = self.all[candidates].iter().filter(|route| route.cors().is_some());
        routes.next()?.response.as_deref()
    }

    /// Returns the response to a preflight request, if the admission found that the request is one.
    pub(super) fn preflight(
        &self,
        admission: &Admission,
        headers: &HeaderMap,
    ) -> Option<Response<GatewayBody>> {
        let at = admission.matched_route()?.index().checked_sub(self.all.len())?;
        Some(self.all.get(at)?.cors()?.preflight(headers))
    }

    /// Returns the route of a preflight request: the one that accepts the requested method, or, if none does, the first
    /// one on the path. `None` if the route has no CORS: then the request is one like any other.
    fn find_preflight(&self, head: &Head<'_>, admission: &Admission) -> Option<usize> {
        if !cors::is_preflight(head) {
            return None;
        }
        let (host, path) = (host(head), admission.normalized_path(head));
        let has_cors = |at: &usize| self.all[*at].cors().is_some();
        let method = cors::requested_method(head.headers);
        let found = method.map(|method| self.find(host, path, &method, admission.path_violations()));
        match found {
            Some(Ok(at)) => Some(at).filter(has_cors),
            None | Some(Err(Denial::MethodNotAllowed { .. })) => self.candidates(host, path)?.find(has_cors),
            Some(Err(_)) => None,
        }
    }

    /// Returns the surface of the route that a denied request is for: the route that the admission found, or else the
    /// first one on its path.
    pub(super) fn surface(&self, head: &Head<'_>, admission: &Admission) -> Option<config::Surface> {
        let found = admission.matched_route().map(MatchedRoute::index);
        let path = || Some(self.candidates(host(head), admission.normalized_path(head))?.start);
        self.all.get(found.or_else(path)?)?.surface
    }

    /// Returns the routes of the longest matching path. Routes with the request's host take precedence over routes for
    /// any host.
    fn candidates(&self, host: Option<&str>, path: &str) -> Option<Range<usize>> {
        let of_host = host.filter(|_| !self.by_host.is_empty()).and_then(|host| {
            // A host name may end with the dot of the root domain.
            let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
            self.by_host.get(&*host)?.find(path)
        });
        of_host.or_else(|| self.of_any_host.find(path))
    }

    /// Returns the route, among the routes of the path, that accepts the method.
    fn find(
        &self,
        host: Option<&str>,
        path: &str,
        method: &Method,
        breaks: PathRules,
    ) -> Result<usize, Denial> {
        let fitting = self.candidates(host, path).ok_or(Denial::NotFound)?;
        // TRACE returns the request as the upstream received it, including credentials of the gateway, to any client
        // (RFC 9110, section 9.3.8). It is never forwarded, whatever its `Max-Forwards`.
        let matching =
            (!is_trace(method)).then(|| fitting.clone().find(|at| self.all[*at].allows_method(method)));
        if let Some(at) = matching.flatten() {
            let broken = breaks.difference(self.all[at].relaxed);
            return if broken.is_empty() { Ok(at) } else { Err(StrictHttp::violation(broken)) };
        }
        let routes = &self.all[fitting];
        let takes_all = routes.iter().any(|route| route.methods.is_empty());
        let methods = routes.iter().filter(|_| !takes_all).flat_map(|route| &route.methods);
        let methods: Vec<Method> = methods.filter(|method| !is_trace(method)).cloned().collect();
        let allow = max_forwards::allow(&methods);
        Err(Denial::MethodNotAllowed { allow })
    }
}

/// Returns `true` for TRACE, and for its name on some servers, TRACK.
fn is_trace(method: &Method) -> bool {
    *method == Method::TRACE || method.as_str() == "TRACK"
}

/// Returns the host of a request: from the target, or else from the `Host` header.
fn host<'h>(head: &Head<'h>) -> Option<&'h str> {
    host_in(head.uri, head.headers.get(header::HOST))
}

fn host_in<'h>(uri: &'h Uri, header: Option<&'h HeaderValue>) -> Option<&'h str> {
    uri.host().or_else(|| Some(host_of(header?.to_str().ok()?)))
}

/// Returns the host of a `Host` header without its port. An IPv6 address keeps its brackets.
fn host_of(value: &str) -> &str {
    match value.rfind(':') {
        Some(at) if !value[at..].contains(']') => &value[..at],
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_header_may_have_a_port() {
        for (value, host) in [
            ("a.example", "a.example"),
            ("a.example:80", "a.example"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(host_of(value), host);
        }
    }
}
