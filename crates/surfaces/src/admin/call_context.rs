//! The context of a request: the client's identity and the request's parts.

use std::str::FromStr;

use axum::{body::Body, extract::Request};
use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use jiff::Timestamp;

use super::{lock_token::LockTokenHeader, response::ErrorResponse};
use crate::{BodyError, author, read_body_within};
use portcullis::{
    Denial,
    admission::Identity,
    denial::Forbidden,
    model::{Access, Actor, CallerId, CredentialId, LockId, LockToken, Role, Scopes, TenantId},
    registry::ProveLock,
};

/// The kind of resource in the scopes of an administrator's key.
const RESOURCE: &str = "admin";

/// Maximum size of a request body, in bytes.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Positions of the ids among the segments of a path: `/admin/v1/tenants/{tenant}/callers/{caller}`.
const FIRST: usize = 4;
const SECOND: usize = 6;

/// The context of a request.
pub(super) struct CallContext {
    identity: Identity,
    role: Role,
    actor: Actor,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    /// The lock token of the request, if it has one.
    pub(super) proof: Option<LockTokenHeader>,
    pub(super) content: Bytes,
}

impl CallContext {
    /// Reads a request, with its body, and requires a role.
    ///
    /// # Errors
    /// 403 for a lower role; 408 and 413 for the body.
    pub(super) async fn extract(request: Request, needed: Role) -> Result<Self, ErrorResponse> {
        let (call, body) = Self::extract_head(request, needed)?;
        let refused = |why| match why {
            BodyError::TooLong => Denial::ContentTooLarge { limit: MAX_BODY_BYTES as u64 },
            _ => Denial::RequestTimeout,
        };
        let content = read_body_within(body, MAX_BODY_BYTES).await.map_err(|why| why.denial(refused))?;
        Ok(Self { content, ..call })
    }

    /// Reads the head of a request and requires a role. Returns the body unread.
    ///
    /// # Errors
    /// 403 for a lower role.
    pub(super) fn extract_head(request: Request, needed: Role) -> Result<(Self, Body), ErrorResponse> {
        let (parts, body) = request.into_parts();
        let (actor, identity) = author::actor_and_identity(&parts.extensions)?;
        let role = identity.caller().role();
        let role = role.ok_or_else(|| Denial::internal("the handler runs without its guard"))?;
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

    /// Returns `true` if the scopes allow an access to this API.
    pub(super) fn scopes_allow(scopes: &Scopes, access: Access) -> bool {
        scopes.allow(RESOURCE, access, None)
    }

    /// Requires that the caller has at least a role.
    ///
    /// # Errors
    /// 403 that names the role.
    pub(super) fn require_role(&self, needed: Role) -> Result<(), ErrorResponse> {
        if self.role.allows(needed) {
            Ok(())
        } else {
            Err(Denial::Forbidden(Forbidden::RoleTooLow { needed }).into())
        }
    }

    /// Returns the tenant in a path.
    pub(super) fn tenant_of(uri: &Uri) -> Result<TenantId, Denial> {
        named(uri, FIRST)
    }

    /// Returns the tenant in the path of the request.
    pub(super) fn tenant(&self) -> Result<TenantId, Denial> {
        Self::tenant_of(&self.uri)
    }

    /// Returns the id in the path below the tenant.
    pub(super) fn child_id<I: FromStr>(&self) -> Result<I, Denial> {
        named(&self.uri, SECOND)
    }

    /// Returns the id in a path without a tenant.
    pub(super) fn path_id<I: FromStr>(&self) -> Result<I, Denial> {
        named(&self.uri, FIRST)
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// Returns the id of the caller.
    pub(super) fn caller(&self) -> &CallerId {
        &self.identity.caller().id
    }

    pub(super) fn name(&self) -> &str {
        &self.identity.caller().name
    }

    /// Returns the id of the key in the request.
    pub(super) fn key(&self) -> &CredentialId {
        &self.identity.key.id
    }

    /// Returns the end of the key in the request.
    pub(super) fn key_expiry(&self) -> Option<Timestamp> {
        self.identity.key.not_after()
    }

    /// Returns the token of a request that refreshes or deletes a lock, if there is one.
    ///
    /// # Errors
    /// 412 if it belongs to another lock.
    pub(super) fn token_of(&self, lock: &LockId) -> Result<Option<LockToken>, Denial> {
        match &self.proof {
            Some(proof) if proof.lock != *lock => {
                let detail = "The token in Lock-Token belongs to another lock.";
                Err(Denial::PreconditionFailed { detail: detail.into() })
            }
            proof => Ok(proof.as_ref().map(|proof| proof.token.clone())),
        }
    }

    /// Returns the operation that checks the lock of the lock token, if there is one. It goes before other operations.
    pub(super) fn lock_proof(&self) -> Option<ProveLock> {
        self.proof.as_ref().map(LockTokenHeader::to_operation)
    }

    /// Returns the author of every change. The registry checks its key again, because the body may have arrived late.
    pub(super) fn actor(&self) -> &Actor {
        &self.actor
    }
}

/// Parses a segment of the path without percent-decoding, which ids do not need. An invalid id is not found.
fn named<I: FromStr>(uri: &Uri, at: usize) -> Result<I, Denial> {
    let segment = uri.path().split('/').nth(at).unwrap_or_default();
    segment.parse().map_err(|_| Denial::NotFound)
}
