//! Keys, as they are sent and shown.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    super::{
        response::ErrorResponse,
        json::{FieldErrors, moment, nullable},
        tenants::check_name,
    },
    generated::{GeneratedSecret, StoredSecret},
    revocation::Revocation,
};
use crate::{
    Denial,
    model::{self, Access, Caller, CallerKind, Credential, CredentialEdit, CredentialId, Scopes, Status},
    surface::{non_null, openapi::schemas},
};

/// The most scopes of a key, and targets of a scope.
const SCOPES: usize = 100;
const TARGETS: usize = 1_000;

/// A key as it is kept: never itself.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct KeyRecord {
    /// Unique; not a secret.
    id: String,
    /// Whose it is.
    tenant: String,
    /// The caller that it proves.
    caller: String,
    /// For people.
    name: String,
    /// `key`, `app_code` or `signing`.
    kind: &'static str,
    /// What may be shown of it: its first characters; the access key of what signs.
    hint: String,
    /// Whether it is accepted.
    #[schema(value_type = schemas::Status)]
    status: Status,
    /// What it may be used for; `null` is all that its caller may.
    #[schema(required)]
    scopes: Option<Vec<KeyScope>>,
    /// The first moment at which it is no longer accepted; `null` is never.
    #[schema(required)]
    not_after: Option<Timestamp>,
    /// Since when who uses it is told to use another one.
    #[schema(required)]
    deprecated_at: Option<Timestamp>,
    /// The key that was made in its place.
    #[schema(required)]
    replaced_by: Option<String>,
    /// Grows by one with every change; the `ETag`.
    revision: u64,
    /// When it was made.
    created_at: Timestamp,
    /// When it last changed.
    updated_at: Timestamp,
}

/// A key, with its use.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct Key {
    #[serde(flatten)]
    record: KeyRecord,
    /// When it was last used, some seconds more or less; `null` when it never was. No change of the key.
    #[schema(required)]
    last_used_at: Option<Timestamp>,
    /// Whether somebody would miss it.
    safe_to_revoke: Revocation,
}

/// A key that was just made. It is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct CreatedKey {
    /// The key in clear; of what signs there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key: Option<String>,
    /// What names who signs: the id. Only of what signs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    access_key: Option<String>,
    /// What signs, in clear. Only of what signs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    secret: Option<String>,
    #[serde(flatten)]
    shown: Key,
}

/// One permission: to a kind of resource, how deep, and to which of them.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct KeyScope {
    /// The kind of resource; 1 to 64 of `a-z 0-9 _`.
    #[schema(pattern = "^[a-z0-9_]{1,64}$")]
    resource: String,
    /// How deep; writing includes reading.
    #[schema(value_type = schemas::Access)]
    access: Access,
    /// The ids that it is confined to; `null` is all of them.
    #[serde(default)]
    #[schema(value_type = Option<Vec<schemas::Id>>, max_items = 1000)]
    targets: Option<Vec<String>>,
}

/// What kind of key is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum NewKind {
    /// One that is presented.
    #[default]
    Key,
    /// An access key and a secret that signs requests (SDK-HMAC-SHA256); not for administrators.
    Signing,
}

/// A key to be made.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewKey {
    /// `key`, unless it is said, or `signing`.
    #[serde(default)]
    kind: NewKind,
    /// For people; 1 to 255 characters that can be printed. Unless it is said, `key.` and the id.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = schemas::Name, required = false)]
    name: Option<String>,
    /// Whether it is accepted; it is, unless it is said.
    #[serde(default)]
    #[schema(value_type = schemas::Status)]
    status: Status,
    /// What it may be used for, at most 100; `null`, or nothing said, is all that its caller may.
    #[serde(default)]
    #[schema(max_items = 100)]
    scopes: Option<Vec<KeyScope>>,
    /// The first moment at which it is no longer accepted, in the future; `null`, or nothing said, is never.
    #[serde(default, deserialize_with = "moment::maybe")]
    not_after: Option<Timestamp>,
}

/// What to change of a key; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyPatch {
    /// A new name.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = schemas::Name, required = false)]
    name: Option<String>,
    /// A new status.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = schemas::Status, required = false)]
    status: Option<Status>,
    /// Other scopes, all of them; `null` for all that its caller may.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Vec<KeyScope>>, max_items = 100)]
    scopes: Option<Option<Vec<KeyScope>>>,
    /// Another end, now or in the future; `null` for none.
    #[serde(default, deserialize_with = "moment::nullable")]
    #[schema(value_type = Option<Timestamp>)]
    not_after: Option<Option<Timestamp>>,
    /// Since when who uses it is told to use another one; `null` for not yet.
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
    /// A key that was last used at a time, now.
    pub(super) fn of(key: Credential, used: Option<Timestamp>, now: Timestamp) -> Self {
        let safe_to_revoke = Revocation::of(&key, used, now);
        Self { record: key.into(), last_used_at: used, safe_to_revoke }
    }
}

impl CreatedKey {
    pub(super) fn of(fresh: &GeneratedSecret, shown: Key) -> Self {
        let (key, secret) = match fresh {
            GeneratedSecret::Key(key) => (Some(key.expose().to_owned()), None),
            GeneratedSecret::Signing(secret) => (None, Some(secret.expose().to_owned())),
        };
        let access_key = secret.is_some().then(|| shown.record.id.clone());
        Self { key, access_key, secret, shown }
    }
}

/// Scopes as they are kept.
fn scopes(wanted: Option<Vec<KeyScope>>, checks: &mut FieldErrors) -> Scopes {
    let Some(list) = wanted else { return Scopes::All };
    checks.ensure(list.len() <= SCOPES, "#/scopes", format!("at most {SCOPES} are taken"));
    let scopes = list.into_iter().take(SCOPES).enumerate().map(|(at, scope)| {
        let KeyScope { resource, access, targets } = scope;
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let fits = (1..=64).contains(&resource.len()) && resource.bytes().all(plain);
        checks.ensure(fits, format!("#/scopes/{at}/resource"), "it is 1 to 64 characters of a-z 0-9 _");
        let count = targets.as_ref().map_or(0, Vec::len);
        let place = format!("#/scopes/{at}/targets");
        checks.ensure(count <= TARGETS, &place, format!("at most {TARGETS} are taken"));
        for (of, id) in targets.iter().flatten().take(TARGETS).enumerate() {
            let fits = id.parse::<CredentialId>().is_ok();
            checks.ensure(fits, format!("{place}/{of}"), "an id is 1 to 64 characters of A-Z a-z 0-9 - _ .");
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

    /// What is to prove a caller of this kind.
    pub(super) fn fresh(&self, caller: &CallerKind) -> Result<GeneratedSecret, Denial> {
        match self.kind {
            NewKind::Key => GeneratedSecret::key(caller),
            NewKind::Signing => GeneratedSecret::signing(),
        }
    }

    /// The key as it is kept, if nothing was found wrong before either.
    pub(super) fn checked(
        self,
        mut checks: FieldErrors,
        caller: &Caller,
        (stored, id, pepper): (StoredSecret, CredentialId, u32),
        now: Timestamp,
    ) -> Result<Credential, ErrorResponse> {
        let signs = self.kind == NewKind::Signing;
        let administrator = matches!(caller.kind, CallerKind::Administrator(_));
        checks.ensure(!(signs && administrator), "#/kind", "administrators do not sign");
        check_name(&mut checks, self.name.as_deref());
        let scopes = scopes(self.scopes, &mut checks);
        checks.finish()?;
        Ok(Credential {
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
            deprecated_at: None,
            replaced_by: None,
            revision: 1,
            created_at: now,
            updated_at: now,
            id,
        })
    }
}

impl KeyPatch {
    /// What to change; `end` says which end a wanted one becomes.
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
