//! The OpenAPI descriptions of the surfaces, and the page that shows them.

pub(super) mod schemas;

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{OriginalUri, State},
    response::{IntoResponse, Redirect, Response},
    routing,
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::{
    ContentBuilder, ObjectBuilder, OpenApi, Ref, RefOr, Required, Response as OpenApiResponse,
    ResponseBuilder, Server,
    path::{Parameter, ParameterBuilder, ParameterIn},
    schema::Type,
    security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
};
use utoipa_swagger_ui::{Config, Url};

/// The media type of problems (RFC 9457).
const PROBLEM: &str = "application/problem+json";

/// Returns a description whose operations all require a credential in a header.
pub(super) fn with_key(description: OpenApi, field: &str) -> OpenApi {
    with(description, "key", SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new(field))))
}

/// Returns a description whose operations all require a credential in `Authorization: Bearer`.
pub(super) fn with_bearer(description: OpenApi) -> OpenApi {
    with(description, "key", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)))
}

/// Returns a description whose operations may be signed instead of sending another credential.
pub(super) fn with_signature(description: OpenApi) -> OpenApi {
    let how = "SDK-HMAC-SHA256 Access=…, SignedHeaders=…, Signature=…: a signature over the request and its body, \
               with the secret of an access key. The signed headers include X-Sdk-Date, which has the time";
    let signature = ApiKeyValue::with_description("Authorization", how);
    with(description, "signature", SecurityScheme::ApiKey(ApiKey::Header(signature)))
}

/// Adds a security scheme as an alternative: one of all schemes is enough.
fn with(mut description: OpenApi, name: &str, scheme: SecurityScheme) -> OpenApi {
    description.components.get_or_insert_default().add_security_scheme(name, scheme);
    let alternatives = description.security.get_or_insert_default();
    alternatives.push(SecurityRequirement::new(name, Vec::<String>::new()));
    // Paths are relative to the host that served the description.
    description.servers = Some(vec![Server::new("/")]);
    description
}

/// A problem (RFC 9457) for a request that was denied before it reached the API.
#[derive(Serialize, ToSchema)]
pub(super) struct GatewayProblem {
    /// The kind of problem, as a URI.
    r#type: String,
    /// The reason phrase of the status.
    title: String,
    /// The HTTP status code.
    status: u16,
    /// An explanation for people.
    detail: String,
    /// A code for programs.
    code: String,
}

/// Prefixes the paths of a description with a base and describes their path parameters as ids.
pub(super) fn below(base: &str, mut description: OpenApi) -> OpenApi {
    let id = |name: &str| -> RefOr<Parameter> {
        let schema = ObjectBuilder::new().schema_type(Type::String).pattern(Some(schemas::ID));
        let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path);
        parameter.required(Required::True).schema(Some(schema)).build().into()
    };
    let paths = std::mem::take(&mut description.paths.paths);
    description.paths.paths = paths
        .into_iter()
        .map(|(path, mut operations)| {
            let path = format!("{base}{path}");
            let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
            let ids: Vec<_> = names.map(id).collect();
            operations.parameters = (!ids.is_empty()).then_some(ids);
            (path, operations)
        })
        .collect();
    description
}

/// Makes the request bodies of some operations optional; `which` selects them by operation id.
pub(super) fn optional_content(mut description: OpenApi, is_optional: impl Fn(&str) -> bool) -> OpenApi {
    let operations = description.paths.paths.values_mut().flat_map(|path| [&mut path.post, &mut path.put]);
    for operation in operations.flatten().filter(|it| it.operation_id.as_deref().is_some_and(&is_optional)) {
        if let Some(RefOr::T(content)) = &mut operation.request_body {
            content.required = Some(Required::False);
        }
    }
    description
}

/// Returns the error responses of an operation from statuses and descriptions. Each has a body of this media type and
/// schema.
///
/// A request that is denied before it is known to be for a surface, such as a request with an ambiguous path, is
/// answered with a problem: of the surface's own schema if that is a problem, and a [`GatewayProblem`] otherwise.
pub(super) fn refusals(
    media_type: &str,
    schema: &str,
    table: &[(u16, &str)],
) -> BTreeMap<String, RefOr<OpenApiResponse>> {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
    let problem = Ref::from_schema_name(GatewayProblem::name());
    let problem = ContentBuilder::new().schema(Some(problem)).build();
    let response = |(status, why): &(u16, &str)| {
        // Generated clients use the first media type of a response.
        let mut response = ResponseBuilder::new().description(*why).content(media_type, content.clone());
        if *status == 400 && media_type != PROBLEM {
            response = response.content(PROBLEM, problem.clone());
        }
        (status.to_string(), RefOr::T(response.build()))
    };
    table.iter().map(response).collect()
}

/// The contents of the page: the name and the description of each surface.
type Shown = Arc<[(&'static str, OpenApi)]>;

/// Returns a router that serves the descriptions of surfaces as JSON, and a page that shows them. The page loads
/// nothing from other hosts.
///
/// The router works below any prefix: a path that ends with a slash is the page, and a path that ends with
/// `{name}.json` is a description. Descriptions are public, so no credential is needed.
///
/// ```
/// use portcullis_surfaces::{discue, documentation};
///
/// let app: axum::Router = axum::Router::new().nest_service("/docs", documentation([("discue", discue::description())]));
/// ```
pub fn documentation(surfaces: impl IntoIterator<Item = (&'static str, OpenApi)>) -> Router {
    let shown: Shown = surfaces.into_iter().collect();
    Router::new().fallback_service(routing::get(page).with_state(shown))
}

async fn page(State(shown): State<Shown>, OriginalUri(uri): OriginalUri) -> Response {
    let file = uri.path().rsplit('/').next().unwrap_or_default();
    if file.is_empty() {
        return serve(&shown, "index.html");
    }
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'~');
    if file.bytes().all(is_plain) {
        // The links of the page are relative, so its path must end with a slash. The redirect target is relative,
        // too, and limited to these characters: with a colon, a backslash or an escape it could name another host.
        return Redirect::permanent(&format!("{file}/")).into_response();
    }
    let described =
        file.strip_suffix(".json").and_then(|name| shown.iter().find(|(known, _)| *known == name));
    match described.map(|(_, description)| description.to_json()) {
        Some(Ok(json)) => response("application/json", json.into_bytes()),
        Some(Err(error)) => {
            tracing::error!(%error, "failed to serialize an OpenAPI description");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        None => serve(&shown, file),
    }
}

/// Serves a file of the page.
fn serve(shown: &Shown, file: &str) -> Response {
    let files: Vec<_> = shown.iter().map(|(name, _)| (*name, format!("{name}.json"))).collect();
    let config = Config::new(files.iter().map(|(name, file)| Url::new(name, file)))
        .validator_url("none")
        .persist_authorization(false);
    match utoipa_swagger_ui::serve(file, Arc::new(config)) {
        Ok(Some(file)) => response(&file.content_type, file.bytes.into_owned()),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => {
            tracing::error!(%error, "failed to render the documentation page");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The content security policy of the page: it may load from this server only and may not be framed, because people
/// type keys into it.
const POLICY: &str =
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'";

fn response(media_type: &str, body: Vec<u8>) -> Response {
    let media_type =
        HeaderValue::from_str(media_type).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let fields = [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (fields, Body::from(body)).into_response()
}
