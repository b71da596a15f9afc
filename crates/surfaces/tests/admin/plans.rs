//! Plans.

use portcullis::registry::Registry;
use serde_json::{Value, json};

use super::{ANY, AdminApi, refused};

fn limit(name: &str, quota: u32) -> Value {
    json!({ "name": name, "quota": quota, "window": 60 })
}

#[tokio::test]
async fn plan_is_put_read_replaced_and_deleted() {
    let api = AdminApi::new().await;
    let body = json!({ "limits": [limit("minute", 10), {
        "name": "hour", "quota": 100, "window": 3600, "promise": "ceiling",
    }] });
    let made = api.send("PUT", "/plans/gold", &[], body.clone()).await;
    let document = json!({ "id": "gold", "limits": [
        { "name": "minute", "quota": 10, "window": 60, "burst": 10, "promise": "average" },
        { "name": "hour", "quota": 100, "window": 3600, "burst": 50, "promise": "ceiling" },
    ] });
    assert_eq!((made.status.as_u16(), made.json()), (201, document.clone()));
    let tag = made.field("etag")[0].to_owned();
    let read = api.get("/plans/gold").await;
    assert_eq!((read.json(), read.field("etag")), (document.clone(), vec![&*tag]));

    // A plan can be put as it was read.
    let same = api.send("PUT", "/plans/gold", &[("if-match", &tag)], document).await;
    assert_eq!((same.status.as_u16(), same.field("etag")), (200, vec![&*tag]));
    let other = json!({ "limits": [] });
    let replaced = api.send("PUT", "/plans/gold", &[("if-match", &tag)], other.clone()).await;
    assert_eq!((replaced.status.as_u16(), replaced.json()["limits"].clone()), (200, json!([])));
    let stale = api.send("PUT", "/plans/gold", &[("if-match", &tag)], body).await;
    refused(&stale, 412, "precondition-failed", &[]);
    let stale = api.ask(&api.owner, "DELETE", "/plans/gold", &[("if-match", &tag)], None).await;
    refused(&stale, 412, "precondition-failed", &[]);
    let tag = replaced.field("etag")[0];
    assert_eq!(api.ask(&api.owner, "DELETE", "/plans/gold", &[("if-match", tag)], None).await.status, 204);
    refused(&api.get("/plans/gold").await, 404, "not-found", &[]);
}

#[tokio::test]
async fn plan_replacement_requires_a_precondition() {
    let api = AdminApi::new().await;
    let body = || json!({ "limits": [] });
    refused(&api.send("PUT", "/plans/demo", &[], body()).await, 428, "precondition-required", &[]);
    let only_new = [("if-none-match", "*")];
    refused(&api.send("PUT", "/plans/demo", &only_new, body()).await, 412, "precondition-failed", &[]);
    refused(&api.send("PUT", "/plans/new", &[ANY], body()).await, 412, "precondition-failed", &[]);
    assert_eq!(api.send("PUT", "/plans/new", &only_new, body()).await.status, 201);
    refused(&api.ask(&api.owner, "DELETE", "/plans/new", &[], None).await, 428, "precondition-required", &[]);
}

#[tokio::test]
async fn configured_plan_is_read_only() {
    let api = AdminApi::new().await;
    let body = json!({ "limits": [limit("minute", 10)] });
    let created = api.send("PUT", "/plans/configured", &[], body.clone()).await;
    refused(&created, 409, "conflict", &[]);
    assert!(created.text.contains("configuration file gateway.toml"), "{}", created.text);
    api.world.plan("configured", 10, 60).await;
    let made = api.world.registry.plan(&"configured".parse().unwrap()).await.unwrap();
    for fields in [&[][..], &[ANY], &[("if-none-match", "*")]] {
        refused(&api.send("PUT", "/plans/configured", fields, body.clone()).await, 409, "conflict", &[]);
    }
    refused(&api.delete("/plans/configured").await, 409, "conflict", &[]);
    assert_eq!(api.world.registry.plan(&"configured".parse().unwrap()).await.unwrap(), made);
    assert_eq!(api.send("PUT", "/plans/other", &[], body).await.status, 201);
}

#[tokio::test]
async fn plan_in_use_cannot_be_deleted() {
    let api = AdminApi::new().await;
    assert_eq!(api.patch("/tenants/acme/callers/shop", json!({ "plan": "demo" })).await.status, 200);
    refused(&api.delete("/plans/demo").await, 409, "conflict", &[]);
    assert_eq!(api.patch("/tenants/acme/callers/shop", json!({ "plan": null })).await.status, 200);
    assert_eq!(api.delete("/plans/demo").await.status, 204);
}

#[tokio::test]
async fn plan_error_has_its_pointer() {
    let api = AdminApi::new().await;
    let put = |body: Value| api.send("PUT", "/plans/new", &[], body);
    for (body, places) in [
        (json!({ "limits": [limit("a", 0)] }), &["#/limits/0/quota"][..]),
        (json!({ "limits": [limit("a", 1), limit("a", 1)] }), &["#/limits/1/name"]),
        (
            json!({ "limits": [limit("a b", 1), { "name": "b", "quota": 1, "window": 0 }, {
                "name": "c", "quota": 5, "window": 1, "burst": 6,
            }] }),
            &["#/limits/0/name", "#/limits/1/window", "#/limits/2/burst"],
        ),
        (
            json!({ "limits": [{ "name": "a", "quota": 1, "window": 1, "promise": "maybe" }] }),
            &["#/limits/0/promise"],
        ),
        (json!({ "limits": [{ "name": "a", "quota": -1, "window": 1 }] }), &["#/limits/0/quota"]),
        (json!({ "limits": (0..9).map(|at| limit(&at.to_string(), 1)).collect::<Vec<_>>() }), &["#/limits"]),
        (json!({ "id": "other", "limits": [] }), &["#/id"]),
    ] {
        refused(&put(body).await, 422, "invalid-values", places);
    }
    for (body, place) in [
        (json!({}), "#/limits"),
        (json!({ "limits": {} }), "#/limits"),
        (json!({ "limits": [[]] }), "#/limits/0"),
        (json!({ "limits": [{ "name": "a", "window": 1 }] }), "#/limits/0/quota"),
        (json!({ "limits": [{ "name": "a", "quota": 1.5, "window": 1 }] }), "#/limits/0/quota"),
        (json!({ "limits": [{ "name": "a", "quota": 1, "window": 1, "brust": 1 }] }), "#/limits/0/brust"),
    ] {
        refused(&put(body).await, 400, "invalid-shape", &[place]);
    }
    refused(&api.send("PUT", "/plans/a%20b", &[], json!({ "limits": [] })).await, 404, "not-found", &[]);
}
