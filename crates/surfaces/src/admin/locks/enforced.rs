//! Determines the routes on which a lock stops requests.

use std::collections::BTreeSet;

use http::Method;

use crate::admin::settings::Route;
use portcullis::model::LockedRequests;

/// The policy that checks locks.
const LOCK: &str = "lock";

fn looks_at_locks(route: &Route) -> bool {
    route.policies.iter().any(|policy| policy == LOCK)
}

/// Returns `true` if a path can be equal to `above` or below it. A segment in braces, of the pattern of a route, can be
/// any segment.
fn is_within(path: &str, above: &str) -> bool {
    let is_parameter = |segment: &str| segment.starts_with('{');
    let fits =
        |(segment, above): (&str, &str)| segment == above || is_parameter(segment) || is_parameter(above);
    let is_as_long = path.split('/').count() >= above.split('/').count();
    above == "/" || is_as_long && path.split('/').zip(above.split('/')).all(fits)
}

/// Returns a rank of a route's path: the number of its segments before a parameter, and the number of all.
fn depth(path: &str) -> (usize, usize) {
    let segments = || path.split('/').filter(|segment| !segment.is_empty());
    (segments().take_while(|segment| !segment.starts_with('{')).count(), segments().count())
}

/// Returns `true` if a request to a path, or below it, can match a route that checks locks.
///
/// A request matches the route with the longest path above its own, among the routes of its host first, then among
/// those of any host.
pub(super) fn on_path(routes: &[Route], path: &str) -> bool {
    let below = |route: &&Route| looks_at_locks(route) && is_within(&route.path, path);
    if routes.iter().any(|route| below(&route)) {
        return true;
    }
    let above = |route: &&Route| is_within(path, &route.path);
    routes.iter().filter(above).filter(|route| looks_at_locks(route)).any(|route| {
        let others = routes.iter().filter(above).filter(|other| other.host == route.host);
        others.map(|other| depth(&other.path)).max() == Some(depth(&route.path))
    })
}

/// The requests that a lock is to stop.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stops<'a> {
    pub(super) covers: LockedRequests,
    /// Set if only requests of one tenant are to be stopped.
    pub(super) of_tenant: bool,
    /// The kind of the caller that the lock is on.
    pub(super) kind: Option<&'a str>,
}

/// The greatest number of routes that one warning names.
const NAMED: usize = 10;

impl Stops<'_> {
    /// Sentences about requests that a lock on a path does not stop.
    pub(super) fn gaps_on_path(&self, routes: &[Route], path: &str) -> Vec<String> {
        let serves = |route: &&Route| is_within(&route.path, path) || is_nearest(routes, route, path);
        self.gaps(&routes.iter().filter(serves).collect::<Vec<_>>())
    }

    /// Sentences about requests that a lock on a caller does not stop.
    pub(super) fn gaps_on_caller(&self, routes: &[Route]) -> Vec<String> {
        if !routes.iter().any(looks_at_locks) {
            return vec![
                "No route has the policy `lock`: changes of the caller are refused, its requests are not."
                    .into(),
            ];
        }
        // A route that knows no callers cannot tell this one from others, and admits it like them.
        let of_callers: Vec<_> = routes.iter().filter(|route| !route.callers.is_empty()).collect();
        if of_callers.is_empty() {
            let why = "No route recognises callers (policies `api_key` and `signature`): changes of the caller are \
                       refused, its requests are not.";
            return vec![why.into()];
        }
        self.gaps(&of_callers)
    }

    fn gaps(&self, routes: &[&Route]) -> Vec<String> {
        let mut gaps = Vec::new();
        let (mut unlocked, mut unknown) = (BTreeSet::new(), BTreeSet::new());
        let mut enforced = false;
        for route in routes.iter().filter(|route| self.covers_some(route) && self.admitted(route)) {
            if !looks_at_locks(route) {
                unlocked.insert(&*route.name);
            } else if (self.of_tenant || self.kind.is_some()) && route.callers.is_empty() {
                unknown.insert(&*route.name);
            } else {
                enforced = true;
            }
        }
        if !unlocked.is_empty() {
            gaps.push(format!(
                "The lock does not stop requests on routes without the policy `lock`: {}.",
                named(&unlocked)
            ));
        }
        if !unknown.is_empty() {
            gaps.push(format!(
                "The lock is for one tenant or caller, and does not stop requests on routes that recognise no caller \
                 (policies `api_key` and `signature`): {}.",
                named(&unknown)
            ));
        }
        if !enforced && gaps.is_empty() {
            gaps.push(self.nothing(routes));
        }
        gaps
    }

    /// The reason why no route has a request for the lock to stop.
    fn nothing(&self, routes: &[&Route]) -> String {
        match self.kind.filter(|_| !routes.iter().any(|route| self.admitted(route))) {
            Some(kind) => format!(
                "The lock stops no requests: no route admits callers of the kind {kind}. Changes of the caller are \
                 refused."
            ),
            None => "The lock stops no requests: it covers those that may change something, and the routes take only \
                     methods that do not (GET, HEAD, OPTIONS)."
                .into(),
        }
    }

    /// Returns `true` if a route takes a method that the lock covers.
    fn covers_some(self, route: &Route) -> bool {
        let is_safe = |method: &String| method.parse::<Method>().is_ok_and(|method| method.is_safe());
        self.covers == LockedRequests::All || route.methods.is_empty() || !route.methods.iter().all(is_safe)
    }

    /// Returns `true` if a route admits callers of the kind that the lock is on.
    fn admitted(self, route: &Route) -> bool {
        self.kind.is_none_or(|kind| route.callers.iter().any(|known| known == kind))
    }
}

/// Returns `true` if requests to a path, of some host, take the route or another one of its path and host.
fn is_nearest(routes: &[Route], route: &Route, path: &str) -> bool {
    let of_host = routes.iter().filter(|other| other.host == route.host && is_within(path, &other.path));
    is_within(path, &route.path) && of_host.map(|other| depth(&other.path)).max() == Some(depth(&route.path))
}

fn named(routes: &BTreeSet<&str>) -> String {
    let first: Vec<_> = routes.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
    match routes.len().saturating_sub(NAMED) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(host: Option<&str>, path: &str, lock: bool) -> Route {
        Route {
            name: "r".into(),
            host: host.map(Into::into),
            path: path.into(),
            methods: Vec::new(),
            upstream: Some("up".into()),
            surface: None,
            policies: lock.then(|| LOCK.into()).into_iter().collect(),
            callers: Vec::new(),
        }
    }

    #[test]
    fn lock_is_enforced_if_the_nearest_route_checks_locks() {
        let routes = [
            route(None, "/", false),
            route(None, "/orders", true),
            route(None, "/orders/archive", false),
            route(Some("a.example"), "/stock", true),
            route(None, "/stock", false),
            route(None, "/users/{id}/orders", true),
            route(None, "/users/{id}", false),
        ];
        for (path, enforced) in [
            ("/orders", true),
            ("/orders/7", true),
            ("/orders/archive", false),
            ("/orders/archive/7", false),
            ("/orders/archived", true),
            ("/ordersx", false),
            ("/other", false),
            ("/stock/7", true),
            ("/users/7/orders", true),
            ("/users/7/orders/8", true),
            ("/users/7/name", false),
            ("/users/7", true),
        ] {
            assert_eq!(on_path(&routes, path), enforced, "{path}");
        }
        let [root, deep] = [route(None, "/", false), route(None, "/a/b", true)];
        assert!(on_path(&[root, deep], "/a"), "it stops requests below");
    }

    #[test]
    fn requests_that_evade_a_lock_are_named() {
        let named = |name: &str, mut it: Route, methods: &[&str], callers: &[&str]| {
            it.name = name.into();
            it.methods = methods.iter().map(ToString::to_string).collect();
            it.callers = callers.iter().map(ToString::to_string).collect();
            it
        };
        let routes = [
            named("open", route(None, "/a", true), &[], &[]),
            named("read", route(None, "/b", true), &["GET"], &["app"]),
            named("half", route(None, "/c", true), &["POST"], &["app"]),
            named("rest", route(None, "/c", false), &[], &["app"]),
            named("whole", route(None, "/d", true), &[], &["app"]),
            named("other", route(Some("h.example"), "/d", false), &[], &["app"]),
            named("sure", route(None, "/e", true), &[], &["app", "api_client"]),
        ];
        let everybodys = Stops { covers: LockedRequests::Writes, of_tenant: false, kind: None };
        for (stops, path, gap) in [
            (everybodys, "/a", None),
            (Stops { of_tenant: true, ..everybodys }, "/a", Some("recognise no caller")),
            (everybodys, "/b", Some("take only methods")),
            (Stops { covers: LockedRequests::All, ..everybodys }, "/b", None),
            (everybodys, "/c/7", Some("without the policy `lock`: `rest`")),
            (everybodys, "/d", Some("without the policy `lock`: `other`")),
            (Stops { of_tenant: true, ..everybodys }, "/e/7", None),
        ] {
            let gaps = stops.gaps_on_path(&routes, path);
            assert_eq!(gaps.len(), usize::from(gap.is_some()), "{path} {stops:?}: {gaps:?}");
            assert!(gap.is_none_or(|gap| gaps[0].contains(gap)), "{path} {stops:?}: {gaps:?}");
        }
        for (kind, gap) in [
            ("app", Some("without the policy `lock`: `other`, `rest`.")),
            ("api_client", None),
            ("operator", Some("no route admits callers of the kind operator")),
        ] {
            let gaps = Stops { kind: Some(kind), ..everybodys }.gaps_on_caller(&routes);
            assert_eq!(gaps.len(), usize::from(gap.is_some()), "{kind}: {gaps:?}");
            assert!(gap.is_none_or(|gap| gaps[0].contains(gap)), "{kind}: {gaps:?}");
        }
        let gaps = Stops { kind: Some("app"), ..everybodys }.gaps_on_caller(&routes[..1]);
        assert!(gaps[0].starts_with("No route recognises callers"), "{gaps:?}");
    }
}
