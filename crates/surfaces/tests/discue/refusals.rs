//! Every error of the contract, each caused by a request.

use std::time::Duration;

use portcullis::{
    model::{Access, CallerKind, LockTarget, LockedRequests, Scope, Scopes, Status},
    registry::{RegistryError, RegistryExt},
};
use portcullis_surfaces::discue::Operation;

use super::{DiscueApi, ID, JSON, OTHER, refused, succeeded};
use crate::management::actor;

#[tokio::test]
async fn malformed_body_is_400() {
    let api = DiscueApi::new().await;
    let deep = format!(r#"{{"name":{}"#, "[".repeat(30_000));
    let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(64 * 1024));
    for body in [
        "not json",
        "{",
        "{}{}",
        r#"{"name":"example.com/dev",}"#,
        "[object Object]",
        "null",
        "[]",
        r#"["example.com/dev"]"#,
        r#""example.com/dev""#,
        r#"{"name":1}"#,
        r#"{"name":["example.com/dev"]}"#,
        r#"{"name":{"$ne":""}}"#,
        r#"{"name":"example.com/a","name":"example.com/b"}"#,
        r#"{"name":"example.com/a","n\u0061me":"example.com/b"}"#,
        r#"{"name":"\ud800"}"#,
        r#"{"name":"\udc00\ud800"}"#,
        "\u{feff}{}",
        &deep,
        &long,
    ] {
        refused(&api.put(ID, body).await, 400, "Bad Request");
        refused(&api.post(body).await, 400, "Bad Request");
    }
    assert_eq!(api.stored(ID).await.revision, 1);
}

#[tokio::test]
async fn body_that_is_not_utf_8_is_400() {
    let api = DiscueApi::new().await;
    for body in [&b"{\"name\":\"example.com/\xff\"}"[..], b"\xff\xfe{\0}\0", b"{\"name\":\"\xed\xa0\x80\"}"] {
        let fields = [("x-api-key", &*api.key), JSON];
        let target = format!("/api_clients/{ID}");
        refused(&api.server.send("PUT", &target, &fields, Some(body.to_vec())).await, 400, "Bad Request");
    }
}

#[tokio::test]
async fn body_over_64_kibibytes_is_400() {
    let api = DiscueApi::new().await;
    let exactly = format!("{{{}}}", " ".repeat(64 * 1024 - 2));
    succeeded(&api.put(ID, &exactly).await, ID, "example.com/old", 1);
    refused(&api.put(ID, &format!("{exactly} ")).await, 400, "Bad Request");
    refused(&api.put(ID, &" ".repeat(10 * 1024 * 1024)).await, 400, "Bad Request");
}

#[tokio::test]
async fn ambiguous_request_is_400() {
    let api = DiscueApi::new().await;
    let target = format!("/api_clients/{ID}");
    for query in ["?pretty=", "?pretty=1", "?pretty=yes", "?pretty&pretty=false"] {
        refused(&api.get(&format!("{target}{query}")).await, 400, "Bad Request");
        refused(&api.put(&format!("{ID}{query}"), r#"{"name":"example.com/x"}"#).await, 400, "Bad Request");
    }
    assert_eq!(api.stored(ID).await.revision, 1);
    let two_keys = api.send("GET", &target, &[("x-api-key", &api.key)], None).await;
    refused(&two_keys, 400, "Bad Request");
    let two_types = api.send("PUT", &target, &[JSON, ("content-type", "text/plain")], Some("{}")).await;
    refused(&two_types, 400, "Bad Request");
}

#[tokio::test]
async fn missing_wrong_or_expired_key_is_401() {
    let api = DiscueApi::new().await;
    let expired = api.world.key_with("org", ID, |key| key.not_after = Some(api.world.now())).await;
    let other = if api.key.ends_with('x') { 'y' } else { 'x' };
    let mistyped = format!("{}{other}", &api.key[..api.key.len() - 1]);
    let foreign = portcullis::model::GeneratedKey::generate(&portcullis::model::KeyPrefix::default());
    let bearer = format!("Bearer {}", api.key);
    for fields in [
        &[][..],
        &[("x-api-key", "")],
        &[("x-api-key", "API_KEY")],
        &[("x-api-key", &mistyped)],
        &[("x-api-key", foreign.expose())],
        &[("x-api-key", &expired)],
        &[("authorization", &bearer)],
        &[("x-auth-token", &api.key)],
    ] {
        // Each request has its own address, so that none of them causes a lockout.
        let targets = ["/api_clients/none", &format!("/v1/api_clients/{ID}"), "/nothing/here", "/api_keys"];
        for (at, target) in targets.into_iter().enumerate() {
            let server = api.server.at(&format!("127.0.0.{}", at + 2));
            let answer = server.send("GET", target, fields, None).await;
            refused(&answer, 401, "Unauthorized");
            assert_eq!(answer.field("www-authenticate"), [r#"ApiKey realm="discue", header="x-api-key""#]);
        }
    }
}

#[tokio::test]
async fn lapsed_subscription_is_read_only() {
    let api = DiscueApi::new().await;
    api.world.lapse("org").await;
    succeeded(&api.get(&format!("/api_clients/{ID}")).await, ID, "example.com/old", 1);
    refused(&api.put(ID, r#"{"name":"example.com/x"}"#).await, 402, "Payment Required");
    refused(&api.post("{}").await, 402, "Payment Required");
    assert_eq!(api.stored(ID).await.revision, 1);
}

#[tokio::test]
async fn api_client_over_the_subscription_limit_is_402() {
    let api = DiscueApi::new().await;
    for _ in 2..5 {
        assert_eq!(api.post("{}").await.status, 200);
    }
    refused(&api.post("{}").await, 402, "Payment Required");
}

#[tokio::test]
async fn caller_without_permission_is_403() {
    let api = DiscueApi::new().await;
    let (world, target) = (&api.world, format!("/api_clients/{ID}"));
    let disabled = world.key_with("org", ID, |key| key.status = Status::Disabled).await;
    world.caller("org", "operator", "operator", CallerKind::Operator).await;
    let operator = world.key("org", "operator").await;
    let nothing = world.key_with("org", ID, |key| key.scopes = Scopes::Listed(vec![])).await;
    let listed = |resource: &str, access, targets: Option<&str>| {
        let targets = targets.map(|id| vec![id.into()]);
        Scopes::Listed(vec![Scope { resource: resource.into(), access, targets }])
    };
    let queues = listed("queues", Access::Write, None);
    let elsewhere = world.key_with("org", ID, |key| key.scopes = queues).await;
    let other = listed("api_clients", Access::Write, Some(OTHER));
    let confined = world.key_with("org", ID, |key| key.scopes = other).await;
    let reader = listed("api_clients", Access::Read, None);
    let reader = world.key_with("org", ID, |key| key.scopes = reader).await;
    for key in [&disabled, &operator, &nothing, &elsewhere, &confined] {
        refused(&api.server.send("GET", &target, &[("x-api-key", key)], None).await, 403, "Forbidden");
    }
    for key in [&disabled, &operator, &nothing, &elsewhere, &confined, &reader] {
        refused(&api.server.send("PUT", &target, &[("x-api-key", key)], None).await, 403, "Forbidden");
        refused(
            &api.server.send("POST", "/api_clients", &[("x-api-key", key)], None).await,
            403,
            "Forbidden",
        );
    }
    let answer = api.server.send("GET", &target, &[("x-api-key", &reader)], None).await;
    succeeded(&answer, ID, "example.com/old", 1);
    let answer =
        api.server.send("PUT", &format!("/api_clients/{OTHER}"), &[("x-api-key", &confined)], None).await;
    succeeded(&answer, OTHER, "example.com/other", 1);
}

#[tokio::test]
async fn missing_and_foreign_resources_look_the_same() {
    let api = DiscueApi::new().await;
    let (theirs, operator) = ("c0a80101-0000-4000-8000-00000000000a", "c0a80101-0000-4000-8000-00000000000b");
    api.world.tenant("another", None, 5).await;
    api.world.caller("another", theirs, "example.com/theirs", CallerKind::ApiClient).await;
    api.world.caller("org", operator, "operator", CallerKind::Operator).await;
    let encoded = format!("%35{}", &ID[1..]);
    let upper = ID.to_uppercase();
    let ids =
        ["c0a80101-0000-4000-8000-00000000000c", theirs, operator, "none", &encoded, &upper, "..", "%2e"];
    for id in ids {
        for prefix in ["", "/v1"] {
            refused(&api.get(&format!("{prefix}/api_clients/{id}")).await, 404, "Not Found");
        }
        refused(&api.put(id, r#"{"name":"example.com/mine"}"#).await, 404, "Not Found");
    }
    for path in
        ["/", "/v1", "/v2/api_clients", "/v1/v1/api_clients", "/api_clients/", "/queues", "//api_clients"]
    {
        refused(&api.get(path).await, 404, "Not Found");
    }
    assert_eq!(api.world.stored("another", theirs).await.revision, 1);
}

#[tokio::test]
async fn unsupported_method_is_405_and_lists_methods() {
    let api = DiscueApi::new().await;
    let one = format!("/api_clients/{ID}");
    for (method, target, allow) in [
        ("POST", &*one, "GET, HEAD, PUT, DELETE"),
        ("PATCH", &one, "GET, HEAD, PUT, DELETE"),
        ("OPTIONS", &one, "GET, HEAD, PUT, DELETE"),
        ("POST", &format!("/api_keys/{ID}"), "GET, HEAD, PUT, DELETE"),
        ("DELETE", "/api_clients", "GET, HEAD, POST"),
        ("PUT", "/v1/api_clients", "GET, HEAD, POST"),
        ("PATCH", "/api_keys", "GET, HEAD, POST"),
    ] {
        let answer = api.send(method, target, &[], None).await;
        refused(&answer, 405, "Method Not Allowed");
        assert_eq!(answer.field("allow"), [allow], "{method} {target}");
    }
}

#[tokio::test]
async fn request_that_does_not_accept_json_is_406() {
    let api = DiscueApi::new().await;
    for accept in ["text/html", "application/json;q=0", "application/xml, text/*", "application/problem+json"]
    {
        let fields = [("accept", accept), JSON];
        let answer = api.send("PUT", &format!("/api_clients/{ID}"), &fields, Some(super::SEED_BODY)).await;
        refused(&answer, 406, "Not Acceptable");
    }
    assert_eq!(api.stored(ID).await.revision, 1);
}

#[tokio::test]
async fn contradicting_ids_are_409() {
    let api = DiscueApi::new().await;
    refused(&api.put(ID, &format!(r#"{{"id":"{OTHER}"}}"#)).await, 409, "Conflict");
    refused(&api.post(&format!(r#"{{"id":"{OTHER}"}}"#)).await, 409, "Conflict");
}

#[tokio::test]
async fn content_other_than_json_is_415_and_lists_types() {
    let api = DiscueApi::new().await;
    let one = format!("/api_clients/{ID}");
    for fields in
        [&[][..], &[("content-type", "text/plain")], &[("content-type", "application/json, text/plain")]]
    {
        let answer = api.send("PUT", &one, fields, Some("{}")).await;
        refused(&answer, 415, "Unsupported Media Type");
        assert_eq!(answer.field("accept"), ["application/json"]);
        assert!(answer.field("accept-post").is_empty() && answer.field("accept-encoding").is_empty());
        let answer = api.send("POST", "/api_clients", fields, Some("{}")).await;
        refused(&answer, 415, "Unsupported Media Type");
        assert_eq!(answer.field("accept-post"), ["application/json"]);
    }
    for coding in ["gzip", "identity, br"] {
        let answer = api.send("PUT", &one, &[JSON, ("content-encoding", coding)], Some("{}")).await;
        refused(&answer, 415, "Unsupported Media Type");
        assert_eq!(answer.field("accept-encoding"), ["identity"]);
        assert!(answer.field("accept").is_empty());
    }
}

#[tokio::test]
async fn duplicate_or_invalid_name_is_422() {
    let api = DiscueApi::new().await;
    let long = format!(r#"{{"name":"a.{}"}}"#, "b".repeat(252));
    for body in [
        r#"{"name":"example.com/other"}"#,
        r#"{"name":""}"#,
        r#"{"name":"app_001"}"#,
        r#"{"name":"Example.com"}"#,
        r#"{"name":"example.com/"}"#,
        r#"{"name":"example.com/\u0000"}"#,
        r#"{"name":"example.com/dev\n"}"#,
        r#"{"name":"ex\u00e4mple.com"}"#,
        r#"{"id":"none"}"#,
        r#"{"id":"5BC2BE68-7498-4853-AA64-4BE0CA62934E"}"#,
        &long,
    ] {
        refused(&api.put(ID, body).await, 422, "Unprocessable Entity");
        refused(&api.post(body).await, 422, "Unprocessable Entity");
    }
    assert_eq!(api.stored(ID).await.revision, 1);
}

#[tokio::test]
async fn locked_api_client_is_423_until_the_lock_ends() {
    let api = DiscueApi::new().await;
    let minute = Duration::from_millis(59_500);
    let caller = |id: &str| LockTarget::Caller(id.parse().unwrap());
    let path = |path: &str| LockTarget::Resource(path.parse().unwrap());
    for target in [caller(ID), caller(OTHER), path(&format!("/api_clients/{OTHER}")), path("/api_clients")] {
        let lock = api.world.lock(target.clone(), LockedRequests::Writes, minute).await;
        for prefix in ["", "/v1"] {
            let one = format!("{prefix}/api_clients/{OTHER}");
            assert_eq!(api.get(&one).await.status, 200, "{target:?}");
            let answer = api.send("PUT", &one, &[JSON], Some("{}")).await;
            refused(&answer, 423, "Locked");
            assert_eq!(answer.field("retry-after"), ["60"], "{target:?}");
        }
        api.world.memory.break_lock(&lock, &actor()).await.unwrap();
        api.world.settle().await;
        succeeded(&api.put(OTHER, "{}").await, OTHER, "example.com/other", 1);
    }
    api.world.lock(caller(OTHER), LockedRequests::All, minute).await;
    api.world.clock.advance(Duration::from_secs(60));
    succeeded(&api.put(OTHER, "{}").await, OTHER, "example.com/other", 1);
}

#[tokio::test]
async fn request_over_the_limit_is_429_with_retry_after() {
    let api = DiscueApi::with(vec![], Some(2)).await;
    let target = format!("/api_clients/{ID}");
    for _ in 0..2 {
        assert_eq!(api.get(&target).await.status, 200);
    }
    let answer = api.put(ID, r#"{"name":"example.com/x"}"#).await;
    refused(&answer, 429, "Too Many Requests");
    assert_eq!(answer.field("retry-after"), ["30"]);
    assert_eq!(answer.field("x-ratelimit-limit"), ["2"]);
    assert_eq!(answer.field("x-ratelimit-remaining"), ["0"]);
    let reset = api.world.now().as_second() + 30;
    assert_eq!(answer.field("x-ratelimit-reset"), [reset.to_string()]);
    assert!(answer.field("ratelimit").is_empty() && answer.field("ratelimit-policy").is_empty());
    api.world.clock.advance(Duration::from_secs(30));
    assert_eq!(api.get(&target).await.status, 200);
}

#[tokio::test]
async fn corrupt_store_is_500() {
    let api = DiscueApi::new().await;
    let target = format!("/api_clients/{ID}");
    for method in ["caller", "update_caller", "tenant"] {
        api.world.registry.fail(Some(method), || RegistryError::Corrupt("row 7 of table callers".into()));
        refused(&api.put(ID, "{}").await, 500, "Internal Server Error");
    }
    api.world.registry.fail(None, || RegistryError::Corrupt("row 7 of table callers".into()));
    refused(&api.get(&target).await, 500, "Internal Server Error");
    refused(&api.post("{}").await, 500, "Internal Server Error");
    api.world.registry.recover();
    assert_eq!(api.get(&target).await.status, 200);
}

#[tokio::test]
async fn disabled_operation_is_501() {
    let api = DiscueApi::with(vec![Operation::Create, Operation::Update], None).await;
    refused(&api.post("{}").await, 501, "Not Implemented");
    refused(&api.put("none", "not json").await, 501, "Not Implemented");
    succeeded(&api.get(&format!("/api_clients/{ID}")).await, ID, "example.com/old", 1);
    let api = DiscueApi::with(vec![Operation::Get], None).await;
    refused(&api.get(&format!("/api_clients/{ID}")).await, 501, "Not Implemented");
    succeeded(&api.put(ID, "{}").await, ID, "example.com/old", 1);
}

#[tokio::test]
async fn unreachable_store_is_503_with_retry_after() {
    let api = DiscueApi::new().await;
    let target = format!("/api_clients/{ID}");
    for method in ["caller", "update_caller", "tenant"] {
        api.world.registry.fail(Some(method), || RegistryError::Unavailable("connection refused".into()));
        let answer = api.put(ID, r#"{"name":"example.com/x"}"#).await;
        refused(&answer, 503, "Service Unavailable");
        assert_eq!(answer.field("retry-after"), ["5"]);
    }
    api.world.registry.fail(None, || RegistryError::Unavailable("connection refused".into()));
    for answer in [api.get(&target).await, api.post("{}").await] {
        refused(&answer, 503, "Service Unavailable");
        assert_eq!(answer.field("retry-after"), ["5"]);
    }
    api.world.registry.recover();
    succeeded(&api.get(&target).await, ID, "example.com/old", 1);
}
