//! The surface's description.
//!
//! An operation names what it answers with, what it refuses and what else it takes by the types here; the ids of its
//! path are added to it.

use std::{collections::BTreeMap, marker::PhantomData};

use jiff::Timestamp;
use serde::Serialize;
use utoipa::{
    IntoParams, IntoResponses, OpenApi, ToSchema,
    openapi::{
        Array, ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Schema,
        schema::Type,
    },
};

use super::{BASE, callers, changes, keys, locks, plans, routes, status, tenants, transfers};
use crate::surface::openapi::{below, optional_content, refusals, with_bearer, schemas};

/// The surface as OpenAPI 3.1, as the code has it. The surface shows it itself, below `/admin/v1/docs/`.
///
/// ```
/// let described = portcullis::surface::admin::description();
/// assert!(described.paths.paths.contains_key("/admin/v1/status"));
/// ```
#[must_use]
pub fn description() -> utoipa::openapi::OpenApi {
    let needless = ["create_key", "rotate_key", "refresh_lock"];
    with_bearer(below(BASE, optional_content(Spec::openapi(), |id| needless.contains(&id))))
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Portcullis administration",
        version = "1.0.0",
        description = "Tenants, callers, keys, plans, locks, routes and the record of their changes, for \
                       administrators. Every refusal is a problem (RFC 9457)."
    ),
    paths(
        tenants::list,
        tenants::create,
        tenants::read,
        tenants::modify,
        tenants::delete,
        callers::list,
        callers::create,
        callers::read,
        callers::modify,
        callers::delete,
        keys::list,
        keys::create,
        keys::read,
        keys::modify,
        keys::delete,
        keys::rotate,
        plans::list,
        plans::read,
        plans::put,
        plans::delete,
        locks::list,
        locks::acquire,
        locks::read,
        locks::delete,
        locks::refresh,
        routes::list,
        routes::read,
        changes::list,
        status::read,
        transfers::export,
        transfers::import::import,
        transfers::import::import_keys,
    ),
    components(schemas(
        Problem,
        tenants::Tenant,
        callers::Caller,
        keys::Key,
        keys::CreatedKey,
        keys::Rotated,
        plans::Plan,
        locks::Lock,
        locks::Acquired,
        routes::Route,
        changes::Change,
    ))
)]
struct Spec;

/// Why something was refused (RFC 9457).
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Problem {
    /// What kind of problem it is.
    r#type: String,
    /// The status's reason phrase.
    title: String,
    /// The status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// Why, for people.
    detail: String,
    /// Why, for programs.
    code: String,
    /// The media types there are (406).
    #[schema(nullable = false)]
    available: Option<Vec<String>>,
    /// Who holds the lock (423).
    #[schema(nullable = false)]
    owner: Option<String>,
    /// Why it is held (423).
    #[schema(nullable = false)]
    reason: Option<String>,
    /// Until when it is held (423).
    #[schema(nullable = false)]
    expires_at: Option<Timestamp>,
    /// In how many seconds a retry makes sense.
    #[schema(nullable = false)]
    retry_after: Option<u64>,
    /// The limits that are used up (429).
    #[schema(nullable = false)]
    violated_policies: Option<Vec<String>>,
    /// What is wrong with the content, and where (400, 422).
    #[schema(nullable = false)]
    errors: Option<Vec<Wrong>>,
}

/// What is wrong at a place.
#[derive(Serialize, ToSchema)]
struct Wrong {
    /// The place, as a JSON Pointer (RFC 6901) with `#` before it.
    pointer: String,
    /// The line that it is in, from 1, where the content is lines.
    #[schema(nullable = false)]
    line: Option<u64>,
    /// What is wrong there, for people.
    detail: String,
}

/// A success with a document of a schema, and with these fields.
fn success(status: u16, what: &str, schema: Option<RefOr<Schema>>, fields: &[(&str, &str)]) -> Responses {
    let mut response = ResponseBuilder::new().description(what);
    if let Some(schema) = schema {
        response = response.content("application/json", ContentBuilder::new().schema(Some(schema)).build());
    }
    for (name, what) in fields {
        response = response.header(*name, HeaderBuilder::new().description(Some(*what)).build());
    }
    [(status.to_string(), RefOr::T(response.build()))].into()
}

type Responses = BTreeMap<String, RefOr<Response>>;

fn document<T: ToSchema>() -> RefOr<Schema> {
    Ref::from_schema_name(T::name()).into()
}

const ETAG: (&str, &str) = ("ETag", "Its revision, or a hash of its content: goes into `If-Match`");
const REPLAYED: (&str, &str) = ("Idempotency-Replayed", "`true` on an answer that was given before");

/// One thing is shown, unless it is known.
pub(super) struct OkResource<T>(PhantomData<T>);

impl<T: ToSchema> IntoResponses for OkResource<T> {
    fn responses() -> Responses {
        let mut all = success(200, "It", Some(document::<T>()), &[ETAG]);
        all.extend(success(304, "`If-None-Match` names it as it is", None, &[ETAG]));
        all
    }
}

/// Many things are listed.
pub(super) struct OkPage<T>(PhantomData<T>);

impl<T: ToSchema> IntoResponses for OkPage<T> {
    fn responses() -> Responses {
        let next = ObjectBuilder::new().schema_type(Type::String);
        let next = next.description(Some("What goes into `after` for the next page; absent at the end"));
        let page = ObjectBuilder::new()
            .property("items", Array::new(document::<T>()))
            .property("next", next)
            .required("items");
        success(200, "A page of them", Some(page.into()), &[("Link", "The next page (`rel=\"next\"`)")])
    }
}

/// Something is made.
pub(super) struct Created<T>(PhantomData<T>);

impl<T: ToSchema> IntoResponses for Created<T> {
    fn responses() -> Responses {
        let location = ("Location", "Where it is");
        success(201, "It is made", Some(document::<T>()), &[ETAG, location, REPLAYED])
    }
}

/// Something is changed.
pub(super) struct Updated<T>(PhantomData<T>);

impl<T: ToSchema> IntoResponses for Updated<T> {
    fn responses() -> Responses {
        success(200, "It, as it is since", Some(document::<T>()), &[ETAG])
    }
}

/// Something is gone.
pub(super) struct NoContent;

impl IntoResponses for NoContent {
    fn responses() -> Responses {
        success(204, "It is gone", None, &[])
    }
}

/// Problems.
fn problems(table: &[(u16, &str)]) -> Responses {
    refusals("application/problem+json", "Problem", table)
}

/// What every operation refuses.
pub(super) struct CommonErrors;

impl IntoResponses for CommonErrors {
    fn responses() -> Responses {
        problems(&[
            (400, "A parameter, a field or the content is not as documented."),
            (401, "No key, or one that is unknown."),
            (
                403,
                "The role or the key's scopes do not go so far, or too many bad keys came from this address.",
            ),
            (406, "JSON is not acceptable."),
            (408, "The content did not come in time."),
            (413, "More content than is taken: 1 MiB, but for files."),
            (415, "The content is in another format, or is coded."),
            (429, "The key's plan is used up for now."),
            (500, "A fault of ours."),
            (503, "The store cannot be reached just now."),
        ])
    }
}

/// What an operation refuses that is done one at a time.
pub(super) struct Busy;

impl IntoResponses for Busy {
    fn responses() -> Responses {
        problems(&[(409, "Another one is under way.")])
    }
}

/// What an operation refuses that is about something.
pub(super) struct NotFound;

impl IntoResponses for NotFound {
    fn responses() -> Responses {
        problems(&[(404, "There is no such thing.")])
    }
}

/// What an operation refuses that makes something.
pub(super) struct CreateErrors;

impl IntoResponses for CreateErrors {
    fn responses() -> Responses {
        problems(&[
            (409, "An id or a name is taken, there may be no more, or the same request is under way."),
            (412, "The lock of `Lock-Token` is not held any more, or `If-Match` names another revision."),
            (422, "Values are out of place, or the `Idempotency-Key` was sent with another request."),
            (423, "A lock stands on it."),
        ])
    }
}

/// What an operation refuses that changes something.
pub(super) struct UpdateErrors;

impl IntoResponses for UpdateErrors {
    fn responses() -> Responses {
        problems(&[
            (409, "A name is taken, something still stands on it, or it is who asks."),
            (
                412,
                "Another revision than `If-Match` names, or the lock of `Lock-Token` is not held any more.",
            ),
            (422, "Values are out of place."),
            (423, "A lock stands on it."),
            (428, "`If-Match` is missing."),
        ])
    }
}

/// Which page of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it only describes parameters")]
pub(super) struct Paging {
    /// How many there are on a page at most; 100, unless it is said.
    #[param(value_type = u32, required = false, minimum = 1, maximum = 500)]
    limit: u32,
    /// What the page before gave as `next`.
    #[param(value_type = schemas::Id, required = false)]
    after: String,
}

/// The size of a page.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it only describes parameters")]
pub(super) struct Limit {
    /// How many there are on a page at most; 100, unless it is said.
    #[param(value_type = u32, required = false, minimum = 1, maximum = 500)]
    limit: u32,
}

/// What is there already.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it only describes parameters")]
pub(super) struct IfNoneMatch {
    /// `ETag`s, or `*`: what has one of them is not shown again (304), and not replaced (412).
    #[param(rename = "If-None-Match", value_type = String, required = false)]
    if_none_match: String,
}

/// What is to be changed.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it only describes parameters")]
pub(super) struct IfMatch {
    /// `ETag`s, or `*`: unless the present one is among them, 412.
    #[param(rename = "If-Match", value_type = String, required = false)]
    if_match: String,
}

/// What makes a request take effect once.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it only describes parameters")]
pub(super) struct IdempotencyKey {
    /// A string of structured fields: with the same one, a request takes effect once within a day.
    #[param(rename = "Idempotency-Key", value_type = String, required = false, pattern = r#"^"([ !#-\[\]-~]|\\["\\]){1,255}"$"#)]
    idempotency_key: String,
}

/// What proves that a lock is held.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it only describes parameters")]
pub(super) struct LockToken {
    /// The token of a lock, as acquiring it showed it: nothing is done unless it is held.
    #[param(rename = "Lock-Token", value_type = String, required = false, pattern = "^[A-Za-z0-9._-]{1,64}:[0-9]{1,18}:pcl_lock_[0-9a-f]{32}$")]
    lock_token: String,
}
