//! Configuration of the policies of routes.

use std::num::{NonZeroU8, NonZeroU32};

use serde::{Deserialize, Deserializer, de};

use super::{ConfigDuration, SourceName, Toggle, list::named};
use portcullis::{
    media::InvalidMedia,
    policy::{Accept, ContentType, KeySource, Lockout, RateLimitFields},
};

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
