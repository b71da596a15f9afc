//! Routes, as they are written.

use std::num::{NonZeroU8, NonZeroU32};

use http::Method;
use serde::{Deserialize, Deserializer, de};
use toml::Spanned;

use super::{HostName, ConfigDuration, RoutePath, SourceName};
use crate::{
    model::RouteName,
    media::InvalidMedia,
    policy::{Accept, ContentType, Lockout, RateLimitFields, KeySource},
    normalize_path::PathRules,
};

/// Which requests, past which policies, where to.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// What the admin API calls it, and apps are authorized for: 1 to 64 of `A-Z a-z 0-9 - _ .`; unless it is said,
    /// `route-` and its number.
    pub name: Option<Spanned<String>>,
    /// Only for this host; a route with a host is looked at before those without.
    pub host: Option<HostName>,
    /// This path and all below it; `/` is everything. The longest that fits is taken. It may be written as people read
    /// it or percent-encoded: `/café` and `/caf%C3%A9` are the same.
    pub path: RoutePath,
    /// Only these methods; others are 405. Without it, all.
    #[serde(default, deserialize_with = "methods")]
    pub methods: Vec<Method>,
    /// The name of the service behind.
    pub upstream: Option<Spanned<String>>,
    /// A published management contract instead of a service behind. It has its own policies.
    pub surface: Option<Surface>,
    /// Rules of the path's normal form that do not hold here, by name; see [`Rules`] for what each risks.
    #[serde(default)]
    pub relax: RelaxedRules,
    /// Bytes of a request's body; beyond it 413. Without it `limits.body_bytes` counts.
    pub body_bytes: Option<u64>,
    /// What a request must pass.
    #[serde(default)]
    pub policies: Policies,
}

/// Relaxed rules, by name.
#[derive(Debug, Clone, Default)]
pub struct RelaxedRules(PathRules);

impl RelaxedRules {
    /// The rules.
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

/// What the gateway answers itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Surface {
    /// discue's api clients.
    Discue,
    /// APIG's apps.
    Apig,
    /// The descriptions of the surfaces (OpenAPI), and a page that shows them.
    Docs,
}

impl Surface {
    /// Its name, as it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Discue => "discue",
            Self::Apig => "apig",
            Self::Docs => "docs",
        }
    }

    /// The paths below which it answers. The descriptions are shown wherever a route puts them.
    pub(super) fn paths(self) -> &'static [&'static str] {
        match self {
            Self::Discue => &["/v1/api_clients", "/v1/api_keys", "/api_clients", "/api_keys"],
            Self::Apig => &["/v1", "/v2"],
            Self::Docs => &["/"],
        }
    }
}

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend<'a> {
    /// To the service of this name.
    Upstream(&'a str),
    /// To a surface.
    Surface(Surface),
}

/// What a request must pass, in this order, whatever the order they are written in.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policies {
    /// The media types of requests' content that the service reads.
    pub content_type: Option<MediaTypes<ContentType>>,
    /// The media types it can answer in, the preferred first.
    pub accept: Option<MediaTypes<Accept>>,
    /// Callers are known by an API key.
    pub api_key: Option<Toggle<ApiKeyPolicy>>,
    /// Callers are known by their signatures. Beside `api_key`, whoever does not sign needs a key.
    pub signature: Option<Toggle<SignaturePolicy>>,
    /// The treatment of callers whose tenant's subscription has lapsed.
    #[serde(default)]
    pub lapsed: Lapsed,
    /// The kind of resource that the key's scopes must cover.
    pub scope: Option<String>,
    /// The segment of the path that names the resource, from 1. Without it, a key that is confined to some resources of
    /// the kind is refused.
    pub scope_target: Option<NonZeroU8>,
    /// Only callers that have a grant for the route.
    #[serde(default)]
    pub grants: bool,
    /// Locks hold here.
    #[serde(default)]
    pub lock: bool,
    /// Callers' plans hold here.
    pub rate_limit: Option<Toggle<RateLimitPolicy>>,
}

/// The treatment of callers whose tenant's subscription has lapsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lapsed {
    /// They are refused (402).
    #[default]
    Refuse,
    /// They are admitted like all others.
    Admit,
}

/// A kind of callers, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KindName {
    /// Calls APIs.
    ApiClient,
    /// Calls APIs.
    App,
    /// Manages what its tenant has.
    Operator,
    /// Manages the gateway.
    Administrator,
}

/// The names of kinds, when some are listed.
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

/// How API keys are looked for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiKeyPolicy {
    /// Where; without it, `X-API-KEY`, `Authorization: Bearer` and `Authorization: ApiKey`.
    #[serde(deserialize_with = "named")]
    pub sources: Vec<SourceName>,
    /// The realm that a 401 names.
    pub realm: Option<String>,
    /// The kinds of callers that are admitted; without it, those that call APIs: `api_client` and `app`.
    #[serde(deserialize_with = "named")]
    pub kinds: Vec<KindName>,
    /// Whether the key travels on to the service behind.
    pub forward: bool,
    /// How many bad keys lock an address out.
    pub lockout: Option<LockoutPolicy>,
}

/// How signatures are taken.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SignaturePolicy {
    /// The realm that a 401 names.
    pub realm: Option<String>,
    /// The kinds of callers that are admitted; without it, those that call APIs: `api_client` and `app`.
    #[serde(deserialize_with = "named")]
    pub kinds: Vec<KindName>,
    /// Whether the signature travels on to the service behind.
    pub forward: bool,
    /// Whether content may be left out of what is signed (`UNSIGNED-PAYLOAD`).
    pub unsigned_content: bool,
    /// How many bad signatures lock an address out; bad keys of the same route count, too.
    pub lockout: Option<LockoutPolicy>,
}

impl Default for SignaturePolicy {
    fn default() -> Self {
        Self { realm: None, kinds: Vec::new(), forward: false, unsigned_content: true, lockout: None }
    }
}

/// When an address that sends bad keys is refused for a while.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockoutPolicy {
    /// So many bad keys,
    pub attempts: NonZeroU32,
    /// within such a time,
    pub within: ConfigDuration,
    /// and from there only good ones are taken for so long.
    pub lasts: ConfigDuration,
}

/// As [`Lockout::default`].
impl Default for LockoutPolicy {
    fn default() -> Self {
        let minute = ConfigDuration::from_secs(60);
        Self { attempts: NonZeroU32::new(10).unwrap_or(NonZeroU32::MIN), within: minute, lasts: minute }
    }
}

impl LockoutPolicy {
    /// The policy, with nobody locked out yet.
    #[must_use]
    pub fn lockout(&self) -> Lockout {
        Lockout::new(self.attempts.get(), self.within.duration(), self.lasts.duration())
    }
}

impl Policies {
    /// How API keys are looked for, when they are.
    #[must_use]
    pub fn api_key(&self) -> Option<&ApiKeyPolicy> {
        self.api_key.as_ref().and_then(Toggle::get)
    }

    /// How signatures are taken, when they are.
    #[must_use]
    pub fn signature(&self) -> Option<&SignaturePolicy> {
        self.signature.as_ref().and_then(Toggle::get)
    }
}

impl ApiKeyPolicy {
    /// The places to look at, when some are named.
    #[must_use]
    pub fn places(&self) -> Option<Vec<KeySource>> {
        (!self.sources.is_empty()).then(|| self.sources.iter().map(|source| source.0.clone()).collect())
    }
}

/// How the state of the limits is told.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimitPolicy {
    /// As draft-ietf-httpapi-ratelimit-headers-10 has it: `RateLimit` and `RateLimit-Policy`.
    pub draft_10: bool,
    /// As `X-RateLimit-Limit`, `-Remaining` and `-Reset`.
    pub x_ratelimit: bool,
}

impl Default for RateLimitPolicy {
    fn default() -> Self {
        let RateLimitFields { draft_10, x_ratelimit } = RateLimitFields::default();
        Self { draft_10, x_ratelimit }
    }
}

impl From<RateLimitPolicy> for RateLimitFields {
    fn from(policy: RateLimitPolicy) -> Self {
        Self { draft_10: policy.draft_10, x_ratelimit: policy.x_ratelimit }
    }
}

/// `true` and `false`, or a table that says more.
#[derive(Debug, Clone)]
pub struct Toggle<T>(Option<T>);

impl<T> Toggle<T> {
    /// The settings, when it is on.
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

/// A policy made from a list of media types.
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
        return Err(de::Error::custom("an empty list would refuse everything: name a media type"));
    }
    policy(&list).map(MediaTypes).map_err(|error| de::Error::custom(format!("no media type: {error}")))
}

fn methods<'de, D: Deserializer<'de>>(list: D) -> Result<Vec<Method>, D::Error> {
    let known = |name: String| match name.parse::<Method>() {
        Ok(method) if matches!(method.as_str(), "CONNECT" | "TRACE" | "TRACK") => {
            Err(de::Error::custom(format!("{name} is not forwarded: no route can take it")))
        }
        Ok(method) if name.bytes().all(|b| b.is_ascii_uppercase()) => Ok(method),
        _ => Err(de::Error::custom(format!("\"{name}\" is no method: they are upper case, such as \"GET\""))),
    };
    named::<_, String>(list)?.into_iter().map(known).collect()
}

/// A list that names something: who writes one that does not means none, and would get the default.
fn named<'de, D: Deserializer<'de>, T: Deserialize<'de>>(list: D) -> Result<Vec<T>, D::Error> {
    let list = Vec::<T>::deserialize(list)?;
    if list.is_empty() {
        let why = "an empty list names nothing, and does not refuse everything either: leave it out for the default";
        return Err(de::Error::custom(why));
    }
    Ok(list)
}

impl Route {
    /// Its name, as so many routes stand before it.
    #[must_use]
    pub fn name_or(&self, before: usize) -> String {
        self.name.as_ref().map_or_else(|| format!("route-{}", before + 1), |name| name.get_ref().clone())
    }

    /// What callers need a grant for, when they need one.
    #[must_use]
    pub fn grant_name(&self) -> Option<RouteName> {
        self.name.as_ref().filter(|_| self.policies.grants)?.get_ref().parse().ok()
    }

    /// Where it leads.
    #[must_use]
    pub fn backend(&self) -> Option<Backend<'_>> {
        match (&self.upstream, self.surface) {
            (Some(name), None) => Some(Backend::Upstream(name.get_ref())),
            (None, Some(surface)) => Some(Backend::Surface(surface)),
            _ => None,
        }
    }
}
