//! The parameters of a new credential.

use jiff::Timestamp;

use crate::model::{
    CallerId, Credential, CredentialId, CredentialKind, Digest, GeneratedKey, Pepper, Scopes, Status,
    TenantId,
};

/// A credential to be created.
///
/// ```
/// use portcullis::{
///     model::{CallerId, GeneratedKey, KeyPrefix, Pepper, TenantId},
///     registry::NewCredential,
/// };
///
/// let (tenant, caller): (TenantId, CallerId) = ("acme".parse()?, "billing".parse()?);
/// let key = GeneratedKey::generate(&KeyPrefix::default());
/// let pepper = Pepper::new(1, &[7; 32]);
/// let credential = NewCredential {
///     name: "production".into(),
///     ..NewCredential::key(tenant, caller, &key, &pepper)
/// };
/// assert_eq!((credential.pepper, &*credential.hint), (1, key.hint()));
/// # Ok::<(), portcullis::model::InvalidId>(())
/// ```
#[derive(Debug, Clone)]
pub struct NewCredential {
    /// The id of the credential. A taken id fails with [`RegistryError::Conflict`](super::RegistryError::Conflict).
    pub id: CredentialId,
    /// The tenant of the caller.
    pub tenant: TenantId,
    /// The caller that the credential proves.
    pub caller: CallerId,
    /// The kind of credential.
    pub kind: CredentialKind,
    /// A name for people.
    pub name: String,
    /// The keyed digest by which the credential is found and checked. A taken digest fails with
    /// [`RegistryError::Conflict`](super::RegistryError::Conflict).
    pub digest: Digest,
    /// The version of the pepper of the digest.
    pub pepper: u32,
    /// The part that may be displayed: the prefix and a few characters.
    pub hint: String,
    /// Decides whether the credential is accepted.
    pub status: Status,
    /// The scopes of the credential.
    pub scopes: Scopes,
    /// The first moment at which the credential is no longer accepted; `None` means never.
    pub not_after: Option<Timestamp>,
}

impl NewCredential {
    /// Returns the credential of a generated API key, under a random id. The name is `key.` and the id; the key is
    /// enabled, has all rights of its caller and does not expire.
    #[must_use]
    pub fn key(tenant: TenantId, caller: CallerId, key: &GeneratedKey, pepper: &Pepper) -> Self {
        let id = CredentialId::random();
        Self {
            name: format!("key.{id}"),
            id,
            tenant,
            caller,
            kind: CredentialKind::Key,
            digest: pepper.digest(key.expose()),
            pepper: pepper.version(),
            hint: key.hint().into(),
            status: Status::Enabled,
            scopes: Scopes::All,
            not_after: None,
        }
    }

    /// Returns the credential in its initial state.
    #[must_use]
    pub fn into_credential(self, now: Timestamp) -> Credential {
        Credential {
            id: self.id,
            tenant: self.tenant,
            caller: self.caller,
            kind: self.kind,
            name: self.name,
            digest: self.digest,
            pepper: self.pepper,
            hint: self.hint,
            status: self.status,
            scopes: self.scopes,
            not_after: self.not_after,
            deprecated_at: None,
            replaced_by: None,
            revision: 1,
            created_at: now,
            updated_at: now,
        }
    }
}

/// Returns the parameters that create the same credential again, not deprecated and not replaced.
impl From<Credential> for NewCredential {
    fn from(credential: Credential) -> Self {
        Self {
            id: credential.id,
            tenant: credential.tenant,
            caller: credential.caller,
            kind: credential.kind,
            name: credential.name,
            digest: credential.digest,
            pepper: credential.pepper,
            hint: credential.hint,
            status: credential.status,
            scopes: credential.scopes,
            not_after: credential.not_after,
        }
    }
}
