//! The rotation of a key: a new key replaces an old one, which remains accepted for a while.

use std::sync::Arc;

use axum::extract::State;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    body::{CreatedKey, Key},
    generated::{GeneratedSecret, StoredSecret},
    rules::{MAX_KEYS, end, keep_owner, location, managed, tag, update, used},
};
use crate::{
    admin::{
        extract::Authorized,
        openapi,
        response::{ApiResponse, ErrorResponse},
        roles::Manager,
        state::Surface,
        validation::check_name,
    },
    json::{self, FieldErrors},
    non_null,
    openapi::schemas,
};
use portcullis::{
    Denial,
    model::{Credential, CredentialEdit, CredentialId, CredentialKind, Status},
    registry::{CreateCredential, NewCredential, RegistryError},
};

/// Time for which the old key remains accepted, in seconds: the default and the maximum.
const OVERLAP: (u32, u32) = (24 * 60 * 60, 30 * 24 * 60 * 60);

/// Options for the rotation of a key.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Rotation {
    /// The number of seconds for which the old key remains accepted: at most 30 days, and not beyond its end.
    /// Defaults to a day, or to its end if that is earlier.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = u32, required = false, maximum = 2_592_000)]
    overlap: Option<u32>,
    /// The name of the new key. Defaults to the name of the old key.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = schemas::Name, required = false)]
    name: Option<String>,
}

/// A new key that replaces another, in clear. No later response shows it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct RotatedKey {
    #[serde(flatten)]
    made: CreatedKey,
    /// The old key, with its deprecation and its end.
    replaces: Key,
}

/// Checks that a key can be rotated.
fn is_rotated(key: &Credential, now: Timestamp) -> Result<(), Denial> {
    let conflict = |detail: String| Err(Denial::Conflict { detail: detail.into() });
    match key {
        Credential { replaced_by: Some(other), .. } => {
            conflict(format!("The key was already replaced by {other}."))
        }
        Credential { status: Status::Disabled, .. } => conflict("It is disabled. Create a new key.".into()),
        Credential { not_after: Some(end), .. } if *end <= now => {
            conflict("The key has ended. Create a new key.".into())
        }
        Credential { kind: CredentialKind::AppCode(_), .. } => conflict("It is an AppCode.".into()),
        _ => Ok(()),
    }
}

/// Rotate a key
///
/// Replaces a key with a new one, while the old key remains accepted for a while. Both changes are made in one
/// transaction. The new key has the scopes and the end of the old key. Only this response shows it. Requires the role
/// `operator`, or `owner` for a key of an administrator.
#[utoipa::path(
    post,
    path = "/tenants/{tenant}/keys/{key}/rotation",
    tag = "keys",
    operation_id = "rotate_key",
    params(openapi::IdempotencyKey, openapi::LockToken, openapi::IfMatch),
    request_body(content = Rotation, content_type = "application/json", description = "An empty body stands for the defaults"),
    responses(openapi::Created<RotatedKey>, openapi::CommonErrors, openapi::NotFound, openapi::CreateErrors),
)]
pub(in crate::admin) async fn rotate(
    State(surface): State<Arc<Surface>>,
    Authorized { call, .. }: Authorized<Manager>,
) -> Result<ApiResponse, ErrorResponse> {
    // Replays come first: the response is the same even if the resource has been deleted since.
    let idempotency_key = surface.idempotency_key(&call)?;
    if let Some(answer) = surface.find_replay(&call, idempotency_key.as_ref()).await? {
        return Ok(answer);
    }
    let (old, caller) = managed(&surface, &call).await?;
    tag(&old).matches(&call.headers)?;
    let Rotation { overlap, name } =
        if call.content.is_empty() { Rotation::default() } else { json::read(&call.content)? };
    let mut checks = FieldErrors::default();
    check_name(&mut checks, name.as_deref());
    let (usual, most) = OVERLAP;
    let now = surface.admin.clock.now().time;
    let bounded = overlap.filter(|overlap| *overlap <= most);
    if let (Some(overlap), Some(end)) = (bounded, old.not_after.filter(|end| now < *end)) {
        let fits = now + SignedDuration::from_secs(overlap.into()) <= end;
        checks.ensure(fits, "#/overlap", "the key ends earlier");
    }
    let overlap = overlap.unwrap_or(usual);
    checks.ensure(overlap <= most, "#/overlap", format!("must be at most {most} seconds"));
    let bound = end(&call, &caller, None, &mut checks);
    checks.finish()?;
    is_rotated(&old, now)?;

    let fresh = GeneratedSecret::same_kind_as(&old.kind, &caller.kind)?;
    let peppers = surface.admin.directory.peppers();
    let (id, pepper) = (CredentialId::random(), peppers.current());
    let StoredSecret { kind, digest, hint } =
        fresh.stored(&caller.tenant, &id, pepper, &surface.admin.sealer);
    let new = NewCredential {
        id,
        name: name.unwrap_or_else(|| old.name.clone()),
        kind,
        digest,
        pepper: pepper.version(),
        hint,
        not_after: earlier(old.not_after, bound),
        ..old.clone().into()
    };
    let edit = CredentialEdit {
        deprecated_at: Some(earlier(old.deprecated_at, Some(now))),
        not_after: Some(earlier(old.not_after, Some(now + SignedDuration::from_secs(overlap.into())))),
        replaced_by: Some(Some(new.id.clone())),
        ..CredentialEdit::default()
    };
    let last_use = used(&surface, &old).await?;
    let keep_owner = keep_owner(&old, &caller, edit.not_after.flatten(), now);
    let create = CreateCredential { credential: new, most: Some(MAX_KEYS) };
    let rotation = (create, update(&old, edit), keep_owner);
    let rotated = surface.execute(&call, idempotency_key.as_ref(), rotation, |(made, replaces, _)| {
        let (made_at, tag) = (location(&made), tag(&made));
        let made = CreatedKey::new(&fresh, Key::new(made, None, now));
        let document = RotatedKey { made, replaces: Key::new(replaces, last_use, now) };
        ApiResponse::created(made_at, &document).with_etag(&tag).secret()
    });
    rotated.await.map_err(|fault| match fault {
        RegistryError::Conflict => {
            Denial::Conflict { detail: "The key was changed meanwhile.".into() }.into()
        }
        fault => surface.registry_error(fault),
    })
}

/// Returns the earlier of two times, where `None` means never.
fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}
