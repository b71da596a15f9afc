//! Request bodies that do not match the documentation.

use serde_json::json;

use super::{ANY, AdminApi, JSON, refused};
use crate::management::Answer;

async fn raw(api: &AdminApi, method: &str, path: &str, body: &[u8]) -> Answer {
    let bearer = format!("Bearer {}", api.owner);
    let fields = [("authorization", &*bearer), JSON, ANY];
    api.server.send(method, &format!("/admin/v1{path}"), &fields, Some(body.to_vec())).await
}

const WRITES: [(&str, &str); 5] = [
    ("POST", "/tenants"),
    ("PATCH", "/tenants/acme"),
    ("POST", "/tenants/acme/callers"),
    ("PATCH", "/tenants/acme/callers/shop"),
    ("PATCH", "/tenants/acme/keys/first"),
];

#[tokio::test]
async fn invalid_json_is_400_everywhere() {
    let api = AdminApi::new().await;
    let before = api.world.directory.applied();
    let deep = format!(r#"{{"name":{}"#, "[".repeat(100_000));
    let within = format!(r#"{{"name":{}1{}}}"#, "[".repeat(20), "]".repeat(20));
    for (method, path) in WRITES {
        for body in [
            &b"not json"[..],
            b"{",
            b"{}{}",
            b"{\"name\":\"x\",}",
            b"\xef\xbb\xbf{}",
            b"{\"name\":\"\\ud800\"}",
            b"{\"name\":\"\\udc00\\ud800\"}",
            b"{\"name\":\"\xff\"}",
            b"{\"name\":\"\xed\xa0\x80\"}",
            b"\xff\xfe{\0}\0",
            b"{\"name\":1e999}",
            deep.as_bytes(),
            within.as_bytes(),
        ] {
            refused(&raw(&api, method, path, body).await, 400, "bad-request", &[]);
        }
        for body in ["null", "[]", "[{}]", "\"name\"", "7", "true"] {
            refused(&raw(&api, method, path, body.as_bytes()).await, 400, "invalid-shape", &["#"]);
        }
        for (body, place) in [
            (r#"{"name":1}"#, "#/name"),
            (r#"{"name":null}"#, "#/name"),
            (r#"{"name":["x"]}"#, "#/name"),
            (r#"{"name":{"$ne":""}}"#, "#/name"),
            (r#"{"nam":"x"}"#, "#/nam"),
            (r#"{"Name":"x"}"#, "#/Name"),
            (r#"{"revision":1}"#, "#/revision"),
            (r#"{"name":"a","name":"b"}"#, "#/name"),
            (r#"{"name":"a","n\u0061me":"b"}"#, "#/name"),
            (r#"{"a/b~c d":1}"#, "#/a~1b~0c%20d"),
        ] {
            refused(&raw(&api, method, path, body.as_bytes()).await, 400, "invalid-shape", &[place]);
        }
    }
    for (method, path) in [("POST", "/tenants"), ("PATCH", "/tenants/acme")] {
        refused(&raw(&api, method, path, b"").await, 400, "bad-request", &[]);
    }
    api.world.settle().await;
    assert_eq!(api.world.directory.applied(), before, "nothing was changed");
}

#[tokio::test]
async fn content_of_one_mebibyte_is_the_maximum() {
    let api = AdminApi::new().await;
    let exactly = format!("{{{}}}", " ".repeat(1024 * 1024 - 2));
    assert_eq!(raw(&api, "PATCH", "/tenants/acme", exactly.as_bytes()).await.status, 200);
    let more = format!("{exactly} ");
    refused(&raw(&api, "PATCH", "/tenants/acme", more.as_bytes()).await, 413, "content-too-large", &[]);
    let much = " ".repeat(10 * 1024 * 1024);
    refused(&raw(&api, "POST", "/tenants", much.as_bytes()).await, 413, "content-too-large", &[]);
}

#[tokio::test]
async fn merge_patch_media_type_is_for_patch_only() {
    let api = AdminApi::new().await;
    let merge = ("content-type", "application/merge-patch+json");
    let patched = api.send("PATCH", "/tenants/acme", &[ANY, merge], json!({ "name": "example.com/x" })).await;
    assert_eq!(patched.status, 200);
    for (method, path, content_type) in [
        ("POST", "/tenants", "application/merge-patch+json"),
        ("POST", "/tenants", "text/plain"),
        ("PUT", "/plans/new", "application/merge-patch+json"),
        ("PATCH", "/tenants/acme", "application/json-patch+json"),
    ] {
        let answer = api.send(method, path, &[("content-type", content_type), ANY], json!({})).await;
        refused(&answer, 415, "unsupported-media-type", &[]);
        let field = match method {
            "POST" => "accept-post",
            "PATCH" => "accept-patch",
            _ => "accept",
        };
        assert!(answer.field(field)[0].contains("json"), "{answer:?}");
    }
    let coded = api
        .send("POST", "/tenants", &[("content-encoding", "gzip")], json!({ "name": "example.com/x" }))
        .await;
    refused(&coded, 415, "unsupported-coding", &[]);
}

/// JSON has one kind of number: `7.0` is the whole number `7`.
#[tokio::test]
async fn integer_may_be_written_with_a_zero_fraction() {
    let api = AdminApi::new().await;
    for (body, most) in [(r#"{"max_callers":7.0}"#, 7), (r#"{"max_callers":1.2e1}"#, 12)] {
        let patched = raw(&api, "PATCH", "/tenants/acme", body.as_bytes()).await;
        assert_eq!((patched.status.as_u16(), &patched.json()["max_callers"]), (200, &json!(most)), "{body}");
    }
    let broken = raw(&api, "PATCH", "/tenants/acme", br#"{"max_callers":7.5}"#).await;
    refused(&broken, 400, "invalid-shape", &["#/max_callers"]);
}
