//! Who asks the surface, and about which gateway and app.

use std::str::FromStr;

use axum::extract::Request;
use http::Uri;

use super::{ApigError, Version};
use crate::{
    Denial,
    admission::Identity,
    model::{Access, Actor, CallerId, PlanId, Scopes, SubscriptionStatus, Tenant},
    denial::Forbidden,
    surface::author,
};

/// The kind of resource that scopes name.
pub(super) const RESOURCE: &str = "apps";
/// The most of an unknown id that a refusal repeats.
const REPEATED: usize = 64;
/// What of an app has pages whose missing app is APIG.3004; on all others it is APIG.3002.
const PARTS: [&str; 2] = ["app-codes", "app-acl"];

/// Who asks, about what. Ids are as they stand in the path: they need no percent-encoding, and a lock on
/// the path would not see through it.
pub(super) struct CallContext {
    identity: Identity,
    actor: Actor,
    pub(super) version: Version,
    pub(super) project: String,
    pub(super) instance: String,
    /// What follows the instance, segment by segment.
    rest: Vec<String>,
}

impl CallContext {
    /// Reads who the guard admitted, and `/v1/{project_id}/apigw/instances/{instance_id}/…`, whose form the
    /// router has seen to. The token must be scoped to the project.
    pub(super) fn extract(request: &Request) -> Result<Self, ApigError> {
        let asked = Self::extract_any_project(request)?;
        if asked.is_own_project() { Ok(asked) } else { Err(forbidden(Access::Read)) }
    }

    /// Reads a request whose path may name another project than the token is scoped to.
    pub(super) fn extract_any_project(request: &Request) -> Result<Self, ApigError> {
        let (actor, identity) = author::of(request.extensions())?;
        let version = request.extensions().get::<Version>().copied();
        let version = version.ok_or_else(|| Denial::internal("a route of the surface has no version"))?;
        let ([project, instance], rest) = named(request.uri());
        if identity.caller().tenant().gateway.is_none() {
            return Err(ApigError::NoProject);
        }
        Ok(Self { identity, actor, version, project: project.into(), instance: instance.into(), rest })
    }

    /// Returns `true` if the path names the project that the token is scoped to.
    pub(super) fn is_own_project(&self) -> bool {
        self.identity.caller().tenant().gateway.as_ref().is_some_and(|own| own.project_id == self.project)
    }

    /// The segment of the path at a place behind the instance.
    pub(super) fn segment(&self, at: usize) -> &str {
        self.rest.get(at).map_or("", String::as_str)
    }

    /// The id of the app, at a place behind the instance.
    pub(super) fn app(&self, at: usize) -> Result<CallerId, ApigError> {
        let text = self.segment(at);
        text.parse().map_err(|_| self.no_app(text))
    }

    /// An id that was not read from the path, as it is kept; `None` when it is none.
    pub(super) fn parse_id<I: FromStr>(&self, text: &str) -> Option<I> {
        self.version.kept(text).parse().ok()
    }

    /// Whether the token's scopes cover this very app.
    pub(super) fn require_access(&self, access: Access, id: &CallerId) -> Result<(), ApigError> {
        if self.covers(access, id) { Ok(()) } else { Err(forbidden(access)) }
    }

    /// Whether the token's scopes cover all apps: what is the whole gateway's, is for such a token.
    pub(super) fn require_full_access(&self, access: Access) -> Result<(), ApigError> {
        let covered = self.identity.key.scopes.allow(RESOURCE, access, None);
        if covered { Ok(()) } else { Err(forbidden(access)) }
    }

    pub(super) fn covers(&self, access: Access, id: &CallerId) -> bool {
        self.identity.key.scopes.allow(RESOURCE, access, Some(id.as_str()))
    }

    /// The apps that the token may look at; `None` is all of them.
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

    /// The same, as it may stand in a refusal.
    pub(super) fn repeated(&self, at: usize) -> String {
        repeated(&self.version.shown(self.segment(at)))
    }

    /// The plan that the operator is held to.
    pub(super) fn plan(&self) -> Option<PlanId> {
        self.identity.caller().budgets.as_ref().map(|budgets| budgets.plan().id().clone())
    }

    /// The author of a change that is made only under an active subscription of a gateway.
    ///
    /// # Errors
    /// 402 in the contract's words, when it is known to have lapsed; the registry checks it again.
    pub(super) fn subscriber(&self, tenant: &Tenant) -> Result<Actor, ApigError> {
        match tenant.standing {
            SubscriptionStatus::Active => Ok(self.actor.clone().subscribed(tenant.id.clone())),
            SubscriptionStatus::Lapsed => {
                Err(Denial::PaymentRequired { detail: "The subscription has lapsed.".into() }.into())
            }
        }
    }

    /// The author of a change that takes something away, which is made under a lapsed subscription too.
    pub(super) fn revoker(&self) -> &Actor {
        &self.actor
    }

    /// There is no such app; the contract's pages have two codes for that.
    pub(super) fn no_app(&self, id: &str) -> ApigError {
        let id = repeated(&self.version.shown(id));
        let itself = self.segment(0) == RESOURCE && !PARTS.contains(&self.segment(2));
        if itself { ApigError::UnknownApp(id) } else { ApigError::UnknownOwner(id) }
    }

    pub(super) fn no_instance(&self) -> ApigError {
        ApigError::UnknownInstance(repeated(&self.instance))
    }
}

/// Project and instance of a path, and the segments behind them; what it does not name is empty.
fn named(uri: &Uri) -> ([&str; 2], Vec<String>) {
    let mut segments = uri.path().split('/').skip(2);
    let named = [0, 2].map(|skipped| segments.nth(skipped).unwrap_or_default());
    (named, segments.map(String::from).collect())
}

pub(super) fn repeated(id: &str) -> String {
    id.chars().take(REPEATED).collect()
}

/// How often a change is tried again that somebody else was faster than.
pub(super) const MAX_ATTEMPTS: u32 = 16;

/// Others were faster, again and again.
pub(super) fn too_many_conflicts() -> ApigError {
    Denial::unavailable("It is being changed by others.", 1).into()
}

fn forbidden(access: Access) -> ApigError {
    Denial::Forbidden(Forbidden::Scope { resource: RESOURCE.into(), access }).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_project_instance_and_what_is_behind() {
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
