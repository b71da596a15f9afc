//! Operations on api keys.

use std::{iter::zip, marker::PhantomData, sync::Arc};

use axum::{
    extract::{FromRequestParts, State},
    response::Response,
};
use http::{HeaderMap, request::Parts};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    call_context::{CallContext, Json, target, unprocessable},
    etag::check_if_match,
    openapi::Errors,
    response::{Deleted, ErrorResponse, Links, show, show_at},
    scopes::{self, ScopeJson},
    state::Discue,
};
use crate::{
    access::{Read, RequiredAccess, Write},
    openapi::schemas,
};
use portcullis::{
    Denial,
    model::{
        Access, CallerId, Credential, CredentialEdit, CredentialId, GeneratedKey, KeyPrefix, Scopes, Status,
        TenantId, text::is_label,
    },
    registry::{CredentialFilter, NewCredential, RegistryExt},
};

/// The resource of scopes for api keys.
pub(super) const RESOURCE: &str = "api_keys";

/// The prefix of keys. With it, a key has the 64 characters of the contract.
const PREFIX: &str = "discue_api_key";

/// The maximum length of the name of a key, in characters.
const MAX_NAME_LEN: usize = 64;

/// The most keys of an api client.
const MAX_KEYS: u32 = 100;

/// The request to create or update a key.
#[derive(Default, Deserialize, ToSchema)]
pub(super) struct KeyRef {
    /// The name, without control, formatting or other invisible characters.
    #[serde(default)]
    #[schema(value_type = Option<String>, required = false, min_length = 1, max_length = 64)]
    name: Option<String>,
    /// The status; a disabled key is denied.
    #[serde(default)]
    #[schema(value_type = Option<schemas::Status>, required = false)]
    status: Option<Status>,
    /// The scopes of the key. They replace all previous scopes.
    #[serde(default)]
    #[schema(value_type = Option<Vec<ScopeJson>>, required = false)]
    scopes: Option<Vec<ScopeJson>>,
}

impl KeyRef {
    /// Returns the validated edit, if the calling key may grant its scopes.
    fn edit(self, own: &Scopes) -> Result<CredentialEdit, ErrorResponse> {
        if self.name.as_deref().is_some_and(|name| !is_label(name, 1..=MAX_NAME_LEN)) {
            return Err(unprocessable("The name must have 1 to 64 characters, none of them invisible."));
        }
        let scopes = self.scopes.map(|wanted| scopes::parse_scopes(wanted.into_iter(), own)).transpose()?;
        Ok(CredentialEdit { name: self.name, status: self.status, scopes, ..CredentialEdit::default() })
    }
}

/// A key in reads. Times are milliseconds since the epoch.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub(super) struct KeyResponse<'a> {
    /// The id of the key. It is not a secret.
    id: &'a str,
    /// The name of the key.
    name: &'a str,
    /// The time of creation.
    created_at: i64,
    /// The time of the last change.
    updated_at: i64,
    /// The time of the last use, up to twenty seconds old; `null` if the key was never used.
    #[schema(required)]
    last_used_at: Option<i64>,
    /// The first characters of the key.
    key: &'a str,
    /// The status; a disabled key is denied.
    #[schema(value_type = schemas::Status)]
    status: Status,
    /// The scopes of the key.
    scopes: Vec<ScopeJson>,
}

impl<'a> KeyResponse<'a> {
    fn new(credential: &'a Credential, used: Option<Timestamp>) -> Self {
        Self {
            id: credential.id.as_str(),
            name: &credential.name,
            created_at: credential.created_at.as_millisecond(),
            updated_at: credential.updated_at.as_millisecond(),
            last_used_at: used.map(Timestamp::as_millisecond),
            key: &credential.hint,
            status: credential.status,
            scopes: scopes::shown(&credential.scopes),
        }
    }
}

/// The response with an api key.
#[derive(Serialize, ToSchema)]
pub(super) struct One<K> {
    api_key: K,
    #[serde(rename = "_links")]
    links: Links,
}

/// The response with all api keys of an api client.
#[derive(Serialize, ToSchema)]
#[schema(as = AllApiKeys)]
pub(super) struct All<'a> {
    api_keys: Vec<KeyResponse<'a>>,
    #[serde(rename = "_links")]
    links: Links,
}

/// The context of a request by a key that may create keys.
pub(super) struct KeyCreator(CallContext);

impl<S: Sync> FromRequestParts<S> for KeyCreator {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ErrorResponse> {
        let call = CallContext::from_request_parts(parts, state).await?;
        call.may(Access::Write, RESOURCE, None)?;
        Ok(Self(call))
    }
}

/// The key that the path names, for a calling key with the access to it. Keys of other api clients count as unknown.
pub(super) struct OwnKey<A> {
    call: CallContext,
    key: Credential,
    access: PhantomData<A>,
}

impl<A: RequiredAccess> FromRequestParts<Arc<Discue>> for OwnKey<A> {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, surface: &Arc<Discue>) -> Result<Self, ErrorResponse> {
        let call = CallContext::from_request_parts(parts, surface).await?;
        let id: CredentialId = target(&parts.uri)?;
        call.may(A::ACCESS, RESOURCE, Some(id.as_str()))?;
        let key = surface.registry.credential(&call.tenant, &id).await;
        let key = key.map_err(|fault| surface.registry_error(fault))?;
        if key.caller != call.identity.caller().id {
            return Err(Denial::NotFound.into());
        }
        Ok(Self { call, key, access: PhantomData })
    }
}

/// Creates an api key of the calling api client. Only this response contains the whole key.
#[utoipa::path(
    post,
    path = "/api_keys",
    tag = "api_keys",
    operation_id = "create_api_key",
    params(("pretty" = Option<bool>, Query, description = "Indents the response")),
    request_body(content = KeyRef, description = "Without a body, all members are absent."),
    responses((status = 200, description = "The whole api key, 64 characters", body = One<String>), Errors),
)]
pub(super) async fn create(
    State(surface): State<Arc<Discue>>,
    KeyCreator(call): KeyCreator,
    Json(body): Json<KeyRef>,
) -> Result<Response, ErrorResponse> {
    let edit = body.edit(&call.identity.key.scopes)?;
    surface.require_active(&call.tenant).await?;
    let caller = call.identity.caller().id.clone();
    let prefix: KeyPrefix = PREFIX.parse().map_err(|_| Denial::internal("the prefix of keys is invalid"))?;
    let (key, peppers) = (GeneratedKey::generate(&prefix), surface.directory.peppers());
    let new = NewCredential::key(call.tenant.clone(), caller, &key, peppers.current());
    let credential = NewCredential {
        name: edit.name.unwrap_or_else(|| format!("api-key.{}", new.id)),
        status: edit.status.unwrap_or_default(),
        scopes: edit.scopes.unwrap_or_else(|| scopes::default_scopes(&call.identity.key.scopes)),
        // The new key expires with the calling key.
        not_after: call.identity.key.not_after(),
        ..new
    };
    let made = surface.registry.create_credential_within(MAX_KEYS, credential, &call.subscriber()).await;
    let made = made.map_err(|fault| surface.registry_error(fault))?;
    let document = One { api_key: key.expose(), links: surface.links(&format!("/api_keys/{}", made.id)) };
    show_at(made.revision, &document, call.pretty)
}

/// Lists the api keys of the calling api client.
#[utoipa::path(
    get,
    path = "/api_keys",
    tag = "api_keys",
    operation_id = "list_api_keys",
    params(("pretty" = Option<bool>, Query, description = "Indents the response")),
    responses((status = 200, description = "The api keys", body = All), Errors),
)]
pub(super) async fn list(
    State(surface): State<Arc<Discue>>,
    call: CallContext,
) -> Result<Response, ErrorResponse> {
    let mut keys = keys_of(&surface, &call.tenant, &call.identity.caller().id).await?;
    keys.retain(|key| call.covers(Access::Read, RESOURCE, key.id.as_str()));
    let ids: Vec<_> = keys.iter().map(|key| key.id.clone()).collect();
    let uses = surface.registry.last_used(&ids).await.map_err(|fault| surface.registry_error(fault))?;
    let api_keys = zip(&keys, uses).map(|(key, used)| KeyResponse::new(key, used)).collect();
    show(&All { api_keys, links: surface.links("/api_keys") }, call.pretty)
}

/// Returns an api key, without its secret part.
#[utoipa::path(
    get,
    path = "/api_keys/{id}",
    tag = "api_keys",
    operation_id = "read_api_key",
    params(("id" = String, Path, description = "The api key's id", pattern = "^([A-Za-z0-9_-]{21}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$"), ("pretty" = Option<bool>, Query, description = "Indents the response")),
    responses((status = 200, description = "The api key", body = One<KeyResponse>), Errors),
)]
pub(super) async fn read(
    State(surface): State<Arc<Discue>>,
    OwnKey { call, key, .. }: OwnKey<Read>,
) -> Result<Response, ErrorResponse> {
    show_key(&surface, &key, call.pretty).await
}

/// Updates an api key. New scopes replace all previous scopes.
#[utoipa::path(
    put,
    path = "/api_keys/{id}",
    tag = "api_keys",
    operation_id = "update_api_key",
    params(("id" = String, Path, description = "The api key's id", pattern = "^([A-Za-z0-9_-]{21}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$"), ("pretty" = Option<bool>, Query, description = "Indents the response")),
    request_body(content = KeyRef, description = "Without a body, all members are absent."),
    responses((status = 200, description = "The api key", body = One<KeyResponse>), Errors),
)]
pub(super) async fn update(
    State(surface): State<Arc<Discue>>,
    OwnKey { call, key: before, .. }: OwnKey<Write>,
    headers: HeaderMap,
    Json(body): Json<KeyRef>,
) -> Result<Response, ErrorResponse> {
    let edit = body.edit(&call.identity.key.scopes)?;
    surface.require_active(&call.tenant).await?;
    check_if_match(&headers, before.revision)?;
    let (id, expected) = (&before.id, Some(before.revision));
    let after =
        surface.registry.update_credential(&call.tenant, id, expected, edit, &call.subscriber()).await;
    show_key(&surface, &after.map_err(|fault| surface.registry_error(fault))?, call.pretty).await
}

/// Deletes an api key. Requests with it are denied from now on.
#[utoipa::path(
    delete,
    path = "/api_keys/{id}",
    tag = "api_keys",
    operation_id = "delete_api_key",
    params(("id" = String, Path, description = "The api key's id", pattern = "^([A-Za-z0-9_-]{21}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$"), ("pretty" = Option<bool>, Query, description = "Indents the response")),
    responses((status = 200, description = "Deleted", body = Deleted), Errors),
)]
pub(super) async fn delete(
    State(surface): State<Arc<Discue>>,
    OwnKey { call, key: before, .. }: OwnKey<Write>,
    headers: HeaderMap,
) -> Result<Response, ErrorResponse> {
    check_if_match(&headers, before.revision)?;
    let (id, expected) = (&before.id, Some(before.revision));
    let gone = surface.registry.delete_credential(&call.tenant, id, expected, call.revoker()).await;
    gone.map_err(|fault| surface.registry_error(fault))?;
    show(&Deleted { links: surface.links(&format!("/api_keys/{id}")) }, call.pretty)
}

/// Returns the keys of an api client. The page is larger than the maximum number of keys, in case older keys exceed
/// it.
async fn keys_of(
    surface: &Discue,
    tenant: &TenantId,
    caller: &CallerId,
) -> Result<Vec<Credential>, ErrorResponse> {
    let filter = CredentialFilter {
        tenant: Some(tenant.clone()),
        caller: Some(caller.clone()),
        limit: 10 * MAX_KEYS,
        ..CredentialFilter::default()
    };
    surface.registry.credentials(&filter).await.map_err(|fault| surface.registry_error(fault))
}

async fn show_key(surface: &Discue, key: &Credential, pretty: bool) -> Result<Response, ErrorResponse> {
    let uses = surface.registry.last_used(std::slice::from_ref(&key.id)).await;
    let used = uses.map_err(|fault| surface.registry_error(fault))?.pop().flatten();
    let links = surface.links(&format!("/api_keys/{}", key.id));
    show_at(key.revision, &One { api_key: KeyResponse::new(key, used), links }, pretty)
}
