//! The change log endpoint.

use std::time::Duration;

use portcullis::{
    model::{CallerKind, LockTarget, LockedRequests},
    registry::Registry,
};
use serde_json::{Value, json};

use super::{AdminApi, refused, start};

fn seqs(answer: &Value) -> Vec<u64> {
    answer["items"].as_array().unwrap().iter().map(|change| change["seq"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn change_names_actor_action_time_and_address() {
    let api = AdminApi::new().await;
    let before = api.world.directory.applied();
    let made = api.post("/tenants", json!({ "id": "blue", "name": "Blue" })).await.json();
    let changed = api.patch("/tenants/blue", json!({ "name": "Navy" })).await.json();
    assert_eq!(api.delete("/tenants/blue").await.status, 204);
    let page = api.get(&format!("/changes?after={before}")).await.json();
    let change = |seq: u64, verb: &str, was: &Value, is: &Value| {
        json!({
            "seq": before + seq, "at": start(), "actor": "admin:owner", "address": "127.0.0.1", "verb": verb,
            "kind": "tenant", "id": "blue", "before": was, "after": is, "hash": null,
        })
    };
    let expected = [
        change(1, "created", &Value::Null, &made),
        change(2, "updated", &made, &changed),
        change(3, "deleted", &changed, &Value::Null),
    ];
    assert_eq!(page["items"], json!(expected));
    assert!(page.get("next").is_none());
}

#[tokio::test]
async fn changes_contain_no_secret_and_no_digest() {
    let api = AdminApi::new().await;
    let app = json!({ "name": "app_a", "kind": "app", "app": { "secret": "s3cret-s3cret" } });
    assert_eq!(api.post("/tenants/acme/callers", app).await.status, 201);
    let key = api.post("/tenants/acme/callers/shop/keys", json!({})).await.json();
    let target = LockTarget::Resource("/orders".parse().unwrap());
    let lock = api.world.lock(target, LockedRequests::Writes, Duration::from_secs(60)).await;
    let page = api.get("/changes?limit=500").await;
    for text in ["digest", "ciphertext", "pepper", "token", "s3cret", key["key"].as_str().unwrap()] {
        assert!(!page.text.contains(text), "{text}");
    }
    let (items, id) = (page.json()["items"].clone(), key["id"].as_str().unwrap());
    let change = items.as_array().unwrap().iter().find(|change| change["id"] == id).unwrap();
    assert_eq!((&change["kind"], &change["after"]["hint"]), (&json!("credential"), &key["hint"]));
    assert!(change["after"].get("last_used_at").is_none());
    let change = items.as_array().unwrap().iter().find(|change| change["id"] == lock.as_str()).unwrap();
    assert_eq!(change["after"]["target"], json!({ "resource": "/orders" }));
    assert!(change["after"]["fence"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn changes_are_filtered_by_kind_entity_and_actor() {
    let api = AdminApi::new().await;
    let last = api.world.directory.applied();
    api.world.caller("acme", "till", "till", CallerKind::Operator).await;
    assert_eq!(api.patch("/tenants/acme/callers/till", json!({ "name": "example.com/x" })).await.status, 200);
    assert_eq!(api.patch("/tenants/acme", json!({ "name": "example.com/x" })).await.status, 200);
    for (query, expected) in [
        ("id=till".to_owned(), vec![last + 1, last + 2]),
        ("id=till&kind=caller&actor=admin%3Aowner".into(), vec![last + 2]),
        ("id=till&kind=tenant".into(), vec![]),
        ("actor=admin:owner".into(), vec![last + 2, last + 3]),
        ("actor=test&limit=2".into(), vec![1, 2]),
        (format!("kind=caller&after={last}"), vec![last + 1, last + 2]),
        (format!("after={last}&limit=1"), vec![last + 1]),
    ] {
        assert_eq!(seqs(&api.get(&format!("/changes?{query}")).await.json()), expected, "{query}");
    }
    let page = api.get("/changes?actor=test&limit=2").await;
    assert_eq!(page.json()["next"], "2");
    assert_eq!(page.field("link"), ["</admin/v1/changes?actor=test&limit=2&after=2>; rel=\"next\""]);
    refused(&api.get("/changes?after=-1").await, 400, "bad-request", &[]);
    assert_eq!(api.world.memory.changes(last, 9).await.unwrap().len(), 3);
}
