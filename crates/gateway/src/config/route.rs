//! Configuration of routes.

use std::num::{NonZeroU8, NonZeroU32};

use http::Method;
use serde::{Deserialize, Deserializer, de};
use toml::Spanned;

use super::{
    CacheControl, Compression, ConfigDuration, Cors, HostName, RoutePath, SecurityHeaders, SourceName,
    Upgrades,
    list::{methods, named},
};
use portcullis::{
    media::InvalidMedia,
    model::RouteName,
    normalize_path::PathRules,
    policy::{Accept, ContentType, KeySource, Lockout, RateLimitFields},
};

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

/// The backend of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend<'a> {
    /// The upstream of this name.
    Upstream(&'a str),
    /// A surface.
    Surface(Surface),
}

/// The policies of a route. They run in the order of the fields, not in that of the file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policies {
    /// The media types of request bodies that the upstream accepts.
    pub content_type: Option<MediaTypes<ContentType>>,
    /// The media types of responses that the upstream offers, preferred first.
    pub accept: Option<MediaTypes<Accept>>,
    /// Authentication by API key.
    pub api_key: Option<Toggle<ApiKeyPolicy>>,
    /// Authentication by signature. With `api_key`, an unsigned request needs a key.
    pub signature: Option<Toggle<SignaturePolicy>>,
    /// The treatment of callers of a tenant whose subscription has lapsed.
    #[serde(default)]
    pub lapsed_subscriptions: LapsedSubscriptions,
    /// The kind of resource that the scopes of the key must include.
    pub scope: Option<String>,
    /// The number of the path segment that names the resource, starting at 1. Without it, a key that is restricted to
    /// some resources of the kind is denied.
    pub scope_target_segment: Option<NonZeroU8>,
    /// Whether callers need a grant for the route.
    #[serde(default)]
    pub grants: bool,
    /// Whether locks apply to the route.
    #[serde(default)]
    pub lock: bool,
    /// Rate limits by the plans of callers.
    pub rate_limit: Option<Toggle<RateLimitPolicy>>,
}

/// The treatment of callers of a tenant whose subscription has lapsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LapsedSubscriptions {
    /// Deny (402).
    #[default]
    Deny,
    /// Allow, like other callers.
    Allow,
}

/// The name of a kind of callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KindName {
    /// A client of APIs, of the discue surface.
    ApiClient,
    /// A client of APIs, of the APIG surface.
    App,
    /// A manager of its tenant.
    Operator,
    /// A manager of the gateway.
    Administrator,
}

/// Returns the names of the listed kinds, or `None` if the list is empty.
#[must_use]
pub fn kinds(listed: &[KindName]) -> Option<Vec<&'static str>> {
    let name = |kind: &KindName| match kind {
        KindName::ApiClient => "api_client",
        KindName::App => "app",
        KindName::Operator => "operator",
        KindName::Administrator => "administrator",
    };
    (!listed.is_empty()).then(|| listed.iter().map(name).collect())
}

/// Settings of authentication by API key.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiKeyPolicy {
    /// The headers that may contain the key. Default: `X-API-KEY`, `Authorization: Bearer` and `Authorization: ApiKey`.
    #[serde(deserialize_with = "named")]
    pub sources: Vec<SourceName>,
    /// The realm in `WWW-Authenticate` of a 401 response.
    pub realm: Option<String>,
    /// The kinds of callers to admit. Default: `api_client` and `app`.
    #[serde(deserialize_with = "named")]
    pub caller_kinds: Vec<KindName>,
    /// Whether the key is forwarded to the upstream.
    pub forward_credential: bool,
    /// The lockout of addresses that send invalid keys. Default: none.
    pub lockout: Option<LockoutPolicy>,
}

/// Settings of authentication by signature.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SignaturePolicy {
    /// The realm in `WWW-Authenticate` of a 401 response.
    pub realm: Option<String>,
    /// The kinds of callers to admit. Default: `api_client` and `app`.
    #[serde(deserialize_with = "named")]
    pub caller_kinds: Vec<KindName>,
    /// Whether the signature is forwarded to the upstream.
    pub forward_credential: bool,
    /// Whether requests with an unsigned body (`UNSIGNED-PAYLOAD`) are admitted.
    pub allow_unsigned_content: bool,
    /// The lockout of addresses that send invalid signatures. Invalid keys of the same route count as well. Default:
    /// none.
    pub lockout: Option<LockoutPolicy>,
}

impl Default for SignaturePolicy {
    fn default() -> Self {
        Self {
            realm: None,
            caller_kinds: Vec::new(),
            forward_credential: false,
            allow_unsigned_content: true,
            lockout: None,
        }
    }
}

/// The lockout of addresses that send invalid credentials.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockoutPolicy {
    /// The number of invalid credentials that starts a lockout.
    pub attempts: NonZeroU32,
    /// The period in which they are counted.
    pub window: ConfigDuration,
    /// The time for which the address is admitted only with a valid credential.
    pub duration: ConfigDuration,
}

/// Returns the values of [`Lockout::default`].
impl Default for LockoutPolicy {
    fn default() -> Self {
        let minute = ConfigDuration::from_secs(60);
        Self { attempts: NonZeroU32::new(10).unwrap_or(NonZeroU32::MIN), window: minute, duration: minute }
    }
}

impl LockoutPolicy {
    /// Returns the policy, without any locked-out address.
    #[must_use]
    pub fn lockout(&self) -> Lockout {
        Lockout::new(self.attempts.get(), self.window.duration(), self.duration.duration())
    }
}

impl Policies {
    /// Returns the settings of authentication by API key, if enabled.
    #[must_use]
    pub fn api_key(&self) -> Option<&ApiKeyPolicy> {
        self.api_key.as_ref().and_then(Toggle::get)
    }

    /// Returns the settings of authentication by signature, if enabled.
    #[must_use]
    pub fn signature(&self) -> Option<&SignaturePolicy> {
        self.signature.as_ref().and_then(Toggle::get)
    }
}

impl ApiKeyPolicy {
    /// Returns the configured sources, or `None` if there are none.
    #[must_use]
    pub fn places(&self) -> Option<Vec<KeySource>> {
        (!self.sources.is_empty()).then(|| self.sources.iter().map(|source| source.0.clone()).collect())
    }
}

/// The response headers that report the state of the limits.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimitPolicy {
    /// Whether responses have `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10).
    pub ietf_draft_10: bool,
    /// Whether responses have `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset`.
    pub x_ratelimit: bool,
}

impl Default for RateLimitPolicy {
    fn default() -> Self {
        let RateLimitFields { ietf_draft_10, x_ratelimit } = RateLimitFields::default();
        Self { ietf_draft_10, x_ratelimit }
    }
}

impl From<RateLimitPolicy> for RateLimitFields {
    fn from(policy: RateLimitPolicy) -> Self {
        Self { ietf_draft_10: policy.ietf_draft_10, x_ratelimit: policy.x_ratelimit }
    }
}

/// A setting that is `true`, `false` or a table of details.
#[derive(Debug, Clone)]
pub struct Toggle<T>(Option<T>);

impl<T> Toggle<T> {
    /// Returns the settings, if enabled.
    pub fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Toggle<T> {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        struct Visitor<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de> + Default> de::Visitor<'de> for Visitor<T> {
            type Value = Toggle<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("true, false or a table")
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<Toggle<T>, E> {
                Ok(Toggle(on.then(T::default)))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Toggle<T>, A::Error> {
                T::deserialize(de::value::MapAccessDeserializer::new(map)).map(|it| Toggle(Some(it)))
            }
        }

        value.deserialize_any(Visitor(std::marker::PhantomData))
    }
}

/// A policy that is built from a list of media types.
#[derive(Debug, Clone)]
pub struct MediaTypes<P>(pub P);

impl<'de> Deserialize<'de> for MediaTypes<Accept> {
    fn deserialize<D: Deserializer<'de>>(list: D) -> Result<Self, D::Error> {
        checked(list, |list| Accept::new(list.iter().map(String::as_str)))
    }
}

impl<'de> Deserialize<'de> for MediaTypes<ContentType> {
    fn deserialize<D: Deserializer<'de>>(list: D) -> Result<Self, D::Error> {
        checked(list, |list| ContentType::new(list.iter().map(String::as_str)))
    }
}

fn checked<'de, D: Deserializer<'de>, P>(
    list: D,
    policy: impl Fn(&[String]) -> Result<P, InvalidMedia>,
) -> Result<MediaTypes<P>, D::Error> {
    let list = Vec::<String>::deserialize(list)?;
    if list.is_empty() {
        return Err(de::Error::custom("an empty list would deny every request; name a media type"));
    }
    policy(&list).map(MediaTypes).map_err(|error| de::Error::custom(format!("invalid media type: {error}")))
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
