//! Who asks the surface, and about which gateway and app.

use std::net::IpAddr;

use axum::extract::Request;
use http::Uri;

use super::Refusal;
use crate::{
    Admission, Denial,
    admission::Identity,
    app::{Access, Actor, CallerId, Standing, Tenant},
    denial::Forbidden,
};

/// The kind of resource that scopes name.
pub(super) const RESOURCE: &str = "apps";
/// The most of an unknown id that a refusal repeats.
const REPEATED: usize = 64;

/// Who asks, about what. Ids are as they stand in the path: they need no percent-encoding, and a lock on
/// the path would not see through it.
pub(super) struct Asked {
    identity: Identity,
    peer: Option<IpAddr>,
    pub(super) project: String,
    pub(super) instance: String,
    app: String,
}

impl Asked {
    /// Reads who the guard admitted, and `/v1/{project_id}/apigw/instances/{instance_id}/apps/{id}`, whose
    /// form the router has seen to. The token must be scoped to the project.
    pub(super) fn of(request: &Request) -> Result<Self, Refusal> {
        let admission = request.extensions().get::<Admission>();
        let identity = admission.and_then(Admission::identity).cloned();
        let identity = identity.ok_or_else(|| Denial::internal("the surface is not behind its guard"))?;
        let peer = admission.and_then(Admission::peer);
        let [project, instance, app] = named(request.uri()).map(String::from);
        match &identity.caller().tenant().gateway {
            None => return Err(Refusal::NoProject),
            Some(own) if own.project_id != project => return Err(forbidden(Access::Read)),
            Some(_) => {}
        }
        Ok(Self { identity, peer, project, instance, app })
    }

    /// The id of the app.
    pub(super) fn app(&self) -> Result<CallerId, Refusal> {
        self.app.parse().map_err(|_| self.no_app())
    }

    /// Whether the token's scopes cover this very app.
    pub(super) fn may(&self, access: Access, id: &CallerId) -> Result<(), Refusal> {
        let covered = self.identity.key.scopes.cover(RESOURCE, access, Some(id.as_str()));
        if covered { Ok(()) } else { Err(forbidden(access)) }
    }

    pub(super) fn actor(&self) -> Actor {
        Actor(format!("apig:{}", self.identity.caller().id)).from(self.peer)
    }

    pub(super) fn no_app(&self) -> Refusal {
        Refusal::UnknownApp(repeated(&self.app))
    }

    pub(super) fn no_instance(&self) -> Refusal {
        Refusal::UnknownInstance(repeated(&self.instance))
    }
}

/// Project, instance and app of a path; what it does not name is empty.
fn named(uri: &Uri) -> [&str; 3] {
    let mut segments = uri.path().split('/').skip(2);
    [0, 2, 1].map(|skipped| segments.nth(skipped).unwrap_or_default())
}

fn repeated(id: &str) -> String {
    id.chars().take(REPEATED).collect()
}

fn forbidden(access: Access) -> Refusal {
    Denial::Forbidden(Forbidden::Scope { resource: RESOURCE.into(), access }).into()
}

/// Whether a tenant may change anything.
pub(super) fn in_good_standing(tenant: &Tenant) -> Result<(), Refusal> {
    match tenant.standing {
        Standing::Active => Ok(()),
        Standing::Lapsed => {
            Err(Denial::PaymentRequired { detail: "The subscription has lapsed.".into() }.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_project_instance_and_app() {
        let named = |path: &str| named(&path.parse().unwrap()).map(String::from);
        assert_eq!(named("/v1/p/apigw/instances/i/apps/a?x=/y"), ["p", "i", "a"]);
        assert_eq!(named("/v1/p%2F/apigw/instances/i/apps"), ["p%2F", "i", ""]);
    }
}
