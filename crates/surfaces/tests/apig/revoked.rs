//! Credentials that are revoked while a request with them is in progress.

use std::collections::BTreeMap;

use portcullis_surfaces::apig::descriptions;
use serde_json::{Value, json};

use super::{APP, ApigApi, INSTANCE, PROJECT};
use crate::management::pending_request::{Case, Loss, PendingRequest};

const ASKING: &str = "asking";
const RELEASE: &str = "DEFAULT_ENVIRONMENT_RELEASE_ID";

/// Returns a gateway with one object of each kind, the ids of these objects by their names in the descriptions, and the
/// token.
async fn api() -> (ApigApi, BTreeMap<&'static str, String>, String) {
    let api = ApigApi::new().await;
    let made = async |path: &str, body: Value| {
        let target = format!("/v2/{PROJECT}/apigw/instances/{INSTANCE}{path}");
        let answer = api.send("POST", &target, Some(&body.to_string())).await;
        assert_eq!(answer.status, 201, "{path} {answer:?}");
        answer.json()
    };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let throttle = |name: &str| json!({ "name": name, "time_unit": "MINUTE", "time_interval": 1, "api_call_limits": 800 });
    let bound = text(&made("/throttles", throttle("bound")).await["id"]);
    let free = text(&made("/throttles", throttle("free")).await["id"]);
    let binding = json!({ "strategy_id": bound, "publish_ids": ["orders"] });
    let binding = text(&made("/throttle-bindings", binding).await["throttle_applys"][0]["id"]);
    let special = json!({ "object_id": PROJECT, "object_type": "USER", "call_limits": 1 });
    let special = text(&made(&format!("/throttles/{bound}/throttle-specials"), special).await["id"]);
    let quota = json!({ "name": "quota", "call_limits": 1000, "time_unit": "DAY", "time_interval": 1 });
    let quota = text(&made("/app-quotas", quota).await["app_quota_id"]);
    made(&format!("/app-quotas/{quota}/binding-apps"), json!({ "app_ids": [APP] })).await;
    let auth = json!({ "env_id": RELEASE, "app_ids": [APP], "api_ids": ["orders"] });
    let auth = text(&made("/app-auths", auth).await["auths"][0]["id"]);
    let code = json!({ "app_code": "c".repeat(64) });
    let code = text(&made(&format!("/apps/{APP}/app-codes"), code).await["id"]);
    api.world.settle().await;
    let token = api.world.key_with("gateway", "operator", |key| key.id = ASKING.parse().unwrap()).await;
    let ids = [
        ("app_id", APP.to_owned()),
        ("app_auth_id", auth),
        ("app_code_id", code),
        ("app_quota_id", quota),
        ("throttle_id", bound.clone()),
        ("strategy_id", bound),
        ("throttle_binding_id", binding),
        ("special_id", special),
        ("free_throttle_id", free),
    ];
    (api, ids.into(), token)
}

/// Returns a body and a query with which an operation succeeds. Panics for an unknown operation.
fn with(operation: &str, version: &str, ids: &BTreeMap<&str, String>) -> (Option<Value>, String) {
    let throttle = ids["throttle_id"].as_str();
    let query = |text: &str| (None, text.to_owned());
    let body = |body: Value| (Some(body), String::new());
    match operation {
        "create_app" | "update_app" => body(json!({ "name": "app_new" })),
        "reset_app_secret" => body(json!({})),
        "authorize_apps" => body(json!({ "env_id": RELEASE, "app_ids": [APP], "api_ids": ["bills"] })),
        "create_app_code" => body(json!({ "app_code": "d".repeat(64) })),
        "set_app_acl" => body(json!({ "app_acl_type": "PERMIT", "app_acl_values": ["192.0.2.1"] })),
        "create_throttle" | "update_throttle" => body(
            json!({ "name": "another", "time_unit": "HOUR", "time_interval": 1, "api_call_limits": 800 }),
        ),
        "bind_throttle" => body(json!({ "strategy_id": throttle, "publish_ids": ["bills"] })),
        "unbind_throttles" => {
            let bindings = json!({ "throttle_bindings": [ids["throttle_binding_id"]] });
            (Some(bindings), "?action=delete".into())
        }
        "create_throttle_special" if version == "v1" => body(json!({
            "strategy_id": throttle, "instance_id": APP, "instance_type": "APP", "call_limits": 2,
        })),
        "create_throttle_special" => {
            body(json!({ "object_id": APP, "object_type": "APP", "call_limits": 2 }))
        }
        "update_throttle_special" => body(json!({ "call_limits": 3 })),
        "create_app_quota" | "update_app_quota" => {
            body(json!({ "name": "another", "call_limits": 5, "time_unit": "HOUR", "time_interval": 1 }))
        }
        "bind_app_quota" => body(json!({ "app_ids": [APP] })),
        "list_apis_of_app" => query(&format!("?app_id={APP}")),
        "list_other_apis" => query(&format!("?app_id={APP}&env_id={RELEASE}")),
        "list_apis_of_throttle" | "list_apis_without_throttle" => query(&format!("?throttle_id={throttle}")),
        "list_throttles_of_api" => query("?api_id=orders"),
        "list_apps"
        | "show_app"
        | "delete_app"
        | "verify_app"
        | "count_apps"
        | "cancel_app_auth"
        | "list_apps_of_api"
        | "generate_app_code"
        | "list_app_codes"
        | "show_app_code"
        | "delete_app_code"
        | "show_app_acl"
        | "delete_app_acl"
        | "list_throttles"
        | "show_throttle"
        | "delete_throttle"
        | "unbind_throttle"
        | "list_throttle_specials"
        | "delete_throttle_special"
        | "list_app_quotas"
        | "show_app_quota"
        | "delete_app_quota"
        | "unbind_app_quota"
        | "list_apps_with_quota"
        | "list_apps_without_quota"
        | "show_quota_of_app" => query(""),
        unknown => panic!("an operation without a case: {unknown}"),
    }
}

/// Returns every operation of a version: its id, its method and its path.
fn operations() -> Vec<(&'static str, String, &'static str, String)> {
    let mut all = Vec::new();
    for ((_, description), version) in descriptions().into_iter().zip(["v1", "v2"]) {
        let described = serde_json::to_value(description).unwrap();
        for (path, operations) in described["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let method = match &**method {
                    "get" => "GET",
                    "post" => "POST",
                    "put" => "PUT",
                    "delete" => "DELETE",
                    _ => continue,
                };
                let id = operation["operationId"].as_str().unwrap().to_owned();
                all.push((version, id, method, path.clone()));
            }
        }
    }
    all
}

fn case(
    (version, operation, method, path): &(&str, String, &'static str, String),
    ids: &BTreeMap<&str, String>,
    token: &str,
) -> Case {
    // V1 spells ids with hyphens.
    let hyphenated = |id: &String| match uuid::Uuid::parse_str(id) {
        Ok(id) if *version == "v1" => id.hyphenated().to_string(),
        _ => id.clone(),
    };
    let ids = &ids.iter().map(|(name, id)| (*name, hyphenated(id))).collect();
    let (body, query) = with(operation, version, ids);
    let filled: Vec<_> = path
        .split('/')
        .map(|part| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            None => part,
            Some("project_id") => PROJECT,
            Some("instance_id") => INSTANCE,
            Some("throttle_id") if operation == "delete_throttle" => &ids["free_throttle_id"],
            Some(name) => &ids[name],
        })
        .collect();
    let target = format!("{}{query}", filled.join("/"));
    let case = Case::new(method, target, body.map(|body| body.to_string()));
    case.field("x-auth-token", token).field("content-type", "application/json")
}

#[tokio::test]
async fn token_revoked_after_admission_denies_every_operation() {
    for operation in operations() {
        let (api, ids, token) = api().await;
        let asked = case(&operation, &ids, &token);
        api.world.assert_needs_its_credential(&api.server, &asked, "gateway", ASKING).await;
        let (status, answer) = case(&operation, &ids, &api.token).send(&api.server).await;
        assert!((200..300).contains(&status), "{operation:?} {status} {answer}");
    }
}

#[tokio::test]
async fn token_revoked_during_upload_denies_every_operation() {
    for operation in operations() {
        let (api, ids, token) = api().await;
        let case = case(&operation, &ids, &token);
        if case.body.is_some() {
            let asking = ("gateway", ASKING);
            api.world.assert_refused_underway(&api.server, &case, asking, Loss::Deleted).await;
        }
    }
    for loss in Loss::ALL {
        let (api, ids, token) = api().await;
        let operation = ("v2", "create_app".to_owned(), "POST", super::all().replace("/v1", "/v2"));
        let case = case(&operation, &ids, &token);
        api.world.assert_refused_underway(&api.server, &case, ("gateway", ASKING), loss).await;
    }
}

#[tokio::test]
async fn subscription_lapsed_during_upload_changes_nothing() {
    for operation in operations() {
        let (api, ids, token) = api().await;
        let case = case(&operation, &ids, &token);
        if case.body.is_none() {
            continue;
        }
        let underway = PendingRequest::begin(api.server.address, &case).await;
        api.world.lapse("gateway").await;
        let before = api.world.directory.applied();
        let (status, answer) = underway.end().await;
        // Operations that only remove something are allowed.
        let takes_away = operation.1 == "unbind_throttles";
        assert_eq!(status, if takes_away { 200 } else { 403 }, "{operation:?} {answer}");
        api.world.settle().await;
        assert_eq!(api.world.directory.applied() == before, !takes_away, "{operation:?}");
    }
}
