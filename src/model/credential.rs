//! Credentials: what proves a caller, and what each may be used for.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{CallerId, CredentialId, Digest, Sealed, Status, TenantId};

/// What a caller wants to do to a resource. Writing includes reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Look.
    Read,
    /// Look and change.
    Write,
}

/// The name of a kind of resource, such as `api_clients`: 1 to 64 of `a-z 0-9 _`.
pub type Resource = Box<str>;

/// One permission: to a kind of resource, how deep, and to which of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scope {
    /// The kind of resource.
    pub resource: Resource,
    /// How deep.
    pub access: Access,
    /// The ids it is confined to; `None` is all of them.
    pub targets: Option<Vec<Box<str>>>,
}

/// What a credential may be used for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scopes {
    /// Everything its caller may.
    #[default]
    All,
    /// Only what is listed.
    Listed(Vec<Scope>),
}

impl Scopes {
    /// Whether they cover an access to a kind of resource, and to one of its kind when named.
    ///
    /// ```
    /// use portcullis::app::{Access, Scope, Scopes};
    ///
    /// let read = Scope { resource: "queues".into(), access: Access::Read, targets: None };
    /// let scopes = Scopes::Listed(vec![read]);
    /// assert!(scopes.cover("queues", Access::Read, Some("q1")));
    /// assert!(!scopes.cover("queues", Access::Write, Some("q1")));
    /// ```
    #[must_use]
    pub fn allow(&self, resource: &str, access: Access, target: Option<&str>) -> bool {
        self.any(resource, access, |scope| match (&scope.targets, target) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(ids), Some(id)) => ids.iter().any(|one| &**one == id),
        })
    }

    /// Whether they cover an access to at least one resource of a kind.
    #[must_use]
    pub fn allow_any(&self, resource: &str, access: Access) -> bool {
        self.any(resource, access, |_| true)
    }

    fn any(&self, resource: &str, access: Access, reaches: impl Fn(&Scope) -> bool) -> bool {
        let fits = |scope: &Scope| &*scope.resource == resource && scope.access >= access && reaches(scope);
        match self {
            Self::All => true,
            Self::Listed(list) => list.iter().any(fits),
        }
    }
}

/// What a credential is, and how it proves its caller.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// An API key or an operator's token: presented, and kept nowhere but as its digest.
    #[default]
    Key,
    /// An API key of which only the SHA-256 was known when it came here, from another gateway: presented like any
    /// other, and kept as the [digest of its SHA-256](super::Pepper::digest_of_sha256).
    Sha256Key,
    /// An AppCode: presented too, and readable again, sealed for [its place](Credential::place).
    AppCode(Sealed),
    /// An access key, which only names who signs, and the secret that signs, sealed likewise. The digest is the
    /// access key's; presenting it proves nothing.
    Signing(Sealed),
}

impl CredentialKind {
    /// A short name: `key`, `app_code` or `signing`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Key | Self::Sha256Key => "key",
            Self::AppCode(_) => "app_code",
            Self::Signing(_) => "signing",
        }
    }

    /// What is sealed of it.
    #[must_use]
    pub fn sealed(&self) -> Option<&Sealed> {
        match self {
            Self::Key | Self::Sha256Key => None,
            Self::AppCode(sealed) | Self::Signing(sealed) => Some(sealed),
        }
    }

    /// What it is, when it is presented as it stands to prove its caller.
    #[must_use]
    pub fn is_bearer(&self) -> bool {
        !matches!(self, Self::Signing(_))
    }

    fn is_key(&self) -> bool {
        *self == Self::Key
    }
}

/// A credential as it is kept: an API key's digest, never itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// Unique in the registry; not a secret.
    pub id: CredentialId,
    /// Whose caller it proves.
    pub tenant: TenantId,
    /// Who it proves.
    pub caller: CallerId,
    /// What it is.
    #[serde(default, skip_serializing_if = "CredentialKind::is_key")]
    pub kind: CredentialKind,
    /// For people.
    pub name: String,
    /// The keyed digest it is found and checked by.
    pub digest: Digest,
    /// The version of the pepper under the digest.
    pub pepper: u32,
    /// What may be shown of it: the prefix and a few characters.
    pub hint: String,
    /// Whether it is accepted.
    pub status: Status,
    /// What it may be used for.
    pub scopes: Scopes,
    /// The first moment at which it is no longer accepted; `None` is never.
    pub not_after: Option<Timestamp>,
    /// Since when whoever uses it is told to use another one (`Deprecation`, RFC 9745); `None` is not yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated_at: Option<Timestamp>,
    /// The one that was made in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<CredentialId>,
    /// Grows by one with every change.
    pub revision: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Credential {
    /// What the secret of a tenant's credential is sealed for: its tenant, its row and its column.
    #[must_use]
    pub fn seal_context<'a>(tenant: &'a TenantId, id: &'a CredentialId) -> [&'a str; 4] {
        [tenant.as_str(), "credential", id.as_str(), "secret"]
    }

    /// The credential as it is after an edit, or `None` when the edit changes nothing.
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

/// What to change of a credential; what is `None` stays. The secret itself never changes: another secret
/// is another credential.
#[derive(Debug, Clone, Default)]
pub struct CredentialEdit {
    /// A new name.
    pub name: Option<String>,
    /// A new status.
    pub status: Option<Status>,
    /// Other scopes, all of them.
    pub scopes: Option<Scopes>,
    /// Another end, or `Some(None)` for none.
    pub not_after: Option<Option<Timestamp>>,
    /// Another moment since which it is deprecated, or `Some(None)` for none.
    pub deprecated_at: Option<Option<Timestamp>>,
    /// Another one in its place, or `Some(None)` for none.
    pub replaced_by: Option<Option<CredentialId>>,
    /// The same secret, sealed with another key.
    pub kind: Option<CredentialKind>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_cover_what_they_list_and_no_more() {
        let scope = |access, targets: Option<&[&str]>| Scope {
            resource: "queues".into(),
            access,
            targets: targets.map(|ids| ids.iter().map(|id| (*id).into()).collect()),
        };
        let table = [
            (Scopes::All, Access::Write, None, true),
            (Scopes::Listed(vec![]), Access::Read, None, false),
            (Scopes::Listed(vec![scope(Access::Write, None)]), Access::Read, Some("q"), true),
            (Scopes::Listed(vec![scope(Access::Read, None)]), Access::Write, Some("q"), false),
            (Scopes::Listed(vec![scope(Access::Read, Some(&["q"]))]), Access::Read, Some("q"), true),
            (Scopes::Listed(vec![scope(Access::Read, Some(&["q"]))]), Access::Read, Some("r"), false),
            (Scopes::Listed(vec![scope(Access::Read, Some(&["q"]))]), Access::Read, None, false),
        ];
        for (scopes, access, target, covered) in table {
            assert_eq!(scopes.allow("queues", access, target), covered, "{scopes:?} {access:?} {target:?}");
            assert!(scopes == Scopes::All || !scopes.allow("events", access, target));
        }
    }
}
