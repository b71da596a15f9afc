//! The identity of a request's caller.

use std::{net::IpAddr, sync::Arc};

use crate::{
    directory::{CallerEntry, KeyEntry},
    model::{Authority, CallerKind, CredentialId},
};

/// The recognised caller and its credential, both in the state in which the request was decided.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The credential.
    pub key: Arc<KeyEntry>,
}

impl Identity {
    /// Returns the credential's caller.
    #[must_use]
    pub fn caller(&self) -> &CallerEntry {
        self.key.caller()
    }

    /// Returns the authority of the credential, for the [`Actor`](crate::model::Actor) of a change that was requested
    /// from `address`.
    #[must_use]
    pub fn authority(&self, address: Option<IpAddr>) -> Authority {
        let (key, caller) = (&self.key, self.caller());
        let is_the_app = caller.kind() == CallerKind::APP && key.id == CredentialId::from(&caller.id);
        Authority {
            tenant: caller.tenant().id.clone(),
            caller: caller.id.clone(),
            credential: (!is_the_app).then(|| key.id.clone()),
            scopes: key.scopes.clone(),
            role: caller.role(),
            address,
        }
    }
}
