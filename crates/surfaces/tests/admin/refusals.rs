//! Requests that are denied or cannot be answered.

use portcullis::{
    model::{CallerKind, GeneratedKey, KeyPrefix, LockTarget, LockedRequests, Status},
    registry::RegistryError,
};
use serde_json::json;

use super::{ANY, AdminApi, refused};

#[tokio::test]
async fn only_an_active_administrator_key_is_admitted() {
    let api = AdminApi::new().await;
    let ended =
        api.world.key_with("administration", "owner", |key| key.not_after = Some(api.world.now())).await;
    let disabled = api.world.key_with("administration", "owner", |key| key.status = Status::Disabled).await;
    let client = api.world.key("acme", "shop").await;
    api.world.caller("acme", "boss", "boss", CallerKind::Operator).await;
    let operator = api.world.key("acme", "boss").await;
    let foreign = GeneratedKey::generate(&KeyPrefix::default());
    for (token, status, code) in [
        ("x", 401, "credential-malformed"),
        (foreign.expose(), 401, "credential-unknown"),
        (&ended, 401, "credential-expired"),
        (&disabled, 403, "credential-disabled"),
        (&client, 403, "caller-kind-not-allowed"),
        (&operator, 403, "caller-kind-not-allowed"),
    ] {
        for path in ["/status", "/tenants", "/nothing/here"] {
            let answer = api.ask(token, "GET", path, &[], None).await;
            refused(&answer, status, code, &[]);
            if status == 401 {
                assert_eq!(answer.field("www-authenticate"), [r#"Bearer realm="admin""#]);
            }
        }
    }
    let own_field = [("x-api-key", &*api.owner)];
    let answer = api.server.send("GET", "/admin/v1/status", &own_field, None).await;
    refused(&answer, 401, "credential-missing", &[]);
    let twice = [("authorization", &*format!("Bearer {}", api.owner))];
    refused(&api.ask(&api.owner, "GET", "/status", &twice, None).await, 400, "bad-request", &[]);
}

#[tokio::test]
async fn guessing_address_is_locked_out_and_others_are_not() {
    let api = AdminApi::new().await;
    let guessing = api.server.at("127.0.0.7");
    let bearer = format!("Bearer {}", api.owner);
    for _ in 0..10 {
        let guess = format!("Bearer {}", GeneratedKey::generate(&KeyPrefix::default()).expose());
        let answer = guessing.send("GET", "/admin/v1/status", &[("authorization", &guess)], None).await;
        refused(&answer, 401, "credential-unknown", &[]);
    }
    let answer = guessing.send("GET", "/admin/v1/status", &[("authorization", "Bearer guess")], None).await;
    refused(&answer, 403, "lockout", &[]);
    assert_eq!(answer.field("retry-after"), ["60"]);
    assert_eq!(api.get("/status").await.status, 200);
    // Wrong keys from the same address do not lock out an administrator.
    let answer = guessing.send("GET", "/admin/v1/status", &[("authorization", &bearer)], None).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn administrator_is_limited_by_its_plan() {
    let api = AdminApi::new().await;
    let plan = api.world.plan("two", 2, 60).await;
    let kind = CallerKind::Administrator(portcullis::model::Role::ReadOnly);
    api.world.caller_on("administration", "robot", "robot", kind, Some(plan)).await;
    let token = api.world.key("administration", "robot").await;
    for left in ["1", "0"] {
        let answer = api.ask(&token, "GET", "/status", &[], None).await;
        assert_eq!(answer.status, 200);
        assert!(answer.field("ratelimit")[0].contains(&format!("r={left}")), "{answer:?}");
    }
    refused(&api.ask(&token, "GET", "/status", &[], None).await, 429, "rate-limited", &[]);
}

#[tokio::test]
async fn missing_path_is_404_and_405_lists_methods() {
    let api = AdminApi::new().await;
    for path in [
        "/",
        "/tenants/",
        "/tenants/acme/",
        "/tenants/none",
        "/tenants/a%63me",
        "/tenants/acme/callers/none",
        "/tenants/acme/callers/s%68op",
        "/tenants/acme/keys/none",
        "/tenants/acme/keys",
        "/plans/none",
        "/locks/none",
        "/locks/x/y",
    ] {
        refused(&api.get(path).await, 404, "not-found", &[]);
    }
    for (method, path, allow) in [
        ("PUT", "/tenants", "GET, HEAD, POST"),
        ("POST", "/tenants/acme", "GET, HEAD, PATCH, DELETE"),
        ("PUT", "/tenants/acme/callers/shop", "GET, HEAD, PATCH, DELETE"),
        ("GET", "/tenants/acme/keys/first/rotation", "POST"),
        ("POST", "/plans", "GET, HEAD"),
        ("PATCH", "/plans/demo", "GET, HEAD, PUT, DELETE"),
        ("DELETE", "/changes", "GET, HEAD"),
        ("PATCH", "/locks/held", "GET, HEAD, DELETE"),
        ("GET", "/locks/held/refresh", "POST"),
        ("POST", "/status", "GET, HEAD"),
    ] {
        let answer = api.ask(&api.owner, method, path, &[ANY], None).await;
        refused(&answer, 405, "method-not-allowed", &[]);
        assert_eq!(answer.field("allow"), [allow]);
    }
    let answer = api.ask(&api.owner, "GET", "/status", &[("accept", "text/html")], None).await;
    refused(&answer, 406, "not-acceptable", &[]);
}

#[tokio::test]
async fn store_failure_is_503_or_500_without_the_reason() {
    let api = AdminApi::new().await;
    for (failure, status, code) in [
        ((|| RegistryError::Unavailable("disk hunter2".into())) as fn() -> RegistryError, 503, "unavailable"),
        (|| RegistryError::Corrupt("row hunter2".into()), 500, "internal"),
    ] {
        api.world.registry.fail(None, failure);
        for (method, path, body) in [
            ("GET", "/tenants", None),
            ("GET", "/tenants/acme", None),
            ("POST", "/tenants", Some(json!({ "name": "example.com/x" }))),
            ("PATCH", "/tenants/acme", Some(json!({ "name": "example.com/x" }))),
            ("DELETE", "/tenants/acme", None),
            ("GET", "/tenants/acme/callers", None),
            (
                "POST",
                "/tenants/acme/callers",
                Some(json!({ "name": "example.com/x", "kind": "operator", "plan": "demo" })),
            ),
            ("GET", "/tenants/acme/callers/shop", None),
            ("PATCH", "/tenants/acme/callers/shop", Some(json!({ "plan": "demo" }))),
            ("GET", "/tenants/acme/callers/shop/keys", None),
            ("POST", "/tenants/acme/callers/shop/keys", None),
            ("GET", "/tenants/acme/keys/first", None),
            ("DELETE", "/tenants/acme/keys/first?wait=1", None),
            ("POST", "/tenants/acme/keys/first/rotation", None),
            ("GET", "/plans", None),
            ("GET", "/plans/demo", None),
            ("PUT", "/plans/new", Some(json!({ "limits": [] }))),
            ("GET", "/changes", None),
            ("GET", "/locks", None),
            ("GET", "/locks/held", None),
            ("DELETE", "/locks/held", None),
            ("POST", "/locks", Some(json!({ "target": { "caller": "shop" }, "reason": "x" }))),
        ] {
            let answer = api.ask(&api.owner, method, path, &[ANY], body.as_ref()).await;
            refused(&answer, status, code, &[]);
            assert!(!answer.text.contains("hunter2"), "{answer:?}");
            let expected: &[&str] = if status == 503 { &["5"] } else { &[] };
            assert_eq!(answer.field("retry-after"), expected, "{method} {path}");
        }
        // The response is the same if only the write fails.
        for (command, method, path, body) in [
            ("create_tenant", "POST", "/tenants", Some(json!({ "name": "example.com/x" }))),
            (
                "update_caller",
                "PATCH",
                "/tenants/acme/callers/shop",
                Some(json!({ "name": "example.com/x" })),
            ),
            ("delete_credential", "DELETE", "/tenants/acme/keys/first", None),
            ("last_uses", "GET", "/tenants/acme/keys/first", None),
        ] {
            api.world.registry.fail(Some(command), failure);
            let answer = api.ask(&api.owner, method, path, &[ANY], body.as_ref()).await;
            refused(&answer, status, code, &[]);
        }
    }
    api.world.registry.recover();
    assert_eq!(api.world.stored("acme", "shop").await.revision, 1);
}

#[tokio::test]
async fn locked_caller_is_unchanged_but_its_keys_are_revocable() {
    let api = AdminApi::new().await;
    let target = LockTarget::Caller("shop".parse().unwrap());
    api.world.lock(target, LockedRequests::Writes, std::time::Duration::from_secs(90)).await;
    let patched = api.patch("/tenants/acme/callers/shop", json!({ "name": "example.com/x" })).await;
    refused(&patched, 423, "locked", &[]);
    assert_eq!(patched.field("retry-after"), ["90"]);
    refused(&api.delete("/tenants/acme/callers/shop").await, 423, "locked", &[]);
    assert_eq!(api.delete("/tenants/acme/keys/first").await.status, 204);
}

#[tokio::test]
async fn earlier_name_is_rejected_with_the_present_one() {
    let api = AdminApi::new().await;
    let lock = |name: &str| json!({ "target": { "caller": "shop" }, "reason": "x", name: 30 });
    let tenant = |name: &str| json!({ "name": "example.com/x", name: "lapsed" });
    for (method, path, body, old, present) in [
        ("POST", "/tenants", Some(tenant("standing")), "standing", "subscription"),
        ("PATCH", "/tenants/acme", Some(tenant("standing")), "standing", "subscription"),
        ("GET", "/tenants?standing=lapsed", None, "standing", "subscription"),
        ("POST", "/locks", Some(lock("covers")), "covers", "deny"),
        ("POST", "/locks", Some(lock("lasts")), "lasts", "duration"),
        ("POST", "/keys/import?make_callers=true", None, "make_callers", "create_callers"),
    ] {
        let answer = api.ask(&api.owner, method, path, &[ANY], body.as_ref()).await;
        let renamed = format!("has been renamed to {present}");
        if body.is_some() {
            refused(&answer, 400, "invalid-shape", &[&format!("#/{old}")]);
            let errors = answer.json()["errors"][0]["detail"].as_str().unwrap().to_owned();
            assert_eq!(errors, format!("the member {renamed}"), "{method} {path}");
        } else {
            refused(&answer, 400, "bad-request", &[]);
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert_eq!(detail, format!("The parameter {old} {renamed}."), "{method} {path}");
        }
    }
    // A name that was renamed elsewhere is unknown here.
    let answer = api.patch("/tenants/acme/callers/shop", json!({ "standing": "lapsed" })).await;
    let detail = answer.json()["errors"][0]["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with("the member is unknown"), "{detail}");
}
