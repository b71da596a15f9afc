//! Callers: API clients, apps, operators, administrators.

use std::sync::Arc;

use portcullis::model::{CallerKind, Role, Status};
use serde_json::{Value, json};

use super::{AdminApi, refused, shown, start};

#[tokio::test]
async fn caller_is_created_read_changed_and_deleted() {
    let api = AdminApi::new().await;
    let body = json!({ "id": "till", "name": "example.com/till", "kind": "api_client", "plan": "demo" });
    let made = api.post("/tenants/acme/callers", body).await;
    let mut document = json!({
        "id": "till", "tenant": "acme", "name": "example.com/till", "kind": "api_client", "role": null, "app": null,
        "status": "enabled", "plan": "demo", "revision": 1, "created_at": start(), "updated_at": start(),
    });
    shown(&made, 201, 1, &document);
    assert_eq!(made.field("location"), ["/admin/v1/tenants/acme/callers/till"]);
    assert_eq!(made.field("cache-control"), ["no-store"]);
    let path = "/tenants/acme/callers/till";
    shown(&api.get(path).await, 200, 1, &document);

    let patch = json!({ "name": "example.com/till-2", "status": "disabled", "plan": null });
    document["name"] = json!("example.com/till-2");
    document["status"] = json!("disabled");
    document["plan"] = Value::Null;
    document["revision"] = json!(2);
    shown(&api.patch(path, patch).await, 200, 2, &document);
    // Absent members stay unchanged, and a patch without an effect is no change.
    shown(&api.patch(path, json!({ "plan": null })).await, 200, 2, &document);

    assert_eq!(api.delete(path).await.status, 204);
    refused(&api.get(path).await, 404, "not-found", &[]);
    refused(&api.delete(path).await, 404, "not-found", &[]);
}

#[tokio::test]
async fn app_secret_is_shown_once_and_only_if_generated() {
    let api = AdminApi::new().await;
    let own = json!({ "remark": "First", "key": "an-app-key", "secret": "s3cret-s3cret" });
    let made = api.post("/tenants/acme/callers", json!({ "name": "app_a", "kind": "app", "app": own })).await;
    let app = json!({ "remark": "First", "key": "an-app-key", "creator": "USER" });
    assert_eq!((made.status.as_u16(), &made.json()["app"]), (201, &app));
    let sealed = |caller: portcullis::model::Caller| {
        let place = ["acme", "app", caller.id.as_str(), "secret"];
        let secret = api.world.sealer.unseal(&caller.app().unwrap().secret, &place).unwrap();
        secret.expose().to_owned()
    };
    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(sealed(api.world.stored("acme", &id).await), "s3cret-s3cret");

    let path = format!("/tenants/acme/callers/{id}");
    let patched = api.patch(&path, json!({ "app": { "remark": "Second", "secret": "other-secret" } })).await;
    assert_eq!(patched.json()["app"]["remark"], "Second");
    assert!(!patched.text.contains("other-secret"), "{patched:?}");
    assert_eq!(sealed(api.world.stored("acme", &id).await), "other-secret");

    let made = api.post("/tenants/acme/callers", json!({ "name": "app_b", "kind": "app" })).await;
    let (id, shown) = (made.json()["id"].clone(), made.json()["app"]["secret"].clone());
    assert_eq!(made.field("cache-control"), ["no-store"]);
    let id = id.as_str().unwrap();
    assert_eq!(sealed(api.world.stored("acme", id).await), shown.as_str().unwrap());
    let read = api.get(&format!("/tenants/acme/callers/{id}")).await;
    assert!(read.json()["app"]["secret"].is_null() && read.json()["app"]["key"].is_string());

    refused(
        &api.post(
            "/tenants/acme/callers",
            json!({ "name": "app_c", "kind": "app", "app": { "key": "an-app-key" } }),
        )
        .await,
        409,
        "conflict",
        &[],
    );
    let wrong = json!({ "remark": "x".repeat(256), "key": "short", "secret": "with blank" });
    let places = ["#/app/remark", "#/app/key", "#/app/secret"];
    let answer =
        api.post("/tenants/acme/callers", json!({ "name": "app_c", "kind": "app", "app": wrong })).await;
    refused(&answer, 422, "invalid-values", &places);
    refused(&api.patch(&path, json!({ "app": wrong })).await, 422, "invalid-values", &places);
    assert!(!answer.text.contains("with blank"));
}

#[tokio::test]
async fn each_kind_has_its_own_members() {
    let api = AdminApi::new().await;
    for (tenant, body, places) in [
        ("acme", json!({ "name": "example.com/x", "kind": "api_client", "role": "owner" }), &["#/role"][..]),
        ("acme", json!({ "name": "example.com/x", "kind": "operator", "app": {} }), &["#/app"]),
        ("acme", json!({ "name": "example.com/x", "kind": "administrator", "role": "owner" }), &["#/kind"]),
        ("acme", json!({ "name": "example.com/x", "kind": "administrator" }), &["#/role", "#/kind"]),
        ("administration", json!({ "name": "example.com/x", "kind": "operator" }), &["#/kind"]),
        ("acme", json!({ "name": "example.com/x", "kind": "robot" }), &["#/kind"]),
        ("acme", json!({ "name": "example.com/x", "kind": "operator", "plan": "none" }), &["#/plan"]),
    ] {
        let answer = api.post(&format!("/tenants/{tenant}/callers"), body).await;
        refused(&answer, 422, "invalid-values", places);
    }
    let shop = "/tenants/acme/callers/shop";
    refused(&api.patch(shop, json!({ "role": "owner" })).await, 422, "invalid-values", &["#/role"]);
    refused(&api.patch(shop, json!({ "app": {} })).await, 422, "invalid-values", &["#/app"]);
    refused(&api.patch(shop, json!({ "plan": "none" })).await, 422, "invalid-values", &["#/plan"]);
    refused(&api.patch(shop, json!({ "kind": "app" })).await, 400, "invalid-shape", &["#/kind"]);
    let body = json!({ "name": "example.com/x", "kind": "operator" });
    refused(&api.post("/tenants/none/callers", body.clone()).await, 404, "not-found", &[]);
    let mut with_plan = body;
    with_plan["plan"] = json!("demo");
    refused(&api.post("/tenants/none/callers", with_plan).await, 404, "not-found", &[]);
    refused(&api.get("/tenants/none/callers").await, 404, "not-found", &[]);
}

#[tokio::test]
async fn duplicate_name_or_id_and_full_tenant_are_409() {
    let api = AdminApi::new().await;
    let make = |name: &str, id: &str| {
        let body = json!({ "name": name, "id": id, "kind": "operator" });
        api.post("/tenants/acme/callers", body)
    };
    assert_eq!(make("a", "a").await.status, 201);
    refused(&make("a", "b").await, 409, "conflict", &[]);
    refused(&make("b", "a").await, 409, "conflict", &[]);
    assert_eq!(make("b", "b").await.status, 201);
    let rename = api.patch("/tenants/acme/callers/b", json!({ "name": "a" })).await;
    refused(&rename, 409, "conflict", &[]);
    assert_eq!(api.patch("/tenants/acme", json!({ "max_callers": 2 })).await.status, 200);
    let full = make("c", "c").await;
    refused(&full, 409, "conflict", &[]);
    assert!(full.json()["detail"].as_str().unwrap().contains("2 callers of this kind"), "{full:?}");
}

#[tokio::test]
async fn one_of_ten_concurrent_creations_gets_the_name() {
    let api = Arc::new(AdminApi::new().await);
    let makers: Vec<_> = (0..10)
        .map(|_| {
            let api = api.clone();
            tokio::spawn(async move {
                let body = json!({ "name": "the same", "kind": "operator" });
                api.post("/tenants/acme/callers", body).await.status.as_u16()
            })
        })
        .collect();
    let mut statuses = Vec::new();
    for maker in makers {
        statuses.push(maker.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [&[201][..], &[409; 9]].concat());
}

#[tokio::test]
async fn caller_of_another_tenant_is_not_found() {
    let api = AdminApi::new().await;
    api.world.tenant("other", None, 9).await;
    for (method, body) in [("GET", None), ("PATCH", Some(json!({}))), ("DELETE", None)] {
        let path = "/tenants/other/callers/shop";
        let answer = api.ask(&api.owner, method, path, &[super::ANY], body.as_ref()).await;
        refused(&answer, 404, "not-found", &[]);
    }
    refused(&api.get("/tenants/other/callers/shop/keys").await, 404, "not-found", &[]);
    refused(&api.get("/tenants/other/keys/first").await, 404, "not-found", &[]);
}

#[tokio::test]
async fn app_id_must_have_hyphens() {
    let api = AdminApi::new().await;
    let hex = "14b399ac967f4115bb62c0346b4537e9";
    let body = |kind: &str| json!({ "id": hex, "name": "app_x", "kind": kind });
    // APIG V2 shows the UUID of an app in this form and would read this id as another app.
    refused(&api.post("/tenants/acme/callers", body("app")).await, 422, "invalid-values", &["#/id"]);
    assert_eq!(api.post("/tenants/acme/callers", body("operator")).await.status, 201);
    let hyphens = json!({ "id": "14b399ac-967f-4115-bb62-c0346b4537e9", "name": "app_x", "kind": "app" });
    assert_eq!(api.post("/tenants/acme/callers", hyphens).await.status, 201);
}

#[tokio::test]
async fn administrator_is_promoted_but_cannot_remove_itself() {
    let api = AdminApi::new().await;
    let own = "/tenants/administration/callers/owner";
    for body in [json!({ "status": "disabled" }), json!({ "role": "operator" })] {
        refused(&api.patch(own, body).await, 409, "conflict", &[]);
    }
    refused(&api.delete(own).await, 409, "conflict", &[]);
    assert_eq!(api.patch(own, json!({ "name": "the owner", "role": "owner" })).await.status, 200);

    let path = "/tenants/administration/callers/reader";
    assert_eq!(api.patch(path, json!({ "role": "owner" })).await.json()["role"], "owner");
    let theirs =
        api.ask(&api.reader, "PATCH", own, &[super::ANY], Some(&json!({ "role": "operator" }))).await;
    assert_eq!(theirs.json()["role"], "operator");
    let stored = api.world.stored("administration", "owner").await;
    assert_eq!((stored.kind, stored.status), (CallerKind::Administrator(Role::Operator), Status::Enabled));
}

#[tokio::test]
async fn names_follow_their_kind_and_texts_are_visible() {
    let api = AdminApi::new().await;
    let callers = "/tenants/acme/callers";
    for (kind, name, fits) in [
        ("api_client", "example.com/new", true),
        ("api_client", "New client", false),
        ("api_client", "example.com/\u{200b}", false),
        ("app", "app_1", true),
        ("app", "应用程序", true),
        ("app", "ab \u{202e}", false),
        ("app", "ab", false),
        ("app", "app-1", false),
        ("app", "app\u{2028}", false),
        ("operator", "Night shift, 夜", true),
        ("operator", "Night\u{2066}shift", false),
        ("operator", "Night\u{ad}shift", false),
        ("operator", "", false),
        ("operator", "\u{1b}[2J", false),
    ] {
        let made = api.post(callers, json!({ "name": name, "kind": kind })).await;
        if fits {
            assert_eq!(made.status, 201, "{kind} {name:?}: {}", made.text);
            let path = format!("{callers}/{}", made.json()["id"].as_str().unwrap());
            let patch = json!({ "name": format!("{name}\u{202e}") });
            refused(&api.patch(&path, patch).await, 422, "invalid-values", &["#/name"]);
        } else {
            refused(&made, 422, "invalid-values", &["#/name"]);
        }
    }
    let app = json!({ "name": "app_2", "kind": "app", "app": { "remark": "a\u{200f}" } });
    refused(&api.post(callers, app).await, 422, "invalid-values", &["#/app/remark"]);
    let hidden = json!({ "name": "a\u{feff}" });
    for (method, path) in
        [("POST", "/tenants"), ("PATCH", "/tenants/acme"), ("POST", "/tenants/acme/callers/shop/keys")]
    {
        let answer = api.send(method, path, &[super::ANY], hidden.clone()).await;
        refused(&answer, 422, "invalid-values", &["#/name"]);
    }
    for path in ["/tenants/acme/keys/first", "/tenants/acme/callers/shop"] {
        refused(&api.patch(path, hidden.clone()).await, 422, "invalid-values", &["#/name"]);
    }
    let rotation = api.post("/tenants/acme/keys/first/rotation", hidden).await;
    refused(&rotation, 422, "invalid-values", &["#/name"]);
    let lock = json!({ "target": { "resource": "/orders" }, "reason": "a\u{202a}b" });
    refused(&api.post("/locks", lock).await, 422, "invalid-values", &["#/reason"]);
}

#[tokio::test]
async fn name_of_an_earlier_version_may_stay() {
    let api = AdminApi::new().await;
    api.world.caller("acme", "old", "Old name", CallerKind::ApiClient).await;
    let path = "/tenants/acme/callers/old";
    let patch = json!({ "name": "Old name", "status": "disabled" });
    assert_eq!(api.patch(path, patch).await.json()["status"], "disabled");
    refused(&api.patch(path, json!({ "name": "Another name" })).await, 422, "invalid-values", &["#/name"]);
}

#[tokio::test]
async fn responses_must_not_be_cached() {
    let api = AdminApi::new().await;
    for (method, path) in [
        ("GET", "/tenants"),
        ("GET", "/tenants/acme/callers/shop"),
        ("GET", "/status"),
        ("GET", "/changes"),
        ("GET", "/tenants/none"),
        ("PATCH", "/tenants"),
        ("GET", "/nothing"),
    ] {
        let answer = api.ask(&api.owner, method, path, &[], None).await;
        assert_eq!(answer.field("cache-control"), ["no-store"], "{method} {path}");
    }
    let etag = api.get("/tenants/acme").await.field("etag")[0].to_owned();
    let known = api.ask(&api.owner, "GET", "/tenants/acme", &[("if-none-match", &etag)], None).await;
    assert_eq!((known.status.as_u16(), known.field("cache-control")), (304, vec!["no-store"]));
    let stranger = api.ask("nobody's", "GET", "/tenants", &[], None).await;
    assert_eq!((stranger.status.as_u16(), stranger.field("cache-control")), (401, vec!["no-store"]));
}
