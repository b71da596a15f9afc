//! Apps in both versions: one app, two spellings of its id.

use portcullis::{
    model::{Access, CallerKind, LockTarget, LockedRequests, Scope, Scopes},
    registry::RegistryExt,
};
use serde_json::{Value, json};

use super::{APP, Answer, ApigApi, INSTANCE, KEY, PROJECT, SEED_BODY, app, one, refused};

/// The V2 spelling of [`APP`].
const PLAIN: &str = "14b399ac967f4115bb62c0346b4537e9";

pub fn at(version: u8, path: &str) -> String {
    format!("/v{version}/{PROJECT}/apigw/instances/{INSTANCE}{path}")
}

impl ApigApi {
    pub async fn ask(&self, version: u8, method: &str, path: &str, body: Option<&str>) -> Answer {
        self.send(method, &at(version, path), body).await
    }

    async fn names(&self, version: u8, query: &str) -> Vec<String> {
        let answer = self.ask(version, "GET", &format!("/apps{query}"), None).await;
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        let list = answer.json();
        let apps = list["apps"].as_array().unwrap();
        assert_eq!(list["size"], apps.len());
        apps.iter().map(|app| app["name"].as_str().unwrap().to_owned()).collect()
    }
}

fn not_a_value(name: &str) -> String {
    format!("Invalid parameter value,parameterName:{name}. Please refer to the support documentation")
}

fn is_plain_uuid(text: &Value) -> bool {
    let text = text.as_str().unwrap();
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[tokio::test]
async fn app_is_shown_in_the_spelling_of_each_version() {
    let api = ApigApi::new().await;
    let made = api.ask(2, "POST", "/apps", Some(r#"{"name":"app_002"}"#)).await;
    assert_eq!((made.status.as_u16(), made.field("cache-control")), (201, vec!["no-store"]));
    let made = made.json();
    assert!(
        is_plain_uuid(&made["id"]) && is_plain_uuid(&made["app_key"]) && is_plain_uuid(&made["app_secret"])
    );
    assert_eq!(
        (&made["app_type"], &made["status"], &made["creator"]),
        (&"apig".into(), &1.into(), &"USER".into())
    );

    let (first, second) =
        (api.get(APP).await.json(), api.ask(2, "GET", &format!("/apps/{PLAIN}"), None).await);
    assert_eq!((&first["id"], &first["app_secret"]), (&APP.into(), &"******".into()));
    let second = second.json();
    assert_eq!((&second["id"], &second["app_secret"]), (&PLAIN.into(), &"the first secret".into()));
    assert_eq!(api.ask(2, "GET", &format!("/apps/{APP}"), None).await.json(), second, "hyphens are valid");
    refused(&api.get(PLAIN).await, 404, "APIG.3002", &format!("App {PLAIN} does not exist"));
    let none = "c0a80101000040008000000000000003";
    for spelling in [none, "c0a80101-0000-4000-8000-000000000003"] {
        let answer = api.ask(2, "GET", &format!("/apps/{spelling}"), None).await;
        refused(&answer, 404, "APIG.3002", &format!("App {none} does not exist"));
    }

    let changed = api.ask(2, "PUT", &format!("/apps/{PLAIN}"), Some(SEED_BODY)).await;
    assert_eq!(changed.status, 200);
    let changed = changed.json();
    assert_eq!((&changed["app_secret"], &changed["name"]), (&"app_secret_sample".into(), &"app_001".into()));
    assert_eq!(api.stored(APP).await.name, "app_001");
}

#[tokio::test]
async fn v2_alone_accepts_longer_keys_and_secrets() {
    let api = ApigApi::new().await;
    let (key, secret) = ("k".repeat(200), "s".repeat(128));
    let body = json!({ "name": "app_002", "app_key": key, "app_secret": secret }).to_string();
    refused(&api.post(&body).await, 400, "APIG.2011", &not_a_value("app_key"));
    let made = api.ask(2, "POST", "/apps", Some(&body)).await;
    assert_eq!((&made.json()["app_key"], &made.json()["app_secret"]), (&key.into(), &secret.into()));
    for (member, length) in [("app_key", 201), ("app_secret", 129)] {
        let body = json!({ "name": "app_003", member: "x".repeat(length) }).to_string();
        let answer = api.ask(2, "POST", "/apps", Some(&body)).await;
        refused(&answer, 400, "APIG.2011", &not_a_value(member));
    }
}

#[tokio::test]
async fn v1_shows_a_generated_secret_once_and_in_a_header() {
    let api = ApigApi::new().await;
    let made = api.post(r#"{"name":"app_001"}"#).await;
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let reset = format!("/apps/secret/{id}");
    let again = api.ask(1, "PUT", &reset, Some("{}")).await;
    let bare = api.ask(1, "PUT", &reset, None).await;
    for answer in [&made, &again, &bare] {
        assert_eq!(answer.json()["app_secret"], "******");
        assert_eq!(answer.field("cache-control"), ["no-store"]);
    }
    let header_secret = |answer: &Answer| answer.field("x-app-secret").first().map(|text| (*text).to_owned());
    let secrets = [header_secret(&made), header_secret(&again), header_secret(&bare)];
    assert!(secrets.iter().flatten().count() == 3 && secrets[0] != secrets[1] && secrets[1] != secrets[2]);
    assert_eq!(api.secret(&api.stored(&id).await).expose(), secrets[2].as_deref().unwrap());

    // A chosen secret is never shown, and a generated one is not shown again by later requests.
    let chosen = api.ask(1, "PUT", &reset, Some(r#"{"app_secret":"chosen_by_me"}"#)).await;
    let with = api.post(r#"{"name":"app_003","app_secret":"chosen_by_me"}"#).await;
    let put = api.put(&id, r#"{"name":"app_001","app_secret":"chosen_by_me"}"#).await;
    for answer in [&chosen, &with, &put, &api.get(&id).await] {
        assert_eq!((header_secret(answer), &answer.json()["app_secret"]), (None, &"******".into()));
    }
    assert!(api.ask(2, "PUT", &reset, None).await.field("x-app-secret").is_empty());
}

#[tokio::test]
async fn reset_changes_the_secret_only() {
    let api = ApigApi::new().await;
    let path = format!("/apps/secret/{APP}");
    let first = api.ask(1, "PUT", &path, Some(r#"{"app_secret":"another_secret"}"#)).await;
    let expected = format!(
        r#"{{"id":"{APP}","name":"app_000","status":1,"app_key":"{KEY}","app_secret":"******","creator":"USER","remark":"Zeroth app","register_time":"2026-01-01T00:00:00Z","update_time":"2026-01-01T00:00:00Z"}}"#
    );
    assert_eq!((first.status.as_u16(), first.text), (200, expected));
    assert_eq!(api.secret(&api.stored(APP).await).expose(), "another_secret");
    let second = api.ask(2, "PUT", &format!("/apps/secret/{PLAIN}"), None).await.json();
    assert!(is_plain_uuid(&second["app_secret"]) && second["app_type"] == "apig");
    assert_eq!(api.secret(&api.stored(APP).await).expose(), second["app_secret"]);

    for (body, code) in [
        (r#"{"app_secret":"short"}"#, "APIG.2011"),
        (r#"{"app_secret":1}"#, "APIG.2000"),
        ("[]", "APIG.2000"),
        ("{", "APIG.2000"),
        (r#"{"app_secret":"\ud800"}"#, "APIG.2000"),
    ] {
        let answer = api.ask(2, "PUT", &path, Some(body)).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["error_code"]), (400, &code.into()), "{body}");
    }
    let none = api.ask(1, "PUT", "/apps/secret/none", None).await;
    refused(&none, 404, "APIG.3002", "App none does not exist");
    let strict = ApigApi::with(false, None).await;
    let answer = strict.ask(2, "PUT", &path, Some(r#"{"app_secret":"another_secret"}"#)).await;
    refused(&answer, 400, "APIG.2012", &not_a_value("app_secret"));
    assert_eq!(strict.ask(2, "PUT", &path, Some("{}")).await.status, 200);
}

#[tokio::test]
async fn deleted_app_frees_its_name_and_key() {
    let api = ApigApi::new().await;
    let key = api.world.key("gateway", APP).await;
    let gone = api.ask(2, "DELETE", &format!("/apps/{PLAIN}"), None).await;
    assert_eq!((gone.status.as_u16(), &*gone.text), (204, ""));
    api.world.settle().await;
    assert!(api.world.directory.find(&key).is_none());
    for method in ["GET", "DELETE"] {
        let answer = api.send(method, &one(APP), None).await;
        refused(&answer, 404, "APIG.3002", &format!("App {APP} does not exist"));
    }
    let again = api.post(&format!(r#"{{"name":"app_000","app_key":"{KEY}"}}"#)).await;
    assert_eq!(again.status, 201);
    let id = again.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(api.send("DELETE", &one(&id), None).await.status, 204, "in V1, too");
}

#[tokio::test]
async fn protected_apps_cannot_be_deleted() {
    let api = ApigApi::new().await;
    let market = "c0a80101-0000-4000-8000-000000000001";
    let CallerKind::App(theirs) = app(&api.world, market, "market_key") else { unreachable!() };
    let kind =
        CallerKind::App(portcullis::model::App { creator: portcullis::model::Creator::Market, ..theirs });
    api.world.caller("gateway", market, "market", kind).await;
    let denied = "No permissions to perform operations on this app.";
    let path = format!("/apps/{market}");
    refused(&api.ask(1, "DELETE", &path, None).await, 409, "APIG.1104", denied);
    refused(&api.ask(2, "DELETE", &path, None).await, 403, "APIG.1104", denied);

    // One lock is on the app itself, the other on its V1 path.
    let targets = [LockTarget::Caller(APP.parse().unwrap()), LockTarget::Resource(one(APP).parse().unwrap())];
    for target in targets {
        let lock = api.world.lock(target, LockedRequests::Writes, std::time::Duration::from_secs(60)).await;
        for (version, id) in [(1, APP), (2, PLAIN), (2, APP)] {
            for (method, path) in [("DELETE", format!("/apps/{id}")), ("PUT", format!("/apps/{id}"))] {
                let answer = api.ask(version, method, &path, Some(SEED_BODY)).await;
                let locked = "A lock held by migration blocks changes (being moved). Retry later.";
                refused(&answer, 403, "APIG.1104", locked);
            }
        }
        api.world.memory.break_lock(&lock, &super::management::actor()).await.unwrap();
        api.world.settle().await;
    }
    assert_eq!(api.stored(APP).await.revision, 1);
    refused(
        &api.ask(1, "DELETE", "/apps/operator", None).await,
        404,
        "APIG.3002",
        "App operator does not exist",
    );
    assert_eq!(api.stored("operator").await.name, "operator");
}

#[tokio::test]
async fn apps_are_listed_newest_first_in_pages() {
    let api = ApigApi::with_room(30).await;
    for n in 1..25 {
        api.world.clock.advance(std::time::Duration::from_millis(1));
        assert_eq!(api.post(&format!(r#"{{"name":"app_{n:03}"}}"#)).await.status, 201);
    }
    let name = |n: usize| format!("app_{n:03}");
    let names = |range: std::ops::Range<usize>| range.rev().map(name).collect::<Vec<_>>();
    for (version, query, expected) in [
        (1, "", names(5..25)),
        (1, "?page_no=2", names(0..5)),
        (1, "?page_no=2&page_size=10", names(5..15)),
        (1, "?page_no=9&page_size=500", vec![]),
        (1, "?page_size=500&offset=3&limit=1", names(0..25)),
        (2, "", names(5..25)),
        (2, "?offset=20&limit=3", names(2..5)),
        (2, "?offset=-4&limit=-4", names(5..25)),
        (2, "?limit=501", names(0..25)),
        (2, "?offset=9223372036854775807", vec![]),
    ] {
        assert_eq!(api.names(version, query).await, expected, "v{version} {query}");
    }
    let list = api.ask(2, "GET", "/apps?offset=24", None).await;
    assert_eq!(list.field("cache-control"), ["no-store"]);
    let list = list.json();
    assert_eq!((&list["total"], &list["size"]), (&25.into(), &1.into()));
    let shown = json!({
        "id": PLAIN, "name": "app_000", "status": 1, "app_key": KEY, "app_secret": "the first secret",
        "creator": "USER", "remark": "Zeroth app", "register_time": "2026-01-01T00:00:00Z",
        "update_time": "2026-01-01T00:00:00Z", "app_type": "apig", "bind_num": 0,
    });
    assert_eq!(list["apps"], json!([shown]));
    let list = api.ask(1, "GET", "/apps?page_no=25&page_size=1", None).await.json();
    assert_eq!((&list["apps"][0]["id"], &list["apps"][0]["app_secret"]), (&APP.into(), &"******".into()));
}

#[tokio::test]
async fn list_is_filtered_by_the_documented_parameters() {
    let api = ApigApi::with_room(30).await;
    for name in ["shop_one", "shop_two", "Workshop"] {
        api.world.clock.advance(std::time::Duration::from_millis(1));
        assert_eq!(api.post(&format!(r#"{{"name":"{name}","app_key":"key_of_{name}"}}"#)).await.status, 201);
    }
    api.world.tenant("second", Some(super::gateway(PROJECT, "second", true)), 4).await;
    let theirs = "c0a80101-0000-4000-8000-000000000002";
    api.world.caller("second", theirs, "shop_far", app(&api.world, theirs, "their_key")).await;
    let id = api.ask(2, "GET", "/apps?name=Workshop", None).await.json()["apps"][0]["id"].clone();
    let id = format!("?id={}", id.as_str().unwrap());
    let all = ["Workshop", "shop_two", "shop_one", "app_000"];
    for (query, expected) in [
        ("?name=SHOP", &all[..3]),
        ("?name=shop_", &all[1..3]),
        ("?name=shop&precise_search=name", &[]),
        ("?name=shop_one&precise_search=name", &all[2..3]),
        ("?name=%73hop_one", &all[2..3]),
        ("?name=shop%25", &[]),
        ("?name=shop%ff", &[]),
        (&format!("?name={}", "%c3%a9".repeat(256)), &[]),
        ("?name=", &all),
        ("?app_key=key_of_shop_two", &all[1..2]),
        ("?app_key=their_key", &[]),
        ("?creator=USER&status=1&unknown=1&unknown=2", &all),
        ("?creator=MARKET", &[]),
        ("?status=2", &[]),
        ("?status=3", &[]),
        (&id, &all[..1]),
        (&format!("?id={theirs}"), &[]),
        ("?id=none", &[]),
    ] {
        assert_eq!(api.names(2, query).await, expected, "{query}");
    }
    for (query, name) in [
        ("?status=0", "status"),
        ("?status=on", "status"),
        ("?creator=user", "creator"),
        ("?precise_search=app_key", "precise_search"),
        ("?id=a%20b", "id"),
        ("?name=a%00b", "name"),
        (&format!("?name={}", "x".repeat(257)), "name"),
        (&format!("?app_key={}", "%c3%a9".repeat(257)), "app_key"),
        ("?limit=many", "limit"),
        ("?offset=1e3", "offset"),
    ] {
        let answer = api.ask(2, "GET", &format!("/apps{query}"), None).await;
        refused(&answer, 400, "APIG.2012", &not_a_value(name));
    }
    for (query, name) in
        [("?page_no=0", "page_no"), ("?page_size=501", "page_size"), ("?page_size=-1", "page_size")]
    {
        let answer = api.ask(1, "GET", &format!("/apps{query}"), None).await;
        refused(&answer, 400, "APIG.2012", &not_a_value(name));
    }
    let twice = "Parameter error: The query parameter name is repeated.";
    refused(&api.ask(1, "GET", "/apps?name=a&name=b", None).await, 400, "APIG.2000", twice);
}

#[tokio::test]
async fn token_lists_visible_apps_and_verifies_others() {
    let api = ApigApi::with_room(30).await;
    let made = api.post(r#"{"name":"app_001","remark":"Ours"}"#).await.json()["id"].clone();
    let made = made.as_str().unwrap();
    let scopes = |access, targets: Option<&[&str]>| {
        let targets = targets.map(|ids| ids.iter().map(|id| (*id).into()).collect());
        Scopes::Listed(vec![Scope { resource: "apps".into(), access, targets }])
    };
    let confined = scopes(Access::Write, Some(&[made, "gone"]));
    let confined = api.world.key_with("gateway", "operator", |key| key.scopes = confined).await;
    let reader = scopes(Access::Read, None);
    let reader = api.world.key_with("gateway", "operator", |key| key.scopes = reader).await;
    let get = async |token: &str, path: &str| {
        api.server.send("GET", &at(2, path), &[("x-auth-token", token)], None).await.json()
    };
    let list = get(&confined, "/apps").await;
    assert_eq!((&list["total"], &list["apps"][0]["name"]), (&1.into(), &"app_001".into()));
    assert_ne!(list["apps"][0]["app_secret"], "******");
    assert_eq!(get(&confined, &format!("/apps?id={APP}")).await["total"], 0);
    assert_eq!(
        get(&confined, "/resources/outline/apps").await,
        json!({ "authed_nums": 0, "unauthed_nums": 1 })
    );
    assert_eq!(get(&confined, &format!("/apps/{APP}")).await["error_code"], "APIG.1005");
    let brief = json!({ "id": PLAIN, "name": "app_000", "remark": "Zeroth app" });
    assert_eq!(get(&confined, &format!("/apps/validation/{PLAIN}")).await, brief);

    // A token that may only read does not see secrets that give access as the app.
    let list = get(&reader, "/apps").await;
    assert_eq!((&list["total"], &list["apps"][1]["app_secret"]), (&2.into(), &"******".into()));
    assert_eq!(get(&reader, &format!("/apps/{APP}")).await["app_secret"], "******");
    assert_eq!(
        api.ask(1, "GET", "/resources/outline/apps", None).await.text,
        r#"{"authed_nums":0,"unauthed_nums":2}"#
    );
    let brief = api.ask(1, "GET", &format!("/apps/validation/{APP}"), None).await;
    assert_eq!(brief.text, format!(r#"{{"id":"{APP}","name":"app_000","remark":"Zeroth app"}}"#));
    let none = api.ask(2, "GET", "/apps/validation/none", None).await;
    refused(&none, 404, "APIG.3002", "App none does not exist");
}

#[tokio::test]
async fn app_is_verified_for_operators_of_other_instances() {
    let api = ApigApi::new().await;
    let (project, instance, theirs) = (
        "aaaab9b0d3f94b0d9e1b2a3c4d5e6f70",
        "f00d4d25480b4cd6b512f270a1b8b341",
        "c0a80101-0000-4000-8000-000000000001",
    );
    api.world.tenant("theirs", Some(super::gateway(project, instance, true)), 4).await;
    let CallerKind::App(app) = app(&api.world, theirs, "their_key") else { unreachable!() };
    api.world.caller("theirs", theirs, "their_app", CallerKind::App(app)).await;
    api.world.caller("theirs", "their-operator", "operator", CallerKind::Operator).await;
    let token = api.world.key("theirs", "their-operator").await;
    let get = async |token: &str, project: &str, instance: &str, id: &str| {
        let path = format!("/v1/{project}/apigw/instances/{instance}/apps/validation/{id}");
        let answer = api.server.send("GET", &path, &[("x-auth-token", token)], None).await;
        (answer.status.as_u16(), answer.json())
    };
    let brief = |id: &str, name: &str| (200, json!({ "id": id, "name": name, "remark": "Zeroth app" }));
    // The path names the operator's own gateway, or that of the app.
    assert_eq!(get(&token, project, instance, APP).await, brief(APP, "app_000"));
    assert_eq!(get(&token, PROJECT, INSTANCE, APP).await, brief(APP, "app_000"));
    assert_eq!(get(&api.token, PROJECT, INSTANCE, theirs).await, brief(theirs, "their_app"));
    assert_eq!(get(&api.token, project, instance, theirs).await, brief(theirs, "their_app"));

    // The response reveals nothing else about a gateway of another project, not even that it exists.
    for (project, instance, id) in
        [(project, instance, APP), (project, "none", theirs), ("none", "none", theirs)]
    {
        let missing = json!({ "error_code": "APIG.3002", "error_msg": format!("App {id} does not exist") });
        assert_eq!(get(&api.token, project, instance, id).await, (404, missing), "{project} {instance}");
    }
    assert_eq!(get(&api.token, PROJECT, "none", theirs).await.1["error_code"], "APIG.3030");
    // Callers of other kinds are not apps.
    assert_eq!(get(&token, PROJECT, INSTANCE, "operator").await.0, 404);
    let path = format!("/v1/{PROJECT}/apigw/instances/{INSTANCE}/apps/{APP}");
    let read = api.server.send("GET", &path, &[("x-auth-token", &token)], None).await;
    assert_eq!(read.status, 403, "only the verification accepts tokens of other projects");
}

#[tokio::test]
async fn unsupported_method_is_405_and_missing_path_404() {
    let api = ApigApi::new().await;
    for version in [1, 2] {
        for (method, path, allow) in [
            ("PATCH", "/apps", "GET, HEAD, POST"),
            ("POST", "/apps/x", "GET, HEAD, PUT, DELETE"),
            ("GET", "/apps/secret/x", "PUT"),
            ("PUT", "/apps/validation/x", "GET, HEAD"),
            ("POST", "/resources/outline/apps", "GET, HEAD"),
        ] {
            let answer = api.ask(version, method, path, None).await;
            refused(&answer, 405, "APIG.1005", "No permissions to request this method");
            assert_eq!(answer.field("allow"), [allow]);
        }
        let missing = "The API does not exist or has not been published in the environment.";
        for path in ["", "/app", "/apps/x/y/z/w", "/resources/outline"] {
            refused(&api.ask(version, "GET", path, None).await, 404, "APIG.0101", missing);
        }
    }
    refused(
        &api.send("GET", &at(2, "/apps").replace("/v2/", "/v3/"), None).await,
        404,
        "APIG.0101",
        "The API does not exist or has not been published in the environment.",
    );
}

#[tokio::test]
async fn app_inherits_the_plan_of_its_operator() {
    let api = ApigApi::with(true, Some(100)).await;
    let made = api.post(r#"{"name":"app_new"}"#).await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(api.stored(&id).await.plan, Some("plan".parse().unwrap()));
    let free = ApigApi::new().await;
    let made = free.post(r#"{"name":"app_new"}"#).await;
    assert_eq!(free.stored(made.json()["id"].as_str().unwrap()).await.plan, None);
}
