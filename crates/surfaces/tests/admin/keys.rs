//! Keys: creation, display, rotation, deletion.

use std::{sync::Arc, time::Duration};

use portcullis::{
    model::{CallerKind, CredentialKind, Sealer, Secret},
    registry::Registry,
};
use serde_json::{Value, json};

use super::{ANY, AdminApi, listed, refused, shown, start};

const KEYS: &str = "/tenants/acme/callers/shop/keys";
const FIRST: &str = "/tenants/acme/keys/first";

/// Returns `true` if this node accepts a key.
fn is_known(api: &AdminApi, key: &str) -> bool {
    let now = api.world.now();
    let found = api.world.directory.find(key);
    found.is_some_and(|key| key.not_after().is_none_or(|end| now < end))
}

#[tokio::test]
async fn key_is_shown_once() {
    let api = AdminApi::new().await;
    let scopes = json!([{ "resource": "orders", "access": "write", "targets": ["7"] }]);
    let body = json!({ "name": "till", "scopes": scopes, "not_after": "2026-06-01T02:00:00+02:00" });
    let made = api.post(KEYS, body).await;
    assert_eq!(made.field("cache-control"), ["no-store"]);
    let mut document = made.json();
    let key = document["key"].as_str().unwrap().to_owned();
    assert!(key.starts_with("pcl_") && is_known(&api, &key), "{key}");
    let id = document["id"].as_str().unwrap().to_owned();
    let expected = json!({
        "key": key, "id": id, "tenant": "acme", "caller": "shop", "name": "till", "kind": "key",
        "hint": key[..8], "status": "enabled", "scopes": scopes, "not_after": "2026-06-01T00:00:00Z",
        "deprecated_at": null, "replaced_by": null, "revision": 1, "created_at": start(),
        "updated_at": start(), "last_used_at": null,
        "safe_to_revoke": {
            "safe": false, "reason": "it was made only 0 hours ago and may not be in use yet",
        },
    });
    shown(&made, 201, 1, &expected);
    assert_eq!(made.field("location"), [format!("/admin/v1/tenants/acme/keys/{id}")]);

    document.as_object_mut().unwrap().remove("key");
    let path = format!("/tenants/acme/keys/{id}");
    shown(&api.get(&path).await, 200, 1, &document);
    let list = api.get(KEYS).await;
    assert!(!list.text.contains(&key) && !api.get("/changes").await.text.contains(&key));
    assert!(listed(&list.json(), "id").contains(&&*id));
}

#[tokio::test]
async fn every_member_of_a_new_key_is_optional() {
    let api = AdminApi::new().await;
    for body in [None, Some(json!({})), Some(json!({ "scopes": null, "not_after": null }))] {
        let made = api.ask(&api.owner, "POST", KEYS, &[], body.as_ref()).await;
        let document = made.json();
        assert_eq!((made.status.as_u16(), &document["scopes"]), (201, &Value::Null));
        assert_eq!(document["name"], format!("key.{}", document["id"].as_str().unwrap()));
    }
    for (tenant, caller, prefix) in [("administration", "reader", "pca_"), ("acme", "boss", "pco_")] {
        if caller == "boss" {
            api.world.caller(tenant, caller, caller, CallerKind::Operator).await;
        }
        let made = api.post(&format!("/tenants/{tenant}/callers/{caller}/keys"), json!({})).await;
        assert!(made.json()["key"].as_str().unwrap().starts_with(prefix));
    }
}

#[tokio::test]
async fn key_error_has_its_pointer() {
    let api = AdminApi::new().await;
    let scope = |resource: &str| json!({ "resource": resource, "access": "read" });
    for (body, places) in [
        (json!({ "name": "", "scopes": [scope("A b")] }), &["#/name", "#/scopes/0/resource"][..]),
        (json!({ "scopes": [scope("a"), { "resource": "b", "access": "look" }] }), &["#/scopes/1/access"]),
        (
            json!({ "scopes": [{ "resource": "a", "access": "read", "targets": ["x", "a/b"] }] }),
            &["#/scopes/0/targets/1"],
        ),
        (json!({ "scopes": vec![scope("a"); 101] }), &["#/scopes"]),
        (json!({ "not_after": "tomorrow" }), &["#/not_after"]),
        (json!({ "not_after": "2025-12-31T23:59:59Z" }), &["#/not_after"]),
        (json!({ "not_after": "1970-01-01T00:00:00Z" }), &["#/not_after"]),
        (json!({ "not_after": "2030-01-01" }), &["#/not_after"]),
        (json!({ "not_after": "2030-01-01 00:00:00Z" }), &["#/not_after"]),
        (json!({ "not_after": "2030-01-01T00:00Z" }), &["#/not_after"]),
        (json!({ "not_after": "2030-01-01T00:00:00" }), &["#/not_after"]),
        (json!({ "not_after": "2030-01-01T00:00:00.Z" }), &["#/not_after"]),
        (json!({ "not_after": "2030-01-01T00:00:00+25:00" }), &["#/not_after"]),
        (json!({ "not_after": "2030-01-01T00:00:00Z[Europe/Berlin]" }), &["#/not_after"]),
        (json!({ "not_after": "2030-02-30T00:00:00Z" }), &["#/not_after"]),
        (json!({ "not_after": "9999-12-31T23:59:59Z" }), &["#/not_after"]),
        (json!({ "status": "on" }), &["#/status"]),
    ] {
        refused(&api.post(KEYS, body.clone()).await, 422, "invalid-values", places);
        refused(&api.patch(FIRST, body).await, 422, "invalid-values", places);
    }
    for (body, place) in [
        (json!({ "scopes": [[]] }), "#/scopes/0"),
        (json!({ "scopes": [{ "access": "read" }] }), "#/scopes/0/resource"),
        (json!({ "scopes": [{ "resource": "a", "access": "read", "target": [] }] }), "#/scopes/0/target"),
        (json!({ "not_after": 7 }), "#/not_after"),
        (json!({ "digest": "x" }), "#/digest"),
        (json!({ "key": "pcl_x" }), "#/key"),
    ] {
        refused(&api.post(KEYS, body.clone()).await, 400, "invalid-shape", &[place]);
        refused(&api.patch(FIRST, body).await, 400, "invalid-shape", &[place]);
    }
    refused(&api.post("/tenants/acme/callers/none/keys", json!({})).await, 404, "not-found", &[]);
}

#[tokio::test]
async fn key_update_changes_named_members_only() {
    let api = AdminApi::new().await;
    let patch = json!({
        "name": "new", "status": "disabled", "scopes": [{ "resource": "a", "access": "read" }],
        "not_after": "2030-01-01T00:00:00Z", "deprecated_at": "2026-01-01T00:00:00Z",
    });
    let changed = api.patch(FIRST, patch.clone()).await.json();
    assert_eq!(changed["revision"], 2);
    for member in ["name", "status", "not_after", "deprecated_at"] {
        assert_eq!(changed[member], patch[member]);
    }
    assert_eq!(changed["scopes"], json!([{ "resource": "a", "access": "read", "targets": null }]));
    assert_eq!(changed["safe_to_revoke"]["safe"], true);
    let back = json!({ "scopes": null, "not_after": null, "deprecated_at": null, "status": "enabled" });
    let changed = api.patch(FIRST, back).await.json();
    assert_eq!((&changed["name"], &changed["revision"]), (&json!("new"), &json!(3)));
    for member in ["scopes", "not_after", "deprecated_at"] {
        assert_eq!(changed[member], Value::Null);
    }
}

#[tokio::test]
async fn time_is_accepted_in_every_form_of_rfc_3339() {
    let api = AdminApi::new().await;
    for (written, shown) in [
        ("2030-01-01T00:00:00Z", "2030-01-01T00:00:00Z"),
        ("2030-01-01t02:00:00.25+02:00", "2030-01-01T00:00:00.25Z"),
        ("2029-12-31T20:30:00-03:30", "2030-01-01T00:00:00Z"),
        ("9999-12-30T22:00:00z", "9999-12-30T22:00:00Z"),
    ] {
        assert_eq!(api.patch(FIRST, json!({ "not_after": written })).await.json()["not_after"], shown);
    }
}

#[tokio::test]
async fn caller_has_at_most_a_hundred_keys() {
    let api = AdminApi::new().await;
    for _ in 1..100 {
        assert_eq!(api.post(KEYS, json!({})).await.status, 201);
    }
    refused(&api.post(KEYS, json!({})).await, 409, "conflict", &[]);
}

#[tokio::test]
async fn last_use_is_the_stored_one_or_that_of_this_node() {
    let api = AdminApi::new().await;
    let made = api.post(KEYS, json!({})).await.json();
    let (key, path) =
        (made["key"].as_str().unwrap(), format!("/tenants/acme/keys/{}", made["id"].as_str().unwrap()));
    api.world.clock.advance(Duration::from_secs(100));
    api.world.directory.find(key).unwrap().note_use(api.world.now());
    let shown = api.get(&path).await;
    assert_eq!(shown.json()["last_used_at"], "2026-01-01T00:01:40Z");
    assert_eq!(shown.json()["safe_to_revoke"]["reason"], "it was used at 2026-01-01T00:01:40Z");
    // Another node records a later use.
    let later = api.world.now() + Duration::from_secs(50);
    let id = made["id"].as_str().unwrap().parse().unwrap();
    api.world.memory.record_last_used(&[(id, later)]).await.unwrap();
    let list = api.get(KEYS).await.json();
    let uses: Vec<_> = list["items"].as_array().unwrap().iter().map(|key| &key["last_used_at"]).collect();
    assert!(uses.contains(&&json!("2026-01-01T00:02:30Z")) && uses.contains(&&Value::Null), "{uses:?}");
    api.world.clock.advance(Duration::from_hours(31 * 24 + 1));
    let shown = api.get(&path).await.json();
    assert_eq!(shown["safe_to_revoke"], json!({ "safe": true, "reason": "it was not used for 31 days" }));
}

#[tokio::test]
async fn rotated_key_and_its_successor_overlap() {
    let api = AdminApi::new().await;
    let made =
        api.post(KEYS, json!({ "name": "till", "scopes": [{ "resource": "a", "access": "read" }] })).await;
    let (old, id) = (made.json()["key"].clone(), made.json()["id"].clone());
    let (old, id) = (old.as_str().unwrap(), id.as_str().unwrap());
    let path = format!("/tenants/acme/keys/{id}/rotation");
    let rotated = api.post(&path, json!({ "overlap": 3600 })).await;
    let document = rotated.json();
    let new = document["key"].as_str().unwrap();
    assert_eq!((rotated.status.as_u16(), rotated.field("cache-control")), (201, vec!["no-store"]));
    assert_eq!(
        rotated.field("location"),
        [format!("/admin/v1/tenants/acme/keys/{}", document["id"].as_str().unwrap())]
    );
    assert_eq!(rotated.field("etag"), ["\"1\""]);
    assert_eq!((&document["name"], &document["scopes"]), (&json!("till"), &made.json()["scopes"]));
    let replaces = &document["replaces"];
    assert_eq!((&replaces["id"], &replaces["replaced_by"]), (&json!(id), &document["id"]));
    assert_eq!(
        (&replaces["deprecated_at"], &replaces["not_after"]),
        (&start(), &json!("2026-01-01T01:00:00Z"))
    );
    assert!(replaces.get("key").is_none() && !rotated.text.contains(old));

    assert!(is_known(&api, old) && is_known(&api, new));
    let found = api.world.directory.find(old).unwrap();
    assert_eq!(found.deprecated_at(), Some(api.world.now()));
    api.world.clock.advance(Duration::from_hours(1));
    assert!(!is_known(&api, old) && is_known(&api, new));
    refused(&api.post(&path, json!({})).await, 409, "conflict", &[]);
}

#[tokio::test]
async fn only_active_unrotated_keys_are_rotated() {
    let api = AdminApi::new().await;
    let rotation = |id: &str| format!("/tenants/acme/keys/{id}/rotation");
    // The overlap defaults to a day. An earlier end of the key remains, and its successor gets it, too.
    let end = "2026-01-01T12:00:00Z";
    assert_eq!(api.patch(FIRST, json!({ "not_after": end })).await.status, 200);
    let rotated = api.ask(&api.owner, "POST", &rotation("first"), &[], None).await.json();
    assert_eq!((&rotated["not_after"], &rotated["replaces"]["not_after"]), (&json!(end), &json!(end)));
    refused(&api.post(&rotation("first"), json!({})).await, 409, "conflict", &[]);

    let seal = |sealer: &Sealer| {
        sealer.seal(&Secret::from("secret".to_owned()), &["acme", "credential", "code", "secret"])
    };
    let code = CredentialKind::AppCode(seal(&api.world.sealer));
    api.world.key_with("acme", "shop", |key| (key.id, key.kind) = ("code".parse().unwrap(), code)).await;
    let now = Some(api.world.now());
    api.world.key_with("acme", "shop", |key| (key.id, key.not_after) = ("ended".parse().unwrap(), now)).await;
    for id in ["code", "ended"] {
        refused(&api.post(&rotation(id), json!({})).await, 409, "conflict", &[]);
    }
    let id = rotated["id"].as_str().unwrap();
    for (body, place) in [(json!({ "overlap": 2_592_001 }), "#/overlap"), (json!({ "name": "" }), "#/name")] {
        refused(&api.post(&rotation(id), body).await, 422, "invalid-values", &[place]);
    }
    let stale = api.send("POST", &rotation(id), &[("if-match", "\"7\"")], json!({})).await;
    refused(&stale, 412, "precondition-failed", &[]);
    let at_once = api.send("POST", &rotation(id), &[("if-match", "\"1\"")], json!({ "overlap": 0 })).await;
    assert_eq!(at_once.json()["replaces"]["not_after"], start());
    let disabled = at_once.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/tenants/acme/keys/{disabled}");
    assert_eq!(api.patch(&path, json!({ "status": "disabled" })).await.status, 200);
    refused(&api.post(&rotation(&disabled), json!({})).await, 409, "conflict", &[]);
}

#[tokio::test]
async fn one_of_ten_concurrent_rotations_succeeds() {
    let api = Arc::new(AdminApi::new().await);
    let all: Vec<_> = (0..10)
        .map(|_| {
            let api = api.clone();
            tokio::spawn(async move {
                api.post("/tenants/acme/keys/first/rotation", json!({})).await.status.as_u16()
            })
        })
        .collect();
    let mut statuses = Vec::new();
    for one in all {
        statuses.push(one.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [&[201][..], &[409; 9]].concat());
    assert_eq!(listed(&api.get(KEYS).await.json(), "id").len(), 2);
}

#[tokio::test]
async fn deletion_can_be_awaited() {
    let api = Arc::new(AdminApi::new().await);
    let made = api.post(KEYS, json!({})).await.json();
    let (key, id) = (made["key"].as_str().unwrap().to_owned(), made["id"].as_str().unwrap().to_owned());
    let path = format!("/tenants/acme/keys/{id}?wait=60");
    let (asking, target) = (api.clone(), format!("/admin/v1{path}"));
    let waiting = tokio::spawn(async move {
        let bearer = format!("Bearer {}", asking.owner);
        let fields = [("authorization", &*bearer), ANY];
        asking.server.send("DELETE", &target, &fields, None).await
    });
    let deleted = api.world.directory.applied() + 1;
    api.world.memory.wait_for_change(deleted - 1).await;
    assert!(!waiting.is_finished() && is_known(&api, &key), "deleted from the store, but not yet here");
    api.world.settle().await;
    let answer = waiting.await.unwrap();
    assert_eq!((answer.status.as_u16(), &*answer.text), (204, ""));
    assert!(!is_known(&api, &key));
}

#[tokio::test]
async fn timed_out_wait_reports_its_progress() {
    let api = AdminApi::new().await;
    let before = api.world.directory.applied();
    let answer = api.delete(&format!("{FIRST}?wait=0")).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.json(), json!({ "id": "first", "denied_here": false, "applied_change": before }));
    assert_eq!(api.world.directory.applied(), before + 1, "it was deleted");
    refused(&api.get(FIRST).await, 404, "not-found", &[]);
}

#[tokio::test]
async fn key_cannot_delete_itself() {
    let api = AdminApi::new().await;
    let own = "/tenants/administration/keys/owners-key";
    for body in [json!({ "status": "disabled" }), json!({ "not_after": start() })] {
        refused(&api.patch(own, body).await, 409, "conflict", &[]);
    }
    refused(&api.delete(own).await, 409, "conflict", &[]);
    let rotated = api.post(&format!("{own}/rotation"), json!({ "overlap": 60 })).await.json();
    let new = rotated["key"].as_str().unwrap();
    assert_eq!(api.ask(new, "GET", "/status", &[], None).await.status, 200);
    let status = api.get("/status").await;
    assert_eq!(status.field("deprecation").len(), 1, "the old key still works, and is told so");
    assert_eq!(api.ask(new, "DELETE", own, &[ANY], None).await.status, 204);
}

#[tokio::test]
async fn expiring_key_cannot_create_a_longer_lived_one() {
    let api = AdminApi::new().await;
    let end = api.world.now() + Duration::from_hours(1);
    let guest = api.world.key_with("administration", "owner", |key| key.not_after = Some(end)).await;
    let post = |path: &'static str, body: Value| {
        let api = &api;
        let guest = guest.clone();
        async move { api.ask(&guest, "POST", path, &[], Some(&body)).await }
    };
    let theirs = "/tenants/administration/callers/reader/keys";
    assert_eq!(post(theirs, json!({})).await.json()["not_after"], "2026-01-01T01:00:00Z");
    let later = json!({ "not_after": "2026-01-01T01:00:01Z" });
    refused(&post(theirs, later.clone()).await, 422, "invalid-values", &["#/not_after"]);
    let sooner = json!({ "not_after": "2026-01-01T00:30:00Z" });
    assert_eq!(post(theirs, sooner.clone()).await.json()["not_after"], sooner["not_after"]);
    // A key of an API client may end later than the key that creates it.
    assert_eq!(post(KEYS, json!({})).await.json()["not_after"], Value::Null);
    let own = "/tenants/administration/keys/owners-key";
    let patched = api.ask(&guest, "PATCH", own, &[ANY], Some(&later)).await;
    refused(&patched, 422, "invalid-values", &["#/not_after"]);
    let rotation = "/tenants/administration/keys/owners-key/rotation";
    // The rotation would leave no owner.
    refused(&post(rotation, json!({})).await, 409, "conflict", &[]);
    api.world.key("administration", "owner").await;
    let rotated = post(rotation, json!({})).await.json();
    assert_eq!(rotated["not_after"], "2026-01-01T01:00:00Z");
}

#[tokio::test]
async fn scoped_key_is_confined_to_its_scopes() {
    use portcullis::model::{Access, Scope, Scopes};

    let api = AdminApi::new().await;
    let listed = |resource: &str, access| {
        Scopes::Listed(vec![Scope { resource: resource.into(), access, targets: None }])
    };
    for (scopes, read, write) in [
        (listed("admin", Access::Write), 200, 201),
        (listed("admin", Access::Read), 200, 403),
        (listed("orders", Access::Write), 403, 403),
        (Scopes::Listed(vec![]), 403, 403),
    ] {
        let key = api.world.key_with("administration", "owner", |key| key.scopes = scopes.clone()).await;
        assert_eq!(api.ask(&key, "GET", "/status", &[], None).await.status, read, "{scopes:?}");
        let made = api.ask(&key, "POST", "/tenants", &[], Some(&json!({ "name": "example.com/x" }))).await;
        assert_eq!(made.status, write, "{scopes:?}");
    }
}

#[tokio::test]
async fn key_expiry_in_the_past_is_rejected() {
    let api = AdminApi::new().await;
    let past = json!({ "not_after": "2025-12-31T23:59:59Z" });
    for (kind, ends) in [("key", "2025-01-01T00:00:00Z"), ("signing", "2026-01-01T00:00:00Z")] {
        let answer = api.post(KEYS, json!({ "kind": kind, "not_after": ends })).await;
        refused(&answer, 422, "invalid-values", &["#/not_after"]);
    }
    refused(&api.patch(FIRST, past.clone()).await, 422, "invalid-values", &["#/not_after"]);
    // An end at this very moment ends the key. The same end again later is no change.
    assert_eq!(api.patch(FIRST, json!({ "not_after": start() })).await.status, 200);
    api.world.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(api.patch(FIRST, json!({ "not_after": start(), "name": "ended" })).await.status, 200);
    refused(&api.patch(FIRST, past).await, 422, "invalid-values", &["#/not_after"]);
}

#[tokio::test]
async fn rotation_overlap_does_not_outlast_the_key() {
    let api = AdminApi::new().await;
    assert_eq!(api.patch(FIRST, json!({ "not_after": "2026-01-01T01:00:00Z" })).await.status, 200);
    let rotation = format!("{FIRST}/rotation");
    refused(&api.post(&rotation, json!({ "overlap": 3601 })).await, 422, "invalid-values", &["#/overlap"]);
    let rotated = api.post(&rotation, json!({ "overlap": 3600 })).await;
    assert_eq!(rotated.json()["replaces"]["not_after"], "2026-01-01T01:00:00Z", "{rotated:?}");
}
