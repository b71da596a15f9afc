//! Checks of routes: each must be [reachable](mod@unreachable), leave no guarded path [open](mod@bypass), have a backend,
//! and have no setting without effect.

mod bypass;
mod conditions;
mod request;
mod rewrite;
mod unreachable;

use http::{HeaderName, Method, header};

use crate::config::{
    Backend, Config, LapsedSubscriptions, Report, Route, Surface, Upstream, UpstreamProtocol, document::Step,
};
use portcullis::policy::KeySource;

/// Headers that describe the message or its connection and cannot carry a credential.
const NO_CREDENTIAL: [HeaderName; 8] = [
    header::ACCEPT,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::HOST,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

pub(super) fn check(config: &Config, report: &mut Report) {
    if config.routes.is_empty() && report.is_whole() {
        report.warning(&[], "there is no route, so the response to every request is 404; add [[routes]]");
    }
    for (at, route) in config.routes.iter().enumerate() {
        let mut found = RouteCheck { report, at };
        found.rejected_path(config, route);
        found.methods(route);
        found.backend(config, route);
        found.policies(config, route);
        found.upgrades(config, route);
        found.name(config, route);
        found.same_match(config, route);
        found.bypassed(config, route);
        found.conditions(config, route);
        found.rewrite(config, route);
    }
}

/// The check of one route.
struct RouteCheck<'r> {
    report: &'r mut Report,
    at: usize,
}

impl RouteCheck<'_> {
    fn error(&mut self, below: &[&str], why: impl Into<String>) {
        let path = self.below(below);
        self.report.error(&path, why);
    }

    fn warning(&mut self, below: &[&str], why: impl Into<String>) {
        let path = self.below(below);
        self.report.warning(&path, why);
    }

    fn below<'s>(&self, below: &[&'s str]) -> Vec<Step<'s>> {
        ["routes".into(), self.at.into()].into_iter().chain(below.iter().map(|step| (*step).into())).collect()
    }

    /// Returns the name of a route and its line.
    fn called(&self, config: &Config, at: usize) -> String {
        let name = config.routes[at].name_or(self.report.origin("routes", at));
        match self.report.line(&["routes".into(), at.into(), "path".into()]) {
            Some(line) => format!("the route \"{name}\" (line {line})"),
            None => format!("the route \"{name}\""),
        }
    }

    fn methods(&mut self, route: &Route) {
        for (at, method) in route.methods.iter().enumerate() {
            if *method == Method::CONNECT {
                self.error(&["methods"], "CONNECT is not supported");
            }
            if route.methods[..at].contains(method) {
                self.error(&["methods"], format!("{method} is listed twice"));
            }
        }
    }

    fn backend(&mut self, config: &Config, route: &Route) {
        match (route.backend(), &route.upstream) {
            (None, _) => {
                let why = "a route needs either an upstream or a surface, a redirect or a fixed response (respond), and \
                           only one of them";
                let set = [
                    ("respond", route.respond.is_some()),
                    ("redirect", route.redirect.is_some()),
                    ("surface", route.surface.is_some()),
                ];
                let place = set.iter().find(|(_, on)| *on).map_or("path", |(name, _)| *name);
                self.error(&[place], why);
            }
            (Some(Backend::Upstream(name)), _) => {
                let known = config.upstreams.contains_key(name)
                    || self.report.has(&["upstreams".into(), name.into()]);
                if !known {
                    self.error(
                        &["upstream"],
                        format!("the upstream \"{name}\" is not defined; add [upstreams.{name}]"),
                    );
                }
            }
            (Some(Backend::Surface(surface)), _) => self.surface(route, surface),
            (Some(Backend::Redirect | Backend::Respond), _) => {
                if route.body_bytes.is_some() {
                    self.error(&["body_bytes"], "no body is read here, so this has no effect; remove it");
                }
            }
        }
    }

    fn surface(&mut self, route: &Route, surface: Surface) {
        let path = &route.path;
        let below = surface.paths();
        let serves = below.iter().any(|base| path.matches(base) || is_within(path.literal_prefix(), base));
        if !serves {
            let why = format!(
                "the surface {} serves only paths below {}; the response to every request here would be 404",
                surface.name(),
                below.join(", ")
            );
            self.error(&["path"], why);
        }
        if route.body_bytes.is_some() {
            let why = "a surface has its own limit for bodies, so this has no effect; remove it";
            self.error(&["body_bytes"], why);
        }
        let policies = &route.policies;
        let some = policies.api_key().is_some()
            || policies.signature().is_some()
            || policies.accept.is_some()
            || policies.content_type.is_some()
            || policies.lock
            || policies.grants
            || policies.scope.is_some()
            || is_limited(route);
        if some {
            self.error(
                &["policies"],
                "a surface has the policies of its contract; remove the policies of this route",
            );
        }
    }

    fn upgrades(&mut self, config: &Config, route: &Route) {
        let Some(Backend::Upstream(name)) = route.backend() else {
            for (name, on) in [
                ("upgrades", route.upgrades.as_ref().is_some_and(|upgrades| upgrades.get().is_some())),
                ("informational_responses", route.informational_responses),
            ] {
                if on {
                    self.error(&[name], format!("{name} needs an upstream; remove it"));
                }
            }
            return;
        };
        let allowed = route.upgrades.as_ref().is_some_and(|upgrades| upgrades.get().is_some());
        let targets = config.upstreams.get(name).map(Upstream::all_targets).unwrap_or_default();
        if allowed && targets.iter().any(|target| target.address.protocol == UpstreamProtocol::H2c) {
            let why =
                format!("the upstream \"{name}\" has a target with h2c, which does not support upgrades");
            self.error(&["upgrades"], why);
        }
    }

    fn policies(&mut self, config: &Config, route: &Route) {
        let policies = &route.policies;
        let sources = policies.api_key().map_or(&[][..], |policy| &policy.sources);
        let place = ["policies", "api_key", "sources"];
        for (at, source) in sources.iter().enumerate() {
            if sources[..at].contains(source) {
                self.error(&place, "a source of policies.api_key is listed twice");
            }
            if let KeySource::Field(name) = &source.0 {
                if NO_CREDENTIAL.contains(name) {
                    self.error(
                        &place,
                        format!("the header {name} cannot carry a credential because it has another meaning"),
                    );
                }
                if *name == config.server.caller_id_header.name() {
                    let why = format!(
                        "{name} is server.caller_id_header, which is removed from requests before authentication"
                    );
                    self.error(&place, why);
                }
            }
        }
        let known = route.is_guarded();
        let needing = [
            ("rate_limit", is_limited(route)),
            ("scope", policies.scope.is_some()),
            ("grants", policies.grants),
            ("lapsed_subscriptions", policies.lapsed_subscriptions != LapsedSubscriptions::default()),
        ];
        for (name, on) in needing {
            if on && !known && route.surface.is_none() {
                let why = format!(
                    "policies.{name} needs an authenticated caller: add policies.api_key or \
                     policies.signature"
                );
                self.error(&["policies", name], why);
            }
        }
        if policies.scope.as_ref().is_some_and(|scope| scope.trim().is_empty() || scope.contains(':')) {
            self.error(&["policies", "scope"], "a scope must name a kind of resource, such as \"orders\"");
        }
        if policies.scope_target_segment.is_some() && policies.scope.is_none() {
            let why = "policies.scope_target_segment needs policies.scope, the kind of resource";
            self.error(&["policies", "scope_target_segment"], why);
        }
        if policies.grants && route.name.is_none() {
            let why = "policies.grants needs the name of the route, because grants refer to it";
            self.error(&["policies", "grants"], why);
        }
    }

    fn name(&mut self, config: &Config, route: &Route) {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let is_name = |name: &str| (1..=64).contains(&name.len()) && name.bytes().all(plain);
        if route.name.as_ref().is_some_and(|name| !is_name(name.get_ref())) {
            self.error(&["name"], "the name of a route must be 1 to 64 characters of A-Z a-z 0-9 - _ .");
        }
        let name_of = |report: &Report, at: usize| config.routes[at].name_or(report.origin("routes", at));
        let name = name_of(self.report, self.at);
        if let Some(earlier) = (0..self.at).find(|earlier| name_of(self.report, *earlier) == name) {
            let earlier = self.called(config, earlier);
            let below = if route.name.is_some() { "name" } else { "path" };
            self.error(&[below], format!("the name \"{name}\" is already used by {earlier}"));
        }
    }
}

fn is_limited(route: &Route) -> bool {
    route.policies.rate_limit.as_ref().is_some_and(|limit| limit.get().is_some())
}

fn is_within(path: &str, base: &str) -> bool {
    base == "/" || path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
