//! Lists of api clients, and their deletion.

use portcullis::registry::RegistryExt;
use serde_json::json;

use super::*;

#[tokio::test]
async fn api_clients_are_listed_in_order_of_their_ids() {
    let api = DiscueApi::new().await;
    api.world.tenant("elsewhere", None, 5).await;
    api.world.caller("elsewhere", "4f0dbb90-0000-4000-8000-000000000000", "x.y", CallerKind::ApiClient).await;
    api.world.caller("org", "operator", "Operator", CallerKind::Operator).await;
    for prefix in ["", "/v1"] {
        let answer = api.get(&format!("{prefix}/api_clients")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(
            answer.text,
            format!(
                r#"{{"api_clients":[{{"id":"{ID}","name":"example.com/old"}},{{"id":"{OTHER}","name":"example.com/other"}}],"_links":{{"self":{{"href":"https://api.discue.io/api_clients"}}}}}}"#
            )
        );
        assert!(answer.field("etag").is_empty());
    }
    // Every listed api client can be read, whatever form its id has.
    api.world.caller("org", "zz", "example.com/zz", CallerKind::ApiClient).await;
    assert_eq!(api.get("/api_clients").await.json()["api_clients"][2]["id"], "zz");
    assert_eq!(api.get("/api_clients/zz").await.status, 200);
    let only = portcullis::model::Scope {
        resource: "api_clients".into(),
        access: portcullis::model::Access::Read,
        targets: Some(vec![OTHER.into()]),
    };
    let scopes = portcullis::model::Scopes::Listed(vec![only]);
    let key = api.world.key_with("org", ID, |key| key.scopes = scopes).await;
    let answer = api.server.send("GET", "/api_clients", &[("x-api-key", &key)], None).await;
    assert_eq!(answer.json()["api_clients"], json!([{"id": OTHER, "name": "example.com/other"}]));
}

#[tokio::test]
async fn deleted_api_client_loses_its_keys() {
    let api = DiscueApi::new().await;
    let theirs = api.world.key("org", OTHER).await;
    let target = format!("/api_clients/{OTHER}");
    let stale = api.send("DELETE", &target, &[("if-match", "\"7\"")], None).await;
    refused(&stale, 409, "Conflict");
    let answer = api.send("DELETE", &target, &[("if-match", "\"1\"")], None).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text, format!(r#"{{"_links":{{"self":{{"href":"https://api.discue.io{target}"}}}}}}"#));
    api.world.settle().await;
    refused(&api.get(&target).await, 404, "Not Found");
    refused(&api.send("DELETE", &target, &[], None).await, 404, "Not Found");
    let answer = api.server.send("GET", "/api_clients", &[("x-api-key", &theirs)], None).await;
    refused(&answer, 401, "Unauthorized");
    assert_eq!(api.get("/api_clients").await.json()["api_clients"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn locked_api_client_is_not_deleted() {
    let api = DiscueApi::new().await;
    let target = portcullis::model::LockTarget::Caller(OTHER.parse().unwrap());
    let held = std::time::Duration::from_secs(60);
    api.world.lock(target, portcullis::model::LockedRequests::Writes, held).await;
    let answer = api.send("DELETE", &format!("/api_clients/{OTHER}"), &[], None).await;
    refused(&answer, 423, "Locked");
    assert_eq!(answer.field("retry-after"), ["60"]);
}

#[tokio::test]
async fn guessing_address_is_locked_out_unless_its_key_is_valid() {
    let api = DiscueApi::new().await;
    let (guesser, target) = (api.server.at("127.0.0.2"), format!("/api_clients/{ID}"));
    for _ in 0..10 {
        let answer = guesser.send("GET", &target, &[("x-api-key", "guess")], None).await;
        refused(&answer, 401, "Unauthorized");
    }
    let right = [("x-api-key", &*api.key)];
    let wrong = [("x-api-key", "guess")];
    let answer = guesser.send("GET", &target, &wrong, None).await;
    refused(&answer, 403, "Forbidden");
    assert_eq!(answer.field("retry-after"), ["60"]);
    assert_eq!(guesser.send("GET", &target, &right, None).await.status, 200);
    assert_eq!(api.server.send("GET", &target, &wrong, None).await.status, 401);
    api.world.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(guesser.send("GET", &target, &wrong, None).await.status, 401);
}

/// Each organization has its own ids. No response reveals that another organization uses an id.
#[tokio::test]
async fn id_of_another_organization_is_free() {
    let api = DiscueApi::new().await;
    api.world.tenant("elsewhere", None, 5).await;
    let operator = "c0a80101-0000-4000-8000-000000000003";
    let theirs =
        [("4f0dbb90-0000-4000-8000-000000000000", CallerKind::ApiClient), (operator, CallerKind::Operator)];
    for (id, kind) in theirs {
        api.world.caller("elsewhere", id, id, kind).await;
        let before = api.world.stored("elsewhere", id).await;
        let body = format!(r#"{{"id":"{id}"}}"#);
        let made = api.post(&body).await;
        succeeded(&made, id, &format!("api-client.{id}"), 1);
        refused(&api.post(&body).await, 409, "Conflict");
        api.world.settle().await;
        let target = format!("/api_clients/{id}");
        succeeded(&api.get(&target).await, id, &format!("api-client.{id}"), 1);
        let listed = api.get("/api_clients").await.json();
        let ids = listed["api_clients"].as_array().unwrap();
        assert_eq!(ids.iter().filter(|client| client["id"] == id).count(), 1, "{listed}");
        succeeded(&api.put(id, r#"{"name":"example.com/mine"}"#).await, id, "example.com/mine", 2);
        assert_eq!(api.world.stored("elsewhere", id).await, before, "the other is unchanged");

        // Deleting the other api client changes nothing, and the api client has no second id.
        let memory = &api.world.memory;
        memory.delete_caller(&before.tenant, &before.id, None, &crate::management::actor()).await.unwrap();
        refused(&api.post(&body).await, 409, "Conflict");
        succeeded(&api.get(&target).await, id, "example.com/mine", 2);
        let mine = portcullis::registry::CallerFilter {
            tenant: Some("org".parse().unwrap()),
            name: Some("example.com/mine".into()),
            limit: 1,
            ..Default::default()
        };
        let stored = memory.callers(&mine).await.unwrap().remove(0).id;
        assert_ne!(stored.as_str(), id, "upstreams see different ids");
        refused(&api.get(&format!("/api_clients/{stored}")).await, 404, "Not Found");
        let answer = api.send("DELETE", &target, &[], None).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        refused(&api.get(&target).await, 404, "Not Found");
        succeeded(&api.post(&body).await, id, &format!("api-client.{id}"), 1);
    }
}
