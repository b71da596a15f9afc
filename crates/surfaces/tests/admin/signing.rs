//! Signing keys: an access key and a secret.

use portcullis::{
    model::{CallerKind, CredentialKind, SealKey, Sealer},
    registry::{Registry, reseal},
};
use serde_json::{Value, json};

use super::{ANY, AdminApi, refused};

const KEYS: &str = "/tenants/acme/callers/boss/keys";

async fn api() -> AdminApi {
    let api = AdminApi::new().await;
    api.world.caller("acme", "boss", "boss", CallerKind::Operator).await;
    api
}

/// Returns the access key and the secret of a new signing key.
fn key_pair(document: &Value) -> (String, String) {
    let text = |name: &str| document[name].as_str().unwrap().to_owned();
    assert_eq!(document["access_key"], document["id"]);
    assert_eq!((&document["kind"], document.get("key")), (&json!("signing"), None));
    (text("access_key"), text("secret"))
}

/// Returns the secret of an access key as this node knows it: sealed, as in the store.
fn unsealed(api: &AdminApi, access: &str) -> Option<String> {
    let key = api.world.directory.find_signing_key(access)?;
    let CredentialKind::Signing(sealed) = key.kind() else { panic!("{access} does not sign") };
    let secret = api
        .world
        .sealer
        .unseal(sealed, &[key.caller().tenant().id.as_str(), "credential", access, "secret"])
        .unwrap();
    Some(secret.expose().to_owned())
}

#[tokio::test]
async fn signing_secret_is_shown_once_and_stored_sealed() {
    let api = api().await;
    let once = [("idempotency-key", "\"a\"")];
    let body =
        json!({ "kind": "signing", "name": "tool", "scopes": [{ "resource": "apps", "access": "read" }] });
    let made = api.send("POST", KEYS, &once, body.clone()).await;
    assert_eq!((made.status.as_u16(), made.field("cache-control")), (201, vec!["no-store"]), "{made:?}");
    let (access, secret) = key_pair(&made.json());
    assert!(secret.starts_with("pcs_") && secret.len() == 53);
    assert_eq!(unsealed(&api, &access).unwrap(), secret);
    assert_eq!(api.send("POST", KEYS, &once, body).await.text, made.text, "the response is replayed");

    let path = format!("/tenants/acme/keys/{access}");
    let (shown, list, changes) = (api.get(&path).await, api.get(KEYS).await, api.get("/changes").await);
    assert_eq!((&shown.json()["hint"], &shown.json()["kind"]), (&json!(access), &json!("signing")));
    assert_eq!(shown.field("etag"), ["\"1\""]);
    for answer in [&shown, &list, &changes] {
        assert!(!answer.text.contains(&secret) && answer.text.contains(&access), "{answer:?}");
    }
    let changes = format!("{:?}", api.world.memory.changes(0, 1000).await);
    assert!(!changes.contains(&secret));
    assert!(api.world.directory.find(&access).is_none(), "presented, it proves nobody");
}

#[tokio::test]
async fn signing_key_is_changed_rotated_and_deleted() {
    let api = api().await;
    let (access, secret) = key_pair(&api.post(KEYS, json!({ "kind": "signing" })).await.json());
    let path = format!("/tenants/acme/keys/{access}");
    let rotated = api.post(&format!("{path}/rotation"), json!({ "overlap": 60 })).await.json();
    let (next, other) = key_pair(&rotated);
    assert!(next != access && other != secret);
    assert_eq!(rotated["replaces"]["replaced_by"], json!(next));
    assert_eq!((unsealed(&api, &access), unsealed(&api, &next)), (Some(secret), Some(other)));

    let path = format!("/tenants/acme/keys/{next}");
    let stale = api.send("PATCH", &path, &[("if-match", "\"7\"")], json!({ "status": "disabled" })).await;
    refused(&stale, 412, "precondition-failed", &[]);
    assert_eq!(api.patch(&path, json!({ "status": "disabled" })).await.json()["revision"], 2);
    let status = api.world.directory.find_signing_key(&next).unwrap().status();
    assert_eq!(status, portcullis::model::Status::Disabled);
    assert_eq!(api.delete(&path).await.status, 204);
    assert!(api.world.directory.find_signing_key(&next).is_none());
}

#[tokio::test]
async fn signing_keys_are_not_for_administrators() {
    let api = api().await;
    let theirs = "/tenants/administration/callers/reader/keys";
    refused(&api.post(theirs, json!({ "kind": "signing" })).await, 422, "invalid-values", &["#/kind"]);
    refused(&api.post(KEYS, json!({ "kind": "app_code" })).await, 422, "invalid-values", &["#/kind"]);
    refused(&api.post(KEYS, json!({ "kind": 1 })).await, 400, "invalid-shape", &["#/kind"]);
    let reader = api.ask(&api.reader, "POST", KEYS, &[ANY], Some(&json!({ "kind": "signing" }))).await;
    refused(&reader, 403, "insufficient-role", &[]);
    assert!(api.post(KEYS, json!({ "kind": "key" })).await.json()["key"].as_str().is_some());
}

#[tokio::test]
async fn signing_secret_is_resealed_with_all_others() {
    let api = api().await;
    let (access, secret) = key_pair(&api.post(KEYS, json!({ "kind": "signing" })).await.json());
    let next = Sealer::new(SealKey::new(2, &[9; 32])).with_previous(SealKey::new(1, &[8; 32]));
    api.world.sealer.replace_keys(&next);
    let report = reseal(&*api.world.memory, &api.world.sealer, &super::management::actor()).await.unwrap();
    assert_eq!((report.resealed, report.unreadable.len()), (1, 0));
    api.world.settle().await;
    api.world.sealer.replace_keys(&Sealer::new(SealKey::new(2, &[9; 32])));
    assert_eq!(unsealed(&api, &access).unwrap(), secret);
}
