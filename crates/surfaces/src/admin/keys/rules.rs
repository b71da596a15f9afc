//! The rules and look-ups that the operations on keys share.

use jiff::Timestamp;

use crate::{
    admin::{call_context::CallContext, etag::ETag, response::ErrorResponse, roles::manages, state::Surface},
    json::FieldErrors,
};
use portcullis::{
    model::{self, CallerKind, Credential, CredentialEdit, CredentialId, Status},
    registry::{KeepOwner, UpdateCredential},
};

/// Maximum number of keys of a caller.
pub(super) const MAX_KEYS: u32 = 100;

pub(super) fn tag(key: &Credential) -> ETag {
    ETag::revision(key.revision)
}

pub(super) fn location(key: &Credential) -> String {
    format!("/admin/v1/tenants/{}/keys/{}", key.tenant, key.id)
}

/// Returns the end of a caller's key. An administrator's key cannot end later than the key in the request.
pub(super) fn end(
    call: &CallContext,
    caller: &model::Caller,
    wanted: Option<Timestamp>,
    checks: &mut FieldErrors,
) -> Option<Timestamp> {
    let bound = call.key_expiry().filter(|_| matches!(caller.kind, CallerKind::Administrator(_)));
    let (Some(bound), Some(wanted)) = (bound, wanted) else { return wanted.or(bound) };
    checks.ensure(wanted <= bound, "#/not_after", "must not be later than the end of the key in the request");
    Some(wanted)
}

pub(super) fn update(before: &Credential, edit: CredentialEdit) -> UpdateCredential {
    let (tenant, id) = (before.tenant.clone(), before.id.clone());
    UpdateCredential { tenant, id, expected: Some(before.revision), edit }
}

/// Returns the operation that must follow a change which weakens an accepted key of an owner. It checks that an owner
/// with an accepted key remains, beyond the end of the weakened key.
pub(super) fn keep_owner(
    key: &Credential,
    caller: &model::Caller,
    beyond: Option<Timestamp>,
    now: Timestamp,
) -> Option<KeepOwner> {
    let lets_in = key.status == Status::Enabled && key.not_after.is_none_or(|end| now < end);
    (caller.owns_everything() && lets_in).then_some(KeepOwner { beyond })
}

/// Returns the key in the path of a request.
pub(super) async fn find_key(surface: &Surface, call: &CallContext) -> Result<Credential, ErrorResponse> {
    let id: CredentialId = call.child_id()?;
    let key = surface.admin.registry.credential(&call.tenant()?, &id).await;
    key.map_err(|fault| surface.registry_error(fault))
}

/// Returns the key in the path of a request and its owner, if the client may manage that owner's keys.
pub(super) async fn managed(
    surface: &Surface,
    call: &CallContext,
) -> Result<(Credential, model::Caller), ErrorResponse> {
    let key = find_key(surface, call).await?;
    let caller = surface.caller(&key.tenant, &key.caller).await?;
    call.require_role(manages(&caller.kind))?;
    Ok((key, caller))
}

/// Returns the last use of each key: the stored one or the one that this node knows, whichever is later.
pub(super) async fn uses(
    surface: &Surface,
    keys: &[Credential],
) -> Result<Vec<Option<Timestamp>>, ErrorResponse> {
    let ids: Vec<_> = keys.iter().map(|key| key.id.clone()).collect();
    let noted =
        surface.admin.registry.last_used(&ids).await.map_err(|fault| surface.registry_error(fault))?;
    let known = |key: &Credential| surface.admin.directory.find_by_digest(key.digest)?.used();
    Ok(keys.iter().zip(noted).map(|(key, noted)| noted.max(known(key))).collect())
}

pub(super) async fn used(surface: &Surface, key: &Credential) -> Result<Option<Timestamp>, ErrorResponse> {
    Ok(uses(surface, std::slice::from_ref(key)).await?.pop().flatten())
}
