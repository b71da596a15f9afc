//! A request that is made up to find the route that takes it.

use http::Method;

use crate::config::{Config, Route, RouteHost};

/// A request with a host, a path and a method that satisfies the conditions of some routes, and no others.
#[derive(Debug)]
pub(super) struct SampleRequest<'c> {
    host: Option<RouteHost>,
    path: &'c str,
    method: Method,
    satisfied: Vec<&'c Route>,
}

impl<'c> SampleRequest<'c> {
    /// Returns requests for a path of two routes, with the more specific host and all methods that both accept: with the
    /// conditions of the other route, and also with those of both if a request can satisfy both.
    pub(super) fn for_both(route: &'c Route, other: &'c Route, path: &'c str) -> Vec<Self> {
        let host = match (&route.host, &other.host) {
            (None, host) | (host, None) => host.clone(),
            (Some(one), Some(other)) if one.contains(other) => Some(other.clone()),
            (Some(one), Some(other)) if other.contains(one) => Some(one.clone()),
            _ => return Vec::new(),
        };
        let agree = route.headers.agree_with(&other.headers) && route.query.agree_with(&other.query);
        let mut conditions = vec![vec![other]];
        if agree && route.has_conditions() {
            conditions.push(vec![other, route]);
        }
        let methods = common_methods(route, other);
        let request = |satisfied: &Vec<&'c Route>, method: &Method| {
            let (host, method) = (host.clone(), method.clone());
            Self { host, path, method, satisfied: satisfied.clone() }
        };
        conditions.iter().flat_map(|all| methods.iter().map(move |method| request(all, method))).collect()
    }

    pub(super) fn path(&self) -> &str {
        self.path
    }

    /// Returns the route that takes the request, as the gateway finds it.
    pub(super) fn route<'r>(&self, config: &'r Config) -> Option<&'r Route> {
        let mut matching: Vec<_> = config.routes.iter().filter(|route| self.matches(route)).collect();
        matching.sort_by(|one, other| one.compare(other));
        let first = *matching.first()?;
        // Methods decide only among the routes of one host and path.
        let of_match = |route: &&&Route| route.host == first.host && route.path.compare(&first.path).is_eq();
        matching.iter().take_while(of_match).find(|route| route.allows_method(&self.method)).copied()
    }

    fn matches(&self, route: &Route) -> bool {
        let host = match (&route.host, &self.host) {
            (None, _) => true,
            (Some(host), Some(asked)) => host.contains(asked),
            (Some(_), None) => false,
        };
        let headers: Vec<_> = self.satisfied.iter().map(|route| &route.headers).collect();
        let query: Vec<_> = self.satisfied.iter().map(|route| &route.query).collect();
        host && route.path.matches(self.path)
            && route.headers.follow_from(&headers)
            && route.query.follow_from(&query)
    }
}

/// Returns the methods of requests that both routes accept.
fn common_methods(route: &Route, other: &Route) -> Vec<Method> {
    match (&*route.methods, &*other.methods) {
        // No route lists a method with this name.
        ([], []) => Method::from_bytes(b"any").into_iter().collect(),
        ([], methods) => methods.to_vec(),
        (methods, _) => methods.iter().filter(|method| other.allows_method(method)).cloned().collect(),
    }
}
