//! Tenants.

use serde_json::json;

use super::{ANY, AdminApi, refused, shown, start};

#[tokio::test]
async fn tenant_is_created_read_changed_and_deleted() {
    let api = AdminApi::new().await;
    let gateway = json!({ "project_id": "p1", "instance_id": "i1", "custom_keys": true });
    let made = api.post("/tenants", json!({ "id": "blue", "name": "Blue", "gateway": gateway })).await;
    let mut document = json!({
        "id": "blue", "name": "Blue", "gateway": gateway, "subscription": "active", "max_callers": 50,
        "revision": 1, "created_at": start(), "updated_at": start(),
    });
    shown(&made, 201, 1, &document);
    assert_eq!(made.field("location"), ["/admin/v1/tenants/blue"]);
    shown(&api.get("/tenants/blue").await, 200, 1, &document);

    api.world.clock.advance(std::time::Duration::from_secs(1));
    let switch = json!({ "custom_keys": false });
    let patch = json!({ "name": "Navy", "subscription": "lapsed", "max_callers": 3, "gateway": switch });
    let changed = api.send("PATCH", "/tenants/blue", &[("if-match", "\"1\"")], patch).await;
    for (member, value) in [
        ("name", json!("Navy")),
        ("subscription", json!("lapsed")),
        ("max_callers", json!(3)),
        ("gateway", json!({ "project_id": "p1", "instance_id": "i1", "custom_keys": false })),
        ("revision", json!(2)),
        ("updated_at", json!("2026-01-01T00:00:01Z")),
    ] {
        document[member] = value;
    }
    shown(&changed, 200, 2, &document);
    for nothing in [json!({}), json!({ "gateway": {} }), json!({ "gateway": switch })] {
        shown(&api.patch("/tenants/blue", nothing).await, 200, 2, &document);
    }

    let gone = api.ask(&api.owner, "DELETE", "/tenants/blue", &[("if-match", "\"2\"")], None).await;
    assert_eq!((gone.status.as_u16(), &*gone.text), (204, ""));
    refused(&api.get("/tenants/blue").await, 404, "not-found", &[]);
}

#[tokio::test]
async fn tenant_without_an_id_gets_one() {
    let api = AdminApi::new().await;
    let made = api
        .post("/tenants", json!({ "name": "example.com/x", "subscription": "lapsed", "max_callers": 0 }))
        .await;
    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert_eq!((id.len(), made.json()["gateway"].is_null()), (36, true));
    assert_eq!(made.field("location"), [format!("/admin/v1/tenants/{id}")]);
}

#[tokio::test]
async fn tenant_with_callers_cannot_be_deleted() {
    let api = AdminApi::new().await;
    refused(&api.delete("/tenants/acme").await, 409, "conflict", &[]);
    assert_eq!(api.delete("/tenants/acme/callers/shop").await.status, 204);
    assert_eq!(api.delete("/tenants/acme").await.status, 204);
    refused(&api.delete("/tenants/administration").await, 409, "conflict", &[]);
}

#[tokio::test]
async fn duplicate_is_409_and_invalid_value_is_422() {
    let api = AdminApi::new().await;
    refused(
        &api.post("/tenants", json!({ "id": "acme", "name": "example.com/x" })).await,
        409,
        "conflict",
        &[],
    );
    let place = json!({ "project_id": "p", "instance_id": "i" });
    assert_eq!(api.post("/tenants", json!({ "name": "example.com/x", "gateway": place })).await.status, 201);
    refused(&api.post("/tenants", json!({ "name": "y", "gateway": place })).await, 409, "conflict", &[]);
    let wrong = json!({
        "name": "a\nb", "gateway": { "project_id": "", "instance_id": "a/b" },
    });
    let places = ["#/name", "#/gateway/project_id", "#/gateway/instance_id"];
    refused(&api.post("/tenants", wrong).await, 422, "invalid-values", &places);
    for (body, place) in [
        (json!({ "name": "" }), "#/name"),
        (json!({ "name": "example.com/x".repeat(256) }), "#/name"),
        (json!({ "name": "example.com/x", "id": "a b" }), "#/id"),
        (json!({ "name": "example.com/x", "subscription": "unpaid" }), "#/subscription"),
        (json!({ "name": "example.com/x", "max_callers": -1 }), "#/max_callers"),
        (json!({ "name": "example.com/x", "max_callers": 4_294_967_296_u64 }), "#/max_callers"),
    ] {
        refused(&api.post("/tenants", body.clone()).await, 422, "invalid-values", &[place]);
        if body["id"].is_null() {
            refused(&api.patch("/tenants/acme", body).await, 422, "invalid-values", &[place]);
        }
    }
}

#[tokio::test]
async fn apig_instance_is_immutable_except_its_switch() {
    let api = AdminApi::new().await;
    let patch = |gateway| api.patch("/tenants/acme", json!({ "gateway": gateway }));
    refused(&patch(json!({ "custom_keys": true })).await, 422, "invalid-values", &["#/gateway"]);
    for (gateway, place) in [
        (json!({ "project_id": "p" }), "#/gateway/project_id"),
        (json!({ "custom_keys": "yes" }), "#/gateway/custom_keys"),
        (json!({ "custom_keys": null }), "#/gateway/custom_keys"),
        (json!(null), "#/gateway"),
        (json!(true), "#/gateway"),
    ] {
        refused(&patch(gateway).await, 400, "invalid-shape", &[place]);
    }
}

#[tokio::test]
async fn change_requires_if_match() {
    let api = AdminApi::new().await;
    let name = |name: &str| json!({ "name": name });
    for (fields, status, code) in [
        (&[][..], 428, "precondition-required"),
        (&[("if-match", "\"2\"")], 412, "precondition-failed"),
        (&[("if-match", "W/\"1\"")], 412, "precondition-failed"),
        (&[("if-none-match", "*")], 428, "precondition-required"),
    ] {
        refused(&api.send("PATCH", "/tenants/acme", fields, name("x")).await, status, code, &[]);
        refused(&api.ask(&api.owner, "DELETE", "/tenants/acme", fields, None).await, status, code, &[]);
    }
    // A missing resource has no revision.
    refused(&api.send("PATCH", "/tenants/none", &[], name("x")).await, 404, "not-found", &[]);
    assert_eq!(
        api.send("PATCH", "/tenants/acme", &[("if-match", "\"9\", \"1\"")], name("x")).await.status,
        200
    );
    let stale = api.send("PATCH", "/tenants/acme", &[("if-match", "\"1\"")], name("y")).await;
    refused(&stale, 412, "precondition-failed", &[]);
    assert_eq!(api.send("PATCH", "/tenants/acme", &[ANY], name("z")).await.status, 200);
}

#[tokio::test]
async fn one_of_twenty_writers_at_one_revision_succeeds() {
    let api = std::sync::Arc::new(AdminApi::new().await);
    let writers: Vec<_> = (0..20)
        .map(|at| {
            let api = api.clone();
            tokio::spawn(async move {
                let body = json!({ "name": format!("example.com/writer-{at}") });
                let fields = [("if-match", "\"1\"")];
                api.send("PATCH", "/tenants/acme/callers/shop", &fields, body).await.status.as_u16()
            })
        })
        .collect();
    let mut statuses = Vec::new();
    for writer in writers {
        statuses.push(writer.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [&[200][..], &[412; 19]].concat());
    assert_eq!(api.world.stored("acme", "shop").await.revision, 2);
}
