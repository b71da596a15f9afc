//! Credentials.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{CallerId, CredentialId, Digest, Scopes, Sealed, Status, TenantId};

/// The kind of a credential, with its sealed secret if it has one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// An API key or an operator's token: a bearer credential, stored only as a digest.
    #[default]
    Key,
    /// An API key that was imported from another gateway as a SHA-256. It is a bearer credential like any other API
    /// key, and is stored as the [digest of its SHA-256](super::Pepper::digest_of_sha256).
    Sha256Key,
    /// An AppCode: a bearer credential that can be displayed again, sealed with
    /// [its associated data](Credential::seal_context).
    AppCode(Sealed),
    /// An access key, which only names the signer, and its signing secret, sealed with the same associated data.
    /// The digest is that of the access key, which proves nothing by itself.
    Signing(Sealed),
}

impl CredentialKind {
    /// Returns a short name: `key`, `app_code` or `signing`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Key | Self::Sha256Key => "key",
            Self::AppCode(_) => "app_code",
            Self::Signing(_) => "signing",
        }
    }

    /// Returns the sealed secret, if the kind has one.
    #[must_use]
    pub fn sealed(&self) -> Option<&Sealed> {
        match self {
            Self::Key | Self::Sha256Key => None,
            Self::AppCode(sealed) | Self::Signing(sealed) => Some(sealed),
        }
    }

    /// Returns `true` for a bearer credential: the request contains it, and that proves the caller.
    #[must_use]
    pub fn is_bearer(&self) -> bool {
        !matches!(self, Self::Signing(_))
    }

    fn is_key(&self) -> bool {
        *self == Self::Key
    }
}

/// A credential as the registry stores it: an API key's digest, never the key itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// Unique in the registry; not a secret.
    pub id: CredentialId,
    /// The tenant of its caller.
    pub tenant: TenantId,
    /// The caller that it proves.
    pub caller: CallerId,
    /// The kind of credential.
    #[serde(default, skip_serializing_if = "CredentialKind::is_key")]
    pub kind: CredentialKind,
    /// A name for people.
    pub name: String,
    /// The keyed digest by which it is found and checked.
    pub digest: Digest,
    /// The version of the pepper of the digest.
    pub pepper: u32,
    /// The part that may be displayed: the prefix and a few characters.
    pub hint: String,
    /// Decides whether the credential is accepted.
    pub status: Status,
    /// The scopes of the credential.
    pub scopes: Scopes,
    /// The first moment at which it is no longer accepted; `None` means never.
    pub not_after: Option<Timestamp>,
    /// The moment since which responses advise to use another credential (`Deprecation`, RFC 9745); `None` means
    /// not deprecated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated_at: Option<Timestamp>,
    /// The credential that replaces it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<CredentialId>,
    /// Revision number, incremented by every change.
    pub revision: u64,
    /// Creation time.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
}

impl Credential {
    /// Returns the associated data with which the secret of a tenant's credential is sealed: tenant, row and
    /// column.
    #[must_use]
    pub fn seal_context<'a>(tenant: &'a TenantId, id: &'a CredentialId) -> [&'a str; 4] {
        [tenant.as_str(), "credential", id.as_str(), "secret"]
    }

    /// Returns the credential after an edit, or `None` if the edit changes nothing.
    #[must_use]
    pub fn apply(&self, edit: CredentialEdit, now: Timestamp) -> Option<Self> {
        let mut after = self.clone();
        if let Some(name) = edit.name {
            after.name = name;
        }
        if let Some(status) = edit.status {
            after.status = status;
        }
        if let Some(scopes) = edit.scopes {
            after.scopes = scopes;
        }
        if let Some(not_after) = edit.not_after {
            after.not_after = not_after;
        }
        if let Some(deprecated_at) = edit.deprecated_at {
            after.deprecated_at = deprecated_at;
        }
        if let Some(replaced_by) = edit.replaced_by {
            after.replaced_by = replaced_by;
        }
        if let Some(kind) = edit.kind {
            after.kind = kind;
        }
        (after != *self).then(|| Self { revision: self.revision + 1, updated_at: now, ..after })
    }
}

/// Changes to a credential. A field that is `None` stays unchanged. The secret itself never changes: another secret
/// is another credential.
#[derive(Debug, Clone, Default)]
pub struct CredentialEdit {
    /// A new name.
    pub name: Option<String>,
    /// A new status.
    pub status: Option<Status>,
    /// New scopes, which replace all previous ones.
    pub scopes: Option<Scopes>,
    /// A new end; `Some(None)` removes it.
    pub not_after: Option<Option<Timestamp>>,
    /// A new moment of deprecation; `Some(None)` removes it.
    pub deprecated_at: Option<Option<Timestamp>>,
    /// A new replacement; `Some(None)` removes it.
    pub replaced_by: Option<Option<CredentialId>>,
    /// The unchanged secret, sealed with another key.
    pub kind: Option<CredentialKind>,
}
