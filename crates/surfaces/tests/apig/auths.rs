//! Authorizations of apps for APIs.

use portcullis::{
    model::{Access, Scope, Scopes},
    registry::{GrantFilter, Registry, RegistryError},
};
use serde_json::{Value, json};

use super::{APP, Answer, ApigApi, PROJECT, app, apps::at, gateway, refused};

const PLAIN: &str = "14b399ac967f4115bb62c0346b4537e9";
const OTHER: &str = "c0a80101-0000-4000-8000-000000000001";
const RELEASE: &str = "DEFAULT_ENVIRONMENT_RELEASE_ID";

fn see(what: &str) -> String {
    format!("{what}. Please refer to the support documentation")
}

fn body(apps: &[&str], apis: &[&str]) -> String {
    json!({ "env_id": RELEASE, "app_ids": apps, "api_ids": apis }).to_string()
}

impl ApigApi {
    async fn authorize(&self, version: u8, apps: &[&str], apis: &[&str]) -> Answer {
        self.world.clock.advance(std::time::Duration::from_secs(1));
        self.ask(version, "POST", "/app-auths", Some(&body(apps, apis))).await
    }

    async fn with_other() -> Self {
        let api = Self::new().await;
        api.world.caller("gateway", OTHER, "other_app", app(&api.world, OTHER, "other_key")).await;
        api
    }

    async fn auths(&self, version: u8, list: &str) -> Value {
        let answer = self.ask(version, "GET", &format!("/app-auths/{list}"), None).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }
}

#[tokio::test]
async fn each_pair_has_its_result_in_both_versions() {
    let api = ApigApi::new().await;
    let first = api.authorize(1, &[APP], &["orders", "none", "orders"]).await;
    assert_eq!(first.status, 201);
    let id = first.json()[0]["id"].as_str().unwrap().to_owned();
    let common = format!(
        r#""api_id":"orders","app_id":"{APP}","auth_time":"2026-01-01T00:00:01Z","auth_role":"PROVIDER""#
    );
    assert_eq!(
        first.text,
        format!(
            r#"[{{"id":"{id}",{common},"auth_result":"SUCCESS"}},{{"api_id":"none","app_id":"{APP}","auth_role":"PROVIDER","auth_result":"FAILED"}},{{"id":"{id}",{common},"auth_result":"SKIPPED"}}]"#
        )
    );
    assert_eq!(id.len(), 36);

    let second = api.authorize(2, &[PLAIN], &["orders", "bills", "none"]).await;
    assert_eq!(second.status, 201);
    let second = second.json();
    let made = second["auths"][1]["id"].clone();
    assert_eq!(
        second,
        json!({ "auths": [
            {
                "id": id.replace('-', ""), "api_id": "orders", "app_id": PLAIN, "auth_role": "PROVIDER",
                "auth_time": "2026-01-01T00:00:01Z", "auth_tunnel": "NORMAL",
                "auth_result": {
                    "status": "SKIPPED", "error_code": "APIG.3316", "api_name": "orders", "app_name": "app_000",
                    "error_msg": "The API authorization record already exists.",
                },
            },
            {
                "id": made, "api_id": "bills", "app_id": PLAIN, "auth_role": "PROVIDER",
                "auth_time": "2026-01-01T00:00:02Z", "auth_tunnel": "NORMAL", "auth_result": { "status": "SUCCESS" },
            },
            {
                "api_id": "none", "app_id": PLAIN, "auth_role": "PROVIDER", "auth_tunnel": "NORMAL",
                "auth_result": {
                    "status": "FAILED", "error_code": "APIG.3002", "error_msg": "API none does not exist",
                    "app_name": "app_000",
                },
            },
        ] })
    );
    api.world.settle().await;
    let grants = |route: &str| api.world.directory.has_grant(&APP.parse().unwrap(), &route.parse().unwrap());
    assert_eq!(["orders", "bills", "none", "old_orders"].map(grants), [true, true, false, false]);
}

#[tokio::test]
async fn cancelled_authorization_can_be_granted_again() {
    let api = ApigApi::new().await;
    for (version, other) in [(1, 2), (2, 1)] {
        let made = api.authorize(2, &[PLAIN], &["orders"]).await.json();
        let plain = made["auths"][0]["id"].as_str().unwrap().to_owned();
        let list = api.auths(1, &format!("binded-apis?app_id={APP}")).await;
        let id = list["auths"][0]["id"].as_str().unwrap().to_owned();
        let spelt = |version| if version == 1 { &id } else { &plain };
        let path = |version| format!("/app-auths/{}", spelt(version));
        let gone = api.ask(version, "DELETE", &path(version), None).await;
        assert_eq!((gone.status.as_u16(), &*gone.text), (204, ""));
        for version in [version, other] {
            let message = format!("The app authorization record does not exist,id:{}", spelt(version));
            refused(&api.ask(version, "DELETE", &path(version), None).await, 404, "APIG.3009", &message);
        }
    }
    api.world.settle().await;
    assert!(!api.world.directory.has_grant(&APP.parse().unwrap(), &"orders".parse().unwrap()));
    let message = "The app authorization record does not exist,id:a%20b";
    refused(&api.ask(2, "DELETE", "/app-auths/a%20b", None).await, 404, "APIG.3009", message);
}

#[tokio::test]
async fn apis_bound_and_unbound_to_an_app_are_listed() {
    let api = ApigApi::with_other().await;
    let empty = json!({ "total": 0, "size": 0, "auths": [] });
    assert_eq!(api.auths(2, &format!("binded-apis?app_id={PLAIN}")).await, empty);
    api.authorize(1, &[APP], &["orders"]).await;
    api.authorize(1, &[APP, OTHER], &["old_orders"]).await;
    let first = api.auths(1, &format!("binded-apis?app_id={APP}&page_size=1&page_no=2")).await;
    let id = first["auths"][0]["id"].clone();
    let row = json!({
        "id": id, "api_id": "orders", "api_name": "orders", "env_id": RELEASE, "envname": "RELEASE", "appid": APP,
        "auth_role": "PROVIDER", "auth_time": "2026-01-01T00:00:01Z", "app_name": "app_000", "app_remark": "Zeroth app",
        "app_type": "apig", "app_creator": "USER",
    });
    assert_eq!(first, json!({ "total": 2, "size": 1, "auths": [row] }));
    let second = api.auths(2, &format!("binded-apis?app_id={PLAIN}&offset=1")).await["auths"][0].clone();
    assert_eq!(second["id"], id.as_str().unwrap().replace('-', ""));
    assert_eq!(
        (&second["app_id"], &second["env_name"], &second["auth_tunnel"]),
        (&PLAIN.into(), &"RELEASE".into(), &"NORMAL".into())
    );
    assert!(second["appid"].is_null() && second["envname"].is_null());

    for (query, bound, others) in [
        (String::new(), 2, 1),
        ("&api_id=orders".into(), 1, 0),
        ("&api_name=ORDERS".into(), 2, 0),
        ("&api_name=bill".into(), 0, 1),
        ("&group_id=any".into(), 0, 0),
        ("&group_name=any".into(), 0, 0),
        ("&api_name=&group_id=".into(), 2, 1),
    ] {
        let query = format!("app_id={PLAIN}&env_id={RELEASE}{query}");
        assert_eq!(api.auths(2, &format!("binded-apis?{query}")).await["total"], bound, "{query}");
        assert_eq!(api.auths(2, &format!("unbinded-apis?{query}")).await["total"], others, "{query}");
    }
    let elsewhere = api.auths(2, &format!("binded-apis?app_id={PLAIN}&env_id=test")).await;
    assert_eq!(elsewhere["total"], 0);
    let outline = json!({
        "id": "bills", "name": "bills", "auth_type": "APP", "run_env_id": RELEASE, "run_env_name": "RELEASE",
    });
    for (version, app) in [(1, APP), (2, PLAIN)] {
        let others = api.auths(version, &format!("unbinded-apis?app_id={app}&env_id={RELEASE}")).await;
        assert_eq!(others, json!({ "total": 1, "size": 1, "apis": [outline] }));
    }
    let page = api.auths(2, &format!("unbinded-apis?app_id={OTHER}&env_id={RELEASE}&offset=1&limit=1")).await;
    assert_eq!((&page["total"], &page["apis"][0]["id"]), (&2.into(), &"orders".into()));
}

#[tokio::test]
async fn apps_of_an_api_are_listed_and_counted() {
    let api = ApigApi::with_other().await;
    api.authorize(2, &[PLAIN, OTHER], &["orders"]).await;
    api.authorize(2, &[OTHER], &["bills"]).await;
    api.world.tenant("second", Some(gateway(PROJECT, "second", true)), 4).await;
    for (query, total) in [
        ("", 3),
        ("?api_id=orders", 2),
        ("?api_id=bills", 1),
        ("?api_id=old_orders", 0),
        ("?app_name=OTHER", 2),
        ("?app_name=other&api_id=orders", 1),
        (&format!("?app_id={PLAIN}"), 1),
        (&format!("?env_id={RELEASE}"), 3),
        ("?env_id=test", 0),
        ("?offset=2", 3),
    ] {
        let list = api.auths(2, &format!("binded-apps{query}")).await;
        assert_eq!(list["total"], total, "{query}: {list}");
    }
    let first = api.auths(1, "binded-apps?page_size=1").await;
    assert_eq!((&first["size"], &first["auths"][0]["appid"]), (&1.into(), &OTHER.into()));
    assert_eq!(
        (&first["auths"][0]["app_name"], &first["auths"][0]["api_id"]),
        (&"other_app".into(), &"bills".into())
    );
    let second = at(2, "/app-auths/binded-apps").replace(super::INSTANCE, "second");
    assert_eq!(api.send("GET", &second, None).await.json()["total"], 0, "another gateway's are not there");

    let apps = api.ask(1, "GET", "/apps", None).await.json()["apps"].clone();
    let bound: Vec<_> = apps.as_array().unwrap().iter().map(|app| (&app["name"], &app["bind_num"])).collect();
    assert_eq!(bound.len(), 2);
    assert!(
        bound.contains(&(&"other_app".into(), &2.into())) && bound.contains(&(&"app_000".into(), &1.into()))
    );
    let counts = api.ask(2, "GET", "/resources/outline/apps", None).await;
    assert_eq!(counts.text, r#"{"authed_nums":2,"unauthed_nums":0}"#);
    api.ask(2, "DELETE", &format!("/apps/{OTHER}"), None).await;
    assert_eq!(api.auths(2, "binded-apps").await["total"], 1, "deleting an app deletes its authorizations");
    let left = api.world.memory.count_grants(&GrantFilter::default()).await.unwrap();
    assert_eq!(left, 1);
}

#[tokio::test]
async fn invalid_authorization_is_rejected_as_a_whole() {
    let api = ApigApi::with_other().await;
    let absent = |name: &str| see(&format!("The request parameters must be specified,parameterName:{name}"));
    for (body, name) in [
        ("{}", "env_id"),
        (r#"{"env_id":null,"app_ids":["x"],"api_ids":["orders"]}"#, "env_id"),
        (r#"{"env_id":"","app_ids":["x"],"api_ids":["orders"]}"#, "env_id"),
        (r#"{"env_id":"x","api_ids":["orders"]}"#, "app_ids"),
        (r#"{"env_id":"x","app_ids":[],"api_ids":["orders"]}"#, "app_ids"),
        (r#"{"env_id":"x","app_ids":["x"]}"#, "api_ids"),
        (r#"{"env_id":"x","app_ids":["x"],"api_ids":[]}"#, "api_ids"),
    ] {
        refused(&api.ask(2, "POST", "/app-auths", Some(body)).await, 400, "APIG.2001", &absent(name));
    }
    let deep = format!(r#"{{"app_ids":{}"#, "[".repeat(30_000));
    let long = body(&[&"x".repeat(10 * 1024 * 1024)], &["orders"]);
    for body in [
        "",
        "null",
        r#"{"env_id":1}"#,
        r#"{"app_ids":"x"}"#,
        r#"{"app_ids":[null]}"#,
        r#"{"api_ids":[1]}"#,
        r#"{"env_id":"x","env_id":"x"}"#,
        r#"{"env_id":"\ud800"}"#,
        &deep,
        &long,
    ] {
        let answer = api.ask(1, "POST", "/app-auths", Some(body)).await;
        let shown = &body[..body.len().min(40)];
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["error_code"]),
            (400, &"APIG.2000".into()),
            "{shown}"
        );
    }
    let environment = body(&[PLAIN], &["orders"]).replace(RELEASE, "test");
    let message = "The environment does not exist,id:test";
    refused(&api.ask(2, "POST", "/app-auths", Some(&environment)).await, 404, "APIG.3003", message);
    let missing = "c0a80101000040008000000000000009";
    for (app, shown) in [(missing, missing), ("operator", "operator"), ("a b", "a b")] {
        let message = format!("App {shown} does not exist");
        refused(&api.authorize(2, &[PLAIN, app], &["orders"]).await, 404, "APIG.3004", &message);
    }
    let many: Vec<_> = (0..251).map(|n| format!("api_{n}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let invalid = see("Invalid parameter value,parameterName:api_ids");
    refused(&api.authorize(2, &[PLAIN, OTHER], &many).await, 400, "APIG.2011", &invalid);
    assert_eq!(api.authorize(2, &[PLAIN, OTHER], &many[..250]).await.status, 201);
    assert_eq!(api.world.memory.count_grants(&GrantFilter::default()).await.unwrap(), 0);

    for (list, code) in [
        ("binded-apis", "APIG.2001"),
        ("unbinded-apis?app_id=14b399ac967f4115bb62c0346b4537e9", "APIG.2001"),
        ("unbinded-apis?app_id=14b399ac967f4115bb62c0346b4537e9&env_id=test", "APIG.3003"),
        ("binded-apis?app_id=none", "APIG.3004"),
        ("binded-apis?app_id=a%20b", "APIG.3004"),
        ("binded-apis?app_id=14b399ac967f4115bb62c0346b4537e9&api_id=a%20b", "APIG.2012"),
        ("binded-apis?app_id=14b399ac967f4115bb62c0346b4537e9&api_name=%0a", "APIG.2012"),
        ("binded-apps?api_id=none", "APIG.3002"),
        ("binded-apps?app_id=a%20b", "APIG.2012"),
        ("binded-apps?api_id=orders&api_id=bills", "APIG.2000"),
    ] {
        let answer = api.ask(2, "GET", &format!("/app-auths/{list}"), None).await;
        assert_eq!(answer.json()["error_code"], code, "{list}");
    }
}

#[tokio::test]
async fn authorization_requires_app_scope() {
    let api = ApigApi::with_other().await;
    api.authorize(2, &[PLAIN, OTHER], &["orders"]).await;
    let list = api.auths(1, &format!("binded-apis?app_id={APP}")).await;
    let id = list["auths"][0]["id"].as_str().unwrap().to_owned();
    let scopes = |access, targets: Option<&str>| {
        let targets = targets.map(|id| vec![id.into()]);
        Scopes::Listed(vec![Scope { resource: "apps".into(), access, targets }])
    };
    let confined = scopes(Access::Write, Some(OTHER));
    let confined = api.world.key_with("gateway", "operator", |key| key.scopes = confined).await;
    let reader =
        api.world.key_with("gateway", "operator", |key| key.scopes = scopes(Access::Read, None)).await;
    let ask = async |token: &str, method: &str, path: &str, body: Option<String>| {
        let body = body.map(String::into_bytes);
        api.server.send(method, &at(1, path), &[("x-auth-token", token)], body).await
    };
    let denied = "No permissions to request this method";
    let both = || Some(body(&[OTHER, APP], &["bills"]));
    refused(&ask(&confined, "POST", "/app-auths", both()).await, 403, "APIG.1005", denied);
    refused(&ask(&reader, "POST", "/app-auths", both()).await, 403, "APIG.1005", denied);
    for token in [&confined, &reader] {
        refused(&ask(token, "DELETE", &format!("/app-auths/{id}"), None).await, 403, "APIG.1005", denied);
    }
    let of_app = format!("/app-auths/binded-apis?app_id={APP}");
    refused(&ask(&confined, "GET", &of_app, None).await, 403, "APIG.1005", denied);
    let mine = ask(&confined, "GET", "/app-auths/binded-apps", None).await.json();
    assert_eq!((&mine["total"], &mine["auths"][0]["appid"]), (&1.into(), &OTHER.into()));
    assert_eq!(ask(&reader, "GET", &of_app, None).await.json()["total"], 1);

    api.world.lapse("gateway").await;
    refused(&api.authorize(1, &[APP], &["bills"]).await, 403, "APIG.1005", denied);
    assert_eq!(api.ask(1, "DELETE", &format!("/app-auths/{id}"), None).await.status, 204);
    api.world.registry.fail(None, || RegistryError::Unavailable("gone".into()));
    refused(&api.ask(1, "GET", &of_app, None).await, 500, "APIG.9999", "System error.");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_concurrent_authorizations_is_created() {
    for _ in 0..20 {
        let api = ApigApi::new().await;
        let (one, two) =
            tokio::join!(api.authorize(1, &[APP], &["orders"]), api.authorize(1, &[APP], &["orders"]));
        let mut results =
            [one, two].map(|answer| answer.json()[0]["auth_result"].as_str().unwrap().to_owned());
        results.sort();
        assert_eq!(results, ["SKIPPED", "SUCCESS"]);
    }
}
