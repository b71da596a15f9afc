//! Finds the route of a request and evaluates its policies.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use axum::Router;
use http::Method;

use super::{
    GatewayState,
    backend::{Backend, Surfaces},
    host_index::HostIndex,
    local_response::LocalResponse,
    lockouts::Lockouts,
    maintenance, max_forwards,
    rewrite::Rewrite,
    route_policies::{CallerPolicies, route_policies},
    upstream::Upstream,
};
use crate::config::{self, Config, HeaderConditions, PathMatch, QueryConditions};
use portcullis::{
    Admission, Denial, Head, Policy, Stop,
    admission::MatchedRoute,
    normalize_path::PathRules,
    policy::{HeadLimit, Signature, StrictHttp},
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
    /// The name of each route, at the same index; leaked like the names.
    matches: &'static [MatchedRoute],
    hosts: HostIndex,
    /// The number of steps of the longest chain. It is read for each request.
    steps: u32,
}

struct Route {
    /// Leaked on purpose, so that requests need no reference count; a gateway creates its routes once.
    name: &'static str,
    /// Boxed, because most routes have none.
    conditions: Option<Box<(HeaderConditions, QueryConditions)>>,
    methods: Vec<Method>,
    relaxed: PathRules,
    /// Boxed, because most routes have none.
    maintenance: Option<Box<config::Maintenance>>,
    policies: Box<dyn Policy>,
    /// The surface that defines the error format of the route.
    surface: Option<config::Surface>,
    backend: Backend,
}

impl Policy for Routes {
    fn admit(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        admission.run_step(&self.first, head)?;
        let at = self.find(head, admission.normalized_path(head), admission.path_violations())?;
        admission.set_matched_route(&self.matches[at]);
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
    /// Creates the routes of a configuration.
    pub(super) fn new<'a>(config: &'a Config, shared: &GatewayState) -> Self {
        let upstream = |(name, upstream): (&'a String, _)| {
            (name.as_str(), Arc::new(Upstream::new(name, upstream, config)))
        };
        let upstreams: BTreeMap<&str, _> = config.upstreams.iter().map(upstream).collect();
        let lockouts = Lockouts::default();
        let surfaces = Surfaces::new(config, shared, &lockouts);
        let caller_policies =
            CallerPolicies { shared, buffering: Signature::buffering_for(config.limits.pace()), lockouts };
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
                name: route.name_or(before).leak(),
                conditions: route.has_conditions().then(|| Box::new(conditions)),
                methods: route.methods.clone(),
                relaxed: route.relax_path_rules.rules(),
                maintenance: route.maintenance.as_ref().and_then(config::Toggle::get).cloned().map(Box::new),
                policies: route_policies(route, config, &caller_policies),
                surface: route.surface,
                backend,
            })
        };
        let mut order: Vec<_> = config.routes.iter().enumerate().collect();
        order.sort_by(|(_, one), (_, other)| one.compare(other));
        let (mut routes, mut hosts) = (Vec::new(), HostIndex::default());
        for (before, defined) in order {
            // A valid configuration has a backend for every route.
            if let Some(route) = route((before, defined)) {
                hosts.insert(defined.host.as_ref(), &defined.path, routes.len());
                routes.push(route);
            }
        }
        Self::from_routes(routes, hosts, config)
    }

    /// Creates a single route, to a surface.
    pub(super) fn only(surface: Router, config: &Config) -> Self {
        let route = Route {
            name: "surface",
            conditions: None,
            methods: Vec::new(),
            relaxed: PathRules::NONE,
            maintenance: None,
            policies: Box::new(()),
            surface: None,
            backend: Backend::Surface(surface),
        };
        let mut hosts = HostIndex::default();
        hosts.insert(None, &PathMatch::root(), 0);
        Self::from_routes(vec![route], hosts, config)
    }

    fn from_routes(routes: Vec<Route>, hosts: HostIndex, config: &Config) -> Self {
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
        Self { first, all: routes, matches, hosts, steps }
    }

    /// Returns the backend of the route that the admission found, and the methods of the route.
    pub(super) fn backend(&self, admission: &Admission) -> Option<(&Backend, &[Method])> {
        let route = self.all.get(admission.matched_route()?.index())?;
        Some((&route.backend, &route.methods))
    }

    /// Returns the surface of the route that a denied request is for: the route that the admission found, or else the
    /// first one on its path.
    pub(super) fn surface(&self, head: &Head<'_>, admission: &Admission) -> Option<config::Surface> {
        let found = admission.matched_route().map(MatchedRoute::index);
        let first = |candidates: Range<usize>| Some(self.matching(head, candidates)?.0);
        let path = || self.hosts.find_map(head, admission.normalized_path(head), first);
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
    fn find(&self, head: &Head<'_>, path: &str, breaks: PathRules) -> Result<usize, Denial> {
        let found = self.hosts.find_map(head, path, |candidates| {
            let (_, mut matching) = self.matching(head, candidates)?;
            // TRACE returns the request as the upstream received it, including credentials of the gateway, to any client
            // (RFC 9110, section 9.3.8). It is never forwarded, whatever its `Max-Forwards`.
            let allowing = if is_trace(head.method) {
                None
            } else {
                matching.clone().find(|at| self.all[*at].allows_method(head.method))
            };
            Some(allowing.ok_or_else(|| self.method_not_allowed(&mut matching)))
        });
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

/// Returns `true` for TRACE, and for its name on some servers, TRACK.
fn is_trace(method: &Method) -> bool {
    *method == Method::TRACE || method.as_str() == "TRACK"
}
