//! Checks for routes that no request reaches. A path that no request can have is an error
//! of [`RoutePath`](crate::config::RoutePath) already; a path that its surface does not serve, of [`RouteCheck`].

use http::Method;

use super::RouteCheck;
use crate::config::{Config, Route};

impl RouteCheck<'_> {
    /// Reports a path whose requests the gateway rejects, and warns of one that clients write in another way.
    pub(super) fn rejected_path(&mut self, config: &Config, route: &Route) {
        let broken = route.path.breaks().difference(route.relax_path_rules.rules());
        if !broken.is_empty() {
            let names: Vec<_> = broken.names().map(|name| format!("\"{name}\"")).collect();
            let names = names.join(", ");
            self.error(
                &["path"],
                format!("requests with this path are rejected; to accept them, add relax_path_rules = [{names}] to this route"),
            );
        }
        let path = route.path.as_str();
        let most = config.limits.target_bytes.get() as usize;
        if path.len() > most {
            self.error(
                &["path"],
                format!("requests with this path are rejected because it is longer than limits.target_bytes ({most})"),
            );
        }
        if path.contains("%CC%") {
            let why = "the path contains a combining character; most clients send an accented letter as one character, \
                       which is a different path";
            self.warning(&["path"], why);
        }
    }

    /// Reports a second route with the same match, which no request could reach.
    pub(super) fn same_match(&mut self, config: &Config, route: &Route) {
        let same = |other: &Route| {
            let conditions = other.headers == route.headers && other.query == route.query;
            other.host == route.host && other.path.compare(&route.path).is_eq() && conditions
        };
        for (at, other) in config.routes[..self.at].iter().enumerate().filter(|(_, other)| same(other)) {
            let overlap = if route.methods.is_empty() {
                other.methods.is_empty().then(String::new)
            } else {
                let overlaps = |method: &Method| {
                    other.methods.contains(method)
                        || *method == Method::HEAD && other.methods.contains(&Method::GET)
                };
                let overlap: Vec<_> =
                    route.methods.iter().filter(|method| overlaps(method)).map(Method::as_str).collect();
                (!overlap.is_empty()).then(|| format!(" ({})", overlap.join(", ")))
            };
            if let Some(overlap) = overlap {
                let earlier = self.called(config, at);
                let conditions = if route.has_conditions() { ", conditions" } else { "" };
                self.error(
                    &["path"],
                    format!(
                        "an earlier route has the same host, path{conditions} and method{overlap}: {earlier}"
                    ),
                );
            }
        }
    }
}
