//! Configuration of routes.

use http::Method;
use serde::{Deserialize, Deserializer, de};
use toml::Spanned;

use super::{HostName, Policies, RoutePath, value::named};
use portcullis::{model::RouteName, normalize_path::PathRules};

/// A route: the requests that it matches, their policies, and the upstream or surface.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The name in the admin API and in grants for apps: 1 to 64 characters of `A-Z a-z 0-9 - _ .`. Default: `route-`
    /// and the number of the route.
    pub name: Option<Spanned<String>>,
    /// The host that the route matches. Default: any. Routes with a host take precedence over routes without one.
    pub host: Option<HostName>,
    /// The path that the route matches, with everything below it; `/` matches every path. The longest match wins. Plain
    /// and percent-encoded spellings are equal: `/café` and `/caf%C3%A9`.
    pub path: RoutePath,
    /// The methods that the route accepts; the response to others is 405. Default: all methods.
    #[serde(default, deserialize_with = "methods")]
    pub methods: Vec<Method>,
    /// The name of the upstream.
    pub upstream: Option<Spanned<String>>,
    /// The surface that handles the requests, instead of an upstream. A surface has its own policies.
    pub surface: Option<Surface>,
    /// The path rules that the route does not enforce, by name; [`PathRules`] describes the risk of each.
    #[serde(default)]
    pub relax_path_rules: RelaxedRules,
    /// The maximum size of a request body in bytes; beyond it, the response is 413. Default: `limits.body_bytes`.
    pub body_bytes: Option<u64>,
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

/// The backend of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend<'a> {
    /// The upstream of this name.
    Upstream(&'a str),
    /// A surface.
    Surface(Surface),
}

fn methods<'de, D: Deserializer<'de>>(list: D) -> Result<Vec<Method>, D::Error> {
    let known = |name: String| match name.parse::<Method>() {
        Ok(method) if matches!(method.as_str(), "CONNECT" | "TRACE" | "TRACK") => {
            Err(de::Error::custom(format!("{name} is not supported; no route can accept it")))
        }
        Ok(method) if name.bytes().all(|b| b.is_ascii_uppercase()) => Ok(method),
        _ => Err(de::Error::custom(format!("\"{name}\" is not a method; use upper case, such as \"GET\""))),
    };
    named::<_, String>(list)?.into_iter().map(known).collect()
}

impl Route {
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
        match (&self.upstream, self.surface) {
            (Some(name), None) => Some(Backend::Upstream(name.get_ref())),
            (None, Some(surface)) => Some(Backend::Surface(surface)),
            _ => None,
        }
    }
}
