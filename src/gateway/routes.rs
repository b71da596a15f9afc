//! Which request goes where, past which policies.

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
use crate::{
    Admission, Denial, Head, Policy, Stop,
    config::{self, Config},
    policy::{
        IpAcl, ApiKey, BodyLimit, RequireGrant, HeadLimit, BodyBuffering, RequireUnlocked, RateLimit, RequireScope, Signature, StrictHttp,
        ApiThrottle,
    },
    problem::ErrorFormat,
    surface::discue::is_pretty,
    normalize_path::PathRules,
};

/// All routes, the most specific first, and what stands before all of them.
///
/// One policy for the whole gateway: what every request must pass, then the finding of its route, then the
/// route's own chain. A request for which there is no route is refused like any other, and a request is
/// decided about in one layer, however many routes there are.
pub(super) struct Routes {
    first: (HeadLimit, StrictHttp),
    /// In the order of host and path.
    all: Vec<Route>,
    by_host: BTreeMap<Box<str>, Paths>,
    of_any_host: Paths,
    /// Of the longest chain: asked for with each request.
    steps: u32,
}

/// Which routes stand on a path, by path: the one without methods is the last.
#[derive(Default)]
struct Paths {
    routes: BTreeMap<Box<str>, Range<usize>>,
    /// The longest of the paths, in bytes.
    longest: usize,
}

impl Paths {
    /// The routes of the longest path that is this one or above it.
    fn find(&self, path: &str) -> Option<Range<usize>> {
        // Whatever is longer than any of them is not looked at: a path may have thousands of segments.
        let end = path.len().min(self.longest);
        let ends = (1..=end).rev().filter(|end| path.as_bytes().get(*end).is_none_or(|byte| *byte == b'/'));
        let found = ends.filter_map(|end| path.get(..end)).find_map(|above| self.routes.get(above));
        found.or_else(|| self.routes.get("/").filter(|_| path.starts_with('/'))).cloned()
    }
}

struct Route {
    host: Option<Box<str>>,
    path: Box<str>,
    methods: Vec<Method>,
    relaxed: PathRules,
    policies: Box<dyn Policy>,
    /// In which it refuses.
    form: ErrorFormat,
    backend: Backend,
}

impl Policy for Routes {
    fn admit(&self, head: Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        let decided = self.decide(head, admission);
        if matches!(decided, Err(Stop::Deny(_))) {
            // Whoever asks a surface gets its contract's errors, from what stands before it too.
            let path = || self.candidates(host(head), admission.normalized_path(head)).map(|found| found.start);
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
        // Who answers GET answers HEAD (RFC 9110, section 9.3.2).
        let asked = if method == Method::HEAD { &Method::GET } else { method };
        self.methods.is_empty() || self.methods.contains(method) || self.methods.contains(asked)
    }
}

impl Routes {
    /// The routes of a configuration.
    pub(super) fn new<'a>(config: &'a Config, shared: &GatewayState) -> Self {
        let upstream = |(name, upstream): (&'a String, _)| {
            (name.as_str(), Arc::new(Upstream::new(name, upstream, config)))
        };
        let upstreams: BTreeMap<&str, _> = config.upstreams.iter().map(upstream).collect();
        let lockouts = Lockouts::default();
        let surfaces = Surfaces::new(config, shared, &lockouts);
        let recognition =
            Recognition { shared, intake: Signature::buffering_for(config.limits.pace()), lockouts };
        let route = |route: &config::Route| {
            let (backend, form) = match route.backend()? {
                config::Backend::Upstream(name) => {
                    (Backend::Forward(Forward(upstreams.get(name)?.clone())), ErrorFormat::Problem)
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
        // A configuration that was checked has a backend for every route.
        Self::of(config.routes.iter().filter_map(route).collect(), config)
    }

    /// One route, to a surface.
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
        // Of routes with one host and path, one without methods takes what the others leave.
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
            .fields(limits.head_fields.get() as usize)
            .target(limits.target_bytes.get() as usize);
        // What at least one route relaxes.
        let relaxed = routes.iter().fold(PathRules::NONE, |rules, route| rules.union(route.relaxed));
        let first = (head, StrictHttp::new().relax(relaxed));
        let longest = routes.iter().map(|route| route.policies.steps()).max();
        let steps = first.steps() + longest.unwrap_or_default();
        Self { first, all: routes, by_host, of_any_host, steps }
    }

    /// The backend of the route that an admission found, and the methods that the route names.
    pub(super) fn backend(&self, admission: &Admission) -> Option<(&Backend, &[Method])> {
        let route = self.all.get(admission.route?)?;
        Some((&route.backend, &route.methods))
    }

    /// What every request must pass, its route, and the route's own chain.
    fn decide(&self, head: Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        admission.run_step(&self.first, head)?;
        let at = self.find(host(head), admission.normalized_path(head), head.method, admission.breaks())?;
        admission.route = Some(at);
        admission.run_step(&self.all[at].policies, head)
    }

    /// The routes of the longest path that fits, of the host before those of any.
    fn candidates(&self, host: Option<&str>, path: &str) -> Option<Range<usize>> {
        let of_host = host.filter(|_| !self.by_host.is_empty()).and_then(|host| {
            // A name may be written with the dot of the root.
            let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
            self.by_host.get(&*host)?.find(path)
        });
        of_host.or_else(|| self.of_any_host.find(path))
    }

    /// Among them, the one that takes the method.
    fn find(&self, host: Option<&str>, path: &str, method: &Method, breaks: PathRules) -> Result<usize, Denial> {
        let fitting = self.candidates(host, path).ok_or(Denial::NotFound)?;
        // TRACE returns what reaches the service, credentials of the gateway's included, to whoever asks (RFC 9110,
        // section 9.3.8): it is not forwarded, whatever its `Max-Forwards`.
        let taken = (!is_trace(method)).then(|| fitting.clone().find(|at| self.all[*at].allows_method(method)));
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

/// Returns `true` for TRACE, and for the name under which some servers have it.
fn is_trace(method: &Method) -> bool {
    *method == Method::TRACE || method.as_str() == "TRACK"
}

/// The form in which a surface refuses.
fn form(surface: config::Surface) -> ErrorFormat {
    match surface {
        config::Surface::Discue => ErrorFormat::Discue,
        config::Surface::Apig => ErrorFormat::ApigManagement,
        config::Surface::Docs => ErrorFormat::Problem,
    }
}

/// A route's policies, in the order that is documented.
fn route_policies(route: &config::Route, config: &Config, recognition: &Recognition<'_>) -> Box<dyn Policy> {
    let (policies, directory) = (&route.policies, &recognition.shared.directory);
    // A surface has its own bound on content, and its own answer.
    let body_limit = route.upstream.is_some().then(|| route.body_bytes.unwrap_or(config.limits.body_bytes));
    let lapsed = policies.lapsed == config::Lapsed::Admit;
    let api_key = policies.api_key().map(|settings| recognition.api_key(settings, lapsed));
    let signature = policies.signature().map(|settings| recognition.signature(settings, lapsed));
    let (api_key, signature, either) = match (api_key, signature) {
        (Some(api_key), Some(signature)) => (None, None, Some(signature.or(api_key))),
        (api_key, signature) => (api_key, signature, None),
    };
    // Whoever is known may have a list.
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
    match policies.scope_target {
        Some(segment) => scope.target_segment(usize::from(segment.get())),
        None => scope,
    }
}

/// Parts that all routes of a gateway share to recognise callers.
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
        if let Some(kinds) = config::kinds(&settings.kinds) {
            policy = policy.caller_kinds(&kinds);
        }
        if let Some(lockout) = &settings.lockout {
            policy = policy.lockout(self.lockouts.new(lockout));
        }
        if lapsed {
            policy = policy.admit_lapsed();
        }
        if settings.forward { policy.forward_credential() } else { policy }
    }

    fn signature(&self, settings: &config::SignaturePolicy, lapsed: bool) -> Signature {
        let policy = Signature::new(self.shared.directory.clone(), self.shared.sealer.clone());
        let mut policy = policy.intake(self.intake.clone());
        if let Some(realm) = &settings.realm {
            policy = policy.realm(realm);
        }
        if let Some(kinds) = config::kinds(&settings.kinds) {
            policy = policy.caller_kinds(&kinds);
        }
        if let Some(lockout) = &settings.lockout {
            policy = policy.lockout(self.lockouts.new(lockout));
        }
        if lapsed {
            policy = policy.admit_lapsed();
        }
        if !settings.unsigned_content {
            policy = policy.only_signed_content();
        }
        if settings.forward { policy.forward_credential() } else { policy }
    }
}

/// The host that a request is for: the target's, or else the field's.
fn host(head: Head<'_>) -> Option<&str> {
    head.uri.host().or_else(|| Some(host_of(head.headers.get(header::HOST)?.to_str().ok()?)))
}

/// The host of a `Host` field, without its port; an IPv6 address keeps its brackets.
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
    fn the_longest_path_above_is_found() {
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
