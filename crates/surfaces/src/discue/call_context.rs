//! The context of a management request: its author and its parameters.

use std::str::FromStr;

use axum::{body::Body, extract::Request};
use http::{HeaderMap, Uri, header};
use serde::de::DeserializeOwned;

use super::response::{ErrorResponse, etag};
use crate::{BodyError, author, parse_object};
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
    pub(super) fn extract(request: &Request) -> Result<Self, ErrorResponse> {
        let (actor, identity) = author::of(request.extensions())?;
        let tenant = identity.caller().tenant().id.clone();
        Ok(Self { identity, tenant, pretty: pretty(request.uri().query().unwrap_or_default())?, actor })
    }

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

/// Returns `true` if the query of a request asks for an indented response (`pretty=true`).
#[must_use]
pub fn is_pretty(uri: &Uri) -> bool {
    pretty(uri.query().unwrap_or_default()).unwrap_or(false)
}

/// Parses `pretty`, `pretty=true` or `pretty=false`, at most once.
fn pretty(query: &str) -> Result<bool, ErrorResponse> {
    let of = |parameter: &str| match parameter.split_once('=').unwrap_or((parameter, "true")) {
        ("pretty", "true") => Some(Ok(true)),
        ("pretty", "false") => Some(Ok(false)),
        ("pretty", _) => Some(Err(Denial::bad_request("The query parameter pretty must be true or false."))),
        _ => None,
    };
    let mut given = query.split('&').filter_map(of);
    match (given.next(), given.next()) {
        (None, _) => Ok(false),
        (Some(pretty), None) => Ok(pretty?),
        (Some(_), Some(_)) => Err(Denial::bad_request("The query parameter pretty is repeated.").into()),
    }
}

/// Returns the id at the end of the path. A malformed id is answered with 404.
pub(super) fn target<I: FromStr>(uri: &Uri) -> Result<I, ErrorResponse> {
    // The path is not percent-decoded: an id needs no encoding, and a lock on the path would not match an encoded id.
    let last = uri.path().rsplit('/').next().unwrap_or_default();
    last.parse().map_err(|_| Denial::NotFound.into())
}

/// Checks that `If-Match` allows a change to an entity at a revision.
///
/// # Errors
/// 409 if `If-Match` names another revision.
pub(super) fn still(headers: &HeaderMap, revision: u64) -> Result<(), ErrorResponse> {
    if matches(headers, &etag(revision)) {
        return Ok(());
    }
    Err(Denial::Conflict { detail: "If-Match names another revision.".into() }.into())
}

/// Returns `true` if `If-Match` is absent or names this entity tag (RFC 9110, section 13.1.1).
fn matches(headers: &HeaderMap, etag: &str) -> bool {
    let mut tags = headers.get_all(header::IF_MATCH).iter().peekable();
    let names = |value: &str| value.split(',').map(str::trim).any(|tag| tag == etag || tag == "*");
    tags.peek().is_none() || tags.any(|value| value.to_str().is_ok_and(names))
}

/// Parses the body of a request as an object of known members. A blank body counts as an empty object.
pub(super) async fn read_body<T: DeserializeOwned + Default>(body: Body) -> Result<T, ErrorResponse> {
    let refused = |error: BodyError| error.denial(|error| Denial::bad_request(error.to_string()));
    let content = crate::read_body(body).await.map_err(refused)?;
    if content.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    parse_object(&content).map_err(|error| Denial::bad_request(error.to_string()).into())
}

pub(super) fn unprocessable(detail: &'static str) -> ErrorResponse {
    Denial::Unprocessable { detail: detail.into() }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pretty_is_a_boolean() {
        for (query, expected) in [
            ("", Some(false)),
            ("x=1&y", Some(false)),
            ("pretty", Some(true)),
            ("pretty=true", Some(true)),
            ("x=1&pretty=false", Some(false)),
            ("pretty=", None),
            ("pretty=1", None),
            ("pretty=TRUE", None),
            ("pretty&pretty", None),
            ("pretty=true&pretty=no", None),
        ] {
            assert_eq!(pretty(query).ok(), expected, "{query}");
        }
    }

    #[test]
    fn if_match_is_compared_strongly() {
        for (fields, expected) in [
            (&[][..], true),
            (&["*"], true),
            (&["\"7\""], true),
            (&["\"6\" , \"7\""], true),
            (&["\"6\"", "\"7\""], true),
            (&["\"6\""], false),
            (&["W/\"7\""], false),
            (&["7"], false),
            (&[""], false),
            (&["\"77\""], false),
        ] {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(header::IF_MATCH, field.parse().unwrap());
            }
            assert_eq!(matches(&headers, "\"7\""), expected, "{fields:?}");
        }
    }
}
