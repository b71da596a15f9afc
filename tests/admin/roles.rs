//! Every role against every endpoint.

use serde_json::{Value, json};

use super::{ANY, Site, refused};

const NOBODY: usize = 0;
const READER: usize = 1;
const OPERATOR: usize = 2;
const OWNER: usize = 3;

/// A request, the least of the roles that may make it, and the status that it then gets.
fn table() -> Vec<(&'static str, &'static str, Option<Value>, usize, u16)> {
    let (acme, shop) = ("/tenants/acme", "/tenants/acme/callers/shop");
    let name = || Some(json!({ "name": "new" }));
    let plan = || Some(json!({ "limits": [] }));
    let lock = |path: &str| Some(json!({ "target": { "resource": path }, "reason": "moving" }));
    let client = || Some(json!({ "name": "another", "kind": "api_client" }));
    let peer = || Some(json!({ "name": "another", "kind": "administrator", "role": "read_only" }));
    vec![
        ("GET", "/status", None, READER, 200),
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
        ("PATCH", shop, name(), OPERATOR, 200),
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
        // Administrators are an owner's to manage.
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
async fn every_role_may_what_is_its_own_and_no_more() {
    for role in [NOBODY, READER, OPERATOR, OWNER] {
        let site = Site::new().await;
        for (method, path, body, least, status) in table() {
            let token = ["", &site.reader, &site.operator, &site.owner][role];
            let answer = if role == NOBODY {
                let target = format!("/admin/v1{path}");
                site.server.send(method, &target, fields(method, path), None).await
            } else {
                site.ask(token, method, path, fields(method, path), body.as_ref()).await
            };
            let what = format!("{role}: {method} {path}: {answer:?}");
            if role == NOBODY {
                refused(&answer, 401, "credential-missing", &[]);
                assert_eq!(answer.field("www-authenticate"), [r#"Bearer realm="admin""#]);
            } else if role >= least {
                assert_eq!(answer.status, status, "{what}");
            } else {
                refused(&answer, 403, "role", &[]);
                let needed = ["", "read_only", "operator", "owner"][least];
                let detail = answer.json()["detail"].as_str().unwrap().to_owned();
                assert_eq!(detail, format!("This needs the role {needed}."), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn who_may_not_changes_nothing() {
    let site = Site::new().await;
    let before = site.world.directory.applied();
    for (method, path, body, least, _) in table() {
        if least > READER {
            site.ask(&site.reader, method, path, fields(method, path), body.as_ref()).await;
        }
    }
    assert_eq!(site.world.directory.applied(), before);
}

#[tokio::test]
async fn a_role_is_asked_for_before_what_is_asked_about() {
    let site = Site::new().await;
    for path in ["/tenants/none", "/plans/none"] {
        refused(&site.ask(&site.reader, "DELETE", path, &[], None).await, 403, "role", &[]);
        refused(&site.ask(&site.reader, "GET", path, &[], None).await, 404, "not-found", &[]);
    }
    let answer = site.ask(&site.reader, "POST", "/tenants", &[], Some(&json!("nonsense"))).await;
    refused(&answer, 403, "role", &[]);
}

#[tokio::test]
async fn a_role_that_was_taken_away_is_gone_at_once() {
    let site = Site::new().await;
    let path = "/tenants/administration/callers/operator";
    assert_eq!(site.patch(path, json!({ "role": "read_only" })).await.status, 200);
    let answer = site.ask(&site.operator, "DELETE", "/tenants/acme/keys/first", &[ANY], None).await;
    refused(&answer, 403, "role", &[]);
    assert_eq!(site.patch(path, json!({ "status": "disabled" })).await.status, 200);
    refused(&site.ask(&site.operator, "GET", "/status", &[], None).await, 403, "caller-disabled", &[]);
}
