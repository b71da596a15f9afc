//! Rules of credentials and sealed secrets.

use super::{Rules, check_revision, ensure_not};
use crate::{
    model::{
        CallerId, CallerKind, ChangeKind, Credential, CredentialEdit, CredentialId, CredentialKind, Entity,
        Sealed, TenantId,
    },
    registry::{NewCredential, RegistryError},
};

/// Creates a credential: [`create_credential`](crate::registry::RegistryExt::create_credential).
#[derive(Debug, Clone)]
pub struct CreateCredential {
    /// The credential to create.
    pub credential: NewCredential,
    /// The maximum number of credentials of this kind that the caller may have; `None` is unlimited.
    pub most: Option<u32>,
}

/// Changes a credential: [`update_credential`](crate::registry::RegistryExt::update_credential).
#[derive(Debug, Clone)]
pub struct UpdateCredential {
    /// The tenant of the credential.
    pub tenant: TenantId,
    /// The id of the credential.
    pub id: CredentialId,
    /// The revision that the change is based on; `None` accepts any revision.
    pub expected: Option<u64>,
    /// The new values.
    pub edit: CredentialEdit,
}

/// Deletes a credential and returns its last state:
/// [`delete_credential`](crate::registry::RegistryExt::delete_credential).
#[derive(Debug, Clone)]
pub struct DeleteCredential {
    /// The tenant of the credential.
    pub tenant: TenantId,
    /// The id of the credential.
    pub id: CredentialId,
    /// The revision of the credential to delete; `None` accepts any revision.
    pub expected: Option<u64>,
}

/// The owner of a secret.
#[derive(Debug, Clone)]
pub enum SecretRef {
    /// The AppSecret of an app.
    App(CallerId),
    /// The sealed secret of a credential.
    Credential(CredentialId),
}

/// Replaces a sealed secret by the same secret, sealed with another key, and returns the secret's owner. Locks do not
/// prevent this, and neither the revision nor the times of the owner change, because its visible state does not.
///
/// Fails with [`RegistryError::NotFound`] when there is no such secret, and with [`RegistryError::Conflict`] when
/// `expected` is not the current revision.
#[derive(Debug, Clone)]
pub struct Reseal {
    /// The tenant of the secret's owner.
    pub tenant: TenantId,
    /// The owner of the secret.
    pub secret: SecretRef,
    /// The revision of the entity that the secret was read from.
    pub expected: u64,
    /// The secret, sealed with the new key.
    pub sealed: Sealed,
}

impl Rules<'_> {
    pub(in crate::registry) async fn create_credential(
        &mut self,
        CreateCredential { credential, most }: CreateCredential,
    ) -> Result<Credential, RegistryError> {
        let caller = self.tx.caller(&credential.tenant, &credential.caller).await?;
        let caller = caller.ok_or(RegistryError::NotFound)?;
        if let Some(most) = most {
            let alike = |other: &&Credential| other.kind.name() == credential.kind.name();
            let count = self.tx.credentials_of(&caller).await?.iter().filter(alike).count();
            ensure_not(count >= most as usize, RegistryError::LimitReached(most))?;
        }
        ensure_not(self.tx.has_credential(&credential.id).await?, RegistryError::Conflict)?;
        ensure_not(self.tx.has_digest(&credential.digest).await?, RegistryError::Conflict)?;
        let credential = credential.into_credential(self.tx.now());
        self.record(ChangeKind::Created, credential).await
    }

    pub(in crate::registry) async fn update_credential(
        &mut self,
        UpdateCredential { tenant, id, expected, edit }: UpdateCredential,
    ) -> Result<Credential, RegistryError> {
        let before = self.tx.credential(&tenant, &id).await?.ok_or(RegistryError::NotFound)?;
        check_revision(expected, before.revision)?;
        match before.apply(edit, self.tx.now()) {
            Some(after) => self.record(ChangeKind::Updated, after).await,
            None => Ok(before),
        }
    }

    pub(in crate::registry) async fn delete_credential(
        &mut self,
        DeleteCredential { tenant, id, expected }: DeleteCredential,
    ) -> Result<Credential, RegistryError> {
        let credential = self.tx.credential(&tenant, &id).await?.ok_or(RegistryError::NotFound)?;
        check_revision(expected, credential.revision)?;
        self.record(ChangeKind::Deleted, credential).await
    }

    pub(in crate::registry) async fn reseal(
        &mut self,
        Reseal { tenant, secret, expected, sealed }: Reseal,
    ) -> Result<Entity, RegistryError> {
        let resealed = match secret {
            SecretRef::App(id) => {
                let mut caller = self.tx.caller(&tenant, &id).await?.ok_or(RegistryError::NotFound)?;
                check_revision(Some(expected), caller.revision)?;
                let CallerKind::App(app) = &mut caller.kind else { return Err(RegistryError::NotFound) };
                app.secret = sealed;
                Entity::Caller(caller)
            }
            SecretRef::Credential(id) => {
                let mut credential =
                    self.tx.credential(&tenant, &id).await?.ok_or(RegistryError::NotFound)?;
                check_revision(Some(expected), credential.revision)?;
                match &mut credential.kind {
                    CredentialKind::Key | CredentialKind::Sha256Key => return Err(RegistryError::NotFound),
                    CredentialKind::AppCode(old) | CredentialKind::Signing(old) => *old = sealed,
                }
                Entity::Credential(credential)
            }
        };
        self.record(ChangeKind::Updated, resealed).await
    }
}
