//! Finds the route of a request and evaluates its policies.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use axum::Router;
use http::{Method, header};

use super::{
    GatewayState,
    backend::{Backend, Surfaces},
    forward::{Forward, Upstream},
    lockouts::Lockouts,
    max_forwards,
};
use crate::config::{self, Config};
use portcullis::{
    Admission, Denial, Head, Policy, Stop,
    admission::MatchedRoute,
    normalize_path::PathRules,
    policy::{
        ApiKey, ApiThrottle, BodyBuffering, BodyLimit, HeadLimit, IpAcl, RateLimit, RequireGrant,
        RequireScope, RequireUnlocked, Signature, StrictHttp,
    },
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
    /// The names of the routes, at the same indexes.
    matches: &'static [MatchedRoute],
    by_host: BTreeMap<Box<str>, Paths>,
    of_any_host: Paths,
    /// The number of steps of the longest chain. It is read for each request.
    steps: u32,
}

/// The routes of one host, or of all hosts, by path. On each path, a route without methods is the last.
#[derive(Default)]
struct Paths {
    routes: BTreeMap<Box<str>, Range<usize>>,
    /// The length of the longest path, in bytes.
    longest: usize,
}

impl Paths {
    /// Returns the routes of the longest path that equals the given one or is above it.
    fn find(&self, path: &str) -> Option<Range<usize>> {
        // Bytes beyond the longest path are skipped: a request path may have thousands of segments.
        let end = path.len().min(self.longest);
        let ends = (1..=end).rev().filter(|end| path.as_bytes().get(*end).is_none_or(|byte| *byte == b'/'));
        let found = ends.filter_map(|end| path.get(..end)).find_map(|above| self.routes.get(above));
        found.or_else(|| self.routes.get("/").filter(|_| path.starts_with('/'))).cloned()
    }
}

struct Route {
    name: String,
    host: Option<Box<str>>,
    path: Box<str>,
    methods: Vec<Method>,
    relaxed: PathRules,
    policies: Box<dyn Policy>,
    /// The surface that defines the error format of the route.
    surface: Option<config::Surface>,
    backend: Backend,
}

impl Policy for Routes {
    fn admit(&self, head: Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        admission.run_step(&self.first, head)?;
        let at = self.find(host(head), admission.normalized_path(head), head.method, admission.breaks())?;
        admission.set_matched_route(&self.matches[at]);
        admission.run_step(&self.all[at].policies, head)
    }

    fn steps(&self) -> u32 {
        self.steps
    }
}

impl Route {
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
        let recognition =
            Recognition { shared, intake: Signature::buffering_for(config.limits.pace()), lockouts };
        let route = |(before, route): (usize, &config::Route)| {
            let backend = match route.backend()? {
                config::Backend::Upstream(name) => Backend::Forward(Forward(upstreams.get(name)?.clone())),
                config::Backend::Surface(surface) => Backend::Surface(surfaces.router(surface)),
            };
            Some(Route {
                name: route.name_or(before),
                host: route.host.as_ref().map(|host| host.as_str().into()),
                path: route.path.as_str().into(),
                methods: route.methods.clone(),
                relaxed: route.relax_path_rules.rules(),
                policies: route_policies(route, config, &recognition),
                surface: route.surface,
                backend,
            })
        };
        // A valid configuration has a backend for every route.
        Self::of(config.routes.iter().enumerate().filter_map(route).collect(), config)
    }

    /// Creates a single route, to a surface.
    pub(super) fn only(surface: Router, config: &Config) -> Self {
        let route = Route {
            name: "surface".into(),
            host: None,
            path: "/".into(),
            methods: Vec::new(),
            relaxed: PathRules::NONE,
            policies: Box::new(()),
            surface: None,
            backend: Backend::Surface(surface),
        };
        Self::of(vec![route], config)
    }

    fn of(mut routes: Vec<Route>, config: &Config) -> Self {
        // Among routes with the same host and path, a route without methods accepts the methods that the others do not.
        routes.sort_by(|one, other| {
            let key = |route: &Route| (route.host.clone(), route.path.clone(), route.methods.is_empty());
            key(one).cmp(&key(other))
        });
        let (mut by_host, mut of_any_host) = (BTreeMap::<_, Paths>::new(), Paths::default());
        for (at, route) in routes.iter().enumerate() {
            let paths = match &route.host {
                Some(host) => by_host.entry(host.to_ascii_lowercase().into()).or_default(),
                None => &mut of_any_host,
            };
            paths.longest = paths.longest.max(route.path.len());
            paths.routes.entry(route.path.clone()).or_insert(at..at).end = at + 1;
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
        let matched = |(at, route): (usize, &Route)| MatchedRoute::new(route.name.clone().leak(), at);
        // Leaked on purpose, so that requests need no reference count; a gateway creates its routes once.
        let matches = routes.iter().enumerate().map(matched).collect::<Vec<_>>().leak();
        Self { first, all: routes, matches, by_host, of_any_host, steps }
    }

    /// Returns the backend of the route that the admission found, and the methods of the route.
    pub(super) fn backend(&self, admission: &Admission) -> Option<(&Backend, &[Method])> {
        let route = self.all.get(admission.matched_route()?.index())?;
        Some((&route.backend, &route.methods))
    }

    /// Returns the surface of the route that a denied request is for: the route that the admission found, or else the
    /// first one on its path.
    pub(super) fn surface(&self, head: Head<'_>, admission: &Admission) -> Option<config::Surface> {
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
        let taken =
            (!is_trace(method)).then(|| fitting.clone().find(|at| self.all[*at].allows_method(method)));
        if let Some(at) = taken.flatten() {
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

/// Creates the policies of a route, in the documented order.
fn route_policies(route: &config::Route, config: &Config, recognition: &Recognition<'_>) -> Box<dyn Policy> {
    let (policies, directory) = (&route.policies, &recognition.shared.directory);
    // A surface has its own body limit and its own error response for it.
    let body_limit = route.upstream.is_some().then(|| route.body_bytes.unwrap_or(config.limits.body_bytes));
    let lapsed = policies.lapsed_subscriptions == config::LapsedSubscriptions::Allow;
    let api_key = policies.api_key().map(|settings| recognition.api_key(settings, lapsed));
    let signature = policies.signature().map(|settings| recognition.signature(settings, lapsed));
    let (api_key, signature, either) = match (api_key, signature) {
        (Some(api_key), Some(signature)) => (None, None, Some(signature.or(api_key))),
        (api_key, signature) => (api_key, signature, None),
    };
    // Every identified caller may have an address list.
    let known = api_key.is_some() || signature.is_some() || either.is_some();
    let addresses = known.then(|| IpAcl::new(directory.clone()));
    let rate_limit = policies.rate_limit.as_ref().and_then(config::Toggle::get);
    Box::new((
        body_limit.map(BodyLimit::new),
        policies.content_type.as_ref().map(|checked| checked.0.clone()),
        policies.accept.as_ref().map(|checked| checked.0.clone()),
        api_key,
        (signature, either),
        (
            policies.scope.as_deref().map(|resource| scope(resource, policies)),
            route.grant_name().map(|name| RequireGrant::new(directory.clone(), name)),
            addresses,
        ),
        policies.lock.then(|| RequireUnlocked::new(directory.clone())),
        (
            rate_limit.map(|settings| RateLimit::new().fields((*settings).into())),
            route.grant_name().map(|name| ApiThrottle::new(directory.clone(), name)),
        ),
    ))
}

fn scope(resource: &str, policies: &config::Policies) -> RequireScope {
    let scope = RequireScope::new(resource);
    match policies.scope_target_segment {
        Some(segment) => scope.target_segment(usize::from(segment.get())),
        None => scope,
    }
}

/// The parts that all routes of a gateway share for the identification of callers.
struct Recognition<'a> {
    shared: &'a GatewayState,
    intake: BodyBuffering,
    lockouts: Lockouts,
}

impl Recognition<'_> {
    fn api_key(&self, settings: &config::ApiKeyPolicy, lapsed: bool) -> ApiKey {
        let mut policy = ApiKey::new(self.shared.directory.clone());
        if let Some(places) = settings.places() {
            policy = policy.sources(places);
        }
        if let Some(realm) = &settings.realm {
            policy = policy.realm(realm);
        }
        if let Some(kinds) = config::kinds(&settings.caller_kinds) {
            policy = policy.caller_kinds(&kinds);
        }
        if let Some(lockout) = &settings.lockout {
            policy = policy.lockout(self.lockouts.get(lockout));
        }
        if lapsed {
            policy = policy.admit_lapsed();
        }
        if settings.forward_credential { policy.forward_credential() } else { policy }
    }

    fn signature(&self, settings: &config::SignaturePolicy, lapsed: bool) -> Signature {
        let policy = Signature::new(self.shared.directory.clone(), self.shared.sealer.clone());
        let mut policy = policy.intake(self.intake.clone());
        if let Some(realm) = &settings.realm {
            policy = policy.realm(realm);
        }
        if let Some(kinds) = config::kinds(&settings.caller_kinds) {
            policy = policy.caller_kinds(&kinds);
        }
        if let Some(lockout) = &settings.lockout {
            policy = policy.lockout(self.lockouts.get(lockout));
        }
        if lapsed {
            policy = policy.admit_lapsed();
        }
        if !settings.allow_unsigned_content {
            policy = policy.only_signed_content();
        }
        if settings.forward_credential { policy.forward_credential() } else { policy }
    }
}

/// Returns the host of a request: from the target, or else from the `Host` header.
fn host(head: Head<'_>) -> Option<&str> {
    head.uri.host().or_else(|| Some(host_of(head.headers.get(header::HOST)?.to_str().ok()?)))
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
    fn longest_matching_prefix_is_found() {
        let mut paths = Paths::default();
        for (at, path) in ["/", "/a", "/a/b", "/a/bc/d"].into_iter().enumerate() {
            paths.longest = paths.longest.max(path.len());
            paths.routes.insert(path.into(), at..at + 1);
        }
        let deep = format!("/a/b{}", "/x".repeat(100_000));
        for (path, found) in [
            ("/", Some(0)),
            ("/x", Some(0)),
            ("/ab", Some(0)),
            ("/a", Some(1)),
            ("/a/", Some(1)),
            ("/a/bc", Some(1)),
            ("/a/bc/", Some(1)),
            ("/a/b", Some(2)),
            ("/a/b/c", Some(2)),
            ("/a/bc/d", Some(3)),
            ("/a/bc/de", Some(1)),
            ("/a/bc/d/e", Some(3)),
            ("/a/\u{e9}/x", Some(1)),
            (&deep, Some(2)),
            ("*", None),
            ("", None),
        ] {
            assert_eq!(paths.find(path).map(|range| range.start), found, "{}", &path[..path.len().min(20)]);
        }
        paths.routes.remove("/");
        assert_eq!(paths.find("/x"), None);
    }

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
