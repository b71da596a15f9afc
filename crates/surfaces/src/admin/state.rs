//! The state that the handlers share, and what all of them do with the registry.

use http::HeaderValue;
use jiff::Timestamp;

use super::{
    call_context::CallContext,
    etag::{self, ETag},
    response::ErrorResponse,
    settings::Admin,
};
use crate::denial;
use portcullis::{
    Denial,
    model::{self, CallerId, TenantId},
    registry::{Operation, RegistryError, RegistryExt},
};

/// The challenge in the response to a key that is no longer accepted.
static CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"admin\"");

/// The state shared by the handlers.
pub(super) struct Surface {
    pub(super) admin: Admin,
}

/// Converts a registry error that means the same for every operation.
pub(super) fn refused(fault: RegistryError, now: Timestamp) -> ErrorResponse {
    denial(fault, now, &CHALLENGE).into()
}

impl Surface {
    pub(super) fn new(admin: Admin) -> Self {
        Self { admin }
    }

    /// Executes a change of a resource at the revision that the caller expects.
    pub(super) async fn change<O: Operation>(
        &self,
        call: &CallContext,
        operation: O,
    ) -> Result<O::Output, ErrorResponse> {
        let done = self.admin.registry.run((call.lock_proof(), operation), call.actor()).await;
        done.map(|(_, done)| done).map_err(|fault| self.refuse_change(fault))
    }

    /// Converts a registry error of a request that creates a resource.
    pub(super) fn registry_error(&self, fault: RegistryError) -> ErrorResponse {
        let conflict = |detail: &'static str| Denial::Conflict { detail: detail.into() };
        match fault {
            RegistryError::NameTaken => conflict("Another caller of this kind has this name.").into(),
            RegistryError::KeyTaken => conflict("Another app has this AppKey.").into(),
            RegistryError::Conflict => conflict("The id is already in use.").into(),
            RegistryError::InUse => conflict("Callers still use it. Delete or change them first.").into(),
            RegistryError::LimitReached(most) => Denial::Conflict {
                detail: format!("The limit of {most} is reached. Delete one that is not needed.").into(),
            }
            .into(),
            RegistryError::IdempotencyKeyReused => Denial::Unprocessable {
                detail: "The Idempotency-Key was already used for a different request.".into(),
            }
            .into(),
            fault => refused(fault, self.admin.clock.now().time),
        }
    }

    /// Converts a registry error of a request that changes a resource at a revision.
    pub(super) fn refuse_change(&self, fault: RegistryError) -> ErrorResponse {
        match fault {
            RegistryError::Conflict => etag::precondition_failed().into(),
            fault => self.registry_error(fault),
        }
    }

    /// Returns the tenant in the path of a request.
    pub(super) async fn tenant(&self, call: &CallContext) -> Result<model::Tenant, ErrorResponse> {
        let tenant = self.admin.registry.tenant(&call.tenant()?).await;
        tenant.map_err(|fault| self.registry_error(fault))
    }

    /// Returns a caller of a tenant.
    pub(super) async fn caller(
        &self,
        tenant: &TenantId,
        id: &CallerId,
    ) -> Result<model::Caller, ErrorResponse> {
        self.admin.registry.caller(tenant, id).await.map_err(|fault| self.registry_error(fault))
    }

    /// Checks the precondition of a change that concerns a caller: `If-Match` names the current tag, or `Lock-Token`
    /// proves that the client holds a lock on the caller.
    pub(super) async fn check_precondition(
        &self,
        call: &CallContext,
        tag: &ETag,
        caller: &CallerId,
    ) -> Result<(), ErrorResponse> {
        let Some(proof) = &call.proof else { return Ok(tag.check_if_match(&call.headers)?) };
        if tag.matches(&call.headers)? {
            return Ok(());
        }
        match self.admin.registry.lock(&proof.lock).await {
            Ok(model::Lock { target: model::LockTarget::Caller(held), .. }) if held == *caller => Ok(()),
            Ok(_) => Err(etag::precondition_required().into()),
            Err(RegistryError::NotFound) => Err(self.registry_error(RegistryError::LockLost)),
            Err(fault) => Err(self.registry_error(fault)),
        }
    }
}
