//! Api keys.

use std::{iter::zip, sync::Arc};

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::Uri;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Discue, Operation,
    response::{Deleted, Links, ErrorResponse, show, show_at},
    call_context::{CallContext, read_body, still, target, unprocessable},
    scopes::{self, ScopeJson},
    openapi::Errors,
};
use crate::{
    Denial,
    model::{
        Access, GeneratedKey, CallerId, Credential, CredentialEdit, CredentialId, CredentialKind, KeyPrefix,
        Scopes, Status, TenantId, text::is_label,
    },
    registry::CredentialFilter,
    surface::openapi::schemas,
};

/// The kind of resource that scopes name.
pub(super) const RESOURCE: &str = "api_keys";

/// With it, a key is the contract's 64 characters.
const PREFIX: &str = "discue_api_key";

/// The longest name of a key, in characters.
const LONGEST_NAME: usize = 64;

/// The most keys that an api client may have.
const MOST: u32 = 100;

/// What to make, or to change, of a key.
#[derive(Default, Deserialize, ToSchema)]
pub(super) struct KeyRef {
    /// For people; no control, formatting or otherwise invisible characters.
    #[serde(default)]
    #[schema(value_type = Option<String>, required = false, min_length = 1, max_length = 64)]
    name: Option<String>,
    /// Whether it is accepted.
    #[serde(default)]
    #[schema(value_type = Option<schemas::Status>, required = false)]
    status: Option<Status>,
    /// All it may be used for.
    #[serde(default)]
    #[schema(value_type = Option<Vec<ScopeJson>>, required = false)]
    scopes: Option<Vec<ScopeJson>>,
}

impl KeyRef {
    /// What it asks for, as far as the asking key may give it.
    fn edit(self, own: &Scopes) -> Result<CredentialEdit, ErrorResponse> {
        if self.name.as_deref().is_some_and(|name| !is_label(name, 1..=LONGEST_NAME)) {
            return Err(unprocessable("A name is 1 to 64 characters, none of them invisible."));
        }
        let scopes = self.scopes.map(|wanted| scopes::parse_scopes(wanted.into_iter(), own)).transpose()?;
        Ok(CredentialEdit { name: self.name, status: self.status, scopes, ..CredentialEdit::default() })
    }
}

/// A key as it is shown ever after. Times are milliseconds since the epoch.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub(super) struct KeyResponse<'a> {
    /// Its id; not a secret.
    id: &'a str,
    /// For people.
    name: &'a str,
    /// When it was made.
    created_at: i64,
    /// When it last changed.
    updated_at: i64,
    /// When it was last used, within twenty seconds; `null` is never.
    #[schema(required)]
    last_used_at: Option<i64>,
    /// How the key begins.
    key: &'a str,
    /// Whether it is accepted.
    #[schema(value_type = schemas::Status)]
    status: Status,
    /// What it may be used for.
    scopes: Vec<ScopeJson>,
}

impl<'a> KeyResponse<'a> {
    fn of(credential: &'a Credential, used: Option<Timestamp>) -> Self {
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

/// One api key.
#[derive(Serialize, ToSchema)]
pub(super) struct One<K> {
    api_key: K,
    #[serde(rename = "_links")]
    links: Links,
}

/// All api keys.
#[derive(Serialize, ToSchema)]
#[schema(as = AllApiKeys)]
pub(super) struct All<'a> {
    api_keys: Vec<KeyResponse<'a>>,
    #[serde(rename = "_links")]
    links: Links,
}

/// Creates an api key of the asking api client; the whole key is in this answer only.
#[utoipa::path(
    post,
    path = "/api_keys",
    tag = "api_keys",
    operation_id = "create_api_key",
    params(("pretty" = Option<bool>, Query, description = "Written for people")),
    request_body(content = KeyRef, description = "Without a body, nothing is given"),
    responses((status = 200, description = "The api key, 64 characters", body = One<String>), Errors),
)]
pub(super) async fn create(
    State(surface): State<Arc<Discue>>,
    request: Request,
) -> Result<Response, ErrorResponse> {
    surface.ensure_enabled(Operation::CreateKey)?;
    let call = CallContext::extract(&request)?;
    call.may(Access::Write, RESOURCE, None)?;
    let edit = read_body::<KeyRef>(request.into_body()).await?.edit(&call.identity.key.scopes)?;
    surface.require_active(&call.tenant).await?;
    let caller = call.identity.caller().id.clone();
    let prefix: KeyPrefix = PREFIX.parse().map_err(|_| Denial::internal("the prefix of keys is none"))?;
    let (key, id, pepper) = (GeneratedKey::generate(&prefix), CredentialId::random(), surface.directory.peppers());
    let now = surface.clock.now().time;
    let credential = Credential {
        name: edit.name.unwrap_or_else(|| format!("api-key.{id}")),
        tenant: call.tenant.clone(),
        caller,
        digest: pepper.current().digest(key.expose()),
        pepper: pepper.current().version(),
        kind: CredentialKind::Key,
        hint: key.hint().into(),
        status: edit.status.unwrap_or_default(),
        scopes: edit.scopes.unwrap_or_else(|| scopes::default_scopes(&call.identity.key.scopes)),
        // Nor does it outlive its maker.
        not_after: call.identity.key.not_after(),
        deprecated_at: None,
        replaced_by: None,
        revision: 1,
        created_at: now,
        updated_at: now,
        id,
    };
    let made = surface.registry.create_credential_within(MOST, credential, &call.subscriber()).await;
    let made = made.map_err(|fault| surface.refuse(fault))?;
    let document = One { api_key: key.expose(), links: surface.links(&format!("/api_keys/{}", made.id)) };
    show_at(made.revision, &document, call.pretty)
}

/// Lists the api keys of the asking api client.
#[utoipa::path(
    get,
    path = "/api_keys",
    tag = "api_keys",
    operation_id = "list_api_keys",
    params(("pretty" = Option<bool>, Query, description = "Written for people")),
    responses((status = 200, description = "The api keys", body = All), Errors),
)]
pub(super) async fn list(State(surface): State<Arc<Discue>>, request: Request) -> Result<Response, ErrorResponse> {
    surface.ensure_enabled(Operation::ListKeys)?;
    let call = CallContext::extract(&request)?;
    let mut keys = surface.keys_of(&call.tenant, &call.identity.caller().id).await?;
    keys.retain(|key| call.covers(Access::Read, RESOURCE, key.id.as_str()));
    let ids: Vec<_> = keys.iter().map(|key| key.id.clone()).collect();
    let uses = surface.registry.last_used(&ids).await.map_err(|fault| surface.refuse(fault))?;
    let api_keys = zip(&keys, uses).map(|(key, used)| KeyResponse::of(key, used)).collect();
    show(&All { api_keys, links: surface.links("/api_keys") }, call.pretty)
}

/// Shows an api key, without its secret part.
#[utoipa::path(
    get,
    path = "/api_keys/{id}",
    tag = "api_keys",
    operation_id = "read_api_key",
    params(("id" = String, Path, description = "The api key's id", pattern = "^([A-Za-z0-9_-]{21}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$"), ("pretty" = Option<bool>, Query, description = "Written for people")),
    responses((status = 200, description = "The api key", body = One<KeyResponse>), Errors),
)]
pub(super) async fn read(State(surface): State<Arc<Discue>>, request: Request) -> Result<Response, ErrorResponse> {
    surface.ensure_enabled(Operation::GetKey)?;
    let call = CallContext::extract(&request)?;
    let key = surface.key(&call, Access::Read, request.uri()).await?;
    surface.show_key(&key, call.pretty).await
}

/// Changes an api key; scopes that are given replace all it had.
#[utoipa::path(
    put,
    path = "/api_keys/{id}",
    tag = "api_keys",
    operation_id = "update_api_key",
    params(("id" = String, Path, description = "The api key's id", pattern = "^([A-Za-z0-9_-]{21}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$"), ("pretty" = Option<bool>, Query, description = "Written for people")),
    request_body(content = KeyRef, description = "Without a body, nothing is given"),
    responses((status = 200, description = "The api key", body = One<KeyResponse>), Errors),
)]
pub(super) async fn update(
    State(surface): State<Arc<Discue>>,
    request: Request,
) -> Result<Response, ErrorResponse> {
    surface.ensure_enabled(Operation::UpdateKey)?;
    let call = CallContext::extract(&request)?;
    let before = surface.key(&call, Access::Write, request.uri()).await?;
    let headers = request.headers().clone();
    let edit = read_body::<KeyRef>(request.into_body()).await?.edit(&call.identity.key.scopes)?;
    surface.require_active(&call.tenant).await?;
    still(&headers, before.revision)?;
    let (id, expected) = (&before.id, Some(before.revision));
    let after =
        surface.registry.update_credential(&call.tenant, id, expected, edit, &call.subscriber()).await;
    surface.show_key(&after.map_err(|fault| surface.refuse(fault))?, call.pretty).await
}

/// Deletes an api key; it is refused from now on.
#[utoipa::path(
    delete,
    path = "/api_keys/{id}",
    tag = "api_keys",
    operation_id = "delete_api_key",
    params(("id" = String, Path, description = "The api key's id", pattern = "^([A-Za-z0-9_-]{21}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$"), ("pretty" = Option<bool>, Query, description = "Written for people")),
    responses((status = 200, description = "What is left", body = Deleted), Errors),
)]
pub(super) async fn delete(
    State(surface): State<Arc<Discue>>,
    request: Request,
) -> Result<Response, ErrorResponse> {
    surface.ensure_enabled(Operation::DeleteKey)?;
    let call = CallContext::extract(&request)?;
    let before = surface.key(&call, Access::Write, request.uri()).await?;
    still(request.headers(), before.revision)?;
    let (id, expected) = (&before.id, Some(before.revision));
    let gone = surface.registry.delete_credential(&call.tenant, id, expected, call.revoker()).await;
    gone.map_err(|fault| surface.refuse(fault))?;
    show(&Deleted { links: surface.links(&format!("/api_keys/{id}")) }, call.pretty)
}

impl Discue {
    /// The key that a request's path names, when the request may do that to it; others' keys are not there.
    async fn key(&self, call: &CallContext, access: Access, uri: &Uri) -> Result<Credential, ErrorResponse> {
        let id: CredentialId = target(uri)?;
        call.may(access, RESOURCE, Some(id.as_str()))?;
        let key = self.registry.credential(&call.tenant, &id).await.map_err(|fault| self.refuse(fault))?;
        if key.caller == call.identity.caller().id { Ok(key) } else { Err(Denial::NotFound.into()) }
    }

    /// An api client's keys; a few more than it may have, should it have more.
    async fn keys_of(&self, tenant: &TenantId, caller: &CallerId) -> Result<Vec<Credential>, ErrorResponse> {
        let which = CredentialFilter {
            tenant: Some(tenant.clone()),
            caller: Some(caller.clone()),
            limit: 10 * MOST,
            ..CredentialFilter::default()
        };
        self.registry.credentials(&which).await.map_err(|fault| self.refuse(fault))
    }

    async fn show_key(&self, key: &Credential, pretty: bool) -> Result<Response, ErrorResponse> {
        let uses = self.registry.last_used(std::slice::from_ref(&key.id)).await;
        let used = uses.map_err(|fault| self.refuse(fault))?.pop().flatten();
        let links = self.links(&format!("/api_keys/{}", key.id));
        show_at(key.revision, &One { api_key: KeyResponse::of(key, used), links }, pretty)
    }
}
