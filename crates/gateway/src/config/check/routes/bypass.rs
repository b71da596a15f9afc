//! Checks for routes that leave a guarded path open: requests whose path a route with authentication protects must not
//! reach an upstream through another route that needs no credential.

use toml::Spanned;

use super::{RouteCheck, request::SampleRequest};
use crate::config::{Config, PathMatch, Route};

/// The relation of a path that stays open to the guarded path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    /// The guarded path itself.
    Guarded,
    /// The guarded path with a slash at its end, which most upstreams treat alike.
    Slash,
    /// A path that matches both routes, of which the guarded one does not take it.
    Overlap,
}

impl RouteCheck<'_> {
    /// Reports each route that takes requests for the path of this route without a credential, although this route
    /// needs one: by a more specific host, by conditions, or by another spelling of the path.
    pub(super) fn bypassed(&mut self, config: &Config, route: &Route) {
        if !route.is_guarded() {
            return;
        }
        for (at, other) in config.routes.iter().enumerate() {
            let is_open = !other.is_guarded() && other.upstream.is_some() && !other.unguarded;
            if !is_open || at == self.at {
                continue;
            }
            let same_upstream = route.upstream.as_ref().map(Spanned::get_ref)
                == other.upstream.as_ref().map(Spanned::get_ref);
            if same_upstream
                && route.host.is_some()
                && other.host.is_none()
                && other.path.contains(&route.path)
            {
                let why = format!(
                    "clients that send another host reach the same upstream without a credential: {} matches them; if \
                     they may, add unguarded = true to that route",
                    self.called(config, at)
                );
                self.warning(&["host"], why);
            }
            for (kind, path) in paths(route, other) {
                let requests = SampleRequest::for_both(route, other, &path);
                let taken = requests
                    .into_iter()
                    .find(|request| request.route(config).is_some_and(|taker| std::ptr::eq(taker, other)));
                if let Some(request) = taken {
                    self.report_bypass(config, route, at, kind, &request);
                    break;
                }
            }
        }
    }

    fn report_bypass(
        &mut self,
        config: &Config,
        route: &Route,
        at: usize,
        kind: Path,
        request: &SampleRequest<'_>,
    ) {
        let other = &config.routes[at];
        let taker = self.called(config, at);
        let which = match kind {
            Path::Guarded if other.host.is_some() && other.host != route.host => {
                format!("for the host {}", other.host.as_ref().map(ToString::to_string).unwrap_or_default())
            }
            Path::Guarded if route.has_conditions() => "without the conditions of this route".to_owned(),
            Path::Guarded => format!("with the conditions of {taker}"),
            Path::Slash | Path::Overlap => format!("for {}", request.path()),
        };
        let why = format!(
            "requests {which} do not reach this route and need no credential: {taker} matches them; if they may, add \
             unguarded = true to that route"
        );
        if kind == Path::Guarded { self.error(&["path"], why) } else { self.warning(&["path"], why) }
    }
}

/// Returns the paths of requests that should not reach another route.
fn paths(route: &Route, other: &Route) -> Vec<(Path, String)> {
    let same_match = route.host == other.host && route.headers == other.headers && route.query == other.query;
    let example = route.path.example();
    let mut paths = Vec::new();
    // A route for some paths or methods of the guarded one is open on purpose.
    if other.path.contains(&route.path) && !same_match {
        paths.push((Path::Guarded, example.clone()));
    }
    if !matches!(route.path, PathMatch::Prefix(_)) && example != "/" {
        let twin = example.strip_suffix('/').map_or_else(|| format!("{example}/"), str::to_owned);
        paths.push((Path::Slash, twin));
    }
    let is_pattern = |path: &PathMatch| matches!(path, PathMatch::Pattern(_));
    let comparable = other.path.contains(&route.path) || route.path.contains(&other.path);
    if (is_pattern(&route.path) || is_pattern(&other.path)) && !comparable {
        paths.extend(route.path.overlap(&other.path).map(|path| (Path::Overlap, path)));
    }
    paths
}
