//! Keys that are revoked while their requests are in progress.

use std::collections::BTreeSet;

use portcullis_surfaces::admin::description;
use serde_json::{Value, json};

use super::AdminApi;
use crate::management::pending_request::{Case, Loss};

const ASKING: &str = "asking";
const ADMINISTRATION: &str = "administration";

/// The API with a second key of the owner, and with the id and the token of a lock.
struct Setup {
    api: AdminApi,
    key: String,
    lock: (String, String),
}

async fn setup() -> Setup {
    let api = AdminApi::new().await;
    let key = api.world.key_with(ADMINISTRATION, "owner", |key| key.id = ASKING.parse().unwrap()).await;
    api.world.tenant("empty", None, 1).await;
    api.world.plan("unused", 1, 1).await;
    let lock = json!({ "target": { "resource": "/orders/mine" }, "reason": "a test" });
    let made = api.post("/locks", lock).await.json();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    Setup { lock: (text("id"), text("token")), api, key }
}

/// Returns the export of an empty registry.
async fn empty_file() -> String {
    let api = AdminApi::bare().await;
    api.get("/export").await.text
}

/// Returns a successful request for an operation. Panics for an unknown operation, so that each has a case.
fn case(setup: &Setup, operation: &str, key: &str, file: &str) -> Case {
    let (lock, token) = &setup.lock;
    let body = |body: Value| Some(body.to_string());
    let lines = "application/x-ndjson";
    let (method, path, body) = match operation {
        "list_tenants" => ("GET", "/tenants", None),
        "create_tenant" => ("POST", "/tenants", body(json!({ "id": "new", "name": "New" }))),
        "read_tenant" => ("GET", "/tenants/acme", None),
        "modify_tenant" => ("PATCH", "/tenants/acme", body(json!({ "name": "New" }))),
        "delete_tenant" => ("DELETE", "/tenants/empty", None),
        "list_callers" => ("GET", "/tenants/acme/callers", None),
        "create_caller" => {
            let caller = json!({ "name": "example.com/new", "kind": "api_client" });
            ("POST", "/tenants/acme/callers", body(caller))
        }
        "read_caller" => ("GET", "/tenants/acme/callers/shop", None),
        "modify_caller" => ("PATCH", "/tenants/acme/callers/shop", body(json!({ "plan": "demo" }))),
        "delete_caller" => ("DELETE", "/tenants/acme/callers/shop", None),
        "list_keys" => ("GET", "/tenants/acme/callers/shop/keys", None),
        "create_key" => ("POST", "/tenants/acme/callers/shop/keys", body(json!({}))),
        "read_key" => ("GET", "/tenants/acme/keys/first", None),
        "modify_key" => ("PATCH", "/tenants/acme/keys/first", body(json!({ "name": "new" }))),
        "delete_key" => ("DELETE", "/tenants/acme/keys/first", None),
        "rotate_key" => ("POST", "/tenants/acme/keys/first/rotation", body(json!({}))),
        "list_plans" => ("GET", "/plans", None),
        "read_plan" => ("GET", "/plans/demo", None),
        "put_plan" => {
            let limit = json!({ "name": "minute", "quota": 5, "window": 60 });
            ("PUT", "/plans/demo", body(json!({ "limits": [limit] })))
        }
        "delete_plan" => ("DELETE", "/plans/unused", None),
        "list_locks" => ("GET", "/locks", None),
        "acquire_lock" => {
            let lock = json!({ "target": { "resource": "/orders/new" }, "reason": "a test" });
            ("POST", "/locks", body(lock))
        }
        "read_lock" => ("GET", "/locks/held", None),
        "delete_lock" => ("DELETE", "/locks/held", None),
        "refresh_lock" => {
            let refresh = body(json!({ "duration": 90 }));
            let case = Case::new("POST", format!("/admin/v1/locks/{lock}/refresh"), refresh);
            let case = case.field("authorization", format!("Bearer {key}"));
            return case.field("lock-token", &**token).field("content-type", "application/json");
        }
        "list_routes" => ("GET", "/routes", None),
        "read_route" => ("GET", "/routes/orders", None),
        "list_changes" => ("GET", "/changes", None),
        "read_status" => ("GET", "/status", None),
        "reload_configuration" => ("POST", "/configuration/reload", None),
        "export" => ("GET", "/export", None),
        "import" => ("POST", "/import", Some(file.to_owned())),
        "import_keys" => {
            let row = json!({ "tenant": "acme", "caller": "shop", "name": "old", "digest": "7".repeat(64) });
            ("POST", "/keys/import", Some(format!("{row}\n")))
        }
        unknown => panic!("an operation without a case: {unknown}"),
    };
    let case = Case::new(method, format!("/admin/v1{path}"), body);
    let media_type = if operation.contains("import") { lines } else { "application/json" };
    let case = case.field("content-type", media_type).field("authorization", format!("Bearer {key}"));
    if matches!(method, "PATCH" | "PUT" | "DELETE") { case.field("if-match", "*") } else { case }
}

fn operations() -> Vec<String> {
    let described = serde_json::to_value(description()).unwrap();
    let paths = described["paths"].as_object().unwrap().values().filter_map(Value::as_object);
    let all: BTreeSet<_> = paths
        .flat_map(|path| path.values())
        .filter_map(|operation| Some(operation.get("operationId")?.as_str()?.to_owned()))
        .collect();
    all.into_iter().collect()
}

#[tokio::test]
async fn key_revoked_after_admission_denies_every_operation() {
    let file = empty_file().await;
    for operation in operations() {
        let setup = setup().await;
        let Setup { api, key, .. } = &setup;
        let asked = case(&setup, &operation, key, &file);
        api.world.assert_needs_its_credential(&api.server, &asked, ADMINISTRATION, ASKING).await;
        let (status, answer) = case(&setup, &operation, &api.owner, &file).send(&api.server).await;
        assert!((200..300).contains(&status), "{operation} {status} {answer}");
    }
}

#[tokio::test]
async fn key_revoked_during_upload_denies_every_operation() {
    let file = empty_file().await;
    for operation in operations() {
        let setup = setup().await;
        let case = case(&setup, &operation, &setup.key, &file);
        if case.body.is_some() {
            let (world, asking) = (&setup.api.world, (ADMINISTRATION, ASKING));
            world.assert_refused_underway(&setup.api.server, &case, asking, Loss::Deleted).await;
        }
    }
}

/// The stored response contains a key.
#[tokio::test]
async fn stored_response_is_not_replayed_to_a_revoked_key() {
    let setup = setup().await;
    let Setup { api, key, .. } = &setup;
    let case = case(&setup, "create_key", key, "").field("idempotency-key", "\"once\"");
    assert_eq!(case.send(&api.server).await.0, 201);
    assert_eq!(case.send(&api.server).await.0, 201, "the response is replayed");
    api.world.settle().await;
    let asking = (ADMINISTRATION, ASKING);
    api.world.assert_refused_underway(&api.server, &case, asking, Loss::Deleted).await;
}
