//! Lists with their pages and filters, and read-only resources.

use portcullis::model::{CallerKind, Status};
use serde_json::{Value, json};

use super::{AdminApi, listed, refused};

/// Reads all pages of a list and returns the ids.
async fn all(api: &AdminApi, path: &str, limit: u32) -> Vec<String> {
    let (mut found, mut target) = (Vec::new(), format!("{path}?limit={limit}"));
    loop {
        let page = api.get(&target).await;
        assert_eq!(page.status, 200, "{page:?}");
        let items = page.json();
        assert!(items["items"].as_array().unwrap().len() <= limit as usize);
        found.extend(listed(&items, "id").into_iter().map(str::to_owned));
        let Some(next) = items["next"].as_str() else {
            assert!(page.field("link").is_empty());
            return found;
        };
        target = format!("{path}?limit={limit}&after={next}");
        assert_eq!(page.field("link"), [format!("</admin/v1{target}>; rel=\"next\"")]);
    }
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_overlap() {
    let api = AdminApi::new().await;
    for at in 0..8 {
        let name = format!("t{at}");
        api.world.tenant(&name, None, 9).await;
        api.world.plan(&name, 1, 1).await;
        api.world.caller("acme", &format!("c{at}"), &name, CallerKind::Operator).await;
        api.world.key("acme", "shop").await;
    }
    for (path, count) in [
        ("/tenants", 10),
        ("/plans", 9),
        ("/tenants/acme/callers", 9),
        ("/tenants/acme/callers/shop/keys", 9),
    ] {
        let whole = all(&api, path, 500).await;
        assert_eq!(whole.len(), count, "{path}");
        assert!(whole.is_sorted());
        for limit in [1, 2, 3, 9] {
            assert_eq!(all(&api, path, limit).await, whole, "{path} {limit}");
        }
    }
    let routes = api.get("/routes?limit=1").await.json();
    assert_eq!((listed(&routes, "name"), &routes["next"]), (vec!["orders"], &json!("orders")));
    let routes = api.get("/routes?after=orders").await.json();
    assert_eq!((listed(&routes, "name"), &routes["next"]), (vec!["api"], &Value::Null));
}

#[tokio::test]
async fn changes_between_pages_shift_nothing() {
    let api = AdminApi::new().await;
    for at in 0..6 {
        api.world.caller("acme", &format!("c{at}"), &format!("n{at}"), CallerKind::Operator).await;
    }
    let path = "/tenants/acme/callers";
    let first = api.get(&format!("{path}?limit=3")).await.json();
    assert_eq!(listed(&first, "id"), ["c0", "c1", "c2"]);
    // The last caller of the page is deleted; one before it and one after it are created.
    assert_eq!(api.delete(&format!("{path}/c2")).await.status, 204);
    for id in ["a", "c3a"] {
        api.world.caller("acme", id, id, CallerKind::Operator).await;
    }
    let next = first["next"].as_str().unwrap();
    let second = api.get(&format!("{path}?limit=3&after={next}")).await.json();
    assert_eq!(listed(&second, "id"), ["c3", "c3a", "c4"]);
}

#[tokio::test]
async fn list_matches_its_filter() {
    let api = AdminApi::new().await;
    api.world.tenant("blue", None, 9).await;
    api.world.lapse("blue").await;
    let plan = Some("demo".parse().unwrap());
    api.world.caller_on("acme", "till", "till & shop", CallerKind::Operator, plan).await;
    let disabled = json!({ "status": "disabled" });
    assert_eq!(api.patch("/tenants/acme/callers/till", disabled).await.status, 200);
    assert_eq!(api.world.stored("acme", "till").await.status, Status::Disabled);
    for (path, expected) in [
        ("/tenants?name=acme", &["acme"][..]),
        ("/tenants?subscription=lapsed", &["blue"]),
        ("/tenants?subscription=active", &["acme", "administration"]),
        ("/tenants?subscription=active&name=blue", &[]),
        ("/tenants/acme/callers?kind=operator", &["till"]),
        ("/tenants/acme/callers?kind=app", &[]),
        ("/tenants/acme/callers?name=till+%26%20shop", &["till"]),
        ("/tenants/acme/callers?status=enabled", &["shop"]),
        ("/tenants/acme/callers?plan=demo", &["till"]),
        ("/tenants/acme/callers?plan=other", &[]),
    ] {
        assert_eq!(listed(&api.get(path).await.json(), "id"), expected, "{path}");
    }
}

#[tokio::test]
async fn unknown_repeated_or_misplaced_parameter_is_400() {
    let api = AdminApi::new().await;
    for (path, named) in [
        ("/tenants?nam=x", "nam"),
        ("/tenants?name=x&name=y", "name"),
        ("/tenants?limit=0", "limit"),
        ("/tenants?limit=501", "limit"),
        ("/tenants?limit=x", "limit"),
        ("/tenants?after=a%20b", "after"),
        ("/tenants?after=", "after"),
        ("/tenants?subscription=unpaid", "subscription"),
        ("/tenants/acme?x=1", "x"),
        ("/tenants/acme/callers?kind=robot", "kind"),
        ("/tenants/acme/callers?status=on", "status"),
        ("/tenants/acme/callers?plan=a%20b", "plan"),
        ("/changes?after=x", "after"),
        ("/changes?after=9223372036854775808", "after"),
        ("/changes?kind=key", "kind"),
        ("/routes?after=none", "after"),
        ("/status?x", "x"),
    ] {
        let answer = api.get(path).await;
        refused(&answer, 400, "bad-request", &[]);
        assert!(answer.json()["detail"].as_str().unwrap().contains(named), "{answer:?}");
    }
    refused(&api.delete("/tenants/acme/keys/first?wait=61").await, 400, "bad-request", &[]);
    refused(&api.delete("/tenants/acme/keys/first?wiat=1").await, 400, "bad-request", &[]);
    refused(&api.post("/tenants?x=1", json!({ "name": "example.com/x" })).await, 400, "bad-request", &[]);
}

#[tokio::test]
async fn current_etag_is_304() {
    let api = AdminApi::new().await;
    for path in [
        "/tenants/acme",
        "/tenants/acme/callers/shop",
        "/tenants/acme/keys/first",
        "/plans/demo",
        "/routes/orders",
    ] {
        let read = api.get(path).await;
        let tag = read.field("etag")[0];
        for known in [tag, "*", &format!("\"x\", W/{tag}")] {
            let again = api.ask(&api.reader, "GET", path, &[("if-none-match", known)], None).await;
            assert_eq!((again.status.as_u16(), &*again.text), (304, ""), "{path}");
            assert_eq!(again.field("etag"), [tag]);
        }
        let other = api.ask(&api.reader, "GET", path, &[("if-none-match", "\"x\"")], None).await;
        assert_eq!((other.status.as_u16(), &other.text), (200, &read.text));
        let head = api.ask(&api.reader, "HEAD", path, &[], None).await;
        assert_eq!((head.status.as_u16(), &*head.text, head.field("etag")), (200, "", vec![tag]));
    }
}

#[tokio::test]
async fn status_names_the_caller_and_the_store() {
    let api = AdminApi::new().await;
    let status = api.get("/status").await.json();
    let caller = json!({ "id": "owner", "name": "owner", "role": "owner", "key": "owners-key" });
    assert_eq!(status["caller"], caller);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["applied_change"], api.world.directory.applied());
    assert_eq!(status["store"], "available");
    api.world.registry.fail(None, || portcullis::registry::RegistryError::Unavailable("gone".into()));
    assert_eq!(api.get("/status").await.json()["store"], "unavailable");
}

#[tokio::test]
async fn routes_are_returned_as_configured() {
    let api = AdminApi::new().await;
    let route = json!({
        "name": "orders", "host": null, "path": "/orders", "methods": ["GET"], "upstream": "up",
        "surface": null, "policies": ["api_key", "lock"],
    });
    assert_eq!(api.get("/routes/orders").await.json(), route);
    assert_eq!(api.get("/routes").await.json()["items"][0], route);
    refused(&api.get("/routes/none").await, 404, "not-found", &[]);
    refused(&api.post("/routes", json!({})).await, 405, "method-not-allowed", &[]);
}
