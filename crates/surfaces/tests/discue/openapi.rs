//! The OpenAPI description matches the router.

use portcullis_surfaces::discue::description;
use serde_json::Value;

use crate::{DiscueApi, ID};

#[tokio::test]
async fn every_path_has_its_described_methods() {
    let api = DiscueApi::new().await;
    let described = serde_json::to_value(description()).unwrap();
    assert_eq!(described["openapi"], "3.1.0");
    let Value::Object(paths) = &described["paths"] else { panic!("{described}") };
    assert_eq!(paths.len(), 4);
    for (path, methods) in paths {
        let answer = api.send("PATCH", &path.replace("{id}", ID), &[], None).await;
        assert_eq!(answer.status, 405, "{path}");
        let mut allowed: Vec<_> = answer.field("allow")[0].split(", ").map(str::to_lowercase).collect();
        allowed.retain(|method| method != "head");
        let mut named: Vec<_> = methods.as_object().unwrap().keys().cloned().collect();
        allowed.sort();
        named.sort();
        assert_eq!(allowed, named, "{path}");
    }
}

#[test]
fn description_names_the_key_and_lists_the_errors() {
    let described = serde_json::to_value(description()).unwrap();
    assert_eq!(described["components"]["securitySchemes"]["key"]["name"], "X-API-KEY");
    assert_eq!(described["security"][0]["key"], serde_json::json!([]));
    for status in ["200", "400", "401", "402", "403", "404", "409", "422", "423", "429", "503"] {
        let answer = &described["paths"]["/api_keys/{id}"]["put"]["responses"][status];
        assert!(answer["description"].as_str().is_some_and(|text| !text.is_empty()), "{status}");
    }
}
