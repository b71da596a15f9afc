//! The responses, errors and parameters that the descriptions of operations share.

use std::{collections::BTreeMap, marker::PhantomData};

use jiff::Timestamp;
use serde::Serialize;
use utoipa::{
    IntoParams, IntoResponses, ToSchema,
    openapi::{
        Array, ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Schema,
        schema::Type,
    },
};

use crate::openapi::{refusals, schemas};

/// A problem (RFC 9457): the reason why a request failed.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Problem {
    /// The kind of problem, as a URI.
    r#type: String,
    /// The reason phrase of the status.
    title: String,
    /// The HTTP status code.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// An explanation for people.
    detail: String,
    /// A code for programs.
    code: String,
    /// The available media types (406).
    #[schema(nullable = false)]
    available: Option<Vec<String>>,
    /// The holder of the lock (423).
    #[schema(nullable = false)]
    owner: Option<String>,
    /// The reason for the lock (423).
    #[schema(nullable = false)]
    reason: Option<String>,
    /// The end of the lock (423).
    #[schema(nullable = false)]
    expires_at: Option<Timestamp>,
    /// The number of seconds to wait before a retry.
    #[schema(nullable = false)]
    retry_after: Option<u64>,
    /// The names of the exhausted limits (429).
    #[schema(nullable = false)]
    violated_policies: Option<Vec<String>>,
    /// The errors in the body, with their places (400, 422).
    #[schema(nullable = false)]
    errors: Option<Vec<Wrong>>,
}

/// An error at a place in the body.
#[derive(Serialize, ToSchema)]
struct Wrong {
    /// The place, as a JSON Pointer (RFC 6901) that starts with `#`.
    pointer: String,
    /// The line number, from 1, if the body consists of lines.
    #[schema(nullable = false)]
    line: Option<u64>,
    /// An explanation for people.
    detail: String,
}

/// Returns a success response with a schema and with headers.
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

const ETAG: (&str, &str) = ("ETag", "The revision of the resource or a hash of its content, for `If-Match`");
const REPLAYED: (&str, &str) = ("Idempotency-Replayed", "`true` if the response is a stored one");

/// Responses of an operation that returns a resource.
pub(super) struct OkResource<T>(PhantomData<T>);

impl<T: ToSchema> IntoResponses for OkResource<T> {
    fn responses() -> Responses {
        let mut all = success(200, "The resource", Some(document::<T>()), &[ETAG]);
        all.extend(success(304, "The resource still has the `ETag` in `If-None-Match`", None, &[ETAG]));
        all
    }
}

/// Responses of an operation that lists resources.
pub(super) struct OkPage<T>(PhantomData<T>);

impl<T: ToSchema> IntoResponses for OkPage<T> {
    fn responses() -> Responses {
        let next = ObjectBuilder::new().schema_type(Type::String);
        let next = next.description(Some("The value of `after` for the next page; absent on the last page"));
        let page = ObjectBuilder::new()
            .property("items", Array::new(document::<T>()))
            .property("next", next)
            .required("items");
        success(200, "A page of resources", Some(page.into()), &[("Link", "The next page (`rel=\"next\"`)")])
    }
}

/// Responses of an operation that creates a resource.
pub(super) struct Created<T>(PhantomData<T>);

impl<T: ToSchema> IntoResponses for Created<T> {
    fn responses() -> Responses {
        let location = ("Location", "The path of the new resource");
        success(201, "Created", Some(document::<T>()), &[ETAG, location, REPLAYED])
    }
}

/// Responses of an operation that creates a resource at the target of the request.
pub(super) struct CreatedAtTarget<T>(PhantomData<T>);

impl<T: ToSchema> IntoResponses for CreatedAtTarget<T> {
    fn responses() -> Responses {
        success(201, "Created", Some(document::<T>()), &[ETAG])
    }
}

/// Responses of an operation that updates a resource.
pub(super) struct Updated<T>(PhantomData<T>);

impl<T: ToSchema> IntoResponses for Updated<T> {
    fn responses() -> Responses {
        success(200, "The updated resource", Some(document::<T>()), &[ETAG])
    }
}

/// Responses of an operation that deletes a resource.
pub(super) struct NoContent;

impl IntoResponses for NoContent {
    fn responses() -> Responses {
        success(204, "Deleted", None, &[])
    }
}

/// Returns error responses from statuses and descriptions.
fn problems(table: &[(u16, &str)]) -> Responses {
    refusals("application/problem+json", "Problem", table)
}

/// Error responses of every operation.
pub(super) struct CommonErrors;

impl IntoResponses for CommonErrors {
    fn responses() -> Responses {
        problems(&[
            (400, "A parameter, a header or the body is not as documented."),
            (401, "The key is missing, unknown or expired."),
            (
                403,
                "The role or the key's scopes do not allow the operation, or the address sent too many bad keys.",
            ),
            (406, "`Accept` excludes the media type of the response."),
            (408, "The body did not arrive in time."),
            (413, "The body is larger than 1 MiB, or than the limit for files."),
            (415, "The media type or content coding of the body is not supported."),
            (429, "A limit of the key's plan is exhausted."),
            (500, "Internal error."),
            (503, "The store is unavailable."),
        ])
    }
}

/// Error responses of an operation that runs once at a time.
pub(super) struct Busy;

impl IntoResponses for Busy {
    fn responses() -> Responses {
        problems(&[(409, "Another request of this kind is in progress.")])
    }
}

/// Error responses of a reload of the configuration.
pub(super) struct ReloadErrors;

impl IntoResponses for ReloadErrors {
    fn responses() -> Responses {
        problems(&[
            (409, "No gateway serves the API."),
            (422, "The configuration has errors, and nothing has changed."),
        ])
    }
}

/// Error responses of an operation on a resource.
pub(super) struct NotFound;

impl IntoResponses for NotFound {
    fn responses() -> Responses {
        problems(&[(404, "The resource does not exist.")])
    }
}

/// Error responses of an operation that creates a resource.
pub(super) struct CreateErrors;

impl IntoResponses for CreateErrors {
    fn responses() -> Responses {
        problems(&[
            (409, "An id or a name is in use, a limit is reached, or the same request is in progress."),
            (412, "The lock of `Lock-Token` is no longer held, or `If-Match` names another revision."),
            (422, "Values are invalid, or the `Idempotency-Key` was used for a different request."),
            (423, "The resource is locked."),
        ])
    }
}

/// Error responses of an operation that updates or deletes a resource.
pub(super) struct UpdateErrors;

impl IntoResponses for UpdateErrors {
    fn responses() -> Responses {
        problems(&[
            (409, "A name is in use, the resource is in use, or the request itself depends on it."),
            (
                412,
                "`If-Match` does not name the current revision, or the lock of `Lock-Token` is no longer held.",
            ),
            (422, "Values are invalid."),
            (423, "The resource is locked."),
            (428, "`If-Match` is missing."),
        ])
    }
}

/// Parameters that select a page of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it only describes parameters")]
pub(super) struct Paging {
    /// The maximum number of resources on a page. Defaults to 100.
    #[param(value_type = u32, required = false, minimum = 1, maximum = 500)]
    limit: u32,
    /// The `next` of the previous page.
    #[param(value_type = schemas::Id, required = false)]
    after: String,
}

/// The parameter for the size of a page.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it only describes parameters")]
pub(super) struct Limit {
    /// The maximum number of resources on a page. Defaults to 100.
    #[param(value_type = u32, required = false, minimum = 1, maximum = 500)]
    limit: u32,
}

/// The header that excludes known versions of a resource.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it only describes parameters")]
pub(super) struct IfNoneMatch {
    /// `ETag`s, or `*`. A resource that has one of them is not returned again (304) and not replaced (412).
    #[param(rename = "If-None-Match", value_type = String, required = false)]
    if_none_match: String,
}

/// The header that names the expected version of a resource.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it only describes parameters")]
pub(super) struct IfMatch {
    /// `ETag`s, or `*`. If the current `ETag` is not among them, the response is 412.
    #[param(rename = "If-Match", value_type = String, required = false)]
    if_match: String,
}

/// The header that makes a request idempotent.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it only describes parameters")]
pub(super) struct IdempotencyKey {
    /// A string of structured fields. Requests with the same string take effect once within a day.
    #[param(rename = "Idempotency-Key", value_type = String, required = false, pattern = r#"^"([ !#-\[\]-~]|\\["\\]){1,255}"$"#)]
    idempotency_key: String,
}

/// The header that proves that a lock is held.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it only describes parameters")]
pub(super) struct LockToken {
    /// The token of a lock, from the response that acquired it. The request has no effect unless the lock is held.
    #[param(rename = "Lock-Token", value_type = String, required = false, pattern = "^[A-Za-z0-9._-]{1,64}:[0-9]{1,18}:pcl_lock_[0-9a-f]{32}$")]
    lock_token: String,
}
