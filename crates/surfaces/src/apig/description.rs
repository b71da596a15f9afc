//! OpenAPI descriptions of both versions of the contract.
//!
//! Handlers are annotated once, for V2. This module applies the differences of V1.

use std::collections::BTreeMap;

use utoipa::{
    OpenApi, ToSchema,
    openapi::{
        Array, ContentBuilder, HeaderBuilder, ObjectBuilder, PathItem, Ref, RefOr, Required, Response,
        Schema,
        path::{Operation, Parameter},
        schema::{AnyOfBuilder, Type},
    },
};

use super::{
    acl, apps,
    auth_response::{Authorized, Outcome, Status, StatusInfo},
    auths, codes,
    openapi::{ApigError, errors},
    quotas,
    throttles::{self, bindings, specials},
    version::Version,
};
use crate::openapi::{GatewayProblem, below, optional_content, schemas, with_key, with_signature};

/// Returns the OpenAPI 3.1 descriptions of this API, generated from the code: each version of the contract with a name.
///
/// ```
/// use portcullis_surfaces::{apig, documentation};
///
/// let docs: axum::Router = axum::Router::new().nest_service("/docs", documentation(apig::descriptions()));
/// ```
#[must_use]
pub fn descriptions() -> [(&'static str, utoipa::openapi::OpenApi); 2] {
    let (mut first, mut second) = (Both::openapi(), Both::openapi());
    first.merge(Specials::openapi());
    as_the_first(&mut first);
    second.merge(Specials::openapi());
    second.merge(Second::openapi());
    [("apig-v1", describe(Version::One, first)), ("apig-v2", describe(Version::Two, second))]
}

fn describe(version: Version, mut description: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let (number, others) = match version {
        Version::One => ("1.0.0", ["offset", "limit", "object_type"]),
        Version::Two => ("2.0.0", ["page_no", "page_size", "instance_type"]),
    };
    description.info.version = number.into();
    only_members_of(version, schemas(&mut description));
    for parameters in
        description.paths.paths.values_mut().flat_map(operations).filter_map(|it| it.parameters.as_mut())
    {
        parameters.retain(|parameter| !matches!(parameter, RefOr::T(it) if others.contains(&&*it.name)));
        parameters.iter_mut().for_each(or_empty);
    }
    let description = optional_content(description, |id| id == "reset_app_secret");
    with_signature(with_key(below(&version.base(), description), "X-Auth-Token"))
}

/// Members that differ between the versions: the name of the schema, the members that only V1 has, and the members
/// that only V2 has. All of them are required in their version.
const MEMBERS: [(&str, &[&str], &[&str]); 4] = [
    ("SpecialBody", &["instance_id", "instance_type", "strategy_id"], &["object_id", "object_type"]),
    (
        "SpecialInfo",
        &["instance_id", "instance_type", "strategy_id"],
        &["object_id", "object_type", "throttle_id"],
    ),
    ("AuthInfo", &["appid", "envname"], &["app_id", "env_name", "auth_tunnel"]),
    ("Authorized", &[], &["auth_tunnel"]),
];

/// Removes the members of the other version from schemas, so that generated clients have one exact type for each.
fn only_members_of(version: Version, schemas: &mut BTreeMap<String, RefOr<Schema>>) {
    for (name, first, second) in MEMBERS {
        let (own, others) = if version == Version::One { (first, second) } else { (second, first) };
        if let Some(RefOr::T(Schema::Object(schema))) = schemas.get_mut(name) {
            schema.properties.retain(|member, _| !others.contains(&&**member));
            schema.required.retain(|member| !others.contains(&&**member) && !own.contains(&&**member));
            schema.required.extend(own.iter().map(|member| (*member).to_owned()));
        }
    }
    let outcome = match version {
        Version::One => Status::name(),
        Version::Two => StatusInfo::name(),
    };
    schemas.remove(&*Outcome::name());
    if let Some(RefOr::T(Schema::Object(schema))) = schemas.get_mut("Authorized") {
        schema.properties.insert("auth_result".into(), Ref::from_schema_name(outcome).into());
    }
}

/// Allows an optional parameter to have an empty value, which counts as absent. The patterns of texts allow it anyway.
fn or_empty(parameter: &mut RefOr<Parameter>) {
    if let RefOr::T(parameter) = parameter
        && parameter.required == Required::False
        && let Some(RefOr::T(schema)) = &parameter.schema
    {
        let empty = ObjectBuilder::new().schema_type(Type::String).max_length(Some(0));
        parameter.schema = Some(AnyOfBuilder::new().item(schema.clone()).item(empty).into());
    }
}

/// The operations that both versions have under one path.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "APIG apps",
        version = "1.0.0",
        description = "Apps of a dedicated gateway and their limits. Every error is `{\"error_code\",\"error_msg\"}`."
    ),
    paths(
        apps::create,
        apps::list,
        apps::read,
        apps::modify,
        apps::delete,
        apps::reset_secret,
        apps::verify,
        apps::counts,
        auths::authorize,
        auths::cancel,
        auths::apis_of_app,
        auths::other_apis,
        auths::apps_of_api,
        throttles::create,
        throttles::list,
        throttles::read,
        throttles::modify,
        throttles::delete,
        bindings::bind,
        bindings::unbind,
        bindings::unbind_all,
        bindings::apis_of_throttle,
        bindings::other_apis,
        bindings::throttles_of_api,
    ),
    components(schemas(
        ApigError,
        GatewayProblem,
        schemas::Creator,
        schemas::Id,
        schemas::MaybeId,
        schemas::Text
    ))
)]
struct Both;

/// The operations that each version has under a path of its own.
#[derive(OpenApi)]
#[openapi(paths(specials::create_special, specials::list_specials))]
struct Specials;

/// The operations that only V2 has.
#[derive(OpenApi)]
#[openapi(paths(
    codes::create,
    codes::generate,
    codes::list,
    codes::read,
    codes::delete,
    acl::set,
    acl::read,
    acl::delete,
    specials::modify_special,
    specials::delete_special,
    quotas::create,
    quotas::list,
    quotas::read,
    quotas::modify,
    quotas::delete,
    quotas::apps::bind_quota,
    quotas::apps::unbind_quota,
    quotas::apps::bound_apps,
    quotas::apps::bindable_apps,
    quotas::apps::quota_of_app,
))]
struct Second;

/// Applies the differences of V1 to a description.
fn as_the_first(description: &mut utoipa::openapi::OpenApi) {
    for body in ["AppBody", "ThrottleBody"] {
        if let Some(RefOr::T(Schema::Object(body))) = schemas(description).get_mut(body)
            && let Some(RefOr::T(Schema::Object(name))) = body.properties.get_mut("name")
        {
            name.pattern = Some("^[A-Za-z][A-Za-z0-9_]{2,63}$".into());
        }
    }
    for (body, member) in [("AppBody", "app_key"), ("AppBody", "app_secret"), ("ResetBody", "app_secret")] {
        if let Some(RefOr::T(Schema::Object(body))) = schemas(description).get_mut(body)
            && let Some(RefOr::T(Schema::Object(member))) = body.properties.get_mut(member)
        {
            member.max_length = Some(64);
        }
    }
    let header =
        HeaderBuilder::new().description(Some("The generated secret, which only this response contains"));
    let header = header.build();
    let paths = &mut description.paths.paths;
    let success = |operation: Option<&mut Operation>, status: &str, edit: &dyn Fn(&mut Response)| {
        if let Some(RefOr::T(response)) = operation.and_then(|it| it.responses.responses.get_mut(status)) {
            edit(response);
        }
    };
    let tells = |response: &mut Response| {
        response.headers.insert("X-App-Secret".into(), header.clone().into());
    };
    success(paths.get_mut("/apps").and_then(|path| path.post.as_mut()), "201", &tells);
    success(paths.get_mut("/apps/secret/{app_id}").and_then(|path| path.put.as_mut()), "200", &tells);
    success(paths.get_mut("/app-auths").and_then(|path| path.post.as_mut()), "201", &|response| {
        let results = Array::new(Ref::from_schema_name(Authorized::name()));
        let content = ContentBuilder::new().schema(Some(results)).build();
        response.content.insert("application/json".into(), content.into());
    });
    if let Some(specials) = paths.remove("/throttles/{throttle_id}/throttle-specials") {
        let (mut all, mut of_one) = (specials.clone(), specials);
        (all.get, of_one.post) = (None, None);
        paths.insert("/throttle-specials".into(), all);
        paths.insert("/throttle-specials/{strategy_id}".into(), of_one);
    }
    if let Some(delete) = paths.get_mut("/apps/{app_id}").and_then(|path| path.delete.as_mut()) {
        delete.responses.responses.extend(errors(&[(409, "The app belongs to the marketplace.")]));
    }
}

fn schemas(description: &mut utoipa::openapi::OpenApi) -> &mut BTreeMap<String, RefOr<Schema>> {
    &mut description.components.get_or_insert_default().schemas
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut path.get, &mut path.post, &mut path.put, &mut path.delete].into_iter().flatten()
}
