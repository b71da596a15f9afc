//! The authority behind a change: the credential that requested it, with the rights it had when it was admitted.

use std::{net::IpAddr, sync::Arc};

use jiff::Timestamp;

use super::{Caller, CallerId, Credential, CredentialId, Role, Scopes, Status, TenantId};

/// A credential that requested a change, as it was when its request was admitted.
///
/// A request body takes time to arrive, and the credential may be revoked meanwhile. A registry therefore checks
/// the authority of an [`Actor`](super::Actor) again, in the transaction of the change.
///
/// ```
/// use portcullis::{Admission, model::Authority};
///
/// let authority = |admission: &Admission| admission.identity().map(|it| it.authority(admission.peer()));
/// ```
#[derive(Debug, Clone)]
pub struct Authority {
    pub(crate) tenant: TenantId,
    pub(crate) caller: CallerId,
    /// `None` for an app that signed with its own secret: the app is its own credential.
    pub(crate) credential: Option<CredentialId>,
    pub(crate) scopes: Arc<Scopes>,
    /// The role, when the caller is an administrator.
    pub(crate) role: Option<Role>,
    pub(crate) address: Option<IpAddr>,
}

impl Authority {
    /// Returns the tenant of the caller.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Returns the caller that sent the request.
    #[must_use]
    pub fn caller(&self) -> &CallerId {
        &self.caller
    }

    /// Returns the credential of the request; `None` for an app that signed with its own secret.
    #[must_use]
    pub fn credential(&self) -> Option<&CredentialId> {
        self.credential.as_ref()
    }

    /// Returns `true` if the caller and its credential still have all the rights that they had when the request was
    /// admitted.
    #[must_use]
    pub fn still_holds(&self, caller: &Caller, credential: Option<&Credential>, now: Timestamp) -> bool {
        let enabled = caller.status == Status::Enabled;
        let role = self.role.is_none_or(|needed| caller.role().is_some_and(|role| role.allows(needed)));
        let list = caller.app().and_then(|app| app.acl.as_ref());
        let address = list.is_none_or(|list| list.allows(self.address));
        let accepted = match (&self.credential, credential) {
            (None, _) => caller.app().is_some(),
            (Some(_), None) => false,
            (Some(id), Some(credential)) => {
                credential.id == *id
                    && credential.caller == caller.id
                    && credential.status == Status::Enabled
                    && credential.not_after.is_none_or(|end| now < end)
                    && credential.scopes == *self.scopes
            }
        };
        enabled && role && address && accepted && caller.id == self.caller
    }
}
