//! Credentials that are revoked while a request with them is in progress.

use std::collections::BTreeSet;

use portcullis_surfaces::discue::description;
use serde_json::Value;

use super::{DiscueApi, ID, OTHER};
use crate::management::pending_request::{Case, Loss, PendingRequest};

/// The calling key, and another key of its api client.
const ASKING: &str = "MbCS6UB_m7NdvyDOE8st1";
const SPARE: &str = "MbCS6UB_m7NdvyDOE8st2";

async fn api() -> (DiscueApi, String) {
    let api = DiscueApi::new().await;
    let key = api.world.key_with("org", ID, |key| key.id = ASKING.parse().unwrap()).await;
    api.world.key_with("org", ID, |key| key.id = SPARE.parse().unwrap()).await;
    (api, key)
}

/// Returns a request with which an operation succeeds. Panics for an unknown operation.
fn case(operation: &str, key: &str) -> Case {
    let body = |text: &str| Some(text.to_owned());
    let case = match operation {
        "create_api_client" => Case::new("POST", "/api_clients", body(r#"{"name":"example.com/new"}"#)),
        "list_api_clients" => Case::new("GET", "/v1/api_clients", None),
        "read_api_client" => Case::new("GET", format!("/api_clients/{OTHER}"), None),
        "update_api_client" => {
            Case::new("PUT", format!("/api_clients/{OTHER}"), body(r#"{"name":"example.com/new"}"#))
        }
        "delete_api_client" => Case::new("DELETE", format!("/api_clients/{OTHER}"), None),
        "create_api_key" => Case::new("POST", "/v1/api_keys", body(r#"{"name":"new"}"#)),
        "list_api_keys" => Case::new("GET", "/api_keys", None),
        "read_api_key" => Case::new("GET", format!("/api_keys/{SPARE}"), None),
        "update_api_key" => Case::new("PUT", format!("/api_keys/{SPARE}"), body(r#"{"name":"new"}"#)),
        "delete_api_key" => Case::new("DELETE", format!("/api_keys/{SPARE}"), None),
        unknown => panic!("an operation without a case: {unknown}"),
    };
    case.field("x-api-key", key).field("content-type", "application/json")
}

fn operations() -> BTreeSet<String> {
    let described = serde_json::to_value(description()).unwrap();
    let paths = described["paths"].as_object().unwrap().values().filter_map(Value::as_object);
    let operations = paths.flat_map(|path| path.values());
    operations.map(|operation| operation["operationId"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn key_revoked_after_admission_denies_every_operation() {
    for operation in operations() {
        let (api, key) = api().await;
        let case = case(&operation, &key);
        api.world.assert_needs_its_credential(&api.server, &case, "org", ASKING).await;
        let accepted = Case { fields: vec![], ..case };
        let accepted = accepted.field("x-api-key", &*api.key).field("content-type", "application/json");
        let (status, answer) = accepted.send(&api.server).await;
        assert_eq!(status, 200, "{operation} {answer}");
    }
}

#[tokio::test]
async fn key_revoked_during_upload_denies_every_operation() {
    for operation in operations() {
        let (api, key) = api().await;
        let case = case(&operation, &key);
        if case.body.is_some() {
            api.world.assert_refused_underway(&api.server, &case, ("org", ASKING), Loss::Deleted).await;
        }
    }
    for loss in Loss::ALL {
        let (api, key) = api().await;
        let case = case("create_api_key", &key);
        api.world.assert_refused_underway(&api.server, &case, ("org", ASKING), loss).await;
    }
}

#[tokio::test]
async fn subscription_lapsed_during_upload_changes_nothing() {
    let (api, key) = api().await;
    let underway = PendingRequest::begin(api.server.address, &case("create_api_key", &key)).await;
    api.world.lapse("org").await;
    let before = api.world.directory.applied();
    assert_eq!(underway.end().await.0, 402);
    api.world.settle().await;
    assert_eq!(api.world.directory.applied(), before);
}

/// A key that deletes itself still gets the response.
#[tokio::test]
async fn key_may_delete_itself() {
    let (api, key) = api().await;
    let case = Case::new("DELETE", format!("/api_keys/{ASKING}"), None).field("x-api-key", &*key);
    assert_eq!(case.send(&api.server).await.0, 200);
}
