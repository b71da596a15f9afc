//! Finds the route of a request and evaluates its policies.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use axum::Router;
use http::{HeaderMap, HeaderValue, Method, Response, Uri, header};

use super::{
    GatewayState,
    backend::{Backend, Surfaces},
    cors::{self, Cors},
    host_index::{self, HostIndex},
    local_response::LocalResponse,
    maintenance, max_forwards,
    response_body::GatewayBody,
    rewrite::Rewrite,
    route_policies::{CallerPolicies, route_policies},
    route_response::RouteResponse,
    upstream::UpgradeRules,
    upstreams::Upstreams,
};
use crate::config::{self, Config, HeaderConditions, PathMatch, QueryConditions};
use portcullis::{
    Admission, Denial, Head, Policy, Stop,
    admission::MatchedRoute,
    normalize_path::{self, PathRules},
    policy::{HeadLimit, StrictHttp},
};

/// All routes, the most specific first, and the policies that run before all of them.
///
/// This is one policy for the whole gateway: it evaluates the policies for all requests, finds the route, and then
/// evaluates the policies of the route. A request without a route is denied like any other, and one layer decides each
/// request, independently of the number of routes.
pub(super) struct Routes {
    first: (HeadLimit, StrictHttp),
    /// In the order of precedence.
    all: Vec<Route>,
    /// The name of each route, at the same index.
    matches: Vec<&'static MatchedRoute>,
    /// Like `matches`, for preflight requests that the gateway answers itself. Their indices follow those of all routes,
    /// so that no preflight request is forwarded.
    preflights: Vec<&'static MatchedRoute>,
    has_cors: bool,
    hosts: HostIndex,
    /// The number of steps of the longest chain. It is read for each request.
    steps: u32,
    /// Set if a route forwards informational responses.
    pub(super) informational: bool,
}

/// A route: the requests that it matches, their policies, and the backend.
pub(super) struct Route {
    /// Boxed, because most routes have none.
    conditions: Option<Box<(HeaderConditions, QueryConditions)>>,
    pub(super) methods: Vec<Method>,
    relaxed: PathRules,
    /// Boxed, because most routes have none.
    maintenance: Option<Box<config::Maintenance>>,
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
            admission.set_matched_route(self.preflights[at]);
            return Ok(());
        }
        let (path, breaks) = (admission.normalized_path(head), admission.path_violations());
        let at = self.find(head, head.method, path, breaks)?;
        admission.set_matched_route(self.matches[at]);
        let route = &self.all[at];
        if let Some(maintenance) = &route.maintenance {
            maintenance::check(maintenance, head)?;
        }
        admission.run_step(&route.policies, head)
    }

    fn steps(&self) -> u32 {
        self.steps
    }
}

impl Route {
    fn cors(&self) -> Option<&Cors> {
        self.response.as_deref().and_then(RouteResponse::cors)
    }

    fn matches(&self, head: &Head<'_>) -> bool {
        self.conditions.as_ref().is_none_or(|conditions| {
            let (headers, query) = &**conditions;
            headers.match_headers(head.headers) && query.match_query(head.original.query())
        })
    }

    fn allows_method(&self, method: &Method) -> bool {
        // A route for GET accepts HEAD, too (RFC 9110, section 9.3.2).
        let asked = if method == Method::HEAD { &Method::GET } else { method };
        self.methods.is_empty() || self.methods.contains(method) || self.methods.contains(asked)
    }
}

impl Routes {
    /// Creates the routes of a configuration to its upstreams.
    pub(super) fn new(config: &Config, shared: &GatewayState, upstreams: &Upstreams) -> Self {
        let surfaces = Surfaces::new(config, shared);
        let caller_policies =
            CallerPolicies { shared, buffering: shared.buffering.get(config.limits.pace()) };
        let route = |(before, route): (usize, &config::Route)| {
            let backend = match route.backend()? {
                config::Backend::Upstream(name) => {
                    Backend::Upstream(upstreams.get(name)?.clone(), Rewrite::new(route))
                }
                config::Backend::Surface(surface) => Backend::Surface(surfaces.router(surface)),
                config::Backend::Redirect | config::Backend::Respond => {
                    Backend::Local(Arc::new(LocalResponse::new(route)?))
                }
            };
            let conditions = (route.headers.clone(), route.query.clone());
            Some(Route {
                conditions: route.has_conditions().then(|| Box::new(conditions)),
                methods: route.methods.clone(),
                relaxed: route.relax_path_rules.rules(),
                maintenance: route
                    .maintenance
                    .as_ref()
                    .and_then(config::Toggle::get)
                    .map(maintenance::new)
                    .map(Box::new),
                policies: route_policies(route, config, &caller_policies),
                surface: route.surface,
                backend,
                upgrades: UpgradeRules::new(
                    route.upgrades.as_ref().and_then(config::Toggle::get),
                    config.server.disallowed_upgrades,
                    shared.upgrades.get(&route.name_or(before)),
                ),
                informational: route.informational_responses,
                response: RouteResponse::new(route),
            })
        };
        let mut order: Vec<_> = config.routes.iter().enumerate().collect();
        order.sort_by(|(_, one), (_, other)| one.compare(other));
        let (mut routes, mut names, mut hosts) = (Vec::new(), Vec::new(), HostIndex::default());
        for (before, defined) in order {
            // A valid configuration has a backend for every route.
            if let Some(route) = route((before, defined)) {
                hosts.insert(defined.host.as_ref(), &defined.path, routes.len());
                routes.push(route);
                names.push(defined.name_or(before));
            }
        }
        Self::from_routes(routes, &names, hosts, config)
    }

    /// Creates a single route, to a surface.
    pub(super) fn only(surface: Router, config: &Config) -> Self {
        let route = Route {
            conditions: None,
            methods: Vec::new(),
            relaxed: PathRules::NONE,
            maintenance: None,
            policies: Box::new(()),
            surface: None,
            backend: Backend::Surface(surface),
            upgrades: UpgradeRules::new(None, config.server.disallowed_upgrades, Arc::default()),
            informational: false,
            response: None,
        };
        let mut hosts = HostIndex::default();
        hosts.insert(None, &PathMatch::root(), 0);
        Self::from_routes(vec![route], &["surface".to_owned()], hosts, config)
    }

    fn from_routes(routes: Vec<Route>, names: &[String], hosts: HostIndex, config: &Config) -> Self {
        let limits = &config.limits;
        let head = HeadLimit::new(limits.head_bytes.get() as usize)
            .fields(limits.header_count.get() as usize)
            .target(limits.target_bytes.get() as usize);
        // The rules that at least one route relaxes.
        let relaxed = routes.iter().fold(PathRules::NONE, |rules, route| rules.union(route.relaxed));
        let first = (head, StrictHttp::new().relax(relaxed));
        let longest = routes.iter().map(|route| route.policies.steps()).max();
        let steps = first.steps() + longest.unwrap_or_default();
        let matches = names.iter().enumerate().map(|(at, name)| matched_route(name, at)).collect();
        let informational = routes.iter().any(|route| route.informational);
        let has_cors = routes.iter().any(|route| route.cors().is_some());
        let answered = names.iter().filter(|_| has_cors).enumerate();
        let preflights = answered.map(|(at, name)| matched_route(name, routes.len() + at)).collect();
        Self { first, all: routes, matches, preflights, has_cors, hosts, steps, informational }
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
        let host = || host_index::host_in(uri, host);
        let first = |candidates: Range<usize>| {
            let mut routes = self.all[candidates].iter();
            Some(routes.find(|route| route.cors().is_some()).and_then(|route| route.response.as_deref()))
        };
        self.hosts.find_map(host, &normalized.comparable(), first).flatten()
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
        let path = admission.normalized_path(head);
        let has_cors = |at: &usize| self.all[*at].cors().is_some();
        let method = cors::requested_method(head.headers);
        let found = method.map(|method| self.find(head, &method, path, admission.path_violations()));
        match found {
            Some(Ok(at)) => Some(at).filter(has_cors),
            None | Some(Err(Denial::MethodNotAllowed { .. })) => {
                let first = |candidates| Some(self.matching(head, candidates)?.1.find(has_cors));
                self.hosts.find_map(|| host(head), path, first).flatten()
            }
            Some(Err(_)) => None,
        }
    }

    /// Returns the surface of the route that a denied request is for: the route that the admission found, or else the
    /// first one on its path.
    pub(super) fn surface(&self, head: &Head<'_>, admission: &Admission) -> Option<config::Surface> {
        let found = admission.matched_route().map(MatchedRoute::index);
        let first = |candidates: Range<usize>| Some(self.matching(head, candidates)?.0);
        let path = || self.hosts.find_map(|| host(head), admission.normalized_path(head), first);
        self.all.get(found.or_else(path)?)?.surface
    }

    /// Returns the routes, among those of one host and path, whose conditions a request satisfies: the position of the
    /// first one, and all of them.
    fn matching<'r>(
        &'r self,
        head: &'r Head<'_>,
        candidates: Range<usize>,
    ) -> Option<(usize, impl Iterator<Item = usize> + Clone + use<'r>)> {
        let mut matching = candidates.filter(|at| self.all[*at].matches(head));
        let all = matching.clone();
        Some((matching.next()?, all))
    }

    /// Returns the route that accepts a request: among the routes of the most specific host and path that have
    /// satisfied conditions, the first one that allows the method.
    fn find(&self, head: &Head<'_>, method: &Method, path: &str, breaks: PathRules) -> Result<usize, Denial> {
        let found = self.hosts.find_map(
            || host(head),
            path,
            |candidates| {
                let (_, mut matching) = self.matching(head, candidates)?;
                // TRACE returns the request as the upstream received it, including credentials of the gateway, to any client
                // (RFC 9110, section 9.3.8). It is never forwarded, whatever its `Max-Forwards`.
                let allowing = if is_trace(method) {
                    None
                } else {
                    matching.clone().find(|at| self.all[*at].allows_method(method))
                };
                Some(allowing.ok_or_else(|| self.method_not_allowed(&mut matching)))
            },
        );
        let at = found.ok_or(Denial::NotFound)??;
        let broken = breaks.difference(self.all[at].relaxed);
        if broken.is_empty() { Ok(at) } else { Err(StrictHttp::violation(broken)) }
    }

    fn method_not_allowed(&self, matching: &mut dyn Iterator<Item = usize>) -> Denial {
        let routes: Vec<_> = matching.map(|at| &self.all[at]).collect();
        let takes_all = routes.iter().any(|route| route.methods.is_empty());
        let methods = routes.iter().filter(|_| !takes_all).flat_map(|route| &route.methods);
        let methods: Vec<Method> = methods.filter(|method| !is_trace(method)).cloned().collect();
        Denial::MethodNotAllowed { allow: max_forwards::allow(&methods) }
    }
}

/// Returns the route of a name and an index. It is leaked, so that requests need no reference count; but only once,
/// because a reload creates all routes again.
fn matched_route(name: &str, index: usize) -> &'static MatchedRoute {
    static KNOWN: Mutex<BTreeMap<(&'static str, usize), &'static MatchedRoute>> = Mutex::new(BTreeMap::new());
    let mut all = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known: &BTreeMap<(&str, usize), &'static MatchedRoute> = &all;
    if let Some(route) = known.get(&(name, index)) {
        return route;
    }
    let name: &'static str = name.to_owned().leak();
    let route: &'static MatchedRoute = Box::leak(Box::new(MatchedRoute::new(name, index)));
    all.insert((name, index), route);
    route
}

/// Returns `true` for TRACE, and for its name on some servers, TRACK.
fn is_trace(method: &Method) -> bool {
    *method == Method::TRACE || method.as_str() == "TRACK"
}

/// Returns the host of a request: from the target, or else from the `Host` header.
fn host<'h>(head: &Head<'h>) -> Option<&'h str> {
    host_index::host_in(head.uri, head.headers.get(header::HOST))
}
