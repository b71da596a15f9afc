//! Locks: acquisition, proof, refresh, release and breaking.

use std::{sync::Arc, time::Duration};

use portcullis::{model::Status, registry::Registry};
use serde_json::{Value, json};

use super::{ANY, AdminApi, listed, refused, start};
use crate::management::Answer;

const SHOP: &str = "/tenants/acme/callers/shop";

/// Acquires a lock on the caller and returns its id and its token.
async fn held(api: &AdminApi) -> (String, String) {
    let body = json!({ "target": { "caller": "shop" }, "reason": "moving", "duration": 100 });
    let acquired = api.ask(&api.operator, "POST", "/locks", &[], Some(&body)).await;
    assert_eq!(acquired.status, 201, "{acquired:?}");
    let lock = acquired.json();
    (lock["id"].as_str().unwrap().to_owned(), lock["token"].as_str().unwrap().to_owned())
}

async fn with(api: &AdminApi, token: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
    api.ask(&api.operator, method, path, &[("lock-token", token)], body).await
}

#[tokio::test]
async fn lock_is_acquired_read_refreshed_and_released() {
    let api = AdminApi::new().await;
    let body = json!({
        "tenant": "acme", "target": { "resource": "/orders/7" }, "reason": "counting", "deny": "all",
        "duration": 30,
    });
    let acquired = api.ask(&api.operator, "POST", "/locks", &[], Some(&body)).await;
    let mut lock = acquired.json();
    let (id, token) = (lock["id"].as_str().unwrap().to_owned(), lock["token"].as_str().unwrap().to_owned());
    let expected = json!({
        "token": token, "id": id, "tenant": "acme", "target": { "resource": "/orders/7" }, "owner": "operator",
        "reason": "counting", "deny": "all", "acquired_at": start(), "expires_at": "2026-01-01T00:00:30Z",
        "fence": lock["fence"],
    });
    assert_eq!((acquired.status.as_u16(), &lock), (201, &expected));
    assert_eq!(acquired.field("cache-control"), ["no-store"]);
    assert_eq!(acquired.field("location"), [format!("/admin/v1/locks/{id}")]);
    assert!(token.starts_with(&format!("{id}:{}:pcl_lock_", lock["fence"])));

    lock.as_object_mut().unwrap().remove("token");
    let path = format!("/locks/{id}");
    let read = api.get(&path).await;
    assert_eq!((read.json(), read.field("etag")), (lock.clone(), acquired.field("etag")));
    let mut ids = vec![&*id, "held"];
    ids.sort_unstable();
    assert_eq!(listed(&api.get("/locks").await.json(), "id"), ids);
    assert!(!api.get("/changes").await.text.contains(token.rsplit(':').next().unwrap()));

    api.world.clock.advance(Duration::from_secs(10));
    let refreshed =
        with(&api, &token, "POST", &format!("{path}/refresh"), Some(&json!({ "duration": 60 }))).await;
    lock["expires_at"] = json!("2026-01-01T00:01:10Z");
    assert_eq!((refreshed.status.as_u16(), refreshed.json()), (200, lock));
    let sooner =
        with(&api, &token, "POST", &format!("{path}/refresh"), Some(&json!({ "duration": 1 }))).await;
    assert_eq!(sooner.json()["expires_at"], "2026-01-01T00:01:10Z");
    for _ in 0..2 {
        assert_eq!(with(&api, &token, "DELETE", &path, None).await.status, 204);
    }
    refused(&api.get(&path).await, 404, "not-found", &[]);
}

#[tokio::test]
async fn held_lock_is_423_to_others() {
    let api = AdminApi::new().await;
    held(&api).await;
    for (method, path, body) in [
        ("PATCH", SHOP, Some(json!({ "name": "example.com/x" }))),
        ("DELETE", SHOP, None),
        ("POST", "/locks", Some(json!({ "target": { "caller": "shop" }, "reason": "me too" }))),
    ] {
        let answer = api.ask(&api.owner, method, path, &[ANY], body.as_ref()).await;
        refused(&answer, 423, "locked", &[]);
        assert_eq!(answer.field("retry-after"), ["100"]);
        assert_eq!(
            (&answer.json()["owner"], &answer.json()["reason"]),
            (&json!("operator"), &json!("moving"))
        );
    }
    // Locks on other targets do not affect the caller.
    for target in [json!({ "resource": "/orders/shop" }), json!({ "caller": "reader" })] {
        assert_eq!(api.post("/locks", json!({ "target": target, "reason": "x" })).await.status, 201);
    }
    api.world.clock.advance(Duration::from_secs(100));
    assert_eq!(api.patch(SHOP, json!({ "name": "example.com/x" })).await.status, 200);
}

#[tokio::test]
async fn lock_target_is_an_existing_caller_or_a_path() {
    let api = AdminApi::new().await;
    let wanted = |target: Value| api.post("/locks", json!({ "target": target, "reason": "x" }));
    // The lock would apply to an administrator that is created later, whatever the role of its holder.
    refused(&wanted(json!({ "caller": "later" })).await, 422, "invalid-values", &["#/target/caller"]);
    for path in ["/", "orders", "/a/../b"] {
        let answer = wanted(json!({ "resource": path })).await;
        refused(&answer, 422, "invalid-values", &["#/target/resource"]);
        assert!(answer.json()["errors"][0]["detail"].as_str().unwrap().starts_with("a path has the form"));
    }
}

#[tokio::test]
async fn lock_without_effect_is_rejected() {
    let api = AdminApi::new().await;
    let wanted = |target: Value| api.post("/locks", json!({ "target": target, "reason": "x" }));
    for path in ["/elsewhere", "/api", "/api/deeper", "/ordersx"] {
        let answer = wanted(json!({ "resource": path })).await;
        refused(&answer, 422, "invalid-values", &["#/target/resource"]);
        assert!(answer.text.contains("lock = true"), "{}", answer.text);
    }
    for target in [json!({ "resource": "/orders/7" }), json!({ "caller": "shop" })] {
        let lock = json!({ "tenant": "nobody", "target": target, "reason": "x" });
        refused(&api.post("/locks", lock).await, 422, "invalid-values", &["#/tenant"]);
    }
    let lock = json!({ "tenant": "administration", "target": { "caller": "shop" }, "reason": "x" });
    refused(&api.post("/locks", lock).await, 422, "invalid-values", &["#/tenant"]);
    for target in [json!({ "resource": "/orders/7" }), json!({ "caller": "shop" })] {
        let made = api.post("/locks", json!({ "target": target, "reason": "x", "deny": "all" })).await;
        assert_eq!(made.status, 201);
        assert!(made.json().get("warnings").is_none(), "{}", made.text);
    }
    // The route takes GET only, which a lock on writes does not stop.
    let made = wanted(json!({ "resource": "/orders/8" })).await;
    assert_eq!(made.status, 201);
    assert!(made.text.contains("The lock stops no requests"), "{}", made.text);
}

#[tokio::test]
async fn lock_holder_changes_the_locked_caller() {
    let api = AdminApi::new().await;
    let (_, token) = held(&api).await;
    // The token replaces If-Match, for the caller and for its keys.
    let patched = with(&api, &token, "PATCH", SHOP, Some(&json!({ "status": "disabled" }))).await;
    assert_eq!((patched.status.as_u16(), patched.field("etag")), (200, vec!["\"2\""]));
    let key =
        with(&api, &token, "PATCH", "/tenants/acme/keys/first", Some(&json!({ "name": "example.com/x" })))
            .await;
    assert_eq!(key.status, 200);
    // An If-Match beside the token is checked, too.
    let fields = [("lock-token", &*token), ("if-match", "\"1\"")];
    let stale =
        api.ask(&api.operator, "PATCH", SHOP, &fields, Some(&json!({ "name": "example.com/x" }))).await;
    refused(&stale, 412, "precondition-failed", &[]);
    // The token does not replace If-Match for other resources.
    let body = json!({ "name": "till", "id": "till", "kind": "operator" });
    assert_eq!(with(&api, &token, "POST", "/tenants/acme/callers", Some(&body)).await.status, 201);
    let till = with(&api, &token, "PATCH", "/tenants/acme/callers/till", Some(&json!({}))).await;
    refused(&till, 428, "precondition-required", &[]);
    assert_eq!(with(&api, &token, "DELETE", SHOP, None).await.status, 204);
    refused(&api.get(SHOP).await, 404, "not-found", &[]);
}

#[tokio::test]
async fn token_of_a_lost_lock_changes_nothing() {
    let api = AdminApi::new().await;
    let (id, token) = held(&api).await;
    let (lock, secret) = (format!("/locks/{id}"), token.rsplit(':').next().unwrap());
    let other = format!("{}0", &secret[..secret.len() - 1]);
    let other = if other == secret { format!("{}1", &secret[..secret.len() - 1]) } else { other };
    for lost in [format!("{id}:1:{secret}"), format!("{id}:{}:{other}", token.split(':').nth(1).unwrap())] {
        for (method, path) in [("PATCH", SHOP), ("POST", "/tenants/acme/callers")] {
            let body = json!({ "name": "example.com/x", "kind": "operator" });
            let body = if method == "POST" { body } else { json!({ "status": "disabled" }) };
            let answer = with(&api, &lost, method, path, Some(&body)).await;
            refused(&answer, 412, "precondition-failed", &[]);
        }
    }
    let unknown = format!("none:1:{secret}");
    let answer = with(&api, &unknown, "PATCH", SHOP, Some(&json!({ "name": "example.com/x" }))).await;
    refused(&answer, 412, "precondition-failed", &[]);
    refused(&with(&api, &unknown, "DELETE", &lock, None).await, 412, "precondition-failed", &[]);
    let wrong = format!("{id}:1:{other}");
    refused(&with(&api, &wrong, "DELETE", &lock, None).await, 412, "precondition-failed", &[]);
    for malformed in ["x", secret, &format!("{id}:{secret}")] {
        refused(&with(&api, malformed, "PATCH", SHOP, Some(&json!({}))).await, 400, "bad-request", &[]);
    }
    api.world.clock.advance(Duration::from_secs(100));
    for (method, path) in [("PATCH", SHOP.to_owned()), ("POST", format!("{lock}/refresh"))] {
        let answer = with(&api, &token, method, &path, Some(&json!({}))).await;
        refused(&answer, 412, "precondition-failed", &[]);
    }
    let stored = api.world.stored("acme", "shop").await;
    assert_eq!((stored.revision, stored.status), (1, Status::Enabled));
}

#[tokio::test]
async fn lock_is_broken_by_an_owner_explicitly() {
    let api = AdminApi::new().await;
    let (id, token) = held(&api).await;
    let path = format!("/locks/{id}");
    refused(&api.ask(&api.owner, "DELETE", &path, &[], None).await, 428, "precondition-required", &[]);
    refused(&api.ask(&api.operator, "DELETE", &path, &[ANY], None).await, 403, "insufficient-role", &[]);
    let stale = api.ask(&api.owner, "DELETE", &path, &[("if-match", "\"x\"")], None).await;
    refused(&stale, 412, "precondition-failed", &[]);
    let tag = api.get(&path).await.field("etag")[0].to_owned();
    assert_eq!(api.ask(&api.owner, "DELETE", &path, &[("if-match", &tag)], None).await.status, 204);
    refused(&api.delete(&path).await, 404, "not-found", &[]);
    let late = with(&api, &token, "PATCH", SHOP, Some(&json!({ "name": "late" }))).await;
    refused(&late, 412, "precondition-failed", &[]);
    // The fence of the next holder is greater.
    let fence = |token: &str| token.split(':').nth(1).unwrap().parse::<u64>().unwrap();
    assert!(fence(&held(&api).await.1) > fence(&token));
}

#[tokio::test]
async fn lock_error_has_its_pointer() {
    let api = AdminApi::new().await;
    let target = json!({ "caller": "shop" });
    for (body, status, places) in [
        (json!({ "target": {}, "reason": "x" }), 422, &["#/target"][..]),
        (json!({ "target": { "caller": "a", "resource": "/a" }, "reason": "x" }), 422, &["#/target"]),
        (json!({ "target": { "caller": "a b" }, "reason": "x" }), 422, &["#/target/caller"]),
        (json!({ "target": { "resource": "a" }, "reason": "x" }), 422, &["#/target/resource"]),
        (json!({ "target": target, "reason": "", "duration": 0 }), 422, &["#/reason", "#/duration"]),
        (json!({ "target": target, "reason": "x", "duration": 86_401 }), 422, &["#/duration"]),
        (json!({ "target": target, "reason": "x", "deny": "reads" }), 422, &["#/deny"]),
        (json!({ "target": target }), 400, &["#/reason"]),
        (json!({ "target": target, "reason": "x", "owner": "me" }), 400, &["#/owner"]),
        (json!({ "target": "shop", "reason": "x" }), 400, &["#/target"]),
    ] {
        let code = if status == 422 { "invalid-values" } else { "invalid-shape" };
        refused(&api.post("/locks", body).await, status, code, places);
    }
    let (id, token) = held(&api).await;
    let answer =
        with(&api, &token, "POST", &format!("/locks/{id}/refresh"), Some(&json!({ "duration": 0 }))).await;
    refused(&answer, 422, "invalid-values", &["#/duration"]);
}

#[tokio::test]
async fn operator_cannot_lock_an_administrator() {
    let api = AdminApi::new().await;
    let body = json!({ "target": { "caller": "owner" }, "reason": "x" });
    let theirs = api.ask(&api.operator, "POST", "/locks", &[], Some(&body)).await;
    refused(&theirs, 403, "insufficient-role", &[]);
    assert_eq!(api.post("/locks", body).await.status, 201);
}

#[tokio::test]
async fn one_of_ten_concurrent_acquisitions_gets_the_lock() {
    let api = Arc::new(AdminApi::new().await);
    let all: Vec<_> = (0..10)
        .map(|_| {
            let api = api.clone();
            let body = json!({ "target": { "caller": "shop" }, "reason": "x" });
            tokio::spawn(async move { api.post("/locks", body).await.status.as_u16() })
        })
        .collect();
    let mut statuses = Vec::new();
    for one in all {
        statuses.push(one.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [&[201][..], &[423; 9]].concat());
}

#[tokio::test]
async fn acquire_and_refresh_can_be_repeated() {
    let api = AdminApi::new().await;
    let body = json!({ "target": { "caller": "shop" }, "reason": "x" });
    let once = [("idempotency-key", "\"1\"")];
    let first = api.send("POST", "/locks", &once, body.clone()).await;
    let again = api.send("POST", "/locks", &once, body).await;
    assert_eq!((first.status.as_u16(), &first.text), (201, &again.text));
    let (id, token) = (first.json()["id"].clone(), first.json()["token"].clone());
    let path = format!("/locks/{}/refresh", id.as_str().unwrap());
    let fields = [("idempotency-key", "\"2\""), ("lock-token", token.as_str().unwrap())];
    let first = api.send("POST", &path, &fields, json!({})).await;
    api.world.clock.advance(Duration::from_secs(30));
    let again = api.send("POST", &path, &fields, json!({})).await;
    assert_eq!((first.status.as_u16(), &first.text), (200, &again.text));
    assert_eq!(again.field("idempotency-replayed"), ["true"]);
    assert_eq!(api.world.memory.locks(None, 9).await.unwrap().len(), 2);
}

#[tokio::test]
async fn other_owner_name_does_not_raise_the_lock_limit() {
    let api = AdminApi::new().await;
    let lock = |n: u32| json!({ "target": { "resource": format!("/orders/of-{n}") }, "reason": "a test" });
    for n in 0..64 {
        assert_eq!(api.post("/locks", lock(n)).await.status, 201);
    }
    refused(&api.post("/locks", lock(64)).await, 409, "conflict", &[]);
    let own = "/tenants/administration/callers/owner";
    assert_eq!(api.patch(own, json!({ "name": "renamed" })).await.status, 200);
    refused(&api.post("/locks", lock(64)).await, 409, "conflict", &[]);
}
