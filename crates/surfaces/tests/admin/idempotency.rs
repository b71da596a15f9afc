//! Requests with the header `Idempotency-Key`.

use std::{sync::Arc, time::Duration};

use portcullis::{
    clock::SystemClock,
    model::{LockToken, SealKey, Sealer},
    registry::{
        CreateCaller, CreateCredential, CreateQuota, CreateTenant, CreateThrottle, PutGrant, PutPlan,
        Registry, RegistryExt, ReleaseLock, follow, load, sqlite::Sqlite,
    },
};
use serde_json::{Value, json};

use super::{AdminApi, listed, refused, surface};
use crate::management::{Answer, ManagedRegistry, Server};

const KEYS: &str = "/tenants/acme/callers/shop/keys";

async fn post(api: &AdminApi, path: &str, key: &str, body: &Value) -> Answer {
    api.ask(&api.owner, "POST", path, &[("idempotency-key", key)], Some(body)).await
}

/// Asserts that the second response replays the first, byte for byte.
#[track_caller]
fn replayed(first: &Answer, again: &Answer) {
    assert_eq!((first.status, &first.text), (again.status, &again.text));
    for field in ["etag", "location", "cache-control", "content-type"] {
        assert_eq!(first.field(field), again.field(field), "{field}");
    }
    assert!(first.field("idempotency-replayed").is_empty());
    assert_eq!(again.field("idempotency-replayed"), ["true"]);
}

#[tokio::test]
async fn repeated_request_gets_the_first_response() {
    let api = AdminApi::new().await;
    for (path, body) in [
        ("/tenants", json!({ "name": "example.com/x" })),
        ("/tenants/acme/callers", json!({ "name": "app_x", "kind": "app" })),
        (KEYS, json!({ "name": "example.com/x" })),
        ("/tenants/acme/keys/first/rotation", json!({})),
    ] {
        let key = format!("\"{path}\"");
        let first = post(&api, path, &key, &body).await;
        assert_eq!(first.status, 201, "{first:?}");
        let changes = api.world.directory.applied();
        replayed(&first, &post(&api, path, &key, &body).await);
        // The stored response does not change with time.
        api.world.clock.advance(Duration::from_secs(1));
        replayed(&first, &post(&api, path, &key, &body).await);
        assert_eq!(api.world.directory.applied(), changes, "{path}");
    }
    api.world.clock.advance(Duration::from_hours(24));
    let anew = post(&api, "/tenants", "\"/tenants\"", &json!({ "name": "y" })).await;
    assert_eq!((anew.status.as_u16(), anew.field("idempotency-replayed")), (201, vec![]));
}

#[tokio::test]
async fn repeated_request_on_a_deleted_entity_gets_its_response() {
    let api = AdminApi::new().await;
    let rotation = "/tenants/acme/keys/first/rotation";
    let first =
        [post(&api, KEYS, "\"a\"", &json!({})).await, post(&api, rotation, "\"b\"", &json!({})).await];
    assert_eq!(first.each_ref().map(|answer| answer.status.as_u16()), [201, 201]);
    assert_eq!(api.delete("/tenants/acme/callers/shop").await.status, 204);
    let again =
        [post(&api, KEYS, "\"a\"", &json!({})).await, post(&api, rotation, "\"b\"", &json!({})).await];
    for (first, again) in first.iter().zip(&again) {
        replayed(first, again);
    }
    refused(&post(&api, KEYS, "\"c\"", &json!({})).await, 404, "not-found", &[]);
}

/// The stored response is sealed and lost with the dropped key. The request is still not executed again.
#[tokio::test]
async fn unreadable_stored_response_is_409() {
    let api = AdminApi::new().await;
    assert_eq!(post(&api, KEYS, "\"k\"", &json!({ "name": "example.com/x" })).await.status, 201);
    let changes = api.world.directory.applied();
    api.world.sealer.replace_keys(&Sealer::new(SealKey::new(2, &[9; 32])));
    let again = post(&api, KEYS, "\"k\"", &json!({ "name": "example.com/x" })).await;
    assert_eq!((again.status.as_u16(), again.json()["code"].as_str()), (409, Some("conflict")));
    assert_eq!(api.world.directory.applied(), changes);
}

#[tokio::test]
async fn different_request_with_the_same_key_is_422() {
    let api = AdminApi::new().await;
    let body = json!({ "name": "example.com/x" });
    assert_eq!(post(&api, KEYS, "\"1\"", &body).await.status, 201);
    for (path, body) in [
        (KEYS, json!({ "name": "y" })),
        (KEYS, json!({})),
        ("/tenants", json!({ "name": "example.com/x" })),
        ("/tenants/acme/callers/shop/keys?", json!({ "name": "example.com/x" })),
    ] {
        refused(&post(&api, path, "\"1\"", &body).await, 422, "unprocessable", &[]);
    }
    // Administrators do not share idempotency keys.
    let theirs = [("idempotency-key", "\"1\"")];
    let other = api.ask(&api.operator, "POST", KEYS, &theirs, Some(&json!({ "name": "y" }))).await;
    assert_eq!((other.status.as_u16(), other.field("idempotency-replayed")), (201, vec![]));
}

#[tokio::test]
async fn malformed_idempotency_key_is_400() {
    let api = AdminApi::new().await;
    let before = api.world.directory.applied();
    for key in ["x", "\"\"", "\"x", "\"a\";b", "\"a\", \"b\"", &format!("\"{}\"", "x".repeat(256))] {
        refused(&post(&api, KEYS, key, &json!({})).await, 400, "bad-request", &[]);
    }
    let two = [("idempotency-key", "\"a\""), ("idempotency-key", "\"a\"")];
    refused(&api.ask(&api.owner, "POST", KEYS, &two, None).await, 400, "bad-request", &[]);
    assert_eq!(api.world.directory.applied(), before);
}

#[tokio::test]
async fn rejected_request_can_be_repeated() {
    let api = AdminApi::new().await;
    let wrong = json!({ "name": "", "kind": "operator" });
    let right = json!({ "name": "example.com/x", "kind": "operator" });
    let path = "/tenants/acme/callers";
    refused(&post(&api, path, "\"1\"", &wrong).await, 422, "invalid-values", &["#/name"]);
    api.world
        .registry
        .fail(Some("create_caller"), || portcullis::registry::RegistryError::Unavailable("gone".into()));
    refused(&post(&api, path, "\"1\"", &right).await, 503, "unavailable", &[]);
    api.world.registry.recover();
    let made = post(&api, path, "\"1\"", &right).await;
    assert_eq!((made.status.as_u16(), made.field("idempotency-replayed")), (201, vec![]));
}

#[tokio::test]
async fn concurrent_request_with_the_same_key_is_409() {
    let api = Arc::new(AdminApi::new().await);
    let held = api.world.registry.hold().await;
    let asking = api.clone();
    let first = tokio::spawn(async move { post(&asking, KEYS, "\"1\"", &json!({})).await });
    api.world.registry.arrived(1).await;
    refused(&post(&api, KEYS, "\"1\"", &json!({})).await, 409, "conflict", &[]);
    refused(&post(&api, KEYS, "\"1\"", &json!({ "name": "example.com/x" })).await, 409, "conflict", &[]);
    let other = api.clone();
    let other = tokio::spawn(async move { post(&other, KEYS, "\"2\"", &json!({})).await });
    drop(held);
    let first = first.await.unwrap();
    assert_eq!((first.status.as_u16(), other.await.unwrap().status.as_u16()), (201, 201));
    replayed(&first, &post(&api, KEYS, "\"1\"", &json!({})).await);
}

#[tokio::test]
async fn one_of_twenty_concurrent_repeats_takes_effect() {
    let api = Arc::new(AdminApi::new().await);
    let all: Vec<_> = (0..20)
        .map(|_| {
            let api = api.clone();
            tokio::spawn(async move { post(&api, KEYS, "\"1\"", &json!({})).await })
        })
        .collect();
    let mut keys = Vec::new();
    for one in all {
        let answer = one.await.unwrap();
        match answer.status.as_u16() {
            201 => keys.push(answer.json()["key"].as_str().unwrap().to_owned()),
            409 => {}
            _ => panic!("{answer:?}"),
        }
    }
    assert!(!keys.is_empty() && keys.iter().all(|key| *key == keys[0]));
    assert_eq!(listed(&api.get(KEYS).await.json(), "id").len(), 2);
}

/// Stored responses are in the store and survive a restart.
#[tokio::test]
async fn stored_response_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    let mut answers = Vec::new();
    let mut token = String::new();
    for start in 0..2 {
        let world = ManagedRegistry::new();
        let store: Arc<dyn Registry> =
            Arc::new(Sqlite::open(&file, Arc::new(SystemClock::new())).await.unwrap());
        if start == 0 {
            let api = AdminApi::new().await;
            for change in api.world.memory.changes(0, u32::MAX).await.unwrap() {
                store.execute(vec![repeated(change.entity)], &change.actor).await.unwrap();
            }
            token = api.owner;
        }
        load(&*store, &world.directory).await.unwrap();
        let following = tokio::spawn(follow(store.clone(), world.directory.clone()));
        let mut surface = surface(&world);
        surface.registry = store;
        let server = Server::start(portcullis_surfaces::admin::router(surface)).await;
        let bearer = format!("Bearer {token}");
        let fields = [
            ("authorization", &*bearer),
            ("content-type", "application/json"),
            ("idempotency-key", "\"over a restart\""),
        ];
        let path = format!("/admin/v1{KEYS}");
        answers.push(server.send("POST", &path, &fields, Some(b"{\"name\":\"x\"}".to_vec())).await);
        let list = server.send("GET", &path, &fields[..1], None).await;
        assert_eq!(listed(&list.json(), "id").len(), 2);
        if start == 1 {
            let page = server.send("GET", "/admin/v1/changes?limit=1", &fields[..1], None).await;
            assert_eq!(page.json()["items"][0]["hash"].as_str().unwrap().len(), 64, "a file chains them");
        }
        following.abort();
    }
    assert_eq!(answers[0].status, 201, "{:?}", answers[0]);
    replayed(&answers[0], &answers[1]);
    // The file does not contain the key in clear.
    let key = answers[0].json()["key"].as_str().unwrap().to_owned();
    for name in ["store.db", "store.db-wal"] {
        let bytes = std::fs::read(folder.path().join(name)).unwrap_or_default();
        assert!(!bytes.windows(key.len()).any(|window| window == key.as_bytes()), "{name}");
    }
}

/// Returns the command that creates an equal entity.
fn repeated(entity: portcullis::model::Entity) -> portcullis::registry::Command {
    use portcullis::{model::Entity, registry::NewCaller};

    match entity {
        Entity::Tenant(it) => CreateTenant(it.into()).into(),
        Entity::Caller(it) => CreateCaller(NewCaller {
            id: it.id,
            tenant: it.tenant,
            name: it.name,
            kind: it.kind,
            plan: it.plan,
        })
        .into(),
        Entity::Credential(it) => CreateCredential { credential: it.into(), most: None }.into(),
        Entity::Plan(it) => PutPlan(it).into(),
        Entity::Lock(lock) => ReleaseLock { id: lock.id, token: LockToken::generate() }.into(),
        Entity::Grant(it) => PutGrant(it).into(),
        Entity::Quota(quota) => CreateQuota { quota, most: None }.into(),
        Entity::Throttle(throttle) => CreateThrottle { throttle, most: None }.into(),
    }
}
