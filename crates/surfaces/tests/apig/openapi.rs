//! The OpenAPI descriptions match the router.

use std::collections::BTreeSet;

use portcullis_surfaces::apig::descriptions;
use serde_json::{Value, json};
use utoipa::openapi::RefOr;

use crate::{APP, ApigApi, INSTANCE, PROJECT};

/// Returns each version with its paths, without their common prefix, and with its whole description.
fn described() -> Vec<(&'static str, Vec<(String, Value)>, Value)> {
    let base = |version| format!("/{version}/{{project_id}}/apigw/instances/{{instance_id}}");
    let versions = descriptions().into_iter().zip(["v1", "v2"]);
    versions
        .map(|((name, description), version)| {
            assert_eq!(name, format!("apig-{version}"));
            let all = serde_json::to_value(description).unwrap();
            let paths = all["paths"].as_object().unwrap().iter();
            let paths = paths.map(|(path, operations)| {
                (path.strip_prefix(&base(version)).unwrap().to_owned(), operations.clone())
            });
            (version, paths.collect(), all.clone())
        })
        .collect()
}

/// Returns a path with all parameters replaced by a value.
fn filled(path: &str, with: &str) -> String {
    let parts: Vec<_> = path.split('/').map(|part| if part.starts_with('{') { with } else { part }).collect();
    parts.join("/")
}

fn methods(operations: &Value) -> BTreeSet<&str> {
    let members = operations.as_object().unwrap().keys().map(String::as_str);
    members.filter(|member| *member != "parameters").collect()
}

#[tokio::test]
async fn every_path_has_its_described_methods() {
    let api = ApigApi::new().await;
    for (version, paths, _) in described() {
        for (path, operations) in paths {
            let target = format!("/{version}/{PROJECT}/apigw/instances/{INSTANCE}{}", filled(&path, APP));
            let answer = api.send("TRACE", &target, None).await;
            assert_eq!(answer.status, 405, "{target}");
            let allowed = answer.field("allow")[0].to_lowercase();
            let allowed: BTreeSet<_> = allowed.split(", ").filter(|method| *method != "head").collect();
            assert_eq!(allowed, methods(&operations), "{target}");
        }
    }
}

/// No other test would find a path without a description, so this one reads the paths from the source of the router.
#[test]
fn every_path_of_the_router_is_described() {
    let source = include_str!("../../src/apig/router.rs");
    let routed = |of: &str| -> BTreeSet<String> {
        let is = |function: &&str| match function.split('(').next() {
            Some("routes_of_the_first") => of == "v1",
            Some("routes_of_the_second" | "routes_of_limits") => of == "v2",
            _ => true,
        };
        let paths = source.split("\nfn ").filter(is).flat_map(|function| function.split("&at(\"").skip(1));
        paths.filter_map(|rest| rest.split('"').next()).map(|path| filled(path, "{}")).collect()
    };
    for (version, paths, _) in described() {
        let named: BTreeSet<_> = paths.iter().map(|(path, _)| filled(path, "{}")).collect();
        assert_eq!(named, routed(version), "{version}");
    }
}

#[test]
fn operation_ids_are_unique_and_references_resolve() {
    for (version, paths, all) in described() {
        assert_eq!(all["openapi"], "3.1.0");
        assert_eq!(all["components"]["securitySchemes"]["key"]["name"], "X-Auth-Token");
        let mut names = BTreeSet::new();
        for (path, operations) in &paths {
            for operation in methods(operations).into_iter().map(|method| &operations[method]) {
                assert!(names.insert(operation["operationId"].as_str().unwrap()), "{version} {path}");
                for status in ["400", "401", "403", "404", "500"] {
                    let error = &operation["responses"][status]["content"]["application/json"]["schema"];
                    assert_eq!(error["$ref"], "#/components/schemas/ApigError", "{version} {path} {status}");
                }
            }
        }
        let text = all.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(all.pointer(reference).is_some(), "{reference}");
        }
    }
}

#[test]
fn versions_differ_where_the_contract_does() {
    let [first, second] = described().try_into().unwrap();
    let operation = |(_, paths, _): &(_, Vec<(String, Value)>, _), path: &str, method: &str| {
        paths.iter().find(|(known, _)| known == path).unwrap().1[method].clone()
    };
    let pages = |of: &_| {
        let parameters = operation(of, "/apps", "get")["parameters"].clone();
        let names = parameters.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned());
        names
            .filter(|name| ["page_no", "page_size", "offset", "limit"].contains(&&**name))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (pages(&first), pages(&second)),
        (vec!["page_no".to_owned(), "page_size".to_owned()], vec!["offset".to_owned(), "limit".to_owned()],)
    );
    let made = |of: &_| {
        operation(of, "/app-auths", "post")["responses"]["201"]["content"]["application/json"]["schema"]
            .clone()
    };
    assert_eq!(made(&first)["type"], "array");
    assert_eq!(made(&second)["$ref"], "#/components/schemas/AuthResult");
    let longest = |of: &(_, _, Value)| {
        of.2["components"]["schemas"]["AppBody"]["properties"]["app_key"]["maxLength"].clone()
    };
    assert_eq!((longest(&first), longest(&second)), (64.into(), 200.into()));
    let tells =
        |of: &_| operation(of, "/apps", "post")["responses"]["201"]["headers"]["X-App-Secret"].is_object();
    assert!(tells(&first) && !tells(&second));
    let market = |of: &_| operation(of, "/apps/{app_id}", "delete")["responses"]["409"].is_object();
    assert!(market(&first) && !market(&second));
}

/// Client generators use the first media type of a response, and generate no type for a schema that mixes alternatives
/// with members.
#[test]
fn each_response_and_member_has_one_type() {
    for (_, description) in descriptions() {
        for (path, item) in &description.paths.paths {
            for operation in [&item.get, &item.post, &item.put, &item.delete].into_iter().flatten() {
                let RefOr::T(refusal) = &operation.responses.responses["400"] else { panic!("{path}") };
                let types: Vec<_> = refusal.content.keys().map(String::as_str).collect();
                assert_eq!(types, ["application/json", "application/problem+json"], "{path}");
            }
        }
    }
    for (version, _, all) in described() {
        for (name, schema) in all["components"]["schemas"].as_object().unwrap() {
            let mixed =
                schema["allOf"].as_array().into_iter().flatten().any(|part| part.get("oneOf").is_some());
            assert!(!mixed, "{version} {name}");
        }
        let member = |schema: &str, member: &str| {
            !all["components"]["schemas"][schema]["properties"][member].is_null()
        };
        let first = version == "v1";
        assert_eq!((member("AuthInfo", "appid"), member("AuthInfo", "app_id")), (first, !first));
        assert_eq!(
            (member("SpecialInfo", "strategy_id"), member("SpecialInfo", "throttle_id")),
            (first, !first)
        );
        assert_eq!(all["servers"][0]["url"], "/");
        let schemes = &all["components"]["securitySchemes"];
        assert_eq!(
            (&schemes["key"]["name"], &schemes["signature"]["name"]),
            (&json!("X-Auth-Token"), &json!("Authorization"))
        );
        assert_eq!(all["security"], json!([{ "key": [] }, { "signature": [] }]), "one scheme is enough");
    }
}
