//! Who asks the surface, and for what.

use std::str::FromStr;

use axum::{body::Body, extract::Request};
use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use jiff::Timestamp;

use super::{response::ErrorResponse, locks::LockTokenHeader, page::Query};
use crate::{
    Denial,
    admission::Identity,
    model::{Access, Actor, CallerId, CredentialId, Role, Scopes, TenantId},
    denial::Forbidden,
    registry::Command,
    surface::{BodyError, author, read_body_within},
};

/// The kind of resource that the scopes of an administrator's key name.
const RESOURCE: &str = "admin";

/// The most bytes of content.
const MOST: usize = 1024 * 1024;

/// Where the ids of a path stand in it: `/admin/v1/tenants/{tenant}/callers/{caller}`.
const FIRST: usize = 4;
const SECOND: usize = 6;

/// Who asks, and what for.
pub(super) struct CallContext {
    identity: Identity,
    role: Role,
    actor: Actor,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    /// What proves that it holds a lock.
    pub(super) proof: Option<LockTokenHeader>,
    pub(super) content: Bytes,
}

impl CallContext {
    /// Reads a request of somebody who has at least a role.
    ///
    /// # Errors
    /// 403; 408 and 413 for content.
    pub(super) async fn extract(request: Request, needed: Role) -> Result<Self, ErrorResponse> {
        let (call, body) = Self::extract_head(request, needed)?;
        let refused = |why| match why {
            BodyError::TooLong => Denial::ContentTooLarge { limit: MOST as u64 },
            _ => Denial::RequestTimeout,
        };
        let content = read_body_within(body, MOST).await.map_err(|why| why.denial(refused))?;
        Ok(Self { content, ..call })
    }

    /// Reads all of such a request but its content, which is handed over.
    ///
    /// # Errors
    /// 403.
    pub(super) fn extract_head(request: Request, needed: Role) -> Result<(Self, Body), ErrorResponse> {
        let (parts, body) = request.into_parts();
        let (actor, identity) = author::of(&parts.extensions)?;
        let role = identity.caller().role();
        let role = role.ok_or_else(|| Denial::internal("the surface is not behind its guard"))?;
        let access = if parts.method.is_safe() { Access::Read } else { Access::Write };
        if !Self::scopes_allow(&identity.key.scopes, access) {
            return Err(Denial::Forbidden(Forbidden::Scope { resource: RESOURCE.into(), access }).into());
        }
        let (method, uri, headers) = (parts.method, parts.uri, parts.headers);
        let mut call =
            Self { identity, role, actor, method, uri, headers, proof: None, content: Bytes::new() };
        call.require_role(needed)?;
        call.proof = LockTokenHeader::from_headers(&call.headers)?;
        Ok((call, body))
    }

    /// Whether a key of these scopes may do such a thing here.
    pub(super) fn scopes_allow(scopes: &Scopes, access: Access) -> bool {
        scopes.allow(RESOURCE, access, None)
    }

    /// Whether who asks has at least a role.
    ///
    /// # Errors
    /// 403, naming it.
    pub(super) fn require_role(&self, needed: Role) -> Result<(), ErrorResponse> {
        if self.role.allows(needed) { Ok(()) } else { Err(Denial::Forbidden(Forbidden::RoleTooLow { needed }).into()) }
    }

    /// The parameters, of which only these may be there.
    pub(super) fn query(&self, known: &[&str]) -> Result<Query, Denial> {
        Query::of(&self.uri, known)
    }

    /// The tenant in a path.
    pub(super) fn tenant_of(uri: &Uri) -> Result<TenantId, Denial> {
        named(uri, FIRST)
    }

    /// The tenant in the path.
    pub(super) fn tenant(&self) -> Result<TenantId, Denial> {
        Self::tenant_of(&self.uri)
    }

    /// What stands in the path behind its tenant.
    pub(super) fn child_id<I: FromStr>(&self) -> Result<I, Denial> {
        named(&self.uri, SECOND)
    }

    /// What stands in a path without a tenant.
    pub(super) fn path_id<I: FromStr>(&self) -> Result<I, Denial> {
        named(&self.uri, FIRST)
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// The caller that asks.
    pub(super) fn caller(&self) -> &CallerId {
        &self.identity.caller().id
    }

    pub(super) fn name(&self) -> &str {
        &self.identity.caller().name
    }

    /// The key that it asks with.
    pub(super) fn key(&self) -> &CredentialId {
        &self.identity.key.id
    }

    /// When that key ends.
    pub(super) fn key_expiry(&self) -> Option<Timestamp> {
        self.identity.key.not_after()
    }

    /// Commands to be done only while the lock is held that is proven to be, if one is.
    pub(super) fn with_lock_proof(&self, commands: Vec<Command>) -> Vec<Command> {
        self.proof.iter().map(LockTokenHeader::to_command).chain(commands).collect()
    }

    /// The author of every change, whose key the registry checks again: the content took its time.
    pub(super) fn actor(&self) -> &Actor {
        &self.actor
    }
}

/// As it stands in the path: an id needs no percent-encoding. What is no id is not found.
fn named<I: FromStr>(uri: &Uri, at: usize) -> Result<I, Denial> {
    let segment = uri.path().split('/').nth(at).unwrap_or_default();
    segment.parse().map_err(|_| Denial::NotFound)
}
