//! Tests of the discue management API over a real socket: every response of the published contract.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../management/mod.rs"]
mod management;

mod clients;
mod keys;
mod openapi;
mod refusals;
mod revoked;
mod writes;

use std::sync::Arc;

use management::{Answer, ManagedRegistry, Server};
use portcullis::{
    model::{Caller, CallerKind, PlanId},
    registry::Registry,
};
use portcullis_surfaces::discue::{Discue, Operation, router};

/// The api client of the contract's example, and the owner of the key.
const ID: &str = "5bc2be68-7498-4853-aa64-4be0ca62934e";
/// Another api client of the organization.
const OTHER: &str = "MbCS6UB_m7NdvyDOE8stT";
const JSON: (&str, &str) = ("content-type", "application/json");

/// A server of the API with one organization and two api clients.
struct DiscueApi {
    world: ManagedRegistry,
    server: Server,
    key: String,
}

impl DiscueApi {
    async fn new() -> Self {
        Self::with(vec![], None).await
    }

    /// A server with disabled operations. With a quota, the caller has a plan that allows this many requests at once and
    /// per minute.
    async fn with(disabled_operations: Vec<Operation>, quota: Option<u32>) -> Self {
        let world = ManagedRegistry::new();
        world.tenant("org", None, 5).await;
        let plan: Option<PlanId> = match quota {
            Some(quota) => Some(world.plan("plan", quota, 60).await),
            None => None,
        };
        world.caller_on("org", ID, "example.com/old", CallerKind::ApiClient, plan).await;
        world.caller("org", OTHER, "example.com/other", CallerKind::ApiClient).await;
        let key = world.key("org", ID).await;
        let surface = Discue {
            registry: world.registry.clone(),
            directory: world.directory.clone(),
            clock: world.clock.clone(),
            base_url: "https://api.discue.io".into(),
            peer: Server::peer,
            lockout: Arc::default(),
            disabled_operations,
        };
        Self { server: Server::start(router(surface)).await, world, key }
    }

    async fn send(&self, method: &str, target: &str, fields: &[(&str, &str)], body: Option<&str>) -> Answer {
        let mut all = vec![("x-api-key", &*self.key)];
        all.extend(fields);
        self.server.send(method, target, &all, body.map(|body| body.as_bytes().to_vec())).await
    }

    async fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[], None).await
    }

    async fn put(&self, id: &str, body: &str) -> Answer {
        self.send("PUT", &format!("/api_clients/{id}"), &[JSON], Some(body)).await
    }

    async fn post(&self, body: &str) -> Answer {
        self.send("POST", "/api_clients", &[JSON], Some(body)).await
    }

    async fn stored(&self, id: &str) -> Caller {
        self.world.stored("org", id).await
    }
}

/// Returns the response for an api client in the contract's form.
fn document(id: &str, name: &str) -> String {
    format!(
        r#"{{"api_client":{{"id":"{id}","name":"{name}"}},"_links":{{"self":{{"href":"https://api.discue.io/api_clients/{id}"}}}}}}"#
    )
}

#[track_caller]
fn succeeded(answer: &Answer, id: &str, name: &str, revision: u64) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.text, document(id, name));
    assert_eq!(answer.field("content-type"), ["application/json; charset=utf-8"]);
    assert_eq!(answer.field("etag"), [format!("\"{revision}\"")]);
    assert_eq!(answer.field("vary"), ["accept"]);
}

/// Checks an error response: exactly the two members of the contract, and the headers of every error.
#[track_caller]
fn refused(answer: &Answer, status: u16, title: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.text, format!(r#"{{"title":"{title}","status":{status}}}"#));
    assert_eq!(answer.field("content-type"), ["application/json; charset=utf-8"]);
    assert_eq!(answer.field("content-length"), [answer.text.len().to_string()]);
    assert_eq!(answer.field("vary"), ["accept"]);
    assert!(answer.field("etag").is_empty());
}

const SEED_BODY: &str = r#"{
"id": "5bc2be68-7498-4853-aa64-4be0ca62934e",
"name": "example.com/dev"
}"#;

#[tokio::test]
async fn contract_example_gets_its_response() {
    for prefix in ["", "/v1"] {
        let api = DiscueApi::new().await;
        let target = format!("{prefix}/api_clients/{ID}");
        let fields = [JSON, ("accept", "application/json")];
        let answer = api.send("PUT", &target, &fields, Some(SEED_BODY)).await;
        succeeded(&answer, ID, "example.com/dev", 2);
        assert_eq!(api.stored(ID).await.name, "example.com/dev");
    }
}

#[tokio::test]
async fn pretty_parameter_indents_the_response() {
    let api = DiscueApi::new().await;
    for (query, pretty) in
        [("?pretty", true), ("?pretty=true", true), ("?pretty=false", false), ("?x=1", false)]
    {
        let answer = api.send("PUT", &format!("/api_clients/{ID}{query}"), &[JSON], Some(SEED_BODY)).await;
        let compact = document(ID, "example.com/dev");
        let expected = if pretty {
            [
                "{",
                "  \"api_client\": {",
                "    \"id\": \"5bc2be68-7498-4853-aa64-4be0ca62934e\",",
                "    \"name\": \"example.com/dev\"",
                "  },",
                "  \"_links\": {",
                "    \"self\": {",
                "      \"href\": \"https://api.discue.io/api_clients/5bc2be68-7498-4853-aa64-4be0ca62934e\"",
                "    }",
                "  }",
                "}",
            ]
            .join("\n")
        } else {
            compact.clone()
        };
        assert_eq!((answer.status.as_u16(), &answer.text), (200, &expected), "{query}");
        assert_eq!(answer.json(), serde_json::from_str::<serde_json::Value>(&compact).unwrap());
    }
}

#[tokio::test]
async fn empty_update_returns_the_current_state() {
    let api = DiscueApi::new().await;
    let target = format!("/api_clients/{ID}");
    succeeded(&api.send("PUT", &target, &[], None).await, ID, "example.com/old", 1);
    succeeded(&api.send("PUT", &target, &[("content-length", "0")], None).await, ID, "example.com/old", 1);
    for body in ["", "{}", " \r\n\t", r#"{"name":"example.com/old"}"#, &format!(r#"{{"id":"{ID}"}}"#)] {
        succeeded(&api.put(ID, body).await, ID, "example.com/old", 1);
    }
    assert_eq!(api.stored(ID).await.revision, 1);
}

#[tokio::test]
async fn stored_invalid_name_may_stay() {
    let api = DiscueApi::new().await;
    let id = "c0a80101-0000-4000-8000-000000000001";
    api.world.caller("org", id, "Made Elsewhere", CallerKind::ApiClient).await;
    succeeded(&api.put(id, r#"{"name":"Made Elsewhere"}"#).await, id, "Made Elsewhere", 1);
    refused(&api.put(id, r#"{"name":"Made elsewhere"}"#).await, 422, "Unprocessable Entity");
}

#[tokio::test]
async fn api_client_is_read_with_get_and_head() {
    let api = DiscueApi::new().await;
    for prefix in ["", "/v1"] {
        let target = format!("{prefix}/api_clients/{OTHER}");
        succeeded(&api.get(&target).await, OTHER, "example.com/other", 1);
        let head = api.send("HEAD", &target, &[], None).await;
        assert_eq!((head.status.as_u16(), &*head.text), (200, ""));
        assert_eq!(head.field("etag"), ["\"1\""]);
        assert_eq!(head.field("content-length"), [document(OTHER, "example.com/other").len().to_string()]);
    }
}

#[tokio::test]
async fn new_api_client_gets_a_default_id_and_name() {
    let api = DiscueApi::new().await;
    let answer = api.send("POST", "/v1/api_clients", &[], None).await;
    let id = answer.json()["api_client"]["id"].as_str().unwrap().to_owned();
    assert_eq!((id.len(), &id[14..15]), (36, "4"), "{id} is a version-4 UUID");
    succeeded(&answer, &id, &format!("api-client.{id}"), 1);
    assert_eq!(api.stored(&id).await.kind, CallerKind::ApiClient);

    let own = "_Tzrg1O3jk4_FZTAEThNq";
    let answer = api.post(&format!(r#"{{"name":"example.com/new","id":"{own}"}}"#)).await;
    succeeded(&answer, own, "example.com/new", 1);
    succeeded(&api.get(&format!("/api_clients/{own}")).await, own, "example.com/new", 1);

    let own = "c0a80101-0000-4000-8000-000000000002";
    let answer = api.post(&format!(r#"{{"id":"{own}"}}"#)).await;
    succeeded(&answer, own, &format!("api-client.{own}"), 1);
}

#[tokio::test]
async fn api_client_inherits_the_plan_of_its_creator() {
    let api = DiscueApi::with(vec![], Some(100)).await;
    let answer = api.post("{}").await;
    let id = answer.json()["api_client"]["id"].as_str().unwrap().to_owned();
    assert_eq!(api.stored(&id).await.plan, Some("plan".parse().unwrap()));
}

#[tokio::test]
async fn every_response_has_rate_limit_headers() {
    let api = DiscueApi::with(vec![], Some(3)).await;
    let epoch = api.world.now().as_second();
    let answers = [
        (api.get(&format!("/api_clients/{ID}")).await, 200, "2", 20),
        (api.get("/api_clients/none").await, 404, "1", 20),
    ];
    for (answer, status, remaining, reset) in answers {
        assert_eq!(answer.status, status);
        assert_eq!(answer.field("x-ratelimit-limit"), ["3"]);
        assert_eq!(answer.field("x-ratelimit-remaining"), [remaining]);
        assert_eq!(answer.field("x-ratelimit-reset"), [(epoch + reset).to_string()]);
        assert!(answer.field("ratelimit").is_empty() && answer.field("ratelimit-policy").is_empty());
    }
}

#[tokio::test]
async fn every_accept_header_that_covers_json_gets_json() {
    let api = DiscueApi::new().await;
    for accept in [
        "application/json",
        "application/json, text/plain, */*",
        "application/json; charset=utf-8",
        "application/*;q=0.1",
        "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
    ] {
        let answer = api.send("GET", &format!("/api_clients/{ID}"), &[("accept", accept)], None).await;
        succeeded(&answer, ID, "example.com/old", 1);
    }
    for content_type in ["application/json; charset=utf-8", "Application/JSON"] {
        let fields = [("content-type", content_type), ("content-encoding", "identity")];
        let answer = api.send("PUT", &format!("/api_clients/{ID}"), &fields, Some("{}")).await;
        succeeded(&answer, ID, "example.com/old", 1);
    }
}

#[tokio::test]
async fn undocumented_members_are_ignored_and_null_is_absent() {
    let api = DiscueApi::new().await;
    for body in [
        r#"{"name":null,"id":null}"#,
        r#"{"alias":"x","Name":7,"status":{"a":[null]},"status":1}"#,
        r#"{"x":null,"name":"example.com/old"}"#,
    ] {
        succeeded(&api.put(&format!("{ID}?x=1&x=2"), body).await, ID, "example.com/old", 1);
    }
    let made = api.post(r#"{"name":"example.com/new","id":null,"alias":"x"}"#).await;
    assert_eq!((made.status.as_u16(), &made.json()["api_client"]["name"]), (200, &"example.com/new".into()));
}

#[tokio::test]
async fn default_name_is_valid_for_every_id() {
    let api = DiscueApi::new().await;
    let id = "_Tzrg1O3jk4_FZTAEThNq";
    let made = api.post(&format!(r#"{{"id":"{id}"}}"#)).await;
    succeeded(&made, id, &format!("api-client.id/{id}"), 1);
    let again = api.put(id, &format!(r#"{{"name":"api-client.id/{id}"}}"#)).await;
    succeeded(&again, id, &format!("api-client.id/{id}"), 1);
}

#[tokio::test]
async fn error_is_indented_on_request() {
    let api = DiscueApi::with(vec![Operation::List], None).await;
    let stranger = [("x-api-key", "nobody's")];
    for (method, target, fields, body, status, title) in [
        ("GET", "/api_clients/none", &[][..], None, 404, "Not Found"),
        ("GET", "/v1/nothing", &[], None, 404, "Not Found"),
        ("PATCH", "/api_clients", &[], None, 405, "Method Not Allowed"),
        ("GET", "/api_clients", &[], None, 501, "Not Implemented"),
        ("POST", "/api_clients", &[JSON], Some("{"), 400, "Bad Request"),
        ("POST", "/api_clients", &[JSON], Some(r#"{"name":"x"}"#), 422, "Unprocessable Entity"),
        (
            "POST",
            "/api_clients",
            &[("content-type", "text/plain")],
            Some("{}"),
            415,
            "Unsupported Media Type",
        ),
        ("GET", "/api_keys", &[("accept", "text/html")], None, 406, "Not Acceptable"),
        ("GET", "/api_keys", &stranger, None, 400, "Bad Request"),
    ] {
        let compact = format!(r#"{{"title":"{title}","status":{status}}}"#);
        let pretty = format!("{{\n  \"title\": \"{title}\",\n  \"status\": {status}\n}}");
        for (query, expected) in
            [("", &compact), ("?pretty=false", &compact), ("?pretty=true", &pretty), ("?x&pretty", &pretty)]
        {
            let answer = api.send(method, &format!("{target}{query}"), fields, body).await;
            assert_eq!(
                (answer.status.as_u16(), &answer.text),
                (status, expected),
                "{method} {target}{query}"
            );
            assert_eq!(answer.field("content-length"), [expected.len().to_string()]);
            assert_eq!(answer.field("content-type"), ["application/json; charset=utf-8"]);
        }
    }
}

#[tokio::test]
async fn responses_must_not_be_cached() {
    let api = DiscueApi::new().await;
    for (method, target) in [
        ("GET", "/api_clients".to_owned()),
        ("GET", format!("/api_clients/{ID}")),
        ("HEAD", format!("/v1/api_clients/{ID}")),
        ("PUT", format!("/api_clients/{ID}")),
        ("GET", "/api_keys".into()),
        ("GET", "/api_clients/none".into()),
        ("PATCH", "/api_clients".into()),
        ("GET", "/nothing".into()),
    ] {
        let answer = api.send(method, &target, &[], None).await;
        assert_eq!(answer.field("cache-control"), ["no-store"], "{method} {target}");
    }
    let stranger = api.server.send("GET", "/api_keys", &[], None).await;
    assert_eq!((stranger.status.as_u16(), stranger.field("cache-control")), (401, vec!["no-store"]));
}
