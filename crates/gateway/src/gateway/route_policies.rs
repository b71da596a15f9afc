//! The policies of a route, as its configuration defines them.

use super::{GatewayState, caching::KeepCaching};
use crate::config::{self, Config};
use portcullis::{
    Policy,
    policy::{
        ApiKey, ApiThrottle, BodyBuffering, BodyLimit, IpAcl, RateLimit, RequireGrant, RequireScope,
        RequireUnlocked, Signature,
    },
};

/// Creates the policies of a route, in the documented order.
pub(super) fn route_policies(
    route: &config::Route,
    config: &Config,
    caller_policies: &CallerPolicies<'_>,
) -> Box<dyn Policy> {
    let (policies, directory) = (&route.policies, &caller_policies.shared.directory);
    // A surface has its own body limit and its own error response for it.
    let body_limit = route.upstream.is_some().then(|| route.body_bytes.unwrap_or(config.limits.body_bytes));
    let lapsed = policies.lapsed_subscriptions == config::LapsedSubscriptions::Allow;
    let api_key = policies.api_key().map(|settings| caller_policies.api_key(settings, lapsed));
    let signature = policies.signature().map(|settings| caller_policies.signature(settings, lapsed));
    let (api_key, signature, either) = match (api_key, signature) {
        (Some(api_key), Some(signature)) => (None, None, Some(signature.or(api_key))),
        (api_key, signature) => (api_key, signature, None),
    };
    // Every identified caller may have an address list.
    let known = api_key.is_some() || signature.is_some() || either.is_some();
    let addresses = known.then(|| IpAcl::new(directory.clone()));
    let rate_limit = policies.rate_limit.as_ref().and_then(config::Toggle::get);
    let policies = (
        body_limit.map(BodyLimit::new),
        policies.content_type.as_ref().map(|checked| checked.0.clone()),
        policies.accept.as_ref().map(|checked| checked.0.clone()),
        api_key,
        (signature, either),
        (
            policies.scope.as_deref().map(|resource| scope(resource, policies)),
            route.grant_name().map(|name| RequireGrant::new(directory.clone(), name)),
            addresses,
        ),
        policies.lock.then(|| RequireUnlocked::new(directory.clone())),
        (
            rate_limit.map(|settings| RateLimit::new().fields((*settings).into())),
            route.grant_name().map(|name| ApiThrottle::new(directory.clone(), name)),
        ),
    );
    match route.cache_control {
        config::CacheControl::Private => Box::new(policies),
        config::CacheControl::Keep => Box::new((KeepCaching, policies)),
    }
}

fn scope(resource: &str, policies: &config::Policies) -> RequireScope {
    let scope = RequireScope::new(resource);
    match policies.scope_target_segment {
        Some(segment) => scope.target_segment(usize::from(segment.get())),
        None => scope,
    }
}

/// The parts that all routes of a gateway share for the identification of callers.
pub(super) struct CallerPolicies<'a> {
    pub(super) shared: &'a GatewayState,
    pub(super) buffering: BodyBuffering,
}

impl CallerPolicies<'_> {
    fn api_key(&self, settings: &config::ApiKeyPolicy, lapsed: bool) -> ApiKey {
        let mut policy = ApiKey::new(self.shared.directory.clone());
        if let Some(places) = settings.places() {
            policy = policy.sources(places);
        }
        if let Some(realm) = &settings.realm {
            policy = policy.realm(realm);
        }
        if let Some(kinds) = config::kinds(&settings.caller_kinds) {
            policy = policy.caller_kinds(&kinds);
        }
        if let Some(lockout) = &settings.lockout {
            policy = policy.lockout(self.shared.lockouts.get(lockout));
        }
        if lapsed {
            policy = policy.admit_lapsed();
        }
        if settings.forward_credential { policy.forward_credential() } else { policy }
    }

    fn signature(&self, settings: &config::SignaturePolicy, lapsed: bool) -> Signature {
        let policy = Signature::new(self.shared.directory.clone(), self.shared.sealer.clone());
        let mut policy = policy.buffering(self.buffering.clone());
        if let Some(realm) = &settings.realm {
            policy = policy.realm(realm);
        }
        if let Some(kinds) = config::kinds(&settings.caller_kinds) {
            policy = policy.caller_kinds(&kinds);
        }
        if let Some(lockout) = &settings.lockout {
            policy = policy.lockout(self.shared.lockouts.get(lockout));
        }
        if lapsed {
            policy = policy.admit_lapsed();
        }
        if !settings.allow_unsigned_content {
            policy = policy.only_signed_content();
        }
        if settings.forward_credential { policy.forward_credential() } else { policy }
    }
}
