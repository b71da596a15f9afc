//! The context of a management request: its author and its parameters.

use std::str::FromStr;

use axum::extract::{FromRequest, FromRequestParts, Request};
use http::{Uri, request::Parts};
use serde::de::DeserializeOwned;

use super::{pretty::pretty, response::ErrorResponse};
use crate::{BodyError, author, parse_object, read_body};
use portcullis::{
    Denial,
    admission::Identity,
    denial::Forbidden,
    model::{Access, Actor, TenantId},
};

/// The context of a management request: the caller, its tenant and the form of the response.
pub(super) struct CallContext {
    pub(super) identity: Identity,
    pub(super) tenant: TenantId,
    pub(super) pretty: bool,
    actor: Actor,
}

impl CallContext {
    /// Checks that the key's scopes cover a resource; without an id, all resources of this kind.
    pub(super) fn may(&self, access: Access, resource: &str, id: Option<&str>) -> Result<(), ErrorResponse> {
        if self.identity.key.scopes.allow(resource, access, id) {
            return Ok(());
        }
        Err(Denial::Forbidden(Forbidden::Scope { resource: resource.into(), access }).into())
    }

    /// Returns `true` if the key's scopes cover a resource of a list.
    pub(super) fn covers(&self, access: Access, resource: &str, id: &str) -> bool {
        self.identity.key.scopes.allow(resource, access, Some(id))
    }

    /// Returns the author of a change that requires an active subscription.
    pub(super) fn subscriber(&self) -> Actor {
        self.actor.clone().subscribed(self.tenant.clone())
    }

    /// Returns the author of a change that only removes something. Such a change is allowed under a lapsed
    /// subscription, too.
    pub(super) fn revoker(&self) -> &Actor {
        &self.actor
    }
}

/// Returns the id at the end of the path. A malformed id is answered with 404.
pub(super) fn target<I: FromStr>(uri: &Uri) -> Result<I, ErrorResponse> {
    // The path is not percent-decoded: an id needs no encoding, and a lock on the path would not match an encoded id.
    let last = uri.path().rsplit('/').next().unwrap_or_default();
    last.parse().map_err(|_| Denial::NotFound.into())
}

impl<S: Sync> FromRequestParts<S> for CallContext {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ErrorResponse> {
        let (actor, identity) = author::actor_and_identity(&parts.extensions)?;
        let tenant = identity.caller().tenant().id.clone();
        Ok(Self { identity, tenant, pretty: pretty(parts.uri.query().unwrap_or_default())?, actor })
    }
}

/// The body of a request, parsed as an object of known members. A blank body counts as an empty object.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned + Default, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = ErrorResponse;

    async fn from_request(request: Request, _: &S) -> Result<Self, ErrorResponse> {
        let refused = |error: BodyError| error.denial(|error| Denial::bad_request(error.to_string()));
        let content = read_body(request.into_body()).await.map_err(refused)?;
        if content.trim_ascii().is_empty() {
            return Ok(Self(T::default()));
        }
        parse_object(&content).map(Self).map_err(|error| Denial::bad_request(error.to_string()).into())
    }
}

pub(super) fn unprocessable(detail: &'static str) -> ErrorResponse {
    Denial::Unprocessable { detail: detail.into() }.into()
}
