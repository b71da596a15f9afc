//! The API matches its OpenAPI description.

use std::collections::BTreeSet;

use portcullis_surfaces::admin::description;
use serde_json::{Value, json};

use crate::AdminApi;

fn described() -> Value {
    serde_json::to_value(description()).unwrap()
}

fn members(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn every_path_has_its_described_methods() {
    let (api, described) = (AdminApi::new().await, described());
    for (path, operations) in described["paths"].as_object().unwrap() {
        let rest = path.strip_prefix("/admin/v1").unwrap();
        let place = rest.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
        let place: Vec<_> = place.collect();
        let answer = api.ask(&api.owner, "TRACE", &place.join("/"), &[], None).await;
        assert_eq!(answer.status, 405, "{path}");
        let allowed = answer.field("allow")[0].to_lowercase();
        let mut named = members(operations);
        // The parameters of a path are not an operation.
        assert_eq!(named.remove("parameters"), path.contains('{'), "{path}");
        assert_eq!(allowed.split(", ").filter(|method| *method != "head").collect::<BTreeSet<_>>(), named);
    }
}

/// The test reads the router's source text, because nothing else lists a path without a description.
#[test]
fn every_path_of_the_router_is_described() {
    let named =
        |source: &'static str, before| source.split(before).skip(1).filter_map(|it| it.split('"').next());
    let routed = named(include_str!("../../src/admin/router.rs"), "&at(\"");
    let files = named(include_str!("../../src/admin/router.rs"), ".route(\"");
    let routed: BTreeSet<_> =
        routed.map(|path| format!("/admin/v1{path}")).chain(files.map(String::from)).collect();
    let described = described();
    let mut named: BTreeSet<_> = members(&described["paths"]).into_iter().map(String::from).collect();
    named.insert("/admin/v1/docs".into());
    assert_eq!(routed, named);
}

#[test]
fn operation_ids_are_unique_and_references_resolve() {
    let described = described();
    assert_eq!(described["openapi"], "3.1.0");
    assert_eq!(
        described["components"]["securitySchemes"]["key"],
        json!({ "type": "http", "scheme": "bearer" })
    );
    let mut names = BTreeSet::new();
    for operations in described["paths"].as_object().unwrap().values() {
        for (method, operation) in
            operations.as_object().unwrap().iter().filter(|(it, _)| *it != "parameters")
        {
            assert!(names.insert(operation["operationId"].as_str().unwrap()), "{operation}");
            assert!(operation["summary"].is_string(), "{operation}");
            for status in ["400", "401", "403", "429", "503"] {
                let problem = &operation["responses"][status]["content"]["application/problem+json"];
                assert_eq!(problem["schema"]["$ref"], "#/components/schemas/Problem", "{method} {status}");
            }
        }
    }
    let text = described.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(described.pointer(reference).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn created_plan_has_its_described_headers() {
    let api = AdminApi::new().await;
    let described = described();
    let created = described["paths"]["/admin/v1/plans/{plan}"]["put"]["responses"]["201"].clone();
    assert_eq!(members(&created["headers"]), ["ETag"].into());
    let answer = api.send("PUT", "/plans/new", &[], json!({ "limits": [] })).await;
    assert_eq!((answer.status.as_u16(), answer.field("etag").len()), (201, 1));
    assert!(answer.field("location").is_empty() && answer.field("idempotency-replayed").is_empty());
}

/// A browser that opens the page has no key to send.
#[tokio::test]
async fn only_the_description_needs_no_key() {
    let api = AdminApi::new().await;
    let get = async |path: &str| api.server.send("GET", &format!("/admin/v1{path}"), &[], None).await;
    assert_eq!(get("/docs/admin.json").await.json(), described());
    assert!(get("/docs/").await.text.contains("swagger"));
    assert!(get("/docs/swagger-initializer.js").await.text.contains("\"admin.json\""));
    for other in ["/status", "/doc", "/docsx", "/unknown"] {
        assert_eq!(get(other).await.status, 401, "{other}");
    }
}
