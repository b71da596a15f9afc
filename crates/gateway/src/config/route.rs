//! Configuration of routes.

use std::cmp::{Ordering, Reverse};

use http::Method;
use serde::{Deserialize, Deserializer, de};
use toml::Spanned;

use super::{
    CacheControl, Compression, Cors, FixedResponse, HeaderConditions, Maintenance, PathMatch, Policies,
    QueryConditions, Redirect, Rewrite, RouteHost, SecurityHeaders, Toggle, Upgrades, list::methods,
};
use portcullis::{model::RouteName, normalize_path::PathRules};

/// A route: the requests that it matches, their policies, and the backend.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The name in the admin API and in grants for apps: 1 to 64 characters of `A-Z a-z 0-9 - _ .`. Default: `route-`
    /// and the number of the route.
    pub name: Option<Spanned<String>>,
    /// The host that the route matches: a name, or `*.` and a name for all names below it. Default: any.
    pub host: Option<RouteHost>,
    /// The path that the route matches. Plain and percent-encoded spellings are equal: `/café` and `/caf%C3%A9`.
    pub path: PathMatch,
    /// The conditions on request headers: a value, or `true` for any value.
    #[serde(default)]
    pub headers: HeaderConditions,
    /// The conditions on parameters of the query: a value, or `true` for any value.
    #[serde(default)]
    pub query: QueryConditions,
    /// Whether the route may take requests without a credential although a route with authentication protects their
    /// path.
    #[serde(default)]
    pub unguarded: bool,
    /// The methods that the route accepts; the response to others is 405. Default: all methods.
    #[serde(default, deserialize_with = "methods")]
    pub methods: Vec<Method>,
    /// The name of the upstream.
    pub upstream: Option<Spanned<String>>,
    /// The surface that handles the requests, instead of an upstream. A surface has its own policies.
    pub surface: Option<Surface>,
    /// The redirect that is the response to all requests, instead of an upstream.
    pub redirect: Option<Redirect>,
    /// The fixed response to all requests, instead of an upstream.
    pub respond: Option<FixedResponse>,
    /// The changes to requests and responses.
    pub rewrite: Option<Box<Rewrite>>,
    /// The maintenance of the route. Default: none.
    pub maintenance: Option<Toggle<Maintenance>>,
    /// The path rules that the route does not enforce, by name; [`PathRules`] describes the risk of each.
    #[serde(default)]
    pub relax_path_rules: RelaxedRules,
    /// The maximum size of a request body in bytes; beyond it, the response is 413. Default: `limits.body_bytes`.
    pub body_bytes: Option<u64>,
    /// The upgrades that the route allows, such as WebSocket. Default: none.
    pub upgrades: Option<Toggle<Upgrades>>,
    /// Whether informational responses of the upstream, such as 103 (Early Hints), are forwarded to HTTP/1.1 clients.
    #[serde(default)]
    pub informational_responses: bool,
    /// The permission for scripts of other origins to call the route. Default: none.
    pub cors: Option<Cors>,
    /// The compression of responses, by negotiation with the client. Default: none.
    pub compression: Option<Toggle<Compression>>,
    /// The security headers of responses. Default: none.
    pub security_headers: Option<Toggle<SecurityHeaders>>,
    /// The treatment of `Cache-Control` in responses to authenticated callers.
    #[serde(default)]
    pub cache_control: CacheControl,
    /// The policies of the route.
    #[serde(default)]
    pub policies: Policies,
}

/// A set of relaxed path rules.
#[derive(Debug, Clone, Default)]
pub struct RelaxedRules(PathRules);

impl RelaxedRules {
    /// Returns the rules.
    #[must_use]
    pub fn rules(&self) -> PathRules {
        self.0
    }
}

impl<'de> Deserialize<'de> for RelaxedRules {
    fn deserialize<D: Deserializer<'de>>(list: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(list)?;
        let mut rules = names.iter().map(|name| name.parse::<PathRules>().map_err(de::Error::custom));
        rules.try_fold(PathRules::NONE, |all, rule| rule.map(|rule| all.union(rule))).map(Self)
    }
}

/// An API that the gateway serves itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Surface {
    /// The API clients and API keys of discue.
    Discue,
    /// The apps of APIG.
    Apig,
    /// The OpenAPI descriptions of the surfaces, and a page that displays them.
    Docs,
}

impl Surface {
    /// Returns the name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Discue => "discue",
            Self::Apig => "apig",
            Self::Docs => "docs",
        }
    }

    /// Returns the base paths that the surface serves. `Docs` serves any path.
    pub(super) fn paths(self) -> &'static [&'static str] {
        match self {
            Self::Discue => &["/v1/api_clients", "/v1/api_keys", "/api_clients", "/api_keys"],
            Self::Apig => &["/v1", "/v2"],
            Self::Docs => &["/"],
        }
    }
}

/// Returns a sort key for hosts: names, then wildcards from long to short, then any host.
fn host_order(host: Option<&RouteHost>) -> (u8, Reverse<usize>, Option<&RouteHost>) {
    match host {
        Some(RouteHost::Name(_)) => (0, Reverse(0), host),
        Some(RouteHost::Below(name)) => (1, Reverse(name.as_str().len()), host),
        None => (2, Reverse(0), None),
    }
}

/// The backend of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend<'a> {
    /// The upstream of this name.
    Upstream(&'a str),
    /// A surface.
    Surface(Surface),
    /// A redirect.
    Redirect,
    /// A fixed response.
    Respond,
}

impl Route {
    /// Compares the precedence of two routes: the first one in order takes the requests that match both. Of routes that
    /// compare equal, the first one in the file does.
    ///
    /// A name of a host precedes a wildcard, a longer wildcard a shorter one, and any host comes last; then the
    /// [paths](PathMatch::compare) decide, then the number of conditions on headers and the query, then the number of
    /// conditions on a value. A route without methods comes last.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        let conditions = |route: &Self| {
            let (headers, query) = (route.headers.count(), route.query.count());
            Reverse((headers.0 + query.0, headers.1 + query.1))
        };
        host_order(self.host.as_ref())
            .cmp(&host_order(other.host.as_ref()))
            .then_with(|| self.path.compare(&other.path))
            .then_with(|| conditions(self).cmp(&conditions(other)))
            .then_with(|| self.methods.is_empty().cmp(&other.methods.is_empty()))
    }

    /// Returns `true` if the route has conditions on headers or the query.
    #[must_use]
    pub fn has_conditions(&self) -> bool {
        !(self.headers.is_empty() && self.query.is_empty())
    }

    /// Returns `true` if the route accepts a method.
    #[must_use]
    pub fn allows_method(&self, method: &Method) -> bool {
        // A route for GET accepts HEAD, too (RFC 9110, section 9.3.2).
        let asked = if method == Method::HEAD { &Method::GET } else { method };
        self.methods.is_empty() || self.methods.contains(method) || self.methods.contains(asked)
    }

    /// Returns `true` if the route authenticates callers.
    #[must_use]
    pub fn is_guarded(&self) -> bool {
        self.policies.api_key().is_some() || self.policies.signature().is_some()
    }

    /// Returns the name of the route, or the default name for its index.
    #[must_use]
    pub fn name_or(&self, before: usize) -> String {
        self.name.as_ref().map_or_else(|| format!("route-{}", before + 1), |name| name.get_ref().clone())
    }

    /// Returns the name for which callers need a grant, if they need one.
    #[must_use]
    pub fn grant_name(&self) -> Option<RouteName> {
        self.name.as_ref().filter(|_| self.policies.grants)?.get_ref().parse().ok()
    }

    /// Returns the backend, if exactly one is configured.
    #[must_use]
    pub fn backend(&self) -> Option<Backend<'_>> {
        let upstream = self.upstream.as_ref().map(|name| Backend::Upstream(name.get_ref()));
        let surface = self.surface.map(Backend::Surface);
        let redirect = self.redirect.as_ref().map(|_| Backend::Redirect);
        let respond = self.respond.as_ref().map(|_| Backend::Respond);
        let mut all = [upstream, surface, redirect, respond].into_iter().flatten();
        all.next().filter(|_| all.next().is_none())
    }
}
