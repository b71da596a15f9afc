//! Operations on api keys.

use portcullis::model::{Access, Credential, CredentialId, Scope, Scopes, Status};
use serde_json::{Value, json};

use super::*;

/// The alphabet of keys in the contract.
const ALPHABET: fn(char) -> bool = |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');

fn scope(resource: &str, access: Access, targets: Option<&[&str]>) -> Scope {
    let targets = targets.map(|ids| ids.iter().map(|id| (*id).into()).collect());
    Scope { resource: resource.into(), access, targets }
}

impl DiscueApi {
    /// Creates a key, and returns the key and its id.
    async fn make(&self, body: &str) -> (String, String) {
        let answer = self.send("POST", "/api_keys", &[JSON], Some(body)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let document = answer.json();
        let href = document["_links"]["self"]["href"].as_str().unwrap();
        let id = href.strip_prefix("https://api.discue.io/api_keys/").unwrap().to_owned();
        self.world.settle().await;
        (document["api_key"].as_str().unwrap().to_owned(), id)
    }

    async fn shown(&self, id: &str) -> Value {
        let answer = self.get(&format!("/api_keys/{id}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["api_key"].clone()
    }

    async fn with_key(&self, key: &str, method: &str, target: &str, body: Option<&str>) -> Answer {
        let body = body.map(|body| body.as_bytes().to_vec());
        let answer = self.server.send(method, target, &[("x-api-key", key), JSON], body).await;
        self.world.settle().await;
        answer
    }

    /// Creates a key of the api client with these scopes.
    async fn limited(&self, scopes: Vec<Scope>) -> String {
        self.world.key_with("org", ID, |key| key.scopes = Scopes::Listed(scopes)).await
    }

    async fn stored_key(&self, id: &str) -> Credential {
        let id: CredentialId = id.parse().unwrap();
        self.world.memory.credential(&"org".parse().unwrap(), &id).await.unwrap()
    }
}

#[tokio::test]
async fn new_key_is_shown_once_and_works() {
    for prefix in ["", "/v1"] {
        let api = DiscueApi::new().await;
        let answer = api.send("POST", &format!("{prefix}/api_keys"), &[JSON], Some("{}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.field("cache-control"), ["no-store"]);
        assert_eq!(answer.field("etag"), ["\"1\""]);
        let document = answer.json();
        let key = document["api_key"].as_str().unwrap();
        assert!(key.len() == 64 && key.chars().all(ALPHABET), "{key}");
        let href = document["_links"]["self"]["href"].as_str().unwrap();
        assert_eq!(document, json!({"api_key": key, "_links": {"self": {"href": href}}}));
        assert!(answer.text.starts_with("{\"api_key\":"));

        let id = href.strip_prefix("https://api.discue.io/api_keys/").unwrap();
        let read = api.get(&format!("{prefix}/api_keys/{id}")).await;
        assert_eq!(read.status, 200, "{read:?}");
        assert!(!read.text.contains(key));
        // The key has no protected scope, so the response is 403. An unknown key would get 401.
        api.world.settle().await;
        assert_eq!(api.with_key(key, "GET", "/api_keys", None).await.status, 403);
        let stored = api.stored_key(id).await;
        assert!(!format!("{stored:?}").contains(key));
    }
}

#[tokio::test]
async fn key_is_shown_as_documented() {
    let api = DiscueApi::new().await;
    let body = json!({"name": "ci", "status": "disabled", "scopes": [
        {"resource": "queues", "access": "read", "targets": "*"},
        {"resource": "events", "access": "write", "targets": ["*"]},
        {"resource": "messages", "access": "write", "targets": [OTHER, ID]},
    ]});
    let (key, id) = api.make(&body.to_string()).await;
    let shown = api.shown(&id).await;
    let now = api.world.now().as_millisecond();
    assert_eq!(
        shown,
        json!({
            "id": id, "name": "ci", "created_at": now, "updated_at": now, "last_used_at": null,
            "key": shown["key"], "status": "disabled", "scopes": [
                {"resource": "queues", "access": "read", "targets": "*"},
                {"resource": "events", "access": "write", "targets": "*"},
                {"resource": "messages", "access": "write", "targets": [OTHER, ID]},
            ],
        })
    );
    let short = shown["key"].as_str().unwrap();
    assert!(key.starts_with(short) && short.len() < 24, "{short}");

    let used = api.world.now();
    api.world.memory.record_last_used(&[(id.parse().unwrap(), used)]).await.unwrap();
    assert_eq!(api.shown(&id).await["last_used_at"], used.as_second() * 1000);
}

#[tokio::test]
async fn list_contains_only_the_keys_of_the_api_client() {
    let api = DiscueApi::new().await;
    let (_, first) = api.make("").await;
    let (_, second) = api.make(r#"{"name":"second"}"#).await;
    let theirs = api.world.key("org", OTHER).await;
    let answer = api.get("/api_keys?pretty").await;
    assert_eq!(answer.status, 200);
    assert!(answer.text.starts_with("{\n  \"api_keys\": ["));
    let document = answer.json();
    assert_eq!(document["_links"], json!({"self": {"href": "https://api.discue.io/api_keys"}}));
    let listed = document["api_keys"].as_array().unwrap();
    let ids: Vec<_> = listed.iter().map(|key| key["id"].as_str().unwrap()).collect();
    assert!(ids.is_sorted() && ids.len() == 3, "with the calling key: {ids:?}");
    assert!(ids.contains(&&*first) && ids.contains(&&*second));
    for key in listed {
        assert_eq!(*key, api.shown(key["id"].as_str().unwrap()).await);
    }
    // The other api client has its own key, and no access to these.
    let list = api.with_key(&theirs, "GET", "/api_keys", None).await.json();
    assert_eq!(list["api_keys"].as_array().unwrap().len(), 1);
    for (method, body) in [("GET", None), ("PUT", Some("{}")), ("DELETE", None)] {
        let answer = api.with_key(&theirs, method, &format!("/api_keys/{first}"), body).await;
        refused(&answer, 404, "Not Found");
    }
}

#[tokio::test]
async fn update_changes_named_members_and_replaces_scopes() {
    let api = DiscueApi::new().await;
    let (key, id) = api.make(r#"{"name":"old"}"#).await;
    let target = format!("/api_keys/{id}");
    let put = async |body: &str| api.send("PUT", &target, &[JSON], Some(body)).await;
    let answer = put(r#"{"scopes":[{"resource":"stats","access":"read","targets":["*"]}]}"#).await;
    assert_eq!((answer.status.as_u16(), answer.field("etag")), (200, vec!["\"2\""]), "{answer:?}");
    let shown = answer.json();
    assert_eq!(shown["api_key"], api.shown(&id).await);
    assert_eq!(shown["api_key"]["name"], "old");
    assert_eq!(shown["api_key"]["scopes"].as_array().unwrap().len(), 1);
    assert_eq!(shown["_links"]["self"]["href"], format!("https://api.discue.io{target}"));

    assert_eq!(put(r#"{"name":"new","status":"disabled"}"#).await.json()["api_key"]["status"], "disabled");
    api.world.settle().await;
    let disabled = api.with_key(&key, "GET", "/nothing", None).await;
    refused(&disabled, 403, "Forbidden");
    assert_eq!(api.stored_key(&id).await.name, "new");
    // An update without members changes nothing.
    let nothing = api.send("PUT", &target, &[("content-length", "0")], None).await;
    assert_eq!(nothing.field("etag"), ["\"3\""]);

    let stale = api.send("PUT", &target, &[JSON, ("if-match", "\"2\"")], Some(r#"{"name":"x"}"#)).await;
    refused(&stale, 409, "Conflict");
    let stale = api.send("DELETE", &target, &[("if-match", "\"2\"")], None).await;
    refused(&stale, 409, "Conflict");
    assert_eq!(api.stored_key(&id).await.revision, 3);
}

#[tokio::test]
async fn deleted_key_is_denied_and_its_response_has_links_only() {
    let api = DiscueApi::new().await;
    let (key, id) = api.make("{}").await;
    let target = format!("/api_keys/{id}");
    let answer = api.send("DELETE", &target, &[], None).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.json(),
        json!({"_links": {"self": {"href": format!("https://api.discue.io{target}")}}})
    );
    api.world.settle().await;
    refused(&api.with_key(&key, "GET", "/api_keys", None).await, 401, "Unauthorized");
    for (method, body) in [("GET", None), ("PUT", Some("{}")), ("DELETE", None)] {
        refused(&api.send(method, &target, &[JSON], body).await, 404, "Not Found");
    }
    // An api client can also delete the calling key.
    let list = api.get("/api_keys").await.json();
    let own = list["api_keys"][0]["id"].as_str().unwrap();
    assert_eq!(api.send("DELETE", &format!("/api_keys/{own}"), &[], None).await.status, 200);
    api.world.settle().await;
    refused(&api.get("/api_keys").await, 401, "Unauthorized");
}

#[tokio::test]
async fn invalid_key_is_rejected_and_not_created() {
    let api = DiscueApi::new().await;
    let (_, id) = api.make("{}").await;
    let long = "x".repeat(65);
    let scopes = |text: &str| format!(r#"{{"scopes":[{text}]}}"#);
    for (body, status, title) in [
        ("[]".into(), 400, "Bad Request"),
        ("nul".into(), 400, "Bad Request"),
        (r#"{"name":1}"#.into(), 400, "Bad Request"),
        (r#"{"name":"x","name":"y"}"#.into(), 400, "Bad Request"),
        (r#"{"status":"on"}"#.into(), 400, "Bad Request"),
        (r#"{"status":true}"#.into(), 400, "Bad Request"),
        (r#"{"scopes":{}}"#.into(), 400, "Bad Request"),
        (scopes("1"), 400, "Bad Request"),
        (scopes(r#"["queues","read","*"]"#), 400, "Bad Request"),
        (scopes(r#"{"resource":"queues","access":{"read":null},"targets":"*"}"#), 400, "Bad Request"),
        (r#"{"status":{"enabled":null}}"#.into(), 400, "Bad Request"),
        (scopes(r#"{"resource":"queues","access":"read"}"#), 400, "Bad Request"),
        (scopes(r#"{"resource":"queues","access":"admin","targets":"*"}"#), 400, "Bad Request"),
        (scopes(r#"{"resource":"queues","access":"read","targets":7}"#), 400, "Bad Request"),
        (r#"{"name":""}"#.into(), 422, "Unprocessable Entity"),
        (r#"{"name":"a\nb"}"#.into(), 422, "Unprocessable Entity"),
        (r#"{"name":"a\u202eb"}"#.into(), 422, "Unprocessable Entity"),
        (r#"{"name":"a\u200bb"}"#.into(), 422, "Unprocessable Entity"),
        (format!(r#"{{"name":"{long}"}}"#), 422, "Unprocessable Entity"),
        (scopes(r#"{"resource":"api_keys","access":"read","targets":"*"}"#), 422, "Unprocessable Entity"),
        (scopes(r#"{"resource":"api_clients","access":"read","targets":"*"}"#), 422, "Unprocessable Entity"),
        (
            scopes(r#"{"resource":"subscriptions","access":"read","targets":"*"}"#),
            422,
            "Unprocessable Entity",
        ),
        (scopes(r#"{"resource":"topics","access":"read","targets":"*"}"#), 422, "Unprocessable Entity"),
        (scopes(r#"{"resource":"queues","access":"read","targets":[]}"#), 422, "Unprocessable Entity"),
        (scopes(r#"{"resource":"queues","access":"read","targets":"all"}"#), 422, "Unprocessable Entity"),
        (scopes(r#"{"resource":"queues","access":"read","targets":["*","x"]}"#), 422, "Unprocessable Entity"),
    ] {
        for (method, target) in [("POST", "/api_keys".to_owned()), ("PUT", format!("/api_keys/{id}"))] {
            let answer = api.send(method, &target, &[JSON], Some(&body)).await;
            assert_eq!(answer.status, status, "{method} {body}: {answer:?}");
            refused(&answer, status, title);
        }
    }
    let list = api.get("/api_keys").await.json();
    assert_eq!(list["api_keys"].as_array().unwrap().len(), 2);
    assert_eq!(api.stored_key(&id).await.revision, 1);
}

#[tokio::test]
async fn key_cannot_grant_more_than_it_has() {
    let api = DiscueApi::new().await;
    let own = vec![
        scope("api_keys", Access::Write, None),
        scope("queues", Access::Read, None),
        scope("messages", Access::Write, Some(&[OTHER])),
    ];
    let maker = api.limited(own.clone()).await;
    let (_, id) = api.make(r#"{"name":"made by another"}"#).await;
    for (wanted, may) in [
        (r#"{"resource":"queues","access":"read","targets":"*"}"#.to_owned(), true),
        (format!(r#"{{"resource":"queues","access":"read","targets":["{ID}"]}}"#), true),
        (format!(r#"{{"resource":"messages","access":"read","targets":["{OTHER}"]}}"#), true),
        (r#"{"resource":"queues","access":"write","targets":"*"}"#.to_owned(), false),
        (r#"{"resource":"messages","access":"read","targets":"*"}"#.to_owned(), false),
        (format!(r#"{{"resource":"messages","access":"write","targets":["{OTHER}","{ID}"]}}"#), false),
        (r#"{"resource":"events","access":"read","targets":"*"}"#.to_owned(), false),
    ] {
        let body = format!(r#"{{"scopes":[{wanted}]}}"#);
        for (method, target) in [("POST", "/api_keys".to_owned()), ("PUT", format!("/api_keys/{id}"))] {
            let answer = api.with_key(&maker, method, &target, Some(&body)).await;
            assert_eq!(answer.status, if may { 200 } else { 403 }, "{method} {body}: {answer:?}");
        }
    }
    // Without `scopes`, the new key has all scopes of the calling key that it may grant.
    let answer = api.with_key(&maker, "POST", "/api_keys", Some("{}")).await.json();
    let href = answer["_links"]["self"]["href"].as_str().unwrap();
    let made = api.stored_key(href.rsplit('/').next().unwrap()).await;
    assert_eq!(made.scopes, Scopes::Listed(own[1..].to_vec()));
}

#[tokio::test]
async fn expiring_key_cannot_create_a_longer_lived_one() {
    let api = DiscueApi::new().await;
    let end = api.world.now() + std::time::Duration::from_secs(60);
    let maker = api.world.key_with("org", ID, |key| key.not_after = Some(end)).await;
    let answer = api.with_key(&maker, "POST", "/api_keys", Some("{}")).await.json();
    let made = answer["api_key"].as_str().unwrap();
    api.world.clock.advance(std::time::Duration::from_secs(59));
    assert_eq!(api.with_key(made, "GET", "/api_keys", None).await.status, 403);
    api.world.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(api.with_key(made, "GET", "/api_keys", None).await.status, 401);
}

#[tokio::test]
async fn scopes_decide_which_keys_are_visible_and_changeable() {
    let api = DiscueApi::new().await;
    let (_, first) = api.make("{}").await;
    let (_, second) = api.make("{}").await;
    let reader = api.limited(vec![scope("api_keys", Access::Read, Some(&[&first]))]).await;
    let list = api.with_key(&reader, "GET", "/api_keys", None).await.json();
    assert_eq!(list["api_keys"].as_array().unwrap().len(), 1);
    assert_eq!(list["api_keys"][0]["id"], *first);
    for (method, target, body, status) in [
        ("GET", format!("/api_keys/{first}"), None, 200),
        ("GET", format!("/api_keys/{second}"), None, 403),
        ("PUT", format!("/api_keys/{first}"), Some("{}"), 403),
        ("DELETE", format!("/api_keys/{first}"), None, 403),
        ("POST", "/api_keys".into(), Some("{}"), 403),
        ("GET", format!("/api_clients/{ID}"), None, 403),
        ("GET", "/api_clients".into(), None, 403),
    ] {
        let answer = api.with_key(&reader, method, &target, body).await;
        assert_eq!(answer.status, status, "{method} {target}: {answer:?}");
    }
    let writer = api.limited(vec![scope("api_keys", Access::Write, Some(&[&first]))]).await;
    let answer = api.with_key(&writer, "POST", "/api_keys", Some("{}")).await;
    refused(&answer, 403, "Forbidden");
    let answer = api.with_key(&writer, "DELETE", &format!("/api_keys/{first}"), None).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn lapsed_subscription_may_read_and_revoke() {
    let api = DiscueApi::new().await;
    let (_, id) = api.make("{}").await;
    api.world.lapse("org").await;
    assert_eq!(api.shown(&id).await["status"], "enabled");
    refused(&api.send("POST", "/api_keys", &[JSON], Some("{}")).await, 402, "Payment Required");
    let put = api.send("PUT", &format!("/api_keys/{id}"), &[JSON], Some(r#"{"name":"x"}"#)).await;
    refused(&put, 402, "Payment Required");
    assert_eq!(api.send("DELETE", &format!("/api_keys/{id}"), &[], None).await.status, 200);
}

#[tokio::test]
async fn api_client_has_at_most_a_hundred_keys() {
    let api = DiscueApi::new().await;
    for _ in 1..100 {
        assert_eq!(api.send("POST", "/api_keys", &[], None).await.status, 200);
    }
    refused(&api.send("POST", "/api_keys", &[], None).await, 402, "Payment Required");
}

/// The requests and expectations of the vendor's own client, where it uses this form of the contract.
#[tokio::test]
async fn responses_suit_the_vendor_client() {
    let api = DiscueApi::new().await;
    // The path has no version. An absent status means enabled.
    let (_, id) = api.make(r#"{"name":"my-key.1_x"}"#).await;
    let made = api.shown(&id).await;
    assert_eq!((&made["status"], &made["name"]), (&json!("enabled"), &json!("my-key.1_x")));
    assert_eq!(made["id"], *id);
    // The response to an update has the entity, the response to a deletion has none.
    let put = api.send("PUT", &format!("/api_keys/{id}"), &[JSON], Some(r#"{"status":"disabled"}"#)).await;
    assert_eq!((put.status.as_u16(), &put.json()["api_key"]["id"]), (200, &json!(id)));
    let gone = api.send("DELETE", &format!("/api_keys/{id}"), &[], None).await;
    assert_eq!((gone.status.as_u16(), gone.json()["api_key"].is_null()), (200, true));
    assert!(gone.json()["_links"].is_object());
    assert_eq!(api.kept_status(&id).await, None);
}

impl DiscueApi {
    async fn kept_status(&self, id: &str) -> Option<Status> {
        let id = id.parse().unwrap();
        self.world.memory.credential(&"org".parse().unwrap(), &id).await.ok().map(|key| key.status)
    }
}

#[tokio::test]
async fn undocumented_members_are_ignored_and_null_is_absent() {
    let api = DiscueApi::new().await;
    let (_, id) = api.make(r#"{"name":"ci"}"#).await;
    for body in [
        r#"{"name":null,"status":null,"scopes":null}"#,
        r#"{"alias":"x","name":"ci","expires":{"a":[null]},"expires":1}"#,
        r#"{"status":"enabled","Name":7}"#,
        "{}",
    ] {
        let answer = api.send("PUT", &format!("/api_keys/{id}?x=1&x=2"), &[JSON], Some(body)).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["api_key"]["name"]),
            (200, &"ci".into()),
            "{body}"
        );
    }
    let scope = r#"{"scopes":[{"resource":"queues","access":"read","targets":"*","x":null}],"y":1}"#;
    let answer = api.send("PUT", &format!("/api_keys/{id}"), &[JSON], Some(scope)).await;
    assert_eq!(answer.json()["api_key"]["scopes"][0]["resource"], "queues", "{}", answer.text);
}
