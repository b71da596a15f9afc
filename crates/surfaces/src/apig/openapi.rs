//! The error responses and the schemas that the descriptions of operations share.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::{
    IntoResponses, ToSchema,
    openapi::{
        Array, KnownFormat, ObjectBuilder, RefOr, Response, Schema,
        schema::{AnyOfBuilder, SchemaFormat, Type},
    },
};

use crate::openapi::refusals;

/// An error response.
#[derive(Serialize, ToSchema)]
pub(super) struct ApigError {
    /// The error code.
    #[schema(pattern = r"^APIG\.[0-9]{4}$")]
    error_code: String,
    /// The error as a text.
    error_msg: String,
}

/// Returns error responses from statuses and descriptions.
pub(super) fn errors(table: &[(u16, &str)]) -> BTreeMap<String, RefOr<Response>> {
    refusals("application/json", "ApigError", table)
}

/// The error responses that the contract lists for every operation.
pub(super) struct Errors;

impl IntoResponses for Errors {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        errors(&[
            (400, "A parameter or the body is invalid, or a name is already taken."),
            (401, "The token or signature is missing or invalid."),
            (
                403,
                "The token does not allow the request, the resource is locked, a maximum number is reached, or the \
                 address is locked out after too many invalid tokens.",
            ),
            (404, "The resource does not exist."),
            (405, "The path does not support the method."),
            (500, "An internal error, or too many requests."),
        ])
    }
}

/// Returns the schema of a list of addresses, address ranges and address blocks.
pub(super) fn addresses() -> Schema {
    let of = |format| {
        ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(format)))
    };
    let like = |pattern: &str| ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
    let one = AnyOfBuilder::new()
        .item(of(KnownFormat::Ipv4))
        .item(of(KnownFormat::Ipv6))
        .item(like("^[0-9A-Fa-f.:]+[/-][0-9A-Fa-f.:]+$"));
    Array::new(one).into()
}
