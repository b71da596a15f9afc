//! Finds the route of a request and evaluates its policies.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use axum::Router;
use http::{Method, header};

use super::{
    GatewayState,
    backend::{Backend, Surfaces},
    forward::Upstream,
    lockouts::Lockouts,
    max_forwards,
    path_index::PathIndex,
    route_policies::{CallerPolicies, route_policies},
};
use crate::config::{self, Config};
use portcullis::{
    Admission, Denial, Head, Policy, Stop,
    normalize_path::PathRules,
    policy::{HeadLimit, Signature, StrictHttp},
    problem::ErrorFormat,
};
use portcullis_surfaces::discue::is_pretty;

/// All routes, the most specific first, and the policies that run before all of them.
///
/// This is one policy for the whole gateway: it evaluates the policies for all requests, finds the route, and then
/// evaluates the policies of the route. A request without a route is denied like any other, and one layer decides each
/// request, independently of the number of routes.
pub(super) struct Routes {
    first: (HeadLimit, StrictHttp),
    /// Sorted by host and path.
    all: Vec<Route>,
    by_host: BTreeMap<Box<str>, PathIndex>,
    of_any_host: PathIndex,
    /// The number of steps of the longest chain. It is read for each request.
    steps: u32,
}

struct Route {
    host: Option<Box<str>>,
    path: Box<str>,
    methods: Vec<Method>,
    relaxed: PathRules,
    policies: Box<dyn Policy>,
    /// The error format of denials on the route.
    form: ErrorFormat,
    backend: Backend,
}

impl Policy for Routes {
    fn admit(&self, head: Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        let decided = self.decide(head, admission);
        if matches!(decided, Err(Stop::Deny(_))) {
            // A client of a surface gets errors in the format of its contract, also from policies that run before the
            // surface.
            let path =
                || self.candidates(host(head), admission.normalized_path(head)).map(|found| found.start);
            let found = admission.route.or_else(path);
            admission.form = found.and_then(|at| self.all.get(at)).map(|route| match route.form {
                ErrorFormat::Discue if is_pretty(head.uri) => ErrorFormat::DiscuePretty,
                form => form,
            });
        }
        decided
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
            CallerPolicies { shared, intake: Signature::buffering_for(config.limits.pace()), lockouts };
        let route = |route: &config::Route| {
            let (backend, form) = match route.backend()? {
                config::Backend::Upstream(name) => {
                    (Backend::Upstream(upstreams.get(name)?.clone()), ErrorFormat::Problem)
                }
                config::Backend::Surface(surface) => {
                    (Backend::Surface(surfaces.router(surface)), form(surface))
                }
            };
            Some(Route {
                host: route.host.as_ref().map(|host| host.as_str().into()),
                path: route.path.as_str().into(),
                methods: route.methods.clone(),
                relaxed: route.relax.rules(),
                policies: route_policies(route, config, &recognition),
                form,
                backend,
            })
        };
        // A valid configuration has a backend for every route.
        Self::of(config.routes.iter().filter_map(route).collect(), config)
    }

    /// Creates a single route, to a surface.
    pub(super) fn only(surface: Router, config: &Config) -> Self {
        let route = Route {
            host: None,
            path: "/".into(),
            methods: Vec::new(),
            relaxed: PathRules::NONE,
            policies: Box::new(()),
            form: ErrorFormat::Problem,
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
            .fields(limits.head_fields.get() as usize)
            .target(limits.target_bytes.get() as usize);
        // The rules that at least one route relaxes.
        let relaxed = routes.iter().fold(PathRules::NONE, |rules, route| rules.union(route.relaxed));
        let first = (head, StrictHttp::new().relax(relaxed));
        let longest = routes.iter().map(|route| route.policies.steps()).max();
        let steps = first.steps() + longest.unwrap_or_default();
        Self { first, all: routes, by_host, of_any_host, steps }
    }

    /// Returns the backend of the route that the admission found, and the methods of the route.
    pub(super) fn backend(&self, admission: &Admission) -> Option<(&Backend, &[Method])> {
        let route = self.all.get(admission.route?)?;
        Some((&route.backend, &route.methods))
    }

    /// Evaluates the policies for all requests, finds the route, and evaluates the policies of the route.
    fn decide(&self, head: Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        admission.run_step(&self.first, head)?;
        let at = self.find(host(head), admission.normalized_path(head), head.method, admission.breaks())?;
        admission.route = Some(at);
        admission.run_step(&self.all[at].policies, head)
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

/// Returns the error format of a surface.
fn form(surface: config::Surface) -> ErrorFormat {
    match surface {
        config::Surface::Discue => ErrorFormat::Discue,
        config::Surface::Apig => ErrorFormat::ApigManagement,
        config::Surface::Docs => ErrorFormat::Problem,
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
    fn a_host_field_may_have_a_port() {
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
