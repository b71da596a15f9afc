//! Determines the routes on which a lock stops requests.

use super::super::routes::Route;

/// The policy that checks locks.
const LOCK: &str = "lock";

fn looks_at_locks(route: &Route) -> bool {
    route.policies.iter().any(|policy| policy == LOCK)
}

/// Returns `true` if a path is equal to `above` or below it.
fn is_within(path: &str, above: &str) -> bool {
    above == "/" || path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
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
        others.map(|other| other.path.len()).max() == Some(route.path.len())
    })
}

/// Returns `true` if a request of a caller can match a route that checks locks.
pub(super) fn on_callers(routes: &[Route]) -> bool {
    routes.iter().any(looks_at_locks)
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
        }
    }

    #[test]
    fn a_lock_is_enforced_where_the_nearest_route_looks_at_locks() {
        let routes = [
            route(None, "/", false),
            route(None, "/orders", true),
            route(None, "/orders/archive", false),
            route(Some("a.example"), "/stock", true),
            route(None, "/stock", false),
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
        ] {
            assert_eq!(on_path(&routes, path), enforced, "{path}");
        }
        let [root, deep] = [route(None, "/", false), route(None, "/a/b", true)];
        assert!(on_path(&[root, deep], "/a"), "it stops requests below");
    }
}
