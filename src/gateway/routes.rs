//! Which request goes where, past which policies.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::Router;
use futures_util::future::Either;
use http::{HeaderValue, Method, Request, Response, header};
use hyper::body::Incoming;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    Shared,
    answer::Answer,
    forward::{Forward, Upstream},
    origin::Origin,
};
use crate::{
    Admission, Denial, Policy,
    config::{self, Config},
    policy::{ApiKey, BodyLimit, Lock, RateLimit, Scope, Strict},
    surface::{apig, discue},
    target::Rules,
    tower::{Portcullis, PortcullisLayer, Refusal, ResponseBody},
};

type Guarded = Portcullis<Backend, Box<dyn Policy>>;

/// All routes, the most specific first.
pub(super) struct Routes(Vec<Route>);

struct Route {
    host: Option<Box<str>>,
    path: Box<str>,
    methods: Vec<Method>,
    relaxed: Rules,
    service: Guarded,
}

impl Route {
    /// Whether host and path are this route's; the method is looked at afterwards.
    fn fits(&self, host: Option<&str>, path: &str) -> bool {
        // A name may be written with the dot of the root.
        let host = host.map(|host| host.strip_suffix('.').unwrap_or(host));
        let host_fits =
            self.host.as_deref().is_none_or(|ours| host.is_some_and(|host| host.eq_ignore_ascii_case(ours)));
        let below = |rest: &str| rest.is_empty() || rest.starts_with('/') || self.path.len() == 1;
        host_fits && path.strip_prefix(&*self.path).is_some_and(below)
    }

    fn takes(&self, method: &Method) -> bool {
        // Who answers GET answers HEAD (RFC 9110, section 9.3.2).
        let asked = if method == Method::HEAD { &Method::GET } else { method };
        self.methods.is_empty() || self.methods.contains(method) || self.methods.contains(asked)
    }
}

impl Routes {
    /// The routes of a configuration.
    pub(super) fn new<'a>(config: &'a Config, shared: &Shared) -> Self {
        let upstream = |(name, upstream): (&'a String, _)| {
            (name.as_str(), Arc::new(Upstream::new(name, upstream, config)))
        };
        let upstreams: BTreeMap<&str, _> = config.upstreams.iter().map(upstream).collect();
        let surfaces = Surfaces::new(config, shared);
        let route = |route: &config::Route| {
            let backend = match route.backend()? {
                config::Backend::Upstream(name) => Backend::Forward(Forward(upstreams.get(name)?.clone())),
                config::Backend::Surface(surface) => Backend::Surface(surfaces.router(surface)),
            };
            let layer = PortcullisLayer::new(chain(route, config, shared))
                .clock(shared.clock.clone())
                .peer_from(Origin::peer_of);
            Some(Route {
                host: route.host.as_ref().map(|host| host.as_str().into()),
                path: route.path.get_ref().as_str().into(),
                methods: route.methods.clone(),
                relaxed: route.relax.rules(),
                service: layer.layer(backend),
            })
        };
        // A configuration that was checked has a backend for every route.
        let mut routes: Vec<Route> = config.routes.iter().filter_map(route).collect();
        // Of routes with one host and path, one without methods takes what the others leave.
        routes.sort_by_key(|route| {
            (route.host.is_none(), std::cmp::Reverse(route.path.len()), route.methods.is_empty())
        });
        Self(routes)
    }

    /// What at least one route relaxes.
    pub(super) fn relaxed(&self) -> Rules {
        self.0.iter().fold(Rules::NONE, |rules, route| rules.and(route.relaxed))
    }

    /// The first route that fits; among routes of the same host and path, the one that takes the method.
    fn find(&self, host: Option<&str>, path: &str, method: &Method, breaks: Rules) -> Result<&Route, Denial> {
        let fitting = || self.0.iter().filter(|route| route.fits(host, path));
        let first = fitting().next().ok_or(Denial::NotFound)?;
        let mut same = fitting().filter(|route| route.host == first.host && route.path == first.path);
        if let Some(route) = same.clone().find(|route| route.takes(method)) {
            let broken = breaks.without(route.relaxed);
            return if broken.is_empty() { Ok(route) } else { Err(Strict::broken(broken)) };
        }
        let mut allowed: Vec<&str> =
            same.by_ref().flat_map(|route| &route.methods).map(Method::as_str).collect();
        allowed.sort_unstable();
        let allow = HeaderValue::try_from(allowed.join(", ")).unwrap_or(HeaderValue::from_static(""));
        Err(Denial::MethodNotAllowed { allow })
    }
}

/// A route's policies, in the order that is documented.
fn chain(route: &config::Route, config: &Config, shared: &Shared) -> Box<dyn Policy> {
    let (policies, directory) = (&route.policies, &shared.directory);
    // A surface has its own bound on content, and its own answer.
    let body_limit = route.upstream.is_some().then(|| route.body_bytes.unwrap_or(config.limits.body_bytes));
    let api_key = policies.api_key.as_ref().and_then(config::Switch::get).map(|settings| {
        let mut policy = ApiKey::new(directory.clone());
        if let Some(places) = settings.places() {
            policy = policy.sources(places);
        }
        if let Some(realm) = &settings.realm {
            policy = policy.realm(realm);
        }
        if settings.forward { policy.forwarding() } else { policy }
    });
    let rate_limit = policies.rate_limit.as_ref().and_then(config::Switch::get);
    Box::new((
        body_limit.map(BodyLimit::new),
        policies.content_type.as_ref().map(|checked| checked.0.clone()),
        policies.accept.as_ref().map(|checked| checked.0.clone()),
        api_key,
        policies.scope.as_deref().map(Scope::new),
        policies.lock.then(|| Lock::new(directory.clone())),
        rate_limit.map(|settings| RateLimit::new().fields((*settings).into())),
    ))
}

/// The surfaces, built once, shared by all routes to them.
struct Surfaces {
    discue: Router,
    apig: Router,
}

impl Surfaces {
    fn new(config: &Config, shared: &Shared) -> Self {
        let discue = discue::router(discue::Discue {
            registry: shared.registry.clone(),
            directory: shared.directory.clone(),
            clock: shared.clock.clone(),
            base_url: config.surfaces.discue.base_url.clone(),
            switched_off: config.surfaces.discue.switched_off.clone(),
        });
        let apig = apig::router(apig::Apig {
            registry: shared.registry.clone(),
            directory: shared.directory.clone(),
            clock: shared.clock.clone(),
            sealer: shared.sealer.clone(),
        });
        Self { discue, apig }
    }

    fn router(&self, surface: config::Surface) -> Router {
        match surface {
            config::Surface::Discue => self.discue.clone(),
            config::Surface::Apig => self.apig.clone(),
        }
    }
}

/// What stands at the end of a route.
#[derive(Clone)]
pub(super) enum Backend {
    Forward(Forward),
    Surface(Router),
}

impl Service<Request<Incoming>> for Backend {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answer>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        match self {
            Self::Forward(forward) => forward.call(request),
            Self::Surface(router) => {
                let answer = router.call(request);
                Box::pin(async move { Ok(answer.await?.map(Answer::Surface)) })
            }
        }
    }
}

/// Finds a request's route and sends it there.
#[derive(Clone)]
pub(super) struct Dispatch(pub(super) Arc<Routes>);

impl Service<Request<Incoming>> for Dispatch {
    type Response = Response<ResponseBody<Answer>>;
    type Error = Infallible;
    type Future =
        Either<<Guarded as Service<Request<Incoming>>>::Future, Ready<Result<Self::Response, Infallible>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let host = request.uri().host().or_else(|| {
            let value = request.headers().get(header::HOST)?.to_str().ok()?;
            Some(host_of(value))
        });
        let breaks = request.extensions().get::<Admission>().map_or(Rules::NONE, Admission::breaks);
        match self.0.find(host, request.uri().path(), request.method(), breaks) {
            Ok(route) => Either::Left(route.service.clone().call(request)),
            Err(denial) => {
                let mut answer = Answer::refusal(&denial).map(ResponseBody::inner);
                answer.extensions_mut().insert(Refusal);
                Either::Right(ready(Ok(answer)))
            }
        }
    }
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
