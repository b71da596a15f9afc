//! Operations on api clients.

use std::{marker::PhantomData, sync::Arc};

use axum::{
    extract::{FromRequestParts, State},
    response::Response,
};
use http::{HeaderMap, request::Parts};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::{
    call_context::{CallContext, Json, target, unprocessable},
    etag::check_if_match,
    openapi::Errors,
    response::{Deleted, ErrorResponse, Links, show, show_at},
    state::Discue,
    validation,
};
use crate::access::{Read, RequiredAccess, Write};
use portcullis::{
    Denial,
    model::{
        Access, Caller, CallerEdit, CallerId, CallerKind, TenantId,
        hex::encode,
        name::{default_api_client_name, is_api_client_name},
    },
    registry::{CallerFilter, CreateCallerOr, NewCaller, RegistryError, RegistryExt},
};

/// The resource of scopes for api clients.
pub(super) const RESOURCE: &str = "api_clients";

/// The number of api clients that one read from the registry returns.
const PAGE: u32 = 500;

/// The request to create or update an api client.
#[derive(Default, Deserialize, ToSchema)]
pub(super) struct ClientRef {
    /// The name: a domain, optionally with a path, such as `example.com/dev`. It is unique in the organization.
    #[serde(default)]
    #[schema(value_type = Option<String>, required = false, pattern = r"^[a-z0-9-]+(\.[a-z0-9-]+)+(/[A-Za-z0-9._-]+)*$", max_length = 253)]
    name: Option<String>,
    /// The id: a UUID, or 21 characters of `A-Z a-z 0-9 _ -`. In an update it must equal the id in the path.
    #[serde(default)]
    #[schema(value_type = Option<String>, required = false, pattern = "^([A-Za-z0-9_-]{21}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$")]
    id: Option<String>,
}

impl ClientRef {
    /// Returns the validated id; `None` if it is absent.
    fn id(&self) -> Result<Option<CallerId>, ErrorResponse> {
        let id =
            |text: &str| validation::resource_id(text).ok_or_else(|| unprocessable("The id is invalid."));
        self.id.as_deref().map(id).transpose()
    }

    /// Returns the validated name; `None` if it is absent. The `present` name is accepted without validation.
    fn name(self, present: Option<&str>) -> Result<Option<String>, ErrorResponse> {
        match self.name {
            Some(name) if Some(&*name) != present && !is_api_client_name(&name) => {
                Err(unprocessable("The name must be a domain, optionally with a path: example.com/dev."))
            }
            name => Ok(name),
        }
    }
}

/// An api client.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiClient)]
pub(super) struct Client<'a> {
    /// The id of the api client.
    id: &'a str,
    /// The name of the api client.
    name: &'a str,
}

impl<'a> Client<'a> {
    fn new(caller: &'a Caller) -> Self {
        Self { id: public_id(caller), name: &caller.name }
    }
}

/// The number of characters of a tenant's hash in a scoped id.
const SUFFIX: usize = 20;

/// Returns the internal id of a caller whose chosen id exists in another tenant: the chosen id, a dot, and a hash of
/// its own tenant. Clients cannot choose this id, because a chosen id has no dot.
fn scoped_id(tenant: &TenantId, chosen: &CallerId) -> Result<CallerId, ErrorResponse> {
    let id = format!("{chosen}.{}", suffix(tenant));
    id.parse().map_err(|_| Denial::internal("a scoped id is invalid").into())
}

fn suffix(tenant: &TenantId) -> String {
    let mut hash = encode(&Sha256::digest(tenant.as_str()));
    hash.truncate(SUFFIX);
    hash
}

/// Returns the id of an api client under which its own tenant knows it.
fn public_id(caller: &Caller) -> &str {
    let id = caller.id.as_str();
    let chosen = id.strip_suffix(&suffix(&caller.tenant)).and_then(|id| id.strip_suffix('.'));
    chosen.filter(|id| validation::resource_id::<CallerId>(id).is_some()).unwrap_or(id)
}

/// The response with an api client.
#[derive(Serialize, ToSchema)]
#[schema(as = OneApiClient)]
pub(super) struct One<'a> {
    api_client: Client<'a>,
    #[serde(rename = "_links")]
    links: Links,
}

/// The response with all api clients.
#[derive(Serialize, ToSchema)]
#[schema(as = AllApiClients)]
pub(super) struct All<'a> {
    api_clients: Vec<Client<'a>>,
    #[serde(rename = "_links")]
    links: Links,
}

/// The id of an api client at the end of the path, for a key with the access to this api client. It may not exist.
pub(super) struct NamedClient<A> {
    call: CallContext,
    id: CallerId,
    access: PhantomData<A>,
}

impl<A: RequiredAccess, S: Sync> FromRequestParts<S> for NamedClient<A> {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ErrorResponse> {
        let call = CallContext::from_request_parts(parts, state).await?;
        let id: CallerId = target(&parts.uri)?;
        call.may(A::ACCESS, RESOURCE, Some(id.as_str()))?;
        Ok(Self { call, id, access: PhantomData })
    }
}

/// Creates an api client.
#[utoipa::path(
    post,
    path = "/api_clients",
    tag = "api_clients",
    operation_id = "create_api_client",
    params(("pretty" = Option<bool>, Query, description = "Indents the response")),
    request_body(content = ClientRef, description = "Without a body, all members are absent."),
    responses((status = 200, description = "The api client", body = One), Errors),
)]
pub(super) async fn create(
    State(surface): State<Arc<Discue>>,
    call: CallContext,
    Json(body): Json<ClientRef>,
) -> Result<Response, ErrorResponse> {
    let id = body.id()?.unwrap_or_else(CallerId::random);
    call.may(Access::Write, RESOURCE, Some(id.as_str()))?;
    surface.require_active(&call.tenant).await?;
    let name = body.name(None)?.unwrap_or_else(|| default_api_client_name(&id));
    // A caller under a plan cannot create a caller without one.
    let plan = call.identity.caller().buckets.as_ref().map(|buckets| buckets.plan().id().clone());
    let otherwise = scoped_id(&call.tenant, &id)?;
    let caller = NewCaller { id, tenant: call.tenant.clone(), name, kind: CallerKind::ApiClient, plan };
    // The response must not reveal that another organization uses the id.
    let made = surface.registry.run(CreateCallerOr { caller, otherwise }, &call.subscriber()).await;
    show_client(&surface, &made.map_err(|fault| surface.registry_error(fault))?, call.pretty)
}

/// Lists the api clients of the organization.
#[utoipa::path(
    get,
    path = "/api_clients",
    tag = "api_clients",
    operation_id = "list_api_clients",
    params(("pretty" = Option<bool>, Query, description = "Indents the response")),
    responses((status = 200, description = "The api clients", body = All), Errors),
)]
pub(super) async fn list(
    State(surface): State<Arc<Discue>>,
    call: CallContext,
) -> Result<Response, ErrorResponse> {
    let mut filter = CallerFilter {
        tenant: Some(call.tenant.clone()),
        kind: Some(CallerKind::ApiClient.name()),
        limit: PAGE,
        ..CallerFilter::default()
    };
    let mut callers = Vec::new();
    loop {
        let page = surface.registry.callers(&filter).await.map_err(|fault| surface.registry_error(fault))?;
        let Some(last) = page.last() else { break };
        filter.after = Some(last.id.clone());
        callers.extend(page);
    }
    callers.retain(|caller| call.covers(Access::Read, RESOURCE, public_id(caller)));
    let api_clients = callers.iter().map(Client::new).collect();
    show(&All { api_clients, links: surface.links("/api_clients") }, call.pretty)
}

/// Returns an api client.
#[utoipa::path(
    get,
    path = "/api_clients/{id}",
    tag = "api_clients",
    operation_id = "read_api_client",
    params(("id" = String, Path, description = "The api client's id", pattern = "^([A-Za-z0-9_-]{21}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$"), ("pretty" = Option<bool>, Query, description = "Indents the response")),
    responses((status = 200, description = "The api client", body = One), Errors),
)]
pub(super) async fn read(
    State(surface): State<Arc<Discue>>,
    NamedClient { call, id, .. }: NamedClient<Read>,
) -> Result<Response, ErrorResponse> {
    show_client(&surface, &find_client(&surface, &call.tenant, &id).await?, call.pretty)
}

/// Updates an api client.
#[utoipa::path(
    put,
    path = "/api_clients/{id}",
    tag = "api_clients",
    operation_id = "update_api_client",
    params(("id" = String, Path, description = "The api client's id", pattern = "^([A-Za-z0-9_-]{21}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$"), ("pretty" = Option<bool>, Query, description = "Indents the response")),
    request_body(content = ClientRef, description = "Without a body, all members are absent."),
    responses((status = 200, description = "The api client", body = One), Errors),
)]
pub(super) async fn update(
    State(surface): State<Arc<Discue>>,
    NamedClient { call, id, .. }: NamedClient<Write>,
    headers: HeaderMap,
    Json(body): Json<ClientRef>,
) -> Result<Response, ErrorResponse> {
    surface.require_active(&call.tenant).await?;
    let before = find_client(&surface, &call.tenant, &id).await?;
    if body.id()?.is_some_and(|other| other != id) {
        return Err(Denial::Conflict { detail: "The ids in body and path differ.".into() }.into());
    }
    check_if_match(&headers, before.revision)?;
    let edit = CallerEdit { name: body.name(Some(&before.name))?, ..CallerEdit::default() };
    let expected = Some(before.revision);
    let after =
        surface.registry.update_caller(&call.tenant, &before.id, expected, edit, &call.subscriber()).await;
    show_client(&surface, &after.map_err(|fault| surface.registry_error(fault))?, call.pretty)
}

/// Deletes an api client and its keys.
#[utoipa::path(
    delete,
    path = "/api_clients/{id}",
    tag = "api_clients",
    operation_id = "delete_api_client",
    params(("id" = String, Path, description = "The api client's id", pattern = "^([A-Za-z0-9_-]{21}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$"), ("pretty" = Option<bool>, Query, description = "Indents the response")),
    responses((status = 200, description = "Deleted", body = Deleted), Errors),
)]
pub(super) async fn delete(
    State(surface): State<Arc<Discue>>,
    NamedClient { call, id, .. }: NamedClient<Write>,
    headers: HeaderMap,
) -> Result<Response, ErrorResponse> {
    let before = find_client(&surface, &call.tenant, &id).await?;
    check_if_match(&headers, before.revision)?;
    let expected = Some(before.revision);
    let gone = surface.registry.delete_caller(&call.tenant, &before.id, expected, call.revoker()).await;
    gone.map_err(|fault| surface.registry_error(fault))?;
    show(&Deleted { links: surface.links(&format!("/api_clients/{id}")) }, call.pretty)
}

/// Returns an api client of the tenant; callers of other kinds count as unknown.
async fn find_client(surface: &Discue, tenant: &TenantId, id: &CallerId) -> Result<Caller, ErrorResponse> {
    let caller = match surface.registry.caller(tenant, id).await {
        Err(RegistryError::NotFound) if validation::resource_id::<CallerId>(id.as_str()).is_some() => {
            surface.registry.caller(tenant, &scoped_id(tenant, id)?).await
        }
        found => found,
    };
    let caller = caller.map_err(|fault| surface.registry_error(fault))?;
    let is_it = caller.kind == CallerKind::ApiClient && public_id(&caller) == id.as_str();
    if is_it { Ok(caller) } else { Err(Denial::NotFound.into()) }
}

fn show_client(surface: &Discue, caller: &Caller, pretty: bool) -> Result<Response, ErrorResponse> {
    let links = surface.links(&format!("/api_clients/{}", public_id(caller)));
    show_at(caller.revision, &One { api_client: Client::new(caller), links }, pretty)
}
