//! Every role against every endpoint.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{ANY, AdminApi, refused, start};

const NOBODY: usize = 0;
const READER: usize = 1;
const OPERATOR: usize = 2;
const OWNER: usize = 3;

/// A request, the lowest role that may make it, and its status with that role.
fn table() -> Vec<(&'static str, &'static str, Option<Value>, usize, u16)> {
    let (acme, shop) = ("/tenants/acme", "/tenants/acme/callers/shop");
    let name = || Some(json!({ "name": "new" }));
    let plan = || Some(json!({ "limits": [] }));
    let lock = |path: &str| Some(json!({ "target": { "resource": path }, "reason": "moving" }));
    let client = || Some(json!({ "name": "example.com/another", "kind": "api_client" }));
    let peer = || Some(json!({ "name": "another", "kind": "administrator", "role": "read_only" }));
    vec![
        ("GET", "/status", None, READER, 200),
        ("POST", "/configuration/reload", None, OWNER, 200),
        ("GET", "/routes", None, READER, 200),
        ("GET", "/routes/orders", None, READER, 200),
        ("GET", "/changes", None, READER, 200),
        ("GET", "/plans", None, READER, 200),
        ("GET", "/plans/demo", None, READER, 200),
        ("PUT", "/plans/demo", plan(), OWNER, 200),
        ("PUT", "/plans/new", plan(), OWNER, 201),
        ("DELETE", "/plans/demo", None, OWNER, 204),
        ("GET", "/tenants", None, READER, 200),
        ("POST", "/tenants", name(), OWNER, 201),
        ("GET", acme, None, READER, 200),
        ("PATCH", acme, name(), OWNER, 200),
        ("DELETE", acme, None, OWNER, 409),
        ("GET", "/tenants/acme/callers", None, READER, 200),
        ("POST", "/tenants/acme/callers", client(), OPERATOR, 201),
        ("GET", shop, None, READER, 200),
        ("PATCH", shop, Some(json!({ "name": "example.com/new" })), OPERATOR, 200),
        ("GET", "/tenants/acme/callers/shop/keys", None, READER, 200),
        ("POST", "/tenants/acme/callers/shop/keys", name(), OPERATOR, 201),
        ("GET", "/tenants/acme/keys/first", None, READER, 200),
        ("PATCH", "/tenants/acme/keys/first", name(), OPERATOR, 200),
        ("POST", "/tenants/acme/keys/first/rotation", None, OPERATOR, 201),
        ("DELETE", "/tenants/acme/keys/first", None, OPERATOR, 204),
        ("DELETE", shop, None, OPERATOR, 204),
        ("GET", "/locks", None, READER, 200),
        ("POST", "/locks", lock("/orders"), OPERATOR, 201),
        ("GET", "/locks/held", None, READER, 200),
        ("POST", "/locks/held/refresh", None, OPERATOR, 428),
        ("DELETE", "/locks/held", None, OWNER, 204),
        // Only owners manage administrators.
        ("GET", "/tenants/administration/callers", None, READER, 200),
        ("POST", "/tenants/administration/callers", peer(), OWNER, 201),
        ("PATCH", "/tenants/administration/callers/reader", name(), OWNER, 200),
        ("GET", "/tenants/administration/callers/reader/keys", None, READER, 200),
        ("POST", "/tenants/administration/callers/reader/keys", None, OWNER, 201),
        ("GET", "/tenants/administration/keys/owners-key", None, READER, 200),
        ("PATCH", "/tenants/administration/keys/owners-key", name(), OWNER, 200),
        ("POST", "/tenants/administration/keys/owners-key/rotation", None, OWNER, 201),
        ("DELETE", "/tenants/administration/callers/reader", None, OWNER, 204),
    ]
}

fn fields(method: &str, path: &str) -> &'static [(&'static str, &'static str)] {
    match method {
        "PUT" if path == "/plans/new" => &[],
        "PUT" | "PATCH" | "DELETE" => &[ANY],
        _ => &[],
    }
}

#[tokio::test]
async fn role_permits_only_its_operations() {
    for role in [NOBODY, READER, OPERATOR, OWNER] {
        let api = AdminApi::new().await;
        for (method, path, body, least, status) in table() {
            let token = ["", &api.reader, &api.operator, &api.owner][role];
            let answer = if role == NOBODY {
                let target = format!("/admin/v1{path}");
                api.server.send(method, &target, fields(method, path), None).await
            } else {
                api.ask(token, method, path, fields(method, path), body.as_ref()).await
            };
            let what = format!("{role}: {method} {path}: {answer:?}");
            if role == NOBODY {
                refused(&answer, 401, "credential-missing", &[]);
                assert_eq!(answer.field("www-authenticate"), [r#"Bearer realm="admin""#]);
            } else if role >= least {
                assert_eq!(answer.status, status, "{what}");
            } else {
                refused(&answer, 403, "insufficient-role", &[]);
                let needed = ["", "read_only", "operator", "owner"][least];
                let detail = answer.json()["detail"].as_str().unwrap().to_owned();
                assert_eq!(detail, format!("The role {needed} is required."), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn insufficient_role_changes_nothing() {
    let api = AdminApi::new().await;
    let before = api.world.directory.applied();
    for (method, path, body, least, _) in table() {
        if least > READER {
            api.ask(&api.reader, method, path, fields(method, path), body.as_ref()).await;
        }
    }
    assert_eq!(api.world.directory.applied(), before);
}

#[tokio::test]
async fn role_is_checked_before_the_resource() {
    let api = AdminApi::new().await;
    for path in ["/tenants/none", "/plans/none"] {
        refused(&api.ask(&api.reader, "DELETE", path, &[], None).await, 403, "insufficient-role", &[]);
        refused(&api.ask(&api.reader, "GET", path, &[], None).await, 404, "not-found", &[]);
    }
    let answer = api.ask(&api.reader, "POST", "/tenants", &[], Some(&json!("nonsense"))).await;
    refused(&answer, 403, "insufficient-role", &[]);
}

#[tokio::test]
async fn removed_role_ends_at_once() {
    let api = AdminApi::new().await;
    let path = "/tenants/administration/callers/operator";
    assert_eq!(api.patch(path, json!({ "role": "read_only" })).await.status, 200);
    let answer = api.ask(&api.operator, "DELETE", "/tenants/acme/keys/first", &[ANY], None).await;
    refused(&answer, 403, "insufficient-role", &[]);
    assert_eq!(api.patch(path, json!({ "status": "disabled" })).await.status, 200);
    refused(&api.ask(&api.operator, "GET", "/status", &[], None).await, 403, "caller-disabled", &[]);
}

/// A request in progress: it was admitted, and its body has not arrived.
struct PendingRequest<'a> {
    stream: TcpStream,
    content: &'a str,
}

impl<'a> PendingRequest<'a> {
    async fn begin(api: &AdminApi, token: &str, method: &str, path: &str, content: &'a str) -> Self {
        let mut stream = TcpStream::connect(api.server.address).await.unwrap();
        let head = format!(
            "{method} /admin/v1{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nif-match: *\r\n\
             content-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\
             connection: close\r\n\r\n",
            content.len(),
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // The server sends this once it reads the body.
        let mut wanted = [0; 25];
        stream.read_exact(&mut wanted).await.unwrap();
        assert_eq!(&wanted, b"HTTP/1.1 100 Continue\r\n\r\n");
        Self { stream, content }
    }

    /// Sends the body and returns the status and the response.
    async fn end(mut self) -> (u16, String) {
        self.stream.write_all(self.content.as_bytes()).await.unwrap();
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).await.unwrap();
        (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
    }
}

#[tokio::test]
async fn key_revoked_meanwhile_aborts_the_request() {
    let api = AdminApi::new().await;
    let callers = "/tenants/administration/callers";
    let second = json!({ "id": "second", "name": "second", "kind": "administrator", "role": "owner" });
    assert_eq!(api.post(callers, second).await.status, 201);
    let own = format!("{callers}/second");
    let content = r#"{"id":"backdoor","name":"backdoor","kind":"administrator","role":"owner"}"#;
    let taking_away = async |away: &str| {
        let keys = api.post(&format!("{own}/keys"), json!({})).await.json();
        let (token, id) = (keys["key"].as_str().unwrap().to_owned(), keys["id"].as_str().unwrap());
        let key = format!("/tenants/administration/keys/{id}");
        let underway = PendingRequest::begin(&api, &token, "POST", callers, content).await;
        let answer = match away {
            "key" => api.delete(&key).await,
            "key disabled" => api.patch(&key, json!({ "status": "disabled" })).await,
            "scopes" => api.patch(&key, json!({ "scopes": [] })).await,
            "end" => api.patch(&key, json!({ "not_after": start() })).await,
            "role" => api.patch(&own, json!({ "role": "operator" })).await,
            "enabled" => api.patch(&own, json!({ "status": "disabled" })).await,
            _ => api.delete(&own).await,
        };
        assert!(answer.status.is_success(), "{away}: {answer:?}");
        let (status, answer) = underway.end().await;
        assert_eq!(status, 401, "{away}: {answer}");
        assert!(answer.contains("credential-unknown") && answer.contains("www-authenticate"), "{answer}");
    };
    for away in ["key", "key disabled", "scopes", "end", "role"] {
        taking_away(away).await;
        assert_eq!(api.patch(&own, json!({ "role": "owner" })).await.status, 200);
    }
    for away in ["enabled", "caller"] {
        assert_eq!(api.patch(&own, json!({ "status": "enabled" })).await.status, 200);
        taking_away(away).await;
    }
    refused(&api.get(&format!("{callers}/backdoor")).await, 404, "not-found", &[]);
}

#[tokio::test]
async fn one_of_two_owners_disabling_each_other_remains() {
    let api = AdminApi::new().await;
    let callers = "/tenants/administration/callers";
    let second = json!({ "id": "second", "name": "second", "kind": "administrator", "role": "owner" });
    assert_eq!(api.post(callers, second).await.status, 201);
    let made = api.post(&format!("{callers}/second/keys"), json!({})).await.json();
    let content = r#"{"status":"disabled"}"#;
    let (one, other) = (format!("{callers}/second"), format!("{callers}/owner"));
    let first = PendingRequest::begin(&api, &api.owner, "PATCH", &one, content).await;
    let second = PendingRequest::begin(&api, made["key"].as_str().unwrap(), "PATCH", &other, content).await;
    assert_eq!((first.end().await.0, second.end().await.0), (200, 401));
    api.world.settle().await;
    assert_eq!(api.get("/status").await.status, 200);
}

#[tokio::test]
async fn key_cannot_remove_its_own_admin_scope() {
    let api = AdminApi::new().await;
    let own = "/tenants/administration/keys/owners-key";
    let scope = |resource: &str, access: &str| json!([{ "resource": resource, "access": access }]);
    for scopes in [json!([]), scope("admin", "read"), scope("orders", "write")] {
        refused(&api.patch(own, json!({ "scopes": scopes })).await, 409, "conflict", &[]);
    }
    assert_eq!(api.patch(own, json!({ "scopes": scope("admin", "write") })).await.status, 200);
    assert_eq!(api.patch(own, json!({ "scopes": null })).await.status, 200);
}

/// Otherwise no owner would be left, at once or when the last key ends.
#[tokio::test]
async fn last_owner_keeps_an_accepted_key() {
    let api = AdminApi::new().await;
    let own = "/tenants/administration/keys/owners-key";
    let soon = json!({ "not_after": "2026-01-01T00:00:04Z" });
    refused(&api.patch(own, soon.clone()).await, 409, "conflict", &[]);
    refused(&api.patch(own, json!({ "not_after": "2099-01-01T00:00:00Z" })).await, 409, "conflict", &[]);
    // Another key of the owner must end later; one with the same end is not enough.
    let keys = "/tenants/administration/callers/owner/keys";
    let post = api.post(keys, json!({ "not_after": "2026-01-01T00:00:04Z" })).await;
    assert_eq!(post.status, 201, "{post:?}");
    refused(&api.patch(own, soon.clone()).await, 409, "conflict", &[]);
    let post = api.post(keys, json!({ "name": "second", "not_after": "2026-01-01T00:00:05Z" })).await;
    assert_eq!(post.status, 201, "{post:?}");
    assert_eq!(api.patch(own, soon).await.status, 200);
}

#[tokio::test]
async fn last_usable_owner_cannot_be_removed_by_another() {
    let api = AdminApi::new().await;
    let other = json!({ "id": "other", "name": "other", "kind": "administrator", "role": "owner" });
    let made = api.post("/tenants/administration/callers", other).await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = api.post("/tenants/administration/callers/other/keys", json!({})).await;
    let (key, id) =
        (made.json()["key"].as_str().unwrap().to_owned(), made.json()["id"].as_str().unwrap().to_owned());
    // The other owner disables the first one and is then the last one.
    let path = "/tenants/administration/callers/owner";
    let disabled = json!({ "status": "disabled" });
    let done = api.ask(&key, "PATCH", path, &[crate::ANY], Some(&disabled)).await;
    assert_eq!(done.status, 200, "{done:?}");
    let ends = json!({ "not_after": "2026-01-01T00:00:04Z" });
    let own = format!("/tenants/administration/keys/{id}");
    refused(&api.ask(&key, "PATCH", &own, &[crate::ANY], Some(&ends)).await, 409, "conflict", &[]);
}
