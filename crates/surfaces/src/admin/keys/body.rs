//! The request and response bodies of keys.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    generated::{GeneratedSecret, StoredSecret},
    revocation::Revocation,
};
use crate::{
    admin::{response::ErrorResponse, validation::check_name},
    json::{FieldErrors, moment, nullable},
    non_null,
    openapi::schemas,
};
use portcullis::{
    Denial,
    model::{self, Access, Caller, CallerKind, Credential, CredentialEdit, CredentialId, Scopes, Status},
    registry::NewCredential,
};

/// Maximum number of scopes of a key and of targets of a scope.
const SCOPES: usize = 100;
const TARGETS: usize = 1_000;

/// The stored properties of a key, without the key itself.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct KeyRecord {
    /// The unique id; not a secret.
    id: String,
    /// The id of its tenant.
    tenant: String,
    /// The id of the caller that the key authenticates.
    caller: String,
    /// The name, for people.
    name: String,
    /// The kind: `key`, `app_code` or `signing`.
    kind: &'static str,
    /// The public part: the first characters of the key, or the access key of a signing key.
    hint: String,
    /// The status. A disabled key is not accepted.
    #[schema(value_type = schemas::Status)]
    status: Status,
    /// The permissions of the key; `null` allows everything that its caller may do.
    #[schema(required)]
    scopes: Option<Vec<KeyScope>>,
    /// The time from which the key is no longer accepted; `null` means never.
    #[schema(required)]
    not_after: Option<Timestamp>,
    /// The time from which responses tell users of the key to replace it.
    #[schema(required)]
    deprecated_at: Option<Timestamp>,
    /// The id of the key that replaces this key.
    #[schema(required)]
    replaced_by: Option<String>,
    /// The revision: the value of the `ETag`, incremented by every change.
    revision: u64,
    /// The time of creation.
    created_at: Timestamp,
    /// The time of the last change.
    updated_at: Timestamp,
}

/// A key, with its last use.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Key {
    #[serde(flatten)]
    record: KeyRecord,
    /// The time of the last use, accurate to some seconds; `null` if the key was never used. A use does not change
    /// the revision.
    #[schema(required)]
    last_used_at: Option<Timestamp>,
    /// An assessment whether the key can be revoked without affecting its users.
    safe_to_revoke: Revocation,
}

/// A new key, in clear. No later response shows it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct CreatedKey {
    /// The key in clear; absent for a signing key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key: Option<String>,
    /// The access key of a signing key, which is its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    access_key: Option<String>,
    /// The secret of a signing key, in clear.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    secret: Option<String>,
    #[serde(flatten)]
    shown: Key,
}

/// A permission: a kind of resource, an access level and optionally the ids of resources.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct KeyScope {
    /// The kind of resource; 1 to 64 characters of `a-z 0-9 _`.
    #[schema(pattern = "^[a-z0-9_]{1,64}$")]
    resource: String,
    /// The access level; `write` includes reading.
    #[schema(value_type = schemas::Access)]
    access: Access,
    /// The ids of the resources that the permission is limited to; `null` means all.
    #[serde(default)]
    #[schema(value_type = Option<Vec<schemas::Id>>, max_items = 1000)]
    targets: Option<Vec<String>>,
}

/// The kind of a new key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum NewKind {
    /// A key that the client sends with its requests.
    #[default]
    Key,
    /// An access key and a secret that signs requests (SDK-HMAC-SHA256); not for administrators.
    Signing,
}

/// A new key.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewKey {
    /// The kind: `key` or `signing`. Defaults to `key`.
    #[serde(default)]
    kind: NewKind,
    /// The name, for people; 1 to 255 printable characters. Defaults to `key.` and the id.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = schemas::Name, required = false)]
    name: Option<String>,
    /// The status. Defaults to `enabled`.
    #[serde(default)]
    #[schema(value_type = schemas::Status)]
    status: Status,
    /// The permissions of the key, at most 100. `null` and the default allow everything that its caller may do.
    #[serde(default)]
    #[schema(max_items = 100)]
    scopes: Option<Vec<KeyScope>>,
    /// The time from which the key is no longer accepted, in the future. `null` and the default mean never.
    #[serde(default, deserialize_with = "moment::maybe")]
    not_after: Option<Timestamp>,
}

/// Changes to a key. Absent members stay unchanged.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyPatch {
    /// The new name.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = schemas::Name, required = false)]
    name: Option<String>,
    /// The new status.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = schemas::Status, required = false)]
    status: Option<Status>,
    /// The complete list of new permissions; `null` allows everything that its caller may do.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Vec<KeyScope>>, max_items = 100)]
    scopes: Option<Option<Vec<KeyScope>>>,
    /// The new end, now or in the future; `null` removes the end.
    #[serde(default, deserialize_with = "moment::nullable")]
    #[schema(value_type = Option<Timestamp>)]
    not_after: Option<Option<Timestamp>>,
    /// The time from which responses tell users of the key to replace it; `null` means not yet.
    #[serde(default, deserialize_with = "moment::nullable")]
    #[schema(value_type = Option<Timestamp>)]
    deprecated_at: Option<Option<Timestamp>>,
}

impl From<model::Scope> for KeyScope {
    fn from(scope: model::Scope) -> Self {
        let targets = scope.targets.map(|ids| ids.into_iter().map(Into::into).collect());
        Self { resource: scope.resource.into(), access: scope.access, targets }
    }
}

impl From<Credential> for KeyRecord {
    fn from(key: Credential) -> Self {
        Self {
            id: key.id.to_string(),
            tenant: key.tenant.to_string(),
            caller: key.caller.to_string(),
            name: key.name,
            kind: key.kind.name(),
            hint: key.hint,
            status: key.status,
            scopes: match key.scopes {
                Scopes::All => None,
                Scopes::Listed(list) => Some(list.into_iter().map(KeyScope::from).collect()),
            },
            not_after: key.not_after,
            deprecated_at: key.deprecated_at,
            replaced_by: key.replaced_by.map(|id| id.to_string()),
            revision: key.revision,
            created_at: key.created_at,
            updated_at: key.updated_at,
        }
    }
}

impl Key {
    /// Returns a key with its last use, assessed at the time `now`.
    pub(super) fn new(key: Credential, used: Option<Timestamp>, now: Timestamp) -> Self {
        let safe_to_revoke = Revocation::new(&key, used, now);
        Self { record: key.into(), last_used_at: used, safe_to_revoke }
    }
}

impl CreatedKey {
    pub(super) fn new(fresh: &GeneratedSecret, shown: Key) -> Self {
        let (key, secret) = match fresh {
            GeneratedSecret::Key(key) => (Some(key.expose().to_owned()), None),
            GeneratedSecret::Signing(secret) => (None, Some(secret.expose().to_owned())),
        };
        let access_key = secret.is_some().then(|| shown.record.id.clone());
        Self { key, access_key, secret, shown }
    }
}

/// Validates scopes and converts them to stored ones.
fn scopes(wanted: Option<Vec<KeyScope>>, checks: &mut FieldErrors) -> Scopes {
    let Some(list) = wanted else { return Scopes::All };
    checks.ensure(list.len() <= SCOPES, "#/scopes", format!("must be at most {SCOPES}"));
    let scopes = list.into_iter().take(SCOPES).enumerate().map(|(at, scope)| {
        let KeyScope { resource, access, targets } = scope;
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let fits = (1..=64).contains(&resource.len()) && resource.bytes().all(plain);
        checks.ensure(fits, format!("#/scopes/{at}/resource"), "must be 1 to 64 characters of a-z 0-9 _");
        let count = targets.as_ref().map_or(0, Vec::len);
        let place = format!("#/scopes/{at}/targets");
        checks.ensure(count <= TARGETS, &place, format!("must be at most {TARGETS}"));
        for (of, id) in targets.iter().flatten().take(TARGETS).enumerate() {
            let fits = id.parse::<CredentialId>().is_ok();
            checks.ensure(fits, format!("{place}/{of}"), "must be 1 to 64 characters of A-Z a-z 0-9 - _ .");
        }
        let targets = targets.map(|ids| ids.into_iter().map(Into::into).collect());
        model::Scope { resource: resource.into(), access, targets }
    });
    Scopes::Listed(scopes.collect())
}

impl NewKey {
    pub(super) fn not_after(&self) -> Option<Timestamp> {
        self.not_after
    }

    /// Generates the key or secret for a caller of this kind.
    pub(super) fn fresh(&self, caller: &CallerKind) -> Result<GeneratedSecret, Denial> {
        match self.kind {
            NewKind::Key => GeneratedSecret::key(caller),
            NewKind::Signing => GeneratedSecret::signing(),
        }
    }

    /// Validates the body and returns the credential to be created. Errors that `checks` already has count, too.
    pub(super) fn checked(
        self,
        mut checks: FieldErrors,
        caller: &Caller,
        (stored, id, pepper): (StoredSecret, CredentialId, u32),
    ) -> Result<NewCredential, ErrorResponse> {
        let signs = self.kind == NewKind::Signing;
        let administrator = matches!(caller.kind, CallerKind::Administrator(_));
        checks.ensure(!(signs && administrator), "#/kind", "administrators cannot have signing keys");
        check_name(&mut checks, self.name.as_deref());
        let scopes = scopes(self.scopes, &mut checks);
        checks.finish()?;
        Ok(NewCredential {
            name: self.name.unwrap_or_else(|| format!("key.{id}")),
            tenant: caller.tenant.clone(),
            caller: caller.id.clone(),
            kind: stored.kind,
            digest: stored.digest,
            pepper,
            hint: stored.hint,
            status: self.status,
            scopes,
            not_after: self.not_after,
            id,
        })
    }
}

impl KeyPatch {
    /// Validates the body and returns the changes. `end` checks a requested end and returns the one to store.
    pub(super) fn checked(
        self,
        end: impl FnOnce(Option<Timestamp>, &mut FieldErrors) -> Option<Timestamp>,
    ) -> Result<CredentialEdit, ErrorResponse> {
        let mut checks = FieldErrors::default();
        check_name(&mut checks, self.name.as_deref());
        let scopes = self.scopes.map(|wanted| scopes(wanted, &mut checks));
        let not_after = self.not_after.map(|wanted| end(wanted, &mut checks));
        checks.finish()?;
        Ok(CredentialEdit {
            name: self.name,
            status: self.status,
            scopes,
            not_after,
            deprecated_at: self.deprecated_at,
            ..CredentialEdit::default()
        })
    }
}
