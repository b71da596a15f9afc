//! The context of a management request: its author, and the gateway and app that its path names.

use std::str::FromStr;

use http::{Uri, request::Parts};

use super::{error::ApigError, version::Version};
use crate::author;
use portcullis::{
    Denial,
    admission::Identity,
    denial::Forbidden,
    model::{Access, Actor, CallerId, PlanId, Scopes, SubscriptionStatus, Tenant},
};

/// The resource of scopes for this API.
pub(super) const RESOURCE: &str = "apps";
/// The most characters of an unknown id that an error text repeats.
const REPEATED: usize = 64;
/// Sub-resources of an app for which the contract lists a missing app as APIG.3004. Elsewhere it is APIG.3002.
const PARTS: [&str; 2] = ["app-codes", "app-acl"];

/// The context of a management request. Ids from the path are not percent-decoded: they need no encoding, and a lock
/// on the path would not match an encoded id.
pub(super) struct CallContext {
    identity: Identity,
    actor: Actor,
    pub(super) version: Version,
    pub(super) project: String,
    pub(super) instance: String,
    /// The path segments after the instance.
    rest: Vec<String>,
}

impl CallContext {
    /// Reads the caller that the guard admitted, and the path `/v1/{project_id}/apigw/instances/{instance_id}/…`,
    /// whose form the router has checked. The token must be scoped to the project.
    pub(super) fn extract(parts: &Parts) -> Result<Self, ApigError> {
        let call = Self::extract_any_project(parts)?;
        if call.is_own_project() { Ok(call) } else { Err(forbidden(Access::Read)) }
    }

    /// Reads a request whose path may name a project other than the token's own.
    pub(super) fn extract_any_project(parts: &Parts) -> Result<Self, ApigError> {
        let (actor, identity) = author::actor_and_identity(&parts.extensions)?;
        let version = Self::version_of(parts)?;
        let ([project, instance], rest) = named(&parts.uri);
        if identity.caller().tenant().gateway.is_none() {
            return Err(ApigError::NoProject);
        }
        Ok(Self { identity, actor, version, project: project.into(), instance: instance.into(), rest })
    }

    /// Returns the version of the contract that a path belongs to.
    ///
    /// # Errors
    /// 500 if the route has no version.
    pub(super) fn version_of(parts: &Parts) -> Result<Version, Denial> {
        let version = parts.extensions.get::<Version>().copied();
        version.ok_or_else(|| Denial::internal("an APIG route has no version"))
    }

    /// Returns `true` if the path names the project that the token is scoped to.
    pub(super) fn is_own_project(&self) -> bool {
        self.identity.caller().tenant().gateway.as_ref().is_some_and(|own| own.project_id == self.project)
    }

    /// Returns the path segment at a position after the instance; empty if there is none.
    pub(super) fn segment(&self, at: usize) -> &str {
        self.rest.get(at).map_or("", String::as_str)
    }

    /// Returns the id of the app in the path segment at a position after the instance.
    pub(super) fn app(&self, at: usize) -> Result<CallerId, ApigError> {
        let text = self.segment(at);
        text.parse().map_err(|_| self.no_app(text))
    }

    /// Returns an id that was not read from the path, in its stored form; `None` if it is malformed.
    pub(super) fn parse_id<I: FromStr>(&self, text: &str) -> Option<I> {
        self.version.stored(text).parse().ok()
    }

    /// Checks that the token's scopes cover this app.
    pub(super) fn require_access(&self, access: Access, id: &CallerId) -> Result<(), ApigError> {
        if self.covers(access, id) { Ok(()) } else { Err(forbidden(access)) }
    }

    /// Checks that the token's scopes cover all apps, as objects that belong to the whole gateway require.
    pub(super) fn require_full_access(&self, access: Access) -> Result<(), ApigError> {
        let covered = self.identity.key.scopes.allow(RESOURCE, access, None);
        if covered { Ok(()) } else { Err(forbidden(access)) }
    }

    pub(super) fn covers(&self, access: Access, id: &CallerId) -> bool {
        self.identity.key.scopes.allow(RESOURCE, access, Some(id.as_str()))
    }

    /// Returns the apps that the token may read; `None` means all of them.
    pub(super) fn visible_apps(&self) -> Option<Vec<CallerId>> {
        let scopes = &*self.identity.key.scopes;
        match scopes {
            Scopes::Listed(list) if !scopes.allow(RESOURCE, Access::Read, None) => {
                let ours = list.iter().filter(|scope| &*scope.resource == RESOURCE);
                let targets = ours.filter_map(|scope| scope.targets.as_deref()).flatten();
                Some(targets.filter_map(|id| id.parse().ok()).collect())
            }
            Scopes::All | Scopes::Listed(_) => None,
        }
    }

    /// Returns the path segment at a position after the instance, in the version's spelling and shortened for an error
    /// text.
    pub(super) fn repeated(&self, at: usize) -> String {
        repeated(&self.version.shown(self.segment(at)))
    }

    /// Returns the plan of the operator.
    pub(super) fn plan(&self) -> Option<PlanId> {
        self.identity.caller().buckets.as_ref().map(|buckets| buckets.plan().id().clone())
    }

    /// Returns the author of a change that requires an active subscription of the gateway.
    ///
    /// # Errors
    /// 402, in the contract's error format, if the subscription is known to have lapsed. The registry checks it again.
    pub(super) fn subscriber(&self, tenant: &Tenant) -> Result<Actor, ApigError> {
        match tenant.standing {
            SubscriptionStatus::Active => Ok(self.actor.clone().subscribed(tenant.id.clone())),
            SubscriptionStatus::Lapsed => {
                Err(Denial::PaymentRequired { detail: "The subscription has lapsed.".into() }.into())
            }
        }
    }

    /// Returns the author of a change that only removes something. Such a change is allowed under a lapsed
    /// subscription, too.
    pub(super) fn revoker(&self) -> &Actor {
        &self.actor
    }

    /// Returns the error for an unknown app. The contract's pages have two codes for it.
    pub(super) fn no_app(&self, id: &str) -> ApigError {
        let id = repeated(&self.version.shown(id));
        let itself = self.segment(0) == RESOURCE && !PARTS.contains(&self.segment(2));
        if itself { ApigError::UnknownApp(id) } else { ApigError::UnknownOwner(id) }
    }

    pub(super) fn no_instance(&self) -> ApigError {
        ApigError::UnknownInstance(repeated(&self.instance))
    }
}

/// Splits a path into project, instance and the segments after them. A missing project or instance is empty.
fn named(uri: &Uri) -> ([&str; 2], Vec<String>) {
    let mut segments = uri.path().split('/').skip(2);
    let named = [0, 2].map(|skipped| segments.nth(skipped).unwrap_or_default());
    (named, segments.map(String::from).collect())
}

pub(super) fn repeated(id: &str) -> String {
    id.chars().take(REPEATED).collect()
}

/// The most attempts at a change that concurrent changes keep conflicting with.
const MAX_ATTEMPTS: u32 = 16;

/// Repeats a change that returns `None` because of a concurrent change. Each attempt reads the current state again.
///
/// # Errors
/// The first error of an attempt; 503 if concurrent changes conflict with every attempt.
pub(super) async fn retry_conflicts<T, F>(attempt: impl Fn() -> F) -> Result<T, ApigError>
where
    F: Future<Output = Result<Option<T>, ApigError>>,
{
    for _ in 0..MAX_ATTEMPTS {
        if let Some(done) = attempt().await? {
            return Ok(done);
        }
    }
    Err(Denial::unavailable("The resource is being changed by other requests. Try again.", 1).into())
}

fn forbidden(access: Access) -> ApigError {
    Denial::Forbidden(Forbidden::Scope { resource: RESOURCE.into(), access }).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_names_project_instance_and_resource() {
        let named = |path: &str| {
            let uri = path.parse().unwrap();
            let (named, rest) = named(&uri);
            (named.map(String::from), rest)
        };
        let (places, rest) = named("/v1/p/apigw/instances/i/apps/a?x=/y");
        assert_eq!(
            (places.each_ref().map(|text| &**text), rest),
            (["p", "i"], vec!["apps".into(), "a".into()])
        );
        let (places, rest) = named("/v1/p%2F/apigw/instances/i/apps");
        assert_eq!((places.each_ref().map(|text| &**text), rest), (["p%2F", "i"], vec!["apps".into()]));
    }
}
